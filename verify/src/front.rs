//! Bounds for layers with a front: the formulas of [`Front`], on numbers that carry a bound of their error along.

use elbow::{
    AlphaSource, Norm,
    activation::Quantity,
    cpu::reference::BackwardOutputs,
    request::{AffineRequest, Front},
};

use crate::{
    bound::{Expected, FLUSHED, U, at_channel, sum_error},
    factors::weight_at,
    near::{self, Near},
    operands::Operands,
    spec::Spec,
    ulp::ulp_of,
};

/// What a front makes of x, element by element.
pub(crate) struct Fronted {
    u: Vec<Near>,
    v: Vec<Near>,
    /// What is multiplied.
    pub(crate) value: Vec<Near>,
    /// Mean and 1 / √(variance + ε) of each column or row.
    pub(crate) moments: Vec<Near>,
    /// The running mean and variance after this batch.
    pub(crate) running_moments: Vec<Near>,
}

/// The elements of a row or a column of x.
fn line(norm: &Norm, layer: &AffineRequest, line: usize) -> Vec<usize> {
    match norm.of_rows() {
        true => (0..layer.k).map(|k| line * layer.k + k).collect(),
        false => (0..layer.m).map(|m| m * layer.k + line).collect(),
    }
}

/// The number of those, and which of them an element is in.
fn lines(norm: &Norm, layer: &AffineRequest) -> (usize, impl Fn(usize) -> usize + use<>) {
    let (of_rows, k) = (norm.of_rows(), layer.k);
    (if of_rows { layer.m } else { k }, move |i: usize| if of_rows { i / k } else { i % k })
}

/// Mean and variance of a line, summed around c.
fn mean_and_variance(spec: &Spec, norm: &Norm, line: &[f64]) -> [Near; 2] {
    let count = line.len() as f64;
    let average = |of: &dyn Fn(f64) -> f64| line.iter().map(|&x| of(x)).sum::<f64>() / count;
    let mean = if norm.has_mean() { average(&|x| x) } else { 0.0 };
    // Of columns the first row, of rows a mean that has been rounded.
    let c = if norm.of_rows() { mean } else { line.first().copied().unwrap_or(0.0) };
    let variance = average(&|x| (x - mean) * (x - mean));
    let (size, squares) = (average(&|x| (x - c).abs()), average(&|x| (x - c) * (x - c)));
    let lost = sum_error(spec.data, line.len()) + 4.0 * U;
    let of_mean = if norm.has_mean() { lost * size + 2.0 * U * c.abs() } else { 0.0 };
    let of_variance = 2.0 * lost * squares + 2.0 * size * of_mean + of_mean * of_mean;
    // A square that overflows spoils the sum.
    let largest = line.iter().fold(0.0, |largest, x| f64::max(largest, (x - c).abs()));
    let overflows = largest * largest * count > f64::from(f32::MAX);
    let of_variance = if overflows { f64::INFINITY } else { of_variance };
    [Near::rounded(mean, of_mean), Near::rounded(variance, of_variance)]
}

/// 1 / √(variance + ε); WGSL allows 2 ulp.
fn inverse(norm: &Norm, variance: Near) -> Near {
    let sum = variance.plus(Near::exact(f64::from(norm.get_epsilon())));
    let value = sum.value.sqrt().recip();
    let nearest = (sum.value - sum.off).max(f64::from(norm.get_epsilon()) / 2.0);
    Near::rounded(value, (nearest.sqrt().recip() - value).abs() + 4.0 * ulp_of(value))
}

pub(crate) fn forward(spec: &Spec, operands: &Operands) -> Option<Fronted> {
    let (layer, front) = (&spec.forward, spec.forward.front?);
    let x: Vec<f64> = operands.x.iter().map(|&x| f64::from(x)).collect();
    let mut out = Fronted {
        u: x.iter().map(|&x| Near::exact(x)).collect(),
        v: Vec::new(),
        value: Vec::new(),
        moments: Vec::new(),
        running_moments: Vec::new(),
    };
    if let Some(norm) = &front.norm {
        normalise(&mut out, spec, norm, operands, &x);
    }
    for (i, &u) in out.u.iter().enumerate() {
        let k = i % layer.k;
        let scaled = operands.front.scale.get(k).map_or(u, |&scale| u.scaled(scale.into()));
        let v = operands.front.shift.get(k).map_or(scaled, |&shift| scaled.plus(Near::exact(shift.into())));
        out.v.push(v);
        out.value.push(match front.activation.needs_nothing() {
            true => v,
            false => near::at(&at_channel(front.activation, front.alpha, &operands.front.alpha, k), Quantity::Value, v),
        });
    }
    Some(out)
}

fn normalise(out: &mut Fronted, spec: &Spec, norm: &Norm, operands: &Operands, x: &[f64]) {
    let (count, line_of) = lines(norm, &spec.forward);
    let running: Vec<Near> = operands.front.running_moments.iter().map(|&v| Near::exact(v.into())).collect();
    let (mut means, mut inverses, mut variances) = (Vec::new(), Vec::new(), Vec::new());
    for one in 0..count {
        let line: Vec<f64> = line(norm, &spec.forward, one).into_iter().map(|i| x[i]).collect();
        let [mean, variance] = match norm.is_running() {
            true => [running[one], running[count + one]],
            false => mean_and_variance(spec, norm, &line),
        };
        means.push(mean);
        inverses.push(inverse(norm, variance));
        variances.push(variance.scaled(line.len() as f64 / (line.len() as f64 - 1.0).max(1.0)));
    }
    for (i, u) in out.u.iter_mut().enumerate() {
        let mean = means[line_of(i)];
        let centred = if norm.has_mean() { u.plus(Near { value: -mean.value, ..mean }) } else { *u };
        *u = centred.times(inverses[line_of(i)]);
    }
    if norm.is_batch() {
        let momentum = f64::from(norm.get_momentum());
        let moved =
            |(old, new): (&Near, &Near)| old.plus(new.plus(Near { value: -old.value, ..*old }).scaled(momentum));
        out.running_moments = running.iter().zip(means.iter().chain(&variances)).map(moved).collect();
    }
    out.moments = [means, inverses].concat();
}

/// What the errors of the front move each element of z by.
pub(crate) fn moves_z(spec: &Spec, operands: &Operands, fronted: Option<&Fronted>) -> Vec<f64> {
    let layer = &spec.forward;
    let (n, k) = (layer.outputs(), layer.k);
    let Some(fronted) = fronted else { return vec![0.0; layer.m * n] };
    let of = |i: usize| {
        let w = |r: usize| f64::from(operands.w[weight_at(layer, i % n, r)]).abs();
        // The rest is that of a sum of terms that are larger by their errors.
        1.01 * (0..k).map(|r| fronted.value[i / n * k + r].off * w(r)).sum::<f64>()
    };
    (0..layer.m * n).map(of).collect()
}

/// The gradients of a front: of x, the scale, the shift and α, from bounds of the gradient of what it makes.
pub(crate) fn backward(
    spec: &Spec,
    operands: &Operands,
    fronted: &Fronted,
    front: &Front,
    judge: &BackwardOutputs,
    upstream: &Expected,
) -> [Expected; 4] {
    let layer = &spec.forward;
    let mut off_of_sums = [vec![0.0; layer.k], vec![0.0; layer.k], vec![0.0; judge.dfront_alpha.value.len()]];
    let mut g = Vec::new();
    for (i, (&value, &off)) in upstream.value.iter().zip(&upstream.bound).enumerate() {
        let (k, upstream) = (i % layer.k, Near { value, off });
        let activation = at_channel(front.activation, front.alpha, &operands.front.alpha, k);
        let through = |quantity| upstream.times(near::at(&activation, quantity, fronted.v[i]));
        let dv = if activation.needs_nothing() { upstream } else { through(Quantity::Slope) };
        off_of_sums[0][k] += dv.times(fronted.u[i]).off;
        off_of_sums[1][k] += dv.off;
        if front.alpha != AlphaSource::Constant {
            let channel = if front.alpha == AlphaSource::PerChannel { k } else { 0 };
            off_of_sums[2][channel] += through(Quantity::AlphaSlope).off;
        }
        g.push(operands.front.scale.get(k).map_or(dv, |&scale| dv.scaled(scale.into())));
    }
    if let Some(norm) = &front.norm {
        through_norm(&mut g, spec, norm, fronted);
    }
    let dx = Expected { value: judge.dx.value.clone(), bound: g.iter().map(|g| g.off).collect() };
    let sums = [&judge.dscale, &judge.dshift, &judge.dfront_alpha];
    let [dscale, dshift, dalpha] = [0, 1, 2].map(|i| {
        let error = |(&terms, &off): (&f64, &f64)| sum_error(spec.data, layer.m) * (terms + off) + off + FLUSHED;
        let bound = sums[i].terms.iter().zip(&off_of_sums[i]).map(error).collect();
        Expected { value: sums[i].value.clone(), bound }
    });
    [dx, dscale, dshift, dalpha]
}

/// From the gradient of u that of x.
fn through_norm(g: &mut [Near], spec: &Spec, norm: &Norm, fronted: &Fronted) {
    let (count, _) = lines(norm, &spec.forward);
    for one in 0..count {
        let line = line(norm, &spec.forward, one);
        let mean = |terms: Vec<Near>| {
            let count = terms.len() as f64;
            let average = |of: &dyn Fn(&Near) -> f64| terms.iter().map(of).sum::<f64>() / count;
            let lost = sum_error(spec.data, terms.len()) + 4.0 * U;
            Near::rounded(average(&|t| t.value), average(&|t| t.off) + lost * average(&|t| t.value.abs() + t.off))
        };
        let inverse = fronted.moments[count + one];
        let (mut of_g, mut along) = (Near::NOTHING, Near::NOTHING);
        if !norm.is_running() {
            of_g = if norm.has_mean() { mean(line.iter().map(|&i| g[i]).collect()) } else { of_g };
            along = mean(line.iter().map(|&i| g[i].times(fronted.u[i])).collect());
        }
        let minus = |v: Near| Near { value: -v.value, ..v };
        for &i in &line {
            let moved = g[i].plus(minus(of_g)).plus(minus(fronted.u[i].times(along)));
            g[i] = moved.times(inverse);
        }
    }
}
