#use expm1
// celu: y = z > 0 ? z : alpha (exp(z / alpha) - 1); slope 1 at 0
// p.x = alpha. The quotient u = z / alpha is kept in two parts, because its rounding error would be magnified |u| times by
// the exponential. A negative alpha gives u > 0, which may overflow, as it should.

const ACT_FAR: f32 = 170.0;
const ACT_SMALL: f32 = 1e-26;

struct ActQuotient {
    h: f32,
    l: f32,
}

// min(z, 0) / alpha as h + l: h is the quotient's head, so that h * head(alpha) is exact, and l is what it leaves. Of a small z
// what it leaves may be subnormal; there one part will do. Beside an infinite alpha it vanishes, also where z is infinite; where
// alpha is 0 or NaN there is none.
fn act_quotient(z: f32, alpha: f32) -> ActQuotient {
    let lower = min(z, 0.0);
    let q = over(lower, alpha);
    let h = head(q);
    let alpha_head = head(alpha);
    let rest = (lower - h * alpha_head) - h * (alpha - alpha_head);
    let far = abs(q) > ACT_FAR;
    let small = lower > -ACT_SMALL;
    let flat = is_infinite(alpha);
    let none = is_zero(alpha) | is_nan(alpha);
    let quotient = select(select(select(h, q, small), with_sign(ACT_FAR, q), far), nan_of(alpha), none);
    return ActQuotient(select(quotient, 0.0, flat), select(rest / alpha, 0.0, far | small | flat | none));
}

// Near 0, where u may be subnormal although z is not, it is z itself. Above 1 (a negative alpha) both parts of u count, and
// alpha is multiplied before the power of two: exp(u) may overflow although alpha exp(u) does not.
fn act(z: f32, p: vec2<f32>) -> f32 {
    let u = act_quotient(z, p.x);
    let sum = u.h + u.l;
    let s = exp_scaled(u.h, u.l);
    let far = select(p.x * expm1(min(sum, 1.0)), scale2(p.x * s.m, s.n) - p.x, sum > 1.0);
    let lower = keep_nan(select(far, z + 0.5 * z * sum, abs(sum) < 1e-4), sum);
    return keep_nan(select(lower, z, (z > 0.0) | is_infinite(p.x)), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let u = act_quotient(z, p.x);
    let s = exp_scaled(u.h, u.l);
    return keep_nan(select(keep_nan(scale2(s.m, s.n), u.h), 1.0, z > 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let u = act_quotient(z, p.x);
    let s = exp_scaled(u.h, u.l);
    return keep_nan(select(keep_nan(scale2(s.m / p.x, s.n), u.h), 0.0, (z > 0.0) | is_infinite(p.x)), z);
}

// exp(u) / alpha^2
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let u = act_quotient(z, p.x);
    let s = exp_scaled(u.h, u.l);
    let lower = keep_nan(scale2(s.m / (p.x * p.x), s.n), u.h);
    return keep_nan(select(lower, 0.0, (z > 0.0) | is_infinite(p.x)), z);
}

// (1 - u) exp(u) - 1 = -u^2 (1/2 + u/3 + u^2/8 + ...): the difference cancels near 0, the series (own fit) does not.
fn act_da(z: f32, p: vec2<f32>) -> f32 {
    let u = act_quotient(z, p.x);
    let sum = u.h + u.l;
    let high = 0.0069443672 + sum * (0.00119006913 + sum * (0.000173715205 + sum * (2.26033098e-05
        + sum * 2.45992123e-06)));
    let q = 0.5 + sum * (0.333333313 + sum * (0.125000015 + sum * (0.0333334431 + sum * high)));
    let s = exp_scaled(u.h, u.l);
    let lower = select(scale2((1.0 - sum) * s.m, s.n) - 1.0, -(sum * sum) * q, abs(sum) < 1.0);
    return keep_nan(select(keep_nan(lower, sum), 0.0, z > 0.0), z);
}

// -(u / alpha) exp(u); of a small z, u alone may be subnormal.
fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    let u = act_quotient(z, p.x);
    let s = exp_scaled(u.h, u.l);
    let far = scale2(-((u.h + u.l) / p.x) * s.m, s.n);
    let lower = keep_nan(select(far, -z / (p.x * p.x), z > -ACT_SMALL), u.h);
    return keep_nan(select(lower, 0.0, (z > 0.0) | is_infinite(p.x)), z);
}

// -(1 + u) exp(u) / alpha^2; near its root both parts of u count.
fn act_dzzda(z: f32, p: vec2<f32>) -> f32 {
    let u = act_quotient(z, p.x);
    let s = exp_scaled(u.h, u.l);
    let lower = keep_nan(scale2(-((1.0 + u.h) + u.l) * (s.m / (p.x * p.x)), s.n), u.h);
    return keep_nan(select(lower, 0.0, (z > 0.0) | is_infinite(p.x)), z);
}

// u^2 exp(u) / alpha; of a small z, u^2 alone may be subnormal.
fn act_dada(z: f32, p: vec2<f32>) -> f32 {
    let u = act_quotient(z, p.x);
    let sum = u.h + u.l;
    let s = exp_scaled(u.h, u.l);
    let lower = keep_nan(scale2(opaque(sum / p.x) * sum * s.m, s.n), u.h);
    return keep_nan(select(lower, 0.0, (z > 0.0) | is_infinite(p.x)), z);
}

// Right for alpha > 0 only. Cancels where y comes near -alpha: absolute accuracy, not relative.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(y / p.x + 1.0, 1.0, y > 0.0), y);
}
