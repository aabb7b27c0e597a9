//! What a training step needs beside the layers: a loss, an update and a loss scale, recorded like everything else.

use crate::{
    dtype::Dtype,
    error::{Error, Result},
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::recorded,
    plan::{self, LOSS_SCALE, LossScaleRequest, Plan, SgdRequest, SoftmaxRequest},
    setters::setters,
    shape,
    view::View,
};

/// Softmax cross-entropy over the rows of a batch:
/// loss\[m\] = log Σ_c exp(logits\[m, c\]) − logits\[m, labels\[m\]\], and dlogits = (softmax(logits) − onehot(labels)) / M, the
/// gradient of the mean loss.
///
/// A label that is no class gives NaN, as loss and in the whole row of the gradient, so that a [`LossScale`] notices. So do
/// a logit that is NaN or +∞, and a row of nothing but −∞; −∞ elsewhere is a class without a share (PyTorch's answers).
///
/// Loss and gradient come from the same sums. A loss is within 8 ulp of the right one and each element of the gradient within
/// 12, whatever the number of classes and their order; a row of the gradient sums to 0 within 2⁻²¹ of the sum of its absolute
/// values. What is stored as f16 or bf16 is then rounded once. Each logit is read twice. A row has at most 4 million
/// classes: beyond, [`Error::LimitExceeded`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SoftmaxCrossEntropy<'a> {
    /// `[.., classes]`, M rows.
    pub logits: View<'a>,
    /// Words ([`Dtype::U32`]), `[M]`.
    pub labels: View<'a>,
    /// The loss of each row, `[M]`.
    pub loss: View<'a>,
    /// Gradient of the mean loss, shaped as the logits; times the loss scale, if there is one.
    pub dlogits: View<'a>,
    /// State of a [`LossScale`].
    pub loss_scale: Option<View<'a>>,
    /// The label of rows that are left out, a class or not: their loss and their gradient are 0 whatever their logits are, and
    /// the mean is over the other rows, M being their number. (Counted on the device. Where there is no other row every gradient is 0; the mean of
    /// the losses is 0 / 0, as in PyTorch.) PyTorch's -100 as a word is `-100i32 as u32`.
    pub ignore_index: Option<u32>,
}

setters!(SoftmaxCrossEntropy<'a> {
    logits: impl Into<View<'a>>,
    labels: impl Into<View<'a>>,
    loss: impl Into<View<'a>>,
    dlogits: impl Into<View<'a>>,
    loss_scale: impl Into<Option<View<'a>>>,
    ignore_index: impl Into<Option<u32>>,
});

impl<'a> SoftmaxCrossEntropy<'a> {
    /// Of the loss as it is, no label left out.
    pub fn new(
        logits: impl Into<View<'a>>,
        labels: impl Into<View<'a>>,
        loss: impl Into<View<'a>>,
        dlogits: impl Into<View<'a>>,
    ) -> Self {
        let (logits, labels, loss, dlogits) = (logits.into(), labels.into(), loss.into(), dlogits.into());
        SoftmaxCrossEntropy { logits, labels, loss, dlogits, loss_scale: None, ignore_index: None }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::Logits, self.logits).add(Operand::Labels, self.labels);
        operands.add(Operand::Loss, self.loss).add(Operand::Dlogits, self.dlogits);
        operands.add(Operand::LossScale, self.loss_scale);
        operands
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let (m, classes) = shape::rows_and_columns(Operand::Logits, &self.logits.shape)?;
        expect(Operand::Labels, self.labels, &[m], "labels")?;
        self.labels.words(Operand::Labels)?;
        expect(Operand::Loss, self.loss, &[m], "losses")?;
        if shape::rows_and_columns(Operand::Dlogits, &self.dlogits.shape)? != (m, classes) {
            return Err(wrong(Operand::Dlogits, format!("[.., {classes}] with {m} rows, as the logits"), self.dlogits));
        }
        in_f32(Operand::Loss, self.loss)?;
        expect_state(self.loss_scale)?;
        let request = SoftmaxRequest {
            rows: m,
            classes,
            ignore_index: self.ignore_index,
            scaled: self.loss_scale.is_some(),
            storage: operands.contiguous()?,
        };
        Ok((plan::softmax_cross_entropy(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

/// Stochastic gradient descent with momentum, as PyTorch has it:
/// velocity = momentum · velocity + gradient; parameter −= rate · velocity.
///
/// Nothing in it knows where one tensor ends: parameters that lie side by side are updated by one call.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sgd<'a> {
    /// Updated in place.
    pub parameter: View<'a>,
    /// Its gradient, of the same shape.
    pub gradient: View<'a>,
    /// Updated in place, of the same shape; zeros before the first step.
    pub velocity: View<'a>,
    /// Learning rate, finite.
    pub rate: f32,
    /// Momentum, finite and not negative; 0 is plain descent.
    pub momentum: f32,
    /// Mixed precision: the parameters once more, of the same shape, in the type that the products read.
    pub copy: Option<View<'a>>,
    /// State of a [`LossScale`], after its record for this gradient: the gradient is divided by the scale, and where it is not
    /// finite the whole update is left out.
    pub loss_scale: Option<View<'a>>,
}

setters!(Sgd<'a> {
    parameter: impl Into<View<'a>>,
    gradient: impl Into<View<'a>>,
    velocity: impl Into<View<'a>>,
    rate: f32,
    momentum: f32,
    copy: impl Into<Option<View<'a>>>,
    loss_scale: impl Into<Option<View<'a>>>,
});

impl<'a> Sgd<'a> {
    /// Plain descent at a rate, in f32: set what else there is.
    pub fn new(
        parameter: impl Into<View<'a>>,
        gradient: impl Into<View<'a>>,
        velocity: impl Into<View<'a>>,
        rate: f32,
    ) -> Self {
        let (parameter, gradient, velocity) = (parameter.into(), gradient.into(), velocity.into());
        Sgd { parameter, gradient, velocity, rate, momentum: 0.0, copy: None, loss_scale: None }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands
            .add(Operand::Parameter, self.parameter)
            .add(Operand::ParameterGradient, self.gradient)
            .add(Operand::Velocity, self.velocity);
        operands.add(Operand::Copy, self.copy).add(Operand::LossScale, self.loss_scale);
        operands
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let elements = shape::elements(Operand::Parameter, &self.parameter.shape)?;
        expect(Operand::ParameterGradient, self.gradient, &self.parameter.shape, "the gradient of the parameter")?;
        expect(Operand::Velocity, self.velocity, &self.parameter.shape, "the velocity of the parameter")?;
        if let Some(copy) = self.copy {
            expect(Operand::Copy, copy, &self.parameter.shape, "the parameter in another type")?;
        }
        in_f32(Operand::Parameter, self.parameter)?;
        in_f32(Operand::Velocity, self.velocity)?;
        expect_state(self.loss_scale)?;
        let request = SgdRequest {
            elements: elements as usize,
            rate: self.rate,
            momentum: self.momentum,
            scaled: self.loss_scale.is_some(),
            copy: self.copy.is_some(),
            storage: operands.contiguous()?,
        };
        Ok((plan::sgd(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

/// Dynamic loss scaling, for gradients that pass through f16: the loss is multiplied by a scale, so that small gradients
/// do not vanish below 6·10⁻⁸; a scale that makes one of them infinite shows in the gradients of the parameters, and the step is left
/// out. All of it on the device: nothing is waited for.
///
/// The state is four numbers: the scale of the next step; 1 / scale of this one, or 0 where it is left out; steps since the
/// scale changed; steps left out. Each step: [`SoftmaxCrossEntropy`] with the state, backward, this, [`Sgd`] with the
/// state. The scale, powers of two throughout, changes no gradient otherwise. (Micikevicius et al. 2018; the rule and the
/// numbers are those of PyTorch's GradScaler.)
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LossScale<'a> {
    /// Gradients of all parameters, in f32.
    pub gradient: View<'a>,
    /// `[4]`, at first [`LossScale::INITIAL`].
    pub state: View<'a>,
    /// Factor of the scale after `interval` good steps in a row, finite and above 1: 2.
    pub growth: f32,
    /// Factor of the scale after a step that was left out, between 0 and 1: 1/2.
    pub backoff: f32,
    /// Good steps in a row, at least 1: 2000.
    pub interval: u32,
}

setters!(LossScale<'a> {
    gradient: impl Into<View<'a>>,
    state: impl Into<View<'a>>,
    growth: f32,
    backoff: f32,
    interval: u32,
});

impl<'a> LossScale<'a> {
    /// The state to begin with: a scale of 65,536.
    pub const INITIAL: [f32; LOSS_SCALE as usize] = [65536.0, 0.0, 0.0, 0.0];

    /// With the usual numbers.
    pub fn new(gradient: impl Into<View<'a>>, state: impl Into<View<'a>>) -> Self {
        LossScale { gradient: gradient.into(), state: state.into(), growth: 2.0, backoff: 0.5, interval: 2000 }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::ParameterGradient, self.gradient).add(Operand::LossScale, self.state);
        operands
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let elements = shape::elements(Operand::ParameterGradient, &self.gradient.shape)? as usize;
        in_f32(Operand::ParameterGradient, self.gradient)?;
        expect_state(Some(self.state))?;
        let LossScale { growth, backoff, interval, .. } = *self;
        operands.contiguous()?;
        Ok((plan::loss_scale(&LossScaleRequest { elements, growth, backoff, interval }, &gpu.caps())?, operands))
    }
}

recorded!(SoftmaxCrossEntropy, Sgd, LossScale);

fn expect_state(view: Option<View<'_>>) -> Result<()> {
    let Some(view) = view else { return Ok(()) };
    expect(Operand::LossScale, view, &[LOSS_SCALE as usize], "the state of a loss scale")?;
    in_f32(Operand::LossScale, view)
}

fn in_f32(operand: Operand, view: View<'_>) -> Result<()> {
    match view.dtype {
        Dtype::F32 => Ok(()),
        dtype => Err(Error::Operand { operand, expected: "f32".into(), got: dtype.name().into() }),
    }
}

fn expect(operand: Operand, view: View<'_>, shape: &[usize], what: &str) -> Result<()> {
    if view.shape == *shape { Ok(()) } else { Err(wrong(operand, format!("{shape:?}, {what}"), view)) }
}

fn wrong(operand: Operand, expected: String, got: View<'_>) -> Error {
    Error::Shape { operand, expected, got: format!("{:?}", got.shape) }
}
