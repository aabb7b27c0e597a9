//! ReLU is the Euclidean projection on the orthant.

use elbow::{Activation, elementwise};
use rand::RngExt;

use crate::shared::{Lab, Report, Result};

pub(crate) const TITLE: &str = "ReLU is a projection";

const THEORY: &str = "relu(x) is the point of the positive orthant that is nearest to x. So it is idempotent, relu(relu(x)) = relu(x); non-expansive, \
    |relu(x) - relu(y)| ≤ |x - y|; and no other point of the orthant is nearer. softplus_β smooths it, and is furthest from it at 0, by ln 2 / β.";

/// The dimension of the space.
const D: usize = 8;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(2));
    let points = lab.pick(1 << 16, 1 << 12);
    let project = |x: &elbow::gpu::transfer::Tensor, activation: Activation| -> Result<Vec<f32>> {
        let y = gpu.zeros(x.shape())?;
        gpu.submit(|encoder| elementwise::Forward::new(activation, x, &y).record(gpu, encoder))?;
        Ok(gpu.download(&y)?)
    };
    let x = lab.normal(&mut rng, 2.0, &[points, D])?;
    let once = project(&x, Activation::RELU)?;
    let twice = project(&gpu.upload(&once, &[points, D])?, Activation::RELU)?;
    report.within("largest |relu(relu(x)) - relu(x)|", 0.0, largest(&once, &twice), 0.0);

    let x = gpu.download(&x)?;
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    let pair = |points: &[f32], i: usize| -> [Vec<f32>; 2] { [0, 1].map(|side| points[(i + side) * D..][..D].to_vec()) };
    let growth = (0..points - 1).map(|i| {
        let ([x0, x1], [y0, y1]) = (pair(&x, i), pair(&once, i));
        distance(&y0, &y1) / distance(&x0, &x1)
    });
    report.at_most("largest |relu(x) - relu(y)| / |x - y|", 1.0, growth.fold(0.0, f64::max), 0.0);

    // Candidates of the orthant near the projection, where a nearer point would have to be.
    let candidates = lab.pick(1_000_000, 50_000);
    let nearer = (0..candidates).filter(|i| {
        let at = i % points * D;
        let moved = |&y: &f32| (y + rng.random_range(-0.5f32..0.5)).max(0.0);
        let candidate: Vec<f32> = once[at..at + D].iter().map(moved).collect();
        distance(&candidate, &x[at..at + D]) < distance(&once[at..at + D], &x[at..at + D])
    });
    report.within(format!("points nearer than relu(x), of {candidates}"), 0.0, nearer.count() as f64, 0.0);

    let grid: Vec<f32> = (-4096..=4096).map(|i| i as f32 / 1024.0).collect();
    for beta in [0.5f32, 1.0, 4.0] {
        let on_grid = gpu.upload(&grid, &[1, grid.len()])?;
        let smooth = project(&on_grid, Activation::softplus(beta)?)?;
        let furthest = largest(&smooth, &project(&on_grid, Activation::RELU)?);
        let predicted = 2f64.ln() / f64::from(beta);
        report.within(format!("largest softplus - relu, β = {beta}"), predicted, furthest, predicted * 1e-6);
    }
    report.remark(format!("{points} points of {D} dimensions."));
    Ok(report)
}

fn largest(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}
