//! The programs of gated units, act(gate) ⊙ up.

use super::{Local, ONLY, Program, Quantity, alpha, store};
use crate::{
    operand::Operand,
    program::{By, Function},
    request::Want,
};

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
