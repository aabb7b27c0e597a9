//! How weights begin: the spread that keeps signals, or their gradients, the size they have from layer to layer.

use crate::{activation::Activation, philox::Distribution};

/// The distribution of the weights `[N, K]` of a layer that reads the outputs of an activation φ, whose moments are those of a standard
/// normal Z ([`Activation::gain`]).
///
/// ```text
/// He             normal, σ² = 1 / (K E[φ(Z)²])         the variance of z is kept forward; 2/K behind a ReLU
/// Critical       normal, σ² = 1 / (K E[φ'(Z)²])        the length of a small change is kept: the edge between order and chaos
/// Lecun          normal, σ² = 1 / K
/// Glorot         uniform within ±√(6 / (K + N))
/// GlorotNormal   normal, σ² = 2 / (K + N)
/// ```
///
/// φ is the activation of the layer below, and the identity for the first layer; so each layer of a stack with different activations has
/// its own spread. An activation that is 0 almost everywhere has no moment: then φ counts as the identity.
///
/// Sources: He et al. 2015; Poole et al. 2016 (the edge of chaos); LeCun et al. 1998; Glorot and Bengio 2010.
///
/// ```
/// use elbow::{Activation, initialisation::Initialisation, philox::Distribution};
/// let Distribution::Normal { deviation, .. } = Initialisation::He.distribution(Activation::RELU, 50, 10) else { panic!() };
/// assert!((deviation - 0.2).abs() < 1e-6); // √(2 / 50)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Initialisation {
    /// Keeps the variance of z forward.
    #[default]
    He,
    /// Keeps the length of a small change.
    Critical,
    /// For activations that keep the variance themselves, such as SELU.
    Lecun,
    /// Between forward and backward, uniform.
    Glorot,
    /// Between forward and backward, normal.
    GlorotNormal,
}

impl Initialisation {
    /// The distribution of the weights of a layer with K in and N out features behind this activation. [`random::fill`](crate::random::fill)
    /// draws from it on the device.
    pub fn distribution(self, below: Activation, k: usize, n: usize) -> Distribution {
        let [k, n] = [k, n].map(|features| features as f64);
        let behind = |moment: f64| if moment > 0.0 && moment.is_finite() { 1.0 / moment } else { 1.0 };
        let variance = match self {
            Initialisation::He => behind(below.gain().value_moment) / k.max(1.0),
            Initialisation::Critical => behind(below.gain().slope_moment) / k.max(1.0),
            Initialisation::Lecun => 1.0 / k.max(1.0),
            Initialisation::Glorot => {
                let end = (6.0 / (k + n).max(1.0)).sqrt() as f32;
                return Distribution::Uniform { low: -end, high: end };
            }
            Initialisation::GlorotNormal => 2.0 / (k + n).max(1.0),
        };
        Distribution::Normal { mean: 0.0, deviation: variance.sqrt() as f32 }
    }
}
