//! The results, as they are in the JSON.

use elbow::AlphaSource;
use elbow_measure::{
    About, AlonePart, Comparison, Errors, Estimate, Footprint, Loss, Part, Road, Shape, probe::Ceilings,
};
use serde::{Deserialize, Serialize};

use super::answer::{self, Answer};

/// All results. Times are in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Whether the GPU is worth it, in a sentence.
    pub(crate) answer: String,
    /// The same, question by question.
    pub(crate) answers: Vec<Answer>,
    pub(crate) about: About,
    /// What became of the wish for matrix units.
    pub(crate) matrix_units: String,
    /// Where the choices of tiles are from.
    pub(crate) tuning: String,
    /// The type of the data on the GPU.
    pub(crate) dtype: String,
    pub(crate) ceilings: Ceilings,
    /// A whole network, if one was asked about.
    pub(crate) network: Option<NetworkResult>,
    pub(crate) layers: Vec<LayerResult>,
    pub(crate) alone: Vec<AloneResult>,
    pub(crate) memory: Vec<Footprint>,
}

/// A whole network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NetworkResult {
    /// `8-64-64-1, gelu_erf`, and what else is not usual.
    pub(crate) name: String,
    /// Features of the input, of each hidden layer, and of the output.
    pub(crate) sizes: Vec<usize>,
    /// The activations, as `--activation` takes them.
    pub(crate) activation: String,
    /// Where their α comes from.
    pub(crate) alpha: String,
    pub(crate) loss: Loss,
    /// How many numbers W, b and learnable α of all layers are.
    pub(crate) weights: usize,
    /// The file that they are from; made up without.
    pub(crate) file: Option<String>,
    pub(crate) batches: Vec<BatchResult>,
}

/// A network at one batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BatchResult {
    pub(crate) batch: usize,
    pub(crate) inference: Comparison,
    /// Forward, loss, backward, update.
    pub(crate) training: Comparison,
    /// How the CPU inferred: the faster of its two roads.
    pub(crate) cpu_road: Road,
    /// The largest errors of the GPU and of the CPU, as shares of what is allowed.
    pub(crate) of_bound: [f64; 2],
}

/// A layer of one shape and activation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerResult {
    #[serde(flatten)]
    pub(crate) shape: Shape,
    pub(crate) activation: String,
    /// Where its α comes from.
    pub(crate) alpha: String,
    pub(crate) saved: String,
    pub(crate) parts: Vec<PartResult>,
    /// Forward without anything kept, in one dispatch; device time, or wall time without a clock.
    pub(crate) fused: Estimate,
    /// Forward in two dispatches.
    pub(crate) unfused: Estimate,
    pub(crate) errors: Errors,
    /// The largest error of the GPU in ulp of Σ|terms|, in the type of its data.
    pub(crate) ulp: f64,
    /// That error as a share of its tolerance.
    pub(crate) of_bound: f64,
    pub(crate) cpu_ulp: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartResult {
    pub(crate) part: Part,
    pub(crate) operations: u64,
    /// Bytes that must at least be moved.
    pub(crate) bytes: u64,
    #[serde(flatten)]
    pub(crate) times: Comparison,
}

/// An activation alone on a tensor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AloneResult {
    pub(crate) activation: String,
    pub(crate) elements: usize,
    pub(crate) part: AlonePart,
    pub(crate) bytes: u64,
    pub(crate) gpu_device: Option<Estimate>,
    pub(crate) gpu_wall: Estimate,
    pub(crate) cpu: Estimate,
    pub(crate) error: f64,
}

impl AloneResult {
    /// Device time, or wall time without a clock.
    pub(crate) fn gpu(&self) -> Estimate {
        self.gpu_device.unwrap_or(self.gpu_wall)
    }
}

/// The same work at every batch that was measured.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// The network, or the layer.
    pub(crate) of: String,
    pub(crate) part: Part,
    /// Batches in ascending order.
    pub(crate) points: Vec<(usize, Comparison)>,
}

/// The least number of batches for a curve of a layer.
const FEWEST_POINTS: usize = 3;

impl Results {
    /// The results with what follows from them.
    pub(super) fn answered(mut self) -> Self {
        self.answers = self.questions().iter().map(|curve| Answer::of(curve, self.about.software)).collect();
        self.answer = answer::sentence(&self);
        self
    }

    /// What is asked: of the network, or of every layer with enough batches.
    pub(crate) fn questions(&self) -> Vec<Curve> {
        match &self.network {
            Some(network) => network.curves(),
            None => self.layer_curves(&[Part::Forward, Part::Step]),
        }
    }

    /// These parts of every layer with enough batches.
    pub(crate) fn layer_curves(&self, parts: &[Part]) -> Vec<Curve> {
        let mut found: Vec<Curve> = Vec::new();
        for layer in &self.layers {
            for part in layer.parts.iter().filter(|p| parts.contains(&p.part)) {
                let of = format!("layer {} to {}, {}", layer.shape.k, layer.shape.n, layer.unit());
                let point = (layer.shape.m, part.times);
                match found.iter_mut().find(|curve| (&curve.of, curve.part) == (&of, part.part)) {
                    Some(curve) => curve.points.push(point),
                    None => found.push(Curve { of, part: part.part, points: vec![point] }),
                }
            }
        }
        let fewest = if self.network.is_some() { 1 } else { FEWEST_POINTS };
        found.retain_mut(|curve| {
            curve.points.sort_by_key(|point| point.0);
            curve.points.dedup_by_key(|point| point.0);
            curve.points.len() >= fewest
        });
        found
    }
}

impl LayerResult {
    /// The activation, and whether its α is learned.
    pub(crate) fn unit(&self) -> String {
        match self.alpha == AlphaSource::Constant.name() {
            true => self.activation.clone(),
            false => format!("{}, α by {}", self.activation, self.alpha),
        }
    }
}

impl NetworkResult {
    fn curves(&self) -> Vec<Curve> {
        let of = |part, times: fn(&BatchResult) -> Comparison| {
            let mut points: Vec<_> = self.batches.iter().map(|b| (b.batch, times(b))).collect();
            points.sort_by_key(|point| point.0);
            Curve { of: self.name.clone(), part, points }
        };
        vec![of(Part::Step, |b| b.training), of(Part::Inference, |b| b.inference)]
    }
}

impl Curve {
    /// The question in a word: what the part is called where it is about a whole network.
    pub(crate) fn question(&self) -> &'static str {
        match self.part {
            Part::Step => "Training",
            Part::Inference => "Inference",
            Part::Backward => "Backward",
            _ => "Forward",
        }
    }
}
