//! Softmax cross-entropy, loss and gradient: from submission to completion, nothing transferred.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use elbow::{Gpu, train::SoftmaxCrossEntropy};

#[allow(clippy::unwrap_used, reason = "a benchmark stops at the first error")]
fn softmax(c: &mut Criterion) {
    let gpu = Gpu::new().unwrap();
    println!("{gpu}");
    let mut group = c.benchmark_group("softmax_cross_entropy");
    for (rows, classes) in [(1024, 10), (64, 1000), (64, 50_257), (64, 50_260)] {
        let values: Vec<f32> = (0..rows * classes).map(|i| (i % 1009) as f32 * 0.01 - 5.0).collect();
        let labels: Vec<u32> = (0..rows).map(|m| (m * 7 % classes) as u32).collect();
        let logits = gpu.upload(&values, &[rows, classes]).unwrap();
        let labels = gpu.upload_words(&labels, &[rows]).unwrap();
        let (loss, dlogits) = (gpu.zeros(&[rows]).unwrap(), gpu.zeros(&[rows, classes]).unwrap());
        let call = SoftmaxCrossEntropy::new(&logits, &labels, &loss, &dlogits).prepare(&gpu).unwrap();
        let once = || {
            let start = Instant::now();
            gpu.submit(|encoder| call.record(encoder)).unwrap();
            gpu.wait().unwrap();
            start.elapsed()
        };
        group.bench_function(format!("{rows}x{classes}"), |bencher| {
            bencher.iter_custom(|count| (0..count).map(|_| once()).sum::<Duration>());
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).without_plots();
    targets = softmax
}
criterion_main!(benches);
