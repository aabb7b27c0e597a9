//! What x goes through in front of the product, and back: the formulas of [`Front`].

use super::{Gradient, with_alpha};
use crate::{
    activation::Quantity,
    cpu::{FrontInputs, operands},
    norm::Norm,
    request::{AffineRequest, AlphaSource, Front},
};

/// What is made of x `[M, K]`, element by element.
#[derive(Default)]
pub(super) struct Fronted {
    /// x as a norm leaves it.
    pub(super) u: Vec<f64>,
    /// scale ⊙ u + shift
    pub(super) v: Vec<f64>,
    /// act(v; α)
    pub(super) value: Vec<f64>,
    /// Mean and 1 / √(variance + ε) of each column or row.
    pub(super) moments: Vec<f64>,
    /// The running mean and variance of each column, moved by those of x.
    pub(super) running_moments: Vec<f64>,
}

/// The elements of a line, a row or a column of x.
fn line(norm: &Norm, [rows, columns]: [usize; 2], line: usize) -> Vec<usize> {
    match norm.of_rows() {
        true => (0..columns).map(|k| line * columns + k).collect(),
        false => (0..rows).map(|m| m * columns + line).collect(),
    }
}

/// The number of lines, and the line of an element.
fn lines(norm: &Norm, [rows, columns]: [usize; 2]) -> (usize, impl Fn(usize) -> usize) {
    let of_rows = norm.of_rows();
    (if of_rows { rows } else { columns }, move |i: usize| if of_rows { i / columns } else { i % columns })
}

pub(super) fn forward(request: &AffineRequest, x: &[f32], inputs: &FrontInputs<'_>) -> Fronted {
    let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let Some(front) = &request.front else { return Fronted { value: x, ..Fronted::default() } };
    let shape = [request.m, request.k];
    let mut out = Fronted { u: x.clone(), ..Fronted::default() };
    if let Some(norm) = &front.norm {
        normalise(&mut out, norm, inputs, &x, shape);
    }
    for (i, &u) in out.u.iter().enumerate() {
        let k = i % request.k;
        let of = |operand: Option<&[f32]>, none: f64| operand.map_or(none, |operand| f64::from(operand[k]));
        let v = of(inputs.scale, 1.0) * u + of(inputs.shift, 0.0);
        out.v.push(v);
        out.value.push(with_alpha(front.activation, front.alpha, inputs.alpha, k).value(v));
    }
    out
}

fn normalise(out: &mut Fronted, norm: &Norm, inputs: &FrontInputs<'_>, x: &[f64], shape: [usize; 2]) {
    let (count, line_of) = lines(norm, shape);
    let given: Vec<f64> = inputs.running_moments.unwrap_or_default().iter().map(|&v| f64::from(v)).collect();
    let (mut means, mut inverses, mut variances) = (Vec::new(), Vec::new(), Vec::new());
    for one in 0..count {
        let line = line(norm, shape, one);
        let elements = line.len() as f64;
        let average = |of: &dyn Fn(f64) -> f64| line.iter().map(|&i| of(x[i])).sum::<f64>() / elements;
        let (mean, variance) = match norm.is_running() {
            true => (given[one], given[count + one]),
            false => {
                let mean = if norm.has_mean() { average(&|x| x) } else { 0.0 };
                (mean, average(&|x| (x - mean).powi(2)))
            }
        };
        means.push(mean);
        inverses.push((variance + f64::from(norm.get_epsilon())).sqrt().recip());
        variances.push(variance * elements / (elements - 1.0).max(1.0));
    }
    for (i, u) in out.u.iter_mut().enumerate() {
        *u = (*u - means[line_of(i)]) * inverses[line_of(i)];
    }
    if norm.is_batch() {
        let momentum = f64::from(norm.get_momentum());
        let of_batch = means.iter().chain(&variances);
        out.running_moments = given.iter().zip(of_batch).map(|(old, new)| old + momentum * (new - old)).collect();
    }
    out.moments = [means, inverses].concat();
}

/// The gradients of a front.
pub(super) struct Back {
    pub(super) dx: Gradient,
    pub(super) dscale: Gradient,
    pub(super) dshift: Gradient,
    pub(super) dalpha: Gradient,
}

/// From the gradient of what a front has made of x.
pub(super) fn backward(
    front: &Front,
    shape: [usize; 2],
    fronted: &Fronted,
    inputs: &FrontInputs<'_>,
    upstream: &Gradient,
) -> Back {
    let columns = shape[1];
    let mut out = Back {
        dx: Gradient::zeros(upstream.value.len()),
        dscale: Gradient::zeros(columns),
        dshift: Gradient::zeros(columns),
        dalpha: Gradient::zeros(operands::alpha_length(front.alpha, columns)),
    };
    for i in 0..upstream.value.len() {
        let (k, u, v) = (i % columns, fronted.u[i], fronted.v[i]);
        let activation = with_alpha(front.activation, front.alpha, inputs.alpha, k);
        let through = |quantity| {
            let derivative = activation.evaluate(quantity, v);
            (activation.passed(upstream.value[i], derivative), activation.passed(upstream.terms[i], derivative).abs())
        };
        let dv = through(Quantity::Slope);
        out.dshift.add_with(k, dv.0, dv.1);
        out.dscale.add_with(k, dv.0 * u, dv.1 * u.abs());
        let channel = if front.alpha == AlphaSource::PerChannel { k } else { 0 };
        let dalpha = through(Quantity::AlphaSlope);
        out.dalpha.add_with(channel, dalpha.0, dalpha.1);
        let scale = inputs.scale.map_or(1.0, |scale| f64::from(scale[k]));
        out.dx.add_with(i, scale * dv.0, scale.abs() * dv.1);
    }
    if let Some(norm) = &front.norm {
        through_norm(&mut out.dx, norm, shape, fronted);
    }
    out
}

/// From g, the gradient of u, that of x: (g − mean(g) − u · mean(g · u)) / √(variance + ε), or g / √(variance + ε) if the statistics are constants.
fn through_norm(g: &mut Gradient, norm: &Norm, shape: [usize; 2], fronted: &Fronted) {
    let (count, _) = lines(norm, shape);
    for one in 0..count {
        let line = line(norm, shape, one);
        let inverse = fronted.moments[count + one];
        let average = |of: &dyn Fn(usize) -> f64| match norm.is_running() {
            true => 0.0,
            false => line.iter().map(|&i| of(i)).sum::<f64>() / line.len() as f64,
        };
        let u = &fronted.u;
        let both = |of: &[f64], size: &dyn Fn(f64) -> f64| {
            let mean = if norm.has_mean() { average(&|i| of[i]) } else { 0.0 };
            (mean, average(&|i| of[i] * size(u[i])))
        };
        let (mean, along) = both(&g.value, &|u| u);
        let (mean_terms, along_terms) = both(&g.terms, &f64::abs);
        for &i in &line {
            g.value[i] = (g.value[i] - mean - u[i] * along) * inverse;
            g.terms[i] = (g.terms[i] + mean_terms + u[i].abs() * along_terms) * inverse;
        }
    }
}
