//! The activations alone on 1 M and 16 M elements: forward and backward, on the GPU and on the CPU baseline.
//!
//!     cargo bench --bench activation
//!     ELBOW_BENCH_ACTIVATIONS='mish;softplus(1)' cargo bench --bench activation -- 1M
//!
//! Verified against the f64 reference before it is timed. The throughput is in bytes that must move: 8 an element forward
//! (x, y), 12 backward (x, dy, dx).

#![forbid(unsafe_code)]

#[path = "shared/run.rs"]
mod run;

use std::cell::LazyCell;

use criterion::{BenchmarkGroup, SamplingMode, Throughput, criterion_group, criterion_main, measurement::WallTime};
use elbow::{Activation, Float};
use elbow_measure::{Alone, AlonePart, Device};

const SIZES: [(&str, usize); 2] = [("1M", 1 << 20), ("16M", 16 << 20)];

/// Verified, and says so.
fn alone(device: &Device, elements: usize, activation: Activation) -> Alone<'_> {
    let alone = Alone::new(device, elements, activation, Float::F32)
        .expect("an activation that computes what the reference computes");
    println!("{activation} on {elements} elements: verified, worst error {:.0e}", alone.error());
    alone
}

fn parts(group: &mut BenchmarkGroup<'_, WallTime>, device: &Device, elements: usize, activation: Activation) {
    let alone = LazyCell::new(|| alone(device, elements, activation));
    for part in AlonePart::ALL {
        let name = part.name();
        group.throughput(Throughput::Bytes(part.bytes(elements, Float::F32)));
        if device.has_clock() {
            group.bench_function(format!("{name}/gpu_device"), |bencher| {
                let alone = &*alone;
                let once = || device.device_time(1, &|pass| alone.record(part, pass));
                bencher.iter_custom(|iterations| run::total(iterations, once));
            });
        }
        group.bench_function(format!("{name}/gpu_wall"), |bencher| {
            let alone = &*alone;
            let once = || device.wall_time(&|pass| alone.record(part, pass));
            bencher.iter_custom(|iterations| run::total(iterations, once));
        });
        group.bench_function(format!("{name}/cpu"), |bencher| {
            let alone = &*alone;
            bencher.iter_custom(|iterations| alone.cpu_time(part, iterations).expect("the baseline runs"));
        });
    }
}

fn benches(criterion: &mut criterion::Criterion) {
    let device = run::open("activations alone");
    for (label, elements) in SIZES {
        if run::only_testing() && elements > 1 << 20 {
            continue;
        }
        for activation in run::activations("relu;gelu_erf;gelu_tanh;silu") {
            let mut group = criterion.benchmark_group(format!("activation {label} {activation}"));
            group.sampling_mode(SamplingMode::Flat);
            parts(&mut group, &device, elements, activation);
            group.finish();
        }
    }
}

criterion_group! { name = activation; config = run::criterion(); targets = benches }
criterion_main!(activation);
