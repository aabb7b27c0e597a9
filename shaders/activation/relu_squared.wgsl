#use bits
// relu_squared: y = max(z, 0)^2; y' = 2 max(z, 0); y''(0) = 0

fn act(z: f32, p: vec2<f32>) -> f32 {
    let positive = select(0.0, z, z > 0.0);
    return keep_nan(positive * positive, z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(2.0 * select(0.0, z, z > 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 2.0, z > 0.0), z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}
