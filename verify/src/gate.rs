//! Bounds for gated layers: the formulas of [`Gate`], on numbers that carry a bound of their error along. A layer whose weights are apart is judged
//! as the layer that it is, with one weight: its parts go to the device.

use elbow::{Activation, Gate, WeightLayout, activation::Quantity, request::AffineRequest};

use crate::{
    bound::{Expected, at_channel},
    near::{Near, at},
    operands::Operands,
    spec::Spec,
    ulp::ulp_of,
};

/// The places in z of gate and up of output i.
pub(crate) fn places(gate: &Gate, layer: &AffineRequest, i: usize) -> [usize; 2] {
    let (row, unit) = (i / layer.n, i % layer.n);
    [gate.gate_at(unit, layer.n), gate.up_at(unit, layer.n)].map(|place| row * layer.outputs() + place)
}

/// The gate of a layer whose weights are apart, with one weight.
pub(crate) fn whole(gate: Gate) -> Gate {
    if !gate.is_apart() {
        return gate;
    }
    let stacked = if gate.gate_at(0, 1) == 0 { Gate::stacked() } else { Gate::stacked().up_first() };
    gate.limit().map_or(stacked, |limit| stacked.limited(limit).unwrap_or(stacked))
}

/// The gate's part of a weight or bias with both sides, and that of up.
pub(crate) fn parts<T: Copy>(gate: Gate, layer: &AffineRequest, values: &[T], bias: bool) -> [Vec<T>; 2] {
    let row = if layer.layout == WeightLayout::OutIn && !bias { layer.n * layer.k } else { layer.n };
    let part = |place: usize| {
        let rows = values.chunks(row.max(1)).enumerate().filter(|(i, _)| i % 2 == place);
        rows.flat_map(|(_, values)| values).copied().collect()
    };
    [gate.gate_at(0, 1), gate.up_at(0, 1)].map(part)
}

/// y with its bounds, from z with its own.
pub(crate) fn outputs(spec: &Spec, operands: &Operands, gate: &Gate, y: &[f64], z: &Expected) -> Expected {
    let layer = &spec.forward;
    let mut expected = Expected::default();
    for (i, &right) in y.iter().enumerate() {
        let activation = at_channel(layer.activation, layer.alpha, &operands.alpha, i % layer.n);
        let pair = places(gate, layer, i).map(|at| Near { value: z.value[at], off: z.bound[at] });
        let mut near = value(gate, &activation, pair);
        if layer.row_weight {
            near = near.scaled(f64::from(operands.row_weight[i / layer.n]));
        }
        if layer.dropout.is_some() {
            near = near.scaled(operands.left(spec, false, i));
        }
        let added = if layer.residual.is_some() { ulp_of(right) } else { 0.0 };
        let overflows = right.abs() > f64::from(f32::MAX);
        expected.value.push(right);
        expected.bound.push(if overflows { f64::INFINITY } else { near.off + added });
    }
    expected
}

/// act's argument and the factor of a unit, each with its slope: near a limit it may be that of the other side.
fn inside(gate: &Gate, [z, up]: [Near; 2]) -> [(Near, Near); 2] {
    let Some(limit) = gate.limit().map(f64::from) else { return [z, up].map(|v| (v, Near::exact(1.0))) };
    let open = |v: Near, to: f64| if (v.value - to).abs() <= v.off && v.off > 0.0 { 1.0 } else { 0.0 };
    let slope = |inside: bool, open: f64| Near { value: f64::from(u8::from(inside)), off: open };
    let capped = Near { value: z.value.min(limit), ..z };
    let clamped = Near { value: up.value.clamp(-limit, limit), ..up };
    [
        (capped, slope(z.value <= limit, open(z, limit))),
        (clamped.plus(Near::exact(1.0)), slope(up.value.abs() <= limit, open(up, limit).max(open(up, -limit)))),
    ]
}

/// act(gate) · up
pub(crate) fn value(gate: &Gate, activation: &Activation, z: [Near; 2]) -> Near {
    let [(z, _), (up, _)] = inside(gate, z);
    at(activation, Quantity::Value, z).times(up)
}

/// dgate and dup, and the term of dα, from dy with the row weight.
pub(crate) fn gradients(gate: &Gate, activation: &Activation, z: [Near; 2], dy: Near) -> ([Near; 2], Near) {
    let [(z, slope), (up, slope_of_up)] = inside(gate, z);
    let at = |quantity| at(activation, quantity, z);
    let through = dy.times(up);
    let dgate = through.times(at(Quantity::Slope)).times(slope);
    let dup = dy.times(at(Quantity::Value)).times(slope_of_up);
    ([dgate, dup], through.times(at(Quantity::AlphaSlope)))
}
