// What an invocation handles at a time: one element, or with WIDE four neighbours of a row.
#if WIDE
alias real = vec4<f32>;
const WIDTH = 4u;
#else
alias real = f32;
const WIDTH = 1u;
#end
#if MAGNITUDE
// The larger magnitude, by the bits: nothing is flushed, an infinity is larger than every number, and a NaN than an infinity.
fn larger_of(v: f32, w: f32) -> f32 {
    return bitcast<f32>(max(bitcast<u32>(v) & 0x7fffffffu, bitcast<u32>(w) & 0x7fffffffu));
}

#if WIDE
fn larger(v: real, w: real) -> real {
    return real(larger_of(v.x, w.x), larger_of(v.y, w.y), larger_of(v.z, w.z), larger_of(v.w, w.w));
}

fn largest_of(v: real) -> f32 {
    return larger_of(larger_of(v.x, v.y), larger_of(v.z, v.w));
}
#else
fn larger(v: real, w: real) -> real {
    return larger_of(v, w);
}

fn largest_of(v: real) -> f32 {
    return larger_of(v, v);
}
#end
#end
