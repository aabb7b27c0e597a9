//! Arithmetic of outputs that stand for classes.

use super::digits::{CLASSES, Digits};

/// A row of ten for each class, 1 there and 0 elsewhere: as dy it asks for the gradient of that class's output.
pub(crate) fn one_hot(classes: impl IntoIterator<Item = usize>) -> Vec<f32> {
    let row = |class: usize| (0..CLASSES).map(move |c| f32::from(u8::from(c == class)));
    classes.into_iter().flat_map(row).collect()
}

/// The probabilities that the outputs of a row stand for.
pub(crate) fn softmax(y: &[f32]) -> Vec<f32> {
    let most = y.iter().copied().fold(f32::MIN, f32::max);
    let total: f32 = y.iter().map(|y| (y - most).exp()).sum();
    y.iter().map(|y| (y - most).exp() / total).collect()
}

/// The mean cross-entropy of all rows.
pub(crate) fn cross_entropy(y: &[f32], data: &Digits) -> f64 {
    let of = |(y, label): (&[f32], &u32)| y.iter().map(|v| f64::from(v - y[*label as usize]).exp()).sum::<f64>().ln();
    y.chunks(CLASSES).zip(&data.labels).map(of).sum::<f64>() / data.len() as f64
}
