//! Two tasks share a unit: whether their gradients agree, and whether there are any.

use elbow::{Activation, Gpu, affine::Forward, gpu::transfer::Tensor};

use crate::shared::{
    Chart, Lab, Report, Result, normal,
    statistics::{mean, normal_cdf, share_error},
};

pub(crate) const TITLE: &str = "Two tasks, one unit: where no gradient passes none agrees";

const THEORY: &str = "Two tasks that share y = φ(w·x + b) send back v₁ and v₂, and change w by v₁φ'(z) x and v₂φ'(z) x: with one unit the cosine of the two is the \
    sign of v₁v₂, or 0 where φ'(z) = 0, where the unit is blocked for both. If v₁ and v₂ are normal with correlation ρ, the mean sign is (2/π) \
    arcsin ρ (Sheppard 1899), so the mean cosine is (2/π) arcsin ρ times the share of open units: Φ(b) for ReLU, Φ(b) - Φ(b - c) for ReLU clipped \
    at c, which also closes when it saturates, and 1 for Leaky. The mean squared gradient falls in the same way, Leaky's to α² of what is open. \
    A layer of n units is blocked as a whole with probability (1 - Φ(b))ⁿ.";

const K: usize = 32;
const RHO: f64 = 0.6;
const CAP: f32 = 1.0;
const ALPHA: f32 = 0.1;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(10));
    let units = lab.pick(8192, 1024);
    let cosine = 2.0 / std::f64::consts::PI * RHO.asin();
    type Share = fn(f64) -> f64;
    let (relu, leaky): (Share, Share) = (normal_cdf, |_| 1.0);
    let clipped: Share = |b| normal_cdf(b) - normal_cdf(b - f64::from(CAP));
    let kinds = [
        ("ReLU", Activation::RELU, relu, 0.0),
        ("clipped ReLU", Activation::clipped_relu(CAP)?, clipped, 0.0),
        ("Leaky", Activation::leaky_relu(ALPHA)?, leaky, f64::from(ALPHA)),
    ];
    let mut chart = Chart::new("Mean cosine of two tasks' gradients at one unit, ρ = 0.6", "bias", "mean cosine");
    let biases: Vec<f64> = (-6..=6).map(|i| f64::from(i) * 0.5).collect();
    let bar = lab.progress(3, "multi_task");
    for (name, activation, passes, alpha) in kinds {
        let mut dots = Vec::new();
        for &b in &biases {
            // Every unit has an example and weights of its own; |x|² = K, so that z - b is standard normal.
            let x: Vec<f32> = (0..units * K).map(|_| normal(&mut rng).signum()).collect();
            let x = gpu.upload(&x, &[units, 1, K])?;
            let w = lab.normal(&mut rng, 1.0 / (K as f32).sqrt(), &[units, 1, K])?;
            let v1: Vec<f32> = (0..units).map(|_| normal(&mut rng)).collect();
            let (rho, rest) = (RHO as f32, (1.0 - RHO * RHO).sqrt() as f32);
            let v2: Vec<f32> = v1.iter().map(|v| rho * v + rest * normal(&mut rng)).collect();
            let bias = gpu.upload(&vec![b as f32; units], &[units, 1])?;
            let one = gradients(gpu, activation, (&x, &w, &bias), &v1)?;
            let two = gradients(gpu, activation, (&x, &w, &bias), &v2)?;
            let pairs = || one.chunks(K).zip(two.chunks(K));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let lengths = |a: &[f32], b: &[f32]| (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE);
            let cosines: Vec<f64> = pairs().map(|(a, b)| dot(a, b) / lengths(a, b)).collect();
            let squares: Vec<f64> = one.chunks(K).map(|a| dot(a, a) / K as f64).collect();
            let measured = mean(&cosines);
            dots.push((b, measured.0, measured.1));
            if [-2.0, 0.0, 2.0].contains(&b) {
                report.sampled(format!("mean cosine, b = {b}, {name}"), cosine * passes(b), measured, 4.0);
                let slope = if alpha > 0.0 { normal_cdf(b) + alpha * alpha * normal_cdf(-b) } else { passes(b) };
                report.sampled(format!("mean squared gradient, b = {b}, {name}"), slope, mean(&squares), 4.0);
            }
        }
        let fine = (-120..=120).map(|i| f64::from(i) * 0.025);
        chart = chart.line(format!("theory, {name}"), fine.map(|b| (b, cosine * passes(b)))).dots("measured", dots);
        bar.inc(1);
    }
    bar.finish_and_clear();
    report.picture("A unit that is off or saturated is 0 for both tasks; a leaky one never is", chart.svg()?);
    // Layers of four: blocked if no gradient passes at all.
    let (n, b) = (4, -0.5);
    let x: Vec<f32> = (0..units * K).map(|_| normal(&mut rng).signum()).collect();
    let (x, bias) = (gpu.upload(&x, &[units, 1, K])?, gpu.upload(&vec![b; units * n], &[units, n])?);
    let w = lab.normal(&mut rng, 1.0 / (K as f32).sqrt(), &[units, n, K])?;
    for (name, activation, passes, _) in kinds {
        // Clipped units of ones send nothing back where they saturate, either.
        let predicted = (1.0 - passes(f64::from(b))).powi(n as i32);
        let all = gradients(gpu, activation, (&x, &w, &bias), &vec![1.0; units * n])?;
        let blocked = all.chunks(n * K).filter(|layer| layer.iter().all(|dw| *dw == 0.0)).count() as f64 / units as f64;
        let error = share_error(predicted, units);
        report.sampled(format!("layers of four all blocked, b = {b}, {name}"), predicted, (blocked, error), 4.0);
    }
    Ok(report)
}

/// dW of each layer of a batch, for what a task sends back.
fn gradients(gpu: &Gpu, activation: Activation, (x, w, b): (&Tensor, &Tensor, &Tensor), v: &[f32]) -> Result<Vec<f32>> {
    let shape = [w.shape()[0], 1, w.shape()[1]];
    let (dy, dw) = (gpu.upload(v, &shape)?, gpu.zeros(w.shape())?);
    let layer = Forward::new(activation, x, w, &dy).b(b);
    gpu.submit(|encoder| layer.backward(&dy).dw(&dw).record(gpu, encoder))?;
    Ok(gpu.download(&dw)?)
}
