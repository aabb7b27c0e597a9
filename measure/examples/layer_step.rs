//! The training step of one layer, for `scripts/compare-steps`, in f32, on elbow-cpu or on the GPU:
//!
//! - `double`: a layer whose gradient counts. Forward, dx for dy, and for what comes back to dx, ddx, the gradients for dy, x, W and b.
//! - `gated`: y = act(gate) ⊙ up with W `[2N, K]` = [gate; up]. Forward, then dx, dW and db.
//!
//!     cargo run --release -p elbow-measure --example layer_step -- double|gated cpu|gpu M K N ACTIVATION STEPS OPERANDS RESULTS
//!
//! The file OPERANDS holds x `[M, K]`, W, b, dy `[M, N]` and, of `double`, ddx `[M, K]`, one behind the other, as little-endian f32. RESULTS gets
//! those of the last step in the order above. Prints the name of the side and the milliseconds of each step, tab-separated; on the GPU from
//! submission until the device is done.

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use elbow::{
    Activation, Gate, Gpu, Saved, Tensor, Want, affine,
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest, Gradients, Returning, SecondGradients},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, DoubleBackwardInputs, DoubleBackwardOutputs, ForwardInputs, ForwardOutputs,
    SavedIn, SavedOut, Workspace,
};

const USAGE: &str = "usage: layer_step double|gated cpu|gpu M K N ACTIVATION STEPS OPERANDS RESULTS";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Double,
    Gated,
}

/// The layer, and its operands.
struct Work {
    kind: Kind,
    sizes: [usize; 3],
    activation: Activation,
    operands: Vec<Vec<f32>>,
}

/// The milliseconds of each step, and the results of the last one.
type Run = (Vec<f64>, Vec<Vec<f32>>);

impl Work {
    fn new(kind: Kind, sizes: [usize; 3], activation: Activation, bytes: &[u8]) -> Result<Self, Box<dyn Error>> {
        let [m, k, n] = sizes;
        let outputs = if kind == Kind::Gated { 2 * n } else { n };
        let mut lengths = vec![m * k, outputs * k, outputs, m * n];
        if kind == Kind::Double {
            lengths.push(m * k);
        }
        if bytes.len() != 4 * lengths.iter().sum::<usize>() {
            return Err("OPERANDS is not as long as the sizes say".into());
        }
        let mut numbers =
            bytes.chunks_exact(4).map(|four| four.iter().rev().fold(0, |word, &b| word << 8 | u32::from(b)));
        let operands =
            lengths.into_iter().map(|length| numbers.by_ref().take(length).map(f32::from_bits).collect()).collect();
        Ok(Work { kind, sizes, activation, operands })
    }

    fn layer(&self) -> AffineRequest {
        let [m, k, n] = self.sizes;
        let gate = (self.kind == Kind::Gated).then_some(Gate::stacked());
        AffineRequest::new(m, n, k, self.activation).saved(Saved::Z).gate(gate)
    }

    fn zeros(&self) -> Vec<Vec<f32>> {
        let [m, k, n] = self.sizes;
        let lengths = match self.kind {
            Kind::Double => vec![m * k, m * n, m * k, n * k, n],
            Kind::Gated => vec![m * n, m * k, 2 * n * k, 2 * n],
        };
        lengths.into_iter().map(|length| vec![0.0; length]).collect()
    }

    /// Runs so many steps, each timed by itself.
    fn on_cpu(&self, steps: usize) -> Result<Run, Box<dyn Error>> {
        let (layer, want) = (self.layer(), Want::Overwrite);
        let [x, w, b, dy, ..] = &self.operands[..] else { return Err(USAGE.into()) };
        let mut z = vec![0.0; layer.m * layer.outputs()];
        let mut results = self.zeros();
        let mut workspace = Workspace::new();
        let forward = ForwardInputs::new(x, w).b(Some(b));
        let times = match (&mut results[..], self.operands.get(4)) {
            ([y, dx, dw, db], _) => {
                let backward = BackwardRequest::new(layer, Gradients::default().x(want).w(want).b(want));
                timed(steps, || {
                    elbow_cpu::forward(
                        &layer,
                        forward,
                        ForwardOutputs { y, saved: SavedOut::Z(&mut z), ..Default::default() },
                    )?;
                    let inputs = BackwardInputs { x, w, dy, saved: SavedIn::Z(&z), ..BackwardInputs::default() };
                    let outputs =
                        BackwardOutputs { dx: Some(dx), dw: Some(dw), db: Some(db), ..BackwardOutputs::default() };
                    elbow_cpu::backward(&backward, inputs, outputs, &mut workspace)
                })?
            }
            ([dx, ddy, dx2, dw2, db2], Some(ddx)) => {
                let backward = BackwardRequest::new(layer, Gradients::default().x(want));
                let wants = SecondGradients::default().dy(want).x(want).w(want).b(want);
                let second = DoubleBackwardRequest::new(layer, Returning::default().x(true), wants);
                let mut y = vec![0.0; layer.m * layer.n];
                timed(steps, || {
                    let outputs = ForwardOutputs { y: &mut y, saved: SavedOut::Z(&mut z), ..Default::default() };
                    elbow_cpu::forward(&layer, forward, outputs)?;
                    let saved = SavedIn::Z(&z);
                    let inputs = BackwardInputs { w, dy, saved, ..BackwardInputs::default() };
                    let outputs = BackwardOutputs { dx: Some(dx), ..BackwardOutputs::default() };
                    elbow_cpu::backward(&backward, inputs, outputs, &mut workspace)?;
                    let inputs =
                        DoubleBackwardInputs { x, w, dy, saved, ddx: Some(ddx), ..DoubleBackwardInputs::default() };
                    let outputs = DoubleBackwardOutputs {
                        ddy: Some(ddy),
                        dx2: Some(dx2),
                        dw2: Some(dw2),
                        db2: Some(db2),
                        ..DoubleBackwardOutputs::default()
                    };
                    elbow_cpu::double_backward(&second, inputs, outputs, &mut workspace)
                })?
            }
            _ => return Err(USAGE.into()),
        };
        Ok((times, results))
    }

    fn on_gpu(&self, gpu: &Gpu, steps: usize) -> Result<Run, Box<dyn Error>> {
        let ([m, k, n], request) = (self.sizes, self.layer());
        let outputs = request.outputs();
        let shapes = [vec![m, k], vec![outputs, k], vec![outputs], vec![m, n], vec![m, k]];
        let uploaded: Vec<Tensor> = (self.operands.iter().zip(&shapes))
            .map(|(values, shape)| gpu.upload(values, shape))
            .collect::<elbow::Result<_>>()?;
        let [x, w, b, dy, ..] = &uploaded[..] else { return Err(USAGE.into()) };
        let (y, z) = (gpu.zeros(&[m, n])?, gpu.zeros(&[m, outputs])?);
        let layer = affine::Forward::new(self.activation, x, w, &y).b(b).gate(request.gate).saved(Saved::Z).save_to(&z);
        let (dx, dw, db) = (gpu.zeros(&[m, k])?, gpu.zeros(&[outputs, k])?, gpu.zeros(&[outputs])?);
        let (ddy, dx2) = (gpu.zeros(&[m, n])?, gpu.zeros(&[m, k])?);
        let times = timed(steps, || {
            gpu.submit_pass(|pass| {
                layer.record(gpu, &mut *pass)?;
                match uploaded.get(4) {
                    None => layer.backward(dy).dx(&dx).dw(&dw).db(&db).record(gpu, pass),
                    Some(ddx) => {
                        layer.backward(dy).dx(&dx).record(gpu, &mut *pass)?;
                        let second = layer.double_backward(dy).ddx(ddx).ddy(&ddy);
                        second.dx2(&dx2).dw2(&dw).db2(&db).record(gpu, pass)
                    }
                }
            })?;
            gpu.wait()
        })?;
        let tensors = match self.kind {
            Kind::Double => vec![&dx, &ddy, &dx2, &dw, &db],
            Kind::Gated => vec![&y, &dx, &dw, &db],
        };
        let mut results = self.zeros();
        for (result, tensor) in results.iter_mut().zip(tensors) {
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
    let [kind, side, m, k, n, activation, steps, operands, written] = &arguments[..] else { return Err(USAGE.into()) };
    let kind = match &kind[..] {
        "double" => Kind::Double,
        "gated" => Kind::Gated,
        _ => return Err(USAGE.into()),
    };
    let sizes = [m.parse()?, k.parse()?, n.parse()?];
    let work = Work::new(kind, sizes, activation.parse()?, &std::fs::read(operands)?)?;
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
