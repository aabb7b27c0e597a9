//! Magika, a trained network that says what type a file is of: what it reads of a file, its weights, and its way from one to the other.

mod moments;
mod on_cpu;
mod on_device;
mod recorded;
mod tokens;

use serde_json::Value;

pub(crate) use self::{
    moments::{Moments, as_the_graph, in_two_sweeps},
    on_cpu::{Exact, OnCpu},
    on_device::OnDevice,
    recorded::Recorded,
    tokens::{Tokens, tokens},
};
use super::{Result, onnx::Weights, package};

/// What a byte can be, or its absence; and the numbers that stand for it.
const BYTES: usize = 257;
const EMBEDDED: usize = 64;
/// Four bytes stand beside each other: 512 positions of 256 channels.
const POSITIONS: usize = 512;
const CHANNELS: usize = 256;
/// Positions that the convolution reads at once, and what it makes of them.
const WINDOW: usize = 5;
const FILTERS: usize = 512;
const EPSILON: f32 = 1e-6;

/// W `[N, K]` and b `[N]`, or the scale and shift of a norm.
type Parameters = (Vec<f32>, Vec<f32>);

pub(crate) struct Magika {
    pub(crate) labels: Vec<String>,
    embedding: Parameters,
    /// Scale and shift of each position: the norm of a channel over all positions.
    positions: Parameters,
    convolution: Parameters,
    filters: Parameters,
    classes: Parameters,
}

/// Who computes the layers.
pub(crate) trait Road {
    /// What stands for each byte, `[257, 64]`: gelu(W + b), for the product with a one-hot row is a row of W.
    fn table(&self) -> &[f64];

    /// gelu(W·window + b) of x `[files · 512, 256]`: of each position from which a window fits.
    fn convolved(&self, x: &[f64]) -> Result<Vec<f64>>;

    /// W·norm(x) + b: `[files, classes]`.
    fn logits(&self, pooled: &[f64]) -> Result<Vec<f64>>;
}

impl Magika {
    pub(crate) fn open() -> Result<Self> {
        let folder = "magika/models/standard_v3_3";
        let config: Value = serde_json::from_slice(&package::read(&format!("{folder}/config.min.json"))?)?;
        let labels = config["target_labels_space"].as_array().ok_or("Magika's labels are missing")?;
        let labels: Vec<String> = labels.iter().filter_map(|label| label.as_str().map(str::to_owned)).collect();
        let mut weights = Weights::read(&package::read(&format!("{folder}/model.onnx"))?)?;
        let mut take = |name: &str, shape: &[usize]| {
            let name = if name.starts_with("const") { name.to_owned() } else { format!("jax2tf_get_logits_/{name}:0") };
            weights.take(&name, &shape.iter().map(|&n| n as i64).collect::<Vec<_>>())
        };
        let network = |part: &str| format!("pjit_get_logits_/MagikaV2/{part}");
        let count = labels.len();
        let (embedding, classes) = (take("Const", &[BYTES, EMBEDDED])?, take("Const_24", &[FILTERS, count])?);
        // [filter, channel, place] there; rows of a window here.
        let kernels = take(&network("Conv_0/transpose_3"), &[FILTERS, CHANNELS, WINDOW, 1])?;
        let kernels = kernels.chunks(CHANNELS * WINDOW).flat_map(|kernel| transposed(kernel, WINDOW)).collect();
        Ok(Magika {
            embedding: (transposed(&embedding, EMBEDDED), take(&network("Dense_0/Reshape"), &[1, 1, EMBEDDED])?),
            positions: (
                take(&network("LayerNorm_0/Reshape_2"), &[1, POSITIONS, 1])?,
                take(&network("LayerNorm_0/Reshape_3"), &[1, POSITIONS, 1])?,
            ),
            convolution: (kernels, take("const_fold_opt__209", &[1, FILTERS, 1])?),
            filters: (
                take(&network("LayerNorm_1/Reshape_2"), &[1, FILTERS])?,
                take(&network("LayerNorm_1/Reshape_3"), &[1, FILTERS])?,
            ),
            classes: (transposed(&classes, count), take(&network("Dense_1/Reshape"), &[1, count])?),
            labels,
        })
    }

    /// The probability of each label, for each file.
    pub(crate) fn scores(&self, road: &dyn Road, files: &[&Tokens], moments: Moments) -> Result<Vec<Vec<f64>>> {
        let y = road.convolved(&self.inputs(road, files, moments))?;
        let logits = road.logits(&largest(&y))?;
        Ok(logits.chunks(self.labels.len()).map(softmax).collect())
    }

    /// What the convolution reads of files, `[files · 512, 256]`.
    pub(crate) fn inputs(&self, road: &dyn Road, files: &[&Tokens], moments: Moments) -> Vec<f64> {
        files.iter().flat_map(|file| self.positions(road.table(), file, moments)).collect()
    }

    /// Labels and scores of a file, the largest first.
    pub(crate) fn best(&self, scores: &[f64]) -> Vec<(&str, f64)> {
        let mut all: Vec<(&str, f64)> = self.labels.iter().map(String::as_str).zip(scores.iter().copied()).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    /// Of one file, `[512, 256]`.
    fn positions(&self, table: &[f64], file: &Tokens, moments: Moments) -> Vec<f64> {
        let mut x: Vec<f64> =
            file.iter().flat_map(|&byte| &table[byte as usize * EMBEDDED..][..EMBEDDED]).copied().collect();
        let moments: Vec<(f64, f64)> = moments(&x);
        let (scale, shift) = &self.positions;
        for ((row, scale), shift) in x.chunks_mut(CHANNELS).zip(scale).zip(shift) {
            for (x, (mean, inverse)) in row.iter_mut().zip(&moments) {
                *x = (*x - mean) * inverse * f64::from(*scale) + f64::from(*shift);
            }
        }
        x
    }
}

/// The largest of each filter over the windows of each file. The last windows of a file reach into the next one: they are none of its.
pub(crate) fn largest(y: &[f64]) -> Vec<f64> {
    let file = |y: &[f64]| {
        let mut most = y[..FILTERS].to_vec();
        for row in y.chunks(FILTERS).take(POSITIONS - WINDOW + 1) {
            most.iter_mut().zip(row).for_each(|(most, y)| *most = most.max(*y));
        }
        most
    };
    y.chunks(POSITIONS * FILTERS).flat_map(file).collect()
}

/// A matrix of so many columns with its columns as rows.
fn transposed(w: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| w.iter().skip(column).step_by(columns)).copied().collect()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
    logits.iter().map(|logit| (logit - most).exp() / total).collect()
}
