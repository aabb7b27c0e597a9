//! What a loss measures: the elementwise losses, and how many elements become one number.

use crate::{
    activation::{Activation, Kind},
    error::{Error, Result},
};

/// The loss ℓ of an output y and its target t, and its derivative by y.
///
/// ```text
/// SquaredError          ℓ = (y − t)²                              ℓ' = 2 (y − t)
/// Huber { delta }       ℓ = c (e − c/2), e = y − t, c = e clipped to ±delta        ℓ' = c
/// BinaryCrossEntropy    ℓ = −t log σ(y) − (1 − t) log σ(−y)       ℓ' = (1 − t) σ(y) − t σ(−y)
/// ```
///
/// Huber is e²/2 up to delta and a line beyond it (PyTorch's `HuberLoss`); divided by delta it is PyTorch's `SmoothL1Loss`. The binary
/// cross-entropy takes logits (PyTorch's `BCEWithLogitsLoss`); neither form cancels, so that small losses and gradients keep their digits.
///
/// ```
/// use elbow::criterion::Criterion;
/// let huber = Criterion::Huber { delta: 1.0 };
/// assert_eq!(huber, Criterion::Huber { delta: 1.0 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Criterion {
    /// The squared difference: regression.
    SquaredError,
    /// Squared near the target, linear away from it: regression with outliers. Huber 1964.
    Huber {
        /// Where the line begins, finite and above 0.
        delta: f32,
    },
    /// The binary cross-entropy of a logit: y is a logit, t a probability, usually 0 or 1.
    BinaryCrossEntropy,
}

impl Criterion {
    /// The activation that its formula is made of: hardtanh to ±delta, or the logarithm of a sigmoid; the identity for none.
    /// [`Error::BadParameter`] for a delta that is not finite and above 0.
    ///
    /// ```
    /// use elbow::{Activation, criterion::Criterion};
    /// assert_eq!(Criterion::Huber { delta: 2.0 }.activation()?, "hardtanh(-2,2)".parse::<Activation>()?);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn activation(&self) -> Result<Activation> {
        match *self {
            Criterion::SquaredError => Ok(Activation::IDENTITY),
            Criterion::Huber { delta } if delta.is_finite() && delta > 0.0 => {
                Activation::new(Kind::Hardtanh, &[-delta, delta])
            }
            Criterion::Huber { delta } => Err(Error::BadParameter {
                of: "huber".into(),
                parameter: "delta".into(),
                expected: "a finite number > 0".into(),
                got: delta.to_string(),
            }),
            Criterion::BinaryCrossEntropy => Activation::new(Kind::Logsigmoid, &[]),
        }
    }
}

/// What the gradient is the gradient of, and how the loss of a row is made of its elements.
///
/// ```
/// use elbow::criterion::Reduction;
/// assert_eq!(Reduction::default(), Reduction::Mean);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reduction {
    /// The mean of all elements; a row's loss is the mean of its elements, so that the mean of these is that of all.
    #[default]
    Mean,
    /// The sum of all elements; a row's loss is the sum of its elements.
    Sum,
}

impl Reduction {
    /// The factors of an element's loss in its row, and of its derivative.
    ///
    /// ```
    /// use elbow::criterion::Reduction;
    /// assert_eq!(Reduction::Mean.factors(8, 4), [1.0 / 4.0, 1.0 / 32.0]);
    /// ```
    pub fn factors(self, rows: usize, columns: usize) -> [f64; 2] {
        match self {
            Reduction::Mean => [1.0 / columns as f64, 1.0 / (rows as f64 * columns as f64)],
            Reduction::Sum => [1.0, 1.0],
        }
    }
}
