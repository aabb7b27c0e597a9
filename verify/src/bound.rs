//! The expected outputs, and bounds of their error in f32: the error of the sums, the effect of an error of z on the activation and its
//! slope, and the activation's tolerance. For integers the bound is 0.
//!
//! With u = 2⁻²⁴: |z − z₆₄| ≤ ez = 8u·(Σ|x||w| + |b|) (more for lognormal data), |y − act(z₆₄)| ≤ L·ez + tolerance, and gradients likewise.

use elbow::{
    Activation, AlphaSource, Float, Jet, ResidualAt, Result, Saved, WeightLayout,
    activation::Quantity,
    cpu::reference::{self, BackwardInputs, BackwardOutputs},
    request::{AffineRequest, BackwardRequest},
};

use crate::{
    factors::{Factors, Units, weight_at},
    front, gate, jet,
    near::Near,
    operands::Operands,
    spec::{Data, Spec},
    ulp::ulp_of,
};

pub(crate) const U: f64 = 1.0 / (1 << 24) as f64;
/// The error of a sum of so many terms in f32, as a share of the sum of their absolute values. For terms of similar size it is at most 8u,
/// for any number of terms. If one term is far larger than the others, everything that is added after it is rounded at its magnitude, and
/// the error grows with the square root of the number of terms.
pub(crate) fn sum_error(data: Data, terms: usize) -> f64 {
    match data {
        Data::Lognormal => U * (1.5 * (terms as f64).sqrt()).max(8.0),
        _ => U * 8.0,
    }
}
/// The error of a sum because subnormals may be flushed in every term.
pub(crate) const FLUSHED: f64 = 1e-36;
/// The error of a factor because it may be flushed if it is subnormal.
const SUBNORMAL: f64 = f32::MIN_POSITIVE as f64;

/// Values, and a bound of the error of each; infinite where f32 overflows in an intermediate result.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    pub(crate) value: Vec<f64>,
    pub(crate) bound: Vec<f64>,
}

impl Expected {
    /// Of numbers with their bounds; `exact` leaves those out.
    pub(crate) fn of(near: &[Near], exact: bool) -> Self {
        let mut expected = Expected::default();
        near.iter().for_each(|near| expected.push(near.value, if exact { 0.0 } else { near.off }));
        expected
    }

    fn push(&mut self, value: f64, bound: f64) {
        self.value.push(value);
        self.bound.push(bound);
    }
}

pub(crate) struct Forward {
    pub(crate) y: Expected,
    pub(crate) z: Expected,
}

impl Forward {
    /// Without any error, if all sums are exact.
    fn exact_if(mut self, exact: bool) -> Self {
        if exact {
            self.y.bound.fill(0.0);
            self.z.bound.fill(0.0);
        }
        self
    }
}

/// The activation with the α of its channel.
pub(crate) fn at_channel(activation: Activation, source: AlphaSource, alpha: &[f32], channel: usize) -> Activation {
    match source {
        AlphaSource::Constant => activation,
        AlphaSource::PerLayer => activation.with_alpha(alpha[0]),
        AlphaSource::PerChannel => activation.with_alpha(alpha[channel]),
    }
}

/// A bound of the error of a quantity at z, if z itself has an error of up to ez.
pub(crate) fn off(activation: &Activation, quantity: Quantity, z: f64, ez: f64) -> f64 {
    let at = |z| activation.evaluate(quantity, z);
    let value = at(z);
    let moved = (at(z - ez) - value).abs().max((at(z + ez) - value).abs());
    let moved = match quantity {
        Quantity::Value if activation.lipschitz().is_finite() => activation.lipschitz() * ez,
        _ => moved,
    };
    let scale = value.abs().max(activation.terms(quantity, z));
    moved + activation.row().tolerance(quantity) * ulp_of(scale)
}

/// The places of the group of element i, of a matrix with so many columns.
fn group(jet: &Jet, i: usize, columns: usize) -> impl Iterator<Item = usize> + Clone + use<> {
    let (row, column) = (i / columns, i % columns);
    let first = row - row % jet.members();
    (first..first + jet.members()).map(move |row| row * columns + column)
}

/// y and z of the case.
pub(crate) fn forward(spec: &Spec, operands: &Operands, units: Units) -> Result<Forward> {
    let request = &spec.forward;
    let judge = reference::forward(request, operands.forward(request))?;
    let fronted = front::forward(spec, operands);
    let moved = front::moves_z(spec, operands, fronted.as_ref());
    let factors = Factors::of_z(request, operands, &judge.fronted);
    let error_of_z = |i: usize, terms: f64| {
        sum_error(spec.data, request.k) * terms + FLUSHED + factors.error(operands, i, terms, units) + moved[i]
    };
    let (mut y, mut z) = (Expected::default(), Expected::default());
    if let Some(gate) = &request.gate {
        for (i, (&value, &terms)) in judge.z.iter().zip(&judge.z_terms).enumerate() {
            z.push(value, if terms > f64::from(f32::MAX) { f64::INFINITY } else { error_of_z(i, terms) });
        }
        let y = gate::outputs(spec, operands, gate, &judge.y, &z);
        return Ok(Forward { y, z }.exact_if(spec.data == Data::Integers));
    }
    for (i, (&value, &terms)) in judge.y.iter().zip(&judge.z_terms).enumerate() {
        let activation = at_channel(request.activation, request.alpha, &operands.alpha, i % request.n);
        let ez = error_of_z(i, terms);
        let weight = if request.row_weight { f64::from(operands.row_weight[i / request.n]) } else { 1.0 };
        let left = operands.left(spec, false, i);
        let act = left * weight * activation.value(judge.z[i]);
        // Each operation after the activation rounds its result.
        let rounded = if request.row_weight { ulp_of(act) } else { 0.0 };
        let added = if request.y_has_more() { ulp_of(value) + rounded } else { 0.0 };
        if let Some(jet) = &request.jet {
            let group = group(jet, i, request.n);
            let of_group: Vec<Near> = (group.clone())
                .map(|i| Near { value: judge.z[i], off: sum_error(spec.data, request.k) * judge.z_terms[i] + FLUSHED })
                .collect();
            let member = i / request.n % jet.members();
            y.push(value, jet::values(jet, &activation, &of_group)[member].off + added);
            z.push(judge.z[i], if terms > f64::from(f32::MAX) { f64::INFINITY } else { ez });
            continue;
        }
        let error = left * weight.abs() * off(&activation, Quantity::Value, judge.z[i], ez) + added;
        let overflows = terms > f64::from(f32::MAX) || value.abs() > f64::from(f32::MAX);
        y.push(value, if overflows { f64::INFINITY } else { error });
        z.push(judge.z[i], if overflows { f64::INFINITY } else { ez });
    }
    Ok(Forward { y, z }.exact_if(spec.data == Data::Integers))
}

/// The statistics of channels and of rows, with bounds from those of forward; empty if they are not wanted.
pub(crate) fn statistics(spec: &Spec, operands: &Operands, forward: &Forward) -> [Expected; 2] {
    let AffineRequest { m, n, statistics, .. } = spec.forward;
    let of_rows = |i: usize, j: usize| i * n + j;
    let of_columns = |i: usize, j: usize| j * n + i;
    // The sums are of v − c, which has a rounding error of its own.
    let around = |plane: usize, i: usize| operands.around.get(plane * n + i).map_or(0.0, |&c| f64::from(c));
    [
        if statistics.channels {
            statistics_of(spec, forward, [n, m], of_columns, around)
        } else {
            Expected::default()
        },
        if statistics.rows { statistics_of(spec, forward, [m, n], of_rows, |_, _| 0.0) } else { Expected::default() },
    ]
}

/// In how many rows each channel fires, and the sum of max(−z, 0).
pub(crate) fn over_calls(spec: &Spec, forward: &Forward) -> [Expected; 2] {
    let AffineRequest { m, n, .. } = spec.forward;
    let [mut firing, mut mass] = [Expected::default(), Expected::default()];
    for channel in 0..n {
        let z = || (0..m).map(|row| row * n + channel).map(|i| (forward.z.value[i], forward.z.bound[i]));
        let count = |of: &dyn Fn((f64, f64)) -> bool| z().filter(|&pair| of(pair)).count() as f64;
        // Elements whose sign may differ within their bound.
        firing.push(count(&|(z, _)| z > 0.0), count(&|(z, off)| z.abs() <= off && off > 0.0));
        let sum = z().map(|(z, _)| (-z).max(0.0)).sum::<f64>();
        let off: f64 = z().map(|(z, off)| if z <= off { off } else { 0.0 }).sum();
        let exact = spec.data == Data::Integers;
        mass.push(sum, if exact { 0.0 } else { off + sum_error(spec.data, m) * sum + FLUSHED });
    }
    [firing, mass]
}

/// The statistics of so many groups of `count` elements each.
fn statistics_of(
    spec: &Spec,
    forward: &Forward,
    [groups, count]: [usize; 2],
    index: impl Fn(usize, usize) -> usize,
    around: impl Fn(usize, usize) -> f64,
) -> Expected {
    let each = 1.0 / count as f64;
    let sum_error = sum_error(spec.data, count) + 4.0 * U;
    let mut parts: [Expected; 5] = Default::default();
    for group in 0..groups {
        let of = |expected: &Expected| -> Vec<(f64, f64)> {
            (0..count).map(|j| index(group, j)).map(|i| (expected.value[i], expected.bound[i])).collect()
        };
        let z = of(&forward.z);
        let share = z.iter().filter(|(z, _)| *z <= 0.0).count() as f64 * each;
        // Elements whose sign may differ within their bound.
        let open = z.iter().filter(|(z, off)| z.abs() <= *off && *off > 0.0).count() as f64 * each;
        parts[0].push(share, open + 4.0 * U * share);
        for (plane, values) in [z, of(&forward.y)].into_iter().enumerate() {
            let which = 2 * plane + 1;
            let mean = values.iter().map(|(v, _)| v).sum::<f64>() * each;
            let variance = values.iter().map(|(v, _)| (v - mean).powi(2)).sum::<f64>() * each;
            let c = around(plane, group).abs();
            let size = |v: f64| v.abs() + c;
            let lost: f64 = values.iter().map(|&(v, off)| off + sum_error * size(v)).sum::<f64>() * each;
            let squares: f64 = values
                .iter()
                .map(|&(v, off)| 2.0 * size(v) * off + off * off + 2.0 * sum_error * size(v) * size(v))
                .sum::<f64>()
                * each;
            let largest = values.iter().map(|(v, _)| size(*v)).fold(0.0, f64::max);
            let overflows = largest * largest * count as f64 > f64::from(f32::MAX) || !lost.is_finite();
            let limit = |bound: f64| if overflows { f64::INFINITY } else { bound };
            parts[which].push(mean, limit(lost + FLUSHED));
            let mean_size = values.iter().map(|(v, _)| size(*v)).sum::<f64>() * each;
            parts[which + 1].push(variance, limit(squares + 2.0 * mean_size * lost + lost * lost + FLUSHED));
        }
    }
    let mut all = Expected::default();
    for part in parts {
        all.value.extend(part.value);
        all.bound.extend(part.bound);
    }
    all
}

/// The results of backward, in the order of `case::OUTPUTS`; in a chain dx is dz of the layer below. `z` is the device's own z, because
/// near a kink the slope at the exact z may be another one.
pub(crate) fn backward(spec: &Spec, operands: &Operands, z: Option<&[f32]>, units: Units) -> Result<[Expected; 12]> {
    let layer = spec.forward;
    let request = BackwardRequest::new(layer, spec.gradients).below(spec.below).skip(spec.skip);
    let judge = reference::backward(&request, operands.backward(spec, z))?;
    let fronted = front::forward(spec, operands);
    let dz_off = errors_of_dz(spec, operands, z, units, fronted.as_ref())?;
    let exact = reference::forward(&layer, operands.forward(&layer))?.fronted;
    // What goes into the products, and how far it is off.
    let entering = |i: usize| fronted.as_ref().map_or(Near::exact(exact[i]), |fronted| fronted.value[i]);
    // The same products with absolute values turn errors of dz into those of dx, dw and db.
    let carry = |errors: &[f64]| -> Result<BackwardOutputs> {
        let errors: Vec<f32> = errors.iter().map(|&e| (e * 1.000001) as f32).collect();
        let w: Vec<f32> = operands.w.iter().map(|v| v.abs()).collect();
        let size = |v: Near| ((v.value.abs() + v.off) * 1.000001) as f32;
        let x: Vec<f32> = (0..exact.len()).map(|i| size(entering(i))).collect();
        let affine = layer.alpha(AlphaSource::Constant).bias(false).residual(None).row_weight(false).dropout(None);
        let affine = affine.n(layer.outputs()).gate(None).front(None);
        let request = request.affine(affine).upstream_is_dz(true).below(None).skip(false);
        reference::backward(&request, BackwardInputs::new(&x, &w, &errors))
    };
    let carried = carry(&dz_off.slope)?;
    let sum = |gradient: &reference::Gradient, carried: &[f64], reduced: usize| {
        let mut expected = Expected::default();
        for ((&value, &terms), &carried) in gradient.value.iter().zip(&gradient.terms).zip(carried) {
            expected.push(value, sum_error(spec.data, reduced) * terms + carried + FLUSHED);
        }
        expected
    };
    let product = |gradient: &reference::Gradient, carried: &[f64], factors: &Factors| {
        let mut expected = sum(gradient, carried, factors.count);
        for (i, (bound, &terms)) in expected.bound.iter_mut().zip(&gradient.terms).enumerate() {
            *bound += factors.error(operands, i, terms, units);
        }
        expected
    };
    let (AffineRequest { m, k, .. }, n) = (layer, layer.outputs());
    let dz = |m: usize, j: usize| judge.dz.value[m * n + j];
    let x = |m: usize, j: usize| exact[m * k + j];
    let of_dx = Factors::new([m, k, n], dz, |j, r| f64::from(operands.w[weight_at(&layer, r, j)]));
    let of_dw = match layer.layout {
        WeightLayout::OutIn => Factors::new([n, k, m], |i, r| dz(r, i), |j, r| x(r, j)),
        WeightLayout::InOut => Factors::new([k, n, m], |i, r| x(r, i), |j, r| dz(r, j)),
    };
    let of_product = if fronted.is_some() { &judge.dfronted } else { &judge.dx };
    let mut dx = product(of_product, &carried.dx.value, &of_dx);
    let [mut dscale, mut dshift, mut dfront_alpha] = [const { Expected { value: Vec::new(), bound: Vec::new() } }; 3];
    if let (Some(fronted), Some(front)) = (&fronted, &layer.front) {
        [dx, dscale, dshift, dfront_alpha] = front::backward(spec, operands, fronted, front, &judge, &dx);
    }
    if spec.skip {
        let before = layer.residual == Some(ResidualAt::BeforeActivation);
        for (i, (bound, value)) in dx.bound.iter_mut().zip(&dx.value).enumerate() {
            *bound += ulp_of(*value) + if before { dz_off.slope[i] } else { 0.0 };
        }
    }
    let mut dw = product(&judge.dw, &carried.dw.value, &of_dw);
    if fronted.is_some() {
        for (row, column, r) in (0..n).flat_map(|row| (0..k).flat_map(move |c| (0..m).map(move |r| (row, c, r)))) {
            dw.bound[weight_at(&layer, row, column)] += 1.01 * dz(r, row).abs() * entering(r * k + column).off;
        }
    }
    let db = sum(&judge.db, &carried.db.value, layer.m);
    let mut dalpha_off = vec![0.0; judge.dalpha.value.len()];
    for (i, error) in dz_off.alpha_slope.iter().enumerate() {
        let channel = if layer.alpha == AlphaSource::PerChannel { i % layer.n } else { 0 };
        dalpha_off[channel] += error;
    }
    let dalpha = sum(&judge.dalpha, &dalpha_off, layer.m);
    let mut dresidual = sum(&judge.dresidual, &dz_off.slope, 1);
    if layer.residual != Some(ResidualAt::BeforeActivation) {
        dresidual.bound.fill(FLUSHED);
    }
    let mut row_off = vec![0.0; layer.m];
    for (i, error) in dz_off.value.iter().enumerate() {
        row_off[i / layer.n] += error;
    }
    let drow_weight = sum(&judge.drow_weight, &row_off, layer.n);
    let [mut db_below, mut dalpha_below, mut drow_weight_below] =
        [const { Expected { value: Vec::new(), bound: Vec::new() } }; 3];
    if let Some(below) = spec.below {
        let mut off_db = vec![0.0; layer.k];
        let mut off_dalpha = vec![0.0; judge.dalpha_below.value.len()];
        let mut off_rows = vec![0.0; layer.m];
        let mut chained = Expected::default();
        for (i, (&value, &dx_off)) in dx.value.iter().zip(&dx.bound).enumerate() {
            let activation = at_channel(below.activation, below.alpha, &operands.alpha_below, i % layer.k);
            if let Some(jet) = &below.jet {
                let group = group(jet, i, layer.k);
                let of = |at: usize| Near { value: f64::from(operands.z_below[at]), off: 0.0 };
                let z: Vec<Near> = group.clone().map(of).collect();
                let dy: Vec<Near> = group.clone().map(|at| Near { value: dx.value[at], off: dx.bound[at] }).collect();
                let (dz, dalpha) = jet::gradients(jet, &activation, &z, &dy);
                let member = i / layer.k % jet.members();
                chained.push(judge.dz_below.value[i], dz[member].off);
                if member == 0 {
                    off_db[i % layer.k] += dz[0].off;
                    off_dalpha[if below.alpha == AlphaSource::PerChannel { i % layer.k } else { 0 }] += dalpha.off;
                }
                continue;
            }
            let z = f64::from(operands.z_below[i]);
            let left = operands.left(spec, true, i);
            let (value, dx_off) = (left * value, left * (dx_off + U * value.abs()));
            let error = |quantity| {
                let factor = activation.evaluate(quantity, z).abs();
                dx_off * factor + value.abs() * (off(&activation, quantity, z, 0.0) + SUBNORMAL + 4.0 * U * factor)
            };
            let weight = if below.row_weight { f64::from(operands.row_weight_below[i / layer.k]).abs() } else { 1.0 };
            off_rows[i / layer.k] += error(Quantity::Value);
            let error = |quantity| weight * error(quantity);
            let slope = error(Quantity::Slope);
            chained.push(judge.dz_below.value[i], slope);
            off_db[i % layer.k] += slope;
            let channel = if below.alpha == AlphaSource::PerChannel { i % layer.k } else { 0 };
            off_dalpha[channel] += error(Quantity::AlphaSlope);
        }
        dx = chained;
        db_below = sum(&judge.db_below, &off_db, layer.m);
        dalpha_below = sum(&judge.dalpha_below, &off_dalpha, layer.m);
        drow_weight_below = sum(&judge.drow_weight_below, &off_rows, layer.k);
    }
    let mut all = [
        dx,
        dw,
        db,
        dalpha,
        dresidual,
        drow_weight,
        db_below,
        dalpha_below,
        drow_weight_below,
        dscale,
        dshift,
        dfront_alpha,
    ];
    for expected in &mut all {
        if spec.data == Data::Integers {
            expected.bound.fill(0.0);
        }
        // Results after an overflow of f32 are not judged.
        let overflows = |v: f64| v.is_nan() || v.abs() > f64::from(f32::MAX) / 16.0;
        if spec.data != Data::Integers && judge.dz.value.iter().chain(&judge.dx.terms).any(|&v| overflows(v)) {
            expected.bound.fill(f64::INFINITY);
        }
    }
    if judge.dw.terms.iter().any(|&v| v > f64::from(f32::MAX) / 16.0) && spec.data != Data::Integers {
        all[1].bound.fill(f64::INFINITY);
    }
    Ok(all)
}

/// Bounds of the errors of dy ⊙ act'(z), dy ⊙ ∂act/∂α and dy ⊙ act(z), element by element; in the first two dy includes the row weight.
struct LocalErrors {
    slope: Vec<f64>,
    alpha_slope: Vec<f64>,
    value: Vec<f64>,
}

fn errors_of_dz(
    spec: &Spec,
    operands: &Operands,
    saved_z: Option<&[f32]>,
    units: Units,
    fronted: Option<&front::Fronted>,
) -> Result<LocalErrors> {
    let layer = spec.forward;
    let exact = reference::forward(&layer, operands.forward(&layer))?;
    let factors = Factors::of_z(&layer, operands, &exact.fronted);
    let moved = front::moves_z(spec, operands, fronted);
    let mut errors = LocalErrors { slope: Vec::new(), alpha_slope: Vec::new(), value: Vec::new() };
    let z_near = |i: usize| match saved_z {
        Some(z) => Near::exact(f64::from(z[i])),
        None => {
            let terms = exact.z_terms[i];
            let lost = factors.error(operands, i, terms, units);
            Near { value: exact.z[i], off: sum_error(spec.data, layer.k) * terms + FLUSHED + lost + moved[i] }
        }
    };
    errors.slope = vec![0.0; if layer.gate.is_some() { layer.m * layer.outputs() } else { 0 }];
    for (i, &dy) in operands.dy.iter().enumerate() {
        let dy = operands.left(spec, false, i) * f64::from(dy);
        let activation = at_channel(layer.activation, layer.alpha, &operands.alpha, i % layer.n);
        if let Some(gate) = &layer.gate {
            let places = gate::places(gate, &layer, i);
            let weight = if layer.row_weight { f64::from(operands.row_weight[i / layer.n]) } else { 1.0 };
            let (z, dy) =
                (places.map(z_near), if layer.dropout.is_some() { Near::rounded(dy, 0.0) } else { Near::exact(dy) });
            let upstream = if layer.row_weight { dy.scaled(weight) } else { dy };
            let (dz, dalpha) = gate::gradients(gate, &activation, z, upstream);
            for (at, dz) in places.into_iter().zip(dz) {
                errors.slope[at] = dz.off;
            }
            errors.alpha_slope.push(if layer.alpha == AlphaSource::Constant { 0.0 } else { dalpha.off });
            errors.value.push(dy.times(gate::value(gate, &activation, z)).off);
            continue;
        }
        if let Some(jet) = &layer.jet {
            let group = group(jet, i, layer.n);
            let z: Vec<Near> = group
                .clone()
                .map(|i| match saved_z {
                    Some(z) => Near { value: f64::from(z[i]), off: 0.0 },
                    None => Near { value: exact.z[i], off: sum_error(spec.data, layer.k) * exact.z_terms[i] + FLUSHED },
                })
                .collect();
            let dy: Vec<Near> = group.clone().map(|i| Near { value: f64::from(operands.dy[i]), off: 0.0 }).collect();
            let (dz, dalpha) = jet::gradients(jet, &activation, &z, &dy);
            let member = i / layer.n % jet.members();
            errors.slope.push(dz[member].off);
            errors.alpha_slope.push(if member == 0 && layer.alpha != AlphaSource::Constant { dalpha.off } else { 0.0 });
            errors.value.push(0.0);
            continue;
        }
        let dy = dy.abs();
        let Near { value: z, off: ez } = z_near(i);
        let lost = |quantity| off(&activation, quantity, z, ez) + SUBNORMAL;
        errors.value.push(dy * (lost(Quantity::Value) + 2.0 * U * activation.value(z).abs()) + SUBNORMAL);
        let dy = if layer.row_weight { dy * f64::from(operands.row_weight[i / layer.n]).abs() } else { dy };
        let mut slope = lost(Quantity::Slope);
        slope += lost_with_y(spec, &activation, z);
        errors.slope.push(dy * (slope + 4.0 * U * activation.slope(z).abs()) + SUBNORMAL);
        errors.alpha_slope.push(if layer.alpha == AlphaSource::Constant {
            0.0
        } else {
            dy * (lost(Quantity::AlphaSlope) + 4.0 * U * activation.alpha_slope(z).abs()) + SUBNORMAL
        });
    }
    Ok(errors)
}

/// What the slope loses where it is computed from y.
pub(crate) fn lost_with_y(spec: &Spec, activation: &Activation, z: f64) -> f64 {
    if spec.saved() != Saved::Y {
        return 0.0;
    }
    // From y only the absolute error of a saturating activation's slope is small.
    let scale = activation.slope(z).abs().max(activation.params()[0].abs().into()).max(1.0);
    let of_f32 = if activation.slope_of_y_is_accurate() { 8.0 * ulp_of(activation.slope(z)) } else { 32.0 * U * scale };
    // y was rounded when it was stored; no slope changes by more than four times the change of y.
    of_f32 + if spec.dtype != Float::F32 { 4.0 * spec.dtype.rounding(activation.value(z)) } else { 0.0 }
}

/// Dimensions of w.
pub(crate) fn weight_shape(layer: &AffineRequest) -> [usize; 2] {
    match layer.layout {
        WeightLayout::OutIn => [layer.outputs_of_w(), layer.k],
        WeightLayout::InOut => [layer.k, layer.outputs_of_w()],
    }
}
