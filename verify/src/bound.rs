//! What each output must be, and how far from it f32 may be: the error of the sums, what the error of z makes of the
//! activation and its slope, and the accuracy table's tolerance. For integers the bound is 0.
//!
//! With u = 2⁻²⁴: |z − z₆₄| ≤ ez = 8u·(Σ|x||w| + |b|) (more for lognormal data), |y − act(z₆₄)| ≤ L·ez + tolerance, and gradients likewise.

use elbow::{
    Activation, AlphaSource, Float, Result, Road, Saved, WeightLayout,
    activation::Quantity,
    cpu::{
        ForwardInputs,
        reference::{self, BackwardInputs, BackwardOutputs},
    },
    request::{AffineRequest, BackwardRequest},
};

use crate::{
    case::Operands,
    spec::{Data, Spec},
    ulp::ulp_of,
};

const U: f64 = 1.0 / (1 << 24) as f64;
/// The error of a sum of so many terms in f32, as a share of the sum of their absolute values. Terms of like size lose 8u at
/// most, however many. Where one of them dwarfs the rest, everything that is added after it is rounded at its
/// magnitude: the error grows with the root of their number.
fn sum_error(data: Data, terms: usize) -> f64 {
    match data {
        Data::Lognormal => U * (1.5 * (terms as f64).sqrt()).max(8.0),
        _ => U * 8.0,
    }
}
/// Subnormals may be flushed, in every term.
const FLUSHED: f64 = 1e-36;

/// Values and how far each may be off; infinite where f32 overflows on the way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    pub(crate) value: Vec<f64>,
    pub(crate) bound: Vec<f64>,
}

impl Expected {
    fn push(&mut self, value: f64, bound: f64) {
        self.value.push(value);
        self.bound.push(bound);
    }
}

pub(crate) struct Forward {
    pub(crate) y: Expected,
    pub(crate) z: Expected,
}

/// The activation with the α of its channel.
pub(crate) fn at_channel(activation: Activation, source: AlphaSource, alpha: &[f32], channel: usize) -> Activation {
    match source {
        AlphaSource::Constant => activation,
        AlphaSource::PerLayer => activation.with_alpha(alpha[0]),
        AlphaSource::PerChannel => activation.with_alpha(alpha[channel]),
    }
}

/// How far a quantity may be off at z, where z itself may be off by ez.
fn off(activation: &Activation, quantity: Quantity, z: f64, ez: f64) -> f64 {
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

/// y and z of the case.
pub(crate) fn forward(spec: &Spec, operands: &Operands) -> Result<Forward> {
    let request = &spec.forward;
    let judge = reference::forward(request, operands.forward(request))?;
    let (mut y, mut z) = (Expected::default(), Expected::default());
    for (i, (&value, &terms)) in judge.y.iter().zip(&judge.z_terms).enumerate() {
        let activation = at_channel(request.activation, request.alpha, &operands.alpha, i % request.n);
        let ez = sum_error(spec.data, request.k) * terms + FLUSHED;
        let residual = if request.residual { ulp_of(value) } else { 0.0 };
        let error = off(&activation, Quantity::Value, judge.z[i], ez) + residual;
        let overflows = terms > f64::from(f32::MAX) || value.abs() > f64::from(f32::MAX);
        y.push(value, if overflows { f64::INFINITY } else { error });
        z.push(judge.z[i], if overflows { f64::INFINITY } else { ez });
    }
    if spec.data == Data::Integers {
        y.bound.fill(0.0);
        z.bound.fill(0.0);
    }
    Ok(Forward { y, z })
}

/// dx (or dz of the layer below), dw, db, dalpha, dresidual, db_below, dalpha_below. `z` is what the device has saved: near
/// a kink its slope is the slope there.
pub(crate) fn backward(spec: &Spec, operands: &Operands, z: Option<&[f32]>) -> Result<[Expected; 7]> {
    let layer = spec.forward;
    let request = BackwardRequest {
        affine: layer,
        gradients: spec.gradients,
        road: Road::Auto,
        upstream_is_dz: false,
        below: spec.below,
    };
    let judge = reference::backward(&request, operands.backward(spec, z))?;
    let dz_off = errors_of_dz(spec, operands, z)?;
    // The same sums over absolute values carry an error of dz to dx, dw and db.
    let carry = |errors: &[f64]| -> Result<BackwardOutputs> {
        let errors: Vec<f32> = errors.iter().map(|&e| (e * 1.000001) as f32).collect();
        let absolute = |v: &[f32]| v.iter().map(|v| v.abs()).collect::<Vec<f32>>();
        let (x, w) = (absolute(&operands.x), absolute(&operands.w));
        let affine = AffineRequest { alpha: AlphaSource::Constant, bias: false, ..layer };
        let request = BackwardRequest { affine, upstream_is_dz: true, below: None, ..request };
        reference::backward(&request, BackwardInputs { x: &x, w: &w, dy: &errors, ..BackwardInputs::default() })
    };
    let carried = carry(&dz_off.slope)?;
    let sum = |gradient: &reference::Gradient, carried: &[f64], reduced: usize| {
        let mut expected = Expected::default();
        for ((&value, &terms), &carried) in gradient.value.iter().zip(&gradient.terms).zip(carried) {
            expected.push(value, sum_error(spec.data, reduced) * terms + carried + FLUSHED);
        }
        expected
    };
    let mut dx = sum(&judge.dx, &carried.dx.value, layer.n);
    let dw = sum(&judge.dw, &carried.dw.value, layer.m);
    let db = sum(&judge.db, &carried.db.value, layer.m);
    let mut dalpha_off = vec![0.0; judge.dalpha.value.len()];
    for (i, error) in dz_off.alpha_slope.iter().enumerate() {
        let channel = if layer.alpha == AlphaSource::PerChannel { i % layer.n } else { 0 };
        dalpha_off[channel] += error;
    }
    let dalpha = sum(&judge.dalpha, &dalpha_off, layer.m);
    let mut dresidual = sum(&judge.dresidual, &vec![0.0; judge.dresidual.value.len()], 1);
    dresidual.bound.fill(FLUSHED);
    let [mut db_below, mut dalpha_below] = [Expected::default(), Expected::default()];
    if let Some(below) = spec.below {
        let mut off_db = vec![0.0; layer.k];
        let mut off_dalpha = vec![0.0; judge.dalpha_below.value.len()];
        let mut chained = Expected::default();
        for (i, (&value, &dx_off)) in dx.value.iter().zip(&dx.bound).enumerate() {
            let activation = at_channel(below.activation, below.alpha, &operands.alpha_below, i % layer.k);
            let z = f64::from(operands.z_below[i]);
            let error = |quantity| {
                let factor = activation.evaluate(quantity, z).abs();
                dx_off * factor + value.abs() * (off(&activation, quantity, z, 0.0) + 2.0 * U * factor)
            };
            let slope = error(Quantity::Slope);
            chained.push(judge.dz_below.value[i], slope);
            off_db[i % layer.k] += slope;
            let channel = if below.alpha == AlphaSource::PerChannel { i % layer.k } else { 0 };
            off_dalpha[channel] += error(Quantity::AlphaSlope);
        }
        dx = chained;
        db_below = sum(&judge.db_below, &off_db, layer.m);
        dalpha_below = sum(&judge.dalpha_below, &off_dalpha, layer.m);
    }
    let mut all = [dx, dw, db, dalpha, dresidual, db_below, dalpha_below];
    for expected in &mut all {
        if spec.data == Data::Integers {
            expected.bound.fill(0.0);
        }
        // Somewhere on the way f32 has overflowed; what comes out then is not judged.
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

/// How far dy ⊙ act'(z) and dy ⊙ ∂act/∂α may be off, element by element.
struct LocalErrors {
    slope: Vec<f64>,
    alpha_slope: Vec<f64>,
}

fn errors_of_dz(spec: &Spec, operands: &Operands, saved_z: Option<&[f32]>) -> Result<LocalErrors> {
    let layer = AffineRequest { residual: false, ..spec.forward };
    let exact = reference::forward(&layer, ForwardInputs { residual: None, ..operands.forward(&layer) })?;
    let mut errors = LocalErrors { slope: Vec::new(), alpha_slope: Vec::new() };
    for (i, &dy) in operands.dy.iter().enumerate() {
        let activation = at_channel(layer.activation, layer.alpha, &operands.alpha, i % layer.n);
        let dy = f64::from(dy).abs();
        let (z, ez) = match saved_z {
            Some(z) => (f64::from(z[i]), 0.0),
            None => (exact.z[i], sum_error(spec.data, layer.k) * exact.z_terms[i] + FLUSHED),
        };
        let mut slope = off(&activation, Quantity::Slope, z, ez);
        if spec.saved() == Saved::Y {
            // From y the slope of a saturating activation is right in absolute terms.
            let scale = activation.slope(z).abs().max(activation.params()[0].abs().into()).max(1.0);
            slope +=
                if activation.slope_of_y_is_accurate() { 8.0 * ulp_of(activation.slope(z)) } else { 32.0 * U * scale };
            if spec.dtype != Float::F32 {
                // y was rounded when it was stored. No slope changes by more than four times what y does.
                slope += 4.0 * spec.dtype.rounding(activation.value(z));
            }
        }
        errors.slope.push(dy * (slope + 2.0 * U * activation.slope(z).abs()));
        errors.alpha_slope.push(if layer.alpha == AlphaSource::Constant {
            0.0
        } else {
            dy * (off(&activation, Quantity::AlphaSlope, z, ez) + 2.0 * U * activation.alpha_slope(z).abs())
        });
    }
    Ok(errors)
}

/// Dimensions of w.
pub(crate) fn weight_shape(layer: &AffineRequest) -> [usize; 2] {
    match layer.layout {
        WeightLayout::OutIn => [layer.n, layer.k],
        WeightLayout::InOut => [layer.k, layer.n],
    }
}
