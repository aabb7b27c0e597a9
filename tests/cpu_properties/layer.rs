//! The gradients of the layer are its derivatives: `cpu::reference::backward` against differences of `forward`, and the
//! double backward against differences of the backward, for random requests with exactly representable steps.

use std::cell::Cell;

use elbow::{
    Dropout, Gate, Jet,
    activation::Activation,
    cpu::{Elementwise, ForwardInputs, reference},
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Gradients, ResidualAt, Saved, WeightLayout},
};
use proptest::{prelude::*, test_runner::TestCaseResult};

use crate::common::{Numbers, any_ordinary, check};

/// Where α comes from, for the activations that have one.
fn source(activation: &Activation) -> BoxedStrategy<AlphaSource> {
    if activation.has_alpha() {
        prop::sample::select(vec![AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel]).boxed()
    } else {
        Just(AlphaSource::Constant).boxed()
    }
}

pub fn with_source() -> impl Strategy<Value = (Activation, AlphaSource)> {
    any_ordinary().prop_flat_map(|activation| (Just(activation), source(&activation)))
}

/// α as an operand: ten significant bits, and of the sign that its domain asks for.
pub fn alphas(activation: &Activation, source: AlphaSource, channels: usize) -> Vec<f32> {
    let count = match source {
        AlphaSource::Constant => 0,
        AlphaSource::PerLayer => 1,
        AlphaSource::PerChannel => channels,
    };
    (0..count).map(|i| activation.params()[0] * (1.0 + (i % 4) as f32 / 4.0)).collect()
}

/// α as an operand, unless it is a constant.
pub fn operand(source: AlphaSource, alpha: &[f32]) -> Option<&[f32]> {
    (source != AlphaSource::Constant).then_some(alpha)
}

/// The first and widest step: 2⁻⁷ for operands, the same share of its power of two for α.
const STEP: f64 = 1.0 / 128.0;

fn step(value: f32, is_alpha: bool) -> f64 {
    if is_alpha { STEP * f64::from(value.abs()).log2().floor().exp2() } else { STEP }
}

/// ∂loss/∂values[i]: central differences at four steps, extrapolated; the error is of order h⁸.
fn derivative(values: &[f32], i: usize, first: f64, loss: impl Fn(Vec<f32>) -> f64) -> f64 {
    let at = |h: f64| {
        let mut moved = values.to_vec();
        moved[i] = (f64::from(values[i]) + h) as f32;
        assert_eq!(f64::from(moved[i]) - f64::from(values[i]), h, "the step is exact");
        loss(moved)
    };
    let mut column: Vec<f64> =
        (0..4).map(|level| first / f64::from(1 << level)).map(|h| (at(h) - at(-h)) / (2.0 * h)).collect();
    for power in [4.0, 16.0, 64.0] {
        column = column.windows(2).map(|pair| (power * pair[1] - pair[0]) / (power - 1.0)).collect();
    }
    column[0]
}

/// A gradient against the derivatives by each of the operand's numbers. `size` is that of the loss.
fn agrees(
    name: &str,
    gradient: &reference::Gradient,
    operand: &[f32],
    size: f64,
    loss: impl Fn(Vec<f32>) -> f64,
) -> TestCaseResult {
    agrees_by_steps(name, gradient, operand, size, |value| step(value, name.starts_with("dalpha")), loss)
}

/// [`agrees`] with a first step that depends on the number.
pub fn agrees_by_steps(
    name: &str,
    gradient: &reference::Gradient,
    operand: &[f32],
    size: f64,
    step: impl Fn(f32) -> f64,
    loss: impl Fn(Vec<f32>) -> f64,
) -> TestCaseResult {
    prop_assert!(gradient.value.len() == operand.len(), "{name} has {} elements", gradient.value.len());
    for i in 0..operand.len() {
        let first = step(operand[i]);
        let numeric = derivative(operand, i, first, &loss);
        let allowed = 1e-8 * gradient.terms[i] + 1e-13 * (1.0 + size) / first;
        let value = gradient.value[i];
        prop_assert!(
            (value - numeric).abs() <= allowed,
            "{name}[{i}] is {value}, by differences {numeric} ± {allowed:e}"
        );
    }
    Ok(())
}

/// Whether a step of an operand (or of α, with which some kinks move) may carry a z across a kink.
fn near_a_kink(activation: &Activation, source: AlphaSource, alphas: &[f32], z: &[f64]) -> bool {
    z.iter().enumerate().any(|(i, z)| {
        let activation = match source {
            AlphaSource::Constant => *activation,
            AlphaSource::PerLayer => activation.with_alpha(alphas[0]),
            AlphaSource::PerChannel => activation.with_alpha(alphas[i % alphas.len()]),
        };
        let reach = 2.0 * (STEP + step(activation.params()[0], true));
        activation.kinks().iter().any(|kink| (kink.at - z).abs() < reach)
    })
}

/// Whether a step may carry a z across a limit.
fn near_a_limit(gate: &Gate, z: &[f64]) -> bool {
    gate.limit().is_some_and(|limit| z.iter().any(|z| (z.abs() - f64::from(limit)).abs() < 4.0 * STEP))
}

/// A random layer; the numbers of its operands follow from the seed.
pub fn requests() -> impl Strategy<Value = (AffineRequest, u64)> {
    let (after, before) = (Some(ResidualAt::AfterActivation), Some(ResidualAt::BeforeActivation));
    let residual = prop::sample::select(vec![None, after, before]);
    let choices = (any::<bool>(), any::<bool>(), residual, any::<bool>());
    let saved = prop::sample::select(vec![Saved::Auto, Saved::Z, Saved::None]);
    (0..5usize, 0..5usize, 0..5usize, with_source(), choices, saved, any::<u64>()).prop_map(
        move |(m, n, k, (activation, alpha), (out_in, bias, residual, row_weight), saved, seed)| {
            let layout = if out_in { WeightLayout::OutIn } else { WeightLayout::InOut };
            // Half of those without a row weight carry jets.
            let jet = (!row_weight && seed % 2 == 0).then(|| {
                let two = Jet::two([0.5, -1.0, 2.0]).unwrap();
                let [first_order, six] = [Jet::two([0.0; 3]).unwrap(), Jet::laplacian(4).unwrap()];
                [two, two, first_order, six][(seed / 2 % 4) as usize].even_if_flat()
            });
            // And some a gate.
            let limited = |gate: Gate| gate.limited(1.3).unwrap();
            let [stacked, interleaved, apart] = [Gate::stacked(), Gate::interleaved(), Gate::apart()];
            let gates = [stacked, interleaved.up_first(), limited(interleaved), apart, limited(apart.up_first())];
            let gate = gates.get((seed / 8 % 8) as usize).copied().filter(|_| jet.is_none());
            let residual = residual.filter(|_| gate.is_none() || residual == after);
            // And some leave elements out.
            let dropout = (seed / 64 % 4 == 0 && jet.is_none()).then(|| Dropout::new(0.25).unwrap());
            let usual = AffineRequest::new(m * jet.map_or(1, |jet| jet.members()), n, k, activation)
                .jet(jet)
                .gate(gate)
                .dropout(dropout);
            (usual.layout(layout).alpha(alpha).bias(bias).residual(residual).row_weight(row_weight).saved(saved), seed)
        },
    )
}

/// The operands of forward; those that the request has not stay unread.
#[derive(Clone)]
pub struct Operands {
    pub x: Vec<f32>,
    pub w: Vec<f32>,
    pub b: Vec<f32>,
    pub alpha: Vec<f32>,
    pub residual: Vec<f32>,
    pub row_weight: Vec<f32>,
    pub w_up: Vec<f32>,
    pub b_up: Vec<f32>,
}

impl Operands {
    pub fn new(request: &AffineRequest, numbers: &mut Numbers) -> Self {
        let (AffineRequest { m, n, k, .. }, outputs) = (*request, request.outputs_of_w());
        let [x, w, b, residual, row_weight] =
            [m * k, outputs * k, outputs, m * n, m].map(|length| numbers.dyadic(length));
        let [w_up, b_up] = [n * k, n].map(|length| numbers.dyadic(length));
        Operands { x, w, b, residual, row_weight, alpha: alphas(&request.activation, request.alpha, n), w_up, b_up }
    }

    fn forward(&self, request: &AffineRequest) -> reference::ForwardOutputs {
        reference::forward(request, self.inputs(request)).unwrap()
    }

    /// The operands of forward, without those of a front.
    pub fn inputs<'a>(&'a self, request: &AffineRequest) -> ForwardInputs<'a> {
        ForwardInputs::new(&self.x, &self.w)
            .b(request.bias.then_some(&self.b))
            .alpha(operand(request.alpha, &self.alpha))
            .residual(request.residual.map(|_| &self.residual[..]))
            .row_weight(request.row_weight.then_some(&self.row_weight))
            .w_up(request.is_apart().then_some(&self.w_up))
            .b_up((request.is_apart() && request.bias).then_some(&self.b_up))
            .dropout_state(request.dropout.map(|_| STATE))
    }

    /// The operands of backward, without a layer below.
    pub fn backward<'a>(&'a self, request: &AffineRequest, dy: &'a [f32]) -> reference::BackwardInputs<'a> {
        reference::BackwardInputs::new(&self.x, &self.w, dy)
            .b(request.bias.then_some(&self.b))
            .alpha(operand(request.alpha, &self.alpha))
            .residual(request.residual.map(|_| &self.residual[..]))
            .row_weight(request.row_weight.then_some(&self.row_weight))
            .w_up(request.is_apart().then_some(&self.w_up))
            .b_up((request.is_apart() && request.bias).then_some(&self.b_up))
            .dropout_state(request.dropout.map(|_| STATE))
    }
}

/// Which elements are left out.
const STATE: [u32; 4] = Dropout::state(1, 2, 3);

fn backward_of(affine: AffineRequest) -> BackwardRequest {
    BackwardRequest::new(affine, Gradients::default())
}

/// Σ values ⊙ weights, and Σ of the absolute terms.
pub fn weighted(values: &[f64], weights: impl Iterator<Item = f64>) -> [f64; 2] {
    let terms = values.iter().zip(weights).map(|(value, weight)| value * weight);
    terms.fold([0.0; 2], |[sum, size], term| [sum + term, size + term.abs()])
}

#[test]
fn the_gradients_of_a_layer_are_its_derivatives() {
    let (all, clear) = (Cell::new(0), Cell::new(0));
    let property = |((request, seed), upstream_is_dz): ((AffineRequest, u64), bool)| {
        all.set(all.get() + 1);
        let mut numbers = Numbers(seed);
        let operands = Operands::new(&request, &mut numbers);
        let dy = numbers.dyadic(request.m * request.n);
        let z = operands.forward(&request).z;
        // Where gates lie beside what they gate, a column's channel is not its index: any channel's α may be its own.
        let near = match request.alpha {
            AlphaSource::PerChannel if request.gate.is_some() => {
                let per_layer = |alpha| near_a_kink(&request.activation, AlphaSource::PerLayer, alpha, &z);
                operands.alpha.chunks(1).any(per_layer)
            }
            source => near_a_kink(&request.activation, source, &operands.alpha, &z),
        };
        if near
            || request.gate.is_some_and(|gate| near_a_limit(&gate, &z))
            || (request.gate.is_some() && upstream_is_dz)
        {
            return Ok(());
        }
        clear.set(clear.get() + 1);
        // If dz is given, it is the gradient of z: then the loss is Σ z dz.
        let both = |operands: &Operands| {
            let out = operands.forward(&request);
            weighted(if upstream_is_dz { &out.z } else { &out.y }, dy.iter().map(|dy| f64::from(*dy)))
        };
        let loss = |operands: Operands| both(&operands)[0];
        let size = both(&operands)[1];
        let backward = backward_of(request).upstream_is_dz(upstream_is_dz);
        let inputs = operands.backward(&request, &dy);
        let inputs = if upstream_is_dz { inputs.dropout_state(None) } else { inputs };
        let out = reference::backward(&backward, inputs).unwrap();
        let Operands { x, w, b, alpha, residual, row_weight, w_up, b_up } = &operands;
        agrees("dx", &out.dx, x, size, |x| loss(Operands { x, ..operands.clone() }))?;
        agrees("dw", &out.dw, w, size, |w| loss(Operands { w, ..operands.clone() }))?;
        if request.is_apart() {
            agrees("dw_up", &out.dw_up, w_up, size, |w_up| loss(Operands { w_up, ..operands.clone() }))?;
        }
        if request.is_apart() && request.bias {
            agrees("db_up", &out.db_up, b_up, size, |b_up| loss(Operands { b_up, ..operands.clone() }))?;
        }
        if request.bias {
            agrees("db", &out.db, b, size, |b| loss(Operands { b, ..operands.clone() }))?;
        }
        if request.alpha != AlphaSource::Constant {
            agrees("dalpha", &out.dalpha, alpha, size, |alpha| loss(Operands { alpha, ..operands.clone() }))?;
        }
        if request.residual.is_some_and(|at| !upstream_is_dz || at == ResidualAt::BeforeActivation) {
            agrees("dresidual", &out.dresidual, residual, size, |residual| {
                loss(Operands { residual, ..operands.clone() })
            })?;
        }
        if request.row_weight && !upstream_is_dz {
            agrees("drow_weight", &out.drow_weight, row_weight, size, |row_weight| {
                loss(Operands { row_weight, ..operands.clone() })
            })?;
        }
        Ok(())
    };
    check(1_500, &(requests(), any::<bool>()), property).unwrap();
    assert!(2 * clear.get() > all.get(), "{} of {} cases clear of kinks", clear.get(), all.get());
}

#[test]
fn a_chain_goes_on_through_the_layer_below() {
    let (all, clear) = (Cell::new(0), Cell::new(0));
    let property = |((request, seed), (below, source)): ((AffineRequest, u64), (Activation, AlphaSource))| {
        all.set(all.get() + 1);
        let AffineRequest { m, n, k, .. } = request;
        let mut numbers = Numbers(seed);
        let operands = Operands::new(&request, &mut numbers);
        let (dy, z_below, weights) = (numbers.dyadic(m * n), numbers.dyadic(m * k), numbers.dyadic(m));
        let alpha_below = alphas(&below, source, k);
        let z: Vec<f64> = z_below.iter().map(|z| f64::from(*z)).collect();
        if near_a_kink(&below, source, &alpha_below, &z) {
            return Ok(());
        }
        clear.set(clear.get() + 1);
        if request.jet.is_some() {
            return Ok(());
        }
        let chain = Below::new(below, Saved::Z).alpha(source).row_weight(true);
        let inputs = operands
            .backward(&request, &dy)
            .z_below(Some(&z_below))
            .alpha_below(operand(source, &alpha_below))
            .row_weight_below(Some(&weights));
        let out = reference::backward(&backward_of(request).below(chain), inputs).unwrap();
        // By the chain rule: the loss of the layer below alone, with dx as what comes from above.
        let elementwise = Elementwise::new(m, k, below).alpha(source);
        let both = |z: &[f32], alpha: &[f32], weights: &[f32]| {
            let mut y = reference::elementwise::forward(&elementwise, z, operand(source, alpha)).unwrap();
            y.iter_mut().enumerate().for_each(|(i, y)| *y *= f64::from(weights[i / k]));
            weighted(&y, out.dx.value.iter().copied())
        };
        let loss = |z: &[f32], alpha: &[f32]| both(z, alpha, &weights)[0];
        let size = both(&z_below, &alpha_below, &weights)[1];
        agrees("drow_weight_below", &out.drow_weight_below, &weights, size, |weights| {
            both(&z_below, &alpha_below, &weights)[0]
        })?;
        agrees("dz_below", &out.dz_below, &z_below, size, |z| loss(&z, &alpha_below))?;
        // A bias moves its whole column.
        let shifted = |shifts: Vec<f32>| z_below.iter().enumerate().map(|(i, z)| z + shifts[i % k]).collect::<Vec<_>>();
        agrees("db_below", &out.db_below, &vec![0.0; k], size, |shifts| loss(&shifted(shifts), &alpha_below))?;
        if source != AlphaSource::Constant {
            agrees("dalpha_below", &out.dalpha_below, &alpha_below, size, |alpha| loss(&z_below, &alpha))?;
        }
        Ok(())
    };
    check(1_000, &(requests(), with_source()), property).unwrap();
    assert!(2 * clear.get() > all.get(), "{} of {} cases clear of kinks", clear.get(), all.get());
}

#[test]
fn the_double_backward_is_the_derivative_of_the_backward() {
    let (all, clear) = (Cell::new(0), Cell::new(0));
    let property = |((activation, source), rows, channels, seed): ((Activation, AlphaSource), usize, usize, u64)| {
        all.set(all.get() + 1);
        let request = Elementwise::new(rows, channels, activation).alpha(source);
        let mut numbers = Numbers(seed);
        let [x, dy, ddx] = [(); 3].map(|()| numbers.dyadic(rows * channels));
        let alpha = alphas(&activation, source, channels);
        let z: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        if near_a_kink(&activation, source, &alpha, &z) {
            return Ok(());
        }
        clear.set(clear.get() + 1);
        let out = reference::elementwise::double_backward(&request, &x, operand(source, &alpha), &dy, &ddx).unwrap();
        let both = |x: &[f32], alpha: &[f32], dy: &[f32]| {
            let dx = reference::elementwise::backward(&request, x, operand(source, alpha), dy).unwrap().dx;
            weighted(&dx, ddx.iter().map(|ddx| f64::from(*ddx)))
        };
        let loss = |x: &[f32], alpha: &[f32], dy: &[f32]| both(x, alpha, dy)[0];
        let size = both(&x, &alpha, &dy)[1];
        let elements = |value: &[f64]| {
            let terms = value.iter().map(|value| value.abs()).collect();
            reference::Gradient { value: value.to_vec(), terms }
        };
        agrees("ddy", &elements(&out.ddy), &dy, size, |dy| loss(&x, &alpha, &dy))?;
        agrees("dx2", &elements(&out.dx2), &x, size, |x| loss(&x, &alpha, &dy))?;
        if source != AlphaSource::Constant {
            agrees("dalpha2", &out.dalpha2, &alpha, size, |alpha| loss(&x, &alpha, &dy))?;
        }
        Ok(())
    };
    check(1_500, &(with_source(), 0..4usize, 0..5usize, any::<u64>()), property).unwrap();
    assert!(2 * clear.get() > all.get(), "{} of {} cases clear of kinks", clear.get(), all.get());
}
