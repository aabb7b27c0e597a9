#use bits
// a * z as h + l, where the rounding of a plain product would be multiplied by |a * z| in an exponential.

struct Pair {
    h: f32,
    l: f32,
}

// h = head(a) * head(z) is exact, l is the rest. Beyond `cap` (and for z = +-inf) the sum is +-cap; a = 0 gives 0.
fn product_pair(a: f32, z: f32, cap: f32) -> Pair {
    let finite = select(z, with_sign(LARGEST, z), abs(z) > LARGEST);
    let u = a * finite;
    let a_head = head(a);
    let z_head = head(finite);
    let h = a_head * z_head;
    let l = a_head * (finite - z_head) + (a - a_head) * finite;
    let far = abs(u) > cap;
    return Pair(select(h, with_sign(cap, u), far), select(l, 0.0, far));
}
