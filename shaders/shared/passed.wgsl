#use bits
// What comes from above times a derivative that was chosen with its piece of the activation: where that is 0 nothing passes,
// infinite or not; NaN does. NaN is put back on the bits: a compiler may turn dy times a bit's 0 or 1 into a choice, and one does.
fn passed(dy: f32, by: f32) -> f32 {
    return keep_nan(select(dy * by, 0.0, is_zero(by)), dy);
}

fn passed4(dy: vec4<f32>, by: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(passed(dy.x, by.x), passed(dy.y, by.y), passed(dy.z, by.z), passed(dy.w, by.w));
}

// For second derivatives, which have two factors.
fn passed_both(ddx: f32, dy: f32, by: f32) -> f32 {
    return keep_nan(keep_nan(select(ddx * dy * by, 0.0, is_zero(by)), dy), ddx);
}

fn passed_both4(ddx: vec4<f32>, dy: vec4<f32>, by: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(passed_both(ddx.x, dy.x, by.x), passed_both(ddx.y, dy.y, by.y), passed_both(ddx.z, dy.z, by.z),
                     passed_both(ddx.w, dy.w, by.w));
}
