//! The checks of operands that are slices: of the length that the request says, and there if and only if it calls for
//! them. An error names the operand.

use crate::{
    error::{Error, Result},
    operand::Operand,
    request::AlphaSource,
    shape,
};

/// The first elements of `given`, as many as `shape` has.
pub fn slice<'a, T>(operand: Operand, given: &'a [T], shape: &[usize]) -> Result<&'a [T]> {
    let length = shape::elements(operand, shape)?;
    usize::try_from(length).ok().and_then(|length| given.get(..length)).ok_or_else(|| Error::Shape {
        operand,
        expected: format!("{length} elements, {shape:?}"),
        got: format!("{} elements", given.len()),
    })
}

/// An operand that must be there if `wanted`, and must not if not.
pub fn optional<'a>(
    operand: Operand,
    given: Option<&'a [f32]>,
    wanted: bool,
    shape: &[usize],
) -> Result<Option<&'a [f32]>> {
    match (given, wanted) {
        (Some(given), true) => slice(operand, given, shape).map(Some),
        (None, false) => Ok(None),
        (None, true) => {
            Err(Error::Operand { operand, expected: format!("an operand of shape {shape:?}"), got: "none".into() })
        }
        (Some(_), false) => {
            Err(Error::Operand { operand, expected: "none: the request has no such operand".into(), got: "one".into() })
        }
    }
}

/// α by where it comes from.
pub fn alpha(operand: Operand, given: Option<&[f32]>, source: AlphaSource, channels: usize) -> Result<Option<&[f32]>> {
    optional(operand, given, source != AlphaSource::Constant, &[alpha_length(source, channels)])
}

/// Elements of α, and of its gradient.
pub const fn alpha_length(source: AlphaSource, channels: usize) -> usize {
    match source {
        AlphaSource::Constant | AlphaSource::PerLayer => 1,
        AlphaSource::PerChannel => channels,
    }
}
