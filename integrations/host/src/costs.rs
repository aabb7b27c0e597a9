//! [`Costs`]: what both roads cost on this machine, measured, and the estimate of a call's time that is made of it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use elbow::{Activation, Gpu, Result, affine::Forward, request::AffineRequest};
use elbow_cpu::{ForwardInputs, ForwardOutputs};

use crate::{Load, Road, device};

/// What a call costs on each road: so much a call, and so much for each operation or byte.
///
/// ```
/// use elbow_host::{Costs, GpuCosts, Load, Road};
/// // A CPU of 0.1 TFLOP/s, a GPU of 10 that is 0.2 ms and 10 GB/s away.
/// let gpu = GpuCosts { call: 2e-4, operations: 1e13, up: 1e10, down: 1e10 };
/// let costs = Costs { cpu_call: 1e-6, cpu_operations: 1e11, gpu };
/// assert_eq!(costs.faster(&Load { operations: 1 << 20, up: 1 << 16, down: 1 << 16 }), Road::Cpu);
/// assert_eq!(costs.faster(&Load { operations: 1 << 34, up: 1 << 24, down: 1 << 24 }), Road::Gpu);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Seconds of the smallest call on the CPU.
    pub cpu_call: f64,
    /// Operations a second on the CPU.
    pub cpu_operations: f64,
    /// The GPU's road.
    pub gpu: GpuCosts,
}

/// What a call costs on the GPU's road.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuCosts {
    /// Seconds of the smallest call, its transfers included.
    pub call: f64,
    /// Operations a second.
    pub operations: f64,
    /// Bytes a second from the host to the device.
    pub up: f64,
    /// Bytes a second from the device to the host.
    pub down: f64,
}

/// The least seconds of a few runs, after one that does not count (it compiles, and fills caches).
fn least(runs: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let mut best = Duration::MAX;
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed());
    }
    // A clock may stand still between two readings.
    Ok(best.as_secs_f64().max(1e-9))
}

/// Amount a second, of what takes `seconds`, of which a call by itself takes `call`.
fn rate(amount: u64, seconds: f64, call: f64) -> f64 {
    amount as f64 / (seconds - call).max(seconds / 2.0)
}

/// A layer with as many rows as columns.
fn square(size: usize) -> AffineRequest {
    AffineRequest::new(size, size, size, Activation::RELU).bias(false)
}

/// Side of the square layer that rates the CPU.
const CPU_SIDE: usize = 256;
/// The GPU's grows from here, until it takes far longer than the smallest call, up to the largest.
const GPU_SIDES: [usize; 4] = [256, 512, 1024, 2048];
/// Numbers of a transfer: 8 MiB.
const NUMBERS: usize = 2 << 20;
const RUNS: usize = 5;

impl Costs {
    /// Measures both roads: a call of one number, a square product, and a transfer each way, the best of a few runs.
    pub fn measure(gpu: &Gpu) -> Result<Self> {
        let cpu = |size: usize| {
            let (operand, mut y) = (vec![1.0; size * size], vec![0.0; size * size]);
            least(RUNS, || {
                let outputs = ForwardOutputs { y: &mut y, ..Default::default() };
                elbow_cpu::forward(&square(size), ForwardInputs::new(&operand, &operand), outputs)
            })
        };
        let cpu_call = cpu(1)?;
        let operations = |side| Load::of_forward(&square(side)).operations;
        let cpu_operations = rate(operations(CPU_SIDE), cpu(CPU_SIDE)?, cpu_call);
        Ok(Costs { cpu_call, cpu_operations, gpu: GpuCosts::measure(gpu, operations)? })
    }

    /// Seconds of a call on this road, as estimated.
    pub fn seconds(&self, load: &Load, road: Road) -> f64 {
        let over = |amount: u64, rate: f64| amount as f64 / rate;
        match road {
            Road::Cpu => self.cpu_call + over(load.operations, self.cpu_operations),
            Road::Gpu => {
                let GpuCosts { call, operations, up, down } = self.gpu;
                call + over(load.operations, operations) + over(load.up, up) + over(load.down, down)
            }
        }
    }

    /// The road that takes less time, as estimated.
    pub fn faster(&self, load: &Load) -> Road {
        match self.seconds(load, Road::Gpu) < self.seconds(load, Road::Cpu) {
            true => Road::Gpu,
            false => Road::Cpu,
        }
    }
}

impl GpuCosts {
    fn measure(gpu: &Gpu, operations: impl Fn(usize) -> u64) -> Result<Self> {
        let mut y = [0.0];
        let call = least(RUNS, || {
            let outputs = ForwardOutputs { y: &mut y, ..Default::default() };
            device::forward(gpu, &square(1), ForwardInputs::new(&[1.0], &[1.0]), outputs)
        })?;
        let mut numbers = vec![1.0f32; NUMBERS];
        let up = least(RUNS, || {
            gpu.upload(&numbers, &[NUMBERS])?;
            gpu.submit(|_| Ok(()))?;
            gpu.wait()
        })?;
        let tensor = gpu.upload(&numbers, &[NUMBERS])?;
        let down = least(RUNS, || gpu.download_into(&tensor, &mut numbers))?;
        let bytes = 4 * NUMBERS as u64;
        let mut product = 0.0;
        for side in GPU_SIDES {
            let [x, w, y] = [(); 3].map(|()| gpu.zeros(&[side, side]));
            let (x, w, y) = (x?, w?, y?);
            let layer = Forward::new(Activation::RELU, &x, &w, &y).prepare(gpu)?;
            let seconds = least(RUNS, || {
                gpu.submit(|encoder| layer.record(encoder))?;
                gpu.wait()
            })?;
            // Submitting and waiting are a part of every call: what is left is the product's.
            product = rate(operations(side), seconds, call);
            if seconds > 8.0 * call {
                break;
            }
        }
        Ok(GpuCosts { call, operations: product, up: rate(bytes, up, call), down: rate(bytes, down, call) })
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Costs { cpu_call, cpu_operations, gpu } = self;
        writeln!(f, "CPU: {:.1} us a call, {:.1} GFLOP/s", cpu_call * 1e6, cpu_operations / 1e9)?;
        write!(f, "GPU: {:.1} us a call, {:.1} GFLOP/s, ", gpu.call * 1e6, gpu.operations / 1e9)?;
        write!(f, "{:.2} GB/s up, {:.2} GB/s down", gpu.up / 1e9, gpu.down / 1e9)
    }
}
