//! Gated units, y = act(gate) ⊙ up, on tensors `[rows, channels]`.

use elbow::{
    Operand,
    activation::Quantity,
    cpu::{Elementwise, operands},
    error::Result,
};

use super::{BLOCK, map, write};
use crate::{outputs, pass::Channels, threads, vectors};

/// y = act(gate; α) ⊙ up, `[rows, channels]`. An error names the operand that does not fit the request, and nothing is written.
///
/// ```
/// use elbow::Activation;
/// use elbow_cpu::{Elementwise, elementwise};
/// let mut y = [0.0; 3];
/// let request = Elementwise::new(1, 3, Activation::RELU);
/// elementwise::gated_forward(&request, &[-1.0, 0.5, 2.0], &[1.0, 2.0, 3.0], None, &mut y)?;
/// assert_eq!(y, [0.0, 1.0, 6.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn gated_forward(
    request: &Elementwise,
    gate: &[f32],
    up: &[f32],
    alpha: Option<&[f32]>,
    y: &mut [f32],
) -> Result<()> {
    let shape = [request.rows, request.channels];
    let gate = operands::slice(Operand::Gate, gate, &shape)?;
    let up = operands::slice(Operand::Up, up, &shape)?;
    let alpha = request.checked_alpha(alpha)?;
    let y = outputs::slice_mut(Operand::Y, y, &shape)?;
    times(request, Quantity::Value, gate, alpha, up, y);
    Ok(())
}

/// out = a quantity of gate ⊙ factor.
fn times(
    request: &Elementwise,
    quantity: Quantity,
    gate: &[f32],
    alpha: Option<&[f32]>,
    factor: &[f32],
    out: &mut [f32],
) {
    map(request, quantity, gate, alpha, out);
    let blocks = out.chunks_mut(BLOCK).zip(factor.chunks(BLOCK));
    threads::each(blocks, |(out, factor)| vectors::pass_one(false, out, factor));
}

/// The results of [`gated_backward`]; None for one that is not wanted.
#[derive(Debug, Default)]
pub struct GatedOutputs<'a> {
    /// dgate = dy ⊙ up ⊙ act'(gate), `[rows, channels]`.
    pub dgate: Option<&'a mut [f32]>,
    /// dup = dy ⊙ act(gate), `[rows, channels]`.
    pub dup: Option<&'a mut [f32]>,
    /// dα = Σ dy ⊙ up ⊙ ∂act/∂α, `[1]` or `[channels]`.
    pub dalpha: Option<&'a mut [f32]>,
}

/// dgate = dy ⊙ up ⊙ act'(gate), dup = dy ⊙ act(gate), dα = Σ dy ⊙ up ⊙ ∂act/∂α. All are overwritten. An error names the operand that does not
/// fit, and nothing is written.
///
/// ```
/// use elbow::Activation;
/// use elbow_cpu::{Elementwise, elementwise::{self, GatedOutputs}};
/// let request = Elementwise::new(1, 2, Activation::RELU_SQUARED);
/// let (mut dgate, mut dup) = ([0.0; 2], [0.0; 2]);
/// let outputs = GatedOutputs { dgate: Some(&mut dgate), dup: Some(&mut dup), dalpha: None };
/// elementwise::gated_backward(&request, &[-1.0, 3.0], &[5.0, 2.0], None, &[1.0; 2], outputs)?;
/// assert_eq!((dgate, dup), ([0.0, 12.0], [0.0, 9.0]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn gated_backward(
    request: &Elementwise,
    gate: &[f32],
    up: &[f32],
    alpha: Option<&[f32]>,
    dy: &[f32],
    outputs: GatedOutputs<'_>,
) -> Result<()> {
    let shape = [request.rows, request.channels];
    let gate = operands::slice(Operand::Gate, gate, &shape)?;
    let up = operands::slice(Operand::Up, up, &shape)?;
    let dy = operands::slice(Operand::Dy, dy, &shape)?;
    let alpha = request.checked_alpha(alpha)?;
    let dgate = outputs.dgate.map(|out| outputs::slice_mut(Operand::Dgate, out, &shape)).transpose()?;
    let dup = outputs.dup.map(|out| outputs::slice_mut(Operand::Dup, out, &shape)).transpose()?;
    let dalpha = outputs::dalpha(request, Operand::Dalpha, outputs.dalpha)?;
    if let Some(dgate) = dgate {
        map(request, Quantity::Slope, gate, alpha, dgate);
        let stops = request.activation.is_piecewise();
        let blocks = dgate.chunks_mut(BLOCK).zip(dy.chunks(BLOCK).zip(up.chunks(BLOCK)));
        threads::each(blocks, |(dgate, (dy, up))| vectors::pass_both(stops, dgate, dy, up));
    }
    if let Some(dup) = dup {
        times(request, Quantity::Value, gate, alpha, dy, dup);
    }
    if let Some(dalpha) = dalpha {
        let channels = Channels::new(request.activation, request.alpha, alpha, request.channels);
        let mut sums = vec![0.0; dalpha.len()];
        channels.sum_derivative(Quantity::AlphaSlope, gate, dy, up, &mut sums);
        write(Some(dalpha), &sums);
    }
    Ok(())
}
