#use product
// hardsigmoid(slope, offset): y = min(max(slope z + offset, 0), 1); slope 0 at both kinks (ONNX)
// p.x = slope, p.y = offset. The kinks are no round numbers: the exact product decides on which side z lies.

const ACT_FAR: f32 = 1e30;

fn act_is_low(q: Pair, offset: f32) -> bool {
    return (q.h + offset) + q.l <= 0.0;
}

fn act_is_high(q: Pair, offset: f32) -> bool {
    return (q.h + (offset - 1.0)) + q.l >= 0.0;
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    let q = product_pair(p.x, z, ACT_FAR);
    let upper = select((q.h + p.y) + q.l, 1.0, act_is_high(q, p.y));
    return keep_nan(select(upper, 0.0, act_is_low(q, p.y)), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let q = product_pair(p.x, z, ACT_FAR);
    let outside = act_is_low(q, p.y) || act_is_high(q, p.y);
    return keep_nan(select(p.x, 0.0, outside), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    let q = product_pair(p.x, z, ACT_FAR);
    return is_nan(z) || !(act_is_low(q, p.y) || act_is_high(q, p.y));
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return select(0.0, p.x, bit);
}
