//! The reference, in f64, that judges every other implementation: plain loops over the formulas, slow, and simple enough to be checked by
//! reading.
//!
//! Each result comes with the sum of the absolute values of its terms, the scale for a bound of its rounding error: a sum that cancels
//! cannot be more accurate than its terms.

mod double;
pub mod elementwise;
mod front;
mod gate;
mod jet;
mod loss;
mod network;
mod update;

pub use double::{DoubleBackwardOutputs, ReturningInputs, double_backward};
pub use loss::{
    ElementwiseLoss, LossOutputs, cross_entropy, elementwise_loss, smoothed_cross_entropy, softmax_cross_entropy,
};
pub use network::{NetworkGradients, network, network_backward};
pub use update::Updated;

use self::jet::Local;
use super::{ForwardInputs, FrontInputs, operands};
use crate::{
    activation::Activation,
    dropout::Dropout,
    error::Result,
    gate::Gate,
    operand::Operand,
    request::{AffineRequest, AlphaSource, BackwardRequest, ResidualAt, Statistic, WeightLayout},
    setters::setters,
};

/// The results of [`forward`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ForwardOutputs {
    /// z = x·Wᵀ + b (+ residual), `[M, N]`; of a gated layer `[M, 2N]`, as its gate says.
    pub z: Vec<f64>,
    /// y = row_weight ⊙ act(z; α) (+ residual), `[M, N]`.
    pub y: Vec<f64>,
    /// The sum of the absolute values of the terms of z: Σ |x||w| + |b| (+ |residual|), as z.
    pub z_terms: Vec<f64>,
    /// What is multiplied, `[M, K]`: x, or what the front makes of it.
    pub fronted: Vec<f64>,
    /// Mean and 1 / √(variance + ε) of each column `[2, K]` or row `[2, M]`, if there is a norm in front.
    pub moments: Vec<f64>,
    /// The running mean and variance of each column `[2, K]` after this batch, if there are any.
    pub running_moments: Vec<f64>,
}

/// A gradient, and for each element the sum of the absolute values of its terms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gradient {
    /// Its elements.
    pub value: Vec<f64>,
    /// For each element the sum of the absolute values of its terms.
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

/// The operands of [`backward`], as slices of at least the length that the request says.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct BackwardInputs<'a> {
    /// Input `[M, K]`.
    pub x: &'a [f32],
    /// Weight `[N, K]` or `[K, N]`, as the request says.
    pub w: &'a [f32],
    /// Bias `[N]`, if and only if the request has one.
    pub b: Option<&'a [f32]>,
    /// α `[1]` or `[N]`, if and only if it is not a constant.
    pub alpha: Option<&'a [f32]>,
    /// ∂L/∂y `[M, N]`, or dz if the request says so.
    pub dy: &'a [f32],
    /// The rounded z of a device `[M, N]` (or `[M, 2N]`), because near a kink it may be on the other side than the exact z. None: z is computed exactly.
    pub z: Option<&'a [f32]>,
    /// z of the layer below `[M, K]`, if and only if the request has one.
    pub z_below: Option<&'a [f32]>,
    /// α of the layer below, `[1]` or `[K]`.
    pub alpha_below: Option<&'a [f32]>,
    /// Residual `[M, N]`, read if it joins before the activation and no z is given.
    pub residual: Option<&'a [f32]>,
    /// Row weight `[M]`, if and only if the request has one.
    pub row_weight: Option<&'a [f32]>,
    /// Row weight of the layer below `[M]`, if and only if it has one.
    pub row_weight_below: Option<&'a [f32]>,
    /// The operands of what is in front of the product.
    pub front: FrontInputs<'a>,
    /// The state of the dropout, if and only if the request has one, and does not start from dz.
    pub dropout_state: Option<[u32; 4]>,
    /// That of the layer below.
    pub dropout_state_below: Option<[u32; 4]>,
    /// Weight of up, as w, if and only if the request has a gate whose weights are apart.
    pub w_up: Option<&'a [f32]>,
    /// Its bias `[N]`, if and only if that request has biases.
    pub b_up: Option<&'a [f32]>,
}

impl<'a> BackwardInputs<'a> {
    /// The operands of a layer without a bias, with a constant α and no layer below.
    ///
    /// ```
    /// use elbow::cpu::reference::BackwardInputs;
    /// let (x, w, dy) = ([1.0, 2.0], [0.5, 0.25], [1.0]);
    /// let inputs = BackwardInputs::new(&x, &w, &dy).b(Some(&[1.0]));
    /// ```
    pub fn new(x: &'a [f32], w: &'a [f32], dy: &'a [f32]) -> Self {
        BackwardInputs { x, w, dy, ..Default::default() }
    }

    /// Those of them that forward has.
    fn of_forward(&self) -> ForwardInputs<'a> {
        let BackwardInputs { x, w, b, alpha, residual, row_weight, dropout_state, front, w_up, b_up, .. } = *self;
        ForwardInputs { x, w, b, alpha, residual, row_weight, dropout_state, front, w_up, b_up }
    }
}

setters!(BackwardInputs<'a> {
    x: &'a [f32],
    w: &'a [f32],
    dy: &'a [f32],
    b: Option<&'a [f32]>,
    alpha: Option<&'a [f32]>,
    z: Option<&'a [f32]>,
    z_below: Option<&'a [f32]>,
    alpha_below: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    row_weight: Option<&'a [f32]>,
    row_weight_below: Option<&'a [f32]>,
    front: FrontInputs<'a>,
    dropout_state: Option<[u32; 4]>,
    dropout_state_below: Option<[u32; 4]>,
    w_up: Option<&'a [f32]>,
    b_up: Option<&'a [f32]>,
});

/// All gradients, whether the request wants them or not.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct BackwardOutputs {
    /// dz = dy ⊙ act'(z), `[M, N]`; of a gated layer dgate and dup, `[M, 2N]`, as in z.
    pub dz: Gradient,
    /// dx = dz·W (+ d(residual), if that goes around the layer), `[M, K]`; its terms are |dz||w|.
    pub dx: Gradient,
    /// dW = dzᵀ·x, in the layout of w.
    pub dw: Gradient,
    /// db = Σ_rows dz, `[N]` or `[2N]`.
    pub db: Gradient,
    /// dα = Σ dy ⊙ ∂act/∂α, `[N]` for α per channel, else `[1]`; 0 if the request starts from dz.
    pub dalpha: Gradient,
    /// dy, or dz if the residual joins before the activation, `[M, N]`.
    pub dresidual: Gradient,
    /// Σ_columns dy ⊙ act(z), `[M]`; 0 if the request starts from dz.
    pub drow_weight: Gradient,
    /// dz·W, the gradient of what the front makes of x, `[M, K]`; empty without a front, like the following ones.
    pub dfronted: Gradient,
    /// That of the front's scale, `[K]`.
    pub dscale: Gradient,
    /// That of its shift, `[K]`.
    pub dshift: Gradient,
    /// That of its α, `[K]` for α per channel, else `[1]`.
    pub dfront_alpha: Gradient,
    /// dz of the layer below, dx ⊙ act_below'(z_below), `[M, K]`; empty without a layer below, like the following ones.
    pub dz_below: Gradient,
    /// Σ_rows dz_below, `[K]`.
    pub db_below: Gradient,
    /// Σ dx ⊙ ∂act_below/∂α, `[1]` or `[K]`.
    pub dalpha_below: Gradient,
    /// Σ_columns dx ⊙ act_below(z_below), `[M]`.
    pub drow_weight_below: Gradient,
    /// dW of up, of a gate whose weights are apart, as its weight; dw is then the gate's. Else empty, like db_up.
    pub dw_up: Gradient,
    /// db of up, `[N]`.
    pub db_up: Gradient,
}

/// The activation with the α of one channel.
fn with_alpha(activation: Activation, source: AlphaSource, alpha: Option<&[f32]>, channel: usize) -> Activation {
    match (source, alpha) {
        (AlphaSource::PerLayer, Some(alpha)) => activation.with_alpha(alpha[0]),
        (AlphaSource::PerChannel, Some(alpha)) => activation.with_alpha(alpha[channel]),
        _ => activation,
    }
}

/// The index of W[n][k] in w.
fn weight(request: &AffineRequest, n: usize, k: usize) -> usize {
    match request.layout {
        WeightLayout::OutIn => n * request.k + k,
        WeightLayout::InOut => k * request.outputs() + n,
    }
}

/// z = x·Wᵀ + b (+ residual), y = row_weight ⊙ act(z; α) (+ residual). An error names the operand that does not fit the request.
///
/// ```
/// use elbow::{Activation, cpu::{ForwardInputs, reference}, request::AffineRequest};
/// // Two rows, one channel of two features: M = 2, N = 1, K = 2.
/// let layer = AffineRequest::new(2, 1, 2, Activation::RELU);
/// let inputs = ForwardInputs::new(&[1.0, 2.0, -3.0, 0.5], &[0.5, 0.25]).b(Some(&[1.0]));
/// let outputs = reference::forward(&layer, inputs)?;
/// assert_eq!((outputs.z, outputs.y), (vec![2.0, -0.375], vec![2.0, 0.0]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn forward(request: &AffineRequest, inputs: ForwardInputs<'_>) -> Result<ForwardOutputs> {
    let inputs = inputs.checked(request)?;
    if let Some(whole) = gate::Whole::of(request, inputs.w, inputs.w_up, inputs.b, inputs.b_up) {
        return forward(&whole.request, whole.forward_inputs(inputs));
    }
    let ForwardInputs { x, w, b, alpha, residual, row_weight, dropout_state, front, .. } = inputs;
    let front::Fronted { value: x, moments, running_moments, .. } = front::forward(request, x, &front);
    let mut outputs = ForwardOutputs { moments, running_moments, ..ForwardOutputs::default() };
    let residual = |at: usize| residual.map_or(0.0, |r| f64::from(r[at]));
    let joins = request.residual == Some(ResidualAt::BeforeActivation);
    for m in 0..request.m {
        for n in 0..request.outputs() {
            // A bias moves the value of a jet, and no derivative of it.
            let bias = b.filter(|_| member(request, m) == 0).map_or(0.0, |b| f64::from(b[n]));
            let before = if joins { residual(m * request.n + n) } else { 0.0 };
            let (mut z, mut terms) = (0.0, 0.0);
            for k in 0..request.k {
                let term = x[m * request.k + k] * f64::from(w[weight(request, n, k)]);
                z += term;
                terms += term.abs();
            }
            z += bias + before;
            terms += bias.abs() + before.abs();
            outputs.z.push(z);
            outputs.z_terms.push(terms);
        }
    }
    for m in 0..request.m {
        for n in 0..request.n {
            let after = if joins { 0.0 } else { residual(m * request.n + n) };
            let activation = with_alpha(request.activation, request.alpha, alpha, n);
            let y = match (&request.jet, &request.gate) {
                (Some(jet), _) => jet::value(jet, &activation, member(request, m), |member| {
                    outputs.z[(m / jet.members() * jet.members() + member) * request.n + n]
                }),
                (_, Some(gate)) => gate::value(gate, &activation, unit(request, gate, &outputs.z, m, n)),
                _ => activation.value(outputs.z[m * request.n + n]),
            };
            let y = row_weight.map_or(1.0, |s| f64::from(s[m])) * y;
            outputs.y.push(left(request.dropout, dropout_state, m * request.n + n, y) + after);
        }
    }
    outputs.fronted = x;
    Ok(outputs)
}

/// What a dropout leaves of an element.
fn left(dropout: Option<Dropout>, state: Option<[u32; 4]>, index: usize, v: f64) -> f64 {
    dropout.zip(state).map_or(v, |(dropout, state)| dropout.left(state, index, v))
}

/// Gate and up of a unit in z.
fn unit(request: &AffineRequest, gate: &Gate, z: &[f64], m: usize, n: usize) -> [f64; 2] {
    [gate.gate_at(n, request.n), gate.up_at(n, request.n)].map(|place| z[m * request.outputs() + place])
}

/// The place of a row in its group; 0 without jets.
fn member(request: &AffineRequest, row: usize) -> usize {
    request.jet.map_or(0, |jet| row % jet.members())
}

/// The five statistics ([`Statistic`]) of the results of [`forward`], of each channel `[5, N]`, or, with `of_rows`, of each row `[5, M]`.
///
/// ```
/// use elbow::{Activation, Statistic, cpu::{ForwardInputs, reference}, request::AffineRequest};
/// let layer = AffineRequest::new(2, 1, 2, Activation::RELU);
/// let inputs = ForwardInputs::new(&[1.0, 2.0, -3.0, 0.5], &[0.5, 0.25]).b(Some(&[1.0]));
/// let channels = reference::statistics(&layer, &reference::forward(&layer, inputs)?, false);
/// assert_eq!(channels[Statistic::NotPositive as usize], 0.5);
/// assert_eq!(channels[Statistic::MeanY as usize], 1.0);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn statistics(request: &AffineRequest, outputs: &ForwardOutputs, of_rows: bool) -> Vec<f64> {
    let (m, n) = (request.m, request.n);
    let (groups, count) = if of_rows { (m, n) } else { (n, m) };
    let of = |values: &[f64], group: usize| -> Vec<f64> {
        (0..count).map(|i| if of_rows { values[group * n + i] } else { values[i * n + group] }).collect()
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count as f64;
    let variance = |values: &[f64]| values.iter().map(|v| (v - mean(values)).powi(2)).sum::<f64>() / count as f64;
    let not_positive = |values: &[f64]| values.iter().filter(|v| **v <= 0.0).count() as f64 / count as f64;
    let each = |statistic: Statistic, group| match statistic {
        Statistic::NotPositive => not_positive(&of(&outputs.z, group)),
        Statistic::MeanZ => mean(&of(&outputs.z, group)),
        Statistic::VarianceZ => variance(&of(&outputs.z, group)),
        Statistic::MeanY => mean(&of(&outputs.y, group)),
        Statistic::VarianceY => variance(&of(&outputs.y, group)),
    };
    Statistic::ALL.into_iter().flat_map(|statistic| (0..groups).map(move |group| each(statistic, group))).collect()
}

/// dz = dy ⊙ act'(z; α), dx = dz·W, dW = dzᵀ·x, db = Σ_rows dz, dα = Σ dy ⊙ ∂act/∂α; and with a layer below
/// dz_below = dx ⊙ act_below'(z_below) and its sums. An error names the operand that does not fit the request.
///
/// ```
/// use elbow::cpu::reference::{self, BackwardInputs};
/// use elbow::request::{AffineRequest, BackwardRequest, Gradients};
/// use elbow::Activation;
/// let layer = AffineRequest::new(2, 1, 2, Activation::RELU).bias(false);
/// let request = BackwardRequest::new(layer, Gradients::default());
/// let outputs = reference::backward(&request, BackwardInputs::new(&[1.0, 2.0, -3.0, 0.5], &[0.5, 0.25], &[1.0, 1.0]))?;
/// assert_eq!(outputs.dx.value, [0.5, 0.25, 0.0, 0.0]); // the ReLU stops the second row
/// assert_eq!(outputs.dw.value, [1.0, 2.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn backward(request: &BackwardRequest, inputs: BackwardInputs<'_>) -> Result<BackwardOutputs> {
    let affine = &request.affine;
    if affine.is_apart() {
        // Also where z is given: the products need the weights.
        let ForwardInputs { w, b, w_up, b_up, .. } =
            ForwardInputs { residual: None, ..inputs.of_forward() }.checked(&affine.residual(None))?;
        if let Some(whole) = gate::Whole::of(affine, w, w_up, b, b_up) {
            let one = BackwardRequest { affine: whole.request, ..*request };
            let inputs = BackwardInputs { w: &whole.w, b: whole.b.as_deref(), w_up: None, b_up: None, ..inputs };
            return Ok(whole.gradients(backward(&one, inputs)?));
        }
    }
    let (rows, channels, features, outputs) = (affine.m, affine.n, affine.k, affine.outputs());
    // The residual is needed only where it is a part of z and z is computed here.
    let counts = affine.residual == Some(ResidualAt::BeforeActivation) && inputs.z.is_none();
    let residual = inputs.residual.filter(|_| counts);
    let dropout = affine.dropout.filter(|_| !request.upstream_is_dz);
    let forward_inputs = ForwardInputs { residual, ..inputs.of_forward() };
    let layer = AffineRequest { residual: affine.residual.filter(|_| counts), dropout, ..*affine };
    let ForwardInputs { x, w, alpha, row_weight, dropout_state, front, .. } = forward_inputs.checked(&layer)?;
    let fronted = front::forward(&layer, x, &front);
    let x = &fronted.value;
    let upstream = operands::slice(Operand::Dy, inputs.dy, &[rows, channels])?;
    let z: Vec<f64> = match inputs.z {
        Some(z) => operands::slice(Operand::Saved, z, &[rows, outputs])?.iter().map(|&z| f64::from(z)).collect(),
        None => forward(&layer, forward_inputs)?.z,
    };
    let z_below = operands::optional(Operand::SavedBelow, inputs.z_below, request.below.is_some(), &[rows, features])?;
    let below_source = request.below.map_or(AlphaSource::Constant, |below| below.alpha);
    let alpha_below = operands::alpha(Operand::AlphaBelow, inputs.alpha_below, below_source, features)?;
    let weighted = request.below.is_some_and(|below| below.row_weight);
    let dropout_below = request.below.and_then(|below| below.dropout);
    let state_below = operands::dropout_state(Operand::DropoutStateBelow, inputs.dropout_state_below, dropout_below)?;
    let weight_below = operands::optional(Operand::RowWeightBelow, inputs.row_weight_below, weighted, &[rows])?;

    let mut out = BackwardOutputs {
        dz: Gradient::zeros(rows * outputs),
        dx: Gradient::zeros(rows * features),
        dw: Gradient::zeros(outputs * features),
        db: Gradient::zeros(outputs),
        dalpha: Gradient::zeros(operands::alpha_length(affine.alpha, channels)),
        dresidual: Gradient::zeros(rows * channels),
        drow_weight: Gradient::zeros(rows),
        ..BackwardOutputs::default()
    };
    for m in 0..rows {
        for n in 0..channels {
            let at = m * channels + n;
            let dy = f64::from(upstream[at]);
            let activation = with_alpha(affine.activation, affine.alpha, alpha, n);
            let weight_of_row = row_weight.map_or(1.0, |s| f64::from(s[m]));
            let member = member(affine, m);
            let of = |member_of_group: usize| (m - member + member_of_group) * channels + n;
            let given = |at: usize| left(dropout, dropout_state, at, f64::from(upstream[at]));
            let upstream = |row: usize| weight_of_row * given(of(row));
            let channel = if affine.alpha == AlphaSource::PerChannel { n } else { 0 };
            if let Some(gate) = &affine.gate {
                let unit = unit(affine, gate, &z, m, n);
                let gradients = gate::gradients(gate, &activation, unit, upstream(member));
                for (place, dz) in
                    [(gate.gate_at(n, channels), gradients.gate), (gate.up_at(n, channels), gradients.up)]
                {
                    out.dz.add_with(m * outputs + place, dz.0, dz.1);
                    out.db.add_with(place, dz.0, dz.1);
                }
                out.dalpha.add_with(channel, gradients.alpha.0, gradients.alpha.1);
                out.dresidual.add(at, dy);
                out.drow_weight.add(m, given(at) * gate::value(gate, &activation, unit));
                continue;
            }
            let Local { dz, dalpha } = match request.upstream_is_dz {
                true => Local { dz: (dy, dy.abs()), dalpha: (0.0, 0.0) },
                false => jet::gradient(
                    affine.jet.as_ref(),
                    &activation,
                    member,
                    |row| z[of(row)],
                    |row| (upstream(row), upstream(row).abs()),
                ),
            };
            out.dz.add_with(at, dz.0, dz.1);
            if member == 0 {
                out.db.add_with(n, dz.0, dz.1);
            }
            let of_residual = if affine.residual == Some(ResidualAt::BeforeActivation) { dz } else { (dy, dy.abs()) };
            out.dresidual.add_with(at, of_residual.0, of_residual.1);
            out.dalpha.add_with(channel, dalpha.0, dalpha.1);
            if !request.upstream_is_dz {
                out.drow_weight.add(m, given(at) * activation.value(z[at]));
            }
        }
        for n in 0..outputs {
            let dz = out.dz.value[m * outputs + n];
            for k in 0..features {
                let at_w = weight(affine, n, k);
                out.dx.add(m * features + k, dz * f64::from(w[at_w]));
                out.dw.add(at_w, dz * x[m * features + k]);
            }
        }
    }
    if let Some(of) = &affine.front {
        let back = front::backward(of, [rows, features], &fronted, &front, &out.dx);
        (out.dfronted, out.dx) = (out.dx, back.dx);
        (out.dscale, out.dshift, out.dfront_alpha) = (back.dscale, back.dshift, back.dalpha);
    }
    if request.skip {
        for i in 0..out.dx.value.len() {
            out.dx.add_with(i, out.dresidual.value[i], out.dresidual.terms[i]);
        }
    }
    if let (Some(below), Some(z_below)) = (request.below, z_below) {
        out.dz_below = Gradient::zeros(rows * features);
        out.db_below = Gradient::zeros(features);
        out.dalpha_below = Gradient::zeros(operands::alpha_length(below.alpha, features));
        out.drow_weight_below = Gradient::zeros(rows);
        for m in 0..rows {
            for k in 0..features {
                let at = m * features + k;
                let activation = with_alpha(below.activation, below.alpha, alpha_below, k);
                let weight = weight_below.map_or(1.0, |s| f64::from(s[m]));
                let value = activation.value(f64::from(z_below[at]));
                let dx = |at: usize| {
                    let of = |v: f64| left(dropout_below, state_below, at, v);
                    (of(out.dx.value[at]), of(out.dx.terms[at]))
                };
                out.drow_weight_below.add_with(m, dx(at).0 * value, dx(at).1 * value.abs());
                let member = below.jet.map_or(0, |jet| m % jet.members());
                let of = |row: usize| (m - member + row) * features + k;
                let upstream = |row: usize| (weight * dx(of(row)).0, weight.abs() * dx(of(row)).1);
                let z = |row: usize| f64::from(z_below[of(row)]);
                let Local { dz, dalpha } = jet::gradient(below.jet.as_ref(), &activation, member, z, upstream);
                out.dz_below.add_with(at, dz.0, dz.1);
                if member == 0 {
                    out.db_below.add_with(k, dz.0, dz.1);
                }
                let channel = if below.alpha == AlphaSource::PerChannel { k } else { 0 };
                out.dalpha_below.add_with(channel, dalpha.0, dalpha.1);
            }
        }
    }
    Ok(out)
}
