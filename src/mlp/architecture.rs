//! What an [`Mlp`](super::Mlp) is made of: sizes, types, activations, its loss and its optimiser.

use crate::{
    activation::Activation,
    criterion::Criterion,
    dtype::Float,
    error::{Error, Result},
    initialisation::Initialisation,
    jet::Jet,
    operand::Operand,
    rates::{Rates, Rule},
    request::AlphaSource,
    rules,
    setters::setters,
};

/// The loss that an [`Mlp`](super::Mlp) is trained by.
///
/// ```
/// use elbow::{Activation, criterion::Criterion, mlp::{Architecture, Objective}};
/// let regression = Architecture::new(&[4, 32, 1], Activation::SILU, 64).objective(Criterion::SquaredError);
/// let smoothed = Architecture::new(&[64, 32, 10], Activation::SILU, 64).objective(Objective::Classes { label_smoothing: 0.1 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Objective {
    /// Softmax cross-entropy of one class for each row ([`SoftmaxCrossEntropy`](crate::train::SoftmaxCrossEntropy)); targets are u32 `[M]`.
    Classes {
        /// ε of label smoothing; 0 for none.
        label_smoothing: f32,
    },
    /// The mean of an elementwise loss ([`Loss`](crate::train::Loss)); targets are numbers, M rows of N.
    Elements(Criterion),
}

impl From<Criterion> for Objective {
    fn from(criterion: Criterion) -> Self {
        Objective::Elements(criterion)
    }
}

/// The optimiser of an [`Mlp`](super::Mlp): a rule, and its rates before the first step, which then lie on the device
/// ([`Mlp::rates`](super::Mlp::rates)).
///
/// Weights decay, biases and α do not; an ℓ1 penalty is that of learnable α alone, which then may become exactly 0: slopes of PReLU as gates.
/// Gradients are clipped by the norm of all of them if `max_norm` is finite.
///
/// ```
/// use elbow::mlp::Optimiser;
/// use elbow::rates::{Rates, Rule};
/// let adamw = Optimiser::new(Rule::AdamW, Rates::adamw(1e-3).max_norm(1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Optimiser {
    /// How parameters follow their gradient.
    pub rule: Rule,
    /// Rates before the first step.
    pub rates: Rates,
}

impl Optimiser {
    /// An optimiser by this rule.
    pub const fn new(rule: Rule, rates: Rates) -> Self {
        Optimiser { rule, rates }
    }
}

/// The sizes and types of an [`Mlp`](super::Mlp).
///
/// ```
/// use elbow::{Activation, AlphaSource, Float, mlp::Architecture};
/// // 64 features, two hidden layers, 10 classes, up to 256 rows in a batch.
/// let plain = Architecture::new(&[64, 128, 64, 10], Activation::RELU, 256);
/// let learnable = Architecture::new(&[64, 128, 10], Activation::prelu(0.25)?, 256).alpha(AlphaSource::PerChannel);
/// let mixed_precision = plain.storage(Float::F16);
/// // An activation for each layer, the last included.
/// let each = [Activation::TANH, Activation::SILU, Activation::SIGMOID];
/// let different = plain.activations(&each[..]);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Architecture<'a> {
    /// Features of the input, of each hidden layer, and of the output: `[64, 128, 64, 10]` has three layers.
    pub sizes: &'a [usize],
    /// The activation of every hidden layer; the last layer is linear.
    pub activation: Activation,
    /// An activation for each layer, the last included, in place of `activation`.
    pub activations: Option<&'a [Activation]>,
    /// Whether α is a constant or learnable, for each layer or each channel; it starts at the activation's own α. Of `activations` those
    /// that have no learnable α keep their constant one.
    pub alpha: AlphaSource,
    /// The most rows that a call may have: memory is allocated for so many.
    pub max_batch: usize,
    /// The type in which weights are read and y, z and dz are stored. With f16 or bf16 training is in mixed precision: parameters, their
    /// gradients and velocities stay f32, and so do sums. With f16 the loss is scaled ([`LossScale`](crate::train::LossScale)).
    pub storage: Float,
    /// Whether the rows of a batch are groups that carry derivatives along, through every layer. The input is then `[.., 4, K]` or `[.., 8, K]`
    /// ([`Jet`]), the output has the same groups, and the loss is one of your own, which writes [`Mlp::dz`](super::Mlp::dz) of the last layer.
    pub jet: Option<Jet>,
    /// The label of rows that are left out, such as padding: their loss and gradient are 0, and the mean is over the other rows
    /// ([`ignore_index`](crate::train::SoftmaxCrossEntropy::ignore_index)).
    pub ignore_index: Option<u32>,
    /// The loss; softmax cross-entropy after `new`.
    pub objective: Objective,
    /// The optimiser of [`Mlp::learn`](super::Mlp::learn); none after `new`: then [`Mlp::train`](super::Mlp::train) has the rates of its call.
    pub optimiser: Option<Optimiser>,
    /// How weights begin in [`Mlp::seeded`](super::Mlp::seeded); He's after `new`.
    pub initialisation: Initialisation,
}

setters!(Architecture<'a> {
    sizes: &'a [usize],
    activation: Activation,
    activations: impl Into<Option<&'a [Activation]>>,
    max_batch: usize,
    alpha: AlphaSource,
    storage: Float,
    jet: impl Into<Option<Jet>>,
    ignore_index: impl Into<Option<u32>>,
    objective: impl Into<Objective>,
    optimiser: impl Into<Option<Optimiser>>,
    initialisation: Initialisation,
});

impl<'a> Architecture<'a> {
    /// With a constant α, everything in f32, no jets, no label left out, softmax cross-entropy, no optimiser of its own.
    pub fn new(sizes: &'a [usize], activation: Activation, max_batch: usize) -> Self {
        Architecture {
            sizes,
            activation,
            activations: None,
            alpha: AlphaSource::Constant,
            max_batch,
            storage: Float::F32,
            jet: None,
            ignore_index: None,
            objective: Objective::Classes { label_smoothing: 0.0 },
            optimiser: None,
            initialisation: Initialisation::He,
        }
    }

    /// The activation of each layer, and where its α comes from; an error if sizes and activations are no layers.
    pub(super) fn layers(&self) -> Result<Vec<(Activation, AlphaSource)>> {
        let bad = |parameter: &str, expected: String, got: String| {
            Err(Error::BadParameter { of: "mlp".into(), parameter: parameter.into(), expected, got })
        };
        let Some(count) = self.sizes.len().checked_sub(1).filter(|&count| count > 0) else {
            let expected = "at least two: in features and out features";
            return bad("sizes", expected.into(), format!("{:?}", self.sizes));
        };
        let Some(each) = self.activations else {
            let last = (Activation::IDENTITY, AlphaSource::Constant);
            return Ok((1..count).map(|_| (self.activation, self.alpha)).chain([last]).collect());
        };
        if each.len() != count {
            return bad("activations", format!("{count}, one for each layer"), each.len().to_string());
        }
        let learns = |activation| rules::check_alpha(Operand::Alpha, activation, self.alpha).is_ok();
        let alpha = |activation| if learns(activation) { self.alpha } else { AlphaSource::Constant };
        Ok(each.iter().map(|&activation| (activation, alpha(activation))).collect())
    }
}
