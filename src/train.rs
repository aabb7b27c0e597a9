//! The parts of a training step beside the layers: a loss, an update and a loss scale.
//!
//! A step of a linear classifier, in one pass ([`Mlp`](crate::Mlp) does the same for many layers):
//!
//! ```no_run
//! use elbow::train::{Sgd, SoftmaxCrossEntropy};
//! use elbow::{Activation, Gpu, affine::Forward};
//! let gpu = Gpu::new()?;
//! let (x, labels) = (gpu.zeros(&[32, 64])?, gpu.upload_words(&[3; 32], &[32])?);
//! let (w, dw, velocity) = (gpu.zeros(&[10, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[10, 64])?);
//! let (logits, dlogits, loss) = (gpu.zeros(&[32, 10])?, gpu.zeros(&[32, 10])?, gpu.zeros(&[32])?);
//! let layer = Forward::new(Activation::IDENTITY, &x, &w, &logits);
//! gpu.submit_pass(|pass| {
//!     layer.record(&gpu, &mut *pass)?;
//!     SoftmaxCrossEntropy::new(&logits, &labels, &loss, &dlogits).record(&gpu, &mut *pass)?;
//!     layer.backward(&dlogits).dw(&dw).record(&gpu, &mut *pass)?;
//!     Sgd::new(&w, &dw, &velocity, 0.1).momentum(0.9).record(&gpu, &mut *pass)
//! })?;
//! # Ok::<(), elbow::Error>(())
//! ```

mod loss;
mod update;

pub use loss::Loss;
pub use update::{Advance, Update};

use crate::{
    criterion::Reduction,
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

/// Softmax cross-entropy of each row, and the gradient of the mean loss:
///
/// ```text
/// loss[m] = log Σ_c exp(logits[m, c]) − logits[m, labels[m]]        dlogits = (softmax(logits) − onehot(labels)) / M
/// ```
///
/// A label that is no class makes the loss and the whole row of the gradient NaN, which a [`LossScale`] notices. So does a logit that is
/// NaN or +∞, or a row of −∞ alone; another −∞ is a class of probability 0. All as in PyTorch.
///
/// A loss is within 8 ulp of the exact one and each element of the gradient within 12, for any number of classes in any order; a row of
/// the gradient sums to 0 within 2⁻²¹ of the sum of its absolute values. Storing as f16 or bf16 rounds once more. Each logit is read
/// twice. A row has at most 4 million classes; more are an [`Error::LimitExceeded`].
///
/// With a weight for each class ([`SoftmaxCrossEntropy::class_weight`]) loss and gradient of a row are those times the weight of its label, and the mean
/// is the weighted one, Σ loss / Σ weight, as in PyTorch.
///
/// ```no_run
/// use elbow::{Gpu, train::SoftmaxCrossEntropy};
/// let gpu = Gpu::new()?;
/// let logits = gpu.upload(&[2.0, 0.0, 0.0, 0.0, 1.0, 0.0], &[2, 3])?;
/// let (labels, loss, dlogits) = (gpu.upload_words(&[0, 1], &[2])?, gpu.zeros(&[2])?, gpu.zeros(&[2, 3])?);
/// let call = SoftmaxCrossEntropy::new(&logits, &labels, &loss, &dlogits).ignore_index(-100i32 as u32);
/// gpu.submit(|encoder| call.record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SoftmaxCrossEntropy<'a> {
    /// Scores `[.., classes]`, M rows.
    pub logits: View<'a>,
    /// The class of each row, words ([`Dtype::U32`]) `[M]`.
    pub labels: View<'a>,
    /// Receives the loss of each row, f32 `[M]`.
    pub loss: View<'a>,
    /// Receives the gradient of the mean loss, shaped as the logits; multiplied by the loss scale, if there is one.
    pub dlogits: View<'a>,
    /// State of a [`LossScale`], f32 `[4]`.
    pub loss_scale: Option<View<'a>>,
    /// The label of rows that are left out; it need not be a class. Their loss and gradient are 0 whatever their logits, and M in the
    /// formula is the number of the other rows, counted on the device; if there are none, every gradient is 0. PyTorch's -100 as a word
    /// is `-100i32 as u32`.
    pub ignore_index: Option<u32>,
    /// ε of label smoothing, from 0 to 1; 0 after `new`. The target is then 1 − ε + ε/C for the label's class of C and ε/C for every other:
    /// `loss[m]` = log Σ_c exp(`logits[m, c]`) − Σ_c target_c `logits[m, c]`, as in PyTorch. A loss is then within 8 (1 + ε) / (1 − ε) ulp,
    /// and an element of the gradient within 12 ulp of the larger of its softmax and its target. Szegedy et al. 2016.
    pub label_smoothing: f32,
    /// A weight for each class, f32 `[classes]`, for classes that are rare: PyTorch's `weight`. The target of a class is multiplied by its weight, with
    /// smoothing that of every class, and M in the formula is the sum of the weights of the labels. A row whose label has weight 0 is left out, as with
    /// `ignore_index`, unless it is smoothed. A loss is then within 9 ulp of the larger of its two terms (the row's
    /// targets times −log softmax of the label's class, and what smoothing adds), and an element of the gradient within 16 of the larger of its own: softmax times the targets of the row, and what is taken from it, the target of the class (of the label's class: those of all others).
    pub class_weight: Option<View<'a>>,
    /// Whether `dlogits` is the gradient of the mean loss, as after `new`, or of the sum: then nothing is divided by M.
    pub reduction: Reduction,
    /// Receives the mean, or the sum, of the losses, f32 `[1]`: the number that PyTorch calls the loss, without a loss scale. One dispatch more, two
    /// beyond 1024 rows; the same bits every time. The mean of no rows is NaN; a call without any rows writes nothing.
    pub total: Option<View<'a>>,
}

setters!(SoftmaxCrossEntropy<'a> {
    logits: impl Into<View<'a>>,
    labels: impl Into<View<'a>>,
    loss: impl Into<View<'a>>,
    dlogits: impl Into<View<'a>>,
    loss_scale: impl Into<Option<View<'a>>>,
    ignore_index: impl Into<Option<u32>>,
    label_smoothing: f32,
    class_weight: impl Into<Option<View<'a>>>,
    reduction: Reduction,
    total: impl Into<Option<View<'a>>>,
});

impl<'a> SoftmaxCrossEntropy<'a> {
    /// The mean, without a loss scale, smoothing or weights, no label left out.
    pub fn new(
        logits: impl Into<View<'a>>,
        labels: impl Into<View<'a>>,
        loss: impl Into<View<'a>>,
        dlogits: impl Into<View<'a>>,
    ) -> Self {
        let (logits, labels, loss, dlogits) = (logits.into(), labels.into(), loss.into(), dlogits.into());
        SoftmaxCrossEntropy {
            logits,
            labels,
            loss,
            dlogits,
            loss_scale: None,
            ignore_index: None,
            label_smoothing: 0.0,
            class_weight: None,
            reduction: Reduction::Mean,
            total: None,
        }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::Logits, self.logits).add(Operand::Labels, self.labels);
        operands.add(Operand::Loss, self.loss).add(Operand::Dlogits, self.dlogits);
        operands.add(Operand::LossScale, self.loss_scale);
        operands.add(Operand::ClassWeight, self.class_weight).add(Operand::Total, self.total);
        operands
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let (m, classes) = shape::rows_and_columns(Operand::Logits, &self.logits.shape)?;
        expect(Operand::Labels, self.labels, &[m], "labels")?;
        self.labels.words(Operand::Labels)?;
        expect(Operand::Loss, self.loss, &[m], "losses")?;
        if shape::rows_and_columns(Operand::Dlogits, &self.dlogits.shape)? != (m, classes) {
            return Err(wrong(
                Operand::Dlogits,
                format!("[.., {classes}] with {m} rows, like the logits"),
                self.dlogits,
            ));
        }
        in_f32(Operand::Loss, self.loss)?;
        if let Some(weight) = self.class_weight {
            expect(Operand::ClassWeight, weight, &[classes], "a weight for each class")?;
            in_f32(Operand::ClassWeight, weight)?;
        }
        expect_total(self.total)?;
        expect_state(self.loss_scale)?;
        let request = SoftmaxRequest {
            rows: m,
            classes,
            ignore_index: self.ignore_index,
            label_smoothing: self.label_smoothing,
            class_weight: self.class_weight.is_some(),
            reduction: self.reduction,
            total: self.total.is_some(),
            scaled: self.loss_scale.is_some(),
            storage: operands.contiguous()?,
        };
        Ok((plan::softmax_cross_entropy(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

/// Stochastic gradient descent with momentum, in PyTorch's form:
///
/// ```text
/// velocity = momentum · velocity + gradient        parameter = parameter − rate · velocity
/// ```
///
/// Each element is updated by itself, so one call can update many parameters that are stored in one tensor.
///
/// ```no_run
/// use elbow::{Gpu, train::Sgd};
/// let gpu = Gpu::new()?;
/// let (w, dw, velocity) = (gpu.zeros(&[10, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[10, 64])?);
/// gpu.submit(|encoder| Sgd::new(&w, &dw, &velocity, 0.1).momentum(0.9).record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sgd<'a> {
    /// The parameters, f32, updated in place.
    pub parameter: View<'a>,
    /// Their gradient, of the same shape.
    pub gradient: View<'a>,
    /// Their velocity, f32, of the same shape, updated in place; zeros before the first step.
    pub velocity: View<'a>,
    /// Learning rate, finite.
    pub rate: f32,
    /// Momentum, finite and not negative; 0 is plain gradient descent.
    pub momentum: f32,
    /// Mixed precision: receives the updated parameters, rounded to the type that the layers read; of the same shape.
    pub copy: Option<View<'a>>,
    /// State of a [`LossScale`] that was recorded for this gradient before: the gradient is divided by the scale, and if any of its
    /// elements is infinite or NaN, the whole update is left out.
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
    /// Plain gradient descent in f32, without momentum or loss scale.
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
        expect(Operand::ParameterGradient, self.gradient, &self.parameter.shape, "the shape of the parameter")?;
        expect(Operand::Velocity, self.velocity, &self.parameter.shape, "the shape of the parameter")?;
        if let Some(copy) = self.copy {
            expect(Operand::Copy, copy, &self.parameter.shape, "the shape of the parameter")?;
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

/// Dynamic loss scaling, for gradients that are stored in f16, where numbers below 6·10⁻⁸ become 0. The loss is multiplied by a scale; if
/// that makes a gradient of the parameters infinite or NaN, the step is left out and the scale becomes smaller. Everything happens on the
/// device: the host does not wait.
///
/// The state is four numbers: the scale of the next step; 1 / scale of this step, or 0 if it is left out; steps since the scale changed;
/// steps left out so far. Order of each step: [`SoftmaxCrossEntropy`] with the state, backward, this call, [`Sgd`] with the state. The
/// scale is a power of two, so it changes no other bit of the gradients. (Micikevicius et al. 2018; rule and numbers are those of PyTorch's
/// GradScaler.)
///
/// ```no_run
/// use elbow::train::{LossScale, Sgd, SoftmaxCrossEntropy};
/// use elbow::{Activation, Dtype, Gpu, affine::Forward};
/// let gpu = Gpu::new()?;
/// let state = gpu.upload(&LossScale::INITIAL, &[4])?;
/// let (x, labels) = (gpu.zeros_of(Dtype::F16, &[32, 64])?, gpu.upload_words(&[3; 32], &[32])?);
/// let (w, dw, velocity) = (gpu.zeros(&[10, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[10, 64])?);
/// let (w16, loss) = (gpu.zeros_of(Dtype::F16, &[10, 64])?, gpu.zeros(&[32])?);
/// let (logits, dlogits) = (gpu.zeros_of(Dtype::F16, &[32, 10])?, gpu.zeros_of(Dtype::F16, &[32, 10])?);
/// let layer = Forward::new(Activation::IDENTITY, &x, &w16, &logits);
/// gpu.submit_pass(|pass| {
///     layer.record(&gpu, &mut *pass)?;
///     SoftmaxCrossEntropy::new(&logits, &labels, &loss, &dlogits).loss_scale(&state).record(&gpu, &mut *pass)?;
///     layer.backward(&dlogits).dw(&dw).record(&gpu, &mut *pass)?;
///     LossScale::new(&dw, &state).record(&gpu, &mut *pass)?;
///     Sgd::new(&w, &dw, &velocity, 0.1).copy(&w16).loss_scale(&state).record(&gpu, &mut *pass)
/// })?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LossScale<'a> {
    /// The gradients of all parameters, f32, of any shape: they decide together.
    pub gradient: View<'a>,
    /// The state, f32 `[4]`, updated in place; before the first step [`LossScale::INITIAL`].
    pub state: View<'a>,
    /// Factor of the scale after `interval` good steps in a row, finite and above 1; 2 after `new`.
    pub growth: f32,
    /// Factor of the scale after a step that was left out, between 0 and 1; 1/2 after `new`.
    pub backoff: f32,
    /// Good steps in a row before the scale grows, at least 1; 2000 after `new`.
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
    /// The state before the first step: a scale of 65,536, as in PyTorch.
    pub const INITIAL: [f32; LOSS_SCALE as usize] = [65536.0, 0.0, 0.0, 0.0];

    /// With PyTorch's growth, backoff and interval.
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

recorded!(SoftmaxCrossEntropy, Loss, Sgd, Update, Advance, LossScale);

fn expect_state(view: Option<View<'_>>) -> Result<()> {
    let Some(view) = view else { return Ok(()) };
    expect(Operand::LossScale, view, &[LOSS_SCALE as usize], "the state of a loss scale")?;
    in_f32(Operand::LossScale, view)
}

fn expect_total(view: Option<View<'_>>) -> Result<()> {
    let Some(view) = view else { return Ok(()) };
    expect(Operand::Total, view, &[1], "one number for all rows")?;
    in_f32(Operand::Total, view)
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
