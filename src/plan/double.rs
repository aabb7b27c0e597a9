//! The double backward of the fused layer: three products and one pass between them, where backward has two and one.
//!
//! ż = ddx·Wᵀ + x·ddWᵀ + ddb is complete before dz2 can be made of it, and dx2 and dW2 need all of dz2: so three dispatches follow one another,
//! and dx2 and dW2 are two of the third kind. What is made of ż is a pass of its own, because with the product it would have more operands
//! than a device binds. In the tiles of GPUs the two products in each sum are one, over operands that lie one behind the other along the reduction.

use super::{
    Caps, Pin, Plan, affine,
    product::{Finish, Matrix, Product},
    programs::{self, Second},
    reduce::{self, ColumnPass, Fold, Sums},
    split::{fetches_once, product},
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
        let finish = |around| programs::tangent(&returning, around);
        match of_products {
            true => products.add(&mut plan, [m, n, k], [true, out_in], moved, &finish)?,
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
        let sums = Sums {
            db: (Operand::Db2, wants.b),
            gate: None,
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
        let finish = |around| programs::sum_around(operand, want, around);
        match pairs {
            [None, None] if want == Want::Overwrite => {
                run(plan, &pass(sizes[0], sizes[1]), &programs::zero(operand)).map(drop)
            }
            pairs => products.add(plan, sizes, along, pairs, &finish),
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

/// What all products of a call have in common.
struct Products<'a> {
    storage: Storage,
    activation: Activation,
    aligned: bool,
    caps: &'a Caps,
    pin: &'a Pin,
}

impl Products<'_> {
    /// Adds C[rows, cols] = A₁·B₁ + A₂·B₂, or one of the products, each over `k` steps; `along`: whether A and B lie along the reduction. `finish`
    /// stores the sum, and adds what is in `Operand::Half` if it is told so: where joined operands would be too long for a binding, or asked
    /// about at too many places of the text, the first product waits there for the second.
    fn add(
        &self,
        plan: &mut Plan,
        [rows, cols, k]: [u64; 3],
        along: [bool; 2],
        pairs: [Option<[Operand; 2]>; 2],
        finish: &dyn Fn(Option<Operand>) -> Program,
    ) -> Result<()> {
        let of = |k: u64, [a, b]: [Program; 2], program: Program| {
            let [a, b] = [(a, along[0]), (b, along[1])].map(|(program, along)| Matrix { along, program });
            let finish = Finish { program, stages: vec![self.activation], storage: self.storage, in_place: None };
            Product { rows, cols, k, a, b, finish, pair: None }
        };
        let mut add = |one: Product| product(plan, &one, self.aligned, self.caps, self.pin).map(drop);
        let plain = |pair: [Operand; 2], program| of(k, pair.map(programs::plain), program);
        let [first, second] = match pairs {
            [Some(first), Some(second)] => [first, second],
            [Some(only), None] | [None, Some(only)] => return add(plain(only, finish(None))),
            [None, None] => return Ok(()),
        };
        let sides = [0, 1].map(|side| [first[side], second[side]]);
        let joined = of(2 * k, sides.map(|[first, second]| programs::joined(first, second)), finish(None));
        if self.binds(sides, [rows, cols], k, along) && fetches_once(&joined, self.caps, self.pin)? {
            return add(joined);
        }
        add(plain(first, programs::sum(Operand::Half, Want::Overwrite)))?;
        add(plain(second, finish(Some(Operand::Half))))
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
