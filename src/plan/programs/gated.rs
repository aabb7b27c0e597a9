//! The programs of gated units, act(gate) ⊙ up.

use super::{Gradient, Local, ONLY, Program, Quantity, alpha, dropped, output, pre_activation, store, store_at};
use crate::{
    gate::Gate,
    operand::Operand,
    program::{By, Function, Over, Value, Write},
    request::{AffineRequest, Saved, Want},
};

/// act's argument and the factor of a unit, and their slopes where they are limited.
struct Unit {
    gate: Value,
    up: Value,
    slopes: Option<[Value; 2]>,
}

impl Unit {
    /// gate and up as they are, or min(gate, limit) and clamp(up, −limit, limit) + 1. Backward needs the slopes.
    fn new(p: &mut Program, limit: Option<f32>, [gate, up]: [Value; 2], backward: bool) -> Self {
        let Some(limit) = limit else { return Unit { gate, up, slopes: None } };
        let [limit, one, zero] = [limit, 1.0, 0.0].map(|number| p.constant(number));
        let below = p.subtract(zero, up);
        let slopes = backward.then(|| {
            let [of_gate, above, below] = [gate, up, below].map(|v| p.within(v, limit));
            [of_gate, p.multiply(above, below)]
        });
        let below = p.capped(below, limit);
        let at_least = p.subtract(zero, below);
        let clamped = p.capped(at_least, limit);
        Unit { gate: p.capped(gate, limit), up: p.add(clamped, one), slopes }
    }

    /// What passes the limit of the gate, or that of up.
    fn through(&self, p: &mut Program, side: usize, v: Value) -> Value {
        self.slopes.map_or(v, |slopes| p.pass(v, slopes[side]))
    }
}

/// y = act(gate; α) · up
pub(in super::super) fn forward(local: Local) -> Program {
    let mut p = Program::default();
    let gate = p.load(Operand::Gate, By::Element);
    let alpha = alpha(&mut p, local.alpha, local.alpha_operand, local.channel);
    let value = p.act(ONLY, Function::Of(Quantity::Value), gate, alpha);
    let up = p.load(Operand::Up, By::Element);
    let y = p.multiply(value, up);
    store(&mut p, Operand::Y, Want::Overwrite, y);
    p
}

/// dgate = dy · up · act'(gate), dup = dy · act(gate), and the terms of dα = Σ dy · up · ∂act/∂α; z of `local` is the gate.
pub(in super::super) fn backward(local: Local, dgate: Want, dup: Want, dalpha: bool) -> Program {
    let mut p = Program::default();
    let dy = p.load(Operand::Dy, By::Element);
    let loaded = local.load(&mut p);
    let up = (dgate.wanted() || dalpha).then(|| p.load(Operand::Up, By::Element));
    let through = |p: &mut Program, quantity| {
        let (up, derivative) = (up?, loaded.quantity(p, quantity)?);
        Some(local.times_both(p, [dy, up], derivative))
    };
    if dgate.wanted()
        && let Some(value) = through(&mut p, Quantity::Slope)
    {
        store(&mut p, Operand::Dgate, dgate, value);
    }
    if dalpha && let Some(term) = through(&mut p, Quantity::AlphaSlope) {
        p.reduce(local.over(), term);
    }
    if dup.wanted()
        && let Some(value) = loaded.quantity(&mut p, Quantity::Value)
    {
        let value = p.multiply(dy, value);
        store(&mut p, Operand::Dup, dup, value);
    }
    p
}

/// The sides of gate and up: which of two numbers they are, and of two sums.
const fn sides(gate: &Gate) -> [u8; 2] {
    [gate.side_of_gate(), 1 - gate.side_of_gate()]
}

/// Where the number of a side lies in an operand with two for each unit.
const fn place(gate: &Gate, side: u8) -> By {
    if gate.is_interleaved() { By::Interleaved(side) } else { By::Stacked(side) }
}

/// The bias of a side.
const fn place_of_bias(gate: &Gate, side: u8) -> By {
    if gate.is_interleaved() { By::InterleavedColumn(side) } else { By::Plane(side) }
}

/// z = sum + b of every output, into an operand, and kept as the request says.
pub(in super::super) fn linear(request: &AffineRequest, into: Operand) -> Program {
    let mut p = Program::default();
    let z = pre_activation(&mut p, request);
    p.store(into, By::Element, Write::Overwrite, z);
    if request.saved == Saved::Z && into != Operand::Saved {
        p.store(Operand::Saved, By::Element, Write::Overwrite, z);
    }
    p
}

/// y = row_weight[m] · act(gate; α) · up (+ residual), from z in an operand, or from the finished sums of both sides, which then get the bias and
/// are kept as the request says.
pub(in super::super) fn layer(request: &AffineRequest, gate: &Gate, z: Option<Operand>) -> Program {
    let mut p = Program::default();
    let pair = sides(gate).map(|side| match z {
        Some(z) => p.load(z, place(gate, side)),
        None => {
            let mut z = p.sum_of(side);
            if request.bias {
                let b = p.load(Operand::B, place_of_bias(gate, side));
                z = p.add(z, b);
            }
            if request.saved == Saved::Z {
                p.store(Operand::Saved, place(gate, side), Write::Overwrite, z);
            }
            z
        }
    });
    let unit = Unit::new(&mut p, gate.limit(), pair, false);
    let alpha = alpha(&mut p, request.alpha, Operand::Alpha, By::Column);
    let value = p.act(ONLY, Function::Of(Quantity::Value), unit.gate, alpha);
    let value = p.multiply(value, unit.up);
    output(&mut p, request, value);
    p
}

/// The finished sums of both sides, stored where they lie in an operand with two numbers for each unit: db.
pub(in super::super) fn sums(gate: &Gate, operand: Operand, want: Want) -> Program {
    let mut p = Program::default();
    for side in [0, 1] {
        let sum = p.sum_of(side);
        store_at(&mut p, operand, place(gate, side), want, sum);
    }
    p
}

/// The gradients of a gated layer: with s for the row weight, and dy for what the dropout has left of it, dgate = s · dy · up · act'(gate) and
/// dup = s · dy · act(gate), stored where z has gate and up; d(residual) = dy; and the terms of the sums, of db those of the first side first.
pub(super) fn gradient(gradient: &Gradient, gate: &Gate) -> Program {
    let Gradient { local, dz, dresidual, db, dalpha, drow_weight, .. } = *gradient;
    let mut p = Program::default();
    let dy = p.load(Operand::Dy, By::Element);
    let dz_needed = dz.is_some() || db;
    if dz_needed || dalpha || drow_weight {
        let pair = sides(gate).map(|side| p.load(local.from, place(gate, side)));
        let unit = Unit::new(&mut p, gate.limit(), pair, true);
        let left = dropped(&mut p, local.dropout, dy);
        let alpha = alpha(&mut p, local.alpha, local.alpha_operand, local.channel);
        let weight = local.row_weight.filter(|_| dz_needed || dalpha).map(|weight| p.load(weight, By::Row));
        let upstream = weight.map_or(left, |weight| p.multiply(weight, left));
        let of = |p: &mut Program, quantity| p.act(ONLY, Function::Of(quantity), unit.gate, alpha);
        let value = (dz_needed || drow_weight).then(|| of(&mut p, Quantity::Value));
        if dz_needed && let Some(value) = value {
            let slope = of(&mut p, Quantity::Slope);
            let of_gate = local.times_both(&mut p, [upstream, unit.up], slope);
            let of_up = p.multiply(upstream, value);
            let mut of_sides = [unit.through(&mut p, 0, of_gate), unit.through(&mut p, 1, of_up)];
            // In the order of the sides.
            if gate.side_of_gate() == 1 {
                of_sides.reverse();
            }
            for (side, value) in (0..).zip(of_sides) {
                if let Some((operand, want)) = dz {
                    store_at(&mut p, operand, place(gate, side), want, value);
                }
                if db {
                    p.reduce(Over::Rows, value);
                }
            }
        }
        if dalpha {
            let slope = of(&mut p, Quantity::AlphaSlope);
            let term = local.times_both(&mut p, [upstream, unit.up], slope);
            p.reduce(local.over(), term);
        }
        if drow_weight && let Some(value) = value {
            let value = p.multiply(value, unit.up);
            let term = p.multiply(left, value);
            p.reduce(Over::Columns, term);
        }
    }
    store(&mut p, Operand::Dresidual, dresidual, dy);
    p
}
