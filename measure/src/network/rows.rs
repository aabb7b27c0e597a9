//! The rows of a batch: a few distinct ones, over and over, so that the reference, which is slow, knows all of them.

use elbow::Float;
use rand::{RngExt as _, SeedableRng as _};

use super::{
    Data, Perceptron, Targets,
    exact::{Rounding, forward},
};
use crate::{error::Result, numbers::normals};

/// The most multiply-adds of the reference's forward: backward takes twice as many.
const MOST_WORK: usize = 1 << 23;

/// Rows with a z nearer to a kink than this share of its terms are not taken: there f32 may stand on the other side.
const NEAR: f64 = 1e-6;

/// The most candidates for a row.
const CANDIDATES: usize = 32;

/// The distinct rows of a batch.
#[derive(Debug)]
pub(super) struct Rows {
    x: Vec<f32>,
    targets: Targets,
}

impl Rows {
    /// As many as the reference can follow. None of them brings a z near to a kink, where the slope would be a matter of rounding; of so wide
    /// a network that every row does, those that stay farthest away.
    pub(super) fn new(network: &Perceptron, batch: usize) -> Result<Self> {
        let count = (MOST_WORK / network.weights().max(1)).clamp(7, 301) | 1;
        let count = count.min(batch);
        let (inputs, storage) = (network.inputs(), network.design().storage);
        let rounding = Rounding { ends: storage, between: storage, scale: 1.0 };
        // Where a number of a layer below is rounded to the other side.
        let near = NEAR + if storage == Float::F32 { 0.0 } else { 0.1 * storage.unit_roundoff() };
        let mut found: Vec<(f64, Vec<f32>)> = Vec::new();
        for seed in 0..CANDIDATES as u64 {
            let candidates = normals(1000 + seed, count * inputs, 1.0);
            let candidates: Vec<f32> = candidates.into_iter().map(|x| storage.round(x)).collect();
            let mut distances = forward(network, candidates.clone(), rounding)?.near;
            if storage != Float::F32 {
                // The CPU, and a network in one dispatch, round nothing.
                let exact = forward(network, candidates.clone(), Rounding::NONE)?.near;
                distances.iter_mut().zip(exact).for_each(|(distance, exact)| *distance = distance.min(exact));
            }
            found.extend(distances.into_iter().zip(candidates.chunks(inputs).map(<[f32]>::to_vec)));
            if found.iter().filter(|(distance, _)| *distance >= near).count() >= count {
                break;
            }
        }
        found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let x = found.into_iter().take(count).flat_map(|(_, row)| row).collect();
        Ok(Rows { x, targets: targets(network, count) })
    }

    pub(super) fn x(&self) -> &[f32] {
        &self.x
    }

    pub(super) fn targets(&self) -> &Targets {
        &self.targets
    }

    /// A batch of these rows, over and over.
    pub(super) fn data(&self, network: &Perceptron, batch: usize) -> Data {
        let per_row = match &self.targets {
            Targets::Numbers(_) => network.outputs(),
            Targets::Classes(_) => 1,
        };
        Data {
            rows: batch,
            x: self.x.iter().copied().cycle().take(batch * network.inputs()).collect(),
            targets: self.targets.repeated(batch * per_row),
        }
    }
}

fn targets(network: &Perceptron, count: usize) -> Targets {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(77);
    let columns = network.outputs();
    match network.design().loss.criterion() {
        None => Targets::Classes((0..count).map(|_| rng.random_range(0..columns as u32)).collect()),
        Some(elbow::criterion::Criterion::BinaryCrossEntropy) => {
            Targets::Numbers((0..count * columns).map(|_| f32::from(u8::from(rng.random_bool(0.5)))).collect())
        }
        Some(_) => Targets::Numbers(normals(78, count * columns, 1.0)),
    }
}
