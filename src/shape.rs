//! Shapes and their sizes: products are computed in u64, and every index must fit in 32 bits.

use std::{fmt, ops::Deref};

use crate::{
    error::{Error, Result},
    operand::Operand,
};

/// The most elements that one operand may have. Kernels index with u32, and the last step of a loop or the edge of a tile may go up to
/// 2¹⁶ elements past the end.
pub const MAX_ELEMENTS: u64 = (1 << 32) - (1 << 16);

/// The most dimensions of a shape; longer ones are merged at the front.
pub const MOST_DIMENSIONS: usize = 6;

/// The dimensions of a row-major tensor: a slice of `usize` that is copied as a value. Of more than six dimensions the leading ones are
/// multiplied into one, which does not move any element.
///
/// ```
/// use elbow::shape::Shape;
/// assert_eq!(*Shape::new(&[2, 3]), [2, 3]);
/// assert_eq!(*Shape::new(&[2, 3, 4, 5, 6, 7, 8]), [6, 4, 5, 6, 7, 8]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// 0 from `rank` on.
    dims: [usize; MOST_DIMENSIONS],
    rank: usize,
}

impl Shape {
    /// The shape with these dimensions.
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

/// Number of elements of a shape: the product of its dimensions. [`Error::LimitExceeded`] above [`MAX_ELEMENTS`].
///
/// ```
/// use elbow::{Operand, shape};
/// assert_eq!(shape::elements(Operand::X, &[2, 3, 4])?, 24);
/// assert!(shape::elements(Operand::X, &[1 << 16, 1 << 16]).is_err());
/// # Ok::<(), elbow::Error>(())
/// ```
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

/// `[.., columns]` as `(rows, columns)`: the leading dimensions are flattened. An error if there is no dimension.
///
/// ```
/// use elbow::{Operand, shape};
/// assert_eq!(shape::rows_and_columns(Operand::X, &[2, 3, 4])?, (6, 4));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn rows_and_columns(operand: Operand, shape: &[usize]) -> Result<(usize, usize)> {
    elements(operand, shape)?;
    match shape.split_last() {
        Some((&columns, leading)) => {
            // Not `elements / columns`: with K = 0 there are rows too, and y = act(b).
            Ok((elements(operand, leading)? as usize, columns))
        }
        None => Err(Error::Shape { operand, expected: "at least one dimension".into(), got: "[]".into() }),
    }
}

/// Number of u32 words of a 1-bit mask for an M×N matrix: M · ⌈N/32⌉, because each row starts a new word.
///
/// ```
/// assert_eq!(elbow::shape::mask_words(2, 33), 4);
/// ```
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
