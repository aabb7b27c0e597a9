#use log1p
// Normal numbers of random words, by Box and Muller: the twin of `philox::normal`, to the last places of rounding.

// The logarithm of a word as a fraction of 2^32, of its leading 24 bits; that of 2^-33 for 0.
fn log_of_fraction(word: u32) -> f32 {
    let kept = word & (0xffffff00u >> min(countLeadingZeros(word), 31u));
    let bits = bitcast<u32>(select(f32(kept), 0.5, word == 0u));
    // m * 2^n with m from sqrt(1/2) to sqrt(2), so that nothing cancels.
    let up = u32((bits & 0x7fffffu) >= 0x3504f3u);
    let n = f32(bits >> 23u) - 159.0 + f32(up);
    let f = bitcast<f32>((bits & 0x7fffffu) | ((127u - up) << 23u)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    return n * LN2_HEAD + (n * LN2_TAIL + (2.0 * s + s * z * log1p_series(z)));
}

// (cos, sin) of a word as a fraction of a turn. The nearest quarter is exact, the rest lies within an eighth.
fn turned(word: u32) -> vec2<f32> {
    let odd = (word & 0xffffff80u) | 0x40u;
    let quarter = (((odd >> 29u) + 1u) >> 1u) & 3u;
    let x = f32(bitcast<i32>(odd << 2u) >> 2u) * 1.4629181e-9;
    let z = x * x;
    let sine = x + x * z * (-0.16666664 + z * (0.008332748 + z * -0.00019587841));
    let cosine = 1.0 + z * (-0.5 + z * (0.041666664 + z * (-0.0013888302 + z * 2.4547891e-5)));
    let pair = select(vec2<f32>(cosine, sine), vec2<f32>(-sine, cosine), (quarter & 1u) == 1u);
    return select(pair, -pair, quarter >= 2u);
}

fn normal_pair(u: u32, v: u32) -> vec2<f32> {
    return sqrt(-2.0 * log_of_fraction(u)) * turned(v);
}
