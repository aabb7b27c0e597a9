// What arithmetic makes of subnormal numbers: one operation a line, in the order of `gpu::subnormals`. The numbers come from
// memory, and as words, so that no compiler knows them and no load or store changes them.
fn number(i: u32) -> f32 {
    return bitcast<f32>(numbers_at(i));
}

fn answer(i: u32, v: f32) {
    answers_put(i, bitcast<u32>(v));
}

@compute @workgroup_size(1)
fn main() {
    let tiny = number(0u);     // 2^-128, subnormal
    let least = number(1u);    // 2^-126, the least normal number
    let above = number(2u);    // 2^-126 + 2^-128
    let up = number(3u);       // 2^24
    let down = number(4u);     // 2^-24
    let four = number(5u);     // 4
    let quarter = number(6u);  // 1/4
    let zero = number(7u);     // 0
    // A subnormal operand.
    answer(0u, tiny + least);
    answer(1u, tiny * up);
    answer(2u, tiny / down);
    answer(3u, fma(tiny, up, zero));
    answer(4u, sqrt(tiny));
    answer(5u, select(zero, up, tiny > zero));
    answer(6u, max(tiny, zero));
    // A subnormal result.
    answer(7u, above - least);
    answer(8u, least * quarter);
    answer(9u, least / four);
    answer(10u, fma(least, quarter, zero));
}
