//! The activations alone on a tensor [rows, channels], in f64.

use super::{Gradient, with_alpha};
use crate::{
    cpu::{Elementwise, operands},
    error::Result,
    operand::Operand,
    request::AlphaSource,
};

/// What backward gives.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct BackwardOutputs {
    /// dy ⊙ act'(x)
    pub dx: Vec<f64>,
    /// Σ dy ⊙ ∂act/∂α, `[channels]` for α per channel, else `[1]`
    pub dalpha: Gradient,
}

/// What double backward gives.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DoubleBackwardOutputs {
    /// ddx ⊙ act'(x)
    pub ddy: Vec<f64>,
    /// ddx ⊙ dy ⊙ act''(x)
    pub dx2: Vec<f64>,
    /// Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α
    pub dalpha2: Gradient,
}

/// y = act(x; α).
pub fn forward(request: &Elementwise, x: &[f32], alpha: Option<&[f32]>) -> Result<Vec<f64>> {
    let x = operands::slice(Operand::X, x, &[request.rows, request.channels])?;
    let alpha = request.checked_alpha(alpha)?;
    let value = |(i, &x): (usize, &f32)| {
        with_alpha(request.activation, request.alpha, alpha, i % request.channels).value(f64::from(x))
    };
    Ok(x.iter().enumerate().map(value).collect())
}

/// Where the gradient of α of element `i` is summed.
fn channel(request: &Elementwise, i: usize) -> usize {
    if request.alpha == AlphaSource::PerChannel { i % request.channels } else { 0 }
}

/// dx = dy ⊙ act'(x), dα = Σ dy ⊙ ∂act/∂α.
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

/// ddy = ddx ⊙ act', dx2 = ddx ⊙ dy ⊙ act'', dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α.
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
        // Two factors: a derivative of 0 stops both, and either may be NaN.
        let both =
            |by: f64| if by == 0.0 { activation.passed(ddx, by) + activation.passed(dy, by) } else { ddx * dy * by };
        out.ddy.push(activation.passed(ddx, activation.slope(x)));
        out.dx2.push(both(activation.second_derivative(x)));
        out.dalpha2.add(channel(request, i), both(activation.mixed_derivative(x)));
    }
    Ok(out)
}
