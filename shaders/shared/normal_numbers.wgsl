#use log
// Normal numbers of random words, by Box and Muller: the twin of `philox::normal`, to the last places of rounding.

// The logarithm of a word as a fraction of 2^32, of its leading 24 bits; that of 2^-33 for 0.
fn log_of_fraction(word: u32) -> f32 {
    let kept = word & (0xffffff00u >> min(countLeadingZeros(word), 31u));
    return log_normal(select(f32(kept), 0.5, word == 0u) * 0x1p-32f);
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
