// f16 in the lower 16 bits of a word. Done on the bits, both ways: what a driver makes of ties, subnormals and of what lies
// beyond 65504 is its own affair (pack2x16float may truncate, and may give anything for 65520).
fn f16_value(bits: u32) -> f32 {
    let magnitude = bits & 0x7fffu;
    // The exponent is biased by 112 less; that of infinities and NaN is the largest there is.
    let normal = (magnitude << 13u) + select(0x38000000u, 0x70000000u, magnitude >= 0x7c00u);
    // Subnormals are multiples of 2^-24.
    let small = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    return bitcast<f32>(select(normal, small, magnitude < 0x400u) | ((bits & 0x8000u) << 16u));
}

// The nearest, ties to even.
fn f16_bits(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let magnitude = bits & 0x7fffffffu;
    let normal = min((magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u, 0x7c00u);
    // Below 2^-14 a multiple of 2^-24, which is the unit of the last place of 1/2: the sum rounds, and its bits count.
    let small = bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u;
    let number = select(normal, small, magnitude < 0x38800000u);
    return select(number, 0x7e00u, magnitude > 0x7f800000u) | ((bits >> 16u) & 0x8000u);
}

// The same as an f32: a number that every conversion to f16 leaves as it is.
fn f16_rounded(v: f32) -> f32 {
    let bits = bitcast<u32>(v);
    let magnitude = bits & 0x7fffffffu;
    let normal = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u)) & 0xffffe000u;
    let finite = select(normal, 0x7f800000u, normal >= 0x47800000u);
    let units = bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u;
    let small = bitcast<u32>(f32(units) * 5.9604644775390625e-8);
    let number = select(finite, small, magnitude < 0x38800000u);
    return bitcast<f32>(select(number, 0x7fc00000u, magnitude > 0x7f800000u) | (bits & 0x80000000u));
}
