#use bits
// identity: y = z

fn act(z: f32, p: vec2<f32>) -> f32 {
    return z;
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(1.0, z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(1.0, y);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return true;
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return 1.0;
}
