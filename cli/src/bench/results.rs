//! The results, as they are in the JSON, and figures derived from them.

use elbow::Float;
use elbow_measure::{About, AlonePart, Errors, Footprint, Part, Shape, Timing, probe::Ceilings};
use serde::Serialize;

/// All results. Times are in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    pub(super) about: About,
    /// What became of the wish for matrix units.
    pub(super) matrix_units: String,
    /// Where the choices of tiles are from.
    pub(super) tuning: String,
    /// The type of the data on the GPU.
    pub(super) dtype: &'static str,
    pub(super) ceilings: Ceilings,
    pub(super) layers: Vec<LayerResult>,
    pub(super) alone: Vec<AloneResult>,
    pub(super) crossovers: Vec<Crossover>,
    pub(super) memory: Vec<Footprint>,
}

/// A layer of one shape and activation.
#[derive(Debug, Serialize)]
pub(super) struct LayerResult {
    #[serde(flatten)]
    pub(super) shape: Shape,
    pub(super) activation: String,
    pub(super) saved: String,
    pub(super) parts: Vec<PartResult>,
    /// Forward without anything kept, in one dispatch; device time, or wall time without a clock.
    pub(super) fused: Timing,
    /// Forward in two dispatches.
    pub(super) unfused: Timing,
    pub(super) errors: Errors,
    /// The largest error of the GPU in ulp of Σ|terms|, in the type of its data.
    pub(super) ulp: f64,
    /// That error as a share of its tolerance.
    pub(super) of_bound: f64,
    pub(super) cpu_ulp: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct PartResult {
    pub(super) part: Part,
    pub(super) operations: u64,
    /// Bytes that must at least be moved.
    pub(super) bytes: u64,
    pub(super) gpu_device: Option<Timing>,
    pub(super) gpu_wall: Timing,
    pub(super) gpu_transfers: Timing,
    pub(super) cpu: Timing,
}

/// An activation alone on a tensor.
#[derive(Debug, Serialize)]
pub(super) struct AloneResult {
    pub(super) activation: String,
    pub(super) elements: usize,
    pub(super) part: AlonePart,
    pub(super) bytes: u64,
    pub(super) gpu_device: Option<Timing>,
    pub(super) gpu_wall: Timing,
    pub(super) cpu: Timing,
    pub(super) error: f64,
}

/// From which M on the GPU is faster, at one K and N.
#[derive(Debug, Serialize)]
pub(super) struct Crossover {
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) activation: String,
    pub(super) part: Part,
    pub(super) points: Vec<Point>,
    /// The smallest measured M from which on the GPU's wall time is below the CPU's for every larger M.
    pub(super) wins_from: Option<usize>,
    /// That M for wall time with transfers.
    pub(super) wins_from_with_transfers: Option<usize>,
}

/// Median seconds at one M.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Point {
    pub(super) m: usize,
    pub(super) gpu: f64,
    pub(super) gpu_transfers: f64,
    pub(super) cpu: f64,
}

/// The least number of M for a curve.
const FEWEST_POINTS: usize = 3;

impl Results {
    #[allow(clippy::too_many_arguments, reason = "one for each field, and only one caller")]
    pub(super) fn new(
        about: About,
        matrix_units: String,
        tuning: String,
        dtype: Float,
        ceilings: Ceilings,
        layers: Vec<LayerResult>,
        alone: Vec<AloneResult>,
        memory: Vec<Footprint>,
    ) -> Self {
        let crossovers = crossovers(&layers);
        Results { about, matrix_units, tuning, dtype: dtype.name(), ceilings, layers, alone, crossovers, memory }
    }
}

impl PartResult {
    /// Device time, or wall time without a clock.
    pub(super) fn gpu(&self) -> Timing {
        self.gpu_device.unwrap_or(self.gpu_wall)
    }
}

impl AloneResult {
    /// Device time, or wall time without a clock.
    pub(super) fn gpu(&self) -> Timing {
        self.gpu_device.unwrap_or(self.gpu_wall)
    }
}

impl Crossover {
    /// The crossover in a sentence.
    pub(super) fn sentence(&self) -> String {
        let what = format!("{} {}, K = {}, N = {}", self.activation, self.part.name(), self.k, self.n);
        let (first, last) = (self.points.first().map_or(0, |p| p.m), self.points.last().map_or(0, |p| p.m));
        let from = |batch: usize| match batch == first {
            true => format!("at every batch measured, from {first} to {last}"),
            false => format!("from a batch of {batch} on"),
        };
        match (self.wins_from, self.wins_from_with_transfers) {
            (None, _) => format!(
                "{what}: the CPU wins at the largest batch measured, {last}: the GPU never overtakes it for good."
            ),
            (Some(batch), None) => {
                format!("{what}: the GPU wins {}, but never when x and y must travel.", from(batch))
            }
            (Some(batch), Some(with)) => {
                format!("{what}: the GPU wins {}; when x and y must travel, {}.", from(batch), from(with))
            }
        }
    }
}

/// The crossover of every K, N, activation and part with enough M.
fn crossovers(layers: &[LayerResult]) -> Vec<Crossover> {
    let mut found: Vec<Crossover> = Vec::new();
    for layer in layers {
        for part in layer.parts.iter().filter(|p| p.part != Part::Backward) {
            let point = Point {
                m: layer.shape.m,
                gpu: part.gpu_wall.median,
                gpu_transfers: part.gpu_transfers.median,
                cpu: part.cpu.median,
            };
            let (k, n, activation) = (layer.shape.k, layer.shape.n, &layer.activation);
            let same = |c: &&mut Crossover| (c.k, c.n, &c.activation, c.part) == (k, n, activation, part.part);
            match found.iter_mut().find(same) {
                Some(crossover) => crossover.points.push(point),
                None => found.push(Crossover {
                    k,
                    n,
                    activation: activation.clone(),
                    part: part.part,
                    points: vec![point],
                    wins_from: None,
                    wins_from_with_transfers: None,
                }),
            }
        }
    }
    found.retain_mut(|crossover| {
        crossover.points.sort_by_key(|point| point.m);
        crossover.points.dedup_by_key(|point| point.m);
        crossover.wins_from = wins_from(&crossover.points, |p| p.gpu);
        crossover.wins_from_with_transfers = wins_from(&crossover.points, |p| p.gpu_transfers);
        crossover.points.len() >= FEWEST_POINTS
    });
    found
}

/// The first M of the wins that last to the end.
fn wins_from(points: &[Point], gpu: impl Fn(&Point) -> f64) -> Option<usize> {
    points.iter().rev().take_while(|point| gpu(point) < point.cpu).last().map(|point| point.m)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossover(gpu: &[f64]) -> Crossover {
        let point = |(i, &gpu): (usize, &f64)| Point { m: 1 << i, gpu, gpu_transfers: gpu + 0.5, cpu: 1.0 };
        let points: Vec<Point> = gpu.iter().enumerate().map(point).collect();
        Crossover {
            k: 2,
            n: 3,
            activation: "relu".into(),
            part: Part::Forward,
            wins_from: wins_from(&points, |p| p.gpu),
            wins_from_with_transfers: wins_from(&points, |p| p.gpu_transfers),
            points,
        }
    }

    #[test]
    fn a_crossover_is_the_run_of_wins_at_the_end() {
        for (gpu, from, with_transfers, says) in [
            (
                &[2.0, 0.9, 0.1][..],
                Some(2),
                Some(4),
                "from a batch of 2 on; when x and y must travel, from a batch of 4 on",
            ),
            (&[0.1, 2.0, 0.9], Some(4), None, "never when x and y must travel"),
            (&[0.1, 0.1, 2.0], None, None, "never overtakes"),
            (&[0.1, 0.1, 0.1], Some(1), Some(1), "at every batch measured, from 1 to 4"),
        ] {
            let crossover = crossover(gpu);
            assert_eq!((crossover.wins_from, crossover.wins_from_with_transfers), (from, with_transfers), "{gpu:?}");
            assert!(crossover.sentence().contains(says), "{}", crossover.sentence());
        }
    }
}
