//! The curvature of a loss along single weights.

use elbow::{Activation, Gpu, elementwise, gpu::transfer::Tensor};

use super::{Dense, Result};

/// `E[g² x²; z > 0]` of each weight, over the rows of x.
pub(crate) fn curvature(gpu: &Gpu, layer: &Dense, x: &Tensor, squares: &Tensor) -> Result<Vec<f32>> {
    let (gated, z) = layer.forward_with_z(gpu, x)?;
    let gate = elementwise::Forward::new(layer.activation, &z, &gated).backward(squares).dx(&gated);
    gpu.submit(|encoder| gate.record(gpu, encoder))?;
    let x2: Vec<f32> = gpu.download(x)?.iter().map(|x| x * x).collect();
    let x2 = gpu.upload(&x2, x.shape())?;
    let sums = Dense::new(Activation::IDENTITY, layer.w.clone(), None).backward(gpu, &x2, &gated)?.dw;
    Ok(gpu.download(&sums)?.iter().map(|sum| sum / z.shape()[0] as f32).collect())
}
