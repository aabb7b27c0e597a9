//! Output slices: checks of their length, and that no gradient of a constant α is wanted; sums written to them, or added. For those who take the
//! same outputs to another device, such as elbow-host.

use elbow::{
    Operand,
    cpu::{Elementwise, operands},
    error::{Error, Result},
    request::{AlphaSource, Want},
};

/// The first elements of an output, as many as `shape` has. [`Error::Shape`] if there are fewer.
///
/// ```
/// use elbow::Operand;
/// assert_eq!(elbow_cpu::outputs::slice_mut(Operand::Y, &mut [1.0, 2.0, 3.0], &[2])?, [1.0, 2.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn slice_mut<'a, T>(operand: Operand, given: &'a mut [T], shape: &[usize]) -> Result<&'a mut [T]> {
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

/// The output of a gradient if it is wanted, and how it is written; an error if it is wanted but not given or too short.
///
/// ```
/// use elbow::{Operand, Want};
/// assert!(elbow_cpu::outputs::gradient(Operand::Db, None, Want::Overwrite, &[2]).is_err());
/// assert!(elbow_cpu::outputs::gradient(Operand::Db, None, Want::No, &[2])?.is_none());
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn gradient<'a>(
    operand: Operand,
    given: Option<&'a mut [f32]>,
    want: Want,
    shape: &[usize],
) -> Result<Option<(&'a mut [f32], Want)>> {
    match (given, want.wanted()) {
        (Some(given), true) => Ok(Some((slice_mut(operand, given, shape)?, want))),
        (None, true) => {
            Err(Error::Operand { operand, expected: format!("an output of shape {shape:?}"), got: "none".into() })
        }
        (_, false) => Ok(None),
    }
}

/// Writes sums to a gradient, or adds them to it.
pub(crate) fn put(out: Option<(&mut [f32], Want)>, sums: &[f64]) {
    if let Some((out, want)) = out {
        for (out, sum) in out.iter_mut().zip(sums) {
            let old = if want == Want::Accumulate { f64::from(*out) } else { 0.0 };
            *out = (old + sum) as f32;
        }
    }
}
