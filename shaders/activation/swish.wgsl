#use logistic
// swish, quick_gelu: y = z sigmoid(beta z)
// p.x = beta. With u = beta z, t = |u|, e = exp(-t), d = 1 + e everything is rational in e and t. Where t is far, e is zero
// beside any power of z: chosen, not multiplied, because z may be infinite.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let tail = select(scale2(z * (q.m / q.d), q.n), 0.0, q.far);
    let y = select(z / q.d, tail, q.negative);
    return keep_nans(select(y, 0.0, is_corner(p.x, z)), z, p.x);
}

// e (d - t) / d^2 for u < 0, and 1 minus it above.
fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let k = scale2(q.m * (q.d - q.t) / (q.d * q.d), q.n);
    return keep_nans(select(1.0 - k, k, q.negative), z, p.x);
}

// beta e (2 d - t (1 - e)) / d^3
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let k = q.m * (2.0 * q.d - q.t * (1.0 - q.e)) / (q.d * q.d * q.d);
    return keep_nans(select(scale2(p.x * k, q.n), 0.0, q.far & is_infinite(p.x)), z, p.x);
}

// z^2 e / d^2
fn act_da(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let k = z * opaque(z * (q.m / (q.d * q.d))); // z^2 may overflow
    return keep_nans(select(scale2(k, q.n), 0.0, q.far | is_corner(p.x, z)), z, p.x);
}

// z e (2 d - t (1 - e)) / d^3
fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let k = q.m * (2.0 * q.d - q.t * (1.0 - q.e)) / (q.d * q.d * q.d);
    return keep_nans(select(scale2(z * k, q.n), 0.0, q.far | is_corner(p.x, z)), z, p.x);
}
