//! Softmax cross-entropy, in f64.

use crate::{
    cpu::operands,
    error::{Error, Result},
    operand::Operand,
};

/// The results of [`softmax_cross_entropy`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct LossOutputs {
    /// `loss[m]` = log Σ_c exp(`logits[m, c]`) − `logits[m, labels[m]]`, `[M]`.
    pub loss: Vec<f64>,
    /// (softmax(logits) − onehot(labels)) / (number of rows that are not left out), `[M, classes]`.
    pub dlogits: Vec<f64>,
}

/// The softmax cross-entropy of each row, and the gradient of the mean loss. A row whose label is `ignore_index` is left out: both are 0.
/// A label that is no class, or a logit that is NaN or +∞, makes both NaN.
///
/// ```
/// use elbow::cpu::reference::softmax_cross_entropy;
/// // One row, two classes of equal score: the loss is ln 2.
/// let outputs = softmax_cross_entropy(&[1.0, 1.0], &[0], 2, None)?;
/// assert_eq!((outputs.loss[0] as f32, outputs.dlogits), (std::f32::consts::LN_2, vec![-0.5, 0.5]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn softmax_cross_entropy(
    logits: &[f32],
    labels: &[u32],
    classes: usize,
    ignore_index: Option<u32>,
) -> Result<LossOutputs> {
    let logits = operands::slice(Operand::X, logits, &[labels.len(), classes])?;
    if classes == 0 && !labels.is_empty() {
        return Err(Error::Shape {
            operand: Operand::X,
            expected: "[.., classes] with at least one class".into(),
            got: "0".into(),
        });
    }
    let counted = labels.iter().filter(|label| Some(**label) != ignore_index).count() as f64;
    let mut out = LossOutputs::default();
    for (row, &label) in logits.chunks(classes.max(1)).zip(labels) {
        if Some(label) == ignore_index {
            out.loss.push(0.0);
            out.dlogits.extend(row.iter().map(|_| 0.0));
            continue;
        }
        let Some(&hit) = row.get(label as usize) else {
            out.loss.push(f64::NAN);
            out.dlogits.extend(row.iter().map(|_| f64::NAN));
            continue;
        };
        let top = row.iter().fold(f64::NEG_INFINITY, |top: f64, &z| top.max(f64::from(z)));
        let under = |z: f32| (f64::from(z) - top).exp();
        // The sum without the label's class, so that a loss near 0 keeps its digits.
        let others = row.iter().enumerate().filter(|(c, _)| *c != label as usize);
        let (rest, hit) = (others.map(|(_, &z)| under(z)).sum::<f64>(), f64::from(hit));
        let sum = rest + (hit - top).exp();
        out.loss.push(match sum.is_nan() {
            true => f64::NAN,
            false if hit == top => rest.ln_1p(),
            false => (top - hit) + sum.ln(),
        });
        out.dlogits.extend(row.iter().enumerate().map(|(c, &z)| {
            let share = if c == label as usize { -rest } else { under(z) };
            share / sum / counted
        }));
    }
    Ok(out)
}
