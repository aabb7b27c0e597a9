//! What recording costs the CPU: a call of the library into an open pass, nothing submitted.

use criterion::{Criterion, criterion_group, criterion_main};
use elbow::{Activation, Gpu, Saved, affine::Forward, wgpu};

#[allow(clippy::unwrap_used, reason = "a benchmark stops at the first error")]
fn record(c: &mut Criterion) {
    let gpu = Gpu::new().unwrap();
    println!("{gpu}");
    let (m, n, k) = (1, 64, 64);
    let (x, w, b) = (gpu.zeros(&[m, k]).unwrap(), gpu.zeros(&[n, k]).unwrap(), gpu.zeros(&[n]).unwrap());
    let (y, dx, dw) = (gpu.zeros(&[m, n]).unwrap(), gpu.zeros(&[m, k]).unwrap(), gpu.zeros(&[n, k]).unwrap());
    let dy = gpu.zeros(&[m, n]).unwrap();
    let forward = Forward::new(Activation::RELU, &x, &w, &y).b(b.view()).saved(Saved::Y);
    let backward = forward.backward(&dy).dx(&dx).dw(&dw);
    let dispatches = backward.plan(&gpu).unwrap().dispatches.len();
    let mut group = c.benchmark_group("record");
    let mut time = |name: String, call: &dyn Fn(&mut wgpu::ComputePass<'_>)| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let mut elapsed = std::time::Duration::ZERO;
                let mut left = count;
                while left > 0 {
                    let now = left.min(500);
                    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                    {
                        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                        let start = std::time::Instant::now();
                        for _ in 0..now {
                            call(&mut pass);
                        }
                        elapsed += start.elapsed();
                    }
                    drop(encoder);
                    left -= now;
                }
                elapsed
            });
        });
    };
    time("plan of forward, 1 dispatch".into(), &|_| drop(forward.plan(&gpu).unwrap()));
    let (forward_again, backward_again) = (forward.prepare(&gpu).unwrap(), backward.prepare(&gpu).unwrap());
    time("forward prepared, 1 dispatch".into(), &|pass| forward_again.record(pass).unwrap());
    time(format!("backward prepared, {dispatches} dispatches"), &|pass| backward_again.record(pass).unwrap());
    time("forward, 1 dispatch".into(), &|pass| forward.record(&gpu, pass).unwrap());
    time(format!("backward, {dispatches} dispatches"), &|pass| backward.record(&gpu, pass).unwrap());
}

criterion_group!(benches, record);
criterion_main!(benches);
