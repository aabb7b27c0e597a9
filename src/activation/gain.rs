//! Second moments under a standard normal z, from which an initialisation is scaled so that the signal keeps its size.

use super::Activation;

/// Second moments of value and slope for z ~ N(0, 1), made by [`Activation::gain`].
///
/// ```
/// let gain = elbow::Activation::RELU.gain();
/// // Half of the numbers pass, and half of the gradient: both moments are 1/2.
/// assert!((gain.value_moment - 0.5).abs() < 1e-9 && (gain.he_gain() - 2f64.sqrt()).abs() < 1e-9);
/// assert!((gain.backward_gain() - 2f64.sqrt()).abs() < 1e-9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Gain {
    /// `E[act(z)²]`. Weights of variance `1 / (fan_in · E[act²])` keep the size of the signal from layer to layer.
    pub value_moment: f64,
    /// `E[act'(z)²]`. Weights of variance `1 / (fan_out · E[act'²])` keep the size of the gradient.
    pub slope_moment: f64,
}

impl Gain {
    /// `1 / √E[act²]`: the factor on the standard deviation 1/√fan_in. For relu it is √2 (He, Zhang, Ren, Sun 2015,
    /// "Delving Deep into Rectifiers", eq. 10), for leaky_relu √(2 / (1 + α²)) (eq. 15). PyTorch's `calculate_gain` agrees
    /// for these; its 5/3 for tanh and 3/4 for selu are recommendations, not moments.
    pub fn he_gain(&self) -> f64 {
        1.0 / self.value_moment.sqrt()
    }

    /// `1 / √E[act'²]`: the factor on 1/√fan_out that keeps the size of the gradient.
    pub fn backward_gain(&self) -> f64 {
        1.0 / self.slope_moment.sqrt()
    }
}

/// The end of the integrals: beyond it the normal density is below 1e-347.
const FAR: f64 = 40.0;
/// Points of the quadrature on each interval: exact for polynomials up to degree 31.
const NODES: usize = 16;

impl Activation {
    /// `E[act(z)²]` and `E[act'(z)²]` for z ~ N(0, 1): adaptive Gauss-Legendre quadrature, split at the kinks; error below 1e-10
    /// (relative for moments above 1).
    ///
    /// ```
    /// use elbow::Activation;
    /// assert!((Activation::RELU.gain().he_gain() - 2f64.sqrt()).abs() < 1e-9); // weights of standard deviation √2/√fan_in
    /// ```
    pub fn gain(&self) -> Gain {
        let rule = gauss_legendre();
        let mut cuts = vec![-FAR, -8.0, -1.0, 0.0, 1.0, 8.0, FAR];
        cuts.extend(self.kinks().iter().map(|kink| kink.at).filter(|at| at.abs() < FAR));
        cuts.sort_by(f64::total_cmp);
        let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
            let weighted = |z: f64| {
                let density = libm::exp(-0.5 * z * z) / (2.0 * std::f64::consts::PI).sqrt();
                f(z) * f(z) * density
            };
            cuts.windows(2).map(|pair| integrate(&rule, &weighted, pair[0], pair[1], 40)).sum()
        };
        Gain { value_moment: moment(&|z| self.value(z)), slope_moment: moment(&|z| self.slope(z)) }
    }
}

/// Halves the interval until the halves agree with the whole.
fn integrate(rule: &[(f64, f64)], f: &dyn Fn(f64) -> f64, low: f64, high: f64, depth: u32) -> f64 {
    let panel = |low: f64, high: f64| {
        let (centre, half) = (0.5 * (low + high), 0.5 * (high - low));
        half * rule.iter().map(|&(node, weight)| weight * f(centre + half * node)).sum::<f64>()
    };
    let middle = 0.5 * (low + high);
    let whole = panel(low, high);
    let halves = panel(low, middle) + panel(middle, high);
    let settled = (whole - halves).abs() <= 1e-14 + 1e-13 * halves.abs();
    if depth == 0 || settled || !halves.is_finite() {
        return halves;
    }
    integrate(rule, f, low, middle, depth - 1) + integrate(rule, f, middle, high, depth - 1)
}

/// Nodes and weights on [-1, 1]: the roots of the Legendre polynomial by Newton's method.
fn gauss_legendre() -> Vec<(f64, f64)> {
    let n = NODES as f64;
    let mut rule = Vec::with_capacity(NODES);
    for i in 0..NODES {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
        let mut derivative = 0.0;
        for _ in 0..20 {
            let (mut p, mut before) = (1.0, 0.0);
            for k in 0..NODES {
                let k = k as f64;
                (p, before) = (((2.0 * k + 1.0) * x * p - k * before) / (k + 1.0), p);
            }
            derivative = n * (x * p - before) / (x * x - 1.0);
            x -= p / derivative;
        }
        rule.push((x, 2.0 / ((1.0 - x * x) * derivative * derivative)));
    }
    rule
}
