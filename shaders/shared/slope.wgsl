// act'(z) of row m, channel n, from whatever forward saved: z, y, a bit, or nothing where the slope is a constant. And the
// product of what comes from above with a derivative of the activation.
#use bits
#use real
// dy times a derivative. With STOPS the activation is made of pieces, and a derivative of 0 was chosen with its piece: dy does
// not pass there, infinite or not; NaN does. NaN is put back on the bits: a compiler may turn dy times a bit's 0 or 1 into a
// choice, and one does.
#if STOPS
fn passed(dy: f32, by: f32) -> f32 {
    return keep_nan(select(dy * by, 0.0, is_zero(by)), dy);
}

fn passed_both(ddx: f32, dy: f32, by: f32) -> f32 {
    return keep_nan(keep_nan(select(ddx * dy * by, 0.0, is_zero(by)), dy), ddx);
}
#else
fn passed(dy: f32, by: f32) -> f32 {
    return dy * by;
}

fn passed_both(ddx: f32, dy: f32, by: f32) -> f32 {
    return ddx * dy * by;
}
#end

fn passed4(dy: vec4<f32>, by: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(passed(dy.x, by.x), passed(dy.y, by.y), passed(dy.z, by.z), passed(dy.w, by.w));
}

fn passed_item(dy: real, by: real) -> real {
#if WIDE
    return passed4(dy, by);
#else
    return passed(dy, by);
#end
}

// For second derivatives, which have two factors.
fn passed_both_item(ddx: real, dy: real, by: real) -> real {
#if WIDE
    return vec4<f32>(passed_both(ddx.x, dy.x, by.x), passed_both(ddx.y, dy.y, by.y), passed_both(ddx.z, dy.z, by.z),
                     passed_both(ddx.w, dy.w, by.w));
#else
    return passed_both(ddx, dy, by);
#end
}

fn parameters(n: u32) -> vec2<f32> {
#if ALPHA_CHANNEL
    return vec2<f32>(alpha_at(n), P.p.y);
#else
#if ALPHA_LAYER
    return vec2<f32>(alpha_at(0u), P.p.y);
#else
    return P.p;
#end
#end
}

#if FROM_MASK
fn saved_bit(m: u32, n: u32) -> bool {
    return ((saved_at(m * ((P.channels + 31u) >> 5u) + (n >> 5u)) >> (n & 31u)) & 1u) != 0u;
}
#end

#if SLOPE
fn slope_at(m: u32, n: u32) -> f32 {
#if FROM_Z
    return act_dz(saved_at(m * P.channels + n), parameters(n));
#end
#if FROM_Y
    return act_dz_of_y(saved_at(m * P.channels + n), parameters(n));
#end
#if FROM_MASK
    return act_dz_of_bit(saved_bit(m, n), parameters(n));
#end
#if FROM_NOTHING
    return 1.0;
#end
}

fn slope_at4(m: u32, n: u32) -> vec4<f32> {
#if FROM_Z
    return act_dz4(saved_at4(m * P.channels + n), n);
#else
#if FROM_Y
    return act_dz_of_y4(saved_at4(m * P.channels + n), n);
#else
    return vec4<f32>(slope_at(m, n), slope_at(m, n + 1u), slope_at(m, n + 2u), slope_at(m, n + 3u));
#end
#end
}

fn slope_item(m: u32, n: u32) -> real {
#if WIDE
    return slope_at4(m, n);
#else
    return slope_at(m, n);
#end
}
#end
