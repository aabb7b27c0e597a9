//! Random numbers by counter: Philox 4x32-10, the same words on the CPU and on the GPU (`shaders/shared/philox.wgsl`).
//!
//! Four words are a function of a counter (128 bits) and a key (64 bits), ten rounds of multiplying and exchanging: element i of a tensor
//! needs no state and no element before it. Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3".
//!
//! ```
//! use elbow::philox::philox;
//! // Known answers of Random123.
//! assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
//! assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
//! ```

/// The factors of a round (Salmon et al. 2011, table 2).
const FACTORS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What the key grows by from round to round: the golden ratio, and √3 − 1.
const GROWTH: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// Four random words for a counter and a key: Philox 4x32-10.
pub const fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut a, mut b, mut c, mut d], [mut k, mut l]) = (counter, key);
    let mut round = 0;
    while round < ROUNDS {
        let (ac, cc) = (FACTORS[0] as u64 * a as u64, FACTORS[1] as u64 * c as u64);
        (a, b, c, d) = ((cc >> 32) as u32 ^ b ^ k, cc as u32, (ac >> 32) as u32 ^ d ^ l, ac as u32);
        (k, l) = (k.wrapping_add(GROWTH[0]), l.wrapping_add(GROWTH[1]));
        round += 1;
    }
    [a, b, c, d]
}

/// A number in [0, 1) of a word: its upper 24 bits, each as likely as the others.
pub const fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// Two independent standard normal numbers of two words, by Box and Muller: √(−2 ln u) · (cos 2πv, sin 2πv).
///
/// u has the leading 24 bits of its word, however small it is, so that the tails reach 6.7 standard deviations; v is an odd multiple of 2⁻²⁶.
/// In f32, within 8 ulp of the exact function of u and v; a GPU gives the same within 8 ulp too.
pub fn normal(words: [u32; 2]) -> [f32; 2] {
    let [sin, cos] = sin_cos(words[1]);
    let radius = (-2.0 * log_of_fraction(words[0])).sqrt();
    [radius * cos, radius * sin]
}

/// The logarithm of a word as a fraction of 2³², of its leading 24 bits; that of 2⁻³³ for 0.
fn log_of_fraction(word: u32) -> f32 {
    const LN2_HEAD: f32 = 0.693_145_75;
    const LN2_TAIL: f32 = 1.428_606_8e-6;
    let kept = word & (0xffff_ff00_u32 >> word.leading_zeros().min(31));
    let u = if word == 0 { 0.5 } else { kept as f32 };
    let bits = u.to_bits();
    // u = m · 2ⁿ with m from √½ to √2, so that nothing cancels.
    let up = u32::from(bits & 0x7f_ffff >= 0x35_04f3);
    let n = (bits >> 23) as f32 - 159.0 + up as f32;
    let f = f32::from_bits((bits & 0x7f_ffff) | ((127 - up) << 23)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let series = 0.666_666_75 + z * (0.399_988_9 + z * (0.286_166_13 + z * (0.214_305_61 + z * 0.242_902_95)));
    n * LN2_HEAD + (n * LN2_TAIL + (2.0 * s + s * z * series))
}

/// Sine and cosine of a word as a fraction of a turn. The nearest quarter is exact, the rest lies within an eighth.
fn sin_cos(word: u32) -> [f32; 2] {
    // 2π / 2³².
    const TURN: f32 = 1.462_918_1e-9;
    let word = (word & 0xffff_ff80) | 0x40;
    let quarter = ((word >> 29) + 1) >> 1;
    let x = (((word << 2) as i32) >> 2) as f32 * TURN;
    let z = x * x;
    let sin = x + x * z * (-0.166_666_64 + z * (0.008_332_748 + z * -0.000_195_878_41));
    let cos = 1.0 + z * (-0.5 + z * (0.041_666_664 + z * (-0.001_388_830_2 + z * 2.454_789_1e-5)));
    match quarter & 3 {
        0 => [sin, cos],
        1 => [cos, -sin],
        2 => [-sin, -cos],
        _ => [-cos, sin],
    }
}

/// How random numbers are spread.
///
/// ```
/// use elbow::philox::Distribution;
/// let numbers = Distribution::Normal { mean: 0.0, deviation: 2.0 };
/// assert_eq!(numbers.at(7, 0, 1000), numbers.at(7, 0, 1000)); // a function of seed, stream and index
/// // It is made of these words:
/// use elbow::philox::{normal, uniform, words};
/// let [first, second, ..] = words(7, 0, 250);
/// assert_eq!(numbers.at(7, 0, 1000), 2.0 * normal([first, second])[0]);
/// assert!((0.0..1.0).contains(&uniform(first)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// From `low` to `high`, `high` left out but for rounding.
    Uniform {
        /// The least number.
        low: f32,
        /// The end.
        high: f32,
    },
    /// The normal distribution.
    Normal {
        /// Its centre.
        mean: f32,
        /// Its standard deviation.
        deviation: f32,
    },
}

impl Distribution {
    /// The number with this index in a stream of a seed: what the device writes ([`random::fill`](crate::random::fill)), bit for bit but
    /// for the last places of rounding.
    pub fn at(&self, seed: u64, stream: u32, index: u32) -> f32 {
        let words = words(seed, stream, index / 4);
        let lane = (index % 4) as usize;
        match *self {
            Distribution::Uniform { low, high } => low + (high - low) * uniform(words[lane]),
            Distribution::Normal { mean, deviation } => {
                let pair = if lane < 2 { [words[0], words[1]] } else { [words[2], words[3]] };
                mean + deviation * normal(pair)[lane % 2]
            }
        }
    }
}

/// The words of elements 4·`block` to 4·`block` + 3 in a stream of a seed.
pub const fn words(seed: u64, stream: u32, block: u32) -> [u32; 4] {
    philox([block, stream, 0, 0], [seed as u32, (seed >> 32) as u32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_random123() {
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let answer = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
        assert_eq!(philox(counter, [0xa409_3822, 0x299f_31d0]), answer);
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    /// The exact function of the same u and v.
    fn exact([u, v]: [u32; 2]) -> [f64; 2] {
        let kept = if u == 0 { 0.5 } else { f64::from(u & (0xffff_ff00_u32 >> u.leading_zeros().min(31))) };
        let radius = (-2.0 * (kept / 4_294_967_296.0).ln()).sqrt();
        let turn = f64::from((v & 0xffff_ff80) | 0x40) / 4_294_967_296.0 * std::f64::consts::TAU;
        [radius * turn.cos(), radius * turn.sin()]
    }

    #[test]
    fn normal_numbers_are_within_their_ulp() {
        let edges = [0, 1, 2, 255, 256, 1 << 24, !0, !0 - 255, 1 << 31, (1 << 31) - 1, 1 << 29, (1 << 29) - 1];
        let mut pairs: Vec<[u32; 2]> = edges.iter().flat_map(|&u| edges.iter().map(move |&v| [u, v])).collect();
        pairs.extend((0..500_000).map(|i| {
            let [a, b, ..] = words(3, 0, i);
            [a, b]
        }));
        let mut worst = 0.0f64;
        for pair in pairs {
            for (got, exact) in normal(pair).into_iter().zip(exact(pair)) {
                let ulp = 2f64.powi((exact.abs().log2().floor() as i32).max(-126) - 23);
                worst = worst.max((f64::from(got) - exact).abs() / ulp);
            }
        }
        assert!(worst <= 8.0, "{worst} ulp");
        println!("worst {worst:.2} ulp");
    }
}
