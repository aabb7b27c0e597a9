//! Checks of what the baseline writes into: lengths, and that no gradient is asked of a constant α.

use crate::{
    cpu::operands::{Elementwise, alpha_length, length, too_short},
    error::{Error, Result},
    request::{AlphaSource, Operand},
};

/// The first elements of `given`, as many as `shape` has, to be written.
pub(super) fn slice_mut<'a, T>(operand: Operand, given: &'a mut [T], shape: &[usize]) -> Result<&'a mut [T]> {
    let length = length(operand, shape)?;
    let got = given.len();
    given.get_mut(..length).ok_or_else(|| too_short(operand, shape, length, got))
}

/// A gradient asked of a constant α.
pub(super) fn constant_alpha(operand: Operand) -> Error {
    let expected = "alpha per layer or per channel: a constant has no gradient".into();
    Error::Operand { operand, expected, got: "a constant alpha".into() }
}

impl Elementwise {
    /// Room for the gradient of α, if it is wanted.
    pub(super) fn checked_dalpha<'a>(
        &self,
        operand: Operand,
        given: Option<&'a mut [f32]>,
    ) -> Result<Option<&'a mut [f32]>> {
        match given {
            Some(_) if self.alpha == AlphaSource::Constant => Err(constant_alpha(operand)),
            Some(given) => slice_mut(operand, given, &[alpha_length(self.alpha, self.channels)]).map(Some),
            None => Ok(None),
        }
    }
}
