#use bits
// hardsigmoid(slope, offset): y = min(max(slope z + offset, 0), 1); slope 0 at both kinks (ONNX)
// p.x = slope, p.y = offset. The kinks are no round numbers, and beside them slope z + offset cancels: the product is kept
// as four exact partial products of 12-bit halves, so that the sum's sign is right, and with it the side of the kink.

fn act_sum(slope: f32, z: f32, offset: f32) -> f32 {
    let finite = select(z, with_sign(LARGEST, z), abs(z) > LARGEST); // slope 0 at z = inf is not 0 * inf
    let slope_head = head(slope);
    let slope_tail = slope - slope_head;
    let z_head = head(finite);
    let z_tail = finite - z_head;
    let sum = ((slope_head * z_head + offset) + slope_head * z_tail) + slope_tail * z_head;
    let product = slope * finite;
    return select(sum + slope_tail * z_tail, product, abs(product) > 1e30); // partial products may overflow
}

fn act_is_inside(z: f32, p: vec2<f32>) -> bool {
    return act_sum(p.x, z, p.y) > 0.0 && act_sum(p.x, z, p.y - 1.0) < 0.0;
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    let sum = act_sum(p.x, z, p.y);
    let upper = select(sum, 1.0, act_sum(p.x, z, p.y - 1.0) >= 0.0);
    return keep_nan(select(upper, 0.0, sum <= 0.0), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, p.x, act_is_inside(z, p)), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return is_nan(z) || act_is_inside(z, p);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return select(0.0, p.x, bit);
}
