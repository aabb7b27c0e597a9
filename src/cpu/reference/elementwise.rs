//! The activations alone on a tensor `[rows, channels]`, in f64.

use super::{Gradient, with_alpha};
use crate::{
    cpu::{Elementwise, operands},
    error::Result,
    operand::Operand,
    request::AlphaSource,
};

/// The results of [`backward`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct BackwardOutputs {
    /// dx = dy ⊙ act'(x), `[rows, channels]`.
    pub dx: Vec<f64>,
    /// dα = Σ dy ⊙ ∂act/∂α, `[channels]` for α per channel, else `[1]`.
    pub dalpha: Gradient,
}

/// The results of [`double_backward`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DoubleBackwardOutputs {
    /// ddy = ddx ⊙ act'(x), `[rows, channels]`.
    pub ddy: Vec<f64>,
    /// dx2 = ddx ⊙ dy ⊙ act''(x), `[rows, channels]`.
    pub dx2: Vec<f64>,
    /// dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α, `[channels]` for α per channel, else `[1]`.
    pub dalpha2: Gradient,
}

/// y = act(x; α), `[rows, channels]`. An error names the operand that does not fit the request.
///
/// ```
/// use elbow::{Activation, cpu::{Elementwise, reference::elementwise}};
/// let request = Elementwise::new(1, 3, Activation::RELU);
/// assert_eq!(elementwise::forward(&request, &[-1.0, 0.0, 2.0], None)?, [0.0, 0.0, 2.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn forward(request: &Elementwise, x: &[f32], alpha: Option<&[f32]>) -> Result<Vec<f64>> {
    let x = operands::slice(Operand::X, x, &[request.rows, request.channels])?;
    let alpha = request.checked_alpha(alpha)?;
    let value = |(i, &x): (usize, &f32)| {
        with_alpha(request.activation, request.alpha, alpha, i % request.channels).value(f64::from(x))
    };
    Ok(x.iter().enumerate().map(value).collect())
}

/// The element of dα to which element `i` of x adds.
fn channel(request: &Elementwise, i: usize) -> usize {
    if request.alpha == AlphaSource::PerChannel { i % request.channels } else { 0 }
}

/// dx = dy ⊙ act'(x), dα = Σ dy ⊙ ∂act/∂α. An error names the operand that does not fit the request.
///
/// ```
/// use elbow::{Activation, AlphaSource, cpu::{Elementwise, reference::elementwise}};
/// let request = Elementwise::new(1, 3, Activation::prelu(0.25)?).alpha(AlphaSource::PerLayer);
/// let gradients = elementwise::backward(&request, &[-1.0, -2.0, 3.0], Some(&[0.5]), &[1.0, 1.0, 1.0])?;
/// assert_eq!((gradients.dx, gradients.dalpha.value), (vec![0.5, 0.5, 1.0], vec![-3.0]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn backward(request: &Elementwise, x: &[f32], alpha: Option<&[f32]>, dy: &[f32]) -> Result<BackwardOutputs> {
    let shape = [request.rows, request.channels];
    let x = operands::slice(Operand::X, x, &shape)?;
    let dy = operands::slice(Operand::Dy, dy, &shape)?;
    let alpha = request.checked_alpha(alpha)?;
    let mut out = BackwardOutputs {
        dx: Vec::new(),
        dalpha: Gradient::zeros(operands::alpha_length(request.alpha, request.channels)),
    };
    for (i, (&x, &dy)) in x.iter().zip(dy).enumerate() {
        let activation = with_alpha(request.activation, request.alpha, alpha, i % request.channels);
        let (x, dy) = (f64::from(x), f64::from(dy));
        out.dx.push(activation.passed(dy, activation.slope(x)));
        out.dalpha.add(channel(request, i), activation.passed(dy, activation.alpha_slope(x)));
    }
    Ok(out)
}

/// ddy = ddx ⊙ act'(x), dx2 = ddx ⊙ dy ⊙ act''(x), dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α. An error names the operand that does not fit.
///
/// ```
/// use elbow::{Activation, cpu::{Elementwise, reference::elementwise}};
/// let request = Elementwise::new(1, 2, Activation::RELU_SQUARED);
/// let second = elementwise::double_backward(&request, &[-1.0, 3.0], None, &[1.0, 1.0], &[1.0, 1.0])?;
/// assert_eq!((second.ddy, second.dx2), (vec![0.0, 6.0], vec![0.0, 2.0]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn double_backward(
    request: &Elementwise,
    x: &[f32],
    alpha: Option<&[f32]>,
    dy: &[f32],
    ddx: &[f32],
) -> Result<DoubleBackwardOutputs> {
    let shape = [request.rows, request.channels];
    let x = operands::slice(Operand::X, x, &shape)?;
    let dy = operands::slice(Operand::Dy, dy, &shape)?;
    let ddx = operands::slice(Operand::Ddx, ddx, &shape)?;
    let alpha = request.checked_alpha(alpha)?;
    let mut out = DoubleBackwardOutputs {
        dalpha2: Gradient::zeros(operands::alpha_length(request.alpha, request.channels)),
        ..DoubleBackwardOutputs::default()
    };
    for i in 0..x.len() {
        let activation = with_alpha(request.activation, request.alpha, alpha, i % request.channels);
        let (x, dy, ddx) = (f64::from(x[i]), f64::from(dy[i]), f64::from(ddx[i]));
        let both = |by: f64| activation.passed_both(ddx, dy, by);
        out.ddy.push(activation.passed(ddx, activation.slope(x)));
        out.dx2.push(both(activation.second_derivative(x)));
        out.dalpha2.add(channel(request, i), both(activation.mixed_derivative(x)));
    }
    Ok(out)
}

/// The results of [`gated_backward`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct GatedOutputs {
    /// dgate = dy ⊙ up ⊙ act'(gate), `[rows, channels]`.
    pub dgate: Vec<f64>,
    /// dup = dy ⊙ act(gate), `[rows, channels]`.
    pub dup: Vec<f64>,
    /// dα = Σ dy ⊙ up ⊙ ∂act/∂α, `[channels]` for α per channel, else `[1]`.
    pub dalpha: Gradient,
}

/// y = act(gate; α) ⊙ up, `[rows, channels]`. An error names the operand that does not fit the request.
///
/// ```
/// use elbow::{Activation, cpu::{Elementwise, reference::elementwise}};
/// let request = Elementwise::new(1, 3, Activation::RELU);
/// assert_eq!(elementwise::gated_forward(&request, &[-1.0, 0.5, 2.0], &[1.0, 2.0, 3.0], None)?, [0.0, 1.0, 6.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn gated_forward(request: &Elementwise, gate: &[f32], up: &[f32], alpha: Option<&[f32]>) -> Result<Vec<f64>> {
    let up = operands::slice(Operand::Up, up, &[request.rows, request.channels])?;
    operands::slice(Operand::Gate, gate, &[request.rows, request.channels])?;
    let value = forward(request, gate, alpha)?;
    Ok(value.iter().zip(up).map(|(value, &up)| value * f64::from(up)).collect())
}

/// dgate = dy ⊙ up ⊙ act'(gate), dup = dy ⊙ act(gate), dα = Σ dy ⊙ up ⊙ ∂act/∂α. An error names the operand that does not fit the request.
///
/// ```
/// use elbow::{Activation, cpu::{Elementwise, reference::elementwise}};
/// let request = Elementwise::new(1, 2, Activation::RELU_SQUARED);
/// let gradients = elementwise::gated_backward(&request, &[-1.0, 3.0], &[5.0, 2.0], None, &[1.0, 1.0])?;
/// assert_eq!((gradients.dgate, gradients.dup), (vec![0.0, 12.0], vec![0.0, 9.0]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn gated_backward(
    request: &Elementwise,
    gate: &[f32],
    up: &[f32],
    alpha: Option<&[f32]>,
    dy: &[f32],
) -> Result<GatedOutputs> {
    let shape = [request.rows, request.channels];
    let gate = operands::slice(Operand::Gate, gate, &shape)?;
    let up = operands::slice(Operand::Up, up, &shape)?;
    let dy = operands::slice(Operand::Dy, dy, &shape)?;
    let alpha = request.checked_alpha(alpha)?;
    let alphas = operands::alpha_length(request.alpha, request.channels);
    let mut out = GatedOutputs { dalpha: Gradient::zeros(alphas), ..GatedOutputs::default() };
    for i in 0..gate.len() {
        let activation = with_alpha(request.activation, request.alpha, alpha, i % request.channels);
        let (gate, up, dy) = (f64::from(gate[i]), f64::from(up[i]), f64::from(dy[i]));
        let both = |by: f64| activation.passed_both(dy, up, by);
        out.dgate.push(both(activation.slope(gate)));
        out.dup.push(dy * activation.value(gate));
        out.dalpha.add(channel(request, i), both(activation.alpha_slope(gate)));
    }
    Ok(out)
}
