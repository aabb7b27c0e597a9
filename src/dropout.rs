//! Dropout: each element is left out with a probability, and the others are scaled so that the expected value stays. The mask is a function of a
//! seed, a step, a layer and the element ([`philox`](mod@crate::philox)): backward makes it again, no memory holds it, and it is the same on every device.
//!
//! ```text
//! y = v / (1 − p) where word(element) ≥ p·2³², else 0        dv = dy / (1 − p), or 0
//! ```
//!
//! Source: Srivastava et al. 2014; the numbers are those of Salmon et al. 2011.

use crate::{
    error::{Error, Result},
    philox::philox,
};

/// The probability of an element to be left out: 0 keeps every bit of every element, 1 leaves all out.
///
/// ```
/// use elbow::Dropout;
/// let dropout = Dropout::new(0.25)?;
/// let state = Dropout::state(7, 0, 0);
/// let kept = (0..1000).filter(|&i| dropout.factor(state, i) == 1.0 / 0.75).count();
/// assert_eq!((kept, dropout.p()), (742, 0.25));
/// assert_eq!(dropout.factors(state, 1), [4, 5, 6, 7].map(|i| dropout.factor(state, i)));
/// assert!(Dropout::new(-0.1).is_err() && Dropout::new(f32::NAN).is_err());
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dropout {
    /// The bits of p, so that requests compare and hash.
    bits: u32,
}

impl Dropout {
    /// [`Error::BadParameter`] unless p is from 0 to 1.
    pub fn new(p: f32) -> Result<Self> {
        match (0.0..=1.0).contains(&p) {
            // -0 is 0.
            true => Ok(Dropout { bits: (p + 0.0).to_bits() }),
            false => Err(Error::BadParameter {
                of: "dropout".into(),
                parameter: "p".into(),
                expected: "a number >= 0 and <= 1".into(),
                got: p.to_string(),
            }),
        }
    }

    /// The probability of an element to be left out.
    pub const fn p(self) -> f32 {
        f32::from_bits(self.bits)
    }

    /// The numbers that a mask is made of, as the operand `dropout_state` has them: u32 `[4]`. Another step, another layer or another seed
    /// is another mask.
    pub const fn state(seed: u64, step: u32, layer: u32) -> [u32; 4] {
        [seed as u32, (seed >> 32) as u32, step, layer]
    }

    /// What the element with this index in y, row by row, is multiplied by: 1 / (1 − p) or 0.
    pub fn factor(self, state: [u32; 4], index: u32) -> f32 {
        self.factors(state, index / 4)[(index % 4) as usize]
    }

    /// The factors of the elements from 4·`block` on.
    pub fn factors(self, state: [u32; 4], block: u32) -> [f32; 4] {
        let [low, high, step, layer] = state;
        let words = philox([block, step, layer, OF_DROPOUT], [low, high]);
        let keeps = |word: u32| self.threshold().is_some_and(|least| word >= least);
        words.map(|word| if keeps(word) { self.scale() } else { 0.0 })
    }

    /// What is left of v in f64: 0 of what is left out, infinite or not, and NaN of NaN.
    pub(crate) fn left(self, state: [u32; 4], index: usize, v: f64) -> f64 {
        match f64::from(self.factor(state, index as u32)) {
            0.0 if !v.is_nan() => 0.0,
            factor => v * factor,
        }
    }

    /// 1 / (1 − p); 0 for p = 1.
    pub(crate) fn scale(self) -> f32 {
        if self.p() < 1.0 { 1.0 / (1.0 - self.p()) } else { 0.0 }
    }

    /// The least word of an element that is kept; None if none is.
    pub(crate) fn threshold(self) -> Option<u32> {
        // p·2³² is exact in f64, and below 2³² for every p below 1.
        (self.p() < 1.0).then(|| (f64::from(self.p()) * 4_294_967_296.0) as u32)
    }
}

/// The last word of the counters of dropout: other numbers than those of [`random::fill`](crate::random::fill), which have 0 there.
pub(crate) const OF_DROPOUT: u32 = 1;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_ends_are_exact() {
        let state = Dropout::state(1 << 40, 3, 2);
        let (none, all) = (Dropout::new(-0.0).unwrap(), Dropout::new(1.0).unwrap());
        assert!((0..10_000).all(|i| none.factor(state, i) == 1.0 && all.factor(state, i) == 0.0));
        assert_eq!(Dropout::new(0.0), Dropout::new(-0.0));
        let nearly = Dropout::new(1.0f32.next_down()).unwrap();
        assert_eq!((nearly.threshold(), nearly.scale()), (Some(0xffff_ff00), 16_777_216.0));
    }

    /// The share of kept elements, and of pairs of neighbours, rows and steps, is what it should be: within four standard deviations.
    #[test]
    fn elements_are_independent() {
        const COUNT: u32 = 100_000;
        for p in [0.1f32, 0.5, 0.9] {
            let dropout = Dropout::new(p).unwrap();
            let keep = 1.0 - f64::from(p);
            let of = |step: u32, i: u32| dropout.factor(Dropout::state(11, step, 0), i) != 0.0;
            let near = |kept: u32, expected: f64, what: &str| {
                let off = (f64::from(kept) / f64::from(COUNT) - expected).abs();
                let deviation = (expected * (1.0 - expected) / f64::from(COUNT)).sqrt();
                assert!(off < 4.0 * deviation, "{what} of p = {p}: {kept} of {COUNT}, expected {expected}");
            };
            near((0..COUNT).filter(|&i| of(0, i)).count() as u32, keep, "elements");
            for apart in [1, 2, 3, 4, 64, 1000] {
                near((0..COUNT).filter(|&i| of(0, i) && of(0, i + apart)).count() as u32, keep * keep, "pairs");
            }
            near((0..COUNT).filter(|&i| of(0, i) && of(1, i)).count() as u32, keep * keep, "steps");
        }
    }
}
