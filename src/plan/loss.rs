//! The plan of an elementwise loss: one pass over the outputs that leaves the gradient and sums each row.

use super::{
    Caps, Plan, pieces, programs,
    reduce::{self, ColumnPass, Fold},
    training,
};
use crate::{
    activation::Quantity,
    criterion::{Criterion, Reduction},
    error::Result,
    operand::Operand,
    program::{By, Function, Over, Program, Value, Write},
    request::Want,
    shape,
    storage::Storage,
};

/// An elementwise loss, without buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossRequest {
    /// M, rows of the outputs.
    pub rows: usize,
    /// N, columns of the outputs.
    pub columns: usize,
    /// The loss of an element.
    pub criterion: Criterion,
    /// What becomes of the elements.
    pub reduction: Reduction,
    /// Whether each row has a weight.
    pub row_weight: bool,
    /// Whether the positive part of a binary cross-entropy has a weight, one for each column.
    pub positive_weight: bool,
    /// Whether the mean or sum of the losses of rows is wanted too.
    pub total: bool,
    /// Whether the gradient is multiplied by a loss scale.
    pub scaled: bool,
    /// The types of the operands.
    pub storage: Storage,
}

/// Places of the factors in `Params::p`: behind the parameters of the only activation.
const OF_LOSS: u8 = 2;
const OF_GRADIENT: u8 = 3;

/// The plan of the loss of each row and of the gradient by y.
pub fn elementwise_loss(request: &LossRequest, aligned: bool, caps: &Caps) -> Result<Plan> {
    let LossRequest { rows, columns, criterion, reduction, storage, .. } = *request;
    storage.check()?;
    let activation = criterion.activation()?;
    let total = shape::elements(Operand::Y, &[rows, columns])?;
    let mut plan = Plan::default();
    if total == 0 {
        return Ok(plan);
    }
    let (m, n) = (rows as u64, columns as u64);
    let pass = ColumnPass { m, n, row_numbers: m, storage, in_place: None, fold: Fold::Sum };
    let aligned = aligned && storage.keeps_fours();
    let sums = reduce::pass(&mut plan, &pass, &program(request), &[activation], aligned, caps)?;
    let factors = reduction.factors(rows, columns).map(|factor| factor as f32);
    for dispatch in &mut plan.dispatches {
        dispatch.params.p[2..].copy_from_slice(&factors);
    }
    reduce::added_up(&mut plan, sums.rows, &programs::sum(Operand::Loss, Want::Overwrite))?;
    if request.total {
        training::total(&mut plan, m, reduction, None)?;
    }
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// The loss of an element as a term of its row's, and the gradient.
fn program(request: &LossRequest) -> Program {
    let mut p = Program::default();
    let y = p.load(Operand::Y, By::Element);
    let t = p.load(Operand::Targets, By::Element);
    let [mut loss, mut slope] = match request.criterion {
        Criterion::SquaredError => {
            let e = p.subtract(y, t);
            [p.multiply(e, e), p.add(e, e)]
        }
        Criterion::Huber { .. } => {
            let e = p.subtract(y, t);
            let clipped = p.act(0, Function::Of(Quantity::Value), e, None);
            let half = p.constant(0.5);
            let half = p.multiply(clipped, half);
            let rest = p.subtract(e, half);
            [p.multiply(clipped, rest), clipped]
        }
        Criterion::BinaryCrossEntropy => binary(&mut p, [y, t], request.positive_weight),
    };
    if request.row_weight {
        let weight = p.load(Operand::RowWeight, By::Row);
        loss = p.pass(loss, weight);
        slope = p.pass(slope, weight);
    }
    let factor = p.parameter(OF_LOSS);
    let term = p.multiply(loss, factor);
    p.reduce(Over::Columns, term);
    let factor = p.parameter(OF_GRADIENT);
    let mut gradient = p.multiply(slope, factor);
    if request.scaled {
        let scale = p.load(Operand::LossScale, By::Whole);
        gradient = p.multiply(gradient, scale);
    }
    p.store(Operand::Dy, By::Element, Write::Overwrite, gradient);
    p
}

/// With the logarithm of a sigmoid, whose slope at z is σ(−z): both parts of loss and gradient keep their digits, and an infinite logit
/// costs nothing where the target has no part in it.
fn binary(p: &mut Program, [z, t]: [Value; 2], weighted: bool) -> [Value; 2] {
    let (zero, one) = (p.constant(0.0), p.constant(1.0));
    let minus = p.subtract(zero, z);
    let of_zero = p.subtract(one, t);
    let mut of_one = t;
    if weighted {
        let weight = p.load(Operand::PositiveWeight, By::Column);
        of_one = p.multiply(t, weight);
    }
    let [log_one, log_zero] = [z, minus].map(|z| p.act(0, Function::Of(Quantity::Value), z, None));
    // The slopes of the two logarithms: σ(−z) and σ(z).
    let [not, likely] = [z, minus].map(|z| p.act(0, Function::Of(Quantity::Slope), z, None));
    let [first, second] = [(log_zero, of_zero), (log_one, of_one)].map(|(log, part)| p.pass(log, part));
    let sum = p.add(first, second);
    let loss = p.subtract(zero, sum);
    let [up, down] = [(likely, of_zero), (not, of_one)].map(|(slope, part)| p.multiply(slope, part));
    [loss, p.subtract(up, down)]
}
