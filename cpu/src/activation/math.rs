//! Building blocks in f32: e^x as a mantissa and a power of two, products in two parts, clamps that keep NaN.
//! Without branches, tables and libm calls, so that LLVM compiles a loop over them to vector code.

#![expect(clippy::excessive_precision, reason = "upper parts are written out: they are exact, with trailing zero bits")]

const LOG2E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; the upper one has 9 trailing zero bits, so that n·LN2_HIGH is exact for |n| < 512.
const LN2_HIGH: f32 = 0.693_145_751_953_125;
const LN2_LOW: f32 = 1.428_606_765_3e-6;
/// 1.5·2²³: adding it rounds a number to an integer, which is then in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// a·b + c, rounded once.
#[inline(always)]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// Horner: c[0] + x(c[1] + x(c[2] + ...)).
#[inline(always)]
pub(super) fn horner<const D: usize>(x: f32, c: [f32; D]) -> f32 {
    c[..D - 1].iter().rev().fold(c[D - 1], |sum, &coefficient| fma(sum, x, coefficient))
}

/// Horner for an even number of coefficients, even and odd powers apart: the chain of additions that wait for each other is half as
/// long, and the last addition, which matters most, as accurate.
#[inline(always)]
fn horner_in_two<const D: usize>(x: f32, c: [f32; D]) -> f32 {
    let (square, mut even, mut odd) = (x * x, c[D - 2], c[D - 1]);
    for pair in c[2..D - 2].rchunks_exact(2) {
        even = fma(even, square, pair[0]);
        odd = fma(odd, square, pair[1]);
    }
    fma(fma(even, x, fma(odd, square, c[1])), x, c[0])
}

/// `if condition { a } else { b }` without a branch.
#[inline(always)]
pub(super) fn select(condition: bool, a: f32, b: f32) -> f32 {
    if condition { a } else { b }
}

/// `value`, or NaN where `x` is NaN, for functions whose comparisons would turn NaN into a number.
#[inline(always)]
pub(super) fn unless_nan(x: f32, value: f32) -> f32 {
    select(x.is_nan(), x, value)
}

/// min(|x|, c), with NaN kept; if `NEAR`, |x| is known to be below c.
#[inline(always)]
pub(super) fn abs_in<const NEAR: bool>(x: f32, c: f32) -> f32 {
    if NEAR { x.abs() } else { clamp_abs(x, c) }
}

/// min(|x|, c), with NaN kept.
#[inline(always)]
pub(super) fn clamp_abs(x: f32, c: f32) -> f32 {
    let a = x.abs();
    select(a > c, c, a)
}

/// x with ±inf replaced by the largest finite number, so that inf·0 cannot occur.
#[inline(always)]
pub(super) fn finite(x: f32) -> f32 {
    clamp_abs(x, f32::MAX).copysign(x)
}

/// x as a finite number and a power of two still to be applied: a large x is divided by 2¹², so that it can be multiplied.
#[inline(always)]
pub(super) fn scaled_down(x: f32) -> (f32, i32) {
    let large = x.abs() > 1e30;
    (finite(x) * select(large, 1.0 / 4096.0, 1.0), if large { 12 } else { 0 })
}

/// x as m·2ⁿ with |m| in [1, 2), so that multiplying or dividing by m neither overflows nor underflows; for 0, inf and NaN m is x.
#[inline(always)]
pub(super) fn split(x: f32) -> Scaled {
    let tiny = x.abs() < f32::MIN_POSITIVE;
    let bits = (x * select(tiny, 16_777_216.0, 1.0)).to_bits();
    let m = f32::from_bits(bits & 0x807f_ffff | 0x3f80_0000);
    let n = ((bits >> 23 & 0xff) as i32).wrapping_sub(if tiny { 127 + 24 } else { 127 });
    let ordinary = (x != 0.0) & (x.abs() <= f32::MAX);
    Scaled { m: select(ordinary, m, x), n: if ordinary { n } else { 0 } }
}

/// The nearest integer, as a number and as an integer.
#[inline(always)]
fn round(x: f32) -> (f32, i32) {
    let shifted = x + ROUND;
    (shifted - ROUND, shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32)
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// A number m·2ⁿ. The power is applied last, so that a subnormal result is rounded only once.
#[derive(Clone, Copy)]
pub(super) struct Scaled {
    pub(super) m: f32,
    pub(super) n: i32,
}

impl Scaled {
    /// p·2ⁿ; for n in [-126, 127] if `NEAR`, otherwise in [-252, 254].
    #[inline(always)]
    pub(super) fn times_in<const NEAR: bool>(self, p: f32) -> f32 {
        if NEAR {
            return p * power_of_two(self.n);
        }
        let half = self.n >> 1;
        p * power_of_two(half) * power_of_two(self.n.wrapping_sub(half))
    }

    /// p·2ⁿ for n in [-252, 254].
    #[inline(always)]
    pub(super) fn times(self, p: f32) -> f32 {
        self.times_in::<false>(p)
    }

    /// p·2^(n + extra) for any n: beyond ±372 the result is 0 or inf with any normal p.
    #[inline(always)]
    pub(super) fn times_far(self, p: f32, extra: i32) -> f32 {
        let n = self.n.wrapping_add(extra).clamp(-372, 372);
        // n/3, rounded down.
        let third = n.wrapping_mul(21_846) >> 16;
        let scale = power_of_two(third);
        p * scale * scale * power_of_two(n.wrapping_sub(third.wrapping_mul(2)))
    }
}

/// e^r for |r| <= ln2/2.
#[inline(always)]
fn exp_reduced(r: f32) -> f32 {
    let p = horner(r, [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_717, 0.001_381_459_8]);
    1.0 + fma(r * r, p, r)
}

/// z·σ(u) = z/(1 + e^-u), where `decay` makes e^-u of z. Below `low` the result is 0, above `high` it is z; between -`NEAR` and `NEAR` of the
/// activation nothing is out of range.
#[inline(always)]
pub(super) fn times_sigmoid<const NEAR: bool>(z: f32, low: f32, high: f32, decay: impl Fn(f32) -> Scaled) -> f32 {
    if NEAR {
        let g = decay(z);
        return z / (1.0 + g.times_in::<true>(g.m));
    }
    let z = select(z < low, low, z);
    let g = decay(select(z > high, high, z));
    // The same bits: both terms of the sum are divided by 2ⁿ, and so is the quotient.
    let one = select(g.n > 100, 0.0, power_of_two(g.n.wrapping_neg()));
    Scaled { n: g.n.wrapping_neg(), ..g }.times(z / (one + g.m))
}

/// Beyond this |u|, e^-|u| is 0 in every result made of it.
pub(super) const FAR: f32 = 290.0;

/// e^(high + low) for high in [-300, 300] and a small correction low.
#[inline(always)]
pub(super) fn exp(high: f32, low: f32) -> Scaled {
    let (n, integer) = round(high * LOG2E);
    let r = fma(-n, LN2_LOW, fma(-n, LN2_HIGH, high)) + low;
    Scaled { m: exp_reduced(r), n: integer }
}

/// e^-|x| as a number and as mantissa and power.
#[derive(Clone, Copy)]
pub(super) struct Decay {
    pub(super) scaled: Scaled,
    /// e^-|x|
    pub(super) e: f32,
    /// 1 + e^-|x|
    pub(super) d: f32,
    /// |x|, clamped where e^-|x| is 0 in every product.
    pub(super) t: f32,
}

/// e^-|x|.
#[inline(always)]
pub(super) fn decay(x: f32) -> Decay {
    decay_in::<false>(x)
}

/// e^-|x|; for |x| up to 80 if `NEAR`.
#[inline(always)]
pub(super) fn decay_in<const NEAR: bool>(x: f32) -> Decay {
    let t = abs_in::<NEAR>(x, 120.0);
    let scaled = exp(-t, 0.0);
    let e = scaled.times_in::<NEAR>(scaled.m);
    Decay { scaled, e, d: 1.0 + e, t }
}

/// e^-|u| for u = high + low with |u| up to 290, for [`Scaled::times_far`]: u = βx and x may be as large as e^88.7, so x²·e^-|u| is not 0
/// below |u| = 282.
#[inline(always)]
pub(super) fn decay_far(high: f32, low: f32) -> Decay {
    let t = clamp_abs(high, FAR);
    let low = select(high.abs() < FAR, low * -1.0f32.copysign(high), 0.0);
    let scaled = exp(-t, low);
    let e = scaled.times_far(scaled.m, 0);
    Decay { scaled, e, d: 1.0 + e, t }
}

/// β·x as high + low, because a rounded product would give e^(βx) an error of |βx| ulp.
#[inline(always)]
pub(super) fn product(beta: f32, x: f32) -> (f32, f32) {
    // β = 0 gives 0, also for x = ±inf.
    let high = select(beta == 0.0, 0.0, beta * x);
    (unless_nan(x, high), select(beta == 0.0, 0.0, fma(beta, x, -high)))
}

/// x/a as high + low.
#[inline(always)]
pub(super) fn quotient(x: f32, a: f32) -> (f32, f32) {
    // The remainder x − high·a is far smaller than a; it is scaled up where a is small, so that it does not underflow.
    let room = select(a.abs() < 1e-18, 18_446_744_073_709_551_616.0, 1.0);
    let (x, a) = (x * room, a * room);
    let high = x / a;
    (high, -fma(high, a, -x) / a)
}

/// e^(high + low) for any high, 0 or inf beyond the range of f32. For [`Scaled::times_far`].
#[inline(always)]
pub(super) fn exp_far(high: f32, low: f32) -> Scaled {
    let inside = high.abs() < FAR;
    exp(clamp_abs(high, FAR).copysign(high), select(inside, low, 0.0))
}

/// e^(x + low) - 1 where it is below √2, and as a mantissa and a power of two.
#[inline(always)]
fn expm1_parts(x: f32, low: f32) -> (f32, Scaled) {
    let (n, integer) = round(x * LOG2E);
    let r = fma(-n, LN2_LOW, fma(-n, LN2_HIGH, x)) + low;
    let p = horner(r, [0.5, 0.166_666_67, 0.041_666_325, 0.008_333_22, 0.001_394_321, 0.000_199_621_72]);
    let m = fma(r * r, p, r);
    let inverse = select(integer > 100, 0.0, power_of_two(integer.wrapping_neg()));
    (m, Scaled { m: m + (1.0 - inverse), n: integer })
}

/// e^v - 1 for v up to 88.
#[inline(always)]
pub(super) fn expm1(v: f32) -> f32 {
    let x = select(v < -20.0, -20.0, select(v > 90.0, 90.0, v));
    let (near, far) = expm1_parts(x, 0.0);
    select(far.n == 0, near, far.times(far.m))
}

/// a·(e^(high + low) - 1), also where it is finite although e^high is not.
#[inline(always)]
pub(super) fn expm1_times(a: f32, high: f32, low: f32) -> f32 {
    let x = select(high < -20.0, -20.0, select(high > FAR, FAR, high));
    let (near, far) = expm1_parts(x, select(x == high, low, 0.0));
    let factor = split(a);
    select(far.n == 0, a * near, far.times_far(factor.m * far.m, factor.n))
}

/// ln(1 + e) as mantissa and power, for e = e^-t of [`Decay`].
#[inline(always)]
pub(super) fn log1p_mantissa(q: Decay) -> f32 {
    let inverse = 1.0 / (2.0 + q.e);
    let s = q.e * inverse;
    let z = s * s;
    let p = horner(z, [0.666_666_75, 0.399_988_9, 0.286_166_13, 0.214_305_61, 0.242_902_95]);
    let sm = q.scaled.m * inverse;
    fma(sm * z, p, 2.0 * sm)
}

/// e^(-t²/2) for t in [0, 16].
#[inline(always)]
pub(super) fn gauss(t: f32) -> Scaled {
    let square = t * t;
    exp(-0.5 * square, -0.5 * fma(t, t, -square))
}

/// e^(t²/2)·Φ(-t) for t in [0, 16]: Mills' ratio over √(2π), a polynomial in (t - 3.5)/(t + 3.5).
#[inline(always)]
pub(super) fn mills(t: f32) -> f32 {
    let r = 1.0 / (t + 3.5);
    let q = (t - 3.5) * r;
    let p = horner_in_two(
        q,
        [
            0.744_416_06,
            -0.565_561_8,
            0.315_425_04,
            -0.116_053_04,
            0.017_406_378,
            0.006_493_115_3,
            -0.003_175_310_8,
            -0.000_494_942_5,
            0.000_421_898_2,
            0.000_110_689_136,
        ],
    );
    p * r
}

/// e^(-2√(2/π)(t + 0.044715 t³)) for t in [-11, 11.4], the argument as high + low.
#[inline(always)]
pub(super) fn gelu_tanh_decay(t: f32) -> Scaled {
    // 2√(2/π) and 0.044715 times that, each in two parts.
    const LINE: [f32; 2] = [1.595_769_2, -4.534_068e-8];
    const CUBE: [f32; 2] = [0.071_354_814, 2.398_832_4e-9];
    let square = t * t;
    let bend = CUBE[0] * square;
    // line + bend and the rounding error of this sum, whichever of the two is larger.
    let sum = bend + LINE[0];
    let part = sum - bend;
    let lost = (bend - (sum - part)) + (LINE[0] - part);
    let rest = fma(CUBE[0], fma(t, t, -square), fma(CUBE[1], square, LINE[1])) + fma(CUBE[0], square, -bend);
    let high = t * sum;
    exp(-high, -fma(t, lost + rest, fma(t, sum, -high)))
}

/// tanh(x), odd; relative accuracy near 0.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let t = clamp_abs(x, 10.0);
    let g = exp(-2.0 * t, 0.0);
    tanh_of(t, g.times(g.m)).copysign(x)
}

/// tanh(t) for t ≥ 0, from e = e^-2t.
#[inline(always)]
fn tanh_of(t: f32, e: f32) -> f32 {
    let z = t * t;
    let p = horner(z, [-0.333_332_8, 0.133_314_42, -0.053_739_715, 0.020_639_088, -0.005_704_987]);
    select(t < 0.625, fma(t * z, p, t), 1.0 - 2.0 * (e / (1.0 + e)))
}

/// tanh(t/2) for t ≥ 0, from e = e^-t: σ''(t)/σ'(t) with the other sign.
#[inline(always)]
pub(super) fn tanh_half(t: f32, e: f32) -> f32 {
    tanh_of(0.5 * t, e)
}

/// σ'''/σ' = 1 - 6e/(1 + e)² from e = e^-t, in a form that keeps its digits at 0.
#[inline(always)]
pub(super) fn sigmoid_bend(e: f32) -> f32 {
    let (gap, d) = (1.0 - e, 1.0 + e);
    (gap * gap - 2.0 * e) / (d * d)
}

/// tanh'(x) = 4e^-2|x| / (1 + e^-2|x|)².
#[inline(always)]
pub(super) fn tanh_slope(x: f32) -> f32 {
    let t = clamp_abs(x, 60.0);
    let g = exp(-2.0 * t, 0.0);
    let d = 1.0 + g.times(g.m);
    g.times(4.0 * g.m / (d * d))
}

/// x - tanh(x), odd: its own polynomial below 1, where the difference cancels.
#[inline(always)]
pub(super) fn tanhshrink(x: f32) -> f32 {
    let t = x.abs();
    let z = t * t;
    let p = horner(
        z,
        [
            0.333_333_34,
            -0.133_333_1,
            0.053_963_42,
            -0.021_829_585,
            0.008_697_948,
            -0.003_206_949_2,
            0.000_923_606_1,
            -0.000_142_823_06,
        ],
    );
    let near = t * z * p;
    let g = exp(-2.0 * clamp_abs(x, 60.0), 0.0);
    let e = g.times(g.m);
    let far = (t - 1.0) + 2.0 * (e / (1.0 + e));
    select(t < 1.0, near, far).copysign(x)
}
