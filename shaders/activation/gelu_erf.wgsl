#use normal
// gelu_erf: y = z Phi(z)
// With t = |z|: the tail is -t Phi(-t) = -t e R(t), e = exp(-t^2/2), R = mills; for z > 0 it is z minus the same, because
// gelu(z) - gelu(-z) = z. No 1 + erf, so no cancellation. t is capped where the tail is zero: inf * 0 does not arise. Near 0 it is
// half of z: the tail of the least normal numbers is subnormal, and may be flushed. NaN comes through relu(z), of which the tail is taken.
// Every function asks for the same e and R, so that a kernel with several of them computes them once; in the derivatives NaN comes back at the end.

fn act(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, 16.5);
    let g = gauss_scaled(t);
    let half = g.n >> 1u;
    let tail = g.m * mills(t) * t * power2(half);
    let upper = select(z, -0.0, is_negative(z));
    return select(upper - tail * power2(g.n - half), 0.5 * z, t < 1e-30);
}

// e (R - t / sqrt(2 pi)) for z < 0, and 1 minus it above.
fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, 16.5);
    let g = gauss_scaled(t);
    let k = scale2(g.m * (mills(t) - t * INV_SQRT_2PI), g.n);
    return keep_nan(select(1.0 - k, k, z < 0.0), z);
}

// e (2 - t^2) / sqrt(2 pi), factored at its root; sqrt(2) in two parts.
fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, 16.5);
    let g = gauss_scaled(t);
    let from_root = (t - 1.4142135) - 2.420323e-8;
    return keep_nan(scale2(INV_SQRT_2PI * g.m * -(from_root * (t + 1.4142135)), g.n), z);
}

// e t (t - 2) (t + 2) / sqrt(2 pi), with the sign of z: the differences at its roots are exact.
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, 16.5);
    let g = gauss_scaled(t);
    return keep_nan(scale2(INV_SQRT_2PI * g.m * (select(t, -t, z < 0.0) * ((t - 2.0) * (t + 2.0))), g.n), z);
}
