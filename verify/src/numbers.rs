//! Reproducible random numbers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Random numbers from a seed, the same on every machine.
///
/// ```
/// use elbow_verify::Numbers;
/// assert_eq!(Numbers::new(7).seed(), Numbers::new(7).seed());
/// assert!(Numbers::new(7).below(10) < 10);
/// ```
#[derive(Debug, Clone)]
pub struct Numbers(ChaCha8Rng);

impl Numbers {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Numbers(ChaCha8Rng::seed_from_u64(seed))
    }

    /// An index from 0 to n − 1.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    /// A random element of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// An integer from −reach to reach.
    pub fn integer(&mut self, reach: i32) -> f32 {
        self.0.random_range(-reach..=reach) as f32
    }

    /// A number from the standard normal distribution.
    pub fn normal(&mut self) -> f32 {
        self.0.sample(StandardNormal)
    }

    /// A seed for another sequence, below 2³².
    pub fn seed(&mut self) -> u64 {
        self.0.random_range(0..1 << 32)
    }
}
