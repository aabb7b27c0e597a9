//! A network reads handwritten digits, 64→128→64→10: once with elbow's layers and once with candle's own, from the same initial weights and with the
//! same images. The losses of every step are equal within a bound, or the run ends with an error.
//!
//!     cargo run --release --example digits

#![forbid(unsafe_code)]

#[path = "../../../examples/digits/data.rs"]
mod data;

use std::{error::Error, time::Instant};

use candle_core::{D, DType, Device, Module, Tensor, Var};
use candle_nn::{Linear, Optimizer, SGD, Sequential, VarBuilder, VarMap, loss::cross_entropy, seq};
use data::{CLASSES, Digits, PIXELS};
use elbow_candle::{Activation, LinearAct, host};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

const HIDDEN: [usize; 2] = [128, 64];
const EPOCHS: usize = 10;
const BATCH: usize = 64;
const RATE: f64 = 0.1;

/// How far the losses of a step may be apart, relative to the loss or to 1. Both compute in f32 and round differently, candle's gradient of GELU has
/// constants of six digits, and every step starts from what the steps before it made of that.
const BOUND: f64 = 1e-5;

/// The same weights as variables of their own: a variable made of a variable would be the same one.
fn own(linear: &Linear) -> candle_core::Result<(Linear, Vec<Var>)> {
    let copy = |tensor: &Tensor| Var::from_tensor(&tensor.copy()?.detach());
    let (w, b) = (copy(linear.weight())?, linear.bias().map(copy).transpose()?);
    let own = Linear::new(w.as_tensor().clone(), b.as_ref().map(|b| b.as_tensor().clone()));
    Ok((own, std::iter::once(w).chain(b).collect()))
}

fn batch(digits: &Digits) -> candle_core::Result<(Tensor, Tensor)> {
    let x = Tensor::from_slice(&digits.x, (digits.len(), PIXELS), &Device::Cpu)?;
    Ok((x, Tensor::from_slice(&digits.labels, digits.len(), &Device::Cpu)?))
}

fn accuracy(network: &Sequential, test: &Digits) -> candle_core::Result<f64> {
    let (x, labels) = batch(test)?;
    let right = network.forward(&x)?.argmax(D::Minus1)?.eq(&labels)?.to_dtype(DType::F32)?.sum_all()?;
    Ok(100.0 * f64::from(right.to_scalar::<f32>()?) / test.len() as f64)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (training, test, _) = data::split(&mut rng)?;
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let (mut ours, mut theirs, mut of_ours, mut of_theirs) = (seq(), seq(), Vec::new(), Vec::new());
    let sizes = [PIXELS, HIDDEN[0], HIDDEN[1], CLASSES];
    for (layer, pair) in sizes.windows(2).enumerate() {
        let initial = candle_nn::linear(pair[0], pair[1], vb.pp(layer))?;
        let last = layer + 2 == sizes.len();
        let (linear, vars) = own(&initial)?;
        of_ours.extend(vars);
        ours = ours.add(LinearAct::new(linear, if last { Activation::IDENTITY } else { Activation::GELU_ERF }));
        let (linear, vars) = own(&initial)?;
        of_theirs.extend(vars);
        theirs = theirs.add(linear);
        if !last {
            theirs = theirs.add(candle_nn::Activation::Gelu);
        }
    }
    let mut optimisers = [SGD::new(of_ours, RATE)?, SGD::new(of_theirs, RATE)?];
    let networks = [ours, theirs];
    println!("{} images; {}", training.len(), host());
    let (mut furthest, mut seconds) = (0.0f64, [0.0; 2]);
    for epoch in 1..=EPOCHS {
        let mut order: Vec<usize> = (0..training.len()).collect();
        order.shuffle(&mut rng);
        let mut sums = [0.0; 2];
        for (step, indices) in order.chunks(BATCH).enumerate() {
            let (x, labels) = batch(&training.select(indices))?;
            let mut losses = [0.0; 2];
            for side in [0, 1] {
                let start = Instant::now();
                let loss = cross_entropy(&networks[side].forward(&x)?, &labels)?;
                optimisers[side].backward_step(&loss)?;
                losses[side] = f64::from(loss.to_scalar::<f32>()?);
                seconds[side] += start.elapsed().as_secs_f64();
                sums[side] += losses[side] * indices.len() as f64 / training.len() as f64;
            }
            let apart = (losses[0] - losses[1]).abs() / losses[1].abs().max(1.0);
            if apart.is_nan() || apart > BOUND {
                return Err(format!("epoch {epoch}, step {step}: losses {losses:?} are {apart:.1e} apart").into());
            }
            furthest = furthest.max(apart);
        }
        println!("epoch {epoch:2}: loss {:.6}, with candle's own layers {:.6}", sums[0], sums[1]);
    }
    let [ours, theirs] = [accuracy(&networks[0], &test)?, accuracy(&networks[1], &test)?];
    println!("test: {ours:.1} %, candle's own {theirs:.1} %; losses at most {furthest:.1e} apart, bound {BOUND:.0e}");
    println!("seconds of all steps: {:.2}, candle's own {:.2}", seconds[0], seconds[1]);
    if ours < 90.0 {
        return Err("it did not learn".into());
    }
    Ok(())
}
