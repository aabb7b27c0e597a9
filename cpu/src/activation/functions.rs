//! Each activation and its derivatives in f32: `a` is α, `s` the second parameter, as in `Activation::params`.
//! NaN gives NaN, ±inf the limit, a kink the slope that is declared for it. α may be any number: results outside of its domain are those
//! of the f64 mathematics (docs/numerics.md).

use super::math::*;

/// One activation: its functions, named as in the shaders.
pub(super) trait Functions {
    /// Whether α is an argument; else the activation's own number is used.
    const HAS_ALPHA: bool = false;
    /// Up to this |z|, where no power of two is out of f32's range, `act_near` and `act_dz_near` give the same bits with fewer
    /// instructions. Only the most common activations have them; 0 for the others.
    const NEAR: f32 = 0.0;
    /// act(z).
    fn act(z: f32, a: f32, s: f32) -> f32;
    /// act'(z).
    fn act_dz(z: f32, a: f32, s: f32) -> f32;
    /// act(z), for |z| ≤ NEAR.
    #[inline(always)]
    fn act_near(z: f32, a: f32, s: f32) -> f32 {
        Self::act(z, a, s)
    }
    /// act'(z), for |z| ≤ NEAR.
    #[inline(always)]
    fn act_dz_near(z: f32, a: f32, s: f32) -> f32 {
        Self::act_dz(z, a, s)
    }
    /// act''(z).
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, 0.0)
    }
    /// act'''(z).
    #[inline(always)]
    fn act_dzzz(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, 0.0)
    }
    /// ∂act/∂α.
    #[inline(always)]
    fn act_da(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, 0.0)
    }
    /// ∂²act/∂z∂α.
    #[inline(always)]
    fn act_dzda(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, 0.0)
    }
}

/// y = x.
pub(super) struct Identity;
impl Functions for Identity {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        z
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, 1.0)
    }
}

/// max(x, 0).
pub(super) struct Relu;
impl Functions for Relu {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        select(z <= 0.0, 0.0, z)
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, select(z > 0.0, 1.0, 0.0))
    }
}

/// x > 0 ? x : αx.
pub(super) struct LeakyRelu;
impl Functions for LeakyRelu {
    const HAS_ALPHA: bool = true;
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        // α = 0 is a ReLU at -inf too.
        select(z > 0.0, z, a * select(a == 0.0, finite(z), z))
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, select(z > 0.0, 1.0, a))
    }
    #[inline(always)]
    fn act_da(z: f32, _a: f32, _s: f32) -> f32 {
        select(z > 0.0, 0.0, z)
    }
    #[inline(always)]
    fn act_dzda(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, select(z > 0.0, 0.0, 1.0))
    }
}

/// min(max(x, 0), α).
pub(super) struct ClippedRelu;
impl Functions for ClippedRelu {
    const HAS_ALPHA: bool = true;
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        // With a cap below 0 the value is the cap everywhere.
        let y = select(a < 0.0, a, select(z <= 0.0, 0.0, select(z >= a, a, z)));
        unless_nan(z, unless_nan(a, y))
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, unless_nan(a, select((z > 0.0) & (z < a), 1.0, 0.0)))
    }
    #[inline(always)]
    fn act_da(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, unless_nan(a, select((a < 0.0) | ((z > 0.0) & (z >= a)), 1.0, 0.0)))
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, unless_nan(a, 0.0))
    }
    #[inline(always)]
    fn act_dzda(z: f32, a: f32, s: f32) -> f32 {
        Self::act_dzz(z, a, s)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, s: f32) -> f32 {
        Self::act_dzz(z, a, s)
    }
}

/// min(max(x, 0), 6): [`ClippedRelu`] with a fixed cap.
pub(super) struct Relu6;
impl Functions for Relu6 {
    #[inline(always)]
    fn act(z: f32, a: f32, s: f32) -> f32 {
        ClippedRelu::act(z, a, s)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, s: f32) -> f32 {
        ClippedRelu::act_dz(z, a, s)
    }
}

/// min(max(x, α), s).
pub(super) struct Hardtanh;
impl Functions for Hardtanh {
    #[inline(always)]
    fn act(z: f32, a: f32, s: f32) -> f32 {
        let y = select(z <= a, a, z);
        select(y >= s, s, y)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, s: f32) -> f32 {
        unless_nan(z, select((z > a) & (z < s), 1.0, 0.0))
    }
}

/// max(x, 0)².
pub(super) struct ReluSquared;
impl Functions for ReluSquared {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        let y = select(z <= 0.0, 0.0, z);
        y * y
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        2.0 * select(z <= 0.0, 0.0, z)
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, select(z > 0.0, 2.0, 0.0))
    }
}

/// x > α ? x : 0.
pub(super) struct ThresholdedRelu;
impl Functions for ThresholdedRelu {
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        select(z <= a, 0.0, z)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, select(z > a, 1.0, 0.0))
    }
}

/// x > α ? x : s.
pub(super) struct Threshold;
impl Functions for Threshold {
    #[inline(always)]
    fn act(z: f32, a: f32, s: f32) -> f32 {
        select(z <= a, s, z)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, select(z > a, 1.0, 0.0))
    }
}

/// x > 0 ? x : α(eˣ - 1).
pub(super) struct Elu;
impl Functions for Elu {
    const HAS_ALPHA: bool = true;
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        select(z > 0.0, z, a * expm1(z))
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        let (q, factor) = (decay_far(z, 0.0), split(a));
        select(z > 0.0, 1.0, q.scaled.times_far(factor.m * q.scaled.m, factor.n))
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, _s: f32) -> f32 {
        select(z > 0.0, 0.0, Self::act_dz(z, a, 0.0))
    }
    #[inline(always)]
    fn act_da(z: f32, _a: f32, _s: f32) -> f32 {
        select(z > 0.0, 0.0, expm1(z))
    }
    #[inline(always)]
    fn act_dzda(z: f32, _a: f32, _s: f32) -> f32 {
        select(z > 0.0, 0.0, decay(z).e)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, s: f32) -> f32 {
        Self::act_dzz(z, a, s)
    }
}

/// scale·(x > 0 ? x : α(eˣ - 1)), self-normalising: α = 1.6732632423543772, scale = 1.0507009873554805.
pub(super) struct Selu;
impl Selu {
    const SCALE: f32 = 1.050_701;
    /// scale·α, rounded once.
    const SCALE_ALPHA: f32 = 1.758_099_3;
}
impl Functions for Selu {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        select(z > 0.0, Self::SCALE * z, Self::SCALE_ALPHA * expm1(z))
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        select(z > 0.0, Self::SCALE, Elu::act_dz(z, Self::SCALE_ALPHA, 0.0))
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        Elu::act_dzz(z, Self::SCALE_ALPHA, 0.0)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, s: f32) -> f32 {
        Self::act_dzz(z, a, s)
    }
}

/// x > 0 ? x : α(e^(x/α) - 1); a negative α, which a learnable one may become, makes it grow to the left.
pub(super) struct Celu;
impl Celu {
    /// z/α as high + low: 0 for an infinite α, also if z is infinite; NaN for α = 0.
    #[inline(always)]
    fn quotient(z: f32, a: f32) -> (f32, f32) {
        let (high, low) = quotient(z, a);
        let high = select(a == 0.0, f32::NAN, high);
        (select(a.is_infinite(), unless_nan(z, 0.0), high), select(a.is_infinite(), 0.0, low))
    }
}
impl Functions for Celu {
    const HAS_ALPHA: bool = true;
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = Self::quotient(z, a);
        // For a small quotient the function is a straight line, also where the quotient has underflowed to 0.
        let line = (z > 0.0) | (high.abs() < f32::EPSILON / 4.0);
        select(line, z, expm1_times(a, high, low))
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = Self::quotient(z, a);
        let e = exp_far(high, low);
        select(z > 0.0, 1.0, e.times_far(e.m, 0))
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = Self::quotient(z, a);
        let (e, divisor) = (exp_far(high, low), split(a));
        select(z > 0.0, 0.0, e.times_far(e.m / divisor.m, -divisor.n))
    }
    #[inline(always)]
    fn act_da(z: f32, a: f32, _s: f32) -> f32 {
        // e^u - 1 - u e^u: a series near 0, where it cancels to -u²/2.
        let (high, low) = Self::quotient(z, a);
        let e = exp_far(high, low);
        let u = clamp_abs(high, FAR).copysign(high);
        let series = horner(
            u,
            [
                -1.0 / 2.0,
                -1.0 / 3.0,
                -1.0 / 8.0,
                -1.0 / 30.0,
                -1.0 / 144.0,
                -1.0 / 840.0,
                -1.0 / 5760.0,
                -1.0 / 45_360.0,
                -1.0 / 403_200.0,
                -1.0 / 3_991_680.0,
            ],
        );
        let far = fma(e.times_far(e.m, 0), 1.0 - u, -1.0);
        select(z > 0.0, 0.0, select(u.abs() < 1.0, u * u * series, far))
    }
    #[inline(always)]
    fn act_dzda(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = Self::quotient(z, a);
        let (e, divisor) = (exp_far(high, low), split(a));
        let u = clamp_abs(high, FAR).copysign(high);
        let lower = e.times_far(-u * e.m / divisor.m, -divisor.n);
        // z/α may underflow to 0 although -z/α² does not.
        let x = split(z);
        let line = x.times_far(-x.m / divisor.m / divisor.m, -2 * divisor.n);
        let bent = select(high.abs() < 1e-20, line, lower);
        unless_nan(z, select((z > 0.0) | a.is_infinite(), 0.0, bent))
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = Self::quotient(z, a);
        let (e, divisor) = (exp_far(high, low), split(a));
        select(z > 0.0, 0.0, e.times_far(e.m / divisor.m / divisor.m, -2 * divisor.n))
    }
}

/// ln(1 + e^(αx))/α, and x where αx > s.
pub(super) struct Softplus;
impl Functions for Softplus {
    const HAS_ALPHA: bool = true;
    #[inline(always)]
    fn act(z: f32, a: f32, s: f32) -> f32 {
        let (high, low) = product(a, z);
        let (q, divisor) = (decay_far(high, low), split(a));
        let bend = q.scaled.times_far(log1p_mantissa(q) / divisor.m, -divisor.n);
        // For α → 0 the limit is inf from above and -inf from below.
        let bend = select(a == 0.0, f32::NAN, unless_nan(z, bend));
        let smooth = select(is_corner(z, a), 0.0, select(high > 0.0, z, 0.0) + bend);
        select(above(high, low, s, z, a), z, smooth)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, s: f32) -> f32 {
        let (high, low) = product(a, z);
        select(above(high, low, s, z, a), 1.0, logistic(high, low))
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, s: f32) -> f32 {
        let (high, low) = product(a, z);
        let (q, factor) = (decay_far(high, low), split(a));
        let vanishes = above(high, low, s, z, a) | high.is_infinite();
        select(vanishes, 0.0, q.scaled.times_far(factor.m * q.scaled.m / (q.d * q.d), factor.n))
    }
    #[inline(always)]
    fn act_da(z: f32, a: f32, s: f32) -> f32 {
        let (high, low) = product(a, z);
        let (q, divisor) = (decay_far(high, low), split(a));
        let sum = q.t * q.scaled.m / q.d + log1p_mantissa(q);
        let vanishes = above(high, low, s, z, a) | is_corner(z, a);
        select(vanishes, 0.0, -q.scaled.times_far(sum / divisor.m / divisor.m, -2 * divisor.n))
    }
    #[inline(always)]
    fn act_dzda(z: f32, a: f32, s: f32) -> f32 {
        let (high, low) = product(a, z);
        let q = decay_far(high, low);
        let (x, power) = scaled_down(z);
        let vanishes = above(high, low, s, z, a) | is_corner(z, a);
        let bent = q.scaled.times_far(x * q.scaled.m / (q.d * q.d), power);
        // A straight line at α = 0, infinite at infinity.
        select(vanishes, 0.0, select(a == 0.0, 0.25 * z, bent))
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, s: f32) -> f32 {
        let (high, low) = product(a, z);
        let (q, factor) = (decay_far(high, low), split(a));
        let k = tanh_half(q.t, q.e) * (factor.m * factor.m * q.scaled.m / (q.d * q.d));
        let away = q.scaled.times_far(select(high < 0.0, k, -k), 2 * factor.n);
        let third = select(high.abs() < FLAT, cubed_times(factor, z, -0.125), away);
        select(above(high, low, s, z, a) | (a.is_infinite() & high.is_infinite()), 0.0, third)
    }
}

/// α = ±inf at z = 0, where αz is not defined: terms with a factor z are 0.
#[inline(always)]
fn is_corner(z: f32, a: f32) -> bool {
    a.is_infinite() & (z == 0.0)
}

/// Up to this |αx| a third derivative of a function of αx is a straight line.
const FLAT: f32 = 1e-4;

/// c·α³·z, for α as mantissa and power: no product on the way is out of range.
#[inline(always)]
fn cubed_times(alpha: Scaled, z: f32, c: f32) -> f32 {
    let x = split(finite(z));
    x.times_far(c * x.m * alpha.m * alpha.m * alpha.m, 3 * alpha.n)
}

/// αx > s, with the product as high + low; if s is 0, from the signs, because the product may have underflowed.
#[inline(always)]
fn above(high: f32, low: f32, s: f32, z: f32, a: f32) -> bool {
    let positive = ((a > 0.0) & (z > 0.0)) | ((a < 0.0) & (z < 0.0));
    if s == 0.0 { positive } else { (high > s) | ((high == s) & (low > 0.0)) }
}

/// σ(high + low).
#[inline(always)]
fn logistic(high: f32, low: f32) -> f32 {
    let q = decay_far(high, low);
    select(high < 0.0, q.scaled.times_far(q.scaled.m / q.d, 0), 1.0 / q.d)
}

/// (x + √(x² + α))/2. Computed in f64, because x² may overflow f32.
pub(super) struct Squareplus;
impl Squareplus {
    /// x with ±inf made finite, and √(x² + α).
    #[inline(always)]
    fn parts(z: f32, a: f32) -> (f64, f64) {
        let x = f64::from(z);
        let x = if x.abs() > 1e100 { 1e100f64.copysign(x) } else { x };
        (x, (x * x + f64::from(a)).sqrt())
    }
}
impl Functions for Squareplus {
    const HAS_ALPHA: bool = true;
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        let (x, r) = Self::parts(z, a);
        let y = if x < 0.0 { 0.5 * f64::from(a) / (r - x) } else { 0.5 * (x + r) };
        unless_nan(z, select(a == f32::INFINITY, a, y as f32))
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        let (x, r) = Self::parts(z, a);
        let slope = if x < 0.0 { 0.5 * f64::from(a) / (r * (r - x)) } else { 0.5 + 0.5 * (x / r) };
        unless_nan(z, select(a == f32::INFINITY, 0.5, slope as f32))
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, _s: f32) -> f32 {
        let (_, r) = Self::parts(z, a);
        let curvature = 0.5 * f64::from(a) / (r * r * r);
        unless_nan(z, select(a == f32::INFINITY, 0.0, curvature as f32))
    }
    #[inline(always)]
    fn act_da(z: f32, a: f32, _s: f32) -> f32 {
        (0.25 / Self::parts(z, a).1) as f32
    }
    #[inline(always)]
    fn act_dzda(z: f32, a: f32, _s: f32) -> f32 {
        let (x, r) = Self::parts(z, a);
        (-0.25 * x / (r * r * r)) as f32
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, _s: f32) -> f32 {
        let (x, r) = Self::parts(z, a);
        let third = -1.5 * f64::from(a) * x / (r * r * r * r * r);
        unless_nan(z, select(a == f32::INFINITY, 0.0, third as f32))
    }
}

/// x·Φ(x).
pub(super) struct GeluErf;
impl GeluErf {
    #[inline(always)]
    fn value<const NEAR: bool>(z: f32) -> f32 {
        let t = abs_in::<NEAR>(z, 15.0);
        let g = gauss(t);
        let r = g.times_in::<NEAR>(-t * (g.m * mills(t)));
        select(z < 0.0, r, z + r)
    }
    #[inline(always)]
    fn slope<const NEAR: bool>(z: f32) -> f32 {
        const INVERSE_SQRT_2PI: f32 = 0.398_942_3;
        let t = abs_in::<NEAR>(z, 15.5);
        let g = gauss(t);
        let k = g.times_in::<NEAR>(g.m * fma(-t, INVERSE_SQRT_2PI, mills(t)));
        select(z < 0.0, k, 1.0 - k)
    }
}
impl Functions for GeluErf {
    const NEAR: f32 = 12.0;
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        Self::value::<false>(z)
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        Self::slope::<false>(z)
    }
    #[inline(always)]
    fn act_near(z: f32, _a: f32, _s: f32) -> f32 {
        Self::value::<true>(z)
    }
    #[inline(always)]
    fn act_dz_near(z: f32, _a: f32, _s: f32) -> f32 {
        Self::slope::<true>(z)
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        const INVERSE_SQRT_2PI: f32 = 0.398_942_3;
        let t = clamp_abs(z, 16.0);
        let g = gauss(t);
        // √2, the root of the second derivative, in two parts.
        let h = (t - std::f32::consts::SQRT_2) - 2.420_323e-8;
        g.times(INVERSE_SQRT_2PI * g.m * -(h * (t + std::f32::consts::SQRT_2)))
    }
    #[inline(always)]
    fn act_dzzz(z: f32, _a: f32, _s: f32) -> f32 {
        const INVERSE_SQRT_2PI: f32 = 0.398_942_3;
        let t = clamp_abs(z, 16.5);
        let g = gauss(t);
        g.times(INVERSE_SQRT_2PI * g.m * (select(z < 0.0, -t, t) * ((t - 2.0) * (t + 2.0))))
    }
}

/// x·σ(2√(2/π)(x + 0.044715x³)), which is ½x(1 + tanh(...)) without the cancellation.
pub(super) struct GeluTanh;
impl GeluTanh {
    /// 2√(2/π).
    const A: f32 = 1.595_769;
    /// 3·0.044715·A.
    const B: f32 = 0.214_064_45;
    #[inline(always)]
    fn value<const NEAR: bool>(z: f32) -> f32 {
        times_sigmoid::<NEAR>(z, -11.0, 6.0, gelu_tanh_decay)
    }
    #[inline(always)]
    fn slope<const NEAR: bool>(z: f32) -> f32 {
        let t = abs_in::<NEAR>(z, 11.0);
        let g = gelu_tanh_decay(t);
        let d = 1.0 + g.times_in::<NEAR>(g.m);
        let du = fma(Self::B, t * t, Self::A);
        let k = g.times_in::<NEAR>(g.m * fma(-t, du, d) / (d * d));
        select(z < 0.0, k, 1.0 - k)
    }
}
impl Functions for GeluTanh {
    const NEAR: f32 = 9.0;
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        Self::value::<false>(z)
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        Self::slope::<false>(z)
    }
    #[inline(always)]
    fn act_near(z: f32, _a: f32, _s: f32) -> f32 {
        Self::value::<true>(z)
    }
    #[inline(always)]
    fn act_dz_near(z: f32, _a: f32, _s: f32) -> f32 {
        Self::slope::<true>(z)
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        let t = clamp_abs(z, 11.2);
        let g = gelu_tanh_decay(t);
        let e = g.times(g.m);
        let d = 1.0 + e;
        let du = fma(Self::B, t * t, Self::A);
        let ddu = 2.0 * Self::B * t;
        g.times(g.m * ((2.0 * du + t * ddu) * d - t * du * du * (1.0 - e)) / (d * d * d))
    }
    #[inline(always)]
    fn act_dzzz(z: f32, _a: f32, _s: f32) -> f32 {
        let t = clamp_abs(z, 11.4);
        let g = gelu_tanh_decay(t);
        let e = g.times(g.m);
        let d = 1.0 + e;
        let du = fma(Self::B, t * t, Self::A);
        let ddu = 2.0 * Self::B * t;
        let u = t * fma(Self::B / 3.0, t * t, Self::A);
        let bracket = 4.0 * ddu + t * du * du * du * sigmoid_bend(e) - 3.0 * tanh_half(u, e) * du * (du + t * ddu);
        let third = g.times(g.m / (d * d) * select(z < 0.0, -bracket, bracket));
        // Near 0 a straight line: 2B - A³/2.
        select(t < 1e-5, -1.603_667_5 * z, third)
    }
}

/// x·σ(x): [`Swish`] with α = 1, where the product αx needs no second part.
pub(super) struct Silu;
impl Silu {
    #[inline(always)]
    fn value<const NEAR: bool>(z: f32) -> f32 {
        times_sigmoid::<NEAR>(z, -120.0, 60.0, |x| exp(-x, 0.0))
    }
    #[inline(always)]
    fn slope<const NEAR: bool>(z: f32) -> f32 {
        let q = decay_in::<NEAR>(z);
        let k = q.scaled.times_in::<NEAR>(q.scaled.m * (q.d - q.t) / (q.d * q.d));
        select(z < 0.0, k, 1.0 - k)
    }
}
impl Functions for Silu {
    const NEAR: f32 = 80.0;
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        Self::value::<false>(z)
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        Self::slope::<false>(z)
    }
    #[inline(always)]
    fn act_near(z: f32, _a: f32, _s: f32) -> f32 {
        Self::value::<true>(z)
    }
    #[inline(always)]
    fn act_dz_near(z: f32, _a: f32, _s: f32) -> f32 {
        Self::slope::<true>(z)
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, s: f32) -> f32 {
        Swish::act_dzz(z, a, s)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        let bracket = q.t * sigmoid_bend(q.e) - 3.0 * tanh_half(q.t, q.e);
        q.scaled.times(q.scaled.m / (q.d * q.d) * select(z < 0.0, -bracket, bracket))
    }
}

/// x·σ(1.702x): [`Swish`] with a fixed α.
pub(super) struct QuickGelu;
impl Functions for QuickGelu {
    #[inline(always)]
    fn act(z: f32, a: f32, s: f32) -> f32 {
        Swish::act(z, a, s)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, s: f32) -> f32 {
        Swish::act_dz(z, a, s)
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, s: f32) -> f32 {
        Swish::act_dzz(z, a, s)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, s: f32) -> f32 {
        Swish::act_dzzz(z, a, s)
    }
}

/// x·σ(αx).
pub(super) struct Swish;
impl Functions for Swish {
    const HAS_ALPHA: bool = true;
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = product(a, z);
        let q = decay_far(high, low);
        let (x, power) = scaled_down(z);
        let y = select(high < 0.0, q.scaled.times_far(x * q.scaled.m / q.d, power), z / q.d);
        select(is_corner(z, a), 0.0, y)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = product(a, z);
        let q = decay_far(high, low);
        let k = q.scaled.times_far(q.scaled.m * (q.d - q.t) / (q.d * q.d), 0);
        select(high < 0.0, k, 1.0 - k)
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = product(a, z);
        let q = decay_far(high, low);
        let bracket = 2.0 * q.d - q.t * (1.0 - q.e);
        let factor = split(a);
        let curvature = q.scaled.times_far(factor.m * (q.scaled.m * bracket / (q.d * q.d * q.d)), factor.n);
        select(a.is_infinite() & high.is_infinite(), 0.0, curvature)
    }
    #[inline(always)]
    fn act_da(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = product(a, z);
        let q = decay_far(high, low);
        // x² may overflow although x²·e^-|αx| does not: x is scaled by 2^-66.
        let large = z.abs() > 1e18;
        let x = finite(z) * select(large, f32::from_bits((127 - 66) << 23), 1.0);
        let slope = q.scaled.times_far(x * x * q.scaled.m / (q.d * q.d), if large { 132 } else { 0 });
        select(is_corner(z, a), 0.0, slope)
    }
    #[inline(always)]
    fn act_dzda(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = product(a, z);
        let q = decay_far(high, low);
        let bracket = 2.0 * q.d - q.t * (1.0 - q.e);
        let (x, power) = scaled_down(z);
        let bent = q.scaled.times_far(x * (q.scaled.m * bracket / (q.d * q.d * q.d)), power);
        // A straight line at α = 0, infinite at infinity.
        select(is_corner(z, a), 0.0, select(a == 0.0, 0.5 * z, bent))
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, _s: f32) -> f32 {
        let (high, low) = product(a, z);
        let (q, factor) = (decay_far(high, low), split(a));
        let bracket = q.t * sigmoid_bend(q.e) - 3.0 * tanh_half(q.t, q.e);
        let k = factor.m * factor.m * (q.scaled.m / (q.d * q.d) * select(high < 0.0, -bracket, bracket));
        let away = q.scaled.times_far(k, 2 * factor.n);
        let third = select(high.abs() < FLAT, cubed_times(factor, z, -0.5), away);
        select(a.is_infinite() & high.is_infinite(), 0.0, third)
    }
}

/// x·tanh(ln(1 + eˣ)).
pub(super) struct Mish;
impl Mish {
    /// act'''/h, with p = ln(1 + eˣ), gate = tanh(p), s = σ(x), c = 1 - s, h = d tanh(p)/dp · s.
    #[inline(always)]
    fn third_bracket(x: f32, gate: f32, s: f32, c: f32, h: f32) -> f32 {
        let k = c - 2.0 * gate * s;
        3.0 * k + x * (k * k - s * (c + 2.0 * (h + gate * c)))
    }
}
impl Functions for Mish {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        let w = q.e;
        let b = w + 2.0;
        let a = 1.0 + 2.0 * w;
        let positive = z * (a / (a + 2.0 * w * w));
        let negative = q.scaled.times(-q.t * q.scaled.m * b / fma(w, b, 2.0));
        select(z < 0.0, negative, positive)
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        let w = q.e;
        let t = q.t;
        let dn = fma(w, w + 2.0, 2.0);
        let polynomial = fma(fma(w + 4.0, w, 6.0), w, 4.0) - 4.0 * t * (1.0 + w);
        let negative = q.scaled.times(q.scaled.m * polynomial / (dn * dn));
        let dp = fma(2.0 * w, 1.0 + w, 1.0);
        let positive = fma(1.0 + 2.0 * w, dp, 4.0 * t * (1.0 + w) * (w * w)) / (dp * dp);
        select(z < 0.0, negative, positive)
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        let w = q.e;
        let t = q.t;
        let b = 1.0 / (1.0 + w);
        let m = q.scaled.m;
        let dn = fma(w, w + 2.0, 2.0);
        let tn = w * (w + 2.0) / dn;
        let negative = q.scaled.times(4.0 * m * (1.0 + w) / (dn * dn) * (2.0 - t * (b - 2.0 * tn * w * b)));
        let dp = fma(2.0 * w, 1.0 + w, 1.0);
        let tp = (1.0 + 2.0 * w) / dp;
        let k = 4.0 * m * m * (1.0 + w) / (dp * dp) * (2.0 + t * (w * b - 2.0 * tp * b));
        let positive = q.scaled.times(q.scaled.times(k));
        select(z < 0.0, negative, positive)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        let (w, m) = (q.e, q.scaled.m);
        let b = 1.0 / (1.0 + w);
        let dn = fma(w, w + 2.0, 2.0);
        let hn = 4.0 * (1.0 + w) / (dn * dn);
        let negative = q.scaled.times(hn * m * Self::third_bracket(-q.t, w * (w + 2.0) / dn, w * b, b, hn * w));
        let dp = fma(2.0 * w, 1.0 + w, 1.0);
        let hp = 4.0 * (1.0 + w) / (dp * dp);
        let k = hp * m * m * Self::third_bracket(q.t, (1.0 + 2.0 * w) / dp, b, w * b, hp * (w * w));
        select(z < 0.0, negative, q.scaled.times(q.scaled.times(k)))
    }
}

/// x·min(max(x + 3, 0), 6)/6.
pub(super) struct Hardswish;
impl Functions for Hardswish {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        select(z <= -3.0, 0.0, select(z >= 3.0, z, z * (z + 3.0) / 6.0))
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        select(z <= -3.0, 0.0, select(z >= 3.0, 1.0, (2.0 * z + 3.0) / 6.0))
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, select((z > -3.0) & (z < 3.0), 1.0 / 3.0, 0.0))
    }
}

/// min(max(x + 3, 0), 6)/6.
pub(super) struct Hardsigmoid;
impl Functions for Hardsigmoid {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        select(z <= -3.0, 0.0, select(z >= 3.0, 1.0, (z + 3.0) / 6.0))
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        unless_nan(z, select((z > -3.0) & (z < 3.0), 1.0 / 6.0, 0.0))
    }
}

/// min(max(αx + s, 0), 1). The comparisons are in f64, where the product is exact; rounding would move a kink.
pub(super) struct HardsigmoidAffine;
impl HardsigmoidAffine {
    /// αx + s, whether it is at most 0, and whether at least 1.
    #[inline(always)]
    fn line(z: f32, a: f32, s: f32) -> (f64, bool, bool) {
        let product = if a == 0.0 { 0.0 } else { f64::from(a) * f64::from(z) };
        let s = f64::from(s);
        (product + s, product + s <= 0.0, product + (s - 1.0) >= 0.0)
    }
}
impl Functions for HardsigmoidAffine {
    #[inline(always)]
    fn act(z: f32, a: f32, s: f32) -> f32 {
        let (line, below, above) = Self::line(z, a, s);
        unless_nan(z, select(below, 0.0, select(above, 1.0, line as f32)))
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, s: f32) -> f32 {
        let (_, below, above) = Self::line(z, a, s);
        unless_nan(z, select(below | above, 0.0, a))
    }
}

/// 1/(1 + e^-x).
pub(super) struct Sigmoid;
impl Functions for Sigmoid {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        select(z < 0.0, q.scaled.times(q.scaled.m / q.d), 1.0 / q.d)
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        q.scaled.times(q.scaled.m / (q.d * q.d))
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        // σ'(1 - 2σ) = -σ' tanh(x/2)
        let q = decay(z);
        let k = tanh_half(q.t, q.e) * (q.scaled.m / (q.d * q.d));
        q.scaled.times(select(z < 0.0, k, -k))
    }
    #[inline(always)]
    fn act_dzzz(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        q.scaled.times(sigmoid_bend(q.e) * (q.scaled.m / (q.d * q.d)))
    }
}

/// ln σ(x).
pub(super) struct Logsigmoid;
impl Functions for Logsigmoid {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        let q = decay(z);
        let bend = q.scaled.times(log1p_mantissa(q));
        select(z < 0.0, z, 0.0) - unless_nan(z, bend)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, s: f32) -> f32 {
        Sigmoid::act(-z, a, s)
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, s: f32) -> f32 {
        -Sigmoid::act_dz(z, a, s)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, s: f32) -> f32 {
        -Sigmoid::act_dzz(z, a, s)
    }
}

/// tanh x.
pub(super) struct Tanh;
impl Functions for Tanh {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        tanh(z)
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        tanh_slope(z)
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        -2.0 * tanh(z) * tanh_slope(z)
    }
    // s (4 tanh(z)² − 2 s), s = 1 − tanh(z)²
    #[inline(always)]
    fn act_dzzz(z: f32, _a: f32, _s: f32) -> f32 {
        let (t, s) = (tanh(z), tanh_slope(z));
        s * (4.0 * (t * t) - 2.0 * s)
    }
}

/// x/(1 + |x|).
pub(super) struct Softsign;
impl Functions for Softsign {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        let x = finite(z);
        x / (1.0 + x.abs())
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        let r = 1.0 / (1.0 + z.abs());
        r * r
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        let r = 1.0 / (1.0 + z.abs());
        select(z == 0.0, 0.0, (-2.0 * (r * r * r)).copysign(-z))
    }
    #[inline(always)]
    fn act_dzzz(z: f32, _a: f32, _s: f32) -> f32 {
        let r = 1.0 / (1.0 + z.abs());
        6.0 * (r * r) * (r * r)
    }
}

/// x - tanh x.
pub(super) struct Tanhshrink;
impl Functions for Tanhshrink {
    #[inline(always)]
    fn act(z: f32, _a: f32, _s: f32) -> f32 {
        tanhshrink(z)
    }
    #[inline(always)]
    fn act_dz(z: f32, _a: f32, _s: f32) -> f32 {
        let y = tanh(z);
        y * y
    }
    #[inline(always)]
    fn act_dzz(z: f32, _a: f32, _s: f32) -> f32 {
        2.0 * tanh(z) * tanh_slope(z)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, s: f32) -> f32 {
        -Tanh::act_dzzz(z, a, s)
    }
}

/// x brought closer to 0 by α, and 0 where |x| <= α.
pub(super) struct Softshrink;
impl Functions for Softshrink {
    const HAS_ALPHA: bool = true;
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, unless_nan(a, select(z > a, z - a, select(z < -a, z + a, 0.0))))
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, unless_nan(a, select((z > a) | (z < -a), 1.0, 0.0)))
    }
    #[inline(always)]
    fn act_da(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, unless_nan(a, select(z > a, -1.0, select(z < -a, 1.0, 0.0))))
    }
    #[inline(always)]
    fn act_dzz(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, unless_nan(a, 0.0))
    }
    #[inline(always)]
    fn act_dzda(z: f32, a: f32, s: f32) -> f32 {
        Self::act_dzz(z, a, s)
    }
    #[inline(always)]
    fn act_dzzz(z: f32, a: f32, s: f32) -> f32 {
        Self::act_dzz(z, a, s)
    }
}

/// x, and 0 where |x| <= α.
pub(super) struct Hardshrink;
impl Functions for Hardshrink {
    #[inline(always)]
    fn act(z: f32, a: f32, _s: f32) -> f32 {
        select(z.abs() <= a, 0.0, z)
    }
    #[inline(always)]
    fn act_dz(z: f32, a: f32, _s: f32) -> f32 {
        unless_nan(z, select(z.abs() <= a, 0.0, 1.0))
    }
}
