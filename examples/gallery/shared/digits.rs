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

/// Blank and full paper, as the images of the split by this generator are scaled.
pub(crate) fn range(rng: &mut impl rand::Rng) -> Result<[Vec<f32>; 2]> {
    let (_, _, scale) = data::split(rng)?;
    Ok([0.0, 16.0].map(|ink| {
        let mut paper = vec![ink; PIXELS];
        scale.apply(&mut paper);
        paper
    }))
}
