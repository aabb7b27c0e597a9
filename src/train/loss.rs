//! Losses of outputs and targets, element by element.

use super::{expect, expect_state, expect_total, in_f32, wrong};
use crate::{
    criterion::{Criterion, Reduction},
    error::Result,
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::{expect_row_numbers, expect_vector},
    plan::{self, LossRequest, Plan},
    setters::setters,
    shape,
    view::View,
};

/// A loss of outputs y and targets, for each row, and the gradient of its mean (or sum) over everything, in one pass:
///
/// ```text
/// loss[m] = 1/N Σ_n ℓ(y[m, n], targets[m, n])        dy = ℓ'(y, targets) / (M N)
/// ```
///
/// ℓ is a [`Criterion`]: the squared error, Huber's, the binary cross-entropy of a logit. With [`Reduction::Sum`] there is neither 1/N nor
/// 1/(M N). The mean of `loss`, which `total` receives, is what PyTorch's losses give for `reduction="mean"`.
///
/// y, targets and dy may be f32, f16 or bf16, each by itself, and have gaps between rows; sums are f32. NaN gives NaN, and an infinite
/// output the limit. ℓ is within 8 ulp, dy too but for what cancels in y − t and, where t is neither 0 nor 1, in σ(y) − t.
///
/// ```no_run
/// use elbow::criterion::Criterion;
/// use elbow::{Gpu, train::Loss};
/// let gpu = Gpu::new()?;
/// let (y, targets) = (gpu.upload(&[0.5, 2.0], &[2, 1])?, gpu.upload(&[1.0, 2.0], &[2, 1])?);
/// let (loss, dy) = (gpu.zeros(&[2])?, gpu.zeros(&[2, 1])?);
/// let call = Loss::new(Criterion::SquaredError, &y, &targets, &loss, &dy);
/// gpu.submit(|encoder| call.record(&gpu, encoder))?;
/// assert_eq!(gpu.download(&loss)?, [0.25, 0.0]);
/// assert_eq!(gpu.download(&dy)?, [-0.5, 0.0]); // 2 (y - t) / 2
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Loss<'a> {
    /// The loss of an element.
    pub criterion: Criterion,
    /// Outputs `[.., N]`, M rows.
    pub y: View<'a>,
    /// What they should be, M rows of N.
    pub targets: View<'a>,
    /// Receives the loss of each row, f32 `[M]`.
    pub loss: View<'a>,
    /// Receives the gradient, M rows of N; multiplied by the loss scale, if there is one.
    pub dy: View<'a>,
    /// The mean of all elements, or their sum; the mean after `new`.
    pub reduction: Reduction,
    /// A factor for the loss and the gradient of each row, M numbers: 0 leaves a row out, infinite or not, unless it is NaN. The mean
    /// still counts every row.
    pub row_weight: Option<View<'a>>,
    /// For the binary cross-entropy: a factor of the positive part, t log σ(y), f32 `[N]` (PyTorch's `pos_weight`).
    pub positive_weight: Option<View<'a>>,
    /// State of a [`LossScale`](super::LossScale), f32 `[4]`.
    pub loss_scale: Option<View<'a>>,
    /// Receives the mean, or the sum, of all elements' losses, f32 `[1]`: the number that PyTorch calls the loss, without a loss scale. One dispatch
    /// more, two beyond 1024 rows; the same bits every time. A call without any elements writes nothing.
    pub total: Option<View<'a>>,
}

setters!(Loss<'a> {
    criterion: Criterion,
    y: impl Into<View<'a>>,
    targets: impl Into<View<'a>>,
    loss: impl Into<View<'a>>,
    dy: impl Into<View<'a>>,
    reduction: Reduction,
    row_weight: impl Into<Option<View<'a>>>,
    positive_weight: impl Into<Option<View<'a>>>,
    loss_scale: impl Into<Option<View<'a>>>,
    total: impl Into<Option<View<'a>>>,
});

impl<'a> Loss<'a> {
    /// The mean, without weights or a loss scale.
    pub fn new(
        criterion: Criterion,
        y: impl Into<View<'a>>,
        targets: impl Into<View<'a>>,
        loss: impl Into<View<'a>>,
        dy: impl Into<View<'a>>,
    ) -> Self {
        let (y, targets, loss, dy) = (y.into(), targets.into(), loss.into(), dy.into());
        let (row_weight, positive_weight, loss_scale, total) = (None, None, None, None);
        let reduction = Reduction::Mean;
        Loss { criterion, y, targets, loss, dy, reduction, row_weight, positive_weight, loss_scale, total }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::Y, self.y).add(Operand::Targets, self.targets);
        operands.add(Operand::Loss, self.loss).add(Operand::Dy, self.dy);
        operands.add(Operand::RowWeight, self.row_weight).add(Operand::PositiveWeight, self.positive_weight);
        operands.add(Operand::LossScale, self.loss_scale).add(Operand::Total, self.total);
        operands
    }

    pub(super) fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let (rows, columns) = shape::rows_and_columns(Operand::Y, &self.y.shape)?;
        for (operand, view) in [(Operand::Targets, self.targets), (Operand::Dy, self.dy)] {
            if shape::rows_and_columns(operand, &view.shape)? != (rows, columns) {
                return Err(wrong(operand, format!("[.., {columns}] with {rows} rows, like y"), view));
            }
        }
        expect(Operand::Loss, self.loss, &[rows], "losses")?;
        in_f32(Operand::Loss, self.loss)?;
        expect_row_numbers(Operand::RowWeight, self.row_weight, rows)?;
        expect_vector(Operand::PositiveWeight, self.positive_weight, columns)?;
        if self.positive_weight.is_some() && self.criterion != Criterion::BinaryCrossEntropy {
            return Err(crate::Error::Operand {
                operand: Operand::PositiveWeight,
                expected: "none, because only a binary cross-entropy has a positive part".into(),
                got: "an operand".into(),
            });
        }
        self.positive_weight.map_or(Ok(()), |weight| in_f32(Operand::PositiveWeight, weight))?;
        expect_state(self.loss_scale)?;
        expect_total(self.total)?;
        let request = LossRequest {
            rows,
            columns,
            criterion: self.criterion,
            reduction: self.reduction,
            row_weight: self.row_weight.is_some(),
            positive_weight: self.positive_weight.is_some(),
            total: self.total.is_some(),
            scaled: self.loss_scale.is_some(),
            storage: operands.storage(false)?,
        };
        Ok((plan::elementwise_loss(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}
