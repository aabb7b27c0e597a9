//! Matrices of known spectrum, and the spectrum of others, by products on the device.

use elbow::{Activation, Gpu, gpu::transfer::Tensor};
use rand_chacha::ChaCha8Rng;

use super::{Dense, Result, normal};

/// A random orthogonal matrix `[n, n]`: normal rows, made orthogonal one after the other.
pub(crate) fn orthogonal(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    while rows.len() < n {
        let mut row: Vec<f64> = (0..n).map(|_| f64::from(normal(rng))).collect();
        // Twice, for the second time takes what rounding left of the first.
        for other in rows.iter().chain(&rows) {
            let along = dot(&row, other);
            row.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
        }
        let length = dot(&row, &row).sqrt();
        rows.push(row.iter().map(|value| value / length).collect());
    }
    rows.concat()
}

/// A random orthogonal matrix that keeps the vector of ones: H·diag(1, Q)·H, where H is the reflection of (1, 0, ..) to it.
pub(crate) fn orthogonal_with_ones(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let inner = orthogonal(rng, n - 1);
    let at = |i: usize, j: usize| match (i, j) {
        (0, 0) => 1.0,
        (0, _) | (_, 0) => 0.0,
        _ => inner[(i - 1) * (n - 1) + j - 1],
    };
    let one = 1.0 / (n as f64).sqrt();
    let mirror: Vec<f64> = (0..n).map(|i| if i == 0 { 1.0 - one } else { -one }).collect();
    let scale = 2.0 / dot(&mirror, &mirror);
    let mut q: Vec<f64> = (0..n * n).map(|index| at(index / n, index % n)).collect();
    // Rows, then columns.
    for row in q.chunks_mut(n) {
        let along = scale * dot(row, &mirror);
        row.iter_mut().zip(&mirror).for_each(|(q, mirror)| *q -= along * mirror);
    }
    for column in 0..n {
        let along = scale * (0..n).map(|i| q[i * n + column] * mirror[i]).sum::<f64>();
        (0..n).for_each(|i| q[i * n + column] -= along * mirror[i]);
    }
    q
}

/// The largest singular value of w `[N, K]`, from below: so many steps v ← Wᵀ(Wv) on the device.
pub(crate) fn largest_singular_value(gpu: &Gpu, w: &Tensor, steps: usize) -> Result<f64> {
    let (layer, k) = (Dense::new(Activation::IDENTITY, w.clone(), None), w.shape()[1]);
    // No direction is favoured, and none is left out.
    let mut v: Vec<f64> = (0..k).map(|i| 1.0 + (i as f64 * 1.618).fract()).collect();
    let mut value = 0.0;
    for _ in 0..steps {
        let length = dot(&v, &v).sqrt();
        let unit: Vec<f32> = v.iter().map(|v| (v / length) as f32).collect();
        let x = gpu.upload(&unit, &[1, k])?;
        let dx = layer.backward(gpu, &x, &layer.forward(gpu, &x)?)?.dx;
        v = gpu.download(&dx)?.into_iter().map(f64::from).collect();
        value = dot(&v, &v).sqrt().sqrt();
    }
    Ok(value)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
