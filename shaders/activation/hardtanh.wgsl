#use bits
// hardtanh: y = z clipped to [min, max]; slope 0 at both
// p.x = min, p.y = max.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let upper = select(z, p.y, z >= p.y);
    return keep_nan(select(upper, p.x, z <= p.x), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, (z > p.x) & (z < p.y)), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, (y > p.x) & (y < p.y)), y);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return ((z > p.x) & (z < p.y)) | is_nan(z);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return select(0.0, 1.0, bit);
}
