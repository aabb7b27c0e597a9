//! The activations with an exponential or a root, in forms that cancel only at true roots.

use libm::{erfc, exp, expm1, fma, hypot, log1p, sqrt};

use super::{Jet, Quantity};

/// 1/√2 in two parts.
const INV_SQRT_2: (f64, f64) = (std::f64::consts::FRAC_1_SQRT_2, -4.833646656726457e-17);
/// 1/√(2π).
const INV_SQRT_2PI: f64 = 0.3989422804014327;

/// e·x for an exponential e; if e has underflowed to 0, the limit 0, also for infinite x.
fn fade(e: f64, x: f64) -> f64 {
    if e == 0.0 { 0.0 } else { e * x }
}

/// exp(h + l) for a small l.
fn exp_pair(h: f64, l: f64) -> f64 {
    let e = exp(h);
    if l == 0.0 { e } else { e + e * l }
}

/// A number h + l of twice the digits: l is below the last digit of h.
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

pub(super) fn tanh(z: f64) -> f64 {
    // expm1 has a relative accuracy that holds near 0; e = exp(-2|z|) - 1.
    let e = expm1(-2.0 * z.abs());
    (-e / (2.0 + e)).copysign(z)
}

/// 1 - tanh².
pub(super) fn sech2(z: f64) -> f64 {
    let e = exp(-2.0 * z.abs());
    4.0 * e / ((1.0 + e) * (1.0 + e))
}

/// z - tanh z: near 0 by the continued fraction of tanh, whose terms are all positive; else (t - 1) + 2e/(1 + e).
pub(super) fn tanhshrink(z: f64) -> f64 {
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
pub(super) struct Logistic {
    /// |βz|, capped where e is 0.
    t: f64,
    negative: bool,
    pub(super) e: f64,
    /// 1 + e.
    pub(super) d: f64,
}

impl Logistic {
    pub(super) fn of(beta: f64, z: f64) -> Logistic {
        let u = Pair::product(beta, z.clamp(-f64::MAX, f64::MAX));
        let negative = u.h < 0.0;
        // Not `min`, which would turn an α of NaN into a number.
        let t = if u.h.abs() > 1e4 { 1e4 } else { u.h.abs() };
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

    pub(super) fn sigmoid(&self) -> f64 {
        if self.negative { self.e / self.d } else { 1.0 / self.d }
    }

    /// The slope of the sigmoid, σ' = e/(1 + e)².
    pub(super) fn slope(&self) -> f64 {
        self.e / (self.d * self.d)
    }

    /// tanh(|βz|/2) = (1 - e)/(1 + e): σ'' = -σ' of this for βz > 0.
    fn half_tanh(&self) -> f64 {
        -expm1(-self.t) / self.d
    }

    /// σ'''/σ' = 1 - 6σ', as tanh² - 2σ': a difference that is exact in the tail and keeps its digits at 0.
    pub(super) fn bend(&self) -> Bend {
        let t = self.half_tanh();
        Bend { square: t * t, twice_slope: 2.0 * self.slope() }
    }
}

/// σ'''/σ' as the difference of its two terms.
#[derive(Clone, Copy)]
pub(super) struct Bend {
    square: f64,
    twice_slope: f64,
}

impl Bend {
    pub(super) fn difference(self) -> f64 {
        self.square - self.twice_slope
    }

    pub(super) fn terms(self) -> f64 {
        self.square + self.twice_slope
    }
}

/// β = ±∞ at z = 0, where βz is not defined: terms with a factor z are 0 there.
fn is_corner(beta: f64, z: f64) -> bool {
    beta.is_infinite() && z == 0.0
}

/// The jet of swish and softplus at that point.
fn corner() -> Jet {
    Jet::with_alpha([0.0, f64::NAN, f64::NAN, f64::NAN], [0.0, 0.0, f64::NAN, 0.0])
}

pub(super) fn swish(beta: f64, z: f64) -> Jet {
    if is_corner(beta, z) {
        return corner();
    }
    let q = Logistic::of(beta, z);
    let (e, d, t) = (q.e, q.d, q.t);
    let value = if q.negative { fade(e, z) / d } else { z / d };
    let k = e * (d - t) / (d * d);
    let slope = if q.negative { k } else { 1.0 - k };
    // In units of σ': σ'' = -T, σ''' = bend. They are those of βz > 0; below, the odd ones change their sign.
    let (sigma, half, bend) = (q.slope(), q.half_tanh(), q.bend());
    let sign = if q.negative { -1.0 } else { 1.0 };
    let (bracket, bracket_terms) = (2.0 - t * half, 2.0 + t * half);
    let ez = fade(e, z) / (d * d);
    let curvature = fade(e, beta) / (d * d) * bracket;
    // β²(3σ'' + uσ''') and 2σ' + 4uσ'' + u²σ''', u = βz.
    let [third, third_terms] = [t * bend.difference() - 3.0 * half, t * bend.terms() + 3.0 * half];
    let mixed_third = 2.0 - 4.0 * t * half + t * t * bend.difference();
    let mixed_third_terms = 2.0 + 4.0 * t * half + t * t * bend.terms();
    let scale = fade(fade(e, beta), beta) / (d * d);
    // z³σ''; where that is 0, z may be infinite.
    let cube = (0..3).fold(-sign * sigma * half, |product, _| fade(product, z));
    let by_z = [value, slope, curvature, sign * scale * third];
    Jet::with_alpha(by_z, [fade(ez, z), ez * bracket, sigma * mixed_third, cube])
        .terms(Quantity::Slope, q.sigmoid() + t * e / (d * d))
        .terms(Quantity::SecondDerivative, fade(e, beta.abs()) / (d * d) * bracket_terms)
        .terms(Quantity::ThirdDerivative, scale * third_terms)
        .terms(Quantity::MixedDerivative, ez.abs() * bracket_terms)
        .terms(Quantity::MixedThirdDerivative, sigma * mixed_third_terms)
}

pub(super) fn softplus(beta: f64, threshold: f64, z: f64) -> Jet {
    if beta * z > threshold {
        return Jet::line(z, 1.0);
    }
    if is_corner(beta, z) {
        return corner();
    }
    let q = Logistic::of(beta, z);
    let (e, d) = (q.e, q.d);
    let log = log1p(e);
    let value = match q.negative {
        // For α → 0 the limit is +∞ from above and -∞ from below.
        _ if beta == 0.0 => f64::NAN,
        true => log / beta,
        false => z + log / beta,
    };
    let alpha_slope = -(q.t * e / d + log) / beta / beta;
    let alpha_second = match beta == 0.0 {
        // As the value, it comes to +∞ from above and to -∞ from below.
        true => f64::NAN,
        false => (q.t * q.t * q.slope() + 2.0 * (q.t * e / d + log)) / beta / beta / beta,
    };
    // β²σ'' and σ' + uσ'', u = βz.
    let (sigma, half) = (q.slope(), q.half_tanh());
    let third = fade(fade(e, beta), beta) / (d * d) * if q.negative { half } else { -half };
    let by_z = [value, q.sigmoid(), fade(e, beta) / (d * d), third];
    let mixed_third = sigma * (1.0 - q.t * half);
    Jet::with_alpha(by_z, [alpha_slope, fade(e, z) / (d * d), mixed_third, alpha_second])
        .terms(Quantity::MixedThirdDerivative, sigma * (1.0 + q.t * half))
}

pub(super) fn celu(alpha: f64, z: f64) -> Jet {
    if alpha.is_infinite() {
        // z/α is 0: a straight line.
        return Jet::line(z, 1.0);
    }
    if alpha == 0.0 {
        // For α → 0 from above the limit is ReLU, from below -∞.
        return Jet::NAN;
    }
    let quotient = z / alpha;
    if quotient > 709.0 {
        // Only for α < 0 and z far below 0, where everything overflows: no inf - inf may occur.
        let e = f64::INFINITY;
        return Jet::with_alpha([alpha * e, e, e / alpha, e], [-e, -e / alpha, -e, e / alpha]);
    }
    let u = if quotient.abs() > 1e4 {
        Pair { h: 1e4f64.copysign(quotient), l: 0.0 }
    } else {
        Pair { h: quotient, l: fma(-quotient, alpha, z) / alpha }
    };
    let e = exp_pair(u.h, u.l);
    let m = if u.l == 0.0 { expm1(u.h) } else { expm1(u.h) + e * u.l };
    // (1 - u) exp(u) - 1 = -u² Σ (k - 1)/k! u^(k-2): near 0 the difference cancels.
    let alpha_slope = if u.h.abs() < 1.0 {
        let mut term = 0.5;
        let mut sum = 0.0;
        for k in 2..26 {
            sum += term * f64::from(k - 1);
            term *= u.h / f64::from(k + 1);
        }
        -u.h * u.h * sum
    } else {
        fade(e, 1.0 - u.h) - 1.0
    };
    let third = e / alpha / alpha;
    let by_z = [alpha * m, e, e / alpha, third];
    // -(1 + u) exp(u)/α²: the root at u = -1 is met by both parts of u.
    let by_alpha = [alpha_slope, -fade(e, u.h) / alpha, -fade(third, (1.0 + u.h) + u.l), fade(e, u.h * u.h) / alpha];
    Jet::with_alpha(by_z, by_alpha).terms(Quantity::MixedThirdDerivative, fade(third, 1.0 + u.h.abs()))
}

pub(super) fn squareplus(b: f64, z: f64) -> Jet {
    if b == f64::INFINITY {
        return Jet::moving_line(b, 0.5, 0.0, 0.0);
    }
    let t = z.abs();
    // The square of an f32 is exact. Below 0 for a b < 0: no root, NaN.
    let r = if b < 0.0 { sqrt(t * t + b) } else { hypot(z, sqrt(b)) };
    let value = if z >= 0.0 { (z + r) / 2.0 } else { b / (2.0 * (r + t)) };
    let small = b / (2.0 * r) / (r + t);
    let slope = if z > 0.0 { 1.0 - small } else { small };
    let ratio = if z.is_infinite() { z.signum() } else { z / r };
    let share = b / r / r;
    // -3bz/(2r⁵) and (2z² - b)/(4r⁵).
    let by_z = [value, slope, b / (2.0 * r) / r / r, -1.5 * share * ratio / r / r];
    let [square, mixed_third] = [2.0 * ratio * ratio, 0.25 / r / r / r];
    let by_alpha = [0.25 / r, -0.25 * ratio / r / r, (square - share) * mixed_third, -0.125 / r / r / r];
    Jet::with_alpha(by_z, by_alpha).terms(Quantity::MixedThirdDerivative, (square + share.abs()) * mixed_third)
}

/// e = exp(-t²/2) and Φ(-t), t = |z|.
pub(super) fn gelu_erf(z: f64) -> Jet {
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
    // φ(z) z (z² - 4), whose roots are numbers of f64.
    let third = (pdf * t * (t - 2.0) * (t + 2.0)).copysign(if t < 2.0 { -z } else { z });
    Jet::plain([value, if below { k } else { 1.0 - k }, curvature, third])
        .terms(Quantity::Slope, if below { tail } else { 1.0 - tail } + t * pdf)
        .terms(Quantity::SecondDerivative, pdf * (2.0 + t * t))
}

/// z·sigmoid(2u), 2u = A·z + B·z³; A = 2√(2/π), B = 0.044715·A, in two parts each.
pub(super) fn gelu_tanh(z: f64) -> Jet {
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
    let value = if below { -(e * t) / d } else { z / d };
    // 3(σ''u'² + σ'u'') + t(σ'''u'³ + 3σ''u'u'' + σ'u'''), in units of σ' = e/d²; u''' = u''/t.
    let half = -expm1(-u.h) / d;
    let [square, twice_slope] = [half * half, 2.0 * e / (d * d)];
    let cube_u1 = t * u1 * u1 * u1;
    let third = 4.0 * u2 + cube_u1 * (square - twice_slope) - 3.0 * half * u1 * (u1 + t * u2);
    let third_terms = 4.0 * u2 + cube_u1 * (square + twice_slope) + 3.0 * half * u1 * (u1 + t * u2);
    let third = e / (d * d) * if below { -third } else { third };
    Jet::plain([value, if below { k } else { 1.0 - k }, e * (first - second) / cube, third])
        .terms(Quantity::ThirdDerivative, e / (d * d) * third_terms)
        .terms(Quantity::Slope, if below { e / d } else { 1.0 / d } + t * u1 * e / (d * d))
        .terms(Quantity::SecondDerivative, e * (first + second) / cube)
}

/// With w = exp(-|z|), T = tanh(softplus z), h = 1 - T², s = sigmoid z: rationals in w.
pub(super) fn mish(z: f64) -> Jet {
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
    // T'' = h s k; T''' = h s (k² - s (c + 2 h s + 2 T c)).
    let [k, k_terms] = [c - 2.0 * tanh * s, c + 2.0 * tanh * s];
    let rest = s * (c + 2.0 * hs + 2.0 * tanh * c);
    let third = hs * (3.0 * k + signed * (k * k - rest));
    Jet::plain([value, tanh + signed * hs, hs * (2.0 + signed * k), third])
        .terms(Quantity::Slope, tanh + t * hs)
        .terms(Quantity::SecondDerivative, hs * (2.0 + t * k_terms))
        .terms(Quantity::ThirdDerivative, hs * (3.0 * k_terms + t * (k * k + rest)))
}
