#use tanh
// tanh: y = tanh(z)

fn act(z: f32, p: vec2<f32>) -> f32 {
    return tanh_signed(z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let s = sech2_scaled(z);
    return scale2(s.m, s.n);
}

// -2 tanh(z) (1 - tanh(z)^2)
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let s = sech2_scaled(z);
    return scale2(-2.0 * tanh_signed(z) * s.m, s.n);
}

// s (4 tanh(z)^2 - 2 s), s = 1 - tanh(z)^2
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let s = sech2_scaled(z);
    let t = tanh_positive(abs(z));
    return scale2(s.m * (4.0 * (t * t) - 2.0 * scale2(s.m, s.n)), s.n);
}

// Cancels where |y| comes near 1: absolute accuracy, not relative.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return (1.0 - y) * (1.0 + y);
}
