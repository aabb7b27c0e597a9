//! 0·∞ in backward: where a slope of exactly 0 stops the upstream gradient.

use super::{Activation, Kind};

impl Activation {
    /// Whether the activation is made of polynomial pieces, without exponential or root. A derivative of 0 is then exact, selected with the
    /// piece and not rounded to 0, and it stops the upstream gradient ([`Activation::passed`]). The slope is also cheap enough to be
    /// computed at each load of a tile.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert!(Activation::RELU.is_piecewise() && !Activation::TANH.is_piecewise());
    /// ```
    pub fn is_piecewise(&self) -> bool {
        self.row().from_bit || matches!(self.kind, Kind::ReluSquared | Kind::Hardswish)
    }

    /// Whether the second derivative is 0 everywhere but at kinks, of an activation that is not the identity: ReLU and its like.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert!(Activation::RELU.is_flat() && !Activation::RELU_SQUARED.is_flat() && !Activation::IDENTITY.is_flat());
    /// ```
    pub fn is_flat(&self) -> bool {
        self.row().from_bit && self.kind != Kind::Identity
    }

    /// upstream · derivative, as every backward multiplies them.
    ///
    /// If the activation is made of pieces and the derivative is 0, the result is 0, also for an infinite upstream gradient (PyTorch
    /// selects there); NaN stays NaN. Otherwise it is the product: 0·∞ is NaN.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::RELU.passed(f64::INFINITY, 0.0), 0.0);
    /// assert!(Activation::TANH.passed(f64::INFINITY, 0.0).is_nan());
    /// ```
    pub fn passed(&self, upstream: f64, derivative: f64) -> f64 {
        let stopped = self.is_piecewise() && derivative == 0.0 && !upstream.is_nan();
        if stopped { 0.0 } else { upstream * derivative }
    }
    /// v · u · derivative, alike: a derivative of 0 stops both factors, and NaN in either stays NaN.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::RELU_SQUARED.passed_both(f64::INFINITY, 3.0, 0.0), 0.0);
    /// assert_eq!(Activation::TANH.passed_both(2.0, 3.0, 0.5), 3.0);
    /// ```
    pub fn passed_both(&self, v: f64, u: f64, derivative: f64) -> f64 {
        if derivative == 0.0 { self.passed(v, derivative) + self.passed(u, derivative) } else { v * u * derivative }
    }
}
