#use logistic
#use tanh
#use log1p
#use expm1
// softplus: y = log(1 + exp(beta z)) / beta = max(z, 0) + log(1 + e) / beta, e = exp(-|beta z|)
// p.x = beta, p.y = threshold: above beta z > threshold, y = z (PyTorch). inf: never.

// beta z > threshold; for a threshold of 0 by the signs, because the product may vanish.
fn act_above(q: Logistic, z: f32, p: vec2<f32>) -> bool {
    let sign = select(select(z, -z, p.x < 0.0), 0.0, is_zero(p.x));
    return select((q.u.h - p.y) + q.u.l > 0.0, sign > 0.0, p.y == 0.0);
}

fn act_decay(q: Logistic) -> Decay {
    return Decay(q.m, q.n, q.e);
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let w = act_decay(q);
    let upper = z + log1p_decay(w) / p.x;
    let lower = scale2(log1p_decay_scaled(w) / p.x, w.n);
    // Where beta comes to 0, it goes to inf from the one side and to -inf from the other.
    let smooth_value = select(select(upper, lower, q.negative), nan_of(p.x), is_zero(p.x));
    let value = select(smooth_value, 0.0, is_corner(p.x, z));
    return keep_nans(select(value, z, act_above(q, z, p)), z, p.x);
}

// sigmoid(beta z)
fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let s = select(1.0 / q.d, scale2(q.m / q.d, q.n), q.negative);
    return keep_nans(select(s, 1.0, act_above(q, z, p)), z, p.x);
}

// beta e / (1 + e)^2
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let c = scale2(p.x * q.m / (q.d * q.d), q.n);
    return keep_nans(select(c, 0.0, act_above(q, z, p) | (q.far & is_infinite(p.x))), z, p.x);
}

// -beta^2 e / (1 + e)^2 tanh(u / 2), u = beta z. Near 0 it is -beta^3 z / 8: u may be subnormal there.
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let square = p.x * p.x;
    let magnitude = square * (tanh_half(q.t, q.e) * (q.m / (q.d * q.d)));
    let away = scale2(select(-magnitude, magnitude, q.negative), q.n);
    let third = select(away, -0.125 * square * p.x * z, logistic_is_near(q, p.x));
    return keep_nans(select(third, 0.0, act_above(q, z, p) | (q.far & is_infinite(p.x))), z, p.x);
}

// -(|u| e / (1 + e) + log(1 + e)) / beta^2, u = beta z: two terms of one sign on either side of 0.
fn act_da(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let sum = q.t * q.m / q.d + log1p_decay_scaled(act_decay(q));
    let a = scale2(opaque(-sum / p.x) / p.x, q.n);
    return keep_nans(select(a, 0.0, act_above(q, z, p) | is_corner(p.x, z)), z, p.x);
}

// z e / (1 + e)^2
fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let c = scale2(z * (q.m / (q.d * q.d)), q.n);
    return keep_nans(select(c, 0.0, q.far | act_above(q, z, p) | is_corner(p.x, z)), z, p.x);
}

// e (1 + e - t (1 - e)) / (1 + e)^3, t = |u|
fn act_dzzda(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let c = scale2(q.m * (q.d - q.t * (1.0 - q.e)) / (q.d * q.d * q.d), q.n);
    return keep_nans(select(c, 0.0, act_above(q, z, p)), z, p.x);
}

// (t^2 e / (1 + e)^2 + 2 t e / (1 + e) + 2 log(1 + e)) / beta^3, t = |u|: three terms of one sign. 1 / beta^3 may be large where
// e is beyond the reach of logistic.
fn act_dada(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic_squared(p.x, z);
    let share = q.t / q.d;
    let sum = (share * (share + 2.0)) * q.m + 2.0 * log1p_decay_scaled(act_decay(q));
    let a = scale2(scale2(sum / (p.x * p.x * p.x), q.n), q.n);
    let smooth_value = select(a, nan_of(p.x), is_zero(p.x));
    return keep_nans(select(smooth_value, 0.0, act_above(q, z, p) | is_corner(p.x, z)), z, p.x);
}

// 1 - exp(-beta y), without a threshold.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(-expm1(-(p.x * y)), y);
}
