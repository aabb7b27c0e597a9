//! Checks of output slices: their length, and that no gradient of a constant α is wanted.

use elbow::{
    Operand,
    cpu::{Elementwise, operands},
    error::{Error, Result},
    request::AlphaSource,
};

/// The first elements of an output, as many as `shape` has.
pub(crate) fn slice_mut<'a, T>(operand: Operand, given: &'a mut [T], shape: &[usize]) -> Result<&'a mut [T]> {
    let length = operands::slice(operand, given, shape)?.len();
    Ok(&mut given[..length])
}

/// The error for a wanted gradient of a constant α.
pub(crate) fn constant_alpha(operand: Operand) -> Error {
    let expected = "alpha per layer or per channel, because a constant has no gradient".into();
    Error::Operand { operand, expected, got: "a constant alpha".into() }
}

/// The output of dα, cut to its length, if it is wanted.
pub(crate) fn dalpha<'a>(
    request: &Elementwise,
    operand: Operand,
    given: Option<&'a mut [f32]>,
) -> Result<Option<&'a mut [f32]>> {
    match given {
        Some(_) if request.alpha == AlphaSource::Constant => Err(constant_alpha(operand)),
        Some(given) => slice_mut(operand, given, &[operands::alpha_length(request.alpha, request.channels)]).map(Some),
        None => Ok(None),
    }
}
