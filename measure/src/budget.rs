//! How often something is timed.

use std::time::{Duration, Instant};

use crate::{error::Result, statistics::Estimate};

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

impl Budget {
    /// Takes samples of `once`, which returns the seconds of one repetition. The first call is not counted, because caches, clocks and
    /// compilers are cold.
    pub fn run(&self, mut once: impl FnMut() -> Result<Duration>) -> Result<Estimate> {
        once()?;
        let start = Instant::now();
        let mut samples = Vec::new();
        loop {
            samples.push(once()?.as_secs_f64());
            if self.is_over(samples.len(), start.elapsed()) {
                break;
            }
        }
        Ok(Estimate::of(&mut samples))
    }

    /// Whether so many samples, which took so long, are enough or took too long.
    pub(crate) fn is_over(&self, samples: usize, took: Duration) -> bool {
        let seconds = took.as_secs_f64();
        let enough = samples >= self.samples && (seconds >= self.seconds || samples >= MOST_SAMPLES);
        enough || seconds >= self.most_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
