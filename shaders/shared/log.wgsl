#use log1p
// log(x) for a normal x > 0: x = m * 2^n with m from sqrt(1/2) to sqrt(2), so that nothing cancels.
fn log_normal(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let up = u32((bits & 0x7fffffu) >= 0x3504f3u);
    let n = f32(bits >> 23u) - 127.0 + f32(up);
    let f = bitcast<f32>((bits & 0x7fffffu) | ((127u - up) << 23u)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    return n * LN2_HEAD + (n * LN2_TAIL + (2.0 * s + s * z * log1p_series(z)));
}
