//! The mathematics in f64, which judges every shader and the CPU implementations.
//!
//! Each activation is one arm of [`jet`]: value, slope, second and third derivative, the derivatives of the first three with respect
//! to α, and the second derivative by α, in forms that cancel only at true roots. NaN gives NaN, ±inf the limit; kinks take the slope that is declared. α may be any number, because a
//! learnable one may become any: outside of its domain the formula holds where it is defined, its limit for an infinite α, else NaN
//! (table in docs/numerics.md). Logarithms and exponentials come from the `libm` crate, so that results are the same on every machine.

mod smooth;

use libm::{exp, expm1, log1p, sqrt};

use self::smooth::{Logistic, celu, gelu_erf, gelu_tanh, mish, sech2, softplus, squareplus, swish, tanh, tanhshrink};
use super::{Activation, Kind};

/// One of the eight functions that an activation is made of: itself and its derivatives by z, and their derivatives by α.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// act(z).
    Value,
    /// act'(z) = ∂act/∂z.
    Slope,
    /// act''(z) = ∂²act/∂z².
    SecondDerivative,
    /// act'''(z) = ∂³act/∂z³.
    ThirdDerivative,
    /// ∂act/∂α.
    AlphaSlope,
    /// ∂²act/∂z∂α.
    MixedDerivative,
    /// ∂³act/∂z²∂α.
    MixedThirdDerivative,
    /// ∂²act/∂α².
    SecondAlphaDerivative,
}

impl Quantity {
    /// All eight, in the order of the table's tolerances: first those without a derivative by α.
    pub const ALL: [Quantity; 8] = [
        Quantity::Value,
        Quantity::Slope,
        Quantity::SecondDerivative,
        Quantity::ThirdDerivative,
        Quantity::AlphaSlope,
        Quantity::MixedDerivative,
        Quantity::MixedThirdDerivative,
        Quantity::SecondAlphaDerivative,
    ];
    /// How many of [`Quantity::ALL`] every activation has: those by z alone.
    pub(super) const BY_Z: usize = 4;

    /// Whether it is a derivative by α, which only rows with a learnable α have.
    ///
    /// ```
    /// use elbow::activation::Quantity;
    /// assert!(Quantity::MixedThirdDerivative.is_by_alpha() && !Quantity::ThirdDerivative.is_by_alpha());
    /// ```
    pub const fn is_by_alpha(self) -> bool {
        self as usize >= Quantity::BY_Z
    }

    /// The name of its function in `shaders/activation`.
    ///
    /// ```
    /// use elbow::activation::Quantity;
    /// assert_eq!([Quantity::Value.wgsl_name(), Quantity::Slope.wgsl_name()], ["act", "act_dz"]);
    /// ```
    pub const fn wgsl_name(self) -> &'static str {
        match self {
            Quantity::Value => "act",
            Quantity::Slope => "act_dz",
            Quantity::SecondDerivative => "act_dzz",
            Quantity::ThirdDerivative => "act_dzzz",
            Quantity::AlphaSlope => "act_da",
            Quantity::MixedDerivative => "act_dzda",
            Quantity::MixedThirdDerivative => "act_dzzda",
            Quantity::SecondAlphaDerivative => "act_dada",
        }
    }
}

/// All quantities at one z, and for each the sum of the absolute values of the terms of its formula.
#[derive(Debug, Clone, Copy)]
struct Jet {
    at: [f64; 8],
    terms: [f64; 8],
}

impl Jet {
    /// Value, slope, second and third derivative; with derivatives by α of 0.
    fn plain(by_z: [f64; 4]) -> Self {
        Self::with_alpha(by_z, [0.0; 4])
    }

    /// And the derivatives of value, slope and second derivative by α, and the second of the value.
    fn with_alpha([value, slope, second, third]: [f64; 4], by_alpha: [f64; 4]) -> Self {
        let [of_value, of_slope, of_second, twice] = by_alpha;
        let at = [value, slope, second, third, of_value, of_slope, of_second, twice];
        Jet { at, terms: at.map(f64::abs) }
    }

    /// For z = NaN, and for an α for which the formula is not defined.
    const NAN: Jet = Jet { at: [f64::NAN; 8], terms: [f64::NAN; 8] };

    /// On a straight line.
    fn line(value: f64, slope: f64) -> Self {
        Self::plain([value, slope, 0.0, 0.0])
    }

    /// On a straight line that moves with α, and turns with it.
    fn moving_line(value: f64, slope: f64, of_value: f64, of_slope: f64) -> Self {
        Self::with_alpha([value, slope, 0.0, 0.0], [of_value, of_slope, 0.0, 0.0])
    }

    /// The same with a constant α.
    fn without_alpha(mut self) -> Self {
        self.at[Quantity::BY_Z..].fill(0.0);
        self.terms[Quantity::BY_Z..].fill(0.0);
        self
    }

    /// Sets the sum of |terms| of a quantity, where that is not |quantity|: near a root.
    fn terms(mut self, quantity: Quantity, terms: f64) -> Self {
        self.terms[quantity as usize] = terms;
        self
    }
}

impl Activation {
    /// act(z) in f64. NaN gives NaN, ±inf the limit.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!((Activation::RELU.value(-2.0), Activation::TANH.value(f64::INFINITY)), (0.0, 1.0));
    /// ```
    pub fn value(&self, z: f64) -> f64 {
        self.evaluate(Quantity::Value, z)
    }

    /// act'(z). At a kink it is the slope that [`Activation::kinks`] declares.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!((Activation::RELU.slope(0.0), Activation::SIGMOID.slope(0.0)), (0.0, 0.25));
    /// ```
    pub fn slope(&self, z: f64) -> f64 {
        self.evaluate(Quantity::Slope, z)
    }

    /// act''(z). At a kink the impulse that a jump of the slope would add is left out.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::RELU_SQUARED.second_derivative(3.0), 2.0);
    /// ```
    pub fn second_derivative(&self, z: f64) -> f64 {
        self.evaluate(Quantity::SecondDerivative, z)
    }

    /// act'''(z). At a kink, where a derivative below jumps, the impulse of the jump is left out; of pieces that meet there it is that of
    /// the piece whose slope is declared.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!((Activation::TANH.third_derivative(0.0), Activation::RELU_SQUARED.third_derivative(0.0)), (-2.0, 0.0));
    /// ```
    pub fn third_derivative(&self, z: f64) -> f64 {
        self.evaluate(Quantity::ThirdDerivative, z)
    }

    /// ∂act/∂α at z; 0 for an activation without a learnable α.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::prelu(0.25)?.alpha_slope(-2.0), -2.0);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn alpha_slope(&self, z: f64) -> f64 {
        self.evaluate(Quantity::AlphaSlope, z)
    }

    /// ∂²act/∂z∂α at z; 0 for an activation without a learnable α.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::prelu(0.25)?.mixed_derivative(-2.0), 1.0);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn mixed_derivative(&self, z: f64) -> f64 {
        self.evaluate(Quantity::MixedDerivative, z)
    }

    /// ∂³act/∂z²∂α at z; 0 for an activation without a learnable α.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::swish(1.0)?.mixed_third_derivative(0.0), 0.5);
    /// # Ok::<(), elbow::error::Error>(())
    /// ```
    pub fn mixed_third_derivative(&self, z: f64) -> f64 {
        self.evaluate(Quantity::MixedThirdDerivative, z)
    }

    /// ∂²act/∂α² at z; 0 for an activation without a learnable α.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::squareplus(1.0)?.second_alpha_derivative(0.0), -0.125);
    /// # Ok::<(), elbow::error::Error>(())
    /// ```
    pub fn second_alpha_derivative(&self, z: f64) -> f64 {
        self.evaluate(Quantity::SecondAlphaDerivative, z)
    }

    /// Any of the quantities at z.
    ///
    /// ```
    /// use elbow::{Activation, activation::Quantity};
    /// assert_eq!(Activation::RELU.evaluate(Quantity::Slope, 2.0), 1.0);
    /// ```
    pub fn evaluate(&self, quantity: Quantity, z: f64) -> f64 {
        jet(self, z).at[quantity as usize]
    }

    /// The sum of the absolute values of the terms of the quantity's formula at z: the scale of its error bound. It is |quantity|, except
    /// for derivatives near a root, where a relative bound could not be met, and for the value of hardsigmoid(slope,
    /// offset) near its lower kink.
    ///
    /// ```
    /// use elbow::{Activation, activation::Quantity};
    /// let at_root = -1.5; // of the slope of hardswish
    /// assert_eq!(Activation::HARDSWISH.slope(at_root), 0.0);
    /// assert_eq!(Activation::HARDSWISH.terms(Quantity::Slope, at_root), 1.0);
    /// ```
    pub fn terms(&self, quantity: Quantity, z: f64) -> f64 {
        jet(self, z).terms[quantity as usize]
    }

    /// All quantities at z in the order of [`Quantity::ALL`], and the [`Activation::terms`] of each.
    ///
    /// ```
    /// let (quantities, _terms) = elbow::Activation::RELU.evaluate_all(2.0);
    /// assert_eq!(quantities, [2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    /// ```
    pub fn evaluate_all(&self, z: f64) -> ([f64; 8], [f64; 8]) {
        let Jet { at, terms } = jet(self, z);
        (at, terms)
    }

    /// act'(z) from y = act(z), for rows with [`super::Row::from_y`]; NaN for the others.
    ///
    /// ```
    /// assert_eq!(elbow::Activation::SIGMOID.slope_of_y(0.5), 0.25);
    /// ```
    pub fn slope_of_y(&self, y: f64) -> f64 {
        let [a, b] = self.params.map(f64::from);
        if y.is_nan() {
            return f64::NAN;
        }
        let step = |above: bool, low: f64| if above { 1.0 } else { low };
        match self.kind {
            Kind::Identity => 1.0,
            Kind::Relu => step(y > 0.0, 0.0),
            Kind::LeakyRelu | Kind::Prelu => step(y > 0.0, a),
            Kind::ClippedRelu | Kind::Relu6 => step(y > 0.0 && y < a, 0.0),
            Kind::Hardtanh => step(y > a && y < b, 0.0),
            Kind::Elu => step(y > 0.0, y + a),
            Kind::Celu => step(y > 0.0, y / a + 1.0),
            Kind::Selu if y > 0.0 => SELU_SCALE,
            Kind::Selu => y + SELU_BOTH,
            Kind::Softplus => -expm1(-a * y),
            Kind::Logsigmoid => -expm1(y),
            Kind::Squareplus => {
                let c = 0.5 * sqrt(a);
                let (w, larger) = if y > c { (c / y, true) } else { (y / c, false) };
                (if larger { 1.0 } else { w * w }) / (1.0 + w * w)
            }
            Kind::Sigmoid => y * (1.0 - y),
            Kind::Tanh => (1.0 - y) * (1.0 + y),
            Kind::Softsign => (1.0 - y.abs()) * (1.0 - y.abs()),
            _ => f64::NAN,
        }
    }

    /// The bit of z in the mask, for rows with [`super::Row::from_bit`]; true for the others. A bit cannot represent NaN:
    /// for NaN it is true, so that the gradient passes.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert!(Activation::RELU.bit(1.0) && !Activation::RELU.bit(-1.0) && Activation::RELU.bit(f64::NAN));
    /// ```
    pub fn bit(&self, z: f64) -> bool {
        let [a, b] = self.params.map(f64::from);
        z.is_nan()
            || match self.kind {
                Kind::Relu | Kind::LeakyRelu | Kind::Prelu => z > 0.0,
                Kind::ClippedRelu | Kind::Relu6 => z > 0.0 && z < a,
                Kind::Hardtanh => z > a && z < b,
                Kind::ThresholdedRelu | Kind::Threshold => z > a,
                Kind::Softshrink | Kind::Hardshrink => z.abs() > a,
                Kind::Hardsigmoid => z.abs() < 3.0,
                Kind::HardsigmoidAffine => matches!(Side::of(a, b, z), Side::Inside(_)),
                _ => true,
            }
    }

    /// act'(z) from the bit of the mask, for rows with [`super::Row::from_bit`]; NaN for the others.
    ///
    /// ```
    /// assert_eq!(elbow::Activation::leaky_relu(0.5)?.slope_of_bit(false), 0.5);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn slope_of_bit(&self, bit: bool) -> f64 {
        let a = f64::from(self.params[0]);
        let (set, clear) = match self.kind {
            Kind::Identity => (1.0, 1.0),
            Kind::ClippedRelu | Kind::Softshrink if a.is_nan() => (a, a),
            Kind::LeakyRelu | Kind::Prelu => (1.0, a),
            Kind::Hardsigmoid => (1.0 / 6.0, 0.0),
            Kind::HardsigmoidAffine => (a, 0.0),
            _ if self.row().from_bit => (1.0, 0.0),
            _ => (f64::NAN, f64::NAN),
        };
        if bit { set } else { clear }
    }
}

/// The constants of selu (Klambauer et al. 2017): scale, and scale · α.
const SELU_SCALE: f64 = 1.0507009873554805;
const SELU_BOTH: f64 = 1.7580993408473768;

/// The formulas of all activations.
fn jet(activation: &Activation, z: f64) -> Jet {
    let [a, b] = activation.params.map(f64::from);
    if z.is_nan() {
        return Jet::NAN;
    }
    match activation.kind {
        Kind::Identity => Jet::line(z, 1.0),
        Kind::Relu if z > 0.0 => Jet::line(z, 1.0),
        Kind::Relu => Jet::line(0.0, 0.0),
        Kind::LeakyRelu | Kind::Prelu if z > 0.0 => Jet::line(z, 1.0),
        Kind::LeakyRelu | Kind::Prelu => Jet::moving_line(if a == 0.0 { 0.0 } else { a * z }, a, z, 1.0),
        Kind::ClippedRelu | Kind::Softshrink | Kind::Squareplus if a.is_nan() => Jet::NAN,
        // min(max(z, 0), cap) with a cap below 0 is the cap everywhere.
        Kind::ClippedRelu if a < 0.0 => Jet::moving_line(a, 0.0, 1.0, 0.0),
        Kind::ClippedRelu | Kind::Relu6 if z <= 0.0 => Jet::line(0.0, 0.0),
        Kind::ClippedRelu if z >= a => Jet::moving_line(a, 0.0, 1.0, 0.0),
        Kind::Relu6 if z >= a => Jet::line(a, 0.0),
        Kind::ClippedRelu | Kind::Relu6 => Jet::line(z, 1.0),
        Kind::Hardtanh if z <= a => Jet::line(a, 0.0),
        Kind::Hardtanh if z >= b => Jet::line(b, 0.0),
        Kind::Hardtanh => Jet::line(z, 1.0),
        Kind::ReluSquared if z > 0.0 => Jet::plain([z * z, 2.0 * z, 2.0, 0.0]),
        Kind::ReluSquared => Jet::line(0.0, 0.0),
        Kind::ThresholdedRelu | Kind::Threshold if z > a => Jet::line(z, 1.0),
        Kind::ThresholdedRelu => Jet::line(0.0, 0.0),
        Kind::Threshold => Jet::line(b, 0.0),
        Kind::Softshrink if z > a => Jet::moving_line(z - a, 1.0, -1.0, 0.0),
        Kind::Softshrink if z < -a => Jet::moving_line(z + a, 1.0, 1.0, 0.0),
        Kind::Softshrink => Jet::line(0.0, 0.0),
        Kind::Hardshrink if z.abs() > a => Jet::line(z, 1.0),
        Kind::Hardshrink => Jet::line(0.0, 0.0),
        Kind::Hardswish if z <= -3.0 => Jet::line(0.0, 0.0),
        Kind::Hardswish if z >= 3.0 => Jet::line(z, 1.0),
        Kind::Hardswish => {
            let at = [z * (z + 3.0) / 6.0, z / 3.0 + 0.5, 1.0 / 3.0, 0.0];
            Jet::plain(at).terms(Quantity::Slope, z.abs() / 3.0 + 0.5)
        }
        Kind::Hardsigmoid if z <= -3.0 => Jet::line(0.0, 0.0),
        Kind::Hardsigmoid if z >= 3.0 => Jet::line(1.0, 0.0),
        Kind::Hardsigmoid => Jet::line((z + 3.0) / 6.0, 1.0 / 6.0),
        Kind::HardsigmoidAffine => match Side::of(a, b, z) {
            Side::Below => Jet::line(0.0, 0.0),
            Side::Above => Jet::line(1.0, 0.0),
            // Near the lower kink the sum cancels: the bound asks for half of its digits there.
            Side::Inside(value) => {
                Jet::line(value, a).terms(Quantity::Value, value.max(((a * z).abs() + b.abs()) / 4096.0))
            }
        },
        Kind::Elu | Kind::Celu if z > 0.0 => Jet::line(z, 1.0),
        Kind::Elu => {
            // exp(z) may underflow to 0 in f64, and ∞·0 would be NaN.
            let slope = if a.is_infinite() { a } else { a * exp(z) };
            Jet::with_alpha([a * expm1(z), slope, slope, slope], [expm1(z), exp(z), exp(z), 0.0])
        }
        Kind::Celu => celu(a, z),
        Kind::Selu if z > 0.0 => Jet::line(SELU_SCALE * z, SELU_SCALE),
        Kind::Selu => {
            let slope = SELU_BOTH * exp(z);
            Jet::plain([SELU_BOTH * expm1(z), slope, slope, slope])
        }
        Kind::Softplus => softplus(a, b, z),
        Kind::Squareplus => squareplus(a, z),
        Kind::GeluErf => gelu_erf(z),
        Kind::GeluTanh => gelu_tanh(z),
        Kind::QuickGelu | Kind::Silu => swish(a, z).without_alpha(),
        Kind::Swish => swish(a, z),
        Kind::Mish => mish(z),
        Kind::Sigmoid => {
            let q = Logistic::of(1.0, z);
            let (slope, bend) = (q.slope(), q.bend());
            let third = slope * bend.difference();
            Jet::plain([q.sigmoid(), slope, -slope * tanh(0.5 * z), third])
                .terms(Quantity::ThirdDerivative, slope * bend.terms())
        }
        Kind::Logsigmoid => {
            let q = Logistic::of(1.0, z);
            let value = if z < 0.0 { z - log1p(q.e) } else { -log1p(q.e) };
            let slope = if z < 0.0 { 1.0 / q.d } else { q.e / q.d };
            Jet::plain([value, slope, -q.slope(), q.slope() * tanh(0.5 * z)])
        }
        Kind::Tanh => {
            let (t, s) = (tanh(z), sech2(z));
            let [a, b] = [4.0 * t * t * s, 2.0 * s * s];
            Jet::plain([t, s, -2.0 * t * s, a - b]).terms(Quantity::ThirdDerivative, a + b)
        }
        Kind::Tanhshrink => {
            let (t, s) = (tanh(z), sech2(z));
            let [a, b] = [4.0 * t * t * s, 2.0 * s * s];
            Jet::plain([tanhshrink(z), t * t, 2.0 * t * s, b - a]).terms(Quantity::ThirdDerivative, a + b)
        }
        Kind::Softsign => {
            let r = 1.0 / (1.0 + z.abs());
            let value = if z.is_infinite() { z.signum() } else { z * r };
            let sign = if z == 0.0 { 0.0 } else { z.signum() };
            Jet::plain([value, r * r, -2.0 * sign * r * r * r, 6.0 * r * r * r * r])
        }
    }
}

/// Where slope·z + offset is in relation to 0 and 1. Exact, because the product of two f32 is exact in f64.
enum Side {
    Below,
    Inside(f64),
    Above,
}

impl Side {
    fn of(slope: f64, offset: f64, z: f64) -> Side {
        let product = if slope == 0.0 { 0.0 } else { slope * z };
        if product + offset <= 0.0 {
            Side::Below
        } else if product + (offset - 1.0) >= 0.0 {
            Side::Above
        } else {
            // Fused, to round once: near the lower kink the sum cancels, and the error of a rounded product would show.
            Side::Inside(if slope == 0.0 { offset } else { libm::fma(slope, z, offset) })
        }
    }
}
