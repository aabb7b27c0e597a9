//! Where experiments run: the device, how thorough they are, their random numbers and their progress.

use std::path::PathBuf;

use elbow::{Gpu, gpu::transfer::Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Result;

pub(crate) struct Lab {
    pub(crate) gpu: Gpu,
    quick: bool,
    /// Those on the command line.
    pub(crate) files: Vec<PathBuf>,
}

impl Lab {
    pub(crate) fn open(quick: bool, files: Vec<PathBuf>) -> Result<Self> {
        Ok(Lab { gpu: Gpu::new()?, quick, files })
    }

    /// A size: the first in a full run, the second in a quick one.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// The same numbers on every machine.
    pub(crate) fn rng(&self, seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// Independent normal numbers of this standard deviation, on the device.
    pub(crate) fn normal(&self, rng: &mut ChaCha8Rng, deviation: f32, shape: &[usize]) -> Result<Tensor> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| deviation * normal(rng)).collect();
        Ok(self.gpu.upload(&values, shape)?)
    }

    /// A bar on the terminal; none where there is no terminal.
    pub(crate) fn progress(&self, steps: usize, what: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("{msg:24} {bar:32} {pos}/{len}, {eta} left");
        let bar = ProgressBar::new(steps as u64).with_message(what.to_owned());
        style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
    }
}

/// A standard normal number.
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    rng.sample(rand_distr::StandardNormal)
}
