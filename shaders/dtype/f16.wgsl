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
    let shift = clamp(126u - (magnitude >> 23u), 14u, 25u);
    let whole = (magnitude & 0x7fffffu) | 0x800000u;
    let small = (whole + (1u << (shift - 1u)) - 1u + ((whole >> shift) & 1u)) >> shift;
    let number = select(normal, small, magnitude < 0x38800000u);
    return select(number, 0x7e00u, magnitude > 0x7f800000u) | ((bits >> 16u) & 0x8000u);
}
