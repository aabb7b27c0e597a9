//! How often something is timed, and the summary of the samples.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Result;

/// How long to take samples: a least number, then more until the time is over; fewer only if each takes very long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The least number of samples.
    pub samples: usize,
    /// Seconds for one figure, unless the least number of samples takes longer.
    pub seconds: f64,
    /// Seconds after which no further sample is taken, except the first.
    pub most_seconds: f64,
}

/// The most samples: more would not make the spread more reliable.
const MOST_SAMPLES: usize = 500;

/// Median and quartiles of the samples, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timing {
    /// Half of the samples were faster.
    pub median: f64,
    /// A quarter of the samples were faster.
    pub low: f64,
    /// A quarter of the samples were slower.
    pub high: f64,
    /// Number of samples.
    pub samples: usize,
}

impl Budget {
    /// Takes samples of `once`, which returns the seconds of one repetition. The first call is not counted, because caches, clocks and
    /// compilers are cold.
    pub fn run(&self, mut once: impl FnMut() -> Result<Duration>) -> Result<Timing> {
        once()?;
        let start = Instant::now();
        let mut samples = Vec::new();
        loop {
            samples.push(once()?.as_secs_f64());
            let seconds = start.elapsed().as_secs_f64();
            let enough = samples.len() >= self.samples && (seconds >= self.seconds || samples.len() >= MOST_SAMPLES);
            if enough || seconds >= self.most_seconds {
                break;
            }
        }
        Ok(Timing::of(&mut samples))
    }
}

impl Timing {
    /// Median and quartiles, interpolated linearly between samples; NaN without samples.
    pub fn of(samples: &mut [f64]) -> Timing {
        samples.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let at = q * samples.len().saturating_sub(1) as f64;
            let below = at.floor();
            match (samples.get(below as usize), samples.get(at.ceil() as usize)) {
                (Some(low), Some(high)) => low + (high - low) * (at - below),
                _ => f64::NAN,
            }
        };
        Timing { median: quantile(0.5), low: quantile(0.25), high: quantile(0.75), samples: samples.len() }
    }

    /// The interquartile range as a share of the median.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_nearest_samples() {
        let of = |samples: &[f64]| Timing::of(&mut samples.to_vec());
        assert_eq!(of(&[3.0, 1.0, 2.0, 5.0, 4.0]), Timing { median: 3.0, low: 2.0, high: 4.0, samples: 5 });
        assert_eq!(of(&[1.0, 2.0]), Timing { median: 1.5, low: 1.25, high: 1.75, samples: 2 });
        assert_eq!(of(&[7.0]), Timing { median: 7.0, low: 7.0, high: 7.0, samples: 1 });
        assert!(of(&[]).median.is_nan());
        assert!((of(&[2.0, 4.0, 6.0]).spread() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn an_outlier_does_not_move_the_median() {
        let mut samples = vec![1.0; 9];
        samples.push(1000.0);
        assert_eq!(Timing::of(&mut samples).median, 1.0);
    }

    #[test]
    fn the_first_call_is_not_counted_and_the_fewest_samples_are_taken() {
        let mut calls = 0;
        let budget = Budget { samples: 4, seconds: 0.0, most_seconds: 9.0 };
        let timing = budget.run(|| {
            calls += 1;
            Ok(Duration::from_millis(if calls == 1 { 900 } else { 10 }))
        });
        assert!(timing.is_ok_and(|t| t.samples == 4 && (t.high - 0.01).abs() < 1e-9));
        assert_eq!(calls, 5);
        let impatient = Budget { samples: 4, seconds: 0.0, most_seconds: 0.0 };
        assert!(impatient.run(|| Ok(Duration::from_secs(60))).is_ok_and(|t| t.samples == 1));
    }
}
