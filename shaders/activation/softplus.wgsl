#use logistic
#use log1p
#use expm1
// softplus: y = log(1 + exp(beta z)) / beta = max(z, 0) + log(1 + e) / beta, e = exp(-|beta z|)
// p.x = beta, p.y = threshold: above beta z > threshold, y = z (PyTorch). inf: never.

// beta z > threshold; for a threshold of 0 by the signs, because the product may vanish.
fn act_above(q: Logistic, z: f32, p: vec2<f32>) -> bool {
    return select((q.u.h - p.y) + q.u.l > 0.0, select(z, -z, p.x < 0.0) > 0.0, p.y == 0.0);
}

fn act_decay(q: Logistic) -> Decay {
    return Decay(q.m, q.n, q.e);
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let w = act_decay(q);
    let upper = z + log1p_decay(w) / p.x;
    let lower = scale2(log1p_decay_scaled(w) / p.x, w.n);
    let smooth_value = select(upper, lower, q.negative);
    return keep_nan(select(smooth_value, z, act_above(q, z, p)), z);
}

// sigmoid(beta z)
fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let s = select(1.0 / q.d, scale2(q.m / q.d, q.n), q.negative);
    return keep_nan(select(s, 1.0, act_above(q, z, p)), z);
}

// beta e / (1 + e)^2
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let c = scale2(p.x * q.m / (q.d * q.d), q.n);
    return keep_nan(select(c, 0.0, act_above(q, z, p)), z);
}

// -(|u| e / (1 + e) + log(1 + e)) / beta^2, u = beta z: two terms of one sign on either side of 0.
fn act_da(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let sum = q.t * q.m / q.d + log1p_decay_scaled(act_decay(q));
    let a = scale2(-sum / p.x / p.x, q.n);
    return keep_nan(select(a, 0.0, act_above(q, z, p)), z);
}

// z e / (1 + e)^2
fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let c = scale2(z * (q.m / (q.d * q.d)), q.n);
    return keep_nan(select(c, 0.0, q.far || act_above(q, z, p)), z);
}

// 1 - exp(-beta y), without a threshold.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(-expm1(-(p.x * y)), y);
}
