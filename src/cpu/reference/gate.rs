//! Gated units in f64, by the formulas of [`Gate`].

use super::{BackwardOutputs, Gradient, jet::WithTerms};
use crate::{
    activation::{Activation, Quantity},
    cpu::ForwardInputs,
    gate::Gate,
    request::{AffineRequest, WeightLayout},
};

/// A layer whose weights are apart as the layer that it is: one weight and one bias with the gates in the place of their side, and up in the other.
pub(super) struct Whole {
    pub(super) request: AffineRequest,
    pub(super) w: Vec<f32>,
    pub(super) b: Option<Vec<f32>>,
    /// The side of up: 0 or 1.
    up: usize,
}

impl Whole {
    /// None if the weights are not apart.
    pub(super) fn of(
        request: &AffineRequest,
        w: &[f32],
        w_up: Option<&[f32]>,
        b: Option<&[f32]>,
        b_up: Option<&[f32]>,
    ) -> Option<Self> {
        let (gate, w_up) = (request.gate.filter(Gate::is_apart)?, w_up?);
        let up = gate.up_at(0, 1);
        let sides = |of_gate, of_up| if up == 1 { [of_gate, of_up] } else { [of_up, of_gate] };
        let of_w = sides(w, w_up);
        // With w `[K, N]` each row has those of both.
        let row = if request.layout == WeightLayout::OutIn { request.n * request.k } else { request.n };
        let rows = w.len().checked_div(row).unwrap_or(0);
        let w = (0..rows).flat_map(|i| of_w.into_iter().flat_map(move |w| w[i * row..][..row].iter().copied()));
        let b = b.zip(b_up).map(|(b, b_up)| sides(b, b_up).concat());
        let stacked = Gate::stacked();
        let stacked = if up == 1 { stacked } else { stacked.up_first() };
        Some(Whole { request: request.gate(gate.limited_as(stacked)), w: w.collect(), b, up })
    }

    /// The operands of the whole layer.
    pub(super) fn forward_inputs<'a>(&'a self, inputs: ForwardInputs<'a>) -> ForwardInputs<'a> {
        ForwardInputs { w: &self.w, b: self.b.as_deref(), w_up: None, b_up: None, ..inputs }
    }

    /// The gradients of each side from those of the whole.
    pub(super) fn gradients(&self, whole: BackwardOutputs) -> BackwardOutputs {
        let AffineRequest { n, k, layout, .. } = self.request;
        let row = if layout == WeightLayout::OutIn { n * k } else { n };
        let of_side = |gradient: &Gradient, row: usize, side: usize| {
            let part = |values: &[f64]| {
                let sides = values.chunks(row.max(1)).enumerate();
                sides.filter(|(i, _)| i % 2 == side).flat_map(|(_, values)| values).copied().collect()
            };
            Gradient { value: part(&gradient.value), terms: part(&gradient.terms) }
        };
        let [dw, dw_up] = [1 - self.up, self.up].map(|side| of_side(&whole.dw, row, side));
        let [db, db_up] = [1 - self.up, self.up].map(|side| of_side(&whole.db, n, side));
        BackwardOutputs { dw, dw_up, db, db_up, ..whole }
    }
}

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
