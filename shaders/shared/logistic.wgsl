#use exp
#use product
// The parts of sigmoid(beta z) for a beta that is no power of two: everything follows from e = exp(-|beta z|), and the
// product is kept in two parts, because its rounding error would be magnified |beta z| times by the exponential.

// Past this |beta z| the exponential is zero beside every factor it meets; scale2 still reaches it.
const LOGISTIC_FAR: f32 = 160.0;
// Below this |beta z|, the third derivatives are the first term of their series: the next is under 2^-26 of it.
const LOGISTIC_NEAR: f32 = 1e-4;

struct Logistic {
    t: f32,         // |beta z|, capped at LOGISTIC_FAR
    negative: bool, // beta z < 0
    far: bool,      // the cap was reached
    m: f32,         // e = m * 2^n
    n: i32,
    e: f32,
    d: f32,         // 1 + e
    u: Pair,        // beta z
}

// beta = +-inf at z = 0, where beta z is anything: what has a factor z is 0 there, the rest is NaN.
fn is_corner(beta: f32, z: f32) -> bool {
    return is_infinite(beta) & is_zero(z);
}

fn logistic(beta: f32, z: f32) -> Logistic {
    let u = product_pair(beta, z, LOGISTIC_FAR);
    // h may be 0 (a subnormal's head) where l is not: the sign is that of the sum.
    let sum = u.h + u.l;
    let negative = sum < 0.0;
    let s = exp_scaled(select(-u.h, u.h, negative), select(-u.l, u.l, negative));
    let e = scale2(s.m, s.n);
    let t = abs(sum);
    return Logistic(t, negative, t >= LOGISTIC_FAR, s.m, s.n, e, 1.0 + e, u);
}

// The same up to twice LOGISTIC_FAR, by the square of exp(-|beta z| / 2): e = m * 2^n * 2^n. For the second derivatives by beta, which
// multiply e by as much as 1e36.
fn logistic_squared(beta: f32, z: f32) -> Logistic {
    let q = logistic(0.5 * beta, z);
    let e = q.e * q.e;
    return Logistic(2.0 * q.t, q.negative, q.far, q.m * q.m, q.n, e, 1.0 + e, Pair(2.0 * q.u.h, 2.0 * q.u.l));
}

// Not for beta = 0, where z may be infinite.
fn logistic_is_near(q: Logistic, beta: f32) -> bool {
    return (q.t < LOGISTIC_NEAR) & !is_zero(beta);
}
