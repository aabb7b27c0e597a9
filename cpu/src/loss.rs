//! Elementwise losses: the loss of each row, and the gradient, in one pass.

use elbow::{
    Operand,
    activation::{Activation, Quantity},
    cpu::operands,
    criterion::{Criterion, Reduction},
    error::Result,
};

use crate::{
    activation::{Alpha, evaluate},
    outputs, threads, vectors,
};

/// Elements at a time: their parts stay in the first cache.
const CHUNK: usize = 512;
/// Elements of a block that one thread takes.
const BLOCK: usize = 64 * 1024;

/// `loss[m]` and `dy` of outputs and targets `[M, columns]`, and the mean (or sum) of all elements, which it returns: what [`elbow::train::Loss`] computes, by the same formulas. `row_weight` has M
/// factors, `positive_weight` one for each column (binary cross-entropy alone). An error names the operand that does not fit, and nothing
/// is written.
///
/// ```
/// use elbow::criterion::{Criterion, Reduction};
/// let (mut loss, mut dy) = ([0.0; 1], [0.0; 2]);
/// let parts: [&[f32]; 2] = [&[1.0, 4.0], &[0.0, 1.0]];
/// let all = elbow_cpu::elementwise_loss(Criterion::SquaredError, Reduction::Mean, 2, parts, None, None, &mut loss, &mut dy)?;
/// assert_eq!((all, loss, dy), (5.0, [5.0], [1.0, 3.0]));
/// # Ok::<(), elbow::Error>(())
/// ```
#[allow(clippy::too_many_arguments, reason = "each is an operand; the GPU's call has a setter for each")]
pub fn elementwise_loss(
    criterion: Criterion,
    reduction: Reduction,
    columns: usize,
    [y, targets]: [&[f32]; 2],
    row_weight: Option<&[f32]>,
    positive_weight: Option<&[f32]>,
    loss: &mut [f32],
    dy: &mut [f32],
) -> Result<f32> {
    let activation = criterion.activation()?;
    let rows = loss.len();
    let y = operands::slice(Operand::Y, y, &[rows, columns])?;
    let targets = operands::slice(Operand::Targets, targets, &[rows, columns])?;
    let dy = outputs::slice_mut(Operand::Dy, dy, &[rows, columns])?;
    let given = |operand, values: Option<&[f32]>, len| {
        values.map_or(Ok(()), |values| operands::slice(operand, values, &[len]).map(drop))
    };
    given(Operand::RowWeight, row_weight, rows)?;
    given(Operand::PositiveWeight, positive_weight, columns)?;
    let divisor = if reduction == Reduction::Mean { rows as f64 } else { 1.0 };
    if columns == 0 || rows == 0 {
        return Ok((0.0 / divisor) as f32);
    }
    let [of_loss, of_gradient] = reduction.factors(rows, columns);
    let one = |m: usize, loss: &mut f32, dy: &mut [f32]| {
        let at = m * columns;
        let mut sum = 0.0;
        let mut parts = [[0.0; CHUNK]; 4];
        for start in (0..columns).step_by(CHUNK) {
            let here = start..columns.min(start + CHUNK);
            let length = here.len();
            let [y, targets] = [y, targets].map(|all| &all[at + start..][..length]);
            let positive = positive_weight.map(|weights| &weights[here.clone()]);
            of_elements(criterion, &activation, [y, targets], positive, &mut parts, &mut dy[here]);
            sum += vectors::total(&parts[0][..length]);
        }
        let weight = row_weight.map_or(1.0, |weights| weights[m]);
        // A row that weighs nothing is nothing, infinite or not.
        let stopped = weight == 0.0;
        *loss = if stopped && !sum.is_nan() { 0.0 } else { (sum * f64::from(weight) * of_loss) as f32 };
        let factor = (f64::from(weight) * of_gradient) as f32;
        dy.iter_mut().for_each(|dy| *dy = if stopped && !dy.is_nan() { 0.0 } else { *dy * factor });
    };
    let each = (BLOCK / columns).max(1);
    let blocks = loss.chunks_mut(each).zip(dy.chunks_mut(each * columns)).enumerate();
    threads::each(blocks, |(block, (loss, dy))| {
        for (m, (loss, dy)) in loss.iter_mut().zip(dy.chunks_mut(columns)).enumerate() {
            one(block * each + m, loss, dy);
        }
    });
    Ok((vectors::total(loss) / divisor) as f32)
}

/// ℓ of some elements into the first of the parts, ℓ' into `slope`.
fn of_elements(
    criterion: Criterion,
    activation: &Activation,
    [y, targets]: [&[f32]; 2],
    positive: Option<&[f32]>,
    parts: &mut [[f32; CHUNK]; 4],
    slope: &mut [f32],
) {
    let length = y.len();
    let [loss, e, log, minus] = parts.each_mut().map(|part| &mut part[..length]);
    let of = |quantity, z: &[f32], out: &mut [f32]| {
        evaluate(activation, quantity, Alpha::One(activation.params()[0]), z, out)
    };
    match criterion {
        Criterion::BinaryCrossEntropy => {
            minus.iter_mut().zip(y).for_each(|(minus, y)| *minus = -y);
            // Both parts, of 0 with σ(y) and of 1 with σ(−y), are the same function of a logit and a factor.
            let of_zero = |i: usize| 1.0 - targets[i];
            let of_one = |i: usize| targets[i] * positive.map_or(1.0, |weights| weights[i]);
            let passed = |v: f32, by: f32| if by == 0.0 && !v.is_nan() { 0.0 } else { v * by };
            of(Quantity::Value, minus, log);
            (0..length).for_each(|i| loss[i] = -passed(log[i], of_zero(i)));
            of(Quantity::Value, y, log);
            (0..length).for_each(|i| loss[i] -= passed(log[i], of_one(i)));
            of(Quantity::Slope, minus, log);
            (0..length).for_each(|i| slope[i] = log[i] * of_zero(i));
            of(Quantity::Slope, y, log);
            (0..length).for_each(|i| slope[i] -= log[i] * of_one(i));
        }
        Criterion::Huber { .. } => {
            (0..length).for_each(|i| e[i] = y[i] - targets[i]);
            of(Quantity::Value, e, slope);
            (0..length).for_each(|i| loss[i] = slope[i] * (e[i] - 0.5 * slope[i]));
        }
        _ => (0..length).for_each(|i| {
            let e = y[i] - targets[i];
            (loss[i], slope[i]) = (e * e, 2.0 * e);
        }),
    }
}
