//! Burn's `Linear` and activation beside elbow's fused layer, on one device, in one run: forward, and forward with backward from a dy of random numbers.
//! Both are verified against the f64 reference first; what is wrong is not timed.
//!
//!     cargo bench --bench layer
//!     cargo bench --bench layer -- 512 1024 1024

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    error::Error,
    time::{Duration, Instant},
};

use burn::tensor::{Device, Tensor, activation, module::linear};
use common::{Case, tensor, values, wgpu};
use elbow_burn::{Activation, linear_act};

/// Of rounding, for each term of a sum; for Burn's own too, which may sum in another order.
const BOUND: f64 = 2e-5;
const RUNS: usize = 15;

type Function = fn(Tensor<2>) -> Tensor<2>;

/// Burn's own, by elbow's names.
const OWN: [(Activation, Function); 4] = [
    (Activation::RELU, activation::relu),
    (Activation::TANH, activation::tanh),
    (Activation::SILU, activation::silu),
    (Activation::GELU_ERF, activation::gelu),
];

#[derive(Clone, Copy)]
enum Whose {
    Elbow,
    Burn,
}

type Operands = (Tensor<2>, Tensor<2>, Tensor<1>);

fn forward(whose: Whose, act: Activation, (x, w, b): Operands) -> Result<Tensor<2>, Box<dyn Error>> {
    match whose {
        Whose::Elbow => Ok(linear_act(x, w, Some(b), act)?),
        Whose::Burn => {
            let z = linear(x, w, Some(b));
            let own = OWN.iter().find(|(activation, _)| *activation == act);
            let (_, own) = own.ok_or_else(|| format!("Burn has no {act} here"))?;
            Ok(own(z))
        }
    }
}

/// y and the three gradients of one step.
fn step(whose: Whose, act: Activation, operands: Operands, dy: Tensor<2>) -> Result<[Tensor<2>; 4], Box<dyn Error>> {
    let (x, w, b) = (operands.0.require_grad(), operands.1.require_grad(), operands.2.require_grad());
    let y = forward(whose, act, (x.clone(), w.clone(), b.clone()))?;
    let grads = (y.clone() * dy).sum().backward();
    let (dx, dw, db) = (x.grad(&grads), w.grad(&grads), b.grad(&grads));
    let all = [Some(y.inner()), dx, dw, db.map(|db| db.unsqueeze())];
    match all {
        [Some(y), Some(dx), Some(dw), Some(db)] => Ok([y, dx, dw, db]),
        _ => Err("a gradient is missing".into()),
    }
}

/// The median of a few runs; each is waited for, with its results alive: behind fusion what nobody holds need not be computed.
fn median<T>(device: &Device, mut run: impl FnMut() -> Result<T, Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for at in 0..RUNS + 2 {
        let start = Instant::now();
        let held = run()?;
        device.sync()?;
        if at >= 2 {
            times.push(start.elapsed());
        }
        drop(held);
    }
    times.sort();
    Ok(times[RUNS / 2])
}

fn main() -> Result<(), Box<dyn Error>> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [m, n, k] = <[usize; 3]>::try_from(sizes).unwrap_or([256, 256, 256]);
    let device = wgpu();
    let tracked = device.clone().autodiff();
    println!("{}; {m} x {n} x {k} (M, N, K), median of {RUNS}", elbow_burn::gpu(&device)?);
    println!("| activation | | worst error, of its bound | forward, us | forward and backward, us |");
    println!("|---|---|---|---|---|");
    for (act, _) in OWN {
        let case = Case::new(m, n, k, act);
        for (whose, name) in [(Whose::Burn, "Burn"), (Whose::Elbow, "elbow")] {
            let on = |device: &Device| {
                (tensor(&case.x(), [m, k], device), tensor(&case.w(), [k, n], device), tensor(&case.b(), [n], device))
            };
            let dy = tensor(&case.dy(), [m, n], &tracked);
            let results = step(whose, act, on(&tracked), dy.clone())?.map(values);
            let mut worst = 0f64;
            for ((_, want, terms), got) in case.judge().iter().zip(results) {
                for ((want, terms), got) in want.iter().zip(terms).zip(got) {
                    let error = (want - f64::from(got)).abs() / (BOUND * (1.0 + terms));
                    worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
                }
            }
            if worst > 1.0 {
                println!("| {act} | {name} | {worst:.1}: WRONG | not timed | not timed |");
                continue;
            }
            let (inputs, tracked_inputs) = (on(&device), on(&tracked));
            let alone = median(&device, || forward(whose, act, inputs.clone()))?;
            let both = median(&device, || step(whose, act, tracked_inputs.clone(), dy.clone()))?;
            let us = |time: Duration| time.as_secs_f64() * 1e6;
            println!("| {act} | {name} | {worst:.2} | {:.0} | {:.0} |", us(alone), us(both));
        }
    }
    Ok(())
}
