#use exp
// log(1 + e) for e = exp(-t) in (0, 1], from s = e / (2 + e): log(1 + e) = 2 atanh(s) = 2 s + s z q(z), z = s^2.

fn log1p_series(z: f32) -> f32 {
    return 0.66666675 + z * (0.3999889 + z * (0.28616613 + z * (0.21430561 + z * 0.24290295)));
}

fn log1p_decay(w: Decay) -> f32 {
    let s = w.e / (2.0 + w.e);
    let z = s * s;
    return 2.0 * s + s * z * log1p_series(z);
}

// The same with the power of two of e left off, for results that may come near the subnormals: apply scale2(.., w.n).
fn log1p_decay_scaled(w: Decay) -> f32 {
    let d = 2.0 + w.e;
    let s = w.e / d;
    let z = s * s;
    let sm = w.m / d;
    return 2.0 * sm + sm * z * log1p_series(z);
}
