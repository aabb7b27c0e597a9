//! The programs of a front: what x goes through before it is multiplied, act(scale ⊙ norm(x) + shift; α), and back.

use super::{Loaded, Local, ONLY, Upstream, alpha, statistics::mean_and_variance, store, store_at};
use crate::{
    activation::Quantity,
    norm::Norm,
    operand::Operand,
    program::{By, Function, Over, Program, Value, Write},
    request::{Front, Want},
};

/// The number of the front's activation in a kernel that finishes with the layer's.
pub(in super::super) const FRONT: u8 = 1;

/// An element of x as a norm leaves it, and 1 / √(variance + ε) if there is a norm.
struct Normalised {
    u: Value,
    inverse: Option<Value>,
}

/// The place of a mean or an inverse deviation: that of the column, or of the row.
const fn moment(norm: &Norm, plane: u8) -> By {
    if norm.of_rows() { By::RowPlane(plane) } else { By::Plane(plane) }
}

/// u = (x − mean) / √(variance + ε), or x.
fn normalised(p: &mut Program, norm: Option<&Norm>) -> Normalised {
    let x = p.load(Operand::X, By::Element);
    let Some(norm) = norm else { return Normalised { u: x, inverse: None } };
    let centred = match norm.has_mean() {
        true => {
            let mean = p.load(Operand::Moments, moment(norm, 0));
            p.subtract(x, mean)
        }
        false => x,
    };
    let inverse = p.load(Operand::Moments, moment(norm, 1));
    Normalised { u: p.multiply(centred, inverse), inverse: Some(inverse) }
}

fn scale(p: &mut Program, front: &Front) -> Option<Value> {
    front.scale.then(|| p.load(Operand::Scale, By::Column))
}

fn scaled(p: &mut Program, scale: Option<Value>, value: Value) -> Value {
    scale.map_or(value, |scale| p.multiply(scale, value))
}

/// v = scale · u + shift
fn pre_activation(p: &mut Program, front: &Front, scale: Option<Value>, u: Value) -> Value {
    let v = scaled(p, scale, u);
    match front.shift {
        true => {
            let shift = p.load(Operand::Shift, By::Column);
            p.add(v, shift)
        }
        false => v,
    }
}

/// Loads what the front makes of an element of x; its activation has this number.
pub(in super::super) fn entering(front: &Front, stage: u8) -> Program {
    let mut p = Program::default();
    let Normalised { u, .. } = normalised(&mut p, front.norm.as_ref());
    let scale = scale(&mut p, front);
    let v = pre_activation(&mut p, front, scale, u);
    if !front.activation.needs_nothing() {
        let alpha = alpha(&mut p, front.alpha, Operand::FrontAlpha, By::Column);
        p.act(stage, Function::Of(Quantity::Value), v, alpha);
    }
    p
}

/// [`entering`], stored.
pub(in super::super) fn fronted(front: &Front) -> Program {
    let mut p = entering(front, ONLY);
    if let Some(value) = p.last() {
        store(&mut p, Operand::Fronted, Want::Overwrite, value);
    }
    p
}

/// The gradients of a front that are wanted.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Wanted {
    pub(in super::super) dx: Want,
    pub(in super::super) dscale: Want,
    pub(in super::super) dshift: Want,
    pub(in super::super) dalpha: bool,
    /// What is added to dx: the gradient that goes around the layer.
    pub(in super::super) around: Option<Operand>,
}

impl Wanted {
    /// The norm through whose statistics dx goes too, so that it has to wait for sums.
    fn moving(&self, front: &Front) -> Option<Norm> {
        front.moving().filter(|_| self.dx.wanted())
    }

    /// The sums over rows, in their order: of dv, of dv · u.
    const fn columns(&self, front: &Front) -> [bool; 2] {
        let batch = matches!(&front.norm, Some(norm) if norm.is_batch()) && self.dx.wanted();
        [self.dshift.wanted() || batch, self.dscale.wanted() || batch]
    }
}

/// From dx', the gradient of what the front makes of x: dv = dx' ⊙ act'(v), and the terms of dshift = Σ_rows dv, dscale = Σ_rows dv · u and
/// dα = Σ dx' ⊙ ∂act/∂α. dx = scale · dv / √(variance + ε) is stored; where the statistics depend on x, scale · dv waits for its means, with terms of those
/// over columns.
pub(in super::super) fn gradient(front: &Front, wanted: &Wanted, upstream: Upstream<'_>) -> Program {
    let mut p = Program::default();
    let upstream = match upstream {
        Upstream::Operand => p.load(Operand::Dfronted, By::Element),
        Upstream::Sums(around) => super::finished(&mut p, around),
    };
    let sums = wanted.columns(front);
    let bends = !front.activation.needs_nothing();
    let dv_needed = wanted.dx.wanted() || sums != [false; 2];
    let needs_v = wanted.dalpha || (dv_needed && bends);
    let needs_u = needs_v || sums[1] || wanted.moving(front).is_some();
    let normalised = needs_u.then(|| normalised(&mut p, front.norm.as_ref()));
    let scale = if needs_v || wanted.dx.wanted() { scale(&mut p, front) } else { None };
    let loaded = normalised.as_ref().filter(|_| needs_v).map(|normalised| {
        let v = pre_activation(&mut p, front, scale, normalised.u);
        let alpha = alpha(&mut p, front.alpha, Operand::FrontAlpha, By::Column);
        let local = Local::of_z(front.activation, front.alpha, Operand::FrontAlpha, By::Column);
        Loaded { local, alpha, kept: Some(v), row_weight: None }
    });
    let dv = match &loaded {
        Some(loaded) if bends && dv_needed => loaded.dz(&mut p, upstream),
        _ => upstream,
    };
    if sums[0] {
        p.reduce(Over::Rows, dv);
    }
    if sums[1]
        && let Some(normalised) = &normalised
    {
        let term = p.multiply(dv, normalised.u);
        p.reduce(Over::Rows, term);
    }
    if wanted.dx.wanted() {
        let scaled = scaled(&mut p, scale, dv);
        match (wanted.moving(front), &normalised) {
            (Some(norm), Some(normalised)) => wait(&mut p, &norm, normalised, scaled),
            (_, normalised) => straight(&mut p, front, wanted, normalised.as_ref(), scaled),
        }
    }
    if wanted.dalpha
        && let Some(loaded) = &loaded
        && let Some(slope) = loaded.quantity(&mut p, Quantity::AlphaSlope)
    {
        let term = loaded.local.times(&mut p, upstream, slope);
        p.reduce(Over::Rows, term);
    }
    p
}

/// scale · dv, stored until its means are known, with the terms of those over columns.
fn wait(p: &mut Program, norm: &Norm, normalised: &Normalised, scaled: Value) {
    if norm.of_rows() {
        if norm.has_mean() {
            p.reduce(Over::Columns, scaled);
        }
        let term = p.multiply(scaled, normalised.u);
        p.reduce(Over::Columns, term);
    }
    store(p, Operand::Dfronted, Want::Overwrite, scaled);
}

/// dx = scale · dv / √(variance + ε), where the statistics, if there are any, are constants.
fn straight(p: &mut Program, front: &Front, wanted: &Wanted, normalised: Option<&Normalised>, scaled: Value) {
    let inverse = match (normalised, &front.norm) {
        (Some(normalised), _) => normalised.inverse,
        (None, Some(norm)) => Some(p.load(Operand::Moments, moment(norm, 1))),
        (None, None) => None,
    };
    let value = inverse.map_or(scaled, |inverse| p.multiply(scaled, inverse));
    finished(p, wanted, value);
}

/// dx with what goes around the layer.
fn finished(p: &mut Program, wanted: &Wanted, value: Value) {
    let value = match wanted.around {
        Some(operand) => {
            let around = p.load(operand, By::Element);
            p.add(value, around)
        }
        None => value,
    };
    store(p, Operand::Dx, wanted.dx, value);
}

/// The finished sums over rows: dshift and dscale, and of a batch norm their means; p[0] is 1 / count.
pub(in super::super) fn column_sums(front: &Front, wanted: &Wanted) -> Program {
    let mut p = Program::default();
    let means = wanted.moving(front).is_some_and(|norm| norm.is_batch());
    let each = means.then(|| p.parameter(0));
    let operands = [(Operand::Dshift, wanted.dshift), (Operand::Dscale, wanted.dscale)];
    let summed = operands.into_iter().zip(wanted.columns(front)).filter(|(_, summed)| *summed);
    for (plane, ((operand, want), _)) in (0..).zip(summed) {
        let sum = p.sum_of(plane);
        store_at(&mut p, operand, By::Element, want, sum);
        if let Some(each) = each {
            mean(&mut p, front, each, plane, sum);
        }
    }
    p
}

/// The finished sums over columns: the means of a row; p[0] is 1 / count.
pub(in super::super) fn row_sums(norm: &Norm) -> Program {
    let mut p = Program::default();
    let each = p.parameter(0);
    for plane in 0..if norm.has_mean() { 2 } else { 1 } {
        let sum = p.sum_of(plane);
        let mean = p.multiply(sum, each);
        p.store(Operand::DfrontedMeans, By::Plane(plane), Write::Overwrite, mean);
    }
    p
}

/// The mean of dv, or of dv · u, times the column's scale, as dx has it.
fn mean(p: &mut Program, front: &Front, each: Value, plane: u8, sum: Value) {
    let mean = p.multiply(sum, each);
    let scale = scale(p, front);
    let mean = scaled(p, scale, mean);
    p.store(Operand::DfrontedMeans, By::Plane(plane), Write::Overwrite, mean);
}

/// dx = (g − mean(g) − u · mean(g · u)) / √(variance + ε) from g = scale · dv, with the means of the column or the row.
pub(in super::super) fn moved(norm: &Norm, wanted: &Wanted) -> Program {
    let mut p = Program::default();
    let g = p.load(Operand::Dfronted, By::Element);
    let Normalised { u, inverse } = normalised(&mut p, Some(norm));
    let centred = match norm.has_mean() {
        true => {
            let mean = p.load(Operand::DfrontedMeans, moment(norm, 0));
            p.subtract(g, mean)
        }
        false => g,
    };
    let along = p.load(Operand::DfrontedMeans, moment(norm, u8::from(norm.has_mean())));
    let along = p.multiply(u, along);
    let left = p.subtract(centred, along);
    let value = inverse.map_or(left, |inverse| p.multiply(left, inverse));
    finished(&mut p, wanted, value);
    p
}

/// The terms of mean and variance of each column of x, around its first row.
pub(in super::super) fn moments_terms() -> Program {
    let mut p = Program::default();
    let x = p.load(Operand::X, By::Element);
    let first = p.load(Operand::FirstRow, By::Column);
    let moved = p.subtract(x, first);
    let square = p.multiply(moved, moved);
    p.reduce(Over::Rows, moved);
    p.reduce(Over::Rows, square);
    p
}

/// Mean and 1 / √(variance + ε) of each column from the sums of [`moments_terms`]; and with `running` running += momentum · (of the batch − running), the
/// variance divided by the count less 1. p is 1 / count, 1, momentum, count / (count − 1).
pub(in super::super) fn moments(norm: &Norm, running: bool) -> Program {
    let mut p = Program::default();
    let [each, one] = [0, 1].map(|place| p.parameter(place));
    let first = p.load(Operand::FirstRow, By::Column);
    let [mean, variance] = mean_and_variance(&mut p, [0, 1], [each, one], Some(first));
    p.store(Operand::Moments, By::Plane(0), Write::Overwrite, mean);
    inverse(&mut p, norm, variance);
    if running {
        let [momentum, unbiased] = [2, 3].map(|place| p.parameter(place));
        let of_others = p.multiply(variance, unbiased);
        for (plane, value) in [mean, of_others].into_iter().enumerate() {
            let place = By::Plane(plane as u8);
            let old = p.load(Operand::RunningMoments, place);
            let change = p.subtract(value, old);
            let change = p.multiply(momentum, change);
            let new = p.add(old, change);
            p.store(Operand::RunningMoments, place, Write::Overwrite, new);
        }
    }
    p
}

/// Mean and 1 / √(variance + ε) of each column from the running ones.
pub(in super::super) fn moments_of_running(norm: &Norm) -> Program {
    let mut p = Program::default();
    let [mean, variance] = [0, 1].map(|plane| p.load(Operand::RunningMoments, By::Plane(plane)));
    p.store(Operand::Moments, By::Plane(0), Write::Overwrite, mean);
    inverse(&mut p, norm, variance);
    p
}

fn inverse(p: &mut Program, norm: &Norm, variance: Value) {
    let epsilon = p.constant(norm.get_epsilon());
    let sum = p.add(variance, epsilon);
    let inverse = p.inverse_sqrt(sum);
    p.store(Operand::Moments, By::Plane(1), Write::Overwrite, inverse);
}
