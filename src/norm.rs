//! Normalisation: u = (x − mean) / √(variance + ε), of each column over the rows or of each row over its columns.
//!
//! | | mean and variance | in backward they |
//! |---|---|---|
//! | [`Norm::batch`] | of each column of x, over the rows: batch normalisation in training | depend on x |
//! | [`Norm::running`] | of each column, of earlier batches: batch normalisation in use | are constants |
//! | [`Norm::layer`] | of each row: layer normalisation | depend on x |
//! | [`Norm::rms`] | of each row, with 0 for the mean: u = x / √(mean of x² + ε) | depend on x |
//!
//! A variance is divided by the count (not the count − 1). Sources: Ioffe and Szegedy 2015; Ba, Kiros and Hinton 2016; Zhang and Sennrich
//! 2019.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// How x is normalised, with its ε.
///
/// ```
/// use elbow::Norm;
/// let norm = Norm::batch().epsilon(1e-3)?.momentum(0.01)?;
/// assert_eq!("batch,epsilon=0.001,momentum=0.01".parse(), Ok(norm));
/// assert!(Norm::rms().of_rows() && !norm.of_rows());
/// assert!(norm.is_batch() && Norm::running().is_running());
/// assert!(Norm::layer().has_mean() && !Norm::rms().has_mean());
/// assert_eq!((Norm::layer().get_epsilon(), norm.get_momentum()), (1e-5, 0.01));
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Norm {
    kind: Kind,
    /// The bits of ε and of the momentum, so that norms compare and hash.
    epsilon: u32,
    momentum: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Batch,
    Running,
    Layer,
    Rms,
}

/// PyTorch's.
const EPSILON: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

impl Norm {
    const fn of(kind: Kind) -> Self {
        Norm { kind, epsilon: EPSILON.to_bits(), momentum: MOMENTUM.to_bits() }
    }

    /// Mean and variance of each column of x over its rows.
    pub const fn batch() -> Self {
        Self::of(Kind::Batch)
    }

    /// Mean and variance of each column as earlier calls with [`Norm::batch`] have left them in the operand `running`.
    pub const fn running() -> Self {
        Self::of(Kind::Running)
    }

    /// Mean and variance of each row.
    pub const fn layer() -> Self {
        Self::of(Kind::Layer)
    }

    /// The mean square of each row, and no mean.
    pub const fn rms() -> Self {
        Self::of(Kind::Rms)
    }

    /// Sets ε, 1e-5 otherwise. [`Error::BadParameter`] unless it is a normal number above 0.
    pub fn epsilon(self, epsilon: f32) -> Result<Self> {
        let good = epsilon.is_normal() && epsilon > 0.0;
        parameter("epsilon", "a normal number > 0", epsilon, good)?;
        Ok(Norm { epsilon: epsilon.to_bits(), ..self })
    }

    /// Sets how much of a batch's statistics the running ones take over, running += momentum · (batch − running), 0.1 otherwise.
    /// [`Error::BadParameter`] unless it is from 0 to 1.
    pub fn momentum(self, momentum: f32) -> Result<Self> {
        parameter("momentum", "a number from 0 to 1", momentum, (0.0..=1.0).contains(&momentum))?;
        Ok(Norm { momentum: momentum.to_bits(), ..self })
    }

    /// ε.
    pub const fn get_epsilon(&self) -> f32 {
        f32::from_bits(self.epsilon)
    }

    /// The momentum of running statistics.
    pub const fn get_momentum(&self) -> f32 {
        f32::from_bits(self.momentum)
    }

    /// Whether each row has a mean and a variance; else each column.
    pub const fn of_rows(&self) -> bool {
        matches!(self.kind, Kind::Layer | Kind::Rms)
    }

    /// Whether a mean is taken off.
    pub const fn has_mean(&self) -> bool {
        !matches!(self.kind, Kind::Rms)
    }

    /// Whether the statistics are those of earlier batches.
    pub const fn is_running(&self) -> bool {
        matches!(self.kind, Kind::Running)
    }

    /// Whether the statistics are those of the columns of x itself.
    pub const fn is_batch(&self) -> bool {
        matches!(self.kind, Kind::Batch)
    }
}

fn parameter(name: &str, expected: &str, got: f32, good: bool) -> Result<()> {
    match good {
        true => Ok(()),
        false => Err(Error::BadParameter {
            of: "norm".into(),
            parameter: name.into(),
            expected: expected.into(),
            got: got.to_string(),
        }),
    }
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Batch => "batch",
            Kind::Running => "running",
            Kind::Layer => "layer",
            Kind::Rms => "rms",
        })?;
        let numbers = [("epsilon", self.get_epsilon(), EPSILON), ("momentum", self.get_momentum(), MOMENTUM)];
        numbers.iter().filter(|(_, is, usual)| is != usual).try_for_each(|(name, is, _)| write!(f, ",{name}={is}"))
    }
}

impl FromStr for Norm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split(',').map(str::trim);
        let refused = || Error::Unsupported {
            what: format!("norm {text:?}"),
            why: "it is batch, running, layer or rms, then, if so, epsilon=NUMBER and momentum=NUMBER".into(),
        };
        let kind = match words.next() {
            Some("batch") => Kind::Batch,
            Some("running") => Kind::Running,
            Some("layer") => Kind::Layer,
            Some("rms") => Kind::Rms,
            _ => return Err(refused()),
        };
        words.try_fold(Norm::of(kind), |norm, word| {
            let (name, number) = word.split_once('=').ok_or_else(refused)?;
            let number = number.parse().map_err(|_| refused())?;
            match name {
                "epsilon" => norm.epsilon(number),
                "momentum" => norm.momentum(number),
                _ => Err(refused()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_norm_prints_and_reads_back() {
        for norm in [Norm::batch(), Norm::running(), Norm::layer(), Norm::rms()] {
            for norm in [norm, norm.epsilon(1e-6).unwrap(), norm.momentum(1.0).unwrap().epsilon(0.5).unwrap()] {
                assert_eq!(norm.to_string().parse(), Ok(norm));
            }
        }
        for wrong in ["", "group", "layer,epsilon", "layer,epsilon=0", "rms,epsilon=x", "batch,momentum=1.5", "rms,x=1"]
        {
            assert!(wrong.parse::<Norm>().is_err(), "{wrong}");
        }
    }
}
