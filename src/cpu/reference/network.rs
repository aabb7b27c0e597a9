//! A whole network, in f64 from x to y.

use super::{
    Gradient,
    jet::{self, Local},
    with_alpha,
};
use crate::{
    activation::Activation,
    cpu::operands,
    error::Result,
    operand::Operand,
    request::{AlphaSource, Layers, Place},
};

/// y `[rows, N]` of a network whose parameters lie in one slice as [`Layers::place`] says; nothing is rounded between layers. An error names
/// the operand that does not fit.
///
/// ```
/// use elbow::{Activation, cpu::reference, network::Layers};
/// let layers = Layers::new(&[1, 2, 1], Activation::RELU)?;
/// let mut parameters = vec![0.0; layers.elements()];
/// let [hidden, last] = [0, 1].map(|l| layers.place(l));
/// parameters[hidden.w..][..2].copy_from_slice(&[1.0, -1.0]);
/// parameters[last.w..][..2].copy_from_slice(&[1.0, 1.0]); // relu(x) + relu(-x)
/// parameters[last.b] = 0.5;
/// assert_eq!(reference::network(&layers, 2, &[3.0, -4.0], &parameters)?, [3.5, 4.5]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn network(layers: &Layers, rows: usize, x: &[f32], parameters: &[f32]) -> Result<Vec<f64>> {
    let [x, parameters] = operands::network(layers, rows, x, parameters)?;
    let mut below: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    for l in 0..layers.count {
        let layer = Layer::of(layers, l, parameters);
        below = layer.values(layers, &layer.sums(layers, &below));
    }
    Ok(below)
}

/// The gradients of a network.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct NetworkGradients {
    /// Of x, `[rows, K]`.
    pub dx: Gradient,
    /// Of all parameters, in their order; 0 between two parts.
    pub parameters: Gradient,
}

/// The gradients of a network of which [`network()`] is the value, from dy `[rows, N]`.
///
/// ```
/// use elbow::{Activation, cpu::reference, network::Layers};
/// let layers = Layers::new(&[1, 1, 1], Activation::RELU)?;
/// let mut parameters = vec![0.0; layers.elements()];
/// let [hidden, last] = [0, 1].map(|l| layers.place(l));
/// (parameters[hidden.w], parameters[last.w]) = (2.0, 5.0); // 5 relu(2 x)
/// let gradients = reference::network_backward(&layers, 2, &[3.0, -4.0], &parameters, &[1.0, 1.0])?;
/// assert_eq!(gradients.dx.value, [10.0, 0.0]);
/// assert_eq!(gradients.parameters.value[hidden.w], 15.0);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn network_backward(
    layers: &Layers,
    rows: usize,
    x: &[f32],
    parameters: &[f32],
    dy: &[f32],
) -> Result<NetworkGradients> {
    let [x, parameters] = operands::network(layers, rows, x, parameters)?;
    let dy = operands::slice(Operand::Dy, dy, &[rows, layers.outputs])?;
    let members = layers.jet.map_or(1, |jet| jet.members());
    let mut inputs: Vec<Vec<f64>> = vec![x.iter().map(|&x| f64::from(x)).collect()];
    let mut sums: Vec<Vec<f64>> = Vec::new();
    for l in 0..layers.count {
        let layer = Layer::of(layers, l, parameters);
        sums.push(layer.sums(layers, &inputs[l]));
        inputs.push(layer.values(layers, &sums[l]));
    }
    let mut gradients = Gradient::zeros(layers.elements());
    let mut dx = Gradient { value: dy.iter().map(|&dy| f64::from(dy)).collect(), terms: Vec::new() };
    for l in (0..layers.count).rev() {
        let layer = Layer::of(layers, l, parameters);
        let Layer { place, n, k, weights, .. } = layer;
        let mut below = Gradient::zeros(rows * k);
        for i in 0..rows * n {
            let (row, channel) = (i / n, i % n);
            let member = row % members;
            let of_member = |m: usize| (row - member + m) * n + channel;
            let dy = |m| (dx.value[of_member(m)], dx.value[of_member(m)].abs());
            let activation = layer.activation(layers, channel);
            let Local { dz: (dz, size), dalpha: (dalpha, size_of_alpha) } =
                jet::gradient(layers.jet.as_ref(), &activation, member, |m| sums[l][of_member(m)], dy);
            // α and b are felt by the value of a jet: its term has the derivatives' parts.
            if member == 0 {
                if let Some(alpha) = place.alpha {
                    let at = if layers.alpha == AlphaSource::PerLayer { alpha } else { alpha + channel };
                    gradients.add_with(at, dalpha, size_of_alpha);
                }
                gradients.add_with(place.b + channel, dz, size);
            }
            for j in 0..k {
                let (x, w) = (inputs[l][row * k + j], f64::from(weights[channel * k + j]));
                gradients.add_with(place.w + channel * k + j, dz * x, size * x.abs());
                below.add_with(row * k + j, dz * w, size * w.abs());
            }
        }
        dx = below;
    }
    Ok(NetworkGradients { dx, parameters: gradients })
}

/// A layer's part of all parameters.
struct Layer<'a> {
    place: Place,
    n: usize,
    k: usize,
    last: bool,
    weights: &'a [f32],
    b: &'a [f32],
    alpha: Option<&'a [f32]>,
}

impl<'a> Layer<'a> {
    fn of(layers: &Layers, l: usize, parameters: &'a [f32]) -> Self {
        let (place, [n, k]) = (layers.place(l), layers.shape(l));
        Layer {
            place,
            n,
            k,
            last: l + 1 == layers.count,
            weights: &parameters[place.w..][..n * k],
            b: &parameters[place.b..][..n],
            alpha: place.alpha.map(|at| &parameters[at..place.end]),
        }
    }

    fn activation(&self, layers: &Layers, channel: usize) -> Activation {
        let source = if self.alpha.is_some() { layers.alpha } else { AlphaSource::Constant };
        with_alpha(if self.last { layers.output } else { layers.activation }, source, self.alpha, channel)
    }

    /// z `[rows, n]`: b moves the value of a jet, and no derivative of it.
    fn sums(&self, layers: &Layers, below: &[f64]) -> Vec<f64> {
        let members = layers.jet.map_or(1, |jet| jet.members());
        let mut sums = Vec::with_capacity(below.len() / self.k * self.n);
        for (row, inputs) in below.chunks(self.k).enumerate() {
            for (weights, &b) in self.weights.chunks(self.k).zip(self.b) {
                let z: f64 = inputs.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum();
                sums.push(z + if row % members == 0 { f64::from(b) } else { 0.0 });
            }
        }
        sums
    }

    fn values(&self, layers: &Layers, sums: &[f64]) -> Vec<f64> {
        let element = |i: usize| {
            let (row, channel) = (i / self.n, i % self.n);
            let activation = self.activation(layers, channel);
            match &layers.jet {
                None => activation.value(sums[i]),
                Some(jet) => {
                    let member = row % jet.members();
                    jet::value(jet, &activation, member, |m| sums[(row - member + m) * self.n + channel])
                }
            }
        };
        (0..sums.len()).map(element).collect()
    }
}
