//! The activations alone on a tensor `[rows, channels]`, in f32: value, backward, double backward; and gated units.

mod gated;

use elbow::{
    Operand,
    activation::{Activation, Quantity},
    cpu::{Elementwise, operands},
    error::Result,
};

pub use gated::{GatedOutputs, gated_backward, gated_forward};

use crate::{
    activation::{Alpha, evaluate},
    outputs,
    pass::{self, Channels, Descend},
    saved::SavedIn,
    slopes::Slopes,
    threads, vectors,
};

/// Elements that one thread takes at a time.
const BLOCK: usize = 64 * 1024;
/// Elements up to which one thread works alone: a second one would cost more than it saves.
const SERIAL: usize = 16 * 1024;

/// y = act(x; α), `[rows, channels]`. An error names the operand that does not fit the request, and nothing is written.
///
/// ```
/// use elbow::Activation;
/// use elbow_cpu::{Elementwise, elementwise};
/// let mut y = [0.0; 3];
/// elementwise::forward(&Elementwise::new(1, 3, Activation::RELU), &[-1.0, 0.0, 2.0], None, &mut y)?;
/// assert_eq!(y, [0.0, 0.0, 2.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn forward(request: &Elementwise, x: &[f32], alpha: Option<&[f32]>, y: &mut [f32]) -> Result<()> {
    let shape = [request.rows, request.channels];
    let x = operands::slice(Operand::X, x, &shape)?;
    let alpha = request.checked_alpha(alpha)?;
    let y = outputs::slice_mut(Operand::Y, y, &shape)?;
    map(request, Quantity::Value, x, alpha, y);
    Ok(())
}

/// A quantity of all elements: each is read from x and written to y once.
fn map(request: &Elementwise, quantity: Quantity, x: &[f32], alpha: Option<&[f32]>, y: &mut [f32]) {
    if y.is_empty() {
        return;
    }
    let channels = Channels::new(request.activation, request.alpha, alpha, request.channels);
    let block = match channels.alpha_of_all() {
        Some(_) => BLOCK,
        None => pass::block_rows(request.rows, request.channels) * request.channels,
    };
    let work = |(y, x): (&mut [f32], &[f32])| match channels.alpha_of_all() {
        Some(activation) => evaluate_one(&activation, quantity, x, y),
        None => channels.map(quantity, x, y),
    };
    if y.len() <= SERIAL { work((y, x)) } else { threads::each(y.chunks_mut(block).zip(x.chunks(block)), work) }
}

fn evaluate_one(activation: &Activation, quantity: Quantity, x: &[f32], y: &mut [f32]) {
    evaluate(activation, quantity, Alpha::One(activation.params()[0]), x, y);
}

/// dx = dy ⊙ act'(x), and dα = Σ dy ⊙ ∂act/∂α over all elements, or over the rows for α per channel. `dalpha`, `[1]` or `[channels]`, is
/// overwritten; None if it is not wanted.
///
/// ```
/// use elbow::{Activation, AlphaSource};
/// use elbow_cpu::{Elementwise, elementwise};
/// let request = Elementwise::new(1, 3, Activation::prelu(0.25)?).alpha(AlphaSource::PerLayer);
/// let (mut dx, mut dalpha) = ([0.0; 3], [0.0; 1]);
/// elementwise::backward(&request, &[-1.0, -2.0, 3.0], Some(&[0.5]), &[1.0; 3], &mut dx, Some(&mut dalpha))?;
/// assert_eq!((dx, dalpha), ([0.5, 0.5, 1.0], [-3.0]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn backward(
    request: &Elementwise,
    x: &[f32],
    alpha: Option<&[f32]>,
    dy: &[f32],
    dx: &mut [f32],
    dalpha: Option<&mut [f32]>,
) -> Result<()> {
    let shape = [request.rows, request.channels];
    let x = operands::slice(Operand::X, x, &shape)?;
    let alpha = request.checked_alpha(alpha)?;
    let dy = operands::slice(Operand::Dy, dy, &shape)?;
    let dx = outputs::slice_mut(Operand::Dx, dx, &shape)?;
    let dalpha = outputs::dalpha(request, Operand::Dalpha, dalpha)?;
    let descend = Descend {
        channels: Channels::new(request.activation, request.alpha, alpha, request.channels),
        slopes: Slopes::Saved(SavedIn::Z(x)),
        dy: Some(dy),
        db: false,
        dalpha: dalpha.is_some(),
        row_weight: None,
        dropout: None,
        jet: None,
    };
    let mut partials = Vec::new();
    let (_, sums) = descend.all(dx, &mut partials, &mut []);
    write(dalpha, sums);
    Ok(())
}

/// The results of [`double_backward`]; None for one that is not wanted.
#[derive(Debug, Default)]
pub struct DoubleBackwardOutputs<'a> {
    /// ddy = ddx ⊙ act'(x), `[rows, channels]`.
    pub ddy: Option<&'a mut [f32]>,
    /// dx2 = ddx ⊙ dy ⊙ act''(x), `[rows, channels]`.
    pub dx2: Option<&'a mut [f32]>,
    /// dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α, `[1]` or `[channels]`.
    pub dalpha2: Option<&'a mut [f32]>,
}

/// The gradients of [`backward`], from the gradient ddx that comes back to dx: ddy = ddx ⊙ act'(x), dx2 = ddx ⊙ dy ⊙ act''(x),
/// dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α. All are overwritten.
///
/// ```
/// use elbow::Activation;
/// use elbow_cpu::{Elementwise, elementwise::{self, DoubleBackwardOutputs}};
/// let request = Elementwise::new(1, 2, Activation::RELU_SQUARED);
/// let (mut ddy, mut dx2) = ([0.0; 2], [0.0; 2]);
/// let outputs = DoubleBackwardOutputs { ddy: Some(&mut ddy), dx2: Some(&mut dx2), dalpha2: None };
/// elementwise::double_backward(&request, &[-1.0, 3.0], None, &[1.0; 2], &[1.0; 2], outputs)?;
/// assert_eq!((ddy, dx2), ([0.0, 6.0], [0.0, 2.0]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn double_backward(
    request: &Elementwise,
    x: &[f32],
    alpha: Option<&[f32]>,
    dy: &[f32],
    ddx: &[f32],
    outputs: DoubleBackwardOutputs<'_>,
) -> Result<()> {
    let shape = [request.rows, request.channels];
    let x = operands::slice(Operand::X, x, &shape)?;
    let alpha = request.checked_alpha(alpha)?;
    let dy = operands::slice(Operand::Dy, dy, &shape)?;
    let ddx = operands::slice(Operand::Ddx, ddx, &shape)?;
    let DoubleBackwardOutputs { ddy, dx2, dalpha2 } = outputs;
    let ddy = ddy.map(|out| outputs::slice_mut(Operand::Ddy, out, &shape)).transpose()?;
    let dx2 = dx2.map(|out| outputs::slice_mut(Operand::Dx2, out, &shape)).transpose()?;
    let dalpha2 = outputs::dalpha(request, Operand::Dalpha2, dalpha2)?;
    let stops = request.activation.is_piecewise();
    if let Some(ddy) = ddy {
        map(request, Quantity::Slope, x, alpha, ddy);
        let blocks = ddy.chunks_mut(BLOCK).zip(ddx.chunks(BLOCK));
        threads::each(blocks, |(ddy, ddx)| vectors::pass_one(stops, ddy, ddx));
    }
    if let Some(dx2) = dx2 {
        map(request, Quantity::SecondDerivative, x, alpha, dx2);
        let blocks = dx2.chunks_mut(BLOCK).zip(ddx.chunks(BLOCK).zip(dy.chunks(BLOCK)));
        threads::each(blocks, |(dx2, (ddx, dy))| vectors::pass_both(stops, dx2, ddx, dy));
    }
    if let Some(dalpha2) = dalpha2 {
        let channels = Channels::new(request.activation, request.alpha, alpha, request.channels);
        let mut sums = vec![0.0; dalpha2.len()];
        channels.sum_derivative(Quantity::MixedDerivative, x, dy, ddx, &mut sums);
        write(Some(dalpha2), &sums);
    }
    Ok(())
}

fn write(out: Option<&mut [f32]>, sums: &[f64]) {
    if let Some(out) = out {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = *sum as f32;
        }
    }
}
