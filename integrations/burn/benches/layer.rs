//! Burn's `Linear` and activation, the same where elbow's fusion is registered, and elbow's fused layer, on one adapter, in one run: forward, and forward with backward
//! from a dy of random numbers. All are verified against the f64 reference first; what is wrong is not timed.
//!
//!     cargo bench --bench layer
//!     cargo bench --bench layer -- 512 1024 1024
//!     cargo bench --bench layer --features burn/autotune     # Burn tries out its products first

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    error::Error,
    time::{Duration, Instant},
};

use burn::tensor::{Device, Tensor, activation, module::linear};
use common::{Case, burns_own, tensor, values, wgpu};
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

#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// On a device that elbow does not know.
    Burn,
    /// On one that it knows.
    Unmodified,
    Elbow,
}

const ALL: [(Whose, &str); 3] =
    [(Whose::Burn, "Burn"), (Whose::Unmodified, "Burn, elbow registered"), (Whose::Elbow, "elbow's layer")];

type Operands = (Tensor<2>, Tensor<2>, Tensor<1>);

fn forward(whose: Whose, act: Activation, (x, w, b): Operands) -> Result<Tensor<2>, Box<dyn Error>> {
    match whose {
        Whose::Elbow => Ok(linear_act(x, w, Some(b), act)?),
        Whose::Burn | Whose::Unmodified => {
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

/// The same in microseconds, of what is right.
fn timed<T>(
    worst: f64,
    device: &Device,
    run: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<String, Box<dyn Error>> {
    match worst <= 1.0 {
        true => Ok(format!("{:.0}", median(device, run)?.as_secs_f64() * 1e6)),
        false => Ok(format!("{worst:.1}: WRONG, not timed")),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [m, n, k] = <[usize; 3]>::try_from(sizes).unwrap_or([256, 256, 256]);
    elbow_burn::register()?;
    let (known, unknown) = (wgpu(), burns_own());
    println!("{}; {m} x {n} x {k} (M, N, K), median of {RUNS}", elbow_burn::gpu(&known)?);
    println!("| activation | | worst error, of its bound | forward, us | forward and backward, us |");
    println!("|---|---|---|---|---|");
    for (act, _) in OWN {
        let case = Case::new(m, n, k, act);
        for (whose, name) in ALL {
            let device = if whose == Whose::Burn { unknown.clone() } else { known.clone() };
            let tracked = device.clone().autodiff();
            let on = |device: &Device| {
                (tensor(&case.x(), [m, k], device), tensor(&case.w(), [k, n], device), tensor(&case.b(), [n], device))
            };
            let dy = tensor(&case.dy(), [m, n], &tracked);
            let before = elbow_burn::fused().layers;
            let results = step(whose, act, on(&tracked), dy.clone())?.map(values);
            let fused = elbow_burn::fused().layers - before;
            if fused != u64::from(whose == Whose::Unmodified) {
                return Err(format!("{name}, {act}: {fused} layers were fused").into());
            }
            let judged = case.judge();
            let worst = judged.iter().zip(results).map(|((_, want, terms), got)| {
                want.iter().zip(terms).zip(got).fold(0f64, |worst, ((want, terms), got)| {
                    let error = (want - f64::from(got)).abs() / (BOUND * (1.0 + terms));
                    if error.is_nan() { f64::INFINITY } else { worst.max(error) }
                })
            });
            let worst: Vec<f64> = worst.collect();
            let (of_y, of_all) = (worst[0], worst.iter().copied().fold(0.0, f64::max));
            let (inputs, tracked_inputs) = (on(&device), on(&tracked));
            let alone = timed(of_y, &device, || forward(whose, act, inputs.clone()))?;
            let both = timed(of_all, &device, || step(whose, act, tracked_inputs.clone(), dy.clone()))?;
            println!("| {act} | {name} | {of_all:.2} | {alone} | {both} |");
        }
    }
    Ok(())
}
