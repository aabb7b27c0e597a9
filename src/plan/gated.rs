//! Gated layers. Forward is one product whose lanes hold gate and up of the same units, where a tile serves it; else a product that leaves z, and a
//! pass over it. (Backward is that of every layer: dgate and dup lie in one matrix, so that dx, dW and db of both are those of one linear layer.)

use super::{
    Caps, Pin, Plan,
    front::Fronted,
    product::{Pair, Product, forward_product},
    programs::{self, gated},
    reduce::{self, ColumnPass, Fold},
    split,
};
use crate::{
    dtype::Float,
    error::Result,
    gate::Gate,
    operand::Operand,
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
    let together = gated::layer(request, gate, None);
    let x = Fronted { affine: request, aligned, caps, pin }.entering(plan, &together, &programs::plain(Operand::W))?;
    // Four neighbours of a weight in rows of both sides by turns would be those of two units.
    if !(gate.is_interleaved() && request.layout == WeightLayout::InOut) {
        let together = forward_product(request, x.clone(), together, in_place);
        let pair = Some(Pair { interleaved: gate.is_interleaved() });
        if split::paired(plan, &Product { cols: request.n as u64, pair, ..together }, aligned, caps, pin)? {
            return Ok(());
        }
    }
    // y is made of z as it was summed: not of one that was rounded to be kept.
    let kept_whole = request.saved == Saved::Z && request.storage.of(Operand::Saved) == Float::F32;
    let z = if kept_whole { Operand::Saved } else { Operand::Z };
    let linear = forward_product(request, x, gated::linear(request, z), None);
    split::product(plan, &linear, aligned, caps, pin)?;
    let program = gated::layer(request, gate, Some(z));
    let (m, n, storage) = (request.m as u64, request.n as u64, request.storage);
    let units = ColumnPass { m, n, row_numbers: m, storage, in_place, fold: Fold::Sum };
    reduce::pass(plan, &units, &program, &request.activation, aligned, caps).map(drop)
}
