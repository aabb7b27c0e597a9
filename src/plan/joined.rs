//! A sum of two products, A₁·B₁ + A₂·B₂: one product over operands that lie one behind the other along the reduction, where a tile serves that. Else
//! the first product waits in scratch memory, in f32, for the second, which finishes the sum; or, where that would be more operands than a
//! device binds, both wait there for a stage that does.

use super::{
    Caps, Pin, Plan,
    builder::PartialSums,
    product::{Finish, Matrix, Product},
    programs,
    split::{fetches_once, finished, product},
};
use crate::{
    activation::Activation,
    error::Result,
    kernel::MOST_SLOTS,
    operand::Operand,
    program::{Over, Program},
    request::Want,
    storage::Storage,
};

/// What all products of a call have in common.
pub(super) struct Products<'a> {
    pub(super) storage: Storage,
    /// The activation that the end of a product may call.
    pub(super) activation: Activation,
    pub(super) aligned: bool,
    pub(super) caps: &'a Caps,
    pub(super) pin: &'a Pin,
}

impl Products<'_> {
    /// Adds C[rows, cols] = A₁·B₁ + A₂·B₂, or one of the products, each over `k` steps; `along`: whether A and B lie along the reduction. `finish`
    /// stores the sum, and adds what is in `Operand::Half` if it is told so. Returns where the partial sums of its terms are.
    pub(super) fn add(
        &self,
        plan: &mut Plan,
        [rows, cols, k]: [u64; 3],
        along: [bool; 2],
        pairs: [Option<[Operand; 2]>; 2],
        finish: &dyn Fn(Option<Operand>) -> Program,
    ) -> Result<PartialSums> {
        let of = |k: u64, [a, b]: [Program; 2], program: Program| {
            let [a, b] = [(a, along[0]), (b, along[1])].map(|(program, along)| Matrix { along, program });
            let finish = Finish { program, stages: vec![self.activation], storage: self.storage, in_place: None };
            Product { rows, cols, k, a, b, finish, pair: None }
        };
        let mut add = |one: Product| product(plan, &one, self.aligned, self.caps, self.pin);
        let plain = |pair: [Operand; 2], program| of(k, pair.map(programs::plain), program);
        let [first, second] = match pairs {
            [Some(first), Some(second)] => [first, second],
            [Some(only), None] | [None, Some(only)] => return add(plain(only, finish(None))),
            [None, None] => return Ok(PartialSums::empty(rows, cols)),
        };
        let sides = [0, 1].map(|side| [first[side], second[side]]);
        let joined = of(2 * k, sides.map(|[first, second]| programs::joined(first, second)), finish(None));
        let fits = self.binds(sides, [rows, cols], k, along) && self.are_enough(4, &joined.finish.program);
        if fits && fetches_once(&joined, self.caps, self.pin)? {
            return add(joined);
        }
        let half = |want| programs::sum(Operand::Half, want);
        add(plain(first, half(Want::Overwrite)))?;
        let around = finish(Some(Operand::Half));
        if self.are_enough(2, &around) {
            return add(plain(second, around));
        }
        add(plain(second, half(Want::Accumulate)))?;
        finished(plan, &plain(second, finish(None)), Operand::Half, self.aligned, self.caps)
    }

    /// Whether a device has the bindings for so many operands of a product, and for those of its end.
    fn are_enough(&self, of_product: usize, finish: &Program) -> bool {
        let sums = [Over::Rows, Over::Columns].into_iter().filter(|over| finish.sums(*over) > 0).count();
        of_product + finish.accesses().len() + sums <= MOST_SLOTS.min(self.caps.max_bindings as usize)
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
