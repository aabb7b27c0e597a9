//! The fused layer: forward, backward (dx, dW, db), both, and a training step (with descent), on the GPU and on the CPU
//! baseline.
//!
//!     cargo bench --bench affine
//!     cargo bench --bench affine -- 512x1024 forward        # names are filters
//!     ELBOW_BENCH_ACTIVATIONS='mish;elu(1)' cargo bench --bench affine
//!     ELBOW_BENCH_TILE=1 cargo bench --bench affine -- 256x512x512   # one tile of plan::TILES for every product
//!
//! Every case is verified against the f64 reference before it is timed. Three times, never mixed: `gpu_device` by timestamp
//! queries, `gpu_wall` from submission to completion without transfers, `cpu` for the baseline. The throughput is in
//! floating-point operations of the products. Shapes are M×K×N.

#![forbid(unsafe_code)]

#[path = "shared/run.rs"]
mod run;

use std::cell::LazyCell;

use criterion::{BenchmarkGroup, SamplingMode, Throughput, criterion_group, criterion_main, measurement::WallTime};
use elbow::{Activation, Float, Pin};
use elbow_measure::{Device, Layer, Part, Shape};

const SHAPES: [Shape; 6] = [
    Shape { m: 64, k: 256, n: 256 },
    Shape { m: 256, k: 512, n: 512 },
    Shape { m: 512, k: 1024, n: 1024 },
    Shape { m: 1, k: 1024, n: 1024 },
    Shape { m: 8, k: 1024, n: 1024 },
    Shape { m: 1024, k: 1024, n: 4096 },
];

/// Multiplications above which a case is too large for a quick test, and, on a software adapter, for a second clock.
const LARGE: usize = 1 << 30;

/// The plan's own choice, or the tile that `ELBOW_BENCH_TILE` names by its place in `plan::TILES`.
fn pin() -> Pin {
    let tile = std::env::var("ELBOW_BENCH_TILE").ok().map(|tile| tile.parse().expect("ELBOW_BENCH_TILE is a number"));
    Pin::default().tile(tile)
}

/// Verified, and says so.
fn layer(device: &Device, shape: Shape, activation: Activation) -> Layer<'_> {
    let layer = Layer::new(device, shape, activation, Float::F32, pin())
        .expect("a layer that computes what the reference computes");
    let (saved, errors) = (layer.saved(), layer.errors());
    println!(
        "{shape} {activation}: verified, saved {saved}; worst error {:.1} ulp of the terms",
        errors.ulp(Float::F32)
    );
    layer
}

fn parts(group: &mut BenchmarkGroup<'_, WallTime>, device: &Device, shape: Shape, activation: Activation) {
    // Made and verified only if the filter lets one of the benchmarks run.
    let layer = LazyCell::new(|| layer(device, shape, activation));
    let large_for_software = device.gpu.is_software() && shape.m * shape.n * shape.k > LARGE;
    for part in [Part::Forward, Part::Backward, Part::Both, Part::Step] {
        let name = part.name();
        group.throughput(Throughput::Elements(part.operations(shape)));
        if device.has_clock() {
            group.bench_function(format!("{name}/gpu_device"), |bencher| {
                let layer = &*layer;
                let once = || device.device_time(1, &|pass| layer.record(part, pass));
                bencher.iter_custom(|iterations| run::total(iterations, once));
            });
        }
        // Beside seconds of a software adapter, the cost of a submission does not show.
        if !(large_for_software && device.has_clock()) {
            group.bench_function(format!("{name}/gpu_wall"), |bencher| {
                let layer = &*layer;
                let once = || device.wall_time(&|pass| layer.record(part, pass));
                bencher.iter_custom(|iterations| run::total(iterations, once));
            });
        }
        group.bench_function(format!("{name}/cpu"), |bencher| {
            let layer = &*layer;
            bencher.iter_custom(|iterations| layer.cpu_time(part, iterations).expect("the baseline runs"));
        });
    }
}

fn benches(criterion: &mut criterion::Criterion) {
    let device = run::open("fused affine + activation");
    for shape in SHAPES {
        if run::only_testing() && shape.m * shape.k * shape.n > LARGE / 16 {
            continue;
        }
        for activation in run::activations("relu;gelu_erf") {
            let mut group = criterion.benchmark_group(format!("affine {shape} {activation}"));
            group.sampling_mode(SamplingMode::Flat);
            parts(&mut group, &device, shape, activation);
            group.finish();
        }
    }
}

criterion_group! { name = affine; config = run::criterion(); targets = benches }
criterion_main!(affine);
