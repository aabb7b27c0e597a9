//! The double backward of the fused layer: three products and one pass between them, where backward has two and one.
//!
//! ż = ddx·Wᵀ + x·ddWᵀ + ddb is complete before dz2 can be made of it, and dx2 and dW2 need all of dz2: so three dispatches follow one another,
//! and dx2 and dW2 are two of the third kind. What is made of ż is a pass of its own, because with the product it would have more operands
//! than a device binds. The two products in each sum are one, over operands that lie one behind the other along the reduction.

use super::{
    Caps, Pin, Plan, affine,
    product::{Finish, Matrix, Product},
    programs::{self, Second},
    reduce::{self, ColumnPass, Fold, Sums},
    split::product,
};
use crate::{
    activation::Activation,
    error::Result,
    operand::Operand,
    program::Program,
    request::{DoubleBackwardRequest, Want, WeightLayout},
    rules::Resolved,
    storage::Storage,
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
        reduce::pass(plan, columns, program, &affine.activation, aligned, caps)
    };
    let only = |there: bool, pair: [Operand; 2]| there.then_some(pair);

    let moved = [only(returning.x, [Operand::Ddx, Operand::W]), only(returning.w, [Operand::X, Operand::Ddw])];
    let of_products = returning.x || returning.w;
    // With products, or both of the others, the pass behind it would read more operands than a device binds.
    let tangent_in_memory = request.needs_tangent() && (of_products || (returning.b && returning.residual));
    if tangent_in_memory && m > 0 && n > 0 {
        let finish = |want| programs::tangent(&returning, of_products, want);
        let sum = Sum { along: [true, out_in], result: (Operand::Dz2, Want::Overwrite), finish: &finish };
        match of_products {
            true => products.add(&mut plan, [m, n, k], moved, &sum)?,
            false => drop(run(&mut plan, &of_z, &finish(Want::Overwrite))?),
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
        let sums = Sums {
            db: (Operand::Db2, wants.b),
            dalpha: (Operand::Dalpha2, wants.alpha),
            alpha: affine.alpha,
            row_channels: None,
            drow_weight: (Operand::DrowWeight, Want::No),
        };
        sums.finish(&mut plan, &partial)?;
    }
    if wants.residual.wanted() {
        run(&mut plan, &of_z, &programs::dresidual2(bends, wants.residual))?;
    }

    let dz = if affine.is_linear() { Operand::Dy } else { Operand::Dz };
    let result = |plan: &mut Plan, sizes: [u64; 3], along, pairs: [Option<[Operand; 2]>; 2], (operand, want)| {
        let finish = |want| programs::sum(operand, want);
        match pairs {
            [None, None] if want == Want::Overwrite => {
                run(plan, &pass(sizes[0], sizes[1]), &programs::zero(operand)).map(drop)
            }
            pairs => products.add(plan, sizes, pairs, &Sum { along, result: (operand, want), finish: &finish }),
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

/// A sum of products: whether A and B lie along the reduction, where it goes, and how it is finished.
struct Sum<'a> {
    along: [bool; 2],
    result: (Operand, Want),
    finish: &'a dyn Fn(Want) -> Program,
}

/// What all products of a call have in common.
struct Products<'a> {
    storage: Storage,
    activation: Activation,
    aligned: bool,
    caps: &'a Caps,
    pin: &'a Pin,
}

impl Products<'_> {
    /// Adds C[rows, cols] = finish(A₁·B₁ + A₂·B₂), or of one product, each over `k` steps. Where two joined operands would be too long for a
    /// binding, the second product is added to the first in the memory of the result.
    fn add(
        &self,
        plan: &mut Plan,
        [rows, cols, k]: [u64; 3],
        pairs: [Option<[Operand; 2]>; 2],
        sum: &Sum<'_>,
    ) -> Result<()> {
        let (operand, want) = sum.result;
        let mut one = |k: u64, [a, b]: [Program; 2], program: Program| {
            let [a, b] = [(a, sum.along[0]), (b, sum.along[1])].map(|(program, along)| Matrix { along, program });
            let finish = Finish { program, stages: vec![self.activation], storage: self.storage, in_place: None };
            product(plan, &Product { rows, cols, k, a, b, finish }, self.aligned, self.caps, self.pin).map(drop)
        };
        match pairs {
            [Some([a1, b1]), Some([a2, b2])] if self.binds([[a1, a2], [b1, b2]], [rows, cols], k, sum.along) => {
                one(2 * k, [programs::joined(a1, a2), programs::joined(b1, b2)], (sum.finish)(want))
            }
            [Some(first), Some(second)] => {
                one(k, first.map(programs::plain), programs::sum(operand, want))?;
                one(k, second.map(programs::plain), (sum.finish)(Want::Accumulate))
            }
            [Some(only), None] | [None, Some(only)] => one(k, only.map(programs::plain), (sum.finish)(want)),
            [None, None] => Ok(()),
        }
    }

    /// Whether operands that lie across the reduction, of which any tile may use any part, fit into one binding each.
    fn binds(&self, operands: [[Operand; 2]; 2], across: [u64; 2], k: u64, along: [bool; 2]) -> bool {
        let fits = |operand: Operand, across: u64| {
            let stride = self.storage.row_stride(operand).map_or(across, u64::from).max(across);
            stride * k * self.storage.of(operand).bytes() <= self.caps.max_binding
        };
        let mut sides = operands.into_iter().zip(across).zip(along);
        sides.all(|((pair, across), along)| along || pair.into_iter().all(|operand| fits(operand, across)))
    }
}
