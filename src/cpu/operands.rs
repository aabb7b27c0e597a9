//! Checks of operands that are slices: each is long enough for the request, and there if and only if the request needs it. An error names
//! the operand. For CPU implementations such as `elbow-cpu`.

use crate::{
    dropout::Dropout,
    error::{Error, Result},
    operand::Operand,
    request::{AlphaSource, Layers},
    shape,
};

/// The first elements of `given`, as many as `shape` has. [`Error::Shape`] if there are fewer.
///
/// ```
/// use elbow::{Operand, cpu::operands};
/// assert_eq!(operands::slice(Operand::B, &[1.0, 2.0, 3.0], &[2])?, [1.0, 2.0]);
/// assert!(operands::slice(Operand::B, &[1.0], &[2]).is_err());
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn slice<'a, T>(operand: Operand, given: &'a [T], shape: &[usize]) -> Result<&'a [T]> {
    let length = shape::elements(operand, shape)?;
    usize::try_from(length).ok().and_then(|length| given.get(..length)).ok_or_else(|| Error::Shape {
        operand,
        expected: format!("{length} elements, {shape:?}"),
        got: format!("{} elements", given.len()),
    })
}

/// [`slice()`] of an operand that must be given if `wanted` is true, and must not be given otherwise. [`Error::Operand`] if not so.
///
/// ```
/// use elbow::{Operand, cpu::operands};
/// assert_eq!(operands::optional(Operand::B, None, false, &[2])?, None);
/// assert!(operands::optional(Operand::B, None, true, &[2]).is_err());
/// # Ok::<(), elbow::Error>(())
/// ```
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
        (Some(_), false) => Err(Error::Operand {
            operand,
            expected: "none, because the request has no such operand".into(),
            got: "an operand".into(),
        }),
    }
}

/// [`optional`] for α: `[1]` for [`AlphaSource::PerLayer`], `[channels]` for [`AlphaSource::PerChannel`], none for a constant.
///
/// ```
/// use elbow::{AlphaSource, Operand, cpu::operands};
/// assert_eq!(operands::alpha(Operand::Alpha, Some(&[0.25]), AlphaSource::PerLayer, 8)?, Some(&[0.25f32][..]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn alpha(operand: Operand, given: Option<&[f32]>, source: AlphaSource, channels: usize) -> Result<Option<&[f32]>> {
    optional(operand, given, source != AlphaSource::Constant, &[alpha_length(source, channels)])
}

/// x `[rows, K]` and the parameters of a network, as [`Layers::place`] says, each cut to its length. An error names the operand that is too short, or what
/// of the network does not fit.
///
/// ```
/// use elbow::{Activation, cpu::operands, network::Layers};
/// let layers = Layers::new(&[3, 16, 2], Activation::RELU)?;
/// let parameters = vec![0.0; layers.elements()];
/// assert!(operands::network(&layers, 1, &[1.0, 2.0], &parameters).is_err()); // x has 3 columns
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn network<'a>(layers: &Layers, rows: usize, x: &'a [f32], parameters: &'a [f32]) -> Result<[&'a [f32]; 2]> {
    layers.check(rows)?;
    let x = slice(Operand::X, x, &[rows, layers.inputs])?;
    Ok([x, slice(Operand::Parameter, parameters, &[layers.elements()])?])
}

/// The state of a dropout, given if and only if there is one. [`Error::Operand`] if not so.
///
/// ```
/// use elbow::{Dropout, Operand, cpu::operands};
/// let dropout = Dropout::new(0.5)?;
/// assert!(operands::dropout_state(Operand::DropoutState, None, Some(dropout)).is_err());
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn dropout_state(operand: Operand, given: Option<[u32; 4]>, dropout: Option<Dropout>) -> Result<Option<[u32; 4]>> {
    match (given, dropout) {
        (Some(_), Some(_)) | (None, None) => Ok(given),
        (None, Some(_)) => Err(Error::Operand {
            operand,
            expected: "seed, step and layer, for the request has a dropout".into(),
            got: "none".into(),
        }),
        (Some(_), None) => Err(Error::Operand {
            operand,
            expected: "none, because the request has no dropout".into(),
            got: "a state".into(),
        }),
    }
}

/// Number of elements of dα, and of α where it is an operand: 1, or one for each channel.
///
/// ```
/// use elbow::{AlphaSource, cpu::operands::alpha_length};
/// assert_eq!(alpha_length(AlphaSource::PerChannel, 8), 8);
/// ```
pub const fn alpha_length(source: AlphaSource, channels: usize) -> usize {
    match source {
        AlphaSource::Constant | AlphaSource::PerLayer => 1,
        AlphaSource::PerChannel => channels,
    }
}
