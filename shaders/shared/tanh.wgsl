#use exp
// tanh(t) and its slope for t >= 0, from e = exp(-2 t): 1 - 2 e / (1 + e), and an odd polynomial near 0 where that cancels.
// The builtin is allowed to be 1e-5 off, and to overflow.
fn tanh_positive(t: f32) -> f32 {
    let capped = capped_abs(t, 10.0);
    let s = exp_scaled(-2.0 * capped, 0.0);
    return tanh_of(capped, scale2(s.m, s.n));
}

// tanh(t) for t >= 0, from e = exp(-2 t).
fn tanh_of(t: f32, e: f32) -> f32 {
    let z = t * t;
    let p = -0.3333328 + z * (0.13331442 + z * (-0.053739715 + z * (0.020639088 + z * -0.005704987)));
    let near = t + t * z * p;
    let away = 1.0 - 2.0 * (e / (1.0 + e));
    return select(away, near, t < 0.625);
}

// tanh(t / 2) = (1 - e) / (1 + e) for t >= 0, from e = exp(-t): sigmoid'' / sigmoid' with the other sign.
fn tanh_half(t: f32, e: f32) -> f32 {
    return tanh_of(0.5 * t, e);
}

// sigmoid''' / sigmoid' from e = exp(-t): 1 - 6 e / (1 + e)^2 = ((1 - e)^2 - 2 e) / (1 + e)^2, which keeps its digits at 0 too.
fn sigmoid_bend(e: f32) -> f32 {
    let gap = 1.0 - e;
    let d = 1.0 + e;
    return (gap * gap - 2.0 * e) / (d * d);
}

fn tanh_signed(x: f32) -> f32 {
    return with_sign(tanh_positive(abs(x)), x);
}

// 1 - tanh^2 = 4 e / (1 + e)^2, with the power of two left off.
fn sech2_scaled(x: f32) -> Scaled {
    let s = exp_scaled(-2.0 * capped_abs(x, 60.0), 0.0);
    let d = 1.0 + scale2(s.m, s.n);
    return Scaled(4.0 * s.m / (d * d), s.n);
}
