//! When a tile replaces another, from their times alone.

use std::{fmt, time::Duration};

use crate::plan::{Choices, Form, Size};

/// Another tile is chosen only if its time is below 95 % of that of the tile chosen without tuning.
pub(super) const GAIN: f64 = 0.95;

/// The time of one run: a median, and how far samples were from it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Spread {
    /// Half of the samples were faster.
    pub median: Duration,
    /// Half the interquartile range.
    pub noise: Duration,
}

impl Spread {
    /// Of samples, at least one.
    pub(super) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let last = samples.len().saturating_sub(1);
        let at = |quarter: usize| samples.get((last * quarter + 2) / 4).copied().unwrap_or(Duration::MAX);
        Spread { median: at(2), noise: at(3).saturating_sub(at(1)) / 2 }
    }

    /// Whether it is faster by 5 %, and by more than the noise of both.
    pub(super) fn beats(&self, usual: &Spread) -> bool {
        let won = usual.median.saturating_sub(self.median);
        self.median.as_secs_f64() < GAIN * usual.median.as_secs_f64() && won > self.noise + usual.noise
    }
}

/// What tuning decided for one size and form.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// How many rows, and multiply-adds, the product has.
    pub size: Size,
    /// Which of its operands lie along the reduction.
    pub form: Form,
    /// The tile that plans took before, and its time; None if it is wrong or cannot run here.
    pub usual: (usize, Option<Spread>),
    /// The tile that plans take from now on, and its time.
    pub chosen: (usize, Spread),
    /// The time below which the product cannot come, as measured: that of a copy of as many bytes, or of its multiply-adds.
    pub bound: Duration,
    /// Tiles that were not tried because the fastest was already so near the bound that none could win 5 %.
    pub spared: usize,
}

impl Decision {
    /// The time before, divided by the time after: 1 if the choice stayed. None if the tile before was wrong.
    pub fn won(&self) -> Option<f64> {
        let (usual, time) = self.usual;
        match usual == self.chosen.0 {
            true => Some(1.0),
            false => time.map(|time| time.median.as_secs_f64() / self.chosen.1.median.as_secs_f64().max(1e-12)),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (tile, time) = self.chosen;
        write!(f, "{:<4} {}  ", self.size.name(), self.form.name())?;
        match (self.won(), self.usual) {
            (None, (usual, _)) => write!(f, "tile {usual} was wrong or could not run, now tile {tile}")?,
            (Some(_), (usual, _)) if usual == tile => write!(f, "stays with tile {tile}")?,
            (Some(won), (usual, _)) => write!(f, "tile {usual}, now tile {tile}: {won:.2} times as fast")?,
        }
        write!(f, ", {:.4} ms ± {:.4}, bound {:.4} ms", ms(time.median), ms(time.noise), ms(self.bound))?;
        if self.spared > 0 {
            write!(f, "; {} tiles not tried, so near the bound it is", self.spared)?;
        }
        Ok(())
    }
}

/// All that tuning found. It prints as a line for each decision.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Tuned {
    /// What plans take from now on.
    pub choices: Choices,
    /// One for each size and form that was tuned.
    pub decisions: Vec<Decision>,
}

impl fmt::Display for Tuned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decisions.iter().try_for_each(|decision| writeln!(f, "{decision}"))?;
        writeln!(f, "workgroups that fill the device: {}", self.choices.workgroups())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: u64, noise: u64) -> Spread {
        Spread { median: Duration::from_micros(median), noise: Duration::from_micros(noise) }
    }

    #[test]
    fn a_win_is_of_five_percent_and_beyond_the_noise() {
        for (tile, usual, wins) in [
            (spread(940, 1), spread(1000, 1), true),
            (spread(960, 1), spread(1000, 1), false),
            (spread(940, 40), spread(1000, 30), false),
            (spread(500, 200), spread(1000, 200), true),
            (spread(1000, 0), spread(1000, 0), false),
            (spread(2000, 0), spread(1000, 0), false),
        ] {
            assert_eq!(tile.beats(&usual), wins, "{tile:?} {usual:?}");
        }
    }

    #[test]
    fn one_slow_sample_is_no_noise() {
        let samples = [5, 1, 3, 2, 900].map(Duration::from_micros).to_vec();
        assert_eq!(Spread::of(samples), Spread { median: Duration::from_micros(3), noise: Duration::from_nanos(1500) });
        let one = Duration::from_micros(7);
        assert_eq!(Spread::of(vec![one]), Spread { median: one, noise: Duration::ZERO });
    }

    #[test]
    fn a_decision_says_what_it_won() {
        let (size, form, bound) = (Size::Many, Form::Nn, Duration::from_micros(10));
        let decision = |usual, chosen| Decision { size, form, usual, chosen, bound, spared: 0 };
        let won = decision((2, Some(spread(300, 1))), (7, spread(200, 1)));
        // Seconds are binary fractions: the quotient is not exactly 1.5.
        assert!(won.won().is_some_and(|times| (times - 1.5).abs() < 1e-12), "{:?}", won.won());
        assert_eq!(
            won.to_string(),
            "many NN  tile 2, now tile 7: 1.50 times as fast, 0.2000 ms ± 0.0010, bound 0.0100 ms"
        );
        let stayed = Decision { spared: 3, ..decision((2, Some(spread(300, 1))), (2, spread(300, 1))) };
        assert!(stayed.to_string().contains("stays with tile 2") && stayed.to_string().contains("3 tiles not tried"));
        assert!(decision((2, None), (0, spread(1, 0))).to_string().contains("tile 2 was wrong"));
    }
}
