//! The double backward of the fused layer: three products and one pass between them, where backward has two and one.
//!
//! ż = ddx·Wᵀ + x·ddWᵀ + ddb is complete before dz2 can be made of it, and dx2 and dW2 need all of dz2: so three dispatches follow one another,
//! and dx2 and dW2 are two of the third kind. What is made of ż is a pass of its own, because with the product it would have more operands
//! than a device binds. In the tiles of GPUs the two products in each sum are one, over operands that lie one behind the other along the reduction.

use super::{
    Caps, Pin, Plan, affine,
    joined::Products,
    programs::{self, Second},
    reduce::{self, ColumnPass, Fold, Sums},
};
use crate::{
    error::Result,
    operand::Operand,
    program::Program,
    request::{DoubleBackwardRequest, Want, WeightLayout},
    rules::Resolved,
};

/// [`super::double_backward`], before long dispatches are cut into pieces.
pub(super) fn double_backward(
    request: &Resolved<DoubleBackwardRequest>,
    aligned: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Plan> {
    let DoubleBackwardRequest { affine, returning, gradients: wants } = **request;
    let (m, n, k) = (affine.m as u64, affine.n as u64, affine.k as u64);
    let mut plan = Plan { saved: affine.saved, ..Plan::default() };
    let local = affine::kept(&mut plan, &affine, request.reads_kept(), aligned, caps, pin)?;
    let out_in = affine.layout == WeightLayout::OutIn;
    let products = Products { storage: affine.storage, activation: affine.activation, aligned, caps, pin };
    let pass = |rows, cols| ColumnPass {
        m: rows,
        n: cols,
        row_numbers: rows,
        storage: affine.storage,
        in_place: None,
        fold: Fold::Sum,
    };
    let of_z = pass(m, n);
    let run = |plan: &mut Plan, columns: &ColumnPass, program: &Program| {
        reduce::pass(plan, columns, program, &[affine.activation], aligned, caps)
    };
    let only = |there: bool, pair: [Operand; 2]| there.then_some(pair);

    let moved = [only(returning.x, [Operand::Ddx, Operand::W]), only(returning.w, [Operand::X, Operand::Ddw])];
    let of_products = returning.x || returning.w;
    // With products, or both of the others, the pass behind it would read more operands than a device binds.
    let tangent_in_memory = request.needs_tangent() && (of_products || (returning.b && returning.residual));
    if tangent_in_memory && m > 0 && n > 0 {
        let finish = |around| programs::tangent(&returning, around);
        match of_products {
            true => drop(products.add(&mut plan, [m, n, k], [true, out_in], moved, &finish)?),
            false => drop(run(&mut plan, &of_z, &programs::tangent_of_sums(&returning))?),
        }
    }

    let bends = request.bends();
    let second = Second {
        local,
        returning,
        gradients: wants,
        tangent_in_memory,
        tangent_needed: request.needs_tangent(),
        bends,
        writes_dz2: bends && (wants.x.wanted() || wants.w.wanted() || wants.residual.wanted()),
        writes_dz: request.needs_dz() && !affine.is_linear(),
    };
    let program = second.program();
    if second.writes_dz2 || second.writes_dz || wants.dy.wanted() || wants.b.wanted() || wants.alpha.wanted() {
        let partial = run(&mut plan, &of_z, &program)?;
        let of_alpha = Sums::of_alpha((Operand::Dalpha2, wants.alpha), affine.alpha, None);
        let sums = Sums { db: (Operand::Db2, wants.b), ..of_alpha };
        sums.finish(&mut plan, &partial)?;
    }
    if wants.residual.wanted() {
        run(&mut plan, &of_z, &programs::dresidual2(bends, wants.residual))?;
    }

    let dz = if affine.is_linear() { Operand::Dy } else { Operand::Dz };
    let result = |plan: &mut Plan, sizes: [u64; 3], along, pairs: [Option<[Operand; 2]>; 2], (operand, want)| {
        let finish = |around: Option<Operand>| programs::sum_around(operand, want, around.as_slice());
        match pairs {
            [None, None] if want == Want::Overwrite => {
                run(plan, &pass(sizes[0], sizes[1]), &programs::zero(operand)).map(drop)
            }
            pairs => products.add(plan, sizes, along, pairs, &finish).map(drop),
        }
    };
    if wants.x.wanted() && m > 0 && k > 0 {
        let pairs = [only(bends, [Operand::Dz2, Operand::W]), only(returning.w, [dz, Operand::Ddw])];
        result(&mut plan, [m, k, n], [true, !out_in], pairs, (Operand::Dx2, wants.x))?;
    }
    if wants.w.wanted() && n > 0 && k > 0 {
        let turned = |[of_z, of_x]: [Operand; 2]| if out_in { [of_z, of_x] } else { [of_x, of_z] };
        let pairs = [only(bends, [Operand::Dz2, Operand::X]), only(returning.x, [dz, Operand::Ddx])];
        let [rows, cols] = if out_in { [n, k] } else { [k, n] };
        let pairs = pairs.map(|pair| pair.map(turned));
        result(&mut plan, [rows, cols, m], [false; 2], pairs, (Operand::Dw2, wants.w))?;
    }
    Ok(plan)
}
