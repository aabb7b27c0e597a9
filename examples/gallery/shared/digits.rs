//! The digits, without the scale that a reader of new images would need.

#[path = "../../digits/data.rs"]
mod data;

pub(crate) use self::data::{CLASSES, Digits, PIXELS};
use super::Result;

/// (training, test), a fifth held out.
pub(crate) fn split(rng: &mut impl rand::Rng) -> Result<(Digits, Digits)> {
    let (training, test, _) = data::split(rng)?;
    Ok((training, test))
}
