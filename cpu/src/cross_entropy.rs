//! The softmax cross-entropy: the loss of each row, the gradient, and the mean or sum, by rows on all threads.

use elbow::{
    Operand,
    cpu::CrossEntropy,
    criterion::Reduction,
    error::{Error, Result},
};

use crate::{activation::exponentials, outputs, threads, vectors};

/// Elements of a block that one thread takes.
const BLOCK: usize = 64 * 1024;

/// `loss[m]` and `dlogits` of logits `[M, classes]` and a label for each row, and the mean (or sum) of the losses, which it returns: what
/// [`elbow::train::SoftmaxCrossEntropy`] computes. Exponentials are f32, their sums f64. An error names the operand that does not fit, and nothing is
/// written.
///
/// ```
/// use elbow::cpu::CrossEntropy;
/// let (mut loss, mut dlogits) = ([0.0; 1], [0.0; 2]);
/// let total = elbow_cpu::cross_entropy(&CrossEntropy::new(2), &[1.0, 1.0], &[0], &mut loss, &mut dlogits)?;
/// assert_eq!((total, loss, dlogits), (std::f32::consts::LN_2, [std::f32::consts::LN_2], [-0.5, 0.5]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn cross_entropy(
    request: &CrossEntropy<'_>,
    logits: &[f32],
    labels: &[u32],
    loss: &mut [f32],
    dlogits: &mut [f32],
) -> Result<f32> {
    let (logits, weights) = request.checked(logits, labels)?;
    let (rows, classes) = (labels.len(), request.classes);
    if loss.len() != rows {
        let expected = format!("{rows} elements, as many as labels");
        return Err(Error::Shape { operand: Operand::Loss, expected, got: loss.len().to_string() });
    }
    let dlogits = outputs::slice_mut(Operand::Dlogits, dlogits, &[rows, classes])?;
    let counted: f64 = labels.iter().filter_map(|&label| request.counts(label)).map(f64::from).sum();
    let divisor = if request.reduction == Reduction::Mean { counted } else { 1.0 };
    let weight = |class: usize| weights.map_or(1.0, |weights| f64::from(weights[class]));
    let smoothing = request.label_smoothing;
    let other = smoothing / classes as f64;
    let of_all: f64 = if other > 0.0 { (0..classes).map(|class| other * weight(class)).sum() } else { 0.0 };
    let row = |label: u32, z: &[f32], loss: &mut f32, dz: &mut [f32]| {
        let hit = match z.get(label as usize) {
            _ if request.counts(label).is_none() => {
                *loss = 0.0;
                return dz.fill(0.0);
            }
            None => {
                *loss = f32::NAN;
                return dz.fill(f32::NAN);
            }
            Some(&hit) => hit,
        };
        let label = label as usize;
        let top = vectors::largest(z);
        exponentials(z, top, dz);
        // The sum without the label's class, so that a loss near 0 keeps its digits.
        let of_hit = f64::from(std::mem::replace(&mut dz[label], 0.0));
        let rest = vectors::total(dz);
        let sum = rest + of_hit;
        let of_label = match sum.is_nan() {
            true => f64::NAN,
            false if hit == top => rest.ln_1p(),
            false => f64::from(top) - f64::from(hit) + sum.ln(),
        };
        let targets = (1.0 - smoothing) * weight(label) + of_all;
        let mut of_row = targets * of_label;
        if other > 0.0 && of_row.is_finite() {
            let far = |(class, &z): (usize, &f32)| weight(class) * (f64::from(hit) - f64::from(z));
            of_row += other * z.iter().enumerate().map(far).sum::<f64>();
        }
        *loss = of_row as f32;
        vectors::scale_all(dz, (targets / sum / divisor) as f32);
        if other > 0.0 {
            match weights {
                None => dz.iter_mut().for_each(|dz| *dz -= (other / divisor) as f32),
                Some(weights) => {
                    dz.iter_mut().zip(weights).for_each(|(dz, weight)| *dz -= (other / divisor) as f32 * weight);
                }
            }
        }
        let of_others = if other > 0.0 { of_all - other * weight(label) } else { 0.0 };
        dz[label] = ((of_others - targets * rest / sum) / divisor) as f32;
    };
    let each = (BLOCK / classes.max(1)).max(1);
    let blocks = loss.chunks_mut(each).zip(dlogits.chunks_mut(each * classes.max(1))).enumerate();
    threads::each(blocks, |(block, (loss, dlogits))| {
        for (i, (loss, dz)) in loss.iter_mut().zip(dlogits.chunks_mut(classes.max(1))).enumerate() {
            let m = block * each + i;
            row(labels[m], &logits[m * classes..][..classes], loss, dz);
        }
    });
    Ok((vectors::total(loss) / divisor) as f32)
}
