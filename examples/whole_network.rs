//! A network of narrow layers in one dispatch and layer by layer, and forward and backward of a training step in three and layer by layer: the
//! dispatches and bytes of both roads, the time of both on this device in turns, and how far the results are apart.
//!
//!     cargo run --release --example whole_network -- 1048576 3 64 64 64 64 4

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use elbow::{
    Activation, Gpu, Plan, Prepared, View, affine,
    network::{Forward, Layers},
    request::Saved,
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

    println!("{}", whole.plan(&gpu)?);
    let one = Road::new(&gpu, vec![(whole.plan(&gpu)?, whole.prepare(&gpu)?)]);
    let each =
        calls.iter().map(|call| Ok((call.plan(&gpu)?, call.prepare(&gpu)?))).collect::<elbow::Result<Vec<_>>>()?;
    compare("y", &one, &Road::new(&gpu, each), [y.view(), outs[layers.count - 1].view()])?;

    let dy = gpu.upload(&normal(rows * layers.outputs, 1.0), &[rows, layers.outputs])?;
    let (gradient, gradients) = (gpu.zeros(&[all.len()])?, gpu.zeros(&[all.len()])?);
    let backward = whole.backward(&dy).gradient(&gradient);
    println!("{}", backward.plan(&gpu)?);
    let three = vec![(whole.plan(&gpu)?, whole.prepare(&gpu)?), (backward.plan(&gpu)?, backward.prepare(&gpu)?)];
    let kept = (0..layers.count).map(|l| gpu.zeros(&[rows, layers.shape(l)[0]])).collect::<elbow::Result<Vec<_>>>()?;
    let dz = (0..layers.count).map(|l| gpu.zeros(&[rows, layers.shape(l)[0]])).collect::<elbow::Result<Vec<_>>>()?;
    for (l, call) in calls.iter_mut().enumerate().filter(|(l, _)| l + 1 < layers.count) {
        *call = call.saved(Saved::Z).save_to(&kept[l]);
    }
    let mut each =
        calls.iter().map(|call| Ok((call.plan(&gpu)?, call.prepare(&gpu)?))).collect::<elbow::Result<Vec<_>>>()?;
    for l in (0..layers.count).rev() {
        let place = layers.place(l);
        let part = |at: usize, count: usize| gradients.view().slice(0, at..at + count);
        let last = l + 1 == layers.count;
        let mut call = calls[l].backward_from_dz(if last { &dy } else { &dz[l] });
        call = call.dw(part(place.w, shapes[l][0] * shapes[l][1])?.reshaped(&shapes[l])?);
        if last {
            call = call.db(part(place.b, layers.outputs)?);
        }
        if let Some(below) = l.checked_sub(1) {
            let db = part(layers.place(below).b, layers.hidden)?;
            call = call.dx(&dz[below]).below(&calls[below]).db_below(db);
        }
        each.push((call.plan(&gpu)?, call.prepare(&gpu)?));
    }
    compare("a step", &Road::new(&gpu, three), &Road::new(&gpu, each), [gradient.view(), gradients.view()])
}

/// Calls one after the other.
struct Road<'a> {
    gpu: &'a Gpu,
    dispatches: usize,
    bytes: u64,
    calls: Vec<Prepared>,
}

impl<'a> Road<'a> {
    fn new(gpu: &'a Gpu, calls: Vec<(Plan, Prepared)>) -> Self {
        let dispatches = calls.iter().map(|(plan, _)| plan.dispatches.len()).sum();
        let bytes = calls.iter().map(|(plan, _)| plan.bytes()).sum();
        Road { gpu, dispatches, bytes, calls: calls.into_iter().map(|(_, call)| call).collect() }
    }

    fn milliseconds(&self) -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        self.gpu.submit_pass(|pass| self.calls.iter().try_for_each(|call| call.record(&mut *pass)))?;
        self.gpu.wait()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

/// The best of twelve turns of both roads, and the largest difference of their results.
fn compare(what: &str, whole: &Road<'_>, each: &Road<'_>, results: [View<'_>; 2]) -> Result<(), Box<dyn Error>> {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..12 {
        best = [best[0].min(whole.milliseconds()?), best[1].min(each.milliseconds()?)];
    }
    let [one, other] = [whole.gpu.download(results[0])?, whole.gpu.download(results[1])?];
    let apart = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    for (name, road, time) in [("whole network", whole, best[0]), ("layer by layer", each, best[1])] {
        println!("{what}, {name}: {} dispatches, {} bytes, {time:.3} ms", road.dispatches, road.bytes);
    }
    println!("{apart:e} apart, the largest number {:e}", other.iter().fold(0.0, |a: f32, v| a.max(v.abs())));
    Ok(())
}
