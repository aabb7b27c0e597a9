//! The activations alone on 1 M and 16 M elements: forward and backward, on the GPU and on the CPU baseline.
//!
//!     cargo bench --bench activation
//!     ELBOW_BENCH_ACTIVATIONS='mish;softplus(1)' cargo bench --bench activation -- 1M
//!
//! Verified against the f64 reference before it is timed. The throughput is in bytes that must move: 8 an element forward
//! (x, y), 12 backward (x, dy, dx).

#![forbid(unsafe_code)]

#[path = "shared/device.rs"]
mod device;

use std::{
    cell::LazyCell,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, SamplingMode, Throughput, criterion_group, criterion_main, measurement::WallTime};
use device::Device;
use elbow::{
    Activation, AlphaSource, Tensor,
    affine::Gradient,
    cpu::{Elementwise, baseline, reference},
    elementwise::{Backward, Forward},
    wgpu,
};

const SIZES: [(&str, usize); 2] = [("1M", 1 << 20), ("16M", 16 << 20)];

/// Elements that are verified, spread over the whole tensor.
const SAMPLE: usize = 1 << 16;

/// Relative to the value, or to 1 where it is smaller: the exact bounds are the business of the tests.
const TOLERANCE: f64 = 2e-6;

struct Case<'d> {
    device: &'d Device,
    activation: Activation,
    x: Vec<f32>,
    dy: Vec<f32>,
    on_gpu: [Tensor; 4],
}

impl<'d> Case<'d> {
    fn new(device: &'d Device, elements: usize, activation: Activation) -> Self {
        let (x, dy) = (device::normals(1, elements, 2.0), device::normals(2, elements, 1.0));
        let gpu = &device.gpu;
        let upload = |values: &[f32]| gpu.upload(values, &[elements]).expect("the operand fits the device");
        let zeros = || gpu.zeros(&[elements]).expect("the operand fits the device");
        let on_gpu = [upload(&x), upload(&dy), zeros(), zeros()];
        let case = Case { device, activation, x, dy, on_gpu };
        case.verify();
        case
    }

    fn record(&self, part: Part, pass: &mut wgpu::ComputePass<'_>) -> elbow::Result<()> {
        let [x, dy, y, dx] = &self.on_gpu;
        match part {
            Part::Forward => Forward::new(self.activation, x, y).record(&self.device.gpu, pass),
            Part::Backward => {
                let backward = Backward { dx: Gradient::overwrite(dx), ..Backward::new(self.activation, x, dy) };
                backward.record(&self.device.gpu, pass)
            }
        }
    }

    fn request(&self, rows: usize) -> Elementwise {
        Elementwise { rows, channels: 1, activation: self.activation, alpha: AlphaSource::Constant }
    }

    fn verify(&self) {
        let gpu = &self.device.gpu;
        for part in [Part::Forward, Part::Backward] {
            gpu.submit_pass(|pass| self.record(part, pass)).expect("the operation records");
        }
        let [_, _, y, dx] = &self.on_gpu;
        let step = (self.x.len() / SAMPLE).max(1);
        let some = |values: &[f32]| -> Vec<f32> { values.iter().copied().step_by(step).collect() };
        let read = |tensor| some(&gpu.download(tensor).expect("a download"));
        let (x, dy, y, dx) = (some(&self.x), some(&self.dy), read(y), read(dx));
        let request = self.request(x.len());
        let want_y = reference::elementwise::forward(&request, &x, None).expect("the reference runs");
        let want_dx = reference::elementwise::backward(&request, &x, None, &dy).expect("the reference runs").dx;
        let name = format!("{} on {} elements", self.activation, self.x.len());
        let worst = [("y", &y, &want_y), ("dx", &dx, &want_dx)].map(|(what, got, want)| {
            let scale: Vec<f64> = want.iter().map(|v| v.abs().max(1.0)).collect();
            let values = got.iter().zip(want.iter().zip(&scale)).map(|(&got, (want, scale))| (got, want, scale));
            device::verify(&format!("{name}: {what}"), TOLERANCE, values)
        });
        println!("{name}: verified, errors y {:.0e}, dx {:.0e}", worst[0], worst[1]);
    }

    fn on_cpu(&self, part: Part, iterations: u64) -> Duration {
        let request = self.request(self.x.len());
        let mut out = vec![0.0; self.x.len()];
        let start = Instant::now();
        for _ in 0..iterations {
            match part {
                Part::Forward => baseline::elementwise::forward(&request, &self.x, None, &mut out),
                Part::Backward => baseline::elementwise::backward(&request, &self.x, None, &self.dy, &mut out, None),
            }
            .expect("the baseline runs");
            black_box(&out);
        }
        start.elapsed()
    }
}

#[derive(Clone, Copy)]
enum Part {
    Forward,
    Backward,
}

fn size(group: &mut BenchmarkGroup<'_, WallTime>, device: &Device, elements: usize, activation: Activation) {
    let case = LazyCell::new(|| Case::new(device, elements, activation));
    for (part, name, bytes) in [(Part::Forward, "forward", 8), (Part::Backward, "backward", 12)] {
        group.throughput(Throughput::Bytes(bytes * elements as u64));
        if device.has_clock() {
            group.bench_function(format!("{name}/gpu_device"), |bencher| {
                let case = &*case;
                bencher.iter_custom(|iterations| device.device_time(iterations, &|pass| case.record(part, pass)));
            });
        }
        group.bench_function(format!("{name}/gpu_wall"), |bencher| {
            let case = &*case;
            bencher.iter_custom(|iterations| device.wall_time(iterations, &|pass| case.record(part, pass)));
        });
        group.bench_function(format!("{name}/cpu"), |bencher| {
            let case = &*case;
            bencher.iter_custom(|iterations| case.on_cpu(part, iterations));
        });
    }
}

fn benches(criterion: &mut criterion::Criterion) {
    let device = Device::open("activations alone");
    for (label, elements) in SIZES {
        if device::only_testing() && elements > 1 << 20 {
            continue;
        }
        for activation in device::activations("relu;gelu_erf;gelu_tanh;silu") {
            let mut group = criterion.benchmark_group(format!("activation {label} {activation}"));
            group.sampling_mode(SamplingMode::Flat);
            size(&mut group, &device, elements, activation);
            group.finish();
        }
    }
}

criterion_group! { name = activation; config = device::criterion(); targets = benches }
criterion_main!(activation);
