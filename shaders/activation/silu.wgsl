#use tanh
// silu: y = z sigmoid(z)
// From e = exp(-t), t = |z|: z / (1 + e) above 0, -t e / (1 + e) below; silu(z) - silu(-z) = z. Every function asks for the same e, so that a kernel
// with several of them computes it once; NaN comes back at the end.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, EXP_FAR);
    return through_sigmoid(z, t, exp_scaled(-t, 0.0));
}

// e (1 + e - t) / (1 + e)^2 for z < 0, and 1 minus it above.
fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, EXP_FAR);
    let w = decay_at(t);
    let d = 1.0 + w.e;
    let k = scale2(w.m * (d - t) / (d * d), w.n);
    return keep_nan(select(1.0 - k, k, z < 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, EXP_FAR);
    let w = decay_at(t);
    let d = 1.0 + w.e;
    return keep_nan(scale2(w.m * (2.0 * d - t * (1.0 - w.e)) / (d * d * d), w.n), z);
}

// e (t g / d^2 - 3 tanh(t / 2)) / d^2, g = (1 - e)^2 - 2 e, with the sign of z.
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, EXP_FAR);
    let w = decay_at(t);
    let d = 1.0 + w.e;
    let bracket = t * sigmoid_bend(w.e) - 3.0 * tanh_half(t, w.e);
    return keep_nan(scale2(w.m / (d * d) * select(bracket, -bracket, z < 0.0), w.n), z);
}
