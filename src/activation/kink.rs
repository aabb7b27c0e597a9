//! The kinks of an activation, and its Lipschitz constant.

use super::{Activation, Kind};

/// A point where the slope, the second or third derivative or a derivative by a learnable α jumps, and the slope that is declared there
/// (PyTorch's).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Kink {
    /// z at the kink.
    pub at: f64,
    /// act'(at), as declared.
    pub slope: f64,
}

impl Activation {
    /// The kinks in ascending order, each with the slope declared there; empty for a smooth activation.
    ///
    /// ```
    /// use elbow::Activation;
    /// let kinks = Activation::RELU6.kinks();
    /// assert_eq!((kinks[0].at, kinks[0].slope, kinks[1].at, kinks[1].slope), (0.0, 0.0, 6.0, 0.0));
    /// ```
    pub fn kinks(&self) -> Vec<Kink> {
        let [a, b] = self.params.map(f64::from);
        let mut at = match self.kind {
            Kind::Hardtanh if a == b => vec![],
            Kind::Relu | Kind::LeakyRelu | Kind::Prelu | Kind::ReluSquared => vec![0.0],
            Kind::Elu | Kind::Celu | Kind::Selu | Kind::Softsign => vec![0.0],
            Kind::ClippedRelu | Kind::Relu6 if a >= 0.0 => vec![0.0, a],
            Kind::Hardtanh => vec![a, b],
            Kind::ThresholdedRelu | Kind::Threshold => vec![a],
            Kind::Softplus if b.is_finite() => vec![b / a],
            Kind::Hardswish | Kind::Hardsigmoid => vec![-3.0, 3.0],
            Kind::HardsigmoidAffine if a != 0.0 => vec![-b / a, (1.0 - b) / a],
            Kind::Softshrink | Kind::Hardshrink => vec![-a, a],
            _ => vec![],
        };
        at.sort_by(f64::total_cmp);
        at.dedup();
        at.into_iter().map(|at| Kink { at, slope: self.slope_at_kink(at) }).collect()
    }

    /// The declared slope at a kink. Not computed at `at` where that is rounded: it could be the slope of one side.
    fn slope_at_kink(&self, at: f64) -> f64 {
        match self.kind {
            Kind::HardsigmoidAffine => 0.0,
            Kind::Softplus => libm::exp(-libm::log1p(libm::exp(-f64::from(self.params[1])))),
            _ => self.slope(at),
        }
    }

    /// sup |act(u) - act(v)| / |u - v|: the largest |act'|, or inf if the slope is unbounded (relu_squared; celu with α < 0) or
    /// the function itself jumps (hardshrink, threshold, softplus with a threshold so low that f32 shows the jump).
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!((Activation::SIGMOID.lipschitz(), Activation::RELU_SQUARED.lipschitz()), (0.25, f64::INFINITY));
    /// ```
    pub fn lipschitz(&self) -> f64 {
        let [a, b] = self.params.map(f64::from);
        let flat_unless = |condition: bool| if condition { 1.0 } else { 0.0 };
        let continuous_if = |condition: bool| if condition { 1.0 } else { f64::INFINITY };
        match self.kind {
            Kind::Identity | Kind::Relu | Kind::Relu6 | Kind::Softshrink => 1.0,
            Kind::Logsigmoid | Kind::Tanh | Kind::Softsign | Kind::Tanhshrink | Kind::Squareplus => 1.0,
            Kind::LeakyRelu | Kind::Prelu | Kind::Elu => a.abs().max(1.0),
            Kind::ClippedRelu => flat_unless(a > 0.0),
            Kind::Hardtanh => flat_unless(a < b),
            Kind::ReluSquared => f64::INFINITY,
            Kind::ThresholdedRelu => continuous_if(a == 0.0),
            Kind::Threshold => continuous_if(a == b),
            Kind::Hardshrink => continuous_if(a == 0.0),
            Kind::Celu => continuous_if(a > 0.0),
            Kind::Selu => self.slope(0.0),
            // The jump at the threshold is log(1 + exp(-b)) / β, beside a value of b / β.
            Kind::Softplus => continuous_if(b == f64::INFINITY || libm::log1p(libm::exp(-b)) < b * 2f64.powi(-25)),
            Kind::Sigmoid => 0.25,
            Kind::Hardsigmoid => 1.0 / 6.0,
            Kind::HardsigmoidAffine => a.abs(),
            Kind::Hardswish => 1.5,
            Kind::GeluErf => self.slope(std::f64::consts::SQRT_2),
            Kind::GeluTanh | Kind::Mish => self.slope(self.inflection(1.0, 2.0)),
            // The slope of swish depends on βz alone.
            Kind::Swish if a == 0.0 => 0.5,
            Kind::Swish | Kind::QuickGelu | Kind::Silu => Self::SILU.slope(Self::SILU.inflection(2.0, 3.0)),
        }
    }

    /// The root of the second derivative in [low, high], where it goes from positive to negative.
    fn inflection(&self, mut low: f64, mut high: f64) -> f64 {
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.second_derivative(middle) > 0.0 { low = middle } else { high = middle }
        }
        low
    }
}
