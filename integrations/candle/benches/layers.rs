//! One layer forward and backward in candle's graph: elbow's beside candle's own Linear and activation. Verified, then timed, in turns.
//!
//!     cargo bench --bench layers [-- ROUNDS]

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{Activation, Linear};
use elbow_candle::{LinearAct, host, of_candle};

/// M, N, K.
const SHAPES: [[usize; 3]; 3] = [[64, 128, 64], [512, 512, 512], [256, 1536, 384]];
const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Gelu, Activation::Silu];

/// How far both sides may be apart before anything is timed, relative to the largest number: sums of up to 1,536 numbers.
const BOUND: f32 = 2e-5;

struct Case {
    x: Var,
    w: Var,
    b: Var,
    dy: Tensor,
}

impl Case {
    fn new([m, n, k]: [usize; 3]) -> Result<Self> {
        let normal = |shape: &[usize], deviation: f32| Tensor::randn(0.0, deviation, shape, &Device::Cpu);
        let var = |tensor: Tensor| Var::from_tensor(&tensor);
        Ok(Case {
            x: var(normal(&[m, k], 1.0)?)?,
            w: var(normal(&[n, k], 1.0 / (k as f32).sqrt())?)?,
            b: var(normal(&[n], 1.0)?)?,
            dy: normal(&[m, n], 1.0)?,
        })
    }

    /// y, dx, dW and db of a layer, and the seconds that they took.
    fn run(&self, layer: &impl Module) -> Result<([Tensor; 4], f64)> {
        let start = Instant::now();
        let y = layer.forward(&self.x)?;
        let gradients = (&y * &self.dy)?.sum_all()?.backward()?;
        let of = |var: &Var| gradients.get(var).cloned().ok_or_else(|| candle_core::Error::msg("no gradient"));
        let all = [y.clone(), of(&self.x)?, of(&self.w)?, of(&self.b)?];
        Ok((all, start.elapsed().as_secs_f64()))
    }
}

/// candle's own layer.
struct Own(Linear, Activation);

impl Module for Own {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.1.forward(&self.0.forward(x)?)
    }
}

fn largest(tensor: &Tensor) -> Result<f32> {
    tensor.abs()?.max_all()?.to_dtype(DType::F32)?.to_scalar()
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(15usize).max(1);
    println!(
        "{}; {} threads; {rounds} rounds in turns; ms, min and median",
        host(),
        candle_core::utils::get_num_threads()
    );
    println!("| M, N, K | | elbow | candle's own | own / elbow, by min |\n|---|---|---|---|---|");
    for shape in SHAPES {
        for activation in ACTIVATIONS {
            let case = Case::new(shape)?;
            let linear = Linear::new(case.w.as_tensor().clone(), Some(case.b.as_tensor().clone()));
            let ours = LinearAct::new(linear.clone(), of_candle(activation)?);
            let own = Own(linear, activation);
            let (got, expected) = (case.run(&ours)?.0, case.run(&own)?.0);
            for (name, (got, expected)) in ["y", "dx", "dW", "db"].iter().zip(got.iter().zip(&expected)) {
                let apart = largest(&(got - expected)?)? / largest(expected)?;
                if apart.is_nan() || apart > BOUND {
                    return Err(
                        format!("{activation:?} {shape:?}: {name} is {apart:.1e} apart, bound {BOUND:.0e}").into()
                    );
                }
            }
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..rounds {
                times[0].push(1e3 * case.run(&ours)?.1);
                times[1].push(1e3 * case.run(&own)?.1);
            }
            for side in &mut times {
                side.sort_by(f64::total_cmp);
            }
            let show = |side: usize| format!("{:.2}, {:.2}", times[side][0], times[side][rounds / 2]);
            let ratio = times[1][0] / times[0][0];
            println!("| {shape:?} | {activation:?} | {} | {} | {ratio:.2} |", show(0), show(1));
        }
    }
    Ok(())
}
