//! An activation alone on a tensor, on the GPU and on the CPU baseline, verified.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use elbow::{
    Activation, AlphaSource, Float, Tensor,
    cpu::{Elementwise, reference},
    elementwise::Forward,
    wgpu,
};

use crate::{
    budget::Budget,
    device::Device,
    error::Result,
    numbers::{normals, worst},
    statistics::Estimate,
};

/// Number of elements that are verified, spread over the whole tensor.
const SAMPLE: usize = 1 << 16;

/// The largest error, relative to the value or to 1 if that is larger. Coarse: exact bounds are checked by the tests.
const TOLERANCE: f64 = 2e-6;

/// A timed call of an activation alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlonePart {
    /// y = act(x).
    Forward,
    /// dx = dy ⊙ act'(x).
    Backward,
}

impl AlonePart {
    /// Forward and backward.
    pub const ALL: [AlonePart; 2] = [AlonePart::Forward, AlonePart::Backward];

    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            AlonePart::Forward => "forward",
            AlonePart::Backward => "backward",
        }
    }

    /// Bytes of an element that must be read or written: x and y in forward; x, dy and dx in backward.
    pub fn bytes(self, elements: usize, dtype: Float) -> u64 {
        let tensors = if self == AlonePart::Forward { 2 } else { 3 };
        tensors * elements as u64 * dtype.bytes()
    }
}

/// An activation on a tensor, with operands on the GPU and on the CPU; both are verified when it is made.
#[derive(Debug)]
pub struct Alone<'d> {
    device: &'d Device,
    activation: Activation,
    dtype: Float,
    x: Vec<f32>,
    dy: Vec<f32>,
    on_gpu: [Tensor; 4],
    /// The largest error of the sample on the device, relative to the value or to 1.
    error: f64,
}

impl<'d> Alone<'d> {
    /// Makes the operands on both sides, and compares a sample of both results with the reference; an error if one differs.
    pub fn new(device: &'d Device, elements: usize, activation: Activation, dtype: Float) -> Result<Self> {
        let stored = |values: Vec<f32>| -> Vec<f32> { values.into_iter().map(|v| dtype.round(v)).collect() };
        let (x, dy) = (stored(normals(1, elements, 2.0)), stored(normals(2, elements, 1.0)));
        let (gpu, shape) = (&device.gpu, &[elements]);
        let zeros = || gpu.zeros_of(dtype, shape);
        let on_gpu = [gpu.upload_as(dtype, &x, shape)?, gpu.upload_as(dtype, &dy, shape)?, zeros()?, zeros()?];
        let mut alone = Alone { device, activation, dtype, x, dy, on_gpu, error: 0.0 };
        alone.error = alone.verify()?;
        Ok(alone)
    }

    /// The largest error of the sample on the device, relative to the value or to 1 if that is larger.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Records a call into a pass.
    pub fn record(&self, part: AlonePart, pass: &mut wgpu::ComputePass<'_>) -> elbow::Result<()> {
        let [x, dy, y, dx] = &self.on_gpu;
        match part {
            AlonePart::Forward => Forward::new(self.activation, x, y).record(&self.device.gpu, pass),
            AlonePart::Backward => {
                Forward::new(self.activation, x, y).backward(dy).dx(dx).record(&self.device.gpu, pass)
            }
        }
    }

    /// Device time of one repetition; None if the device has no clock.
    pub fn device_timing(&self, part: AlonePart, budget: Budget) -> Result<Option<Estimate>> {
        self.device.device_timing(budget, &|pass| self.record(part, pass))
    }

    /// Wall time of one submission until it is done, without transfers.
    pub fn wall_timing(&self, part: AlonePart, budget: Budget) -> Result<Estimate> {
        self.device.wall_timing(budget, &|pass| self.record(part, pass))
    }

    /// Time of the same work on the CPU baseline.
    pub fn cpu_time(&self, part: AlonePart, iterations: u64) -> Result<Duration> {
        let mut out = vec![0.0; self.x.len()];
        let start = Instant::now();
        for _ in 0..iterations {
            self.on_cpu(part, &mut out)?;
        }
        Ok(start.elapsed())
    }

    /// Runs the same work on the CPU baseline once.
    pub fn cpu_timing(&self, part: AlonePart, budget: Budget) -> Result<Estimate> {
        let mut out = vec![0.0; self.x.len()];
        budget.run(|| {
            let start = Instant::now();
            self.on_cpu(part, &mut out)?;
            Ok(start.elapsed())
        })
    }

    fn on_cpu(&self, part: AlonePart, out: &mut [f32]) -> Result<()> {
        let request = self.request(self.x.len());
        match part {
            AlonePart::Forward => elbow_cpu::elementwise::forward(&request, &self.x, None, out),
            AlonePart::Backward => elbow_cpu::elementwise::backward(&request, &self.x, None, &self.dy, out, None),
        }?;
        black_box(&out);
        Ok(())
    }

    fn request(&self, rows: usize) -> Elementwise {
        Elementwise::new(rows, 1, self.activation).alpha(AlphaSource::Constant)
    }

    fn verify(&self) -> Result<f64> {
        let gpu = &self.device.gpu;
        let step = (self.x.len() / SAMPLE).max(1);
        let some = |values: &[f32]| -> Vec<f32> { values.iter().copied().step_by(step).collect() };
        let (x, dy) = (some(&self.x), some(&self.dy));
        let request = self.request(x.len());
        let mut error = 0.0f64;
        let mut out = vec![0.0; self.x.len()];
        for part in AlonePart::ALL {
            gpu.submit_pass(|pass| self.record(part, pass))?;
            let want = match part {
                AlonePart::Forward => reference::elementwise::forward(&request, &x, None)?,
                AlonePart::Backward => reference::elementwise::backward(&request, &x, None, &dy)?.dx,
            };
            let scale: Vec<f64> = want.iter().map(|v| v.abs().max(1.0)).collect();
            let name =
                |side| format!("{} on {} elements, {} on the {side}", self.activation, self.x.len(), part.name());
            let got = gpu.download(&self.on_gpu[if part == AlonePart::Forward { 2 } else { 3 }])?;
            let stored = if self.dtype == Float::F32 { 0.0 } else { self.dtype.unit_roundoff() };
            error = error.max(worst(&name("GPU"), TOLERANCE + stored, &some(&got), &want, &scale)?);
            self.on_cpu(part, &mut out)?;
            worst(&name("CPU"), TOLERANCE, &some(&out), &want, &scale)?;
        }
        Ok(error)
    }
}
