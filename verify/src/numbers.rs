//! Reproducible numbers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Random numbers from a seed: the same on every machine.
#[derive(Debug, Clone)]
pub struct Numbers(ChaCha8Rng);

impl Numbers {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Numbers(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below n.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// An integer in [-reach, reach].
    pub fn integer(&mut self, reach: i32) -> f32 {
        self.0.random_range(-reach..=reach) as f32
    }

    /// From the standard normal distribution.
    pub fn normal(&mut self) -> f32 {
        self.0.sample(StandardNormal)
    }

    /// A seed for other numbers.
    pub fn seed(&mut self) -> u64 {
        self.0.random_range(0..1 << 32)
    }
}
