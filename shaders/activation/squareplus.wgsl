#use bits
// squareplus: y = (z + r) / 2, r = sqrt(z^2 + b); for z < 0 the same as b / (2 (r - z)), where the sum would cancel
// p.x = b > 0. r is formed as a hypotenuse (the larger leg outside the root): z^2 may overflow. A learnable b may become
// anything: below 0 there is a root where z^2 >= -b, and at b = inf r is infinite whatever z is.

fn act_root(z: f32, b: f32) -> f32 {
    let leg = sqrt(abs(b));
    let a = abs(z);
    let z_is_longer = a > leg;
    let long = select(leg, a, z_is_longer);
    let short = select(a, leg, z_is_longer);
    let ratio = select(short / long, 0.0, is_zero(long) | is_infinite(long));
    let hypotenuse = long * sqrt(1.0 + ratio * ratio);
    return select(hypotenuse, act_root_below(a, b), b < 0.0);
}

// sqrt(a^2 + b) for b < 0. The sum may cancel: the square of a's head is exact, and what it leaves is small.
fn act_root_below(a: f32, b: f32) -> f32 {
    let large = a > 1e18;
    let scale = select(1.0, 0x1p-64, large);
    let s = a * scale;
    let s_head = head(s);
    let square = (s_head * s_head + opaque(b * scale) * scale) + (s - s_head) * (s + s_head);
    let root = select(sqrt(max(square, 0.0)), nan_of(b), square < 0.0) * select(1.0, 0x1p+64, large);
    return select(select(root, a, is_infinite(a)), nan_of(b), is_infinite(b));
}

// (|z| + r) / 2. Of two halves, so that the sum does not overflow; and where r is |z|, it is |z| itself, because some
// compilers put the halves together again.
fn act_half_sum(z: f32, r: f32) -> f32 {
    let a = abs(z);
    return keep_nan(select(0.5 * a + 0.5 * r, a, a > 1e37), r);
}

fn act_is_endless(b: f32) -> bool {
    return is_infinite(b) & (b > 0.0);
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    let sum = act_half_sum(z, act_root(z, p.x));
    return keep_nans(select(over(0.25 * p.x, sum), sum, (z >= 0.0) | act_is_endless(p.x)), z, p.x);
}

// (1 + z / r) / 2; the smaller of slope(z) and slope(-z) is b / (2 r (r + |z|)), and they sum to 1.
fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    let sum = act_half_sum(z, r);
    let small = opaque(0.25 * p.x / r) / sum;
    let slope = select(small, 1.0 - small, z > 0.0);
    return keep_nans(select(slope, 0.5, act_is_endless(p.x)), z, p.x);
}

// b / (2 r^3)
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    return keep_nans(select(opaque(opaque(0.5 * p.x / r) / r) / r, 0.0, act_is_endless(p.x)), z, p.x);
}

// -3 b z / (2 r^5); of a small z, z / r and 3 z / 2 alone may be subnormal, but then b is r^2.
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    let share = opaque(opaque(p.x / r) / r);
    let ratio = with_sign(capped_abs(z, LARGEST) / r, z); // at z = inf: 0, not inf / inf
    let small = opaque(-0x1.8p+64 * z) / (r * r * r) * share * 0x1p-64;
    let away = opaque(opaque(-1.5 * share * ratio / r) / r);
    let third = select(away, small, (abs(z) < 1e-20) & (p.x > 1e-30));
    return keep_nans(select(third, 0.0, act_is_endless(p.x)), z, p.x);
}

// 1 / (4 r)
fn act_da(z: f32, p: vec2<f32>) -> f32 {
    return keep_nans(0.25 / act_root(z, p.x), z, p.x);
}

// -z / (4 r^3); of a small z, z / r alone may be subnormal.
fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    let ratio = with_sign(capped_abs(z, LARGEST) / r, z); // at z = inf: 0, not inf / inf
    let small = z / (r * r * r);
    return keep_nans(-0.25 * select(opaque(ratio / r) / r, small, abs(z) < 1e-20), z, p.x);
}

// (2 z^2 - b) / (4 r^5)
fn act_dzzda(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    let share = opaque(opaque(p.x / r) / r);
    let ratio = capped_abs(z, LARGEST) / r;
    let mixed = opaque(opaque(0.25 * (2.0 * ratio * ratio - share) / r) / r) / r;
    return keep_nans(select(mixed, 0.0, act_is_endless(p.x)), z, p.x);
}

// -1 / (8 r^3)
fn act_dada(z: f32, p: vec2<f32>) -> f32 {
    let r = act_root(z, p.x);
    return keep_nans(select(opaque(opaque(-0.125 / r) / r) / r, 0.0, act_is_endless(p.x)), z, p.x);
}

// r = y + b / (4 y), so the slope y / r is y^2 / (y^2 + b / 4), as 1 / (1 + w^2) or w^2 / (1 + w^2): y^2 may overflow.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    let c = 0.5 * sqrt(p.x);
    let y_is_larger = y > c;
    let w = select(y / c, c / y, y_is_larger);
    let square = w * w;
    return keep_nan(select(square, 1.0, y_is_larger) / (1.0 + square), y);
}
