//! The scales of a product whose operands are split on their way to matrix units: for each row of A, and each column of B, the largest magnitude.

use super::{
    Caps, Plan,
    builder::PartialSums,
    product::{Matrix, Product},
    programs,
    reduce::{self, ColumnPass, Fold},
};
use crate::{
    error::Result,
    operand::Operand,
    program::{Over, Program},
};

/// Adds the passes over the operands that are scaled, and their later stages.
pub(super) fn scales(plan: &mut Plan, product: &Product, aligned: bool, caps: &Caps) -> Result<()> {
    let &Product { rows, cols, k, ref a, ref b, ref finish, .. } = product;
    // As the kernel reads them: the columns of B lie behind the rows of A, also where those are not scaled.
    let of_b = match b.program.apart() {
        None => vec![(b.clone(), product.cols_of_b(), rows)],
        Some(sides) => {
            let side = |operand| Matrix { program: programs::plain(operand), ..*b };
            sides.into_iter().zip([rows, rows + cols]).map(|(operand, to)| (side(operand), cols, to)).collect()
        }
    };
    let scaled = |matrix, parts| if product.half(matrix, caps).scaled() { parts } else { Vec::new() };
    let of_a = scaled(a, vec![(a.clone(), rows, 0)]);
    for (matrix, across, to) in of_a.into_iter().chain(scaled(b, of_b)) {
        let (m, n, over) = if matrix.along { (across, k, Over::Columns) } else { (k, across, Over::Rows) };
        let pass = ColumnPass { m, n, row_numbers: m, storage: finish.storage, in_place: None, fold: Fold::Largest };
        let PartialSums { columns, rows } =
            reduce::pass(plan, &pass, &magnitudes(&matrix.program, over), &finish.stages, aligned, caps)?;
        let stack = if over == Over::Rows { columns } else { rows };
        reduce::largest(plan, stack, Operand::Scales, to)?;
    }
    Ok(())
}

/// What a program loads, as the term of a reduction.
fn magnitudes(program: &Program, over: Over) -> Program {
    let mut program = program.clone();
    if let Some(element) = program.last() {
        program.reduce(over, element);
    }
    program
}
