//! Checks of what the baseline writes into: lengths, and that no gradient is asked of a constant α.

use elbow::{
    Operand,
    cpu::{Elementwise, operands},
    error::{Error, Result},
    request::AlphaSource,
};

/// The first elements of `given`, as many as `shape` has, to be written.
pub(crate) fn slice_mut<'a, T>(operand: Operand, given: &'a mut [T], shape: &[usize]) -> Result<&'a mut [T]> {
    let length = operands::slice(operand, given, shape)?.len();
    Ok(&mut given[..length])
}

/// A gradient asked of a constant α.
pub(crate) fn constant_alpha(operand: Operand) -> Error {
    let expected = "alpha per layer or per channel: a constant has no gradient".into();
    Error::Operand { operand, expected, got: "a constant alpha".into() }
}

/// Room for the gradient of α, if it is wanted.
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
