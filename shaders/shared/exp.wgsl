#use bits
// exp(h + l) to about 1 ulp, as m * 2^n: the power of two is applied last (scale2), after everything else was multiplied
// to m, so that a subnormal exponential costs no digits in a result that is normal.

struct Scaled {
    m: f32,
    n: i32,
}

// p * 2^n for n in [-252, 254]: two factors, because 2^n itself may be out of range.
fn scale2(p: f32, n: i32) -> f32 {
    let a = n >> 1u;
    let b = n - a;
    return p * bitcast<f32>(u32(a + 127) << 23u) * bitcast<f32>(u32(b + 127) << 23u);
}

const LOG2_E: f32 = 1.442695;
// ln 2 in two parts; the first ends in nine zero bits, so n * LN2_HEAD is exact for |n| < 512.
const LN2_HEAD: f32 = 0.693145751953125;
const LN2_TAIL: f32 = 1.4286067653e-06;

// exp(r) for |r| <= ln(2)/2 + a little; own minimax fit.
fn exp_reduced(r: f32) -> f32 {
    let p = 0.49999994 + r * (0.16666521 + r * (0.04166839 + r * (0.008368717 + r * 0.0013814598)));
    return 1.0 + (r + r * r * p);
}

// h in [-200, 170]; l is a small correction.
fn exp_scaled(h: f32, l: f32) -> Scaled {
    let n = round(h * LOG2_E);
    let r = (h - n * LN2_HEAD) - n * LN2_TAIL + l;
    return Scaled(exp_reduced(r), i32(n));
}

// Past this argument e^-t is zero beside everything it meets.
const EXP_FAR: f32 = 120.0;

// exp(-|x|), and its value when the scale is applied at once.
struct Decay {
    m: f32,
    n: i32,
    e: f32,
}

fn decay(x: f32) -> Decay {
    return decay_at(capped_abs(x, EXP_FAR));
}

// The same for a t that is |x|, capped already.
fn decay_at(t: f32) -> Decay {
    let s = exp_scaled(-t, 0.0);
    return Decay(s.m, s.n, scale2(s.m, s.n));
}

// z / (1 + e) above 0 and -t e / (1 + e) below, where t is |z|, capped: z times a sigmoid. Half of e's power of two goes to it before
// the division, the rest behind it: a subnormal result is rounded once. NaN comes through z.
fn through_sigmoid(z: f32, t: f32, e: Scaled) -> f32 {
    let half = e.n >> 1u;
    let part = e.m * power2(half);
    let rest = power2(e.n - half);
    let negative = is_negative(z);
    return select(z, -t * part, negative) / (1.0 + part * rest) * select(1.0, rest, negative);
}
