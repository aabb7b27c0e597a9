//! Sizes, checked: every product in u64, every index below 2³².

use std::{fmt, ops::Deref};

use crate::{
    error::{Error, Result},
    operand::Operand,
};

/// The largest number of elements one operand may have: shaders index with u32, and the last step of a loop or the edge of
/// a tile may reach past the end.
pub const MAX_ELEMENTS: u64 = (1 << 32) - (1 << 16);

/// Dimensions that a shape keeps apart.
pub const MOST_DIMENSIONS: usize = 6;

/// The dimensions of a row-major tensor, as a value: a slice of `usize`. More than six are six, the leading ones taken together, which
/// changes nothing of how the elements lie.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Those behind the rank are 0.
    dims: [usize; MOST_DIMENSIONS],
    rank: usize,
}

impl Shape {
    /// From a slice or an array.
    pub fn new(dims: &[usize]) -> Self {
        let (leading, last) = dims.split_at(dims.len().saturating_sub(MOST_DIMENSIONS));
        let mut shape = Shape { dims: [0; MOST_DIMENSIONS], rank: last.len() };
        shape.dims[..last.len()].copy_from_slice(last);
        for &dim in leading {
            shape.dims[0] = shape.dims[0].saturating_mul(dim);
        }
        shape
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: AsRef<[usize]> + ?Sized> From<&T> for Shape {
    fn from(dims: &T) -> Self {
        Shape::new(dims.as_ref())
    }
}

impl PartialEq<[usize]> for Shape {
    fn eq(&self, dims: &[usize]) -> bool {
        **self == *dims
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, dims: &[usize; N]) -> bool {
        **self == dims[..]
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_its_dimensions() {
        for dims in [&[][..], &[3], &[0, 2], &[1, 2, 3, 4, 5, 6]] {
            let shape = Shape::from(dims);
            assert_eq!(&*shape, dims);
            assert_eq!(format!("{shape:?}"), format!("{dims:?}"));
        }
        assert_eq!(&*Shape::from(&[2, 3, 4, 5, 6, 7, 8]), [6, 4, 5, 6, 7, 8]);
        assert_eq!(Shape::from(&[usize::MAX, 2, 1, 1, 1, 1, 1])[0], usize::MAX);
        assert_eq!(elements(Operand::X, &Shape::from(&[0, 7, 1, 1, 1, 1, 1])), Ok(0));
    }
}
