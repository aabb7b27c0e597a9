#use bits
// hardshrink: y = |z| > lambda ? z : 0; slope 0 at both kinks
// p.x = lambda >= 0.

fn act(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, z, abs(z) > p.x), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, abs(z) > p.x), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return (abs(z) > p.x) | is_nan(z);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return select(0.0, 1.0, bit);
}
