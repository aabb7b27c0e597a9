//! What a training step needs beside the layers: a loss and an update, recorded like everything else.

use crate::{
    error::{Error, Result},
    gpu::{
        Gpu,
        record::{Operands, View},
    },
    operands::recorded,
    plan::{self, Plan},
    request::Operand,
    shape,
};

/// Softmax cross-entropy over the rows of a batch:
/// loss\[m\] = log Σ_c exp(logits\[m, c\]) − logits\[m, labels\[m\]\], and dlogits = (softmax(logits) − onehot(labels)) / M, the
/// gradient of the mean loss.
///
/// A label that is no class gives a loss of NaN.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxCrossEntropy<'a> {
    /// `[.., classes]`, M rows.
    pub logits: View<'a>,
    /// u32 words `[M]`.
    pub labels: View<'a>,
    /// The loss of each row, `[M]`.
    pub loss: View<'a>,
    /// Gradient of the mean loss, shaped as the logits.
    pub dlogits: View<'a>,
}

impl<'a> SoftmaxCrossEntropy<'a> {
    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.logits).add(Operand::Saved, self.labels);
        operands.add(Operand::Y, self.loss).add(Operand::Dx, self.dlogits);
        operands
    }

    /// What will run. Errors name the logits x, the labels saved, the loss y and the gradient dx.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let (m, classes) = shape::rows_and_columns(Operand::X, self.logits.shape)?;
        expect(Operand::Saved, self.labels, &[m], "labels")?;
        expect(Operand::Y, self.loss, &[m], "losses")?;
        if shape::rows_and_columns(Operand::Dx, self.dlogits.shape)? != (m, classes) {
            return Err(wrong(Operand::Dx, format!("[.., {classes}] with {m} rows, as the logits"), self.dlogits));
        }
        plan::softmax_cross_entropy(m, classes, &gpu.caps())
    }
}

/// Stochastic gradient descent with momentum, as PyTorch has it:
/// velocity = momentum · velocity + gradient; parameter −= rate · velocity.
///
/// Nothing in it knows where one tensor ends: parameters that lie side by side are updated by one call.
#[derive(Debug, Clone, Copy)]
pub struct Sgd<'a> {
    /// Updated in place.
    pub parameter: View<'a>,
    /// Its gradient, of the same shape.
    pub gradient: View<'a>,
    /// Updated in place, of the same shape; zeros before the first step.
    pub velocity: View<'a>,
    /// Learning rate.
    pub rate: f32,
    /// Momentum; 0 is plain descent.
    pub momentum: f32,
}

impl<'a> Sgd<'a> {
    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::W, self.parameter).add(Operand::Dw, self.gradient).add(Operand::Y, self.velocity);
        operands
    }

    /// What will run. Errors name the parameter w, the gradient dw and the velocity y.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let elements = shape::elements(Operand::W, self.parameter.shape)?;
        expect(Operand::Dw, self.gradient, self.parameter.shape, "the gradient of the parameter")?;
        expect(Operand::Y, self.velocity, self.parameter.shape, "the velocity of the parameter")?;
        plan::sgd(elements as usize, self.rate, self.momentum, &gpu.caps())
    }
}

recorded!(SoftmaxCrossEntropy, Sgd);

fn expect(operand: Operand, view: View<'_>, shape: &[usize], what: &str) -> Result<()> {
    if view.shape == shape { Ok(()) } else { Err(wrong(operand, format!("{shape:?}, {what}"), view)) }
}

fn wrong(operand: Operand, expected: String, got: View<'_>) -> Error {
    Error::Shape { operand, expected, got: format!("{:?}", got.shape) }
}
