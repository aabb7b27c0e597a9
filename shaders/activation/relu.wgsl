#use bits
// relu: y = z > 0 ? z : 0; slope 0 at 0

// As an integer z is at most that of -inf where it is negative and no NaN: two instructions for what a comparison, a test for NaN and two
// selections do.
fn act(z: f32, p: vec2<f32>) -> f32 {
    return select(z, 0.0, bitcast<i32>(z) <= -8388608);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, z > 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
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
