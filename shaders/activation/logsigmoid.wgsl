#use log1p
#use expm1
#use tanh
// logsigmoid: y = log(sigmoid(z)) = min(z, 0) - log(1 + e), e = exp(-|z|)

fn act(z: f32, p: vec2<f32>) -> f32 {
    let w = decay(z);
    return select(-scale2(log1p_decay_scaled(w), w.n), z - log1p_decay(w), z < 0.0);
}

// sigmoid(-z)
fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let w = decay(z);
    let d = 1.0 + w.e;
    return select(scale2(w.m / d, w.n), 1.0 / d, z < 0.0);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let w = decay(z);
    let d = 1.0 + w.e;
    return -scale2(w.m / (d * d), w.n);
}

// sigmoid'(z) tanh(z / 2)
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let w = decay(z);
    let d = 1.0 + w.e;
    let magnitude = tanh_half(capped_abs(z, EXP_FAR), w.e) * (w.m / (d * d));
    return scale2(select(magnitude, -magnitude, z < 0.0), w.n);
}

// 1 - exp(y)
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(-expm1(y), y);
}
