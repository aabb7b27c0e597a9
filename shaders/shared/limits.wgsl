#use bits
// min(v, limit), and NaN for NaN.
fn capped(v: f32, limit: f32) -> f32 {
    return keep_nan(select(v, limit, v > limit), v);
}

fn capped4(v: vec4<f32>, limit: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(capped(v.x, limit.x), capped(v.y, limit.y), capped(v.z, limit.z), capped(v.w, limit.w));
}

// Its slope: 1 up to the limit, 0 beyond, and NaN for NaN.
fn within(v: f32, limit: f32) -> f32 {
    return keep_nan(select(0.0, 1.0, v <= limit), v);
}

fn within4(v: vec4<f32>, limit: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(within(v.x, limit.x), within(v.y, limit.y), within(v.z, limit.z), within(v.w, limit.w));
}
