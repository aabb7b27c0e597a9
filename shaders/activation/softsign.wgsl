#use bits
// softsign: y = z / (1 + |z|)

fn act(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_abs(z, 1e9); // inf / inf is not 1, and beyond 2^126 some devices divide by multiplying with 0
    return with_sign(t / (1.0 + t), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let r = 1.0 / (1.0 + abs(z));
    return r * r;
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let r = 1.0 / (1.0 + abs(z));
    let magnitude = select(2.0 * r * r * r, 0.0, z == 0.0);
    return select(magnitude, -magnitude, z > 0.0);
}

// 6 / (1 + |z|)^4
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let r = 1.0 / (1.0 + abs(z));
    let square = r * r;
    return 6.0 * square * square;
}

// Cancels where |y| comes near 1: absolute accuracy, not relative.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    let r = 1.0 - abs(y);
    return r * r;
}
