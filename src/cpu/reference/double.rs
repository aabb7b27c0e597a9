//! The double backward of a layer in f64, by the formulas of [`DoubleBackward`](crate::affine::DoubleBackward).

use super::{BackwardInputs, Gradient, forward, weight, with_alpha};
use crate::{
    cpu::{ForwardInputs, operands},
    error::Result,
    operand::Operand,
    request::{AffineRequest, AlphaSource, DoubleBackwardRequest, ResidualAt},
    setters::setters,
};

/// What comes back to the gradients of a layer, as slices; what is None counts as 0.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ReturningInputs<'a> {
    /// To dx, `[M, K]`.
    pub ddx: Option<&'a [f32]>,
    /// To dW, in the layout of w.
    pub ddw: Option<&'a [f32]>,
    /// To db, `[N]`.
    pub ddb: Option<&'a [f32]>,
    /// To dα, `[1]` or `[N]`.
    pub ddalpha: Option<&'a [f32]>,
    /// To the gradient of a residual before the activation, `[M, N]`.
    pub ddresidual: Option<&'a [f32]>,
}

setters!(ReturningInputs<'a> {
    ddx: Option<&'a [f32]>,
    ddw: Option<&'a [f32]>,
    ddb: Option<&'a [f32]>,
    ddalpha: Option<&'a [f32]>,
    ddresidual: Option<&'a [f32]>,
});

/// All gradients of a double backward, whether the request wants them or not.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DoubleBackwardOutputs {
    /// ż = ddx·Wᵀ + x·ddWᵀ + ddb (+ ddresidual), `[M, N]`.
    pub tangent: Gradient,
    /// dz = dy ⊙ act'(z), `[M, N]`.
    pub dz: Gradient,
    /// For z, `[M, N]`, and for a residual before the activation.
    pub dz2: Gradient,
    /// For dy, `[M, N]`.
    pub ddy: Gradient,
    /// For x, `[M, K]`.
    pub dx2: Gradient,
    /// For W, in the layout of w.
    pub dw2: Gradient,
    /// For b, `[N]`.
    pub db2: Gradient,
    /// For α, `[1]` or `[N]`.
    pub dalpha2: Gradient,
}

/// ddy = ż ⊙ act'(z) + ddα ∂act/∂α, dz2 = dy ⊙ (ż ⊙ act''(z) + ddα ∂²act/∂z∂α), dx2 = dz2·W + dz·ddW, dW2 = dz2ᵀ·x + dzᵀ·ddx, db2 = Σ_rows dz2,
/// dα2 = Σ dy ⊙ (ż ⊙ ∂²act/∂z∂α + ddα ∂²act/∂α²). An error names the operand that does not fit the request. Of `inputs` those of the layer
/// itself count.
///
/// ```
/// use elbow::cpu::reference::{self, BackwardInputs, ReturningInputs};
/// use elbow::request::{AffineRequest, DoubleBackwardRequest, Returning, SecondGradients};
/// use elbow::Activation;
/// // y = max(x·w, 0)², dx = 2 max(x·w, 0) w dy at x·w = 2.
/// let layer = AffineRequest::new(1, 1, 2, Activation::RELU_SQUARED).bias(false);
/// let request = DoubleBackwardRequest::new(layer, Returning::default().x(true), SecondGradients::default());
/// let inputs = BackwardInputs::new(&[2.0, 1.0], &[0.5, 1.0], &[1.0]);
/// let second = reference::double_backward(&request, inputs, ReturningInputs::default().ddx(Some(&[1.0, 0.0])))?;
/// assert_eq!(second.dw2.value, [2.0 * 0.5 * 2.0 + 4.0, 2.0 * 0.5 * 1.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn double_backward(
    request: &DoubleBackwardRequest,
    inputs: BackwardInputs<'_>,
    returning: ReturningInputs<'_>,
) -> Result<DoubleBackwardOutputs> {
    request.check()?;
    let affine = &request.affine;
    let (rows, channels, features) = (affine.m, affine.n, affine.k);
    let there = request.returning;
    let counts = affine.residual == Some(ResidualAt::BeforeActivation) && inputs.z.is_none();
    let BackwardInputs { dy, .. } = inputs;
    let layer = AffineRequest { residual: affine.residual.filter(|_| counts), ..*affine };
    let residual = inputs.residual.filter(|_| counts);
    let forward_inputs = ForwardInputs { residual, row_weight: None, dropout_state: None, ..inputs.of_forward() };
    let ForwardInputs { x, w, alpha, .. } = forward_inputs.checked(&layer)?;
    let dy = operands::slice(Operand::Dy, dy, &[rows, channels])?;
    let z: Vec<f64> = match inputs.z {
        Some(z) => operands::slice(Operand::Saved, z, &[rows, channels])?.iter().map(|&z| f64::from(z)).collect(),
        None => forward(&layer, forward_inputs)?.z,
    };
    let ddx = operands::optional(Operand::Ddx, returning.ddx, there.x, &[rows, features])?;
    let ddw = operands::optional(Operand::Ddw, returning.ddw, there.w, &[channels, features])?;
    let ddb = operands::optional(Operand::Ddb, returning.ddb, there.b, &[channels])?;
    let alphas = operands::alpha_length(affine.alpha, channels);
    let ddalpha = operands::optional(Operand::Ddalpha, returning.ddalpha, there.alpha, &[alphas])?;
    let ddresidual = operands::optional(Operand::Ddresidual, returning.ddresidual, there.residual, &[rows, channels])?;

    let mut out = DoubleBackwardOutputs {
        tangent: Gradient::zeros(rows * channels),
        dz: Gradient::zeros(rows * channels),
        dz2: Gradient::zeros(rows * channels),
        ddy: Gradient::zeros(rows * channels),
        dx2: Gradient::zeros(rows * features),
        dw2: Gradient::zeros(channels * features),
        db2: Gradient::zeros(channels),
        dalpha2: Gradient::zeros(alphas),
    };
    let at = |of: Option<&[f32]>, i: usize| of.map_or(0.0, |of| f64::from(of[i]));
    for m in 0..rows {
        for n in 0..channels {
            let i = m * channels + n;
            for k in 0..features {
                let (of_x, of_w) = (m * features + k, weight(affine, n, k));
                out.tangent.add(i, at(ddx, of_x) * f64::from(w[of_w]));
                out.tangent.add(i, f64::from(x[of_x]) * at(ddw, of_w));
            }
            out.tangent.add(i, at(ddb, n));
            out.tangent.add(i, at(ddresidual, i));
            let channel = if affine.alpha == AlphaSource::PerChannel { n } else { 0 };
            let activation = with_alpha(affine.activation, affine.alpha, alpha, n);
            let (z, dy, moved, of_alpha) = (z[i], f64::from(dy[i]), out.tangent.value[i], at(ddalpha, channel));
            let through = |upstream: f64, derivative: f64| activation.passed(upstream, derivative);
            let both = |a: f64, derivative: f64| activation.passed_both(a, dy, derivative);
            out.dz.add(i, through(dy, activation.slope(z)));
            out.ddy.add(i, through(moved, activation.slope(z)));
            out.dz2.add(i, both(moved, activation.second_derivative(z)));
            out.dalpha2.add(channel, both(moved, activation.mixed_derivative(z)));
            if there.alpha {
                out.ddy.add(i, through(of_alpha, activation.alpha_slope(z)));
                out.dz2.add(i, both(of_alpha, activation.mixed_derivative(z)));
                out.dalpha2.add(channel, both(of_alpha, activation.second_alpha_derivative(z)));
            }
            let (dz, dz2) = (out.dz.value[i], out.dz2.value[i]);
            out.db2.add_with(n, dz2, out.dz2.terms[i]);
            for k in 0..features {
                let (of_x, of_w) = (m * features + k, weight(affine, n, k));
                out.dx2.add(of_x, dz2 * f64::from(w[of_w]));
                out.dx2.add(of_x, dz * at(ddw, of_w));
                out.dw2.add(of_w, dz2 * f64::from(x[of_x]));
                out.dw2.add(of_w, dz * at(ddx, of_x));
            }
        }
    }
    Ok(out)
}
