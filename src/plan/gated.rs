//! Gated layers. Forward is one product whose lanes hold gate and up of the same units, where a tile serves it; else a product that leaves z, and a
//! pass over it. (Backward is that of every layer: dgate and dup lie in one matrix, so that dx, dW and db of both are those of one linear layer.)
//! Of weights apart forward is one product on matrix units, else two, of which the second reads what the first has left; in backward dgate and dup are
//! two matrices.

use super::{
    Caps, Pin, Plan,
    front::Fronted,
    product::{Matrix, Pair, Product, forward_product},
    programs::{self, gated},
    reduce::{self, ColumnPass, Fold},
    split,
};
use crate::{
    dtype::Float,
    error::Result,
    gate::Gate,
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
    // y is made of z as it was summed: not of one that was rounded to be kept.
    let kept_whole = request.saved == Saved::Z && request.storage.of(Operand::Saved) == Float::F32;
    let z = if kept_whole { Operand::Saved } else { Operand::Z };
    let together = if gate.is_apart() { gated::behind(request, gate, z) } else { gated::layer(request, gate, None) };
    let (fronted, w) = (Fronted { affine: request, aligned, caps, pin }, programs::plain(Operand::W));
    let x = fronted.entering(plan, &together, &w)?;
    // Four neighbours of a weight in rows of both sides by turns would be those of two units.
    if !(gate.is_interleaved() && request.layout == WeightLayout::InOut) {
        let of_all = forward_product(request, x.clone(), gated::layer(request, gate, None), in_place);
        let pair = Some(Pair { interleaved: gate.is_interleaved() });
        let b = Matrix { program: gated::weight(gate), ..of_all.b };
        if split::paired(plan, &Product { cols: request.n as u64, b, pair, ..of_all }, aligned, caps, pin)? {
            return Ok(());
        }
    }
    if gate.is_apart() {
        let of_gate = gate.side_of_gate();
        let gates = side(request, gate, of_gate, x.clone(), gated::linear_of(request, gate, of_gate, z));
        split::product(plan, &gates, aligned, caps, pin)?;
        let binds = fronted.binds([&x, &w, &together]);
        let finish = if binds { together } else { gated::linear_of(request, gate, 1 - of_gate, z) };
        let mut of_up = side(request, gate, 1 - of_gate, x, finish);
        of_up.finish.in_place = in_place.filter(|_| binds);
        split::product(plan, &of_up, aligned, caps, pin)?;
        return if binds { Ok(()) } else { units(plan, request, gate, z, in_place, aligned, caps) };
    }
    split::product(plan, &forward_product(request, x, gated::linear(request, z), None), aligned, caps, pin)?;
    units(plan, request, gate, z, in_place, aligned, caps)
}

/// The pass over the units of z.
fn units(
    plan: &mut Plan,
    request: &AffineRequest,
    gate: &Gate,
    z: Operand,
    in_place: Option<(Operand, Operand)>,
    aligned: bool,
    caps: &Caps,
) -> Result<()> {
    let program = gated::layer(request, gate, Some(z));
    let (m, n, storage) = (request.m as u64, request.n as u64, request.storage);
    let units = ColumnPass { m, n, row_numbers: m, storage, in_place, fold: Fold::Sum };
    reduce::pass(plan, &units, &program, &[request.activation], aligned, caps).map(drop)
}

/// The product of one of the weights apart, finished by this program.
fn side(request: &AffineRequest, gate: &Gate, side: u8, x: Program, program: Program) -> Product {
    let [w, _] = gated::weights(gate, side);
    let of_all = forward_product(request, x, program, None);
    let b = Matrix { program: programs::plain(w), ..of_all.b };
    Product { cols: request.n as u64, b, ..of_all }
}

/// Computes z again, into scratch memory, by the product of each of the weights apart.
pub(super) fn again(plan: &mut Plan, fronted: &Fronted<'_>, gate: &Gate) -> Result<()> {
    let Fronted { affine, aligned, caps, pin } = *fronted;
    let of_side = |of| gated::linear_of(affine, gate, of, Operand::Z);
    let x = fronted.entering(plan, &of_side(0), &programs::plain(Operand::W))?;
    for of in [0, 1] {
        split::product(plan, &side(affine, gate, of, x.clone(), of_side(of)), aligned, caps, pin)?;
    }
    Ok(())
}
