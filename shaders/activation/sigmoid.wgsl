#use tanh
// sigmoid: y = 1 / (1 + exp(-z))
// From e = exp(-|z|): 1 / (1 + e) above 0, e / (1 + e) below; s (1 - s) is e / (1 + e)^2, which does not cancel.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let w = decay(z);
    let d = 1.0 + w.e;
    return select(1.0 / d, scale2(w.m / d, w.n), z < 0.0);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let w = decay(z);
    let d = 1.0 + w.e;
    return scale2(w.m / (d * d), w.n);
}

// s' (1 - 2s), and 1 - 2s = -tanh(z / 2) keeps its digits near 0.
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let w = decay(z);
    let d = 1.0 + w.e;
    return scale2(-tanh_signed(0.5 * z) * (w.m / (d * d)), w.n);
}

// s' (1 - 6 s')
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let w = decay(z);
    let d = 1.0 + w.e;
    return scale2(sigmoid_bend(w.e) * (w.m / (d * d)), w.n);
}

// Cancels where y comes near 1: absolute accuracy, not relative.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return y * (1.0 - y);
}
