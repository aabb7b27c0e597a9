//! Gated layers. Forward is one product whose lanes hold gate and up of the same units, where a tile serves it; else a product that leaves z, and a
//! pass over it. (Backward is that of every layer: dgate and dup lie in one matrix, so that dx, dW and db of both are those of one linear layer.)
//! Of weights apart forward is two products, of which the second reads what the first has left; in backward dgate and dup are two matrices.

use super::{
    Caps, Pin, Plan,
    product::{Matrix, Pair, Product, forward_product},
    programs::{self, gated},
    reduce::{self, ColumnPass, Fold},
    split,
};
use crate::{
    dtype::Float,
    error::Result,
    gate::Gate,
    kernel::MOST_SLOTS,
    operand::Operand,
    program::Program,
    request::{AffineRequest, Saved, WeightLayout},
    rules::Resolved,
};

/// y = act(gate) ⊙ up.
pub(super) fn forward(
    plan: &mut Plan,
    request: &Resolved<AffineRequest>,
    gate: &Gate,
    in_place: Option<(Operand, Operand)>,
    aligned: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<()> {
    if request.m == 0 || request.n == 0 {
        return Ok(());
    }
    // Four neighbours of a weight in rows of both sides by turns would be those of two units.
    let by_turns = gate.is_interleaved() && request.layout == WeightLayout::InOut;
    if !(gate.is_apart() || by_turns) {
        let together = forward_product(request, gated::layer(request, gate, None), in_place);
        let pair = Some(Pair { interleaved: gate.is_interleaved() });
        if split::paired(plan, &Product { cols: request.n as u64, pair, ..together }, aligned, caps, pin)? {
            return Ok(());
        }
    }
    // y is made of z as it was summed: not of one that was rounded to be kept.
    let kept_whole = request.saved == Saved::Z && request.storage.of(Operand::Saved) == Float::F32;
    let z = if kept_whole { Operand::Saved } else { Operand::Z };
    if gate.is_apart() {
        let of_gate = gate.side_of_gate();
        let gates = side(request, gate, of_gate, gated::linear_of(request, gate, of_gate, z));
        split::product(plan, &gates, aligned, caps, pin)?;
        let behind = gated::behind(request, gate, z);
        let bindings = 2 + behind.accesses().len() - usize::from(in_place.is_some());
        if bindings <= MOST_SLOTS.min(caps.max_bindings as usize) {
            let mut of_up = side(request, gate, 1 - of_gate, behind);
            of_up.finish.in_place = in_place;
            return split::product(plan, &of_up, aligned, caps, pin).map(drop);
        }
        let ups = side(request, gate, 1 - of_gate, gated::linear_of(request, gate, 1 - of_gate, z));
        split::product(plan, &ups, aligned, caps, pin)?;
    } else {
        split::product(plan, &forward_product(request, gated::linear(request, z), None), aligned, caps, pin)?;
    }
    let program = gated::layer(request, gate, Some(z));
    let (m, n, storage) = (request.m as u64, request.n as u64, request.storage);
    let units = ColumnPass { m, n, row_numbers: m, storage, in_place, fold: Fold::Sum };
    reduce::pass(plan, &units, &program, &request.activation, aligned, caps).map(drop)
}

/// The product of one of the weights apart, finished by this program.
fn side(request: &AffineRequest, gate: &Gate, side: u8, program: Program) -> Product {
    let [w, _] = gated::weights(gate, side);
    let of_all = forward_product(request, program, None);
    let b = Matrix { program: programs::plain(w), ..of_all.b };
    Product { cols: request.n as u64, b, ..of_all }
}

/// Computes z again, into scratch memory, by the product of each of the weights apart.
pub(super) fn again(
    plan: &mut Plan,
    request: &AffineRequest,
    gate: &Gate,
    aligned: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<()> {
    for of in [0, 1] {
        let product = side(request, gate, of, gated::linear_of(request, gate, of, Operand::Z));
        split::product(plan, &product, aligned, caps, pin)?;
    }
    Ok(())
}
