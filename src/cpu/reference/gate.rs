//! Gated units in f64, by the formulas of [`Gate`].

use super::jet::WithTerms;
use crate::{
    activation::{Activation, Quantity},
    gate::Gate,
};

/// y = act(gate) · up, each within its limit.
pub(super) fn value(of: &Gate, activation: &Activation, [gate, up]: [f64; 2]) -> f64 {
    let [(gate, _), (up, _)] = of.inside(gate, up);
    activation.value(gate) * up
}

/// The gradients of a unit, each with the absolute value of its terms.
pub(super) struct Gradients {
    pub(super) gate: WithTerms,
    pub(super) up: WithTerms,
    pub(super) alpha: WithTerms,
}

/// dgate = dy · up · act'(gate), dup = dy · act(gate), and the term dy · up · ∂act/∂α of dα, where dy has the row weight already.
pub(super) fn gradients(of: &Gate, activation: &Activation, [gate, up]: [f64; 2], dy: f64) -> Gradients {
    let [(gate, gate_slope), (up, up_slope)] = of.inside(gate, up);
    // Beyond a limit nothing passes, infinite or not.
    let limited = |v: f64, slope: f64| if slope == 0.0 && !v.is_nan() { 0.0 } else { v * slope };
    let through = |quantity| activation.passed_both(dy, up, activation.evaluate(quantity, gate));
    let one = |v: f64| (v, v.abs());
    Gradients {
        gate: one(limited(through(Quantity::Slope), gate_slope)),
        up: one(limited(dy * activation.value(gate), up_slope)),
        alpha: one(through(Quantity::AlphaSlope)),
    }
}
