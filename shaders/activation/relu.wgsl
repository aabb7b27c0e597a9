#use bits
// relu: y = z > 0 ? z : 0; slope 0 at 0

fn act(z: f32, p: vec2<f32>) -> f32 {
    return select(z, 0.0, is_negative(z));
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, z > 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, y > 0.0), y);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return (z > 0.0) | is_nan(z);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return select(0.0, 1.0, bit);
}
