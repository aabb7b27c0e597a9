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
