//! The device memory of a training step of a network, as elbow counts it.

use elbow::{
    Activation, Dtype, Float, Gpu, Saved,
    mlp::{Architecture, Mlp, Step},
};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Bytes on the device in a training step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Footprint {
    /// The activation of the hidden layers.
    pub activation: String,
    /// What a hidden layer keeps for backward.
    pub saved: String,
    /// Features of the input, of each hidden layer, and of the output.
    pub sizes: Vec<usize>,
    /// M, rows of the input.
    pub batch: usize,
    /// Bytes of W and b.
    pub parameters: u64,
    /// Bytes of the copy of W and b in the storage type, and of the state of the loss scale.
    pub copy: u64,
    /// Bytes of dW and db.
    pub gradients: u64,
    /// Bytes of the velocities.
    pub velocity: u64,
    /// Bytes of y of all layers.
    pub outputs: u64,
    /// Bytes of z or masks that are kept.
    pub kept: u64,
    /// Bytes of dz of all layers.
    pub dz: u64,
    /// Bytes of input, labels and losses.
    pub batch_bytes: u64,
    /// Bytes of scratch and of the kernels' parameter blocks.
    pub scratch: u64,
    /// All bytes that elbow owns after a step, which is the peak, since a step releases nothing.
    pub total: u64,
}

/// Runs one training step of a network of these sizes by momentum, and counts bytes.
pub fn footprint(gpu: &Gpu, activation: Activation, dtype: Float, sizes: &[usize], batch: usize) -> Result<Footprint> {
    gpu.trim();
    let before = gpu.memory_bytes();
    let (inputs, layers) = (sizes.first().copied().unwrap_or(0), sizes.len().saturating_sub(1));
    let architecture = Architecture::new(sizes, activation, batch).storage(dtype);
    // Only sizes matter here, not the numbers.
    let mlp = Mlp::new(gpu, &architecture, &mut || 0.5)?;
    let made = gpu.memory_bytes();
    let (x, labels) = (gpu.zeros_of(dtype, &[batch, inputs])?, gpu.zeros_of(Dtype::U32, &[batch])?);
    let loss = gpu.zeros(&[batch])?;
    let with_batch = gpu.memory_bytes();
    let step = Step::new(x.view(), labels.view(), loss.view(), 0.0).momentum(0.9);
    gpu.submit_pass(|pass| mlp.train(gpu, pass, &step))?;
    gpu.wait()?;
    let after = gpu.memory_bytes();
    let bytes = |elements: usize| elements as u64 * dtype.bytes();
    let kept = (0..layers).map(|layer| match mlp.saved(layer) {
        Some(Saved::Z) => bytes(batch * sizes[layer + 1]),
        Some(Saved::Mask) => 4 * (batch * sizes[layer + 1].div_ceil(32)) as u64,
        _ => 0,
    });
    let kept: u64 = kept.sum();
    let outputs = bytes(batch * sizes.iter().skip(1).sum::<usize>());
    let scale = mlp.loss_scale().map_or(0, |state| state.buffer().size());
    // The rest of the network is parameters, gradients and velocities in f32, of equal size, and the narrow copy if there is one.
    let kinds = if dtype == Float::F32 { 12 } else { 12 + dtype.bytes() };
    let parameters = (made - before).saturating_sub(2 * outputs + kept + scale) * 4 / kinds;
    Ok(Footprint {
        activation: activation.to_string(),
        saved: mlp.saved(0).map(|saved| saved.to_string()).unwrap_or_default(),
        sizes: sizes.to_vec(),
        batch,
        parameters,
        copy: if dtype == Float::F32 { 0 } else { parameters / 4 * dtype.bytes() + scale },
        gradients: parameters,
        velocity: parameters,
        outputs,
        kept,
        dz: outputs,
        batch_bytes: with_batch - made,
        scratch: after.saturating_sub(with_batch),
        total: after - before,
    })
}
