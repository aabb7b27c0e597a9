#use exp
// mish: y = z tanh(softplus(z))
// tanh(log(1 + exp z)) is rational in w = exp(-|z|): w (w + 2) / (w (w + 2) + 2) below 0, (1 + 2w) / (1 + 2w + 2w^2) above.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let q = decay(z);
    let w = q.e;
    let numerator = 1.0 + 2.0 * w;
    let upper = z * (numerator / (numerator + 2.0 * w * w));
    let b = w + 2.0;
    let lower = scale2(-capped_abs(z, EXP_FAR) * q.m * b / (w * b + 2.0), q.n);
    return select(upper, lower, z < 0.0);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let q = decay(z);
    let w = q.e;
    let t = capped_abs(z, EXP_FAR);
    let below = w * (w + 2.0) + 2.0;
    let poly = ((w + 4.0) * w + 6.0) * w + 4.0;
    let lower = scale2(q.m * (poly - 4.0 * t * (1.0 + w)) / (below * below), q.n);
    let above = 1.0 + 2.0 * w * (1.0 + w);
    let upper = ((1.0 + 2.0 * w) * above + 4.0 * t * (1.0 + w) * (w * w)) / (above * above);
    return select(upper, lower, z < 0.0);
}

// 2 h s + z h s (c - 2 T s), with T = tanh(softplus), h = 1 - T^2, s = sigmoid(z), c = 1 - s. Above 0 it falls as
// exp(-2z): the power of two is applied twice.
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let q = decay(z);
    let w = q.e;
    let t = capped_abs(z, EXP_FAR);
    let b = 1.0 / (1.0 + w);
    let below = w * (w + 2.0) + 2.0;
    let tanh_below = w * (w + 2.0) / below;
    let bracket_below = 2.0 - t * (b - 2.0 * tanh_below * w * b);
    let lower = scale2(4.0 * q.m * (1.0 + w) / (below * below) * bracket_below, q.n);
    let above = 1.0 + 2.0 * w * (1.0 + w);
    let tanh_above = (1.0 + 2.0 * w) / above;
    let bracket_above = 2.0 + t * (w * b - 2.0 * tanh_above * b);
    let k = 4.0 * q.m * q.m * (1.0 + w) / (above * above) * bracket_above;
    let upper = scale2(scale2(k, q.n), q.n);
    return select(upper, lower, z < 0.0);
}

// h s (3 k + z (k^2 - s (c + 2 h s + 2 T c))), k = c - 2 T s.
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let q = decay(z);
    let w = q.e;
    let t = capped_abs(z, EXP_FAR);
    let b = 1.0 / (1.0 + w);
    let square = w * (w + 2.0) + 2.0;
    let below = act_third_bracket(-t, w * (w + 2.0) / square, w * b, b, 4.0 * w * (1.0 + w) / (square * square));
    let lower = scale2(4.0 * q.m * (1.0 + w) / (square * square) * below, q.n);
    let quotient = 1.0 + 2.0 * w * (1.0 + w);
    let hs = 4.0 * (1.0 + w) / (quotient * quotient);
    let above = act_third_bracket(t, (1.0 + 2.0 * w) / quotient, b, w * b, hs * (w * w));
    let upper = scale2(scale2(q.m * q.m * hs * above, q.n), q.n);
    return select(upper, lower, z < 0.0);
}

fn act_third_bracket(z: f32, gate: f32, s: f32, c: f32, hs: f32) -> f32 {
    let k = c - 2.0 * gate * s;
    return 3.0 * k + z * (k * k - s * (c + 2.0 * (hs + gate * c)));
}
