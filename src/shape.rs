//! Sizes, checked: every product in u64, every index below 2³².

use crate::{
    error::{Error, Result},
    request::Operand,
};

/// The largest number of elements one operand may have: shaders index with u32, and the last step of a loop or the edge of
/// a tile may reach past the end.
pub const MAX_ELEMENTS: u64 = (1 << 32) - (1 << 16);

/// Number of elements of a shape, or an error that names the operand.
pub fn elements(operand: Operand, shape: &[usize]) -> Result<u64> {
    let mut product = 1u64;
    let mut overflow = false;
    for &dim in shape {
        match product.checked_mul(dim as u64) {
            Some(p) => product = p,
            None => overflow = true,
        }
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    if overflow || product > MAX_ELEMENTS {
        let asked = if overflow { u64::MAX } else { product };
        return Err(Error::LimitExceeded { what: format!("elements of {operand}"), asked, limit: MAX_ELEMENTS });
    }
    Ok(product)
}

/// Leading dimensions flattened to rows: `[.., columns]` to `(rows, columns)`.
pub fn rows_and_columns(operand: Operand, shape: &[usize]) -> Result<(usize, usize)> {
    elements(operand, shape)?;
    match shape.split_last() {
        Some((&columns, leading)) => {
            // The rows of no columns are still counted: K = 0 gives act(b).
            Ok((elements(operand, leading)? as usize, columns))
        }
        None => Err(Error::Shape { operand, expected: "at least one dimension".into(), got: "[]".into() }),
    }
}

/// Words of a 1-bit mask over an M×N matrix: each row starts a new u32.
pub const fn mask_words(m: usize, n: usize) -> u64 {
    m as u64 * (n as u64).div_ceil(32)
}
