//! The training step of a layer whose gradient counts, for `scripts/compare-double`: forward, dx for dy, and for what comes back to dx, ddx,
//! the gradients for dy, x, W and b; in f32, on elbow-cpu or on the GPU.
//!
//!     cargo run --release -p elbow-measure --example double_step -- cpu|gpu M K N ACTIVATION STEPS OPERANDS RESULTS
//!
//! The file OPERANDS holds x `[M, K]`, W `[N, K]`, b `[N]`, dy `[M, N]` and ddx `[M, K]`, one behind the other, as little-endian f32. RESULTS
//! gets dx, ddy, dx2, dW2 and db2 of the last step. Prints the name of the side and the milliseconds of each step, tab-separated; on the GPU
//! from submission until the device is done.

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use elbow::{
    Activation, Gpu, Saved, Want, affine,
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest, Gradients, Returning, SecondGradients},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, DoubleBackwardInputs, DoubleBackwardOutputs, ForwardInputs, ForwardOutputs,
    SavedIn, SavedOut, Workspace,
};

const USAGE: &str = "usage: double_step cpu|gpu M K N ACTIVATION STEPS OPERANDS RESULTS";

/// The layer, and x, W, b, dy and ddx.
struct Work {
    sizes: [usize; 3],
    activation: Activation,
    operands: [Vec<f32>; 5],
}

/// dx, ddy, dx2, dW2 and db2.
type Results = [Vec<f32>; 5];

impl Work {
    fn new(sizes: [usize; 3], activation: Activation, bytes: &[u8]) -> Result<Self, Box<dyn Error>> {
        let [m, k, n] = sizes;
        let mut numbers =
            bytes.chunks_exact(4).map(|four| four.iter().rev().fold(0, |word, &b| word << 8 | u32::from(b)));
        let operands = [m * k, n * k, n, m * n, m * k]
            .map(|length| numbers.by_ref().take(length).map(f32::from_bits).collect::<Vec<f32>>());
        let expected = 4 * operands.iter().map(Vec::len).sum::<usize>();
        if bytes.len() != expected || operands[4].len() != m * k {
            return Err("OPERANDS is not as long as the sizes say".into());
        }
        Ok(Work { sizes, activation, operands })
    }

    fn zeros(&self) -> Results {
        let [m, k, n] = self.sizes;
        [m * k, m * n, m * k, n * k, n].map(|length| vec![0.0; length])
    }

    /// Runs so many steps, each timed by itself.
    fn on_cpu(&self, steps: usize) -> elbow::Result<(Vec<f64>, Results)> {
        let [m, k, n] = self.sizes;
        let [x, w, b, dy, ddx] = &self.operands;
        let layer = AffineRequest::new(m, n, k, self.activation).saved(Saved::Z);
        let backward = BackwardRequest::new(layer, Gradients::default().x(Want::Overwrite));
        let all = Want::Overwrite;
        let wants = SecondGradients::default().dy(all).x(all).w(all).b(all);
        let second = DoubleBackwardRequest::new(layer, Returning::default().x(true), wants);
        let [mut y, mut z] = [(); 2].map(|()| vec![0.0; m * n]);
        let mut results = self.zeros();
        let [dx, ddy, dx2, dw2, db2] = &mut results;
        let mut workspace = Workspace::new();
        let step = || {
            let outputs = ForwardOutputs { y: &mut y, saved: SavedOut::Z(&mut z) };
            elbow_cpu::forward(&layer, ForwardInputs::new(x, w).b(Some(b)), outputs)?;
            let inputs = BackwardInputs { w, dy, saved: SavedIn::Z(&z), ..BackwardInputs::default() };
            let outputs = BackwardOutputs { dx: Some(dx), ..BackwardOutputs::default() };
            elbow_cpu::backward(&backward, inputs, outputs, &mut workspace)?;
            let inputs = DoubleBackwardInputs {
                x,
                w,
                dy,
                saved: SavedIn::Z(&z),
                ddx: Some(ddx),
                ..DoubleBackwardInputs::default()
            };
            let outputs = DoubleBackwardOutputs {
                ddy: Some(ddy),
                dx2: Some(dx2),
                dw2: Some(dw2),
                db2: Some(db2),
                ..DoubleBackwardOutputs::default()
            };
            elbow_cpu::double_backward(&second, inputs, outputs, &mut workspace)
        };
        let times = timed(steps, step)?;
        Ok((times, results))
    }

    fn on_gpu(&self, gpu: &Gpu, steps: usize) -> elbow::Result<(Vec<f64>, Results)> {
        let [m, k, n] = self.sizes;
        let [x, w, b, dy, ddx] = &self.operands;
        let (x, w, b) = (gpu.upload(x, &[m, k])?, gpu.upload(w, &[n, k])?, gpu.upload(b, &[n])?);
        let (dy, ddx) = (gpu.upload(dy, &[m, n])?, gpu.upload(ddx, &[m, k])?);
        let (y, z, dx) = (gpu.zeros(&[m, n])?, gpu.zeros(&[m, n])?, gpu.zeros(&[m, k])?);
        let (ddy, dx2, dw2, db2) = (gpu.zeros(&[m, n])?, gpu.zeros(&[m, k])?, gpu.zeros(&[n, k])?, gpu.zeros(&[n])?);
        let layer = affine::Forward::new(self.activation, &x, &w, &y).b(&b).saved(Saved::Z).save_to(&z);
        let second = layer.double_backward(&dy).ddx(&ddx).ddy(&ddy).dx2(&dx2).dw2(&dw2).db2(&db2);
        let times = timed(steps, || {
            gpu.submit_pass(|pass| {
                layer.record(gpu, &mut *pass)?;
                layer.backward(&dy).dx(&dx).record(gpu, &mut *pass)?;
                second.record(gpu, &mut *pass)
            })?;
            gpu.wait()
        })?;
        let mut results = self.zeros();
        for (result, tensor) in results.iter_mut().zip([&dx, &ddy, &dx2, &dw2, &db2]) {
            gpu.download_into(tensor, result)?;
        }
        Ok((times, results))
    }
}

/// The milliseconds of each of so many steps.
fn timed(steps: usize, mut step: impl FnMut() -> elbow::Result<()>) -> elbow::Result<Vec<f64>> {
    let one = |_| {
        let begin = Instant::now();
        step().map(|()| 1e3 * begin.elapsed().as_secs_f64())
    };
    (0..steps).map(one).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [side, m, k, n, activation, steps, operands, written] = &arguments[..] else { return Err(USAGE.into()) };
    let work = Work::new([m.parse()?, k.parse()?, n.parse()?], activation.parse()?, &std::fs::read(operands)?)?;
    let steps = steps.parse()?;
    let (name, (times, results)) = match &side[..] {
        "cpu" => ("elbow-cpu".to_owned(), work.on_cpu(steps)?),
        "gpu" => {
            let gpu = Gpu::new()?;
            let kind = if gpu.is_software() { ", software adapter" } else { "" };
            (format!("elbow on {}{kind}", gpu.info().name), work.on_gpu(&gpu, steps)?)
        }
        _ => return Err(USAGE.into()),
    };
    std::fs::write(written, results.concat().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    let times: Vec<String> = times.iter().map(|time| format!("{time:.4}")).collect();
    println!("{name}\t{}", times.join("\t"));
    Ok(())
}
