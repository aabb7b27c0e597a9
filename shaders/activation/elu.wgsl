#use expm1
// elu: y = z > 0 ? z : alpha (exp(z) - 1); slope alpha at 0
// p.x = alpha. expm1, because exp(z) - 1 loses every digit near 0.

// Past this, exp(-t) is zero beside the largest alpha.
const ACT_FAR: f32 = 200.0;

// alpha * exp(min(z, 0)), the slope of the lower branch; alpha is multiplied before the power of two, and by a half of what
// belongs to it: alpha may be as large as f32 goes. The power is put on in two steps, because it may be 2^-288.
fn act_lower_slope(z: f32, alpha: f32) -> f32 {
    let s = exp_scaled(-capped_abs(z, ACT_FAR), 0.0);
    let half = s.n >> 1u;
    return scale2(scale2(alpha * (0.5 * s.m), half + 1), s.n - half);
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    let lower = p.x * expm1(min(z, 0.0));
    return keep_nan(select(lower, z, z > 0.0), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(act_lower_slope(z, p.x), 1.0, z > 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(act_lower_slope(z, p.x), 0.0, z > 0.0), z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return act_dzz(z, p);
}

fn act_da(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(expm1(min(z, 0.0)), 0.0, z > 0.0), z);
}

fn act_dzda(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(act_lower_slope(z, 1.0), 0.0, z > 0.0), z);
}

fn act_dzzda(z: f32, p: vec2<f32>) -> f32 {
    return act_dzda(z, p);
}

fn act_dada(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(0.0, z);
}

// Right for alpha > 0 only. Cancels where y comes near -alpha: absolute accuracy, not relative.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(y + p.x, 1.0, y > 0.0), y);
}
