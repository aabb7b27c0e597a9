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
        // A derivative of 0 stops both factors, but a NaN in either stays NaN.
        let both =
            |by: f64| if by == 0.0 { activation.passed(ddx, by) + activation.passed(dy, by) } else { ddx * dy * by };
        out.ddy.push(activation.passed(ddx, activation.slope(x)));
        out.dx2.push(both(activation.second_derivative(x)));
        out.dalpha2.add(channel(request, i), both(activation.mixed_derivative(x)));
    }
    Ok(out)
}
