//! A GPU beside a CPU, in rounds: each side once a round, in turns, so that what slows the machine down for a while slows both down, and a
//! ratio is that of two times a moment apart.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{
    budget::Budget,
    device::{Device, Record},
    error::Result,
    statistics::Estimate,
};

/// The same work on both sides.
pub(crate) struct Sides<'a> {
    /// Records it on the device.
    pub(crate) record: &'a Record<'a>,
    /// Brings up what the host has made.
    pub(crate) upload: &'a dyn Fn() -> elbow::Result<()>,
    /// Brings down what the host wants.
    pub(crate) download: &'a dyn Fn() -> elbow::Result<()>,
    /// Does it on the CPU.
    pub(crate) cpu: &'a mut dyn FnMut() -> Result<()>,
}

/// Seconds of a call on each side, and how many times as fast the GPU is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// By the device's own clock; None if it has none.
    pub gpu_device: Option<Estimate>,
    /// From submission until the device is done.
    pub gpu_wall: Estimate,
    /// The same with what goes up before and comes down after.
    pub gpu_transfers: Estimate,
    /// On all threads of the CPU.
    pub cpu: Estimate,
    /// The CPU's time divided by the wall time, round by round.
    pub speedup: Estimate,
    /// The CPU's time divided by the wall time with transfers.
    pub speedup_with_transfers: Estimate,
    /// How many rows of rounds were taken, of which this is the quietest: more than one if something else disturbed the machine.
    pub attempts: usize,
}

/// A side's sample repeats its call for this long: cold caches and the start of a clock would be much of a call of microseconds.
const LONG_ENOUGH: Duration = Duration::from_millis(2);

/// The most calls in a sample.
const MOST_CALLS: u32 = 1000;

/// A row of rounds is disturbed if the interval of a ratio is wider than this.
const DISTURBED: f64 = 1.1;

/// The most rows of rounds.
const ATTEMPTS: usize = 3;

/// How many times the budget's most seconds the fewest rounds may take.
const PATIENCE: f64 = 4.0;

/// One round: wall time, with transfers, the CPU, and the device's clock.
type Round = [f64; 4];

impl Device {
    /// Times both sides in rounds; a disturbed row of them is repeated while the budget lasts, and the quietest is kept.
    pub(crate) fn compare(&self, budget: Budget, sides: Sides<'_>) -> Result<Comparison> {
        let Sides { record, upload, download, cpu } = sides;
        let wall = || self.wall_time(record).map(drop);
        let transfers = || {
            upload()?;
            self.gpu.submit_pass(record)?;
            download()?;
            self.worked();
            Ok(())
        };
        self.wake(record)?;
        let calls = [calls(&mut { wall })?, calls(&mut { transfers })?, calls(cpu)?];
        let repeats = self.repeats(record)?;
        let of_gpu = || -> Result<[f64; 3]> {
            self.wake(record)?;
            let of_device = match repeats {
                Some(repeats) => self.device_time(repeats, record)?.as_secs_f64() / f64::from(repeats),
                None => f64::NAN,
            };
            Ok([of_device, sample(calls[0], &mut { wall })?, sample(calls[1], &mut { transfers })?])
        };
        let of_cpu = |cpu: &mut dyn FnMut() -> Result<()>| sample(calls[2], cpu);
        let mut turn = 0;
        // Without an interval there is nothing to say, and of a software adapter nothing is said.
        let fewest = if self.gpu.is_software() { 1 } else { Estimate::FEWEST };
        quietest(budget, fewest, || {
            turn += 1;
            let ([device, wall, transfers], of_cpu) = if turn % 2 == 0 {
                let of_cpu = of_cpu(cpu)?;
                (of_gpu()?, of_cpu)
            } else {
                let of_gpu = of_gpu()?;
                (of_gpu, of_cpu(cpu)?)
            };
            Ok([wall, transfers, of_cpu, device])
        })
    }
}

/// How many calls make a sample. The first, which compiles and allocates, is not counted.
fn calls(once: &mut dyn FnMut() -> Result<()>) -> Result<u32> {
    once()?;
    let took = sample(1, once)?.max(1e-9);
    Ok((LONG_ENOUGH.as_secs_f64() / took).ceil().clamp(1.0, f64::from(MOST_CALLS)) as u32)
}

/// Seconds of a call.
fn sample(calls: u32, once: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    (0..calls).try_for_each(|_| once())?;
    Ok(start.elapsed().as_secs_f64() / f64::from(calls))
}

/// Rows of rounds until one is quiet, at most [`ATTEMPTS`], none begun after the budget's most seconds; the quietest of them. The first
/// row has so many rounds at least, unless they take [`PATIENCE`] times as long.
fn quietest(budget: Budget, fewest: usize, mut round: impl FnMut() -> Result<Round>) -> Result<Comparison> {
    let begin = Instant::now();
    let mut best: Option<Comparison> = None;
    for attempts in 1..=ATTEMPTS {
        let start = Instant::now();
        let mut rounds = Vec::new();
        loop {
            rounds.push(round()?);
            let patient = rounds.len() < fewest && begin.elapsed().as_secs_f64() < PATIENCE * budget.most_seconds;
            if budget.is_over(rounds.len(), start.elapsed()) && !patient {
                break;
            }
        }
        let now = summary(&rounds);
        let kept = best.filter(|best| width(best) <= width(&now)).unwrap_or(now);
        best = Some(Comparison { attempts, ..kept });
        if width(&now) <= DISTURBED || begin.elapsed().as_secs_f64() >= budget.most_seconds {
            break;
        }
    }
    Ok(best.unwrap_or_else(|| summary(&[])))
}

fn summary(rounds: &[Round]) -> Comparison {
    let of = |i: usize| rounds.iter().map(|round| round[i]).collect::<Vec<f64>>();
    let [wall, transfers, cpu, device] = [of(0), of(1), of(2), of(3)];
    let speedup = |gpu: &[f64]| Estimate::of_ratios(&cpu, gpu);
    Comparison {
        speedup: speedup(&wall),
        speedup_with_transfers: speedup(&transfers),
        gpu_device: device.iter().all(|time| time.is_finite()).then(|| Estimate::of(&mut device.clone())),
        gpu_wall: Estimate::of(&mut wall.clone()),
        gpu_transfers: Estimate::of(&mut transfers.clone()),
        cpu: Estimate::of(&mut cpu.clone()),
        attempts: 1,
    }
}

/// The wider of the intervals of the ratios, as a factor between its ends.
fn width(comparison: &Comparison) -> f64 {
    let of = |ratio: &Estimate| ratio.high / ratio.low;
    of(&comparison.speedup).max(of(&comparison.speedup_with_transfers))
}

impl Comparison {
    /// Device time, or wall time without a clock.
    pub fn gpu(&self) -> Estimate {
        self.gpu_device.unwrap_or(self.gpu_wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Verdict;

    const BUDGET: Budget = Budget { samples: 8, seconds: 0.0, most_seconds: 60.0 };

    /// Rounds of made times, the n-th from the function.
    fn made(budget: Budget, mut of: impl FnMut(usize) -> Round) -> (Comparison, usize) {
        let mut taken = 0;
        let found = quietest(budget, 1, || {
            taken += 1;
            Ok(of(taken - 1))
        });
        (found.unwrap_or_else(|_| summary(&[])), taken)
    }

    #[test]
    fn what_slows_a_round_down_is_in_no_ratio() {
        // The machine gets ten times as slow within the row.
        let (found, taken) = made(BUDGET, |i| {
            let slow = if i < 4 { 1.0 } else { 10.0 };
            [1.0, 2.0, 3.0, 0.5].map(|time| time * slow)
        });
        assert_eq!((found.attempts, taken), (1, 8));
        assert_eq!((found.speedup.median, found.speedup.verdict()), (3.0, Verdict::Faster));
        assert_eq!((found.speedup_with_transfers.low, found.speedup_with_transfers.high), (1.5, 1.5));
        assert!(found.cpu.high / found.cpu.low > 9.0, "the times themselves do show it");
    }

    #[test]
    fn a_disturbed_row_is_repeated_and_the_quiet_one_is_kept() {
        let noisy_until = |rounds: usize| {
            made(BUDGET, |i| {
                let noise = if i < rounds { 1.0 + 3.0 * (i % 3) as f64 } else { 1.0 };
                [noise, 2.0, 4.0, f64::NAN]
            })
        };
        let (found, taken) = noisy_until(8);
        assert_eq!((found.attempts, taken, found.speedup.low, found.speedup.high), (2, 16, 4.0, 4.0));
        assert!(found.gpu_device.is_none(), "a device without a clock");
        let (found, taken) = noisy_until(100);
        assert_eq!((found.attempts, taken), (3, 24), "not for ever");
        assert_eq!(found.speedup.verdict(), Verdict::Noisy);
        let late = Budget { most_seconds: 0.0, ..BUDGET };
        let (found, taken) = made(late, |i| [1.0 + i as f64, 1.0, 1.0, 1.0]);
        assert_eq!((found.attempts, taken), (1, 1), "the budget is over");
        assert_eq!(found.speedup.verdict(), Verdict::Noisy, "one round says nothing");
    }

    #[test]
    fn a_slow_case_has_the_rounds_that_an_interval_needs() {
        let hurried = Budget { samples: 20, seconds: 0.0, most_seconds: 1e-3 };
        let of = |fewest, millis| {
            let mut taken = 0;
            let found = quietest(hurried, fewest, || {
                taken += 1;
                std::thread::sleep(Duration::from_millis(millis));
                Ok([1.0, 1.0, 2.0, 1.0])
            });
            found.map_or(0, |found| found.speedup.samples)
        };
        // A round takes as long as all may: one, or as many as four times the budget has room for.
        assert_eq!(of(1, 2), 1);
        assert!((2..Estimate::FEWEST).contains(&of(Estimate::FEWEST, 2)));
    }
}
