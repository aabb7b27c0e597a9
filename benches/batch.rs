//! Many layers of one shape, forward: one call for all of them, and a prepared call for each. From submission to completion.
//!
//!     cargo bench --bench batch

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first error")]

#[path = "shared/run.rs"]
mod run;

use criterion::{Criterion, criterion_group, criterion_main};
use elbow::{Prepared, View, affine::Forward};

/// Layers, M, K, N.
const SHAPES: [[usize; 4]; 3] = [[64, 1, 64, 64], [64, 16, 64, 64], [8, 64, 256, 256]];

fn batch(criterion: &mut Criterion) {
    let device = run::open("layers side by side");
    let gpu = &device.gpu;
    let activation = run::activations("gelu_erf")[0];
    for [layers, m, k, n] in SHAPES {
        if run::only_testing() && m * k * n > 1 << 20 {
            continue;
        }
        let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
        let (x, w, y) = (zeros(&[layers, m, k]), zeros(&[layers, n, k]), zeros(&[layers, m, n]));
        let together = Forward::new(activation, &x, &w, &y).prepare(gpu).unwrap();
        let (xs, ws, ys) = ([m, k], [n, k], [m, n]);
        let alone: Vec<Prepared> = (0..layers)
            .map(|layer| {
                let x = View::new(x.buffer(), (layer * m * k * 4) as u64, &xs, x.dtype());
                let w = View::new(w.buffer(), (layer * n * k * 4) as u64, &ws, w.dtype());
                let y = View::new(y.buffer(), (layer * m * n * 4) as u64, &ys, y.dtype());
                Forward::new(activation, x, w, y).prepare(gpu).unwrap()
            })
            .collect();
        let mut group = criterion.benchmark_group(format!("{layers} layers of {m}x{k}x{n}"));
        for (name, calls) in [("one call", std::slice::from_ref(&together)), ("a call each", &alone)] {
            let once = || device.wall_time(&|pass| calls.iter().try_for_each(|call| call.record(&mut *pass)));
            group.bench_function(name, |bencher| bencher.iter_custom(|iterations| run::total(iterations, once)));
        }
        group.finish();
    }
}

criterion_group! { name = benches; config = run::criterion(); targets = batch }
criterion_main!(benches);
