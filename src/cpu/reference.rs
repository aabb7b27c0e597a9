//! The judge, in f64: obviously right. Plain loops over the formulas, one element after the other.
//!
//! Beside each result lies the sum of the absolute values of its terms: rounding errors are judged by it, since a sum
//! that cancels cannot be better than its terms.

pub mod elementwise;
mod loss;

pub use loss::{LossOutputs, softmax_cross_entropy};

use super::operands::{self, ForwardInputs};
use crate::{
    activation::Activation,
    error::Result,
    request::{AffineRequest, AlphaSource, BackwardRequest, Operand, WeightLayout},
};

/// What forward gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForwardOutputs {
    /// x·Wᵀ + b, `[M, N]`
    pub z: Vec<f64>,
    /// act(z; α) + residual, `[M, N]`
    pub y: Vec<f64>,
    /// Σ |x||w| + |b|, `[M, N]`
    pub z_terms: Vec<f64>,
}

/// A gradient, and for each element the sum of the absolute values of its terms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gradient {
    /// The gradient.
    pub value: Vec<f64>,
    /// Σ |terms|
    pub terms: Vec<f64>,
}

impl Gradient {
    fn zeros(length: usize) -> Self {
        Gradient { value: vec![0.0; length], terms: vec![0.0; length] }
    }

    fn add(&mut self, index: usize, term: f64) {
        self.add_with(index, term, term.abs());
    }

    fn add_with(&mut self, index: usize, term: f64, absolute: f64) {
        self.value[index] += term;
        self.terms[index] += absolute;
    }
}

/// The operands of backward.
#[derive(Debug, Clone, Copy, Default)]
pub struct BackwardInputs<'a> {
    /// `[M, K]`
    pub x: &'a [f32],
    /// `[N, K]` or `[K, N]`
    pub w: &'a [f32],
    /// `[N]`, if the request has a bias.
    pub b: Option<&'a [f32]>,
    /// `[1]` or `[N]`, if α is not a constant.
    pub alpha: Option<&'a [f32]>,
    /// ∂L/∂y, `[M, N]`; or dz.
    pub dy: &'a [f32],
    /// The z that a device really has, `[M, N]`: near a kink the exact one may lie on the other side. None: exact.
    pub z: Option<&'a [f32]>,
    /// The pre-activation of the layer below, `[M, K]`, if the request has one.
    pub z_below: Option<&'a [f32]>,
    /// α of the layer below, `[1]` or `[K]`.
    pub alpha_below: Option<&'a [f32]>,
}

/// All gradients, wanted or not. The sum of terms of a product is Σ |dz||w|.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BackwardOutputs {
    /// dy ⊙ act'(z), `[M, N]`
    pub dz: Gradient,
    /// dz·W, `[M, K]`
    pub dx: Gradient,
    /// dzᵀ·x, in the layout of w.
    pub dw: Gradient,
    /// Σ_rows dz, `[N]`
    pub db: Gradient,
    /// Σ dy ⊙ ∂act/∂α, `[N]` for α per channel, else `[1]`. Zero if the upstream gradient is dz.
    pub dalpha: Gradient,
    /// dy, `[M, N]`
    pub dresidual: Gradient,
    /// dx ⊙ act_below'(z_below), `[M, K]`; empty without a layer below.
    pub dz_below: Gradient,
    /// Σ_rows dz_below, `[K]`
    pub db_below: Gradient,
    /// Σ dx ⊙ ∂act_below/∂α, `[1]` or `[K]`
    pub dalpha_below: Gradient,
}

/// The activation with the α of one channel.
fn with_alpha(activation: Activation, source: AlphaSource, alpha: Option<&[f32]>, channel: usize) -> Activation {
    match (source, alpha) {
        (AlphaSource::PerLayer, Some(alpha)) => activation.with_alpha(alpha[0]),
        (AlphaSource::PerChannel, Some(alpha)) => activation.with_alpha(alpha[channel]),
        _ => activation,
    }
}

/// Where W[n][k] lies.
fn weight(request: &AffineRequest, n: usize, k: usize) -> usize {
    match request.layout {
        WeightLayout::OutIn => n * request.k + k,
        WeightLayout::InOut => k * request.n + n,
    }
}

/// y = act(x·Wᵀ + b; α) + residual.
pub fn forward(request: &AffineRequest, inputs: ForwardInputs<'_>) -> Result<ForwardOutputs> {
    let ForwardInputs { x, w, b, alpha, residual } = inputs.checked(request)?;
    let mut outputs = ForwardOutputs::default();
    for m in 0..request.m {
        for n in 0..request.n {
            let bias = b.map_or(0.0, |b| f64::from(b[n]));
            let (mut z, mut terms) = (0.0, 0.0);
            for k in 0..request.k {
                let term = f64::from(x[m * request.k + k]) * f64::from(w[weight(request, n, k)]);
                z += term;
                terms += term.abs();
            }
            z += bias;
            terms += bias.abs();
            let y = with_alpha(request.activation, request.alpha, alpha, n).value(z);
            outputs.z.push(z);
            outputs.z_terms.push(terms);
            outputs.y.push(y + residual.map_or(0.0, |r| f64::from(r[m * request.n + n])));
        }
    }
    Ok(outputs)
}

/// dz = dy ⊙ act'(z; α), dx = dz·W, dW = dzᵀ·x, db = Σ_rows dz, dα = Σ dy ⊙ ∂act/∂α; and in a chain
/// dz_below = dx ⊙ act_below'(z_below) with its sums.
pub fn backward(request: &BackwardRequest, inputs: BackwardInputs<'_>) -> Result<BackwardOutputs> {
    let affine = &request.affine;
    let (rows, channels, features) = (affine.m, affine.n, affine.k);
    let forward_inputs = ForwardInputs { x: inputs.x, w: inputs.w, b: inputs.b, alpha: inputs.alpha, residual: None };
    let without_residual = AffineRequest { residual: false, ..*affine };
    let ForwardInputs { x, w, alpha, .. } = forward_inputs.checked(&without_residual)?;
    let dy = operands::slice(Operand::Dy, inputs.dy, &[rows, channels])?;
    let z: Vec<f64> = match inputs.z {
        Some(z) => operands::slice(Operand::Saved, z, &[rows, channels])?.iter().map(|&z| f64::from(z)).collect(),
        None => forward(&without_residual, forward_inputs)?.z,
    };
    let z_below = operands::optional(Operand::SavedBelow, inputs.z_below, request.below.is_some(), &[rows, features])?;
    let below_source = request.below.map_or(AlphaSource::Constant, |below| below.alpha);
    let alpha_below = operands::alpha(Operand::AlphaBelow, inputs.alpha_below, below_source, features)?;

    let mut out = BackwardOutputs {
        dz: Gradient::zeros(rows * channels),
        dx: Gradient::zeros(rows * features),
        dw: Gradient::zeros(channels * features),
        db: Gradient::zeros(channels),
        dalpha: Gradient::zeros(operands::alpha_length(affine.alpha, channels)),
        dresidual: Gradient::zeros(rows * channels),
        ..BackwardOutputs::default()
    };
    for m in 0..rows {
        for n in 0..channels {
            let at = m * channels + n;
            let upstream = f64::from(dy[at]);
            let activation = with_alpha(affine.activation, affine.alpha, alpha, n);
            let dz =
                if request.upstream_is_dz { upstream } else { activation.passed(upstream, activation.slope(z[at])) };
            out.dz.add(at, dz);
            out.db.add(n, dz);
            out.dresidual.add(at, upstream);
            if !request.upstream_is_dz {
                let channel = if affine.alpha == AlphaSource::PerChannel { n } else { 0 };
                out.dalpha.add(channel, activation.passed(upstream, activation.alpha_slope(z[at])));
            }
            for k in 0..features {
                let at_w = weight(affine, n, k);
                out.dx.add(m * features + k, dz * f64::from(w[at_w]));
                out.dw.add(at_w, dz * f64::from(x[m * features + k]));
            }
        }
    }
    if let (Some(below), Some(z_below)) = (request.below, z_below) {
        out.dz_below = Gradient::zeros(rows * features);
        out.db_below = Gradient::zeros(features);
        out.dalpha_below = Gradient::zeros(operands::alpha_length(below.alpha, features));
        for m in 0..rows {
            for k in 0..features {
                let at = m * features + k;
                let activation = with_alpha(below.activation, below.alpha, alpha_below, k);
                let (dx, dx_terms) = (out.dx.value[at], out.dx.terms[at]);
                let z = f64::from(z_below[at]);
                let passed = |by: f64| (activation.passed(dx, by), activation.passed(dx_terms, by.abs()));
                let ((dz, dz_terms), (dalpha, dalpha_terms)) =
                    (passed(activation.slope(z)), passed(activation.alpha_slope(z)));
                out.dz_below.add_with(at, dz, dz_terms);
                out.db_below.add_with(k, dz, dz_terms);
                let channel = if below.alpha == AlphaSource::PerChannel { k } else { 0 };
                out.dalpha_below.add_with(channel, dalpha, dalpha_terms);
            }
        }
    }
    Ok(out)
}
