//! What forward keeps for backward, as the caller's slices.

use elbow::{Operand, cpu::operands, error::Result, request::Saved};

use crate::mask::words;

/// The output for what forward keeps for backward.
#[derive(Debug, Default)]
pub enum SavedOut<'a> {
    /// Nothing is kept but y.
    #[default]
    None,
    /// z, `[M, N]`.
    Z(&'a mut [f32]),
    /// One bit an element, column j of a row in bit j mod 32 of its word j / 32; each row starts a new word.
    Mask(&'a mut [u32]),
}

impl<'a> SavedOut<'a> {
    /// The parts for `count` blocks of so many rows.
    pub(crate) fn blocks(self, rows: usize, n: usize, count: usize) -> Vec<SavedOut<'a>> {
        match self {
            SavedOut::None => (0..count).map(|_| SavedOut::None).collect(),
            SavedOut::Z(z) => z.chunks_mut(rows * n).map(SavedOut::Z).collect(),
            SavedOut::Mask(mask) => mask.chunks_mut(rows * words(n)).map(SavedOut::Mask).collect(),
        }
    }
}

/// What forward kept, for backward to read.
#[derive(Debug, Clone, Copy, Default)]
pub enum SavedIn<'a> {
    /// Nothing: z is computed again from x, w and b.
    #[default]
    None,
    /// z, `[M, N]`.
    Z(&'a [f32]),
    /// y, `[M, N]`.
    Y(&'a [f32]),
    /// The mask, as in [`SavedOut::Mask`].
    Mask(&'a [u32]),
}

impl<'a> SavedIn<'a> {
    /// Its name in requests.
    ///
    /// ```
    /// use elbow::Saved;
    /// use elbow_cpu::SavedIn;
    /// assert_eq!((SavedIn::Y(&[0.5]).kind(), SavedIn::default().kind()), (Saved::Y, Saved::None));
    /// ```
    pub fn kind(&self) -> Saved {
        match self {
            SavedIn::None => Saved::None,
            SavedIn::Z(_) => Saved::Z,
            SavedIn::Y(_) => Saved::Y,
            SavedIn::Mask(_) => Saved::Mask,
        }
    }

    /// Cut to its length for m rows and n columns; an error if it is too short.
    pub(crate) fn checked(self, operand: Operand, m: usize, n: usize) -> Result<SavedIn<'a>> {
        Ok(match self {
            SavedIn::None => SavedIn::None,
            SavedIn::Z(z) => SavedIn::Z(operands::slice(operand, z, &[m, n])?),
            SavedIn::Y(y) => SavedIn::Y(operands::slice(operand, y, &[m, n])?),
            SavedIn::Mask(mask) => SavedIn::Mask(operands::slice(operand, mask, &[m, words(n)])?),
        })
    }

    /// That of so many rows from `row` on.
    pub(crate) fn block(self, row: usize, rows: usize, n: usize) -> SavedIn<'a> {
        match self {
            SavedIn::None => SavedIn::None,
            SavedIn::Z(z) => SavedIn::Z(&z[row * n..(row + rows) * n]),
            SavedIn::Y(y) => SavedIn::Y(&y[row * n..(row + rows) * n]),
            SavedIn::Mask(mask) => SavedIn::Mask(&mask[row * words(n)..(row + rows) * words(n)]),
        }
    }
}
