#use bits
// clipped_relu, relu6: y = min(max(z, 0), cap); slope 0 at 0 and at the cap
// p.x = cap. A learnable one may go below 0: then it is the value everywhere.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let upper = select(z, p.x, z >= p.x);
    return keep_nans(select(select(upper, 0.0, z <= 0.0), p.x, p.x < 0.0), z, p.x);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(select(0.0, 1.0, (z > 0.0) & (z < p.x)), z, p.x);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(0.0, z, p.x);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(0.0, z, p.x);
}

fn act_da(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(select(0.0, 1.0, (p.x < 0.0) | ((z > 0.0) & (z >= p.x))), z, p.x);
}

fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(0.0, z, p.x);
}

fn act_dzzda(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(0.0, z, p.x);
}

fn act_dada(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(0.0, z, p.x);
}

fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, (y > 0.0) & (y < p.x)), y);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return ((z > 0.0) & (z < p.x)) | is_nan(z);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, bit), p.x);
}
