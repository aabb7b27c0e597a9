//! elbow as a guest: a host that owns its wgpu device, its memory and its command encoder has two fused layers recorded
//! into its own compute pass, and submits once itself.
//!
//!     cargo run --example embed_in_host
//!
//! All operands lie in one buffer of the host's (an arena, as frameworks have them), at offsets that only need to be
//! multiples of 4 bytes. The result is checked against the f64 reference.

#![forbid(unsafe_code)]

use std::error::Error;

use elbow::{
    Activation, Dtype, Gpu, View,
    affine::Forward,
    cpu::{ForwardInputs, reference},
    request::AffineRequest,
    wgpu,
};
use rand::{RngExt, SeedableRng};

const BATCH: usize = 33;
const SIZES: [usize; 3] = [50, 70, 10];

fn main() -> Result<(), Box<dyn Error>> {
    // The host's side: any wgpu program has this already.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    let mut arena = Arena::default();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut random =
        |len: usize, scale: f32| -> Vec<f32> { (0..len).map(|_| scale * rng.random_range(-1.0..1.0)).collect() };
    let [features, hidden, classes] = SIZES;
    let x = arena.place(&random(BATCH * features, 1.0));
    let w0 = arena.place(&random(hidden * features, 0.2));
    let b0 = arena.place(&random(hidden, 0.5));
    let y0 = arena.place(&vec![f32::NAN; BATCH * hidden]);
    let w1 = arena.place(&random(classes * hidden, 0.2));
    let b1 = arena.place(&random(classes, 0.5));
    let y1 = arena.place(&vec![f32::NAN; BATCH * classes]);
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let size = arena.values.len() as u64 * 4;
    let buffer =
        device.create_buffer(&wgpu::BufferDescriptor { label: Some("arena"), size, usage, mapped_at_creation: false });
    queue.write_buffer(&buffer, 0, &arena.bytes());

    // elbow's side: no handler is installed, nothing is submitted or waited for.
    let gpu = Gpu::from_wgpu(&device, &queue);
    println!("{gpu}");
    let at = |offset: usize, shape: &'static [usize]| View::new(&buffer, offset as u64 * 4, shape, Dtype::F32);
    let first = Forward {
        b: Some(at(b0, &[SIZES[1]])),
        ..Forward::new(
            Activation::GELU_ERF,
            at(x, &[BATCH, SIZES[0]]),
            at(w0, &[SIZES[1], SIZES[0]]),
            at(y0, &[BATCH, SIZES[1]]),
        )
    };
    let second = Forward {
        b: Some(at(b1, &[SIZES[2]])),
        ..Forward::new(Activation::IDENTITY, first.y, at(w1, &[SIZES[2], SIZES[1]]), at(y1, &[BATCH, SIZES[2]]))
    };
    print!("{}\n{}\n", first.plan(&gpu)?, second.plan(&gpu)?);

    // One encoder, one pass, one submission, all of them the host's.
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("host") });
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        first.record(&gpu, &mut pass)?;
        second.record(&gpu, &mut pass)?;
    }
    queue.submit([encoder.finish()]);
    let got = gpu.download_view(second.y)?;

    // The judge.
    let layer = |x: &[f32], w: usize, b: usize, k: usize, n: usize, activation| {
        let (w, b) = (&arena.values[w..w + n * k], &arena.values[b..b + n]);
        let operands = ForwardInputs { x, w, b: Some(b), alpha: None, residual: None, ..ForwardInputs::default() };
        reference::forward(&AffineRequest::new(BATCH, n, k, activation), operands)
    };
    let below = layer(&arena.values[x..x + BATCH * features], w0, b0, features, hidden, Activation::GELU_ERF)?;
    let below: Vec<f32> = below.y.iter().map(|&y| y as f32).collect();
    let want = layer(&below, w1, b1, hidden, classes, Activation::IDENTITY)?;
    let worst = got
        .iter()
        .zip(want.y.iter().zip(&want.z_terms))
        .map(|(&got, (want, terms))| (f64::from(got) - want).abs() / terms)
        .fold(0.0, f64::max);
    println!("largest error, relative to the terms of the sum: {worst:.1e}");
    // NaN fails too: it would be an output that was not written.
    if worst.is_nan() || worst > 1e-5 || got.iter().any(|y| y.is_nan()) {
        return Err(format!("the guest's result is not the reference's: off by {worst:.1e}").into());
    }
    Ok(())
}

/// The host's memory: everything in one buffer, each tensor where the one before it ends.
#[derive(Default)]
struct Arena {
    values: Vec<f32>,
}

impl Arena {
    /// The element at which the tensor starts.
    fn place(&mut self, tensor: &[f32]) -> usize {
        // An odd gap: offsets need no alignment beyond that of an f32.
        self.values.resize(self.values.len() + 3, 0.0);
        let at = self.values.len();
        self.values.extend_from_slice(tensor);
        at
    }

    fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }
}
