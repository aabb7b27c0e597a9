#use expm1
// selu: y = scale * (z > 0 ? z : alpha (exp(z) - 1)), scale = 1.0507009873554805, alpha = 1.6732632423543772
// The constants are in two parts: each is off by a good part of an ulp when rounded to f32.

const ACT_SCALE: f32 = 1.05070102;
const ACT_SCALE_TAIL: f32 = -3.47926523e-08;
// scale * alpha = 1.7580993408473766
const ACT_BOTH: f32 = 1.75809932;
const ACT_BOTH_TAIL: f32 = 2.32967174e-08;

fn act_lower_slope(z: f32) -> f32 {
    let s = exp_scaled(-capped_abs(z, EXP_FAR), 0.0);
    return scale2(s.m * ACT_BOTH + s.m * ACT_BOTH_TAIL, s.n);
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    // z = inf would be inf - inf with the tail.
    let finite = select(z, LARGEST, z > LARGEST);
    let upper = finite * ACT_SCALE + finite * ACT_SCALE_TAIL;
    let m = expm1(min(z, 0.0));
    let lower = m * ACT_BOTH + m * ACT_BOTH_TAIL;
    return keep_nan(select(lower, upper, z > 0.0), z);
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(act_lower_slope(z), ACT_SCALE, z > 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(act_lower_slope(z), 0.0, z > 0.0), z);
}

fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    return act_dzz(z, p);
}

// Cancels where y comes near -scale alpha: absolute accuracy, not relative.
fn act_dz_of_y(y: f32, p: vec2<f32>) -> f32 {
    return keep_nan(select(y + ACT_BOTH, ACT_SCALE, y > 0.0), y);
}
