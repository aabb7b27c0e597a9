//! The device memory of a training step of a network, as elbow counts it.

use elbow::{
    Float, Gpu, Saved,
    mlp::{Batch, Mlp},
    network::Layers,
    rates::STATE,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    network::{Design, architecture, room},
};

/// Bytes on the device in a training step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Footprint {
    /// The activations, and what else is not usual, such as a narrow type.
    pub activation: String,
    /// What a hidden layer keeps for backward; of layers that differ each choice.
    pub saved: String,
    /// Features of the input, of each hidden layer, and of the output.
    pub sizes: Vec<usize>,
    /// M, rows of the input.
    pub batch: usize,
    /// Bytes of W, b and learnable α, in f32.
    pub parameters: u64,
    /// Bytes of the copy of them in the storage type, and of the state of the loss scale.
    pub copy: u64,
    /// Bytes of dW, db and dα, in f32.
    pub gradients: u64,
    /// Bytes of the optimiser: means of gradients and of their squares, what decays, and its rates.
    pub optimiser: u64,
    /// Bytes of y of all layers.
    pub outputs: u64,
    /// Bytes of z or masks that are kept.
    pub kept: u64,
    /// Bytes of dz of all layers.
    pub dz: u64,
    /// Bytes of input, targets and losses.
    pub batch_bytes: u64,
    /// Bytes of scratch and of the kernels' parameter blocks.
    pub scratch: u64,
    /// All bytes that elbow owns after a step, which is the peak, since a step releases nothing.
    pub total: u64,
}

/// Runs one training step of such a network by AdamW, and counts bytes.
pub fn footprint(gpu: &Gpu, sizes: &[usize], design: &Design, batch: usize) -> Result<Footprint> {
    gpu.trim();
    let before = gpu.memory_bytes();
    // Only sizes matter here, not the numbers.
    let mlp = Mlp::new(gpu, &architecture(sizes, design, batch), &mut || 0.5)?;
    let made = gpu.memory_bytes();
    let [x, targets, loss] = room(gpu, sizes, design, batch)?;
    let with_batch = gpu.memory_bytes();
    let step = mlp.prepare(gpu, &Batch::new(&x, &targets, &loss))?;
    gpu.submit_pass(|pass| step.record(pass))?;
    gpu.wait()?;
    let after = gpu.memory_bytes();
    let bytes = |elements: usize| elements as u64 * design.storage.bytes();
    let kept = (0..mlp.layers()).map(|layer| match mlp.saved(layer) {
        Some(Saved::Z) => bytes(batch * sizes[layer + 1]),
        Some(Saved::Mask) => 4 * (batch * sizes[layer + 1].div_ceil(32)) as u64,
        _ => 0,
    });
    let kept: u64 = kept.sum();
    let outputs = bytes(batch * sizes.iter().skip(1).sum::<usize>());
    let scale = mlp.loss_scale().map_or(0, |state| state.buffer().size());
    let elements = |shape: &[usize]| shape.iter().product::<usize>().next_multiple_of(Layers::ALIGN);
    let elements: usize = mlp.named_parameters().iter().map(|(_, view)| elements(view.shape())).sum();
    let parameters = 4 * elements as u64;
    Ok(Footprint {
        activation: design.to_string(),
        saved: kept_by(&mlp),
        sizes: sizes.to_vec(),
        batch,
        parameters,
        copy: if design.storage == Float::F32 { 0 } else { bytes(elements) + scale },
        gradients: parameters,
        // Four factors for each run of parameters.
        optimiser: 2 * parameters + parameters / Layers::ALIGN as u64 * 4 + 4 * STATE as u64,
        outputs,
        kept,
        dz: outputs,
        batch_bytes: with_batch - made,
        scratch: after.saturating_sub(with_batch),
        total: after - before,
    })
}

/// What hidden layers keep, each choice once; of a network without hidden layers what its only layer does.
fn kept_by(mlp: &Mlp) -> String {
    let mut words: Vec<String> = Vec::new();
    for layer in 0..(mlp.layers() - 1).max(1) {
        let word = mlp.saved(layer).map(|saved| saved.to_string()).unwrap_or_default();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}
