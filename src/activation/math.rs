//! The mathematics, once, in f64: what every shader and the CPU roads are judged by.
//!
//! Each activation is one arm of [`jet`]: value, slope, curvature and the two derivatives with respect to α, in forms that
//! cancel nowhere but at true roots. NaN gives NaN, ±inf the limit; kinks take the slope that the row declares. Logarithms
//! and exponentials come from the `libm` crate, so that the judge says the same on every machine.

use libm::{erfc, exp, expm1, fma, hypot, log1p, sqrt};

use super::{Activation, Kind};

/// One of the five functions that an activation is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// act(z).
    Value,
    /// act'(z) = ∂act/∂z.
    Slope,
    /// act''(z) = ∂²act/∂z².
    Curvature,
    /// ∂act/∂α.
    AlphaSlope,
    /// ∂²act/∂z∂α.
    AlphaCurvature,
}

impl Quantity {
    /// All five, in the order of the table's tolerances.
    pub const ALL: [Quantity; 5] =
        [Quantity::Value, Quantity::Slope, Quantity::Curvature, Quantity::AlphaSlope, Quantity::AlphaCurvature];

    /// The name of its WGSL function.
    pub const fn wgsl_name(self) -> &'static str {
        match self {
            Quantity::Value => "act",
            Quantity::Slope => "act_dz",
            Quantity::Curvature => "act_dzz",
            Quantity::AlphaSlope => "act_da",
            Quantity::AlphaCurvature => "act_dzda",
        }
    }
}

/// All five quantities at one z, and for each the sum of |terms| of its formula.
#[derive(Debug, Clone, Copy)]
struct Jet {
    at: [f64; 5],
    terms: [f64; 5],
}

impl Jet {
    /// Without α.
    fn plain(value: f64, slope: f64, curvature: f64) -> Self {
        Self::with_alpha(value, slope, curvature, 0.0, 0.0)
    }

    fn with_alpha(value: f64, slope: f64, curvature: f64, alpha_slope: f64, alpha_curvature: f64) -> Self {
        let at = [value, slope, curvature, alpha_slope, alpha_curvature];
        Jet { at, terms: at.map(f64::abs) }
    }

    /// A piece of a straight line.
    fn line(value: f64, slope: f64) -> Self {
        Self::plain(value, slope, 0.0)
    }

    /// States the sum of |terms| where the quantity has a root.
    fn terms(mut self, quantity: Quantity, terms: f64) -> Self {
        self.terms[quantity as usize] = terms;
        self
    }
}

impl Activation {
    /// act(z), f64. NaN gives NaN, ±inf the limit.
    pub fn value(&self, z: f64) -> f64 {
        self.evaluate(Quantity::Value, z)
    }

    /// act'(z). At a kink: the slope that [`Activation::kinks`] declares.
    pub fn slope(&self, z: f64) -> f64 {
        self.evaluate(Quantity::Slope, z)
    }

    /// act''(z), without the delta functions at kinks.
    pub fn curvature(&self, z: f64) -> f64 {
        self.evaluate(Quantity::Curvature, z)
    }

    /// ∂act/∂α; 0 for an activation without a learnable α.
    pub fn alpha_slope(&self, z: f64) -> f64 {
        self.evaluate(Quantity::AlphaSlope, z)
    }

    /// ∂²act/∂z∂α; 0 for an activation without a learnable α.
    pub fn alpha_curvature(&self, z: f64) -> f64 {
        self.evaluate(Quantity::AlphaCurvature, z)
    }

    /// Any of the five.
    pub fn evaluate(&self, quantity: Quantity, z: f64) -> f64 {
        jet(self, z).at[quantity as usize]
    }

    /// The sum of |terms| of the quantity's formula at z: the scale for an error bound. It is |quantity| itself, but for
    /// slopes and curvatures that have a root, where a relative bound could not be met.
    pub fn terms(&self, quantity: Quantity, z: f64) -> f64 {
        jet(self, z).terms[quantity as usize]
    }

    /// act'(z) from y = act(z), for the rows where [`super::Row::from_y`] is set; NaN for the others.
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

    /// The mask's bit, for the rows where [`super::Row::from_bit`] is set; true for the others. A bit cannot say NaN:
    /// there it is set, so that the gradient passes.
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

    /// act'(z) from the mask's bit, for the rows where [`super::Row::from_bit`] is set; NaN for the others.
    pub fn slope_of_bit(&self, bit: bool) -> f64 {
        let a = f64::from(self.params[0]);
        let (set, clear) = match self.kind {
            Kind::Identity => (1.0, 1.0),
            Kind::LeakyRelu | Kind::Prelu => (1.0, a),
            Kind::Hardsigmoid => (1.0 / 6.0, 0.0),
            Kind::HardsigmoidAffine => (a, 0.0),
            _ if self.row().from_bit => (1.0, 0.0),
            _ => (f64::NAN, f64::NAN),
        };
        if bit { set } else { clear }
    }
}

/// Klambauer et al. 2017: scale, and scale · α.
const SELU_SCALE: f64 = 1.0507009873554805;
pub(super) const SELU_BOTH: f64 = 1.7580993408473768;
/// 1/√2 in two parts.
const INV_SQRT_2: (f64, f64) = (std::f64::consts::FRAC_1_SQRT_2, -4.833646656726457e-17);
/// 1/√(2π).
const INV_SQRT_2PI: f64 = 0.3989422804014327;

/// The whole table of mathematics.
fn jet(activation: &Activation, z: f64) -> Jet {
    let [a, b] = activation.params.map(f64::from);
    if z.is_nan() {
        return Jet { at: [f64::NAN; 5], terms: [f64::NAN; 5] };
    }
    match activation.kind {
        Kind::Identity => Jet::line(z, 1.0),
        Kind::Relu if z > 0.0 => Jet::line(z, 1.0),
        Kind::Relu => Jet::line(0.0, 0.0),
        Kind::LeakyRelu | Kind::Prelu if z > 0.0 => Jet::line(z, 1.0),
        Kind::LeakyRelu | Kind::Prelu => Jet::with_alpha(if a == 0.0 { 0.0 } else { a * z }, a, 0.0, z, 1.0),
        Kind::ClippedRelu | Kind::Relu6 if z <= 0.0 => Jet::line(0.0, 0.0),
        Kind::ClippedRelu if z >= a => Jet::with_alpha(a, 0.0, 0.0, 1.0, 0.0),
        Kind::Relu6 if z >= a => Jet::line(a, 0.0),
        Kind::ClippedRelu | Kind::Relu6 => Jet::line(z, 1.0),
        Kind::Hardtanh if z <= a => Jet::line(a, 0.0),
        Kind::Hardtanh if z >= b => Jet::line(b, 0.0),
        Kind::Hardtanh => Jet::line(z, 1.0),
        Kind::ReluSquared if z > 0.0 => Jet::plain(z * z, 2.0 * z, 2.0),
        Kind::ReluSquared => Jet::line(0.0, 0.0),
        Kind::ThresholdedRelu | Kind::Threshold if z > a => Jet::line(z, 1.0),
        Kind::ThresholdedRelu => Jet::line(0.0, 0.0),
        Kind::Threshold => Jet::line(b, 0.0),
        Kind::Softshrink if z > a => Jet::with_alpha(z - a, 1.0, 0.0, -1.0, 0.0),
        Kind::Softshrink if z < -a => Jet::with_alpha(z + a, 1.0, 0.0, 1.0, 0.0),
        Kind::Softshrink => Jet::line(0.0, 0.0),
        Kind::Hardshrink if z.abs() > a => Jet::line(z, 1.0),
        Kind::Hardshrink => Jet::line(0.0, 0.0),
        Kind::Hardswish if z <= -3.0 => Jet::line(0.0, 0.0),
        Kind::Hardswish if z >= 3.0 => Jet::line(z, 1.0),
        Kind::Hardswish => {
            Jet::plain(z * (z + 3.0) / 6.0, z / 3.0 + 0.5, 1.0 / 3.0).terms(Quantity::Slope, z.abs() / 3.0 + 0.5)
        }
        Kind::Hardsigmoid if z <= -3.0 => Jet::line(0.0, 0.0),
        Kind::Hardsigmoid if z >= 3.0 => Jet::line(1.0, 0.0),
        Kind::Hardsigmoid => Jet::line((z + 3.0) / 6.0, 1.0 / 6.0),
        Kind::HardsigmoidAffine => match Side::of(a, b, z) {
            Side::Below => Jet::line(0.0, 0.0),
            Side::Above => Jet::line(1.0, 0.0),
            Side::Inside(value) => Jet::line(value, a),
        },
        Kind::Elu | Kind::Celu if z > 0.0 => Jet::line(z, 1.0),
        Kind::Elu => Jet::with_alpha(a * expm1(z), a * exp(z), a * exp(z), expm1(z), exp(z)),
        Kind::Celu => celu(a, z),
        Kind::Selu if z > 0.0 => Jet::line(SELU_SCALE * z, SELU_SCALE),
        Kind::Selu => Jet::plain(SELU_BOTH * expm1(z), SELU_BOTH * exp(z), SELU_BOTH * exp(z)),
        Kind::Softplus => softplus(a, b, z),
        Kind::Squareplus => squareplus(a, z),
        Kind::GeluErf => gelu_erf(z),
        Kind::GeluTanh => gelu_tanh(z),
        Kind::QuickGelu | Kind::Silu => {
            let mut jet = swish(a, z);
            jet.at[3..].fill(0.0);
            jet.terms[3..].fill(0.0);
            jet
        }
        Kind::Swish => swish(a, z),
        Kind::Mish => mish(z),
        Kind::Sigmoid => {
            let q = Logistic::of(1.0, z);
            let slope = q.e / (q.d * q.d);
            Jet::plain(q.sigmoid(), slope, -slope * tanh(0.5 * z))
        }
        Kind::Logsigmoid => {
            let q = Logistic::of(1.0, z);
            let value = if z < 0.0 { z - log1p(q.e) } else { -log1p(q.e) };
            Jet::plain(value, if z < 0.0 { 1.0 / q.d } else { q.e / q.d }, -q.e / (q.d * q.d))
        }
        Kind::Tanh => {
            let (t, s) = (tanh(z), sech2(z));
            Jet::plain(t, s, -2.0 * t * s)
        }
        Kind::Tanhshrink => {
            let (t, s) = (tanh(z), sech2(z));
            Jet::plain(tanhshrink(z), t * t, 2.0 * t * s)
        }
        Kind::Softsign => {
            let r = 1.0 / (1.0 + z.abs());
            let value = if z.is_infinite() { z.signum() } else { z * r };
            let sign = if z == 0.0 { 0.0 } else { z.signum() };
            Jet::plain(value, r * r, -2.0 * sign * r * r * r)
        }
    }
}

/// e·x where e is an exponential that may have vanished: then the limit 0, also for infinite x.
fn fade(e: f64, x: f64) -> f64 {
    if e == 0.0 { 0.0 } else { e * x }
}

/// exp(h + l), l small.
fn exp_pair(h: f64, l: f64) -> f64 {
    let e = exp(h);
    if l == 0.0 { e } else { e + e * l }
}

/// A sum h + l, l beyond the last digit of h.
#[derive(Debug, Clone, Copy)]
struct Pair {
    h: f64,
    l: f64,
}

impl Pair {
    fn product(x: f64, y: f64) -> Pair {
        let h = x * y;
        Pair { h, l: fma(x, y, -h) }
    }

    fn sum(self, other: Pair) -> Pair {
        let h = self.h + other.h;
        let part = h - self.h;
        let l = (self.h - (h - part)) + (other.h - part);
        Pair { h, l: l + self.l + other.l }
    }

    fn times(self, x: f64) -> Pair {
        let p = Pair::product(self.h, x);
        Pair { h: p.h, l: p.l + self.l * x }
    }

    fn by(self, other: Pair) -> Pair {
        let p = self.times(other.h);
        Pair { h: p.h, l: p.l + self.h * other.l }
    }
}

/// Where slope·z + offset lies. The product of two f32 is exact here, so the side is.
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
            Side::Inside(product + offset)
        }
    }
}

fn tanh(z: f64) -> f64 {
    // expm1 has a relative accuracy that holds near 0; e = exp(-2|z|) - 1.
    let e = expm1(-2.0 * z.abs());
    (-e / (2.0 + e)).copysign(z)
}

/// 1 - tanh².
fn sech2(z: f64) -> f64 {
    let e = exp(-2.0 * z.abs());
    4.0 * e / ((1.0 + e) * (1.0 + e))
}

/// z - tanh z: near 0 by the continued fraction of tanh, whose terms are all positive; else (t - 1) + 2e/(1 + e).
fn tanhshrink(z: f64) -> f64 {
    let t = z.abs();
    if t < 1.0 {
        let s = z * z;
        // tanh z = z / (1 + c), c = s / (3 + s / (5 + s / (7 + ...)))
        let c = (1..14).rev().fold(0.0, |c, k| s / (f64::from(2 * k + 1) + c));
        return z * c / (1.0 + c);
    }
    let e = exp(-2.0 * t);
    ((t - 1.0) + 2.0 * e / (1.0 + e)).copysign(z)
}

/// sigmoid(βz) and its parts, from e = exp(-|βz|).
struct Logistic {
    /// |βz|, capped where e is 0.
    t: f64,
    negative: bool,
    e: f64,
    /// 1 + e.
    d: f64,
}

impl Logistic {
    fn of(beta: f64, z: f64) -> Logistic {
        let u = Pair::product(beta, z.clamp(-f64::MAX, f64::MAX));
        let negative = u.h < 0.0;
        let t = u.h.abs().min(1e4);
        let e = exp_pair(
            -t,
            if t == 1e4 {
                0.0
            } else if negative {
                u.l
            } else {
                -u.l
            },
        );
        Logistic { t, negative, e, d: 1.0 + e }
    }

    fn sigmoid(&self) -> f64 {
        if self.negative { self.e / self.d } else { 1.0 / self.d }
    }

    /// 1 - e.
    fn gap(&self) -> f64 {
        -expm1(-self.t)
    }
}

fn swish(beta: f64, z: f64) -> Jet {
    let q = Logistic::of(beta, z);
    let (e, d, t) = (q.e, q.d, q.t);
    let value = if q.negative { fade(e, z) / d } else { z / d };
    let k = e * (d - t) / (d * d);
    let slope = if q.negative { k } else { 1.0 - k };
    let bracket = (2.0 * d - t * q.gap()) / (d * d * d);
    let bracket_terms = (2.0 * d + t * q.gap()) / (d * d * d);
    let ez = fade(e, z);
    Jet::with_alpha(value, slope, beta * e * bracket, fade(ez, z) / (d * d), ez * bracket)
        .terms(Quantity::Slope, q.sigmoid() + t * e / (d * d))
        .terms(Quantity::Curvature, beta.abs() * e * bracket_terms)
        .terms(Quantity::AlphaCurvature, ez.abs() * bracket_terms)
}

fn softplus(beta: f64, threshold: f64, z: f64) -> Jet {
    if beta * z > threshold {
        return Jet::line(z, 1.0);
    }
    let q = Logistic::of(beta, z);
    let (e, d) = (q.e, q.d);
    let log = log1p(e);
    let value = if q.negative { log / beta } else { z + log / beta };
    let alpha_slope = -(q.t * e / d + log) / beta / beta;
    Jet::with_alpha(value, q.sigmoid(), beta * e / (d * d), alpha_slope, fade(e, z) / (d * d))
}

fn celu(alpha: f64, z: f64) -> Jet {
    let quotient = z / alpha;
    let u = if quotient.abs() > 1e4 {
        Pair { h: 1e4f64.copysign(quotient), l: 0.0 }
    } else {
        Pair { h: quotient, l: fma(-quotient, alpha, z) / alpha }
    };
    let e = exp_pair(u.h, u.l);
    let m = if u.l == 0.0 { expm1(u.h) } else { expm1(u.h) + e * u.l };
    // expm1(u) - u exp(u) = -u² Σ (k - 1)/k! u^(k-2): near 0 the difference cancels.
    let alpha_slope = if u.h.abs() < 1.0 {
        let mut term = 0.5;
        let mut sum = 0.0;
        for k in 2..26 {
            sum += term * f64::from(k - 1);
            term *= u.h / f64::from(k + 1);
        }
        -u.h * u.h * sum
    } else {
        m - fade(e, u.h)
    };
    Jet::with_alpha(alpha * m, e, e / alpha, alpha_slope, -fade(e, u.h) / alpha)
}

fn squareplus(b: f64, z: f64) -> Jet {
    let r = hypot(z, sqrt(b));
    let t = z.abs();
    let value = if z > 0.0 { (z + r) / 2.0 } else { b / (2.0 * (r + t)) };
    let small = b / (2.0 * r) / (r + t);
    let slope = if z > 0.0 { 1.0 - small } else { small };
    let ratio = if z.is_infinite() { z.signum() } else { z / r };
    Jet::with_alpha(value, slope, b / (2.0 * r) / r / r, 0.25 / r, -0.25 * ratio / r / r)
}

/// e = exp(-t²/2) and Φ(-t), t = |z|.
fn gelu_erf(z: f64) -> Jet {
    let t = z.abs().min(1e3);
    let square = Pair::product(t, t);
    let pdf = INV_SQRT_2PI * exp_pair(-0.5 * square.h, -0.5 * square.l);
    // erfc at t/√2 in two parts: erfc(w + l) = erfc(w) - 2/√π exp(-w²) l.
    let w = Pair { h: INV_SQRT_2.0, l: INV_SQRT_2.1 }.times(t);
    let tail = 0.5 * erfc(w.h) - std::f64::consts::SQRT_2 * pdf * w.l;
    let k = tail - t * pdf;
    let below = z < 0.0;
    let value = if below { -(tail * t) } else { z - tail * t };
    let from_root = t - std::f64::consts::SQRT_2;
    let curvature = -pdf * (from_root + 9.667293313452913e-17) * (t + std::f64::consts::SQRT_2);
    Jet::plain(value, if below { k } else { 1.0 - k }, curvature)
        .terms(Quantity::Slope, if below { tail } else { 1.0 - tail } + t * pdf)
        .terms(Quantity::Curvature, pdf * (2.0 + t * t))
}

/// z·sigmoid(2u), 2u = A·z + B·z³; A = 2√(2/π), B = 0.044715·A, in two parts each.
fn gelu_tanh(z: f64) -> Jet {
    const A: Pair = Pair { h: 1.5957691216057308, l: -9.96930880911092e-17 };
    const B: Pair = Pair { h: 0.07135481627260025, l: -6.175149918155315e-19 };
    let t = z.abs().min(30.0);
    let cubic = B.by(Pair::product(t, t)).times(t);
    let u = A.times(t).sum(cubic);
    let e = exp_pair(-u.h, -u.l);
    let d = 1.0 + e;
    let u1 = A.h + 3.0 * B.h * t * t;
    let u2 = 6.0 * B.h * t;
    let k = e * (d - t * u1) / (d * d);
    let below = z < 0.0;
    let first = (2.0 * u1 + t * u2) * d;
    let second = t * u1 * u1 * -expm1(-u.h);
    let cube = d * d * d;
    Jet::plain(if below { -(e * t) / d } else { z / d }, if below { k } else { 1.0 - k }, e * (first - second) / cube)
        .terms(Quantity::Slope, if below { e / d } else { 1.0 / d } + t * u1 * e / (d * d))
        .terms(Quantity::Curvature, e * (first + second) / cube)
}

/// With w = exp(-|z|), T = tanh(softplus z), h = 1 - T², s = sigmoid z: rationals in w.
fn mish(z: f64) -> Jet {
    let t = z.abs().min(1e4);
    let w = exp(-t);
    let below = z < 0.0;
    let (tanh, hs, s, c) = if below {
        let d = w * (w + 2.0) + 2.0;
        (w * (w + 2.0) / d, 4.0 * w * (1.0 + w) / (d * d), w / (1.0 + w), 1.0 / (1.0 + w))
    } else {
        let d = 1.0 + 2.0 * w * (1.0 + w);
        ((1.0 + 2.0 * w) / d, 4.0 * w * w * (1.0 + w) / (d * d), 1.0 / (1.0 + w), w / (1.0 + w))
    };
    let signed = t.copysign(z);
    let value = if below { signed * tanh } else { z * tanh };
    Jet::plain(value, tanh + signed * hs, hs * (2.0 + signed * (c - 2.0 * tanh * s)))
        .terms(Quantity::Slope, tanh + t * hs)
        .terms(Quantity::Curvature, hs * (2.0 + t * (c + 2.0 * tanh * s)))
}
