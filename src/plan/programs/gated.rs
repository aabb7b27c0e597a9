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

/// Where the number of a side lies in an operand with two for each unit, such as z.
const fn place(gate: &Gate, side: u8) -> By {
    if gate.is_interleaved() { By::Interleaved(side) } else { By::Stacked(side) }
}

/// The bias of a side.
const fn place_of_bias(gate: &Gate, side: u8) -> (Operand, By) {
    match (gate.is_apart(), gate.is_interleaved()) {
        (true, _) => (weights(gate, side)[1], By::Column),
        (false, true) => (Operand::B, By::InterleavedColumn(side)),
        (false, false) => (Operand::B, By::Plane(side)),
    }
}

/// Where dz of a side is written, in scratch memory.
const fn place_of_dz(gate: &Gate, side: u8) -> (Operand, By) {
    match gate.is_apart() {
        true if side == gate.side_of_gate() => (Operand::Dz, By::Element),
        true => (Operand::DzUp, By::Element),
        false => (Operand::Dz, place(gate, side)),
    }
}

/// Weight and bias of a side, of weights apart.
pub(in super::super) const fn weights(gate: &Gate, side: u8) -> [Operand; 2] {
    if side == gate.side_of_gate() { [Operand::W, Operand::B] } else { [Operand::WUp, Operand::BUp] }
}

/// Loads an element of the weight of both sides.
pub(in super::super) fn weight(gate: &Gate) -> Program {
    let mut p = Program::default();
    match gate.is_apart() {
        true => p.load_apart(weights(gate, 0)[0], weights(gate, 1)[0]),
        false => p.load(Operand::W, By::Element),
    };
    p
}

/// z = sum + b of one of the weights apart.
fn pre_activation_of(p: &mut Program, request: &AffineRequest, gate: &Gate, side: u8) -> Value {
    let sum = p.sum_of(0);
    if !request.bias {
        return sum;
    }
    let (operand, by) = place_of_bias(gate, side);
    let b = p.load(operand, by);
    p.add(sum, b)
}

/// z of one of the weights apart, into an operand with both, and kept as the request says.
pub(in super::super) fn linear_of(request: &AffineRequest, gate: &Gate, side: u8, into: Operand) -> Program {
    let mut p = Program::default();
    let z = pre_activation_of(&mut p, request, gate, side);
    let by = place(gate, side);
    p.store(into, by, Write::Overwrite, z);
    if request.saved == Saved::Z && into != Operand::Saved {
        p.store(Operand::Saved, by, Write::Overwrite, z);
    }
    p
}

/// The end of up's product, of weights apart, whose gates another one has left: z of up, kept as the request says, and y.
pub(in super::super) fn behind(request: &AffineRequest, gate: &Gate, gates: Operand) -> Program {
    let mut p = Program::default();
    let side = 1 - gate.side_of_gate();
    let up = pre_activation_of(&mut p, request, gate, side);
    let of_gate = p.load(gates, place(gate, gate.side_of_gate()));
    if request.saved == Saved::Z {
        p.store(Operand::Saved, place(gate, side), Write::Overwrite, up);
    }
    unit(&mut p, request, gate, [of_gate, up]);
    p
}

/// y = row_weight[m] · act(gate; α) · up (+ residual), stored.
fn unit(p: &mut Program, request: &AffineRequest, gate: &Gate, pair: [Value; 2]) {
    let unit = Unit::new(p, gate.limit(), pair, false);
    let alpha = alpha(p, request.alpha, Operand::Alpha, By::Column);
    let value = p.act(ONLY, Function::Of(Quantity::Value), unit.gate, alpha);
    let value = p.multiply(value, unit.up);
    output(p, request, value);
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
                let (operand, by) = place_of_bias(gate, side);
                let b = p.load(operand, by);
                z = p.add(z, b);
            }
            if request.saved == Saved::Z {
                p.store(Operand::Saved, place(gate, side), Write::Overwrite, z);
            }
            z
        }
    });
    unit(&mut p, request, gate, pair);
    p
}

/// db from the finished sums of both sides, stored where they lie in an operand with two numbers for each unit; of weights apart from those sides
/// that are wanted, each into an operand of its own.
pub(in super::super) fn sums(gate: &Gate, want: Want, of_up: Want) -> Program {
    let mut p = Program::default();
    let mut number = 0;
    for side in [0, 1] {
        let (operand, by, want) = match gate.is_apart() {
            false => (Operand::Db, place(gate, side), want),
            true if side == gate.side_of_gate() => (Operand::Db, By::Element, want),
            true => (Operand::DbUp, By::Element, of_up),
        };
        if want.wanted() {
            let sum = p.sum_of(number);
            store_at(&mut p, operand, by, want, sum);
            number += 1;
        }
    }
    p
}

/// The gradients of a gated layer: with s for the row weight, and dy for what the dropout has left of it, dgate = s · dy · up · act'(gate) and
/// dup = s · dy · act(gate), stored where z has gate and up, or each in an operand of its own; d(residual) = dy; and the terms of the sums, of db those of
/// the first side first.
pub(super) fn gradient(gradient: &Gradient, gate: &Gate) -> Program {
    let Gradient { local, dz, dresidual, db, db_up, dalpha, drow_weight, .. } = *gradient;
    let mut p = Program::default();
    let dy = p.load(Operand::Dy, By::Element);
    let dz_needed = dz.is_some() || db || db_up;
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
            let mut of_sides = [(unit.through(&mut p, 0, of_gate), db), (unit.through(&mut p, 1, of_up), db_up)];
            // In the order of the sides.
            if gate.side_of_gate() == 1 {
                of_sides.reverse();
            }
            for (side, (value, summed)) in (0..).zip(of_sides) {
                if let Some((_, want)) = dz {
                    let (operand, by) = place_of_dz(gate, side);
                    store_at(&mut p, operand, by, want, value);
                }
                if summed {
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
