#use bits
// leaky_relu, prelu: y = z > 0 ? z : alpha z; slope alpha at 0
// p.x = alpha. For alpha = 0 the lower branch is 0, also at z = -inf, where the product would be NaN.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let lower = select(p.x * z, 0.0, is_zero(p.x));
    return keep_nan(select(lower, z, z > 0.0), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(p.x, 1.0, z > 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_da(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(z, 0.0, z > 0.0), z);
}

fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(1.0, 0.0, z > 0.0), z);
}

fn act_dzzda(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dada(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

// Right for alpha >= 0 only: then y > 0 exactly where z > 0.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(p.x, 1.0, y > 0.0), y);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return (z > 0.0) | is_nan(z);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return select(p.x, 1.0, bit);
}
