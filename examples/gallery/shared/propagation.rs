//! Random layers on top of each other, many networks at once, and the map that theory has for their mean squares.

use elbow::{Activation, Gpu, Saved, affine, gpu::transfer::Tensor};

use super::{Result, statistics::normal_density};

/// How the σ² of the weights behind a layer is chosen.
#[derive(Clone, Copy)]
pub(crate) enum Sigma {
    One,
    /// Of the activation below: 1/E[φ(Z)²].
    OfBelow,
    /// Of the activation that comes next.
    OfNext,
}

/// Layers with two activations in turn, y = σ φ(Wy), in E networks, W `[E, N, N]` of variance 1/N: σ is the kernel's row weight.
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    activations: [Activation; 2],
    sigma: Sigma,
    /// y of the layers so far; then the gradient.
    pub(crate) y: Tensor,
    z: Vec<Tensor>,
    /// The mean of z² for each depth and network, given y.
    pub(crate) q: Vec<Vec<f64>>,
}

impl Stack {
    /// Begins with y `[E, 1, N]`.
    pub(crate) fn new(name: &'static str, activations: [Activation; 2], sigma: Sigma, y: Tensor) -> Self {
        Stack { name, activations, sigma, y, z: Vec::new(), q: Vec::new() }
    }

    fn activation(&self, layer: usize) -> Activation {
        self.activations[layer % 2]
    }

    fn sigma2(&self, layer: usize) -> f64 {
        match self.sigma {
            Sigma::One => 1.0,
            Sigma::OfBelow => 1.0 / self.activation(layer).gain().value_moment,
            Sigma::OfNext => 1.0 / self.activation(layer + 1).gain().value_moment,
        }
    }

    /// V(q) = σ² E[φ(√q Z)²] of a layer, and σ² E[φ'(√q Z)²], which multiplies the mean square of gradients.
    pub(crate) fn map(&self, layer: usize, q: f64) -> (f64, f64) {
        let (act, sigma2) = (self.activation(layer), self.sigma2(layer));
        (sigma2 * moment(q, |z| act.value(z)), sigma2 * moment(q, |z| act.slope(z)))
    }

    /// One layer more.
    pub(crate) fn forward(&mut self, gpu: &Gpu, w: &Tensor) -> Result<()> {
        let layer = self.z.len();
        self.q.push(mean_squares(gpu, &self.y)?);
        let (y, z, sigma) = (gpu.zeros(self.y.shape())?, gpu.zeros(self.y.shape())?, self.row_weight(gpu, layer)?);
        let call = affine::Forward::new(self.activation(layer), &self.y, w, &y).row_weight(&sigma);
        gpu.submit(|encoder| call.saved(Saved::Z).save_to(&z).record(gpu, encoder))?;
        self.y = y;
        self.z.push(z);
        Ok(())
    }

    /// Takes the last layer off, and `self.y` from its dy to its dx.
    pub(crate) fn backward(&mut self, gpu: &Gpu, w: &Tensor) -> Result<()> {
        let z = self.z.pop().ok_or("a stack without layers")?;
        let layer = self.z.len();
        let (dx, sigma) = (gpu.zeros(self.y.shape())?, self.row_weight(gpu, layer)?);
        let call = affine::Forward::new(self.activation(layer), &dx, w, &self.y).row_weight(&sigma);
        let call = call.saved(Saved::Z).save_to(&z).backward(&self.y).dx(&dx);
        gpu.submit_pass(|pass| call.record(gpu, pass))?;
        self.y = dx;
        Ok(())
    }

    fn row_weight(&self, gpu: &Gpu, layer: usize) -> Result<Tensor> {
        let networks = self.y.shape()[0];
        Ok(gpu.upload(&vec![self.sigma2(layer).sqrt() as f32; networks], &[networks, 1])?)
    }
}

/// The mean square of each row.
pub(crate) fn mean_squares(gpu: &Gpu, y: &Tensor) -> Result<Vec<f64>> {
    let columns = y.shape().last().copied().unwrap_or(1);
    let of = |row: &[f32]| row.iter().map(|&y| f64::from(y).powi(2)).sum::<f64>() / columns as f64;
    Ok(gpu.download(y)?.chunks(columns).map(of).collect())
}

/// E[f(√q Z)²] by the midpoint rule: exact to rounding for analytic f, and for a kink or a jump at 0 of f² = c z² or c, with a c for each side.
fn moment(q: f64, f: impl Fn(f64) -> f64) -> f64 {
    (-160..160).map(|i| (f64::from(i) + 0.5) / 16.0).map(|z| f(q.sqrt() * z).powi(2) * normal_density(z) / 16.0).sum()
}
