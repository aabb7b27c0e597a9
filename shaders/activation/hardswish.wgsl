#use bits
// hardswish: y = z min(max(z + 3, 0), 6) / 6; slope 0 at -3, 1 at 3 (PyTorch)

fn act(z: f32, p: vec2<f32>) -> f32 {
    let middle = z * opaque(z + 3.0) / 6.0; // z / 6 + 1 / 2 would cancel
    let upper = select(middle, z, z >= 3.0);
    return keep_nan(select(upper, 0.0, z <= -3.0), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let middle = z / 3.0 + 0.5;
    let upper = select(middle, 1.0, z >= 3.0);
    return keep_nan(select(upper, 0.0, z <= -3.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 0.33333334, (z > -3.0) & (z < 3.0)), z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}
