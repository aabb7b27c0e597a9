// bf16 in the lower 16 bits of a word: the upper half of an f32.
fn bf16_value(bits: u32) -> f32 {
    return bitcast<f32>(bits << 16u);
}

// The nearest, ties to even.
fn bf16_bits(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let number = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    return select(number, 0x7fc0u | ((bits >> 16u) & 0x8000u), (bits & 0x7fffffffu) > 0x7f800000u);
}
