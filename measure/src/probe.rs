//! The limits of the machine, measured in the same run: how fast the device and the CPU copy memory, and how fast the device multiplies and
//! adds. With small kernels of its own, so that the limits do not depend on elbow's.

use std::{hint::black_box, time::Instant};

use elbow::{Gpu, Tensor, wgpu};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    budget::Budget,
    device::{Device, Record},
    error::{Error, Result},
    statistics::Estimate,
};

/// What the machine can do at most, as measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bytes a second of a copy on the device, read and written bytes both counted.
    pub gpu_bytes: f64,
    /// f32 operations a second in registers, two for each multiply-add.
    pub gpu_flops: f64,
    /// Bytes a second of a copy by all threads of the CPU, read and written bytes both counted.
    pub cpu_bytes: f64,
    /// Whether the device's figures are from device time; from wall time if it has no clock.
    pub device_time: bool,
}

/// Iterations of the loop, and repetitions of the step in its body.
const LOOPS: usize = 64;
const STEPS: usize = 8;

/// Operations of one invocation: loops, steps, eight chains of four, two each.
const OPERATIONS: usize = LOOPS * STEPS * 8 * 4 * 2;

/// Measures all limits.
pub fn ceilings(device: &Device, budget: Budget) -> Result<Ceilings> {
    Ok(Ceilings {
        gpu_bytes: copied_bytes(device, budget)?,
        gpu_flops: multiply_add(device, budget)?,
        cpu_bytes: cpu_copy(budget, copy_bytes(&device.gpu))?,
        device_time: device.has_clock(),
    })
}

/// Bytes a second of a copy on the device, read and written bytes both counted.
pub fn copied_bytes(device: &Device, budget: Budget) -> Result<f64> {
    let bytes = copy_bytes(&device.gpu);
    Ok(2.0 * bytes as f64 / copy(device, budget, bytes)?.median)
}

/// Bytes to copy: far more than a cache holds, but less on a software adapter, where it takes long.
fn copy_bytes(gpu: &Gpu) -> usize {
    let wanted: u64 = if gpu.is_software() { 32 << 20 } else { 512 << 20 };
    let most = gpu.caps().max_binding.min(gpu.device().limits().max_buffer_size);
    (wanted.min(most) / 1024 * 1024) as usize
}

fn copy(device: &Device, budget: Budget, bytes: usize) -> Result<Estimate> {
    let gpu = &device.gpu;
    let values: Vec<f32> = (0..bytes / 4).map(|i| (i % 8191) as f32).collect();
    let (from, to) = (gpu.upload(&values, &[values.len()])?, gpu.zeros(&[values.len()])?);
    let groups = (bytes as u32 / 16).div_ceil(256);
    let across = groups.min(32_768);
    let kernel = Kernel::new(gpu, include_str!("probe/copy.wgsl"), [&from, &to], [across, groups.div_ceil(across)]);
    gpu.submit_pass(|pass| kernel.record(pass))?;
    let got = gpu.download(&to)?;
    if let Some(index) = (0..got.len()).find(|&i| got[i] != values[i]) {
        return Err(wrong("copy", index, got[index], values[index]));
    }
    kernel.timing(device, budget)
}

/// f32 operations a second in registers, two for each multiply-add.
pub fn multiply_add(device: &Device, budget: Budget) -> Result<f64> {
    let gpu = &device.gpu;
    let invocations: usize = if gpu.is_software() { 1 << 14 } else { 1 << 21 };
    let text = include_str!("probe/multiply_add.wgsl").replace("LOOPS", &format!("{LOOPS}u"));
    let text = match text.split_once("//REPEAT").and_then(|(head, rest)| Some((head, rest.split_once("//END")?))) {
        Some((head, (step, tail))) => [head, &step.repeat(STEPS), tail].concat(),
        None => text,
    };
    // a = a/2 + 1 converges to 2; the result is the sum of 32 such numbers.
    let (numbers, sums) = (gpu.upload(&[0.5, 1.0, 3.0], &[3])?, gpu.zeros(&[invocations])?);
    let kernel = Kernel::new(gpu, &text, [&numbers, &sums], [invocations as u32 / 64, 1]);
    gpu.submit_pass(|pass| kernel.record(pass))?;
    let got = gpu.download(&sums)?;
    if let Some(index) = got.iter().position(|&sum| (sum - 64.0).abs() > 1e-3) {
        return Err(wrong("multiply-add", index, got[index], 64.0));
    }
    Ok((invocations * OPERATIONS) as f64 / kernel.timing(device, budget)?.median)
}

fn wrong(what: &str, index: usize, got: f32, expected: f32) -> Error {
    Error::Wrong { what: format!("the {what} probe"), index, got, expected: f64::from(expected) }
}

fn cpu_copy(budget: Budget, bytes: usize) -> Result<f64> {
    let from = vec![1.0f32; bytes / 4];
    let mut to = vec![0.0f32; from.len()];
    let timing = budget.run(|| {
        let start = Instant::now();
        to.par_chunks_mut(1 << 18).zip(from.par_chunks(1 << 18)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&to);
        Ok(start.elapsed())
    })?;
    Ok(2.0 * bytes as f64 / timing.median)
}

/// A compute pipeline with two storage buffers.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    operands: wgpu::BindGroup,
    grid: [u32; 2],
}

impl Kernel {
    fn new(gpu: &Gpu, text: &str, buffers: [&Tensor; 2], grid: [u32; 2]) -> Self {
        let device = gpu.device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("probe"),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("probe"),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let [from, to] = buffers.map(|tensor| tensor.buffer().as_entire_binding());
        let operands = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("probe"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: from },
                wgpu::BindGroupEntry { binding: 1, resource: to },
            ],
        });
        Kernel { pipeline, operands, grid }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) -> elbow::Result<()> {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.operands, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
        Ok(())
    }

    fn timing(&self, device: &Device, budget: Budget) -> Result<Estimate> {
        let record: &Record<'_> = &|pass| self.record(pass);
        match device.device_timing(budget, record)? {
            Some(timing) => Ok(timing),
            None => device.wall_timing(budget, record),
        }
    }
}
