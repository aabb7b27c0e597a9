//! The fused layer: forward, backward (dx, dW, db) and both, on the GPU and on the CPU baseline.
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

#[path = "shared/device.rs"]
mod device;

use std::{cell::LazyCell, hint::black_box, time::Instant};

use criterion::{BenchmarkGroup, SamplingMode, Throughput, criterion_group, criterion_main, measurement::WallTime};
use device::Device;
use elbow::{
    Activation, Saved, Tensor, Want,
    affine::{Backward, Forward, Gradient},
    cpu::{
        ForwardInputs,
        baseline::{self, SavedIn, SavedOut},
        reference,
    },
    plan::Pin,
    request::{AffineRequest, BackwardRequest, Gradients, Road},
    wgpu,
};

/// (M, K, N)
const SHAPES: [(usize, usize, usize); 5] =
    [(64, 256, 256), (256, 512, 512), (512, 1024, 1024), (1, 1024, 1024), (1024, 1024, 4096)];

/// Multiplications above which a case is too large for a quick test, and, on a software adapter, for a second clock.
const LARGE: usize = 1 << 30;

/// Errors relative to the sum of the absolute terms: f32 rounding of long sums stays far below.
const TOLERANCE: f64 = 1e-5;

/// The plan's own choice, or the tile that `ELBOW_BENCH_TILE` names by its place in `plan::TILES`.
fn pin() -> Pin {
    let tile = std::env::var("ELBOW_BENCH_TILE").ok().map(|tile| tile.parse().expect("ELBOW_BENCH_TILE is a number"));
    Pin { tile, ..Pin::default() }
}

/// A layer with its operands on both sides.
struct Case<'d> {
    device: &'d Device,
    request: AffineRequest,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    dy: Vec<f32>,
    on_gpu: OnGpu,
}

struct OnGpu {
    x: Tensor,
    w: Tensor,
    b: Tensor,
    y: Tensor,
    z: Option<Tensor>,
    mask: Option<Tensor>,
    dy: Tensor,
    dx: Tensor,
    dw: Tensor,
    db: Tensor,
}

impl<'d> Case<'d> {
    /// Uploads everything and verifies both directions.
    fn new(device: &'d Device, (m, k, n): (usize, usize, usize), activation: Activation) -> Self {
        let mut request = AffineRequest::new(m, n, k, activation);
        request.saved = request.resolve_saved(false).expect("auto resolves");
        let x = device::normals(1, m * k, 1.0);
        let w = device::normals(2, n * k, 1.0 / (k as f32).sqrt());
        let b = device::normals(3, n, 0.1);
        let dy = device::normals(4, m * n, 1.0);
        let on_gpu = OnGpu::new(device, &request, &x, &w, &b, &dy).expect("the operands fit the device");
        let case = Case { device, request, x, w, b, dy, on_gpu };
        case.verify();
        case
    }

    fn forward(&self) -> Forward<'_> {
        let g = &self.on_gpu;
        Forward {
            saved: self.request.saved,
            b: Some(g.b.view()),
            save_to: g.z.as_ref().or(g.mask.as_ref()).map(Tensor::view),
            pin: pin(),
            ..Forward::new(self.request.activation, &g.x, &g.w, &g.y)
        }
    }

    fn backward(&self) -> Backward<'_> {
        let g = &self.on_gpu;
        Backward {
            x: Some(g.x.view()),
            w: Some(g.w.view()),
            b: Some(g.b.view()),
            saved_from: match self.request.saved {
                Saved::Y => Some(g.y.view()),
                _ => g.z.as_ref().or(g.mask.as_ref()).map(Tensor::view),
            },
            dx: Gradient::overwrite(&g.dx),
            dw: Gradient::overwrite(&g.dw),
            db: Gradient::overwrite(&g.db),
            pin: pin(),
            ..Backward::new(self.request.activation, self.request.saved, &g.dy)
        }
    }

    fn record(&self, part: Part, pass: &mut wgpu::ComputePass<'_>) -> elbow::Result<()> {
        if part != Part::Backward {
            self.forward().record(&self.device.gpu, &mut *pass)?;
        }
        if part != Part::Forward {
            self.backward().record(&self.device.gpu, &mut *pass)?;
        }
        Ok(())
    }

    fn backward_request(&self, affine: AffineRequest) -> BackwardRequest {
        let gradients =
            Gradients { x: Want::Overwrite, w: Want::Overwrite, b: Want::Overwrite, ..Gradients::default() };
        BackwardRequest { affine, gradients, road: Road::Auto, upstream_is_dz: false, below: None }
    }

    /// A few rows for y and dx, a few columns for dW and db: the whole of a small case, a sample of a large one.
    fn verify(&self) {
        let AffineRequest { m, n, k, .. } = self.request;
        let gpu = &self.device.gpu;
        let name = format!("{m}x{k}x{n} {}", self.request.activation);
        gpu.submit_pass(|pass| self.record(Part::Both, pass)).expect("the operation records");
        let read = |tensor| gpu.download(tensor).expect("a download");
        let g = &self.on_gpu;
        let (y, dx, dw, db) = (read(&g.y), read(&g.dx), read(&g.dw), read(&g.db));
        // The z that the device has; with y saved, the sign is what counts, and y has it.
        let kept = g.z.as_ref().map(read);
        let z = match (&kept, self.request.saved) {
            (Some(z), _) => Some(z),
            (None, Saved::Y) => Some(&y),
            _ => None,
        };
        let rows = sample(m, (1 << 25) / (n * k));
        let take = |from: &[f32], width: usize| -> Vec<f32> {
            rows.iter().flat_map(|&r| &from[r * width..(r + 1) * width]).copied().collect()
        };
        let (x_rows, dy_rows) = (take(&self.x, k), take(&self.dy, n));
        let request = AffineRequest { m: rows.len(), ..self.request };
        let inputs = ForwardInputs { x: &x_rows, w: &self.w, b: Some(&self.b), alpha: None, residual: None };
        let want = reference::forward(&request, inputs).expect("the reference takes what the device took");
        let y_error = check(&format!("{name}: y"), &take(&y, n), &want.y, &want.z_terms);
        let z_rows = z.map(|z| take(z, n));
        let inputs = reference::BackwardInputs {
            x: &x_rows,
            w: &self.w,
            b: Some(&self.b),
            dy: &dy_rows,
            z: z_rows.as_deref(),
            ..reference::BackwardInputs::default()
        };
        let want = reference::backward(&self.backward_request(request), inputs).expect("the reference runs");
        let dx_error = check(&format!("{name}: dx"), &take(&dx, k), &want.dx.value, &want.dx.terms);

        let columns = sample(n, (1 << 25) / (m * k));
        let few =
            |from: &[f32]| -> Vec<f32> { from.chunks(n).flat_map(|row| columns.iter().map(|&c| row[c])).collect() };
        let wide =
            |from: &[f32]| -> Vec<f32> { columns.iter().flat_map(|&c| &from[c * k..(c + 1) * k]).copied().collect() };
        let request = AffineRequest { n: columns.len(), ..self.request };
        let (w_few, b_few, dy_few, z_few) = (wide(&self.w), few(&self.b), few(&self.dy), z.map(|z| few(z)));
        let inputs = reference::BackwardInputs {
            x: &self.x,
            w: &w_few,
            b: Some(&b_few),
            dy: &dy_few,
            z: z_few.as_deref(),
            ..reference::BackwardInputs::default()
        };
        let want = reference::backward(&self.backward_request(request), inputs).expect("the reference runs");
        let dw_error = check(&format!("{name}: dw"), &wide(&dw), &want.dw.value, &want.dw.terms);
        let db_error = check(&format!("{name}: db"), &few(&db), &want.db.value, &want.db.terms);
        println!(
            "{name}: verified, saved {}; errors beside the terms: y {y_error:.0e}, dx {dx_error:.0e}, dw {dw_error:.0e}, db {db_error:.0e}",
            self.request.saved
        );
    }

    /// The same on the CPU baseline.
    fn on_cpu(&self, part: Part, iterations: u64) -> std::time::Duration {
        let AffineRequest { m, n, k, .. } = self.request;
        let mut y = vec![0.0; m * n];
        let mut z = vec![0.0; if self.request.saved == Saved::Z { m * n } else { 0 }];
        let mut mask = vec![0; if self.request.saved == Saved::Mask { m * n.div_ceil(32) } else { 0 }];
        let (mut dx, mut dw, mut db) = (vec![0.0; m * k], vec![0.0; n * k], vec![0.0; n]);
        let mut workspace = baseline::Workspace::new();
        let forward = |y: &mut [f32], z: &mut [f32], mask: &mut [u32]| {
            let inputs = ForwardInputs { x: &self.x, w: &self.w, b: Some(&self.b), alpha: None, residual: None };
            let saved = match self.request.saved {
                Saved::Z => SavedOut::Z(z),
                Saved::Mask => SavedOut::Mask(mask),
                _ => SavedOut::None,
            };
            baseline::forward(&self.request, inputs, baseline::ForwardOutputs { y, saved }).expect("the baseline runs");
        };
        let mut backward = |y: &[f32], z: &[f32], mask: &[u32]| {
            let saved = match self.request.saved {
                Saved::Z => SavedIn::Z(z),
                Saved::Y => SavedIn::Y(y),
                Saved::Mask => SavedIn::Mask(mask),
                _ => SavedIn::None,
            };
            let inputs = baseline::BackwardInputs {
                x: &self.x,
                w: &self.w,
                b: Some(&self.b),
                dy: &self.dy,
                saved,
                ..baseline::BackwardInputs::default()
            };
            let outputs = baseline::BackwardOutputs {
                dx: Some(&mut dx),
                dw: Some(&mut dw),
                db: Some(&mut db),
                ..baseline::BackwardOutputs::default()
            };
            let request = self.backward_request(self.request);
            baseline::backward(&request, inputs, outputs, &mut workspace).expect("the baseline runs");
            black_box((&dx, &dw, &db));
        };
        forward(&mut y, &mut z, &mut mask);
        let start = Instant::now();
        for _ in 0..iterations {
            if part != Part::Backward {
                forward(&mut y, &mut z, &mut mask);
                black_box(&y);
            }
            if part != Part::Forward {
                backward(&y, &z, &mask);
            }
        }
        start.elapsed()
    }
}

impl OnGpu {
    fn new(
        device: &Device,
        request: &AffineRequest,
        x: &[f32],
        w: &[f32],
        b: &[f32],
        dy: &[f32],
    ) -> elbow::Result<Self> {
        let AffineRequest { m, n, k, saved, .. } = *request;
        let gpu = &device.gpu;
        Ok(OnGpu {
            x: gpu.upload(x, &[m, k])?,
            w: gpu.upload(w, &[n, k])?,
            b: gpu.upload(b, &[n])?,
            y: gpu.zeros(&[m, n])?,
            z: (saved == Saved::Z).then(|| gpu.zeros(&[m, n])).transpose()?,
            mask: (saved == Saved::Mask).then(|| gpu.zeros(&[m, n.div_ceil(32)])).transpose()?,
            dy: gpu.upload(dy, &[m, n])?,
            dx: gpu.zeros(&[m, k])?,
            dw: gpu.zeros(&[n, k])?,
            db: gpu.zeros(&[n])?,
        })
    }
}

fn check(what: &str, got: &[f32], want: &[f64], terms: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "{what}: length");
    // Where a slope passes through zero its error is absolute: a sum of few such terms has nothing to be relative to.
    let floor = 0.05 * terms.iter().fold(0.0, |a: f64, &b| a.max(b));
    let scale: Vec<f64> = terms.iter().map(|&t| t.max(floor)).collect();
    let values = got.iter().zip(want.iter().zip(&scale)).map(|(&got, (want, scale))| (got, want, scale));
    device::verify(what, TOLERANCE, values)
}

/// Up to `most` indices (at least four), spread over the whole range, its ends among them.
fn sample(length: usize, most: usize) -> Vec<usize> {
    let count = most.max(4).min(length);
    (0..count).map(|i| if count == 1 { 0 } else { i * (length - 1) / (count - 1) }).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Forward,
    Backward,
    Both,
}

fn shape(
    group: &mut BenchmarkGroup<'_, WallTime>,
    device: &Device,
    (m, k, n): (usize, usize, usize),
    activation: Activation,
) {
    // Made and verified only if the filter lets one of the benchmarks run.
    let case = LazyCell::new(|| Case::new(device, (m, k, n), activation));
    let large_for_software = device.gpu.is_software() && m * n * k > LARGE;
    for (part, name, products) in
        [(Part::Forward, "forward", 1), (Part::Backward, "backward", 2), (Part::Both, "both", 3)]
    {
        group.throughput(Throughput::Elements(2 * products * (m * n * k) as u64));
        if device.has_clock() {
            group.bench_function(format!("{name}/gpu_device"), |bencher| {
                let case = &*case;
                bencher.iter_custom(|iterations| device.device_time(iterations, &|pass| case.record(part, pass)));
            });
        }
        // Beside seconds of a software adapter, the cost of a submission does not show.
        if !(large_for_software && device.has_clock()) {
            group.bench_function(format!("{name}/gpu_wall"), |bencher| {
                let case = &*case;
                bencher.iter_custom(|iterations| device.wall_time(iterations, &|pass| case.record(part, pass)));
            });
        }
        group.bench_function(format!("{name}/cpu"), |bencher| {
            let case = &*case;
            bencher.iter_custom(|iterations| case.on_cpu(part, iterations));
        });
    }
}

fn benches(criterion: &mut criterion::Criterion) {
    let device = Device::open("fused affine + activation");
    for dims @ (m, k, n) in SHAPES {
        if device::only_testing() && m * k * n > LARGE / 16 {
            continue;
        }
        for activation in device::activations("relu;gelu_erf") {
            let mut group = criterion.benchmark_group(format!("affine {m}x{k}x{n} {activation}"));
            group.sampling_mode(SamplingMode::Flat);
            shape(&mut group, &device, dims, activation);
            group.finish();
        }
    }
}

criterion_group! { name = affine; config = device::criterion(); targets = benches }
criterion_main!(affine);
