#use bits
// softshrink: y = z > lambda ? z - lambda : z < -lambda ? z + lambda : 0; slope 0 at both kinks
// p.x = lambda >= 0. Below 0, as a learnable one may go, both conditions hold in between, and the first counts.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let lower = select(0.0, z + p.x, z < -p.x);
    return keep_nans(select(lower, z - p.x, z > p.x), z, p.x);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(select(0.0, 1.0, abs(z) > p.x), z, p.x);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(0.0, z, p.x);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(0.0, z, p.x);
}

fn act_da(z: f32, p: vec2<f32>) -> f32 {
    let lower = select(0.0, 1.0, z < -p.x);
    return keep_nans(select(lower, -1.0, z > p.x), z, p.x);
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

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return (abs(z) > p.x) | is_nan(z);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, 1.0, bit), p.x);
}
