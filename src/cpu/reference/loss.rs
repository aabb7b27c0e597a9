//! Losses, in f64.

use crate::{
    cpu::{CrossEntropy, operands},
    criterion::{Criterion, Reduction},
    error::Result,
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
    /// The mean, or the sum, of the losses of the rows that are not left out; NaN for the mean of none.
    pub total: f64,
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
    smoothed_cross_entropy(logits, labels, classes, ignore_index, 0.0)
}

/// [`softmax_cross_entropy`] with label smoothing ε: the target is 1 − ε + ε/C for the label's class of C and ε/C for every other.
///
/// ```
/// use elbow::cpu::reference::smoothed_cross_entropy;
/// // Scores that are equal have the loss ln 2 whatever the targets.
/// let outputs = smoothed_cross_entropy(&[1.0, 1.0], &[0], 2, None, 0.5)?;
/// assert_eq!((outputs.loss[0] as f32, outputs.dlogits), (std::f32::consts::LN_2, vec![-0.25, 0.25]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn smoothed_cross_entropy(
    logits: &[f32],
    labels: &[u32],
    classes: usize,
    ignore_index: Option<u32>,
    label_smoothing: f64,
) -> Result<LossOutputs> {
    let request = CrossEntropy::new(classes).ignore_index(ignore_index).label_smoothing(label_smoothing);
    cross_entropy(&request, logits, labels)
}

/// [`softmax_cross_entropy`] with every choice: the target of a class is multiplied by its weight, and the mean is the weighted one.
///
/// ```
/// use elbow::cpu::{CrossEntropy, reference::cross_entropy};
/// // Scores that are equal, and a second class that weighs three times as much.
/// let request = CrossEntropy::new(2).class_weight(Some(&[1.0, 3.0]));
/// let outputs = cross_entropy(&request, &[0.0; 4], &[0, 1])?;
/// assert_eq!((outputs.loss[1] / outputs.loss[0], outputs.dlogits), (3.0, vec![-0.125, 0.125, 0.375, -0.375]));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn cross_entropy(request: &CrossEntropy<'_>, logits: &[f32], labels: &[u32]) -> Result<LossOutputs> {
    let (logits, weights) = request.checked(logits, labels)?;
    let CrossEntropy { classes, label_smoothing, reduction, .. } = *request;
    let weight = |class: usize| weights.map_or(1.0, |weights| f64::from(weights[class]));
    let counted: f64 = labels.iter().filter_map(|&label| request.counts(label)).map(f64::from).sum();
    let divisor = if reduction == Reduction::Mean { counted } else { 1.0 };
    let mut out = LossOutputs::default();
    for (row, &label) in logits.chunks(classes.max(1)).zip(labels) {
        if request.counts(label).is_none() {
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
        let (rest, hit) = (others.clone().map(|(_, &z)| under(z)).sum::<f64>(), f64::from(hit));
        let sum = rest + (hit - top).exp();
        let of_label = match sum.is_nan() {
            true => f64::NAN,
            false if hit == top => rest.ln_1p(),
            false => (top - hit) + sum.ln(),
        };
        let other = label_smoothing / classes as f64;
        // The targets of the other classes, and of all.
        let of_others: f64 = if other > 0.0 { others.map(|(c, _)| other * weight(c)).sum() } else { 0.0 };
        let targets = (1.0 - label_smoothing + other) * weight(label as usize) + of_others;
        let of_label = targets * of_label;
        // Every class has a target with smoothing: infinite where one has probability 0.
        out.loss.push(match other > 0.0 && of_label.is_finite() {
            true => {
                of_label + row.iter().enumerate().map(|(c, &z)| other * weight(c) * (hit - f64::from(z))).sum::<f64>()
            }
            false => of_label,
        });
        out.dlogits.extend(row.iter().enumerate().map(|(c, &z)| {
            let hit = c == label as usize;
            let share = targets * if hit { -rest } else { under(z) };
            (share / sum + if hit { of_others } else { -other * weight(c) }) / divisor
        }));
    }
    out.total = out.loss.iter().sum::<f64>() / divisor;
    Ok(out)
}

/// The results of [`elementwise_loss`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ElementwiseLoss {
    /// The loss of each row, `[M]`.
    pub loss: Vec<f64>,
    /// The gradient, `[M, N]`.
    pub dy: Vec<f64>,
    /// The mean, or the sum, of all elements.
    pub total: f64,
}

/// The loss of each row of outputs `[M, columns]`, and the gradient of the mean (or sum) of all elements.
///
/// `row_weight` has a factor for each row, `positive_weight` one of the positive part of a binary cross-entropy for each column.
///
/// ```
/// use elbow::{cpu::reference::elementwise_loss, criterion::{Criterion, Reduction}};
/// let out = elementwise_loss(Criterion::SquaredError, Reduction::Mean, 2, [&[1.0, 4.0], &[0.0, 1.0]], None, None)?;
/// assert_eq!((out.loss, out.dy), (vec![5.0], vec![1.0, 3.0])); // (1 + 9) / 2, 2 · (1, 3) / 2
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn elementwise_loss(
    criterion: Criterion,
    reduction: Reduction,
    columns: usize,
    [y, targets]: [&[f32]; 2],
    row_weight: Option<&[f32]>,
    positive_weight: Option<&[f32]>,
) -> Result<ElementwiseLoss> {
    criterion.activation()?;
    let rows = y.len() / columns.max(1);
    operands::slice(Operand::Y, y, &[rows, columns])?;
    operands::slice(Operand::Targets, targets, &[rows, columns])?;
    let optional = |operand, given: Option<&[f32]>, len: usize| {
        given.map_or(Ok(()), |given| operands::slice(operand, given, &[len]).map(drop))
    };
    optional(Operand::RowWeight, row_weight, rows)?;
    optional(Operand::PositiveWeight, positive_weight, columns)?;
    let of_elements = match reduction {
        Reduction::Mean => [1.0 / columns as f64, 1.0 / y.len() as f64],
        Reduction::Sum => [1.0, 1.0],
    };
    let mut out = ElementwiseLoss::default();
    for (m, (y, targets)) in y.chunks(columns.max(1)).zip(targets.chunks(columns.max(1))).enumerate() {
        let weight = row_weight.map_or(1.0, |weights| f64::from(weights[m]));
        let mut sum = 0.0;
        for (n, (&y, &t)) in y.iter().zip(targets).enumerate() {
            let positive = positive_weight.map_or(1.0, |weights| f64::from(weights[n]));
            let [loss, slope] = of_element(criterion, f64::from(y), f64::from(t), positive);
            sum += times(loss, weight) * of_elements[0];
            out.dy.push(times(slope, weight) * of_elements[1]);
        }
        out.loss.push(sum);
    }
    let divisor = if reduction == Reduction::Mean { rows as f64 } else { 1.0 };
    out.total = out.loss.iter().sum::<f64>() / divisor;
    Ok(out)
}

/// ℓ and ℓ' of an element.
fn of_element(criterion: Criterion, y: f64, t: f64, positive: f64) -> [f64; 2] {
    let e = y - t;
    match criterion {
        Criterion::SquaredError => [e * e, 2.0 * e],
        Criterion::Huber { delta } => {
            let delta = f64::from(delta);
            match e.abs() <= delta || e.is_nan() {
                true => [0.5 * e * e, e],
                false => [delta * (e.abs() - 0.5 * delta), delta * e.signum()],
            }
        }
        Criterion::BinaryCrossEntropy => {
            // −log σ(z), and σ(z).
            let cost = |z: f64| (-z).max(0.0) + (-z.abs()).exp().ln_1p() + if z.is_nan() { z } else { 0.0 };
            let sigmoid = |z: f64| if z < 0.0 { z.exp() / (1.0 + z.exp()) } else { 1.0 / (1.0 + (-z).exp()) };
            let loss = times(cost(-y), 1.0 - t) + times(cost(y), t * positive);
            [loss, (1.0 - t) * sigmoid(y) - t * positive * sigmoid(-y)]
        }
    }
}

/// v · by, and 0 where `by` is 0 and v is infinite.
fn times(v: f64, by: f64) -> f64 {
    if by == 0.0 && v.is_infinite() { 0.0 } else { v * by }
}
