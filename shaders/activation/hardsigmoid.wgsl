#use bits
// hardsigmoid without arguments: y = min(max(z + 3, 0), 6) / 6; slope 0 at both kinks (PyTorch)

fn act(z: f32, p: vec2<f32>) -> f32 {
    let middle = opaque(z + 3.0) / 6.0; // z / 6 + 1 / 2 would cancel
    let upper = select(middle, 1.0, z >= 3.0);
    return keep_nan(select(upper, 0.0, z <= -3.0), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 0.16666667, (z > -3.0) & (z < 3.0)), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return ((z > -3.0) & (z < 3.0)) | is_nan(z);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return select(0.0, 0.16666667, bit);
}
