//! What x goes through in front of the product of a layer.

use super::AlphaSource;
use crate::{activation::Activation, norm::Norm, setters::setters};

/// A front: x is normalised, scaled and shifted, and goes through an activation, before it is multiplied.
///
/// ```text
/// u = (x − mean) / √(variance + ε), or x        v = scale ⊙ u + shift        the product's x = act(v; α)
/// ```
///
/// Its gradients, from the gradient dx' of what it makes: dv = dx' ⊙ act'(v; α), dscale = Σ_rows dv ⊙ u, dshift = Σ_rows dv,
/// dα = Σ dx' ⊙ ∂act/∂α, and dx from dv.
///
/// ```
/// use elbow::{Activation, Norm, request::{AffineRequest, Front}};
/// // A pre-activation layer: batch normalisation, ReLU, then the product.
/// let front = Front::new(Activation::RELU).norm(Norm::batch()).scale(true).shift(true);
/// assert!(AffineRequest::new(32, 10, 64, Activation::IDENTITY).front(front).resolve().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Front {
    /// How x is normalised, if it is.
    pub norm: Option<Norm>,
    /// Whether each column has a factor.
    pub scale: bool,
    /// Whether something is added to each column.
    pub shift: bool,
    /// The activation.
    pub activation: Activation,
    /// Where its α comes from; channels are the columns of x.
    pub alpha: AlphaSource,
    /// Whether running statistics follow those of the batch.
    pub running: bool,
}

setters!(Front {
    norm: impl Into<Option<Norm>>,
    scale: bool,
    shift: bool,
    activation: Activation,
    alpha: AlphaSource,
    running: bool,
});

impl Front {
    /// An activation alone, with a constant α.
    pub const fn new(activation: Activation) -> Self {
        Front { norm: None, scale: false, shift: false, activation, alpha: AlphaSource::Constant, running: false }
    }

    /// The norm, if its statistics depend on x.
    pub(crate) fn moving(&self) -> Option<Norm> {
        self.norm.filter(|norm| !norm.is_running())
    }
}
