#use bits
// hardsigmoid(slope, offset): y = min(max(slope z + offset, 0), 1); slope 0 at both kinks (ONNX)
// p.x = slope, p.y = offset. The kinks are no round numbers, and beside them slope z + offset cancels: the product is kept
// as four exact partial products of 12-bit halves, so that the sum's sign is right, and with it the side of the kink.

fn act_sum(slope: f32, z: f32, first: f32, second: f32) -> f32 {
    let finite = select(z, with_sign(LARGEST, z), abs(z) > LARGEST); // slope 0 at z = inf is not 0 * inf
    let slope_head = head(slope);
    let slope_tail = slope - slope_head;
    let z_head = head(finite);
    let z_tail = finite - z_head;
    let sum = (((slope_head * z_head + first) + second) + slope_head * z_tail) + slope_tail * z_head;
    let product = slope * finite;
    let near = select(sum + slope_tail * z_tail, product, abs(product) > 1e30); // partial products may overflow
    // Where nothing is added the sign is that of the product, which must not vanish.
    return select(near, slope * (finite * 0x1p+64), (abs(z) < 1e-20) & (first == 0.0) & (second == 0.0));
}

// slope z + offset
fn act_above_lower(z: f32, p: vec2<f32>) -> f32 {
    return act_sum(p.x, z, p.y, 0.0);
}

// slope z + offset - 1: offset - 1 is exact from 1/2 to 2; else first what is larger.
fn act_above_upper(z: f32, p: vec2<f32>) -> f32 {
    let small = abs(p.y) < 0.5;
    let exact = (p.y >= 0.5) & (p.y <= 2.0);
    let first = select(select(p.y, -1.0, small), p.y - 1.0, exact);
    let second = select(select(-1.0, p.y, small), 0.0, exact);
    return act_sum(p.x, z, first, second);
}

fn act_is_inside(z: f32, p: vec2<f32>) -> bool {
    return (act_above_lower(z, p) > 0.0) & (act_above_upper(z, p) < 0.0);
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    // Where the offset is 0 act_sum has the sign alone.
    let sum = select(act_above_lower(z, p), p.x * z, (p.y == 0.0) & (abs(z) < 1e-20));
    let upper = select(sum, 1.0, act_above_upper(z, p) >= 0.0);
    return keep_nan(select(upper, 0.0, sum <= 0.0), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(0.0, p.x, act_is_inside(z, p)), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

fn act_bit(z: f32, p: vec2<f32>) -> bool {
    return is_nan(z) | act_is_inside(z, p);
}

fn act_dz_of_bit(bit: bool, p: vec2<f32>) -> f32 {
    return select(0.0, p.x, bit);
}
