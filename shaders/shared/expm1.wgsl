#use exp
// exp(u) - 1 without the cancellation near 0: exp(r) - 1 is the polynomial itself, and 2^n is put on afterwards.
fn expm1(u: f32) -> f32 {
    let x = select(u, -20.0, u < -20.0); // below, exp(u) - 1 rounds to -1
    let n = round(x * LOG2_E);
    let r = (x - n * LN2_HEAD) - n * LN2_TAIL;
    let p = 0.5 + r * (0.16666667 + r * (0.041666325 + r * (0.00833322 + r * (0.001394321 + r * 0.00019962172))));
    let m = r + r * r * p;
    let s = scale2(1.0, i32(n));
    return select(s * m + (s - 1.0), m, n == 0.0);
}
