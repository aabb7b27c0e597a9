//! Layers on the CPU: [`reference`](mod@reference), in f64, judges every result; this module has its inputs and checks them ([`operands`]).
//! The fast implementation, against which the GPU is timed, is a crate of its own, `elbow-cpu`, and takes the same inputs.

pub mod operands;
pub mod reference;

use crate::{
    activation::Activation,
    criterion::Reduction,
    error::{Error, Result},
    operand::Operand,
    request::{AffineRequest, AlphaSource, Front},
    setters::setters,
};

/// The operands of forward, as slices. Each has at least as many elements as the request says; further elements are not read.
///
/// ```
/// use elbow::cpu::ForwardInputs;
/// let inputs = ForwardInputs::new(&[1.0, 2.0, -3.0, 0.5], &[0.5, 0.25]).b(Some(&[1.0]));
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ForwardInputs<'a> {
    /// Input `[M, K]`.
    pub x: &'a [f32],
    /// Weight `[N, K]` or `[K, N]`, as the request says; of a gated layer 2N for N, here and in b, unless its weights are apart.
    pub w: &'a [f32],
    /// Bias `[N]`, if and only if the request has one.
    pub b: Option<&'a [f32]>,
    /// α `[1]` or `[N]`, if and only if it is not a constant.
    pub alpha: Option<&'a [f32]>,
    /// Residual `[M, N]`, if and only if the request has one.
    pub residual: Option<&'a [f32]>,
    /// Row weight `[M]`, if and only if the request has one.
    pub row_weight: Option<&'a [f32]>,
    /// [`Dropout::state`](crate::Dropout::state), if and only if the request has a dropout.
    pub dropout_state: Option<[u32; 4]>,
    /// The operands of what is in front of the product.
    pub front: FrontInputs<'a>,
    /// Weight of up, as w, if and only if the request has a gate whose weights are apart.
    pub w_up: Option<&'a [f32]>,
    /// Its bias `[N]`, if and only if that request has biases.
    pub b_up: Option<&'a [f32]>,
}

/// The operands of a [`Front`], each there if and only if the front says so.
///
/// ```
/// use elbow::cpu::FrontInputs;
/// let inputs = FrontInputs::default().scale(Some(&[1.0, 2.0])).shift(Some(&[0.0, 0.5]));
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct FrontInputs<'a> {
    /// What multiplies each column of x, `[K]`.
    pub scale: Option<&'a [f32]>,
    /// What is added to it, `[K]`.
    pub shift: Option<&'a [f32]>,
    /// α of the activation in front of the product, `[1]` or `[K]`.
    pub alpha: Option<&'a [f32]>,
    /// Mean and variance of each column over earlier batches, `[2, K]`.
    pub running_moments: Option<&'a [f32]>,
}

setters!(FrontInputs<'a> {
    scale: Option<&'a [f32]>,
    shift: Option<&'a [f32]>,
    alpha: Option<&'a [f32]>,
    running_moments: Option<&'a [f32]>,
});

impl<'a> FrontInputs<'a> {
    /// The same operands, each cut to its length for K columns; those of a layer without a front are none. An error names the operand that is too short,
    /// missing, or given although the front has none.
    ///
    /// ```
    /// use elbow::{Activation, cpu::FrontInputs, request::Front};
    /// let front = Front::new(Activation::RELU).scale(true);
    /// assert!(FrontInputs::default().checked(Some(&front), 2).is_err());
    /// assert!(FrontInputs::default().scale(Some(&[1.0, 2.0])).checked(Some(&front), 2).is_ok());
    /// ```
    pub fn checked(&self, front: Option<&Front>, k: usize) -> Result<FrontInputs<'a>> {
        let none = Front::new(Activation::IDENTITY);
        let front = front.unwrap_or(&none);
        Ok(FrontInputs {
            scale: operands::optional(Operand::Scale, self.scale, front.scale, &[k])?,
            shift: operands::optional(Operand::Shift, self.shift, front.shift, &[k])?,
            alpha: operands::alpha(Operand::FrontAlpha, self.alpha, front.alpha, k)?,
            running_moments: operands::optional(Operand::RunningMoments, self.running_moments, front.running, &[2, k])?,
        })
    }
}

impl<'a> ForwardInputs<'a> {
    /// The operands of a layer without a bias, with a constant α.
    pub const fn new(x: &'a [f32], w: &'a [f32]) -> Self {
        let (b, alpha, residual, row_weight, dropout_state) = (None, None, None, None, None);
        let front = FrontInputs { scale: None, shift: None, alpha: None, running_moments: None };
        ForwardInputs { x, w, b, alpha, residual, row_weight, dropout_state, front, w_up: None, b_up: None }
    }
}

setters!(ForwardInputs<'a> {
    x: &'a [f32],
    w: &'a [f32],
    b: Option<&'a [f32]>,
    alpha: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    row_weight: Option<&'a [f32]>,
    dropout_state: Option<[u32; 4]>,
    front: FrontInputs<'a>,
    w_up: Option<&'a [f32]>,
    b_up: Option<&'a [f32]>,
});

impl<'a> ForwardInputs<'a> {
    /// The same operands, each cut to exactly its length. An error names an operand that is too short, missing, or given although the
    /// request has none.
    ///
    /// ```
    /// use elbow::{Activation, cpu::ForwardInputs, request::AffineRequest};
    /// let layer = AffineRequest::new(1, 1, 2, Activation::RELU); // with a bias
    /// let error = ForwardInputs::new(&[1.0, 2.0], &[0.5, 0.25]).checked(&layer).unwrap_err();
    /// assert_eq!(error.to_string(), "b: expected an operand of shape [1], got none");
    /// ```
    pub fn checked(&self, request: &AffineRequest) -> Result<ForwardInputs<'a>> {
        request.check_sizes()?;
        let (m, n, k, outputs) = (request.m, request.n, request.k, request.outputs_of_w());
        let apart = request.is_apart();
        Ok(ForwardInputs {
            x: operands::slice(Operand::X, self.x, &[m, k])?,
            w: operands::slice(Operand::W, self.w, &[outputs, k])?,
            b: operands::optional(Operand::B, self.b, request.bias, &[outputs])?,
            alpha: operands::alpha(Operand::Alpha, self.alpha, request.alpha, n)?,
            residual: operands::optional(Operand::Residual, self.residual, request.residual.is_some(), &[m, n])?,
            row_weight: operands::optional(Operand::RowWeight, self.row_weight, request.row_weight, &[m])?,
            dropout_state: operands::dropout_state(Operand::DropoutState, self.dropout_state, request.dropout)?,
            front: self.front.checked(request.front.as_ref(), k)?,
            w_up: operands::optional(Operand::WUp, self.w_up, apart, &[n, k])?,
            b_up: operands::optional(Operand::BUp, self.b_up, apart && request.bias, &[n])?,
        })
    }
}

/// An activation alone on a tensor `[rows, channels]`: y = act(x; α), with α a constant, `[1]` or `[channels]`.
///
/// ```
/// use elbow::{Activation, AlphaSource, cpu::Elementwise};
/// let request = Elementwise::new(2, 3, Activation::prelu(0.25)?).alpha(AlphaSource::PerChannel);
/// // One slope for each of the three channels; what is behind them is another's.
/// assert_eq!(request.checked_alpha(Some(&[0.1, 0.2, 0.3, 9.0]))?, Some(&[0.1, 0.2, 0.3][..]));
/// assert!(request.checked_alpha(Some(&[0.1])).is_err());
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Elementwise {
    /// Product of all dimensions but the last.
    pub rows: usize,
    /// The last dimension.
    pub channels: usize,
    /// act; its own α counts where α is a constant.
    pub activation: Activation,
    /// Whether α is a constant or an operand of `[1]` or `[channels]`.
    pub alpha: AlphaSource,
}

impl Elementwise {
    /// With a constant α.
    pub const fn new(rows: usize, channels: usize, activation: Activation) -> Self {
        Elementwise { rows, channels, activation, alpha: AlphaSource::Constant }
    }
}

setters!(Elementwise { rows: usize, channels: usize, activation: Activation, alpha: AlphaSource });

impl Elementwise {
    /// α cut to its length, None if it is a constant. An error if it is too short, missing, or given although it is a constant.
    pub fn checked_alpha<'a>(&self, given: Option<&'a [f32]>) -> Result<Option<&'a [f32]>> {
        crate::rules::check_alpha(Operand::Alpha, self.activation, self.alpha)?;
        operands::alpha(Operand::Alpha, given, self.alpha, self.channels)
    }
}

/// A softmax cross-entropy with its choices, as [`train::SoftmaxCrossEntropy`](crate::train::SoftmaxCrossEntropy) has them, without the operands of the
/// call: the mean loss of C classes, no label left out, after `new`.
///
/// ```
/// use elbow::{cpu::CrossEntropy, criterion::Reduction};
/// let request = CrossEntropy::new(2).class_weight(Some(&[1.0, 9.0])).reduction(Reduction::Sum).ignore_index(7);
/// assert_eq!([0, 1, 7].map(|label| request.counts(label)), [Some(1.0), Some(9.0), None]);
/// assert!(request.checked(&[0.0; 4], &[0, 1]).is_ok() && request.checked(&[0.0; 3], &[0, 1]).is_err()); // logits [2, 2]
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CrossEntropy<'a> {
    /// C, columns of the logits.
    pub classes: usize,
    /// The label of rows that are left out.
    pub ignore_index: Option<u32>,
    /// ε of label smoothing, from 0 to 1.
    pub label_smoothing: f64,
    /// A weight for each class, `[classes]`.
    pub class_weight: Option<&'a [f32]>,
    /// Whether the gradient and the total are those of the mean or of the sum.
    pub reduction: Reduction,
}

setters!(CrossEntropy<'a> {
    classes: usize,
    ignore_index: impl Into<Option<u32>>,
    label_smoothing: f64,
    class_weight: Option<&'a [f32]>,
    reduction: Reduction,
});

impl<'a> CrossEntropy<'a> {
    /// The mean, without smoothing or weights.
    pub const fn new(classes: usize) -> Self {
        let (ignore_index, class_weight) = (None, None);
        CrossEntropy { classes, ignore_index, label_smoothing: 0.0, class_weight, reduction: Reduction::Mean }
    }

    /// The logits, cut to their length, and the weights; an error names the operand or the parameter that does not fit.
    pub fn checked<'l>(&self, logits: &'l [f32], labels: &[u32]) -> Result<(&'l [f32], Option<&'a [f32]>)> {
        let CrossEntropy { classes, label_smoothing, .. } = *self;
        if !(0.0..=1.0).contains(&label_smoothing) {
            return Err(Error::BadParameter {
                of: "softmax_cross_entropy".into(),
                parameter: "label_smoothing".into(),
                expected: "a number from 0 to 1".into(),
                got: label_smoothing.to_string(),
            });
        }
        let logits = operands::slice(Operand::Logits, logits, &[labels.len(), classes])?;
        if classes == 0 && !labels.is_empty() {
            let expected = "[.., classes] with at least one class".into();
            return Err(Error::Shape { operand: Operand::Logits, expected, got: "0".into() });
        }
        let weights =
            operands::optional(Operand::ClassWeight, self.class_weight, self.class_weight.is_some(), &[classes])?;
        Ok((logits, weights))
    }

    /// Whether the row with this label is left out, and what its label counts in the mean.
    pub fn counts(&self, label: u32) -> Option<f32> {
        let weight = self.class_weight.map_or(Some(1.0), |weights| weights.get(label as usize).copied());
        match weight {
            _ if Some(label) == self.ignore_index => None,
            Some(weight) if weight == 0.0 && self.label_smoothing == 0.0 => None,
            // A label that is no class spoils its own row alone.
            weight => Some(weight.unwrap_or(0.0)),
        }
    }
}
