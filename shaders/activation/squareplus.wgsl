#use bits
// squareplus: y = (z + r) / 2, r = sqrt(z^2 + b); for z < 0 the same as b / (2 (r - z)), where the sum would cancel
// p.x = b > 0. r is formed as a hypotenuse (the larger leg outside the root): z^2 may overflow.

fn act_root(z: f32, b: f32) -> f32 {
    let leg = sqrt(b);
    let a = abs(z);
    let z_is_longer = a > leg;
    let long = select(leg, a, z_is_longer);
    let short = select(a, leg, z_is_longer);
    let ratio = short / long;
    return long * sqrt(1.0 + ratio * ratio);
}

// (|z| + r) / 2. Of two halves, so that the sum does not overflow; and where r is |z|, it is |z| itself, because some
// compilers put the halves together again.
fn act_half_sum(z: f32, r: f32) -> f32 {
    let a = abs(z);
    return select(0.5 * a + 0.5 * r, a, a > 1e37);
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    let sum = act_half_sum(z, act_root(z, p.x));
    return keep_nan(select(0.25 * p.x / sum, sum, z > 0.0), z);
}

// (1 + z / r) / 2; the smaller of slope(z) and slope(-z) is b / (2 r (r + |z|)), and they sum to 1.
fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    let sum = act_half_sum(z, r);
    let small = 0.25 * p.x / r / sum;
    return keep_nan(select(small, 1.0 - small, z > 0.0), z);
}

// b / (2 r^3)
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    return keep_nan(0.5 * p.x / r / r / r, z);
}

// 1 / (4 r)
fn act_da(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.25 / act_root(z, p.x), z);
}

// -z / (4 r^3); of a small z, z / r alone may be subnormal.
fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    let ratio = with_sign(capped_abs(z, LARGEST) / r, z); // at z = inf: 0, not inf / inf
    let small = z / (r * r * r);
    return keep_nan(-0.25 * select(ratio / r / r, small, abs(z) < 1e-20), z);
}

// r = y + b / (4 y), so the slope y / r is y^2 / (y^2 + b / 4), as 1 / (1 + w^2) or w^2 / (1 + w^2): y^2 may overflow.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    let c = 0.5 * sqrt(p.x);
    let y_is_larger = y > c;
    let w = select(y / c, c / y, y_is_larger);
    let square = w * w;
    return keep_nan(select(square, 1.0, y_is_larger) / (1.0 + square), y);
}
