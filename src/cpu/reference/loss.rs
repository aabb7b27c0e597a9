//! Softmax cross-entropy, in f64.

use crate::{
    cpu::operands,
    error::{Error, Result},
    operand::Operand,
};

/// What the loss gives.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct LossOutputs {
    /// log Σ_c exp(logits\[m, c\]) − logits\[m, labels\[m\]\], `[M]`
    pub loss: Vec<f64>,
    /// (softmax(logits) − onehot(labels)) / (rows that are not left out), `[M, classes]`
    pub dlogits: Vec<f64>,
}

/// The loss of each row and the gradient of their mean. A row whose label is `ignore_index` is left out: 0 in both. A label
/// that is no class gives NaN in both, and so does a logit that is NaN or +∞.
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
            expected: "[.., classes], at least one".into(),
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
        // All but the label, so that a loss near 0 keeps its digits.
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
