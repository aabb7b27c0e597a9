//! The programs of gated units, act(gate) ⊙ up.

use super::{Local, ONLY, Program, Quantity, alpha, dropped, pre_activation, store, store_at};
use crate::{
    gate::Gate,
    operand::Operand,
    program::{By, Function, Over, Value, Write},
    request::{AffineRequest, ResidualAt, Saved, Want},
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
    let mut y = p.multiply(value, unit.up);
    if request.row_weight {
        let weight = p.load(Operand::RowWeight, By::Row);
        y = p.multiply(weight, y);
    }
    y = dropped(&mut p, request.dropout.map(|dropout| (Operand::DropoutState, dropout)), y);
    if request.residual == Some(ResidualAt::AfterActivation) {
        let residual = p.load(Operand::Residual, By::Element);
        y = p.add(y, residual);
    }
    store(&mut p, Operand::Y, Want::Overwrite, y);
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

/// What the pass of a gated layer's backward makes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Wanted {
    /// dz, into scratch memory.
    pub(in super::super) dz: bool,
    /// The terms of db: those of the first side, then those of the second.
    pub(in super::super) db: bool,
    pub(in super::super) dalpha: bool,
    pub(in super::super) dresidual: Want,
    /// Whether d(residual) is the memory of dy.
    pub(in super::super) in_place: bool,
    pub(in super::super) drow_weight: bool,
}

impl Wanted {
    /// Whether there is nothing to compute.
    pub(in super::super) const fn is_nothing(&self) -> bool {
        !(self.dz || self.db || self.dalpha || self.dresidual.wanted() || self.drow_weight)
    }
}

/// With dy for what the dropout has left of it, dgate = s · dy · up · act'(gate), dup = s · dy · act(gate) with the row weight s, and the terms of the sums; `z` holds gate and up.
pub(in super::super) fn gradient(request: &AffineRequest, gate: &Gate, z: Operand, wanted: &Wanted) -> Program {
    let mut p = Program::default();
    let dy = p.load(Operand::Dy, By::Element);
    let dz_needed = wanted.dz || wanted.db;
    if dz_needed || wanted.dalpha || wanted.drow_weight {
        let pair = sides(gate).map(|side| p.load(z, place(gate, side)));
        let unit = Unit::new(&mut p, gate.limit(), pair, true);
        let local = Local::of(request, Saved::Z, z);
        let dy = dropped(&mut p, local.dropout, dy);
        let alpha = alpha(&mut p, local.alpha, local.alpha_operand, local.channel);
        let weighted = (dz_needed || wanted.dalpha) && request.row_weight;
        let upstream = match weighted {
            true => {
                let weight = p.load(Operand::RowWeight, By::Row);
                p.multiply(weight, dy)
            }
            false => dy,
        };
        let of = |p: &mut Program, quantity| p.act(ONLY, Function::Of(quantity), unit.gate, alpha);
        let value = (dz_needed || wanted.drow_weight).then(|| of(&mut p, Quantity::Value));
        if dz_needed && let Some(value) = value {
            let slope = of(&mut p, Quantity::Slope);
            let of_gate = local.times_both(&mut p, [upstream, unit.up], slope);
            let of_up = p.multiply(upstream, value);
            let mut dz = [unit.through(&mut p, 0, of_gate), unit.through(&mut p, 1, of_up)];
            // In the order of the sides.
            if gate.side_of_gate() == 1 {
                dz.reverse();
            }
            for (side, value) in (0..).zip(dz) {
                if wanted.dz {
                    p.store(Operand::Dz, place(gate, side), Write::Overwrite, value);
                }
                if wanted.db {
                    p.reduce(Over::Rows, value);
                }
            }
        }
        if wanted.dalpha {
            let slope = of(&mut p, Quantity::AlphaSlope);
            let term = local.times_both(&mut p, [upstream, unit.up], slope);
            p.reduce(Over::Rows, term);
        }
        if wanted.drow_weight
            && let Some(value) = value
        {
            let value = p.multiply(value, unit.up);
            let term = p.multiply(dy, value);
            p.reduce(Over::Columns, term);
        }
    }
    store(&mut p, Operand::Dresidual, wanted.dresidual, dy);
    p
}
