//! Layers with a front: the gradients of the f64 reference against differences of its forward, and what must hold of norms, by formulas of
//! their own.

use std::cell::Cell;

use elbow::{
    Norm,
    activation::Activation,
    cpu::{ForwardInputs, FrontInputs, reference},
    request::{AffineRequest, AlphaSource, BackwardRequest, Front, Gradients, ResidualAt},
};
use proptest::{prelude::*, sample::select, test_runner::TestCaseResult};

use crate::{
    common::{Numbers, check},
    layer::{Operands, agrees_by_steps, alphas, operand, requests, weighted, with_source},
};

/// The first step: of x and the rest; of α that share of its power of two.
const STEP: f64 = 1.0 / 1024.0;

fn norms() -> impl Strategy<Value = Option<Norm>> {
    // An ε that is not small: a step moves nothing by more than itself.
    let of = |norm: Norm| Some(norm.epsilon(1.0).unwrap().momentum(0.25).unwrap());
    select(vec![None, of(Norm::batch()), of(Norm::running()), of(Norm::layer()), of(Norm::rms())])
}

fn fronts() -> impl Strategy<Value = Front> {
    (norms(), any::<[bool; 3]>(), with_source()).prop_map(|(norm, [scale, shift, running], (activation, alpha))| {
        let running = norm.is_some_and(|norm| norm.is_running() || (norm.is_batch() && running));
        Front::new(activation).norm(norm).scale(scale).shift(shift).alpha(alpha).running(running)
    })
}

/// The operands of a front; those that it has not stay unread.
#[derive(Clone)]
struct OfFront {
    scale: Vec<f32>,
    shift: Vec<f32>,
    alpha: Vec<f32>,
    running: Vec<f32>,
}

impl OfFront {
    fn new(front: &Front, k: usize, numbers: &mut Numbers) -> Self {
        let [scale, shift, means, variances] = [(); 4].map(|()| numbers.dyadic(k));
        let variances: Vec<f32> = variances.iter().map(|v| v.abs()).collect();
        OfFront { scale, shift, alpha: alphas(&front.activation, front.alpha, k), running: [means, variances].concat() }
    }

    fn inputs(&self, front: &Front) -> FrontInputs<'_> {
        FrontInputs::default()
            .scale(front.scale.then_some(&self.scale))
            .shift(front.shift.then_some(&self.shift))
            .alpha(operand(front.alpha, &self.alpha))
            .running_moments(front.running.then_some(&self.running))
    }
}

fn at(activation: &Activation, source: AlphaSource, alphas: &[f32], channel: usize) -> Activation {
    match source {
        AlphaSource::Constant => *activation,
        AlphaSource::PerLayer => activation.with_alpha(alphas[0]),
        AlphaSource::PerChannel => activation.with_alpha(alphas[channel % alphas.len()]),
    }
}

/// Whether one of these is as close to a kink as that.
fn near(values: &[f64], activation: impl Fn(usize) -> Activation, reach: f64) -> bool {
    values.iter().enumerate().any(|(i, v)| activation(i).kinks().iter().any(|kink| (kink.at - v).abs() < reach))
}

/// scale ⊙ u + shift, from the moments that forward gives.
fn before_the_activation(request: &AffineRequest, x: &[f32], of: &OfFront, moments: &[f64]) -> Vec<f64> {
    let (front, k) = (request.front.unwrap(), request.k);
    let one = |(i, x): (usize, &f32)| {
        let u = front.norm.map_or(f64::from(*x), |norm| {
            let line = if norm.of_rows() { i / k } else { i % k };
            (f64::from(*x) - moments[line]) * moments[moments.len() / 2 + line]
        });
        let v = if front.scale { f64::from(of.scale[i % k]) * u } else { u };
        if front.shift { v + f64::from(of.shift[i % k]) } else { v }
    };
    x.iter().enumerate().map(one).collect()
}

fn alpha_step(alpha: f32) -> f64 {
    STEP * f64::from(alpha.abs()).log2().floor().exp2()
}

/// Whether a step may carry a number across a kink, in front of the product or behind it.
fn is_near_a_kink(request: &AffineRequest, operands: &Operands, of: &OfFront, out: &reference::ForwardOutputs) -> bool {
    let front = request.front.unwrap();
    let in_front = |i| at(&front.activation, front.alpha, &of.alpha, i % request.k);
    let behind = |i| at(&request.activation, request.alpha, &operands.alpha, i % request.n);
    let v = before_the_activation(request, &operands.x, of, &out.moments);
    // What a step of x or of an α in front of the product moves v by; then x' by, and z.
    let reach = 4.0 * (STEP + alpha_step(front.activation.params()[0]));
    if near(&v, in_front, 4.0 * reach) {
        return true;
    }
    let slope = |(i, v): (usize, &f64)| in_front(i).slope(*v).abs();
    let steepest = v.iter().enumerate().map(slope).chain(out.fronted.iter().map(|v| v.abs())).fold(1.0, f64::max);
    let reach = 2.0 * reach * steepest * request.k.max(1) as f64 + 4.0 * alpha_step(request.activation.params()[0]);
    // Of a gated layer the activation is that of the gates; a limit is one of both.
    let width = request.outputs();
    let place =
        |i: usize| request.gate.map_or(i, |gate| i / request.n * width + gate.gate_at(i % request.n, request.n));
    let arguments: Vec<f64> = (0..request.m * request.n).map(|i| out.z[place(i)]).collect();
    let limit = request.gate.and_then(|gate| gate.limit()).map(f64::from);
    near(&arguments, behind, reach) || limit.is_some_and(|limit| out.z.iter().any(|z| (z.abs() - limit).abs() < reach))
}

#[test]
fn the_gradients_of_a_layer_with_a_front_are_its_derivatives() {
    let (all, clear) = (Cell::new(0), Cell::new(0));
    let property = |((request, seed), front, upstream_is_dz): ((AffineRequest, u64), Front, bool)| {
        all.set(all.get() + 1);
        let request = request.jet(None).front(front);
        let upstream_is_dz = upstream_is_dz && request.gate.is_none();
        let mut numbers = Numbers(seed);
        let (operands, of) = (Operands::new(&request, &mut numbers), OfFront::new(&front, request.k, &mut numbers));
        let dy = numbers.dyadic(request.m * request.n);
        let forward = |operands: &Operands, of: &OfFront| {
            reference::forward(&request, operands.inputs(&request).front(of.inputs(&front))).unwrap()
        };
        let out = forward(&operands, &of);
        if is_near_a_kink(&request, &operands, &of, &out) {
            return Ok(());
        }
        clear.set(clear.get() + 1);
        let both = |operands: &Operands, of: &OfFront| {
            let out = forward(operands, of);
            weighted(if upstream_is_dz { &out.z } else { &out.y }, dy.iter().map(|dy| f64::from(*dy)))
        };
        let loss = |operands: Operands, of: &OfFront| both(&operands, of)[0];
        let size = both(&operands, &of)[1];
        let backward = BackwardRequest::new(request, Gradients::default()).upstream_is_dz(upstream_is_dz);
        let inputs = operands.backward(&request, &dy).front(of.inputs(&front));
        let inputs = if upstream_is_dz { inputs.dropout_state(None) } else { inputs };
        let back = reference::backward(&backward, inputs).unwrap();
        let agrees = |name: &str, gradient, operand: &[f32], loss: &dyn Fn(Vec<f32>) -> f64| {
            let step = |value| if name.ends_with("alpha") { alpha_step(value) } else { STEP };
            agrees_by_steps(name, gradient, operand, size, step, loss)
        };
        let Operands { x, w, b, alpha, residual, row_weight, .. } = &operands;
        let with = |change: &dyn Fn(&mut Operands)| {
            let mut moved = operands.clone();
            change(&mut moved);
            loss(moved, &of)
        };
        let with_front = |change: &dyn Fn(&mut OfFront)| {
            let mut moved = of.clone();
            change(&mut moved);
            loss(operands.clone(), &moved)
        };
        agrees("dx", &back.dx, x, &|x| with(&|moved| moved.x.clone_from(&x)))?;
        agrees("dw", &back.dw, w, &|w| with(&|moved| moved.w.clone_from(&w)))?;
        if request.bias {
            agrees("db", &back.db, b, &|b| with(&|moved| moved.b.clone_from(&b)))?;
        }
        if request.alpha != AlphaSource::Constant && !upstream_is_dz {
            agrees("dalpha", &back.dalpha, alpha, &|alpha| with(&|moved| moved.alpha.clone_from(&alpha)))?;
        }
        let of_residual = request.residual.is_some_and(|at| !upstream_is_dz || at == ResidualAt::BeforeActivation);
        if of_residual {
            agrees("dresidual", &back.dresidual, residual, &|r| with(&|moved| moved.residual.clone_from(&r)))?;
        }
        if request.row_weight && !upstream_is_dz {
            agrees("drow_weight", &back.drow_weight, row_weight, &|s| with(&|moved| moved.row_weight.clone_from(&s)))?;
        }
        if front.scale {
            agrees("dscale", &back.dscale, &of.scale, &|scale| with_front(&|moved| moved.scale.clone_from(&scale)))?;
        }
        if front.shift {
            agrees("dshift", &back.dshift, &of.shift, &|shift| with_front(&|moved| moved.shift.clone_from(&shift)))?;
        }
        if front.alpha != AlphaSource::Constant {
            agrees("dfront_alpha", &back.dfront_alpha, &of.alpha, &|alpha| {
                with_front(&|moved| moved.alpha.clone_from(&alpha))
            })?;
        }
        // A residual block: x goes around the layer too.
        if of_residual && request.n == request.k {
            let block = Operands { residual: x.clone(), ..operands.clone() };
            let inputs = inputs.residual(Some(x));
            if is_near_a_kink(&request, &block, &of, &forward(&block, &of)) {
                return Ok(());
            }
            let back = reference::backward(&backward.skip(true), inputs).unwrap();
            agrees("dx with skip", &back.dx, x, &|x| {
                loss(Operands { residual: x.clone(), x, ..operands.clone() }, &of)
            })?;
        }
        Ok(())
    };
    check(1_500, &(requests(), fronts(), any::<bool>()), property).unwrap();
    assert!(2 * clear.get() > all.get(), "{} of {} cases clear of kinks", clear.get(), all.get());
}

/// A layer whose product is nothing: what the front makes of x is a result of its own.
fn alone(m: usize, k: usize, front: Front) -> AffineRequest {
    AffineRequest::new(m, 1, k, Activation::IDENTITY).bias(false).front(front)
}

fn fronted(layer: &AffineRequest, x: &[f32], front: FrontInputs<'_>) -> reference::ForwardOutputs {
    reference::forward(layer, ForwardInputs::new(x, &vec![0.0; layer.k]).front(front)).unwrap()
}

/// An ε that is nothing beside any variance.
fn bare(norm: Norm) -> Front {
    Front::new(Activation::IDENTITY).norm(norm.epsilon(f32::MIN_POSITIVE).unwrap())
}

fn close(got: &[f64], expected: &[f64], allowed: f64) -> TestCaseResult {
    prop_assert!(got.len() == expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        prop_assert!((got - expected).abs() <= allowed, "{i}: {got}, not {expected} ± {allowed:e}");
    }
    Ok(())
}

fn sizes() -> impl Strategy<Value = (usize, usize, u64)> {
    (2..9usize, 2..9usize, any::<u64>())
}

#[test]
fn equal_numbers_are_normalised_to_the_shift() {
    let property = |(m, k, seed): (usize, usize, u64)| {
        let mut numbers = Numbers(seed);
        let (of_columns, of_rows, shift) = (numbers.dyadic(k), numbers.dyadic(m), numbers.dyadic(k));
        let front = |norm| Front::new(Activation::TANH).norm(norm).scale(true).shift(true);
        let inputs = FrontInputs::default().scale(Some(&[3.0; 9])).shift(Some(&shift));
        let columns: Vec<f32> = (0..m * k).map(|i| of_columns[i % k]).collect();
        let rows: Vec<f32> = (0..m * k).map(|i| of_rows[i / k]).collect();
        for (norm, x) in [(Norm::batch(), columns), (Norm::layer(), rows)] {
            let out = fronted(&alone(m, k, front(norm)), &x, inputs);
            let expected: Vec<f64> = (0..m * k).map(|i| f64::from(shift[i % k]).tanh()).collect();
            // The mean of equal numbers is rounded, and 1 / √ε is 316.
            close(&out.fronted, &expected, 1e-12)?;
        }
        Ok(())
    };
    check(200, &sizes(), property).unwrap();
}

#[test]
fn norms_forget_the_units_of_what_they_normalise() {
    let property = |(m, k, seed): (usize, usize, u64)| {
        let x = Numbers(seed).dyadic(m * k);
        for (norm, offset) in [(Norm::layer(), 3.0), (Norm::batch(), 3.0), (Norm::rms(), 0.0)] {
            let layer = alone(m, k, bare(norm));
            let moved: Vec<f32> = x.iter().map(|x| 4.0 * x + offset).collect();
            let [here, there] = [&x, &moved].map(|x| fronted(&layer, x, FrontInputs::default()));
            close(&there.fronted, &here.fronted, 1e-9)?;
            // And so no gradient goes along x, nor, where there is a mean, along 1: in lines of the norm.
            let w = Numbers(seed ^ 1).dyadic(k);
            let dy = Numbers(seed ^ 2).dyadic(m);
            let back = BackwardRequest::new(layer, Gradients::default());
            let back = reference::backward(&back, reference::BackwardInputs::new(&x, &w, &dy)).unwrap();
            let lines = if norm.of_rows() { m } else { k };
            let (mut sums, mut along) = (vec![0.0; lines], vec![0.0; lines]);
            for (i, dx) in back.dx.value.iter().enumerate() {
                let line = if norm.of_rows() { i / k } else { i % k };
                sums[line] += dx;
                along[line] += dx * f64::from(x[i]);
            }
            let allowed = 1e-13 * back.dx.terms.iter().sum::<f64>() + 1e-13;
            close(&along, &vec![0.0; lines], allowed)?;
            if norm.has_mean() {
                close(&sums, &vec![0.0; lines], allowed)?;
            }
        }
        Ok(())
    };
    check(300, &sizes(), property).unwrap();
}

#[test]
fn normalised_numbers_have_mean_0_and_mean_square_1() {
    let property = |(m, k, seed): (usize, usize, u64)| {
        let x = Numbers(seed).dyadic(m * k);
        for norm in [Norm::layer(), Norm::batch(), Norm::rms()] {
            let out = fronted(&alone(m, k, bare(norm)), &x, FrontInputs::default());
            let (lines, count) = if norm.of_rows() { (m, k) } else { (k, m) };
            for line in 0..lines {
                let of_line = |i: usize| if norm.of_rows() { line * k + i } else { i * k + line };
                let values: Vec<f64> = (0..count).map(|i| out.fronted[of_line(i)]).collect();
                let square = values.iter().map(|v| v * v).sum::<f64>() / count as f64;
                // Of equal numbers there is nothing to say.
                let differ = (1..count).any(|i| x[of_line(i)] != x[of_line(0)]);
                prop_assert!((square - 1.0).abs() < 1e-9 || !differ, "{norm}: mean square {square}");
                let mean = values.iter().sum::<f64>() / count as f64;
                prop_assert!(mean.abs() < 1e-9 || !norm.has_mean() || !differ, "{norm}: mean {mean}");
            }
        }
        Ok(())
    };
    check(200, &sizes(), property).unwrap();
}

#[test]
fn running_statistics_follow_pytorch() {
    let property = |(m, k, seed): (usize, usize, u64)| {
        let mut numbers = Numbers(seed);
        let x = numbers.dyadic(m * k);
        let old = [numbers.dyadic(k), vec![0.75; k]].concat();
        let norm = Norm::batch().momentum(0.3).unwrap();
        let layer = alone(m, k, Front::new(Activation::RELU).norm(norm).running(true));
        let out = fronted(&layer, &x, FrontInputs::default().running_moments(Some(&old)));
        let momentum = f64::from(0.3f32);
        let mut expected = vec![0.0; 2 * k];
        for j in 0..k {
            let column: Vec<f64> = (0..m).map(|i| f64::from(x[i * k + j])).collect();
            // The unbiased variance by the differences of all pairs.
            let pairs = column.iter().flat_map(|a| column.iter().map(move |b| (a - b).powi(2))).sum::<f64>();
            let new = [column.iter().sum::<f64>() / m as f64, pairs / 2.0 / (m * (m - 1)) as f64];
            for (plane, new) in new.into_iter().enumerate() {
                let at = plane * k + j;
                expected[at] = (1.0 - momentum) * f64::from(old[at]) + momentum * new;
            }
        }
        close(&out.running_moments, &expected, 1e-12)?;
        // In use they take the place of the batch's own.
        let norm = Norm::running().epsilon(0.25).unwrap();
        let layer = alone(m, k, Front::new(Activation::IDENTITY).norm(norm).running(true));
        let out = fronted(&layer, &x, FrontInputs::default().running_moments(Some(&old)));
        let expected: Vec<f64> = (0..m * k).map(|i| f64::from(x[i] - old[i % k])).collect();
        close(&out.fronted, &expected, 1e-12)
    };
    check(200, &sizes(), property).unwrap();
}
