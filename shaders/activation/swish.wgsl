#use logistic
#use tanh
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

// beta^2 e (u g / d^2 - 3 tanh(u / 2)) / d^2, g = (1 - e)^2 - 2 e, odd in u. Near 0 it is -beta^3 z / 2: u may be subnormal there.
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let square = p.x * p.x;
    let bracket = q.t * sigmoid_bend(q.e) - 3.0 * tanh_half(q.t, q.e);
    let k = square * (q.m / (q.d * q.d) * select(bracket, -bracket, q.negative));
    let third = select(scale2(k, q.n), -0.5 * square * p.x * z, logistic_is_near(q, p.x));
    return keep_nans(select(third, 0.0, q.far & is_infinite(p.x)), z, p.x);
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

// e (2 - 4 t tanh(t / 2) + t^2 g / d^2) / d^2
fn act_dzzda(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic(p.x, z);
    let bracket = 2.0 + q.t * (q.t * sigmoid_bend(q.e) - 4.0 * ((1.0 - q.e) / q.d));
    return keep_nans(scale2(q.m * bracket / (q.d * q.d), q.n), z, p.x);
}

// -z^3 e tanh(u / 2) / d^2, even in u; z^3 may be large where e is beyond the reach of logistic. 0 for beta = 0, where z may be infinite.
fn act_dada(z: f32, p: vec2<f32>) -> f32 {
    let q = logistic_squared(p.x, z);
    let bend = tanh_half(q.t, q.e) * (q.m / (q.d * q.d));
    let square = z * opaque(z * select(-bend, bend, q.negative)); // z^3 may overflow
    let cube = scale2(z * opaque(scale2(square, q.n)), q.n);
    return keep_nans(select(cube, 0.0, q.far | is_zero(p.x) | is_corner(p.x, z)), z, p.x);
}
