//! What samples say: a median, between which bounds the true one lies, and whether that is enough to name a winner. Nothing is assumed of
//! the noise but that samples are independent: times have long tails, of which a mean or a standard deviation would be made.

use serde::{Deserialize, Serialize};

/// A median with its confidence interval, by order statistics (H. A. David and H. N. Nagaraja, Order Statistics, 7.1): of n samples of any
/// continuous distribution the k-th smallest and the k-th largest enclose the true median unless fewer than k samples fall on one side of
/// it, as of n tosses of a coin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Half of the samples were smaller.
    pub median: f64,
    /// The true median is below this in at most 1 of 200 measurements; of fewer than [`Estimate::FEWEST`] samples the smallest.
    pub low: f64,
    /// The true median is above this in at most 1 of 200 measurements; of fewer than [`Estimate::FEWEST`] samples the largest.
    pub high: f64,
    /// Number of samples.
    pub samples: usize,
}

/// What the estimate of a ratio says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Above 1.
    Faster,
    /// Below 1.
    Slower,
    /// Within 5 % of 1, whichever it is.
    Even,
    /// The interval has both: too noisy to say.
    Noisy,
}

/// The share of measurements whose interval does not have the true median.
const MISSED: f64 = 0.01;

/// Ratios nearer to 1 than this do not matter.
const EVEN: f64 = 1.05;

impl Estimate {
    /// The fewest samples that have an interval at all: the median of seven lies outside of all of them in 1 of 64 measurements.
    pub const FEWEST: usize = 8;

    /// Of these samples, which are sorted; NaN without any.
    pub fn of(samples: &mut [f64]) -> Estimate {
        samples.sort_by(f64::total_cmp);
        let count = samples.len();
        let at = |i: usize| samples.get(i).copied().unwrap_or(f64::NAN);
        let cut = cut(count);
        Estimate {
            median: 0.5 * (at(count.saturating_sub(1) / 2) + at(count / 2)),
            low: at(cut),
            high: at(count.saturating_sub(cut + 1)),
            samples: count,
        }
    }

    /// Of the ratios a/b, sample by sample: what disturbs both of a pair is in neither.
    pub fn of_ratios(a: &[f64], b: &[f64]) -> Estimate {
        Estimate::of(&mut a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>())
    }

    /// This divided by another of another run, whose samples are no pairs: the interval has every ratio that both intervals allow.
    pub fn over(&self, other: &Estimate) -> Estimate {
        Estimate {
            median: self.median / other.median,
            low: self.low / other.high,
            high: self.high / other.low,
            samples: self.samples.min(other.samples),
        }
    }

    /// Half of the interval as a share of the median.
    pub fn spread(&self) -> f64 {
        0.5 * (self.high - self.low) / self.median
    }

    /// What this says, if it is a ratio of times: of two that are as fast it names a winner in at most 1 of 100 measurements.
    pub fn verdict(&self) -> Verdict {
        if self.samples < Self::FEWEST || !(self.low.is_finite() && self.high.is_finite()) {
            Verdict::Noisy
        } else if self.low >= 1.0 / EVEN && self.high <= EVEN {
            Verdict::Even
        } else if self.low > 1.0 {
            Verdict::Faster
        } else if self.high < 1.0 {
            Verdict::Slower
        } else {
            Verdict::Noisy
        }
    }
}

/// How many of the smallest and of the largest samples may be left out of an interval.
fn cut(count: usize) -> usize {
    // The probability that at most `cut` of so many tosses are heads.
    let mut term = 0.5f64.powi(count as i32);
    let mut tail = term;
    let mut cut = 0;
    loop {
        term *= (count - cut) as f64 / (cut + 1) as f64;
        tail += term;
        if 2.0 * tail > MISSED || 2 * (cut + 1) >= count {
            return cut;
        }
        cut += 1;
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_interval_is_that_of_the_tables() {
        // Conover, Practical Nonparametric Statistics: 99 % of the median. Counted from 0.
        for (count, expected) in [(1, 0), (7, 0), (8, 0), (11, 0), (12, 1), (15, 2), (20, 3), (30, 7), (100, 36)] {
            assert_eq!(cut(count), expected, "{count} samples");
        }
        let of = |samples: &[f64]| Estimate::of(&mut samples.to_vec());
        let twelve: Vec<f64> = (0..12).rev().map(f64::from).collect();
        assert_eq!(of(&twelve), Estimate { median: 5.5, low: 1.0, high: 10.0, samples: 12 });
        assert_eq!(of(&[7.0]), Estimate { median: 7.0, low: 7.0, high: 7.0, samples: 1 });
        assert!(of(&[]).median.is_nan());
    }

    #[test]
    fn an_outlier_moves_neither_median_nor_interval() {
        let mut samples = vec![1.0; 19];
        samples.push(1000.0);
        assert_eq!(Estimate::of(&mut samples), Estimate { median: 1.0, low: 1.0, high: 1.0, samples: 20 });
    }

    /// Ratios of two programs: `factor` apart, with noise of this size, and now and then a disturbance that makes one of a pair three times
    /// as slow.
    fn ratios(rng: &mut ChaCha8Rng, count: usize, factor: f64, noise: f64, disturbed: f64) -> Estimate {
        let mut one = || {
            let tail = if rng.random_bool(disturbed) { 3.0 * rng.random::<f64>() } else { 0.0 };
            (noise * rng.sample::<f64, _>(rand_distr::StandardNormal)).exp() + tail
        };
        let pairs: Vec<(f64, f64)> = (0..count).map(|_| (factor * one(), one())).collect();
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        Estimate::of_ratios(&a, &b)
    }

    #[test]
    fn a_tie_has_a_winner_in_one_of_a_hundred_at_most() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        const RUNS: usize = 4000;
        for (count, noise, disturbed) in [(8, 0.5, 0.0), (12, 0.3, 0.3), (15, 2.0, 0.1), (40, 0.2, 0.5)] {
            let winners = (0..RUNS).filter(|_| {
                let verdict = ratios(&mut rng, count, 1.0, noise, disturbed).verdict();
                matches!(verdict, Verdict::Faster | Verdict::Slower)
            });
            let share = winners.count() as f64 / RUNS as f64;
            // Three standard deviations of a share of 0.01 above it.
            assert!(share < MISSED + 0.005, "{count} samples, noise {noise}: {share}");
        }
    }

    #[test]
    fn ten_percent_are_found_in_noise_of_two() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        const RUNS: usize = 2000;
        for (count, disturbed) in [(8, 0.0), (12, 0.02), (20, 0.05)] {
            for (factor, expected) in [(1.1, Verdict::Faster), (1.0 / 1.1, Verdict::Slower)] {
                let found =
                    (0..RUNS).filter(|_| ratios(&mut rng, count, factor, 0.02, disturbed).verdict() == expected);
                let share = found.count() as f64 / RUNS as f64;
                assert!(share > 0.95, "{count} samples, {factor}: {share}");
            }
        }
    }

    #[test]
    fn what_does_not_matter_is_even_and_too_few_samples_say_nothing() {
        let of = |low: f64, high: f64, samples| Estimate { median: 0.5 * (low + high), low, high, samples }.verdict();
        for (low, high, samples, expected) in [
            (0.99, 1.03, 12, Verdict::Even),
            (1.01, 1.04, 12, Verdict::Even),
            (1.01, 1.2, 12, Verdict::Faster),
            (0.5, 0.97, 12, Verdict::Slower),
            (0.5, 2.0, 12, Verdict::Noisy),
            (3.0, 4.0, 7, Verdict::Noisy),
            (f64::NAN, f64::NAN, 12, Verdict::Noisy),
            (1.5, f64::INFINITY, 12, Verdict::Noisy),
        ] {
            assert_eq!(of(low, high, samples), expected, "{low} to {high}, {samples} samples");
        }
    }

    #[test]
    fn runs_are_compared_by_the_ends_of_their_intervals() {
        let [old, new] =
            [(0.9, 1.1), (1.8, 2.2)].map(|(low, high)| Estimate { median: 0.5 * (low + high), low, high, samples: 9 });
        let ratio = new.over(&old);
        assert_eq!((ratio.median, ratio.verdict()), (2.0, Verdict::Faster));
        assert!((ratio.low - 1.8 / 1.1).abs() < 1e-12 && (ratio.high - 2.2 / 0.9).abs() < 1e-12);
        assert_eq!(old.over(&old).verdict(), Verdict::Noisy);
    }
}
