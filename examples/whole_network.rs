//! A network of narrow layers in one dispatch and layer by layer: the dispatches and bytes of both plans, the time of both on this device in
//! turns, and how far the results are apart.
//!
//!     cargo run --release --example whole_network -- 1048576 3 64 64 64 64 4

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use elbow::{
    Activation, Gpu, Prepared, affine,
    network::{Forward, Layers},
};
use rand::{RngExt, SeedableRng};

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers: Vec<usize> = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    if numbers.is_empty() {
        numbers = vec![65_536, 3, 64, 64, 64, 64, 4];
    }
    let (rows, sizes) = (numbers[0], &numbers[1..]);
    let gpu = Gpu::new()?;
    println!("{gpu}\n{rows} rows, {sizes:?}");
    let layers = Layers::new(sizes, Activation::SILU)?;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let mut normal = |count: usize, deviation: f32| -> Vec<f32> {
        (0..count).map(|_| rng.sample::<f32, _>(rand_distr::StandardNormal) * deviation).collect()
    };
    let mut all = vec![0.0; layers.elements()];
    for l in 0..layers.count {
        let (place, [n, k]) = (layers.place(l), layers.shape(l));
        all[place.w..][..n * k].copy_from_slice(&normal(n * k, (k as f32).sqrt().recip()));
        all[place.b..][..n].copy_from_slice(&normal(n, 0.1));
    }
    let x = gpu.upload(&normal(rows * layers.inputs, 1.0), &[rows, layers.inputs])?;
    let parameters = gpu.upload(&all, &[all.len()])?;
    let y = gpu.zeros(&[rows, layers.outputs])?;
    let whole = Forward::new(layers, &x, &parameters, &y);

    let outs = (0..layers.count).map(|l| gpu.zeros(&[rows, layers.shape(l)[0]])).collect::<elbow::Result<Vec<_>>>()?;
    let mut calls: Vec<affine::Forward<'_>> = Vec::new();
    let shapes: Vec<[usize; 2]> = (0..layers.count).map(|l| layers.shape(l)).collect();
    for (l, shape) in shapes.iter().enumerate() {
        let place = layers.place(l);
        let part = |at: usize, count: usize| parameters.view().slice(0, at..at + count);
        let (w, b) = (part(place.w, shape[0] * shape[1])?.reshaped(shape)?, part(place.b, shape[0])?);
        let input = if l == 0 { &x } else { &outs[l - 1] };
        let activation = if l + 1 < layers.count { layers.activation } else { layers.output };
        calls.push(affine::Forward::new(activation, input, w, &outs[l]).b(b));
    }

    let (mut dispatches, mut bytes) = (0, 0);
    for call in &calls {
        let plan = call.plan(&gpu)?;
        dispatches += plan.dispatches.len();
        bytes += plan.bytes();
    }
    let plan = whole.plan(&gpu)?;
    println!("{plan}");
    println!("layer by layer: {dispatches} dispatches, {bytes} bytes");
    println!("one for all:    {} dispatches, {} bytes", plan.dispatches.len(), plan.bytes());

    let whole = vec![whole.prepare(&gpu)?];
    let each = calls.iter().map(|call| call.prepare(&gpu)).collect::<elbow::Result<Vec<_>>>()?;
    let time = |road: &[Prepared]| -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        gpu.submit_pass(|pass| road.iter().try_for_each(|call| call.record(&mut *pass)))?;
        gpu.wait()?;
        Ok(start.elapsed().as_secs_f64())
    };
    let (mut best_whole, mut best_each) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..12 {
        best_whole = best_whole.min(time(&whole)?);
        best_each = best_each.min(time(&each)?);
    }
    let (one, other) = (gpu.download(&y)?, gpu.download(&outs[layers.count - 1])?);
    let apart = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("one for all {:.3} ms, layer by layer {:.3} ms; {apart:e} apart", best_whole * 1e3, best_each * 1e3);
    Ok(())
}
