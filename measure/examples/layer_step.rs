//! The training step of one layer, for `scripts/compare-steps`, in f32, on elbow-cpu or on the GPU:
//!
//! - `double`: a layer whose gradient counts. Forward, dx for dy, and for what comes back to dx, ddx, the gradients for dy, x, W and b.
//! - `gated`: y = act(gate) ⊙ up with W `[2N, K]` = [gate; up]. Forward, then dx, dW and db.
//! - `batch`: y = act(scale ⊙ batch_norm(x) + shift)·Wᵀ + b. Forward, then dx, dW, db, dscale and dshift.
//! - `rms`: y = (scale ⊙ rms_norm(x))·Wᵀ + b, with ACTIVATION identity. Forward, then dx, dW, db and dscale.
//!
//!     cargo run --release -p elbow-measure --example layer_step -- double|gated|batch|rms cpu|gpu M K N ACTIVATION STEPS OPERANDS RESULTS
//!
//! The file OPERANDS holds x `[M, K]`, W, b, dy `[M, N]`, then, of `double`, ddx `[M, K]`, or the scale and shift `[K]` that there are, one behind the other, as little-endian f32. RESULTS gets
//! those of the last step in the order above. Prints the name of the side and the milliseconds of each step, tab-separated; on the GPU from
//! submission until the device is done.

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use elbow::{
    Activation, Gate, Gpu, Norm, Saved, Tensor, View, Want, affine,
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest, Front, Gradients, Returning, SecondGradients},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, DoubleBackwardInputs, DoubleBackwardOutputs, ForwardInputs, ForwardOutputs,
    FrontInputs, SavedIn, SavedOut, Workspace,
};

const USAGE: &str = "usage: layer_step double|gated|batch|rms cpu|gpu M K N ACTIVATION STEPS OPERANDS RESULTS";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Double,
    Gated,
    Batch,
    Rms,
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
        lengths.extend(match kind {
            Kind::Double => vec![m * k],
            Kind::Gated => vec![],
            Kind::Batch => vec![k, k],
            Kind::Rms => vec![k],
        });
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
        let (gate, front) = match self.kind {
            Kind::Double => (None, None),
            Kind::Gated => (Some(Gate::stacked()), None),
            Kind::Batch => (None, Some(Front::new(self.activation).norm(Norm::batch()).scale(true).shift(true))),
            Kind::Rms => (None, Some(Front::new(self.activation).norm(Norm::rms()).scale(true))),
        };
        // Behind a front the layer is linear, and needs nothing.
        let (activation, saved) = match front {
            None => (self.activation, Saved::Z),
            Some(_) => (Activation::IDENTITY, Saved::None),
        };
        AffineRequest::new(m, n, k, activation).saved(saved).gate(gate).front(front)
    }

    fn zeros(&self) -> Vec<Vec<f32>> {
        let [m, k, n] = self.sizes;
        let lengths = match self.kind {
            Kind::Double => vec![m * k, m * n, m * k, n * k, n],
            Kind::Gated => vec![m * n, m * k, 2 * n * k, 2 * n],
            Kind::Batch => vec![m * n, m * k, n * k, n, k, k],
            Kind::Rms => vec![m * n, m * k, n * k, n, k],
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
        let [scale, shift] = [4, 5].map(|at| self.operands.get(at).map(Vec::as_slice));
        let mut of_front = FrontInputs::default();
        let mut moments = vec![0.0; 2 * layer.m.max(layer.k)];
        if layer.front.is_some() {
            of_front = of_front.scale(scale).shift(shift);
        }
        let forward = ForwardInputs::new(x, w).b(Some(b)).front(of_front);
        let times = match (self.kind, &mut results[..]) {
            (Kind::Gated | Kind::Batch | Kind::Rms, [y, dx, dw, db, rest @ ..]) => {
                let (mut dscale, mut dshift) = match rest {
                    [dscale, dshift] => (Some(dscale), Some(dshift)),
                    [dscale] => (Some(dscale), None),
                    _ => (None, None),
                };
                let wants = Gradients::default().x(want).w(want).b(want);
                let wanted = |there: bool| if there { want } else { Want::No };
                let wants = wants.scale(wanted(dscale.is_some())).shift(wanted(dshift.is_some()));
                let backward = BackwardRequest::new(layer, wants);
                timed(steps, || {
                    let saved = if layer.saved == Saved::Z { SavedOut::Z(&mut z) } else { SavedOut::None };
                    let kept = layer.front.is_some().then_some(&mut moments[..]);
                    let outputs = ForwardOutputs { y, saved, moments: kept, ..Default::default() };
                    elbow_cpu::forward(&layer, forward, outputs)?;
                    let saved = if layer.saved == Saved::Z { SavedIn::Z(&z) } else { SavedIn::None };
                    let inputs = BackwardInputs {
                        x,
                        w,
                        dy,
                        saved,
                        front: of_front,
                        moments: Some(&moments),
                        ..BackwardInputs::default()
                    };
                    let outputs = BackwardOutputs {
                        dx: Some(dx),
                        dw: Some(dw),
                        db: Some(db),
                        dscale: dscale.as_mut().map(|values| values.as_mut_slice()),
                        dshift: dshift.as_mut().map(|values| values.as_mut_slice()),
                        ..BackwardOutputs::default()
                    };
                    elbow_cpu::backward(&backward, inputs, outputs, &mut workspace)
                })?
            }
            (Kind::Double, [dx, ddy, dx2, dw2, db2]) => {
                let ddx = self.operands.get(4).ok_or(USAGE)?;
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
        let mut shapes = vec![vec![m, k], vec![outputs, k], vec![outputs], vec![m, n]];
        shapes.extend(if self.kind == Kind::Double { vec![vec![m, k]] } else { vec![vec![k]; 2] });
        let uploaded: Vec<Tensor> = (self.operands.iter().zip(&shapes))
            .map(|(values, shape)| gpu.upload(values, shape))
            .collect::<elbow::Result<_>>()?;
        let [x, w, b, dy, ..] = &uploaded[..] else { return Err(USAGE.into()) };
        let (y, z) = (gpu.zeros(&[m, n])?, gpu.zeros(&[m, outputs])?);
        let (scale, shift) = (uploaded.get(4).map(View::from), uploaded.get(5).map(View::from));
        let norm = request.front.and_then(|front| front.norm);
        let moments = gpu.zeros(&[2, if norm.is_some_and(|norm| norm.of_rows()) { m } else { k }])?;
        let front = request
            .front
            .map(|front| affine::Front::new(front.activation).norm(norm).moments(&moments).scale(scale).shift(shift));
        let layer = affine::Forward::new(request.activation, x, w, &y).b(b).gate(request.gate).front(front);
        let layer = layer.saved(request.saved).save_to((request.saved == Saved::Z).then(|| View::from(&z)));
        let (dscale, dshift) = (gpu.zeros(&[k])?, gpu.zeros(&[k])?);
        let (dx, dw, db) = (gpu.zeros(&[m, k])?, gpu.zeros(&[outputs, k])?, gpu.zeros(&[outputs])?);
        let (ddy, dx2) = (gpu.zeros(&[m, n])?, gpu.zeros(&[m, k])?);
        let times = timed(steps, || {
            gpu.submit_pass(|pass| {
                layer.record(gpu, &mut *pass)?;
                let backward = layer.backward(dy).dx(&dx).dw(&dw).db(&db);
                match (self.kind, uploaded.get(4)) {
                    (Kind::Batch, _) => backward.dscale(&dscale).dshift(&dshift).record(gpu, pass),
                    (Kind::Rms, _) => backward.dscale(&dscale).record(gpu, pass),
                    (Kind::Gated, _) | (_, None) => backward.record(gpu, pass),
                    (Kind::Double, Some(ddx)) => {
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
            Kind::Batch => vec![&y, &dx, &dw, &db, &dscale, &dshift],
            Kind::Rms => vec![&y, &dx, &dw, &db, &dscale],
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
        "batch" => Kind::Batch,
        "rms" => Kind::Rms,
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
