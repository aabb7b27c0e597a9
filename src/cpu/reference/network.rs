//! A whole network, in f64 from x to y.

use super::{jet, with_alpha};
use crate::{
    cpu::operands,
    error::Result,
    operand::Operand,
    request::{AlphaSource, Layers},
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
    let x = operands::slice(Operand::X, x, &[rows, layers.inputs])?;
    let parameters = operands::slice(Operand::Parameter, parameters, &[layers.elements()])?;
    layers.check(rows)?;
    let mut below: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    for l in 0..layers.count {
        let (place, [n, k]) = (layers.place(l), layers.shape(l));
        let alpha = place.alpha.map(|at| &parameters[at..place.end]);
        let source = if alpha.is_some() { layers.alpha } else { AlphaSource::Constant };
        let activation = if l + 1 < layers.count { layers.activation } else { layers.output };
        let z = |row: usize, channel: usize| -> f64 {
            let weights = &parameters[place.w + channel * k..][..k];
            below[row * k..][..k].iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum()
        };
        let element = |i: usize| {
            let (row, channel) = (i / n, i % n);
            let (b, activation) =
                (f64::from(parameters[place.b + channel]), with_alpha(activation, source, alpha, channel));
            let members = layers.jet.map_or(1, |jet| jet.members());
            let (first, member) = (row - row % members, row % members);
            // b moves the value, and no derivative of it.
            let z = |member: usize| z(first + member, channel) + if member == 0 { b } else { 0.0 };
            match &layers.jet {
                None => activation.value(z(0)),
                Some(jet) => jet::value(jet, &activation, member, z),
            }
        };
        below = (0..rows * n).map(element).collect();
    }
    Ok(below)
}
