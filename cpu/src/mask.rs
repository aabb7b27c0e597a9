//! The mask: one bit an element, for slopes that have two values. Column j of a row is bit j mod 32 of its word j / 32; each row starts a
//! new word.

use pulp::Arch;

/// Words of a row of the mask.
pub(crate) fn words(n: usize) -> usize {
    n.div_ceil(32)
}

/// The bits of up to 32 slopes: clear where the slope is that of a clear bit. If α is NaN, so are both, and they count as equal.
#[inline(always)]
pub(crate) fn word(slopes: &[f32], clear: impl Fn(usize) -> f32) -> u32 {
    let is_set = |slope: f32, clear: f32| (slope != clear) & !(slope.is_nan() & clear.is_nan());
    slopes.iter().enumerate().fold(0, |word, (j, &slope)| word | u32::from(is_set(slope, clear(j))) << j)
}

/// The slopes of up to 32 bits.
#[inline(always)]
pub(crate) fn choose(word: u32, of_bits: impl Fn(usize) -> [f32; 2], slopes: &mut [f32]) {
    for (j, slope) in slopes.iter_mut().enumerate() {
        let [clear, set] = of_bits(j);
        *slope = if word >> j & 1 == 1 { set } else { clear };
    }
}

/// The bits of a row, 32 at a time, because a loop of known length is compiled to vector code.
pub(crate) fn pack(slopes: &[f32], clear: f32, words: &mut [u32]) {
    Arch::new().dispatch(|| {
        let (whole, rest) = slopes.as_chunks::<32>();
        for (slopes, out) in whole.iter().zip(&mut *words) {
            *out = word(slopes, |_| clear);
        }
        if !rest.is_empty() {
            words[whole.len()] = word(rest, |_| clear);
        }
    });
}

/// The slopes of a row from its bits.
pub(crate) fn unpack(words: &[u32], of_bits: [f32; 2], slopes: &mut [f32]) {
    Arch::new().dispatch(|| {
        let (whole, rest) = slopes.as_chunks_mut::<32>();
        let count = whole.len();
        for (slopes, &word) in whole.iter_mut().zip(words) {
            choose(word, |_| of_bits, slopes);
        }
        if !rest.is_empty() {
            choose(words[count], |_| of_bits, rest);
        }
    });
}
