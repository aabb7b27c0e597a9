// act'(z) of row m, channel n, from whatever forward saved: z, y, a bit, or nothing where the slope is a constant.
#use real
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
