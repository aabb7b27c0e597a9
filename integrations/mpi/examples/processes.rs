//! Layers over the processes of an MPI run beside the same layers in one process, verified, then timed; an error of any of them ends the run.
//!
//!     mpirun -n 4 target/debug/examples/processes [ROUNDS]
//!
//! `ELBOW_MPI_ROAD=gpu` computes over the GPU, whatever it costs; without it on the CPU.

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use elbow::{
    Activation, Gpu, Saved, Want,
    cpu::ForwardInputs,
    request::{AffineRequest, AlphaSource, BackwardRequest, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardOutputs, SavedIn, SavedOut};
use elbow_mpi::{
    Buckets, Column, Row, RowGradients, RowInputs,
    elbow_host::{Host, Road},
    mpi::{Threading, initialize_with_threading, traits::*},
    share,
};
use elbow_verify::Numbers;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Sums of up to 256 numbers in another order than in one process, relative to the largest number: 32 · 2⁻²⁴.
const BOUND: f64 = 32.0 / 16_777_216.0;

/// y and all gradients of a layer.
#[derive(Default)]
struct Results {
    y: Vec<f32>,
    z: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
    dalpha: Vec<f32>,
}

/// A layer and its numbers: the same in every process.
struct Layer {
    request: AffineRequest,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    alpha: Vec<f32>,
}

fn wants(request: &AffineRequest) -> Gradients {
    let alpha = if request.alpha == AlphaSource::Constant { Want::No } else { Want::Overwrite };
    Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite).alpha(alpha)
}

impl Layer {
    /// With integers every sum is exact, in any order.
    fn new(request: AffineRequest, numbers: &mut Numbers, integers: bool) -> Self {
        let AffineRequest { n, k, .. } = request;
        let mut fill = |count: usize, size: f32| -> Vec<f32> {
            (0..count).map(|_| if integers { numbers.integer(2) } else { numbers.normal() * size }).collect()
        };
        let alphas = elbow::cpu::operands::alpha_length(request.alpha, n);
        let alpha = (0..alphas).map(|channel| if channel % 2 == 0 { 0.25 } else { 0.5 }).collect();
        Layer {
            request,
            x: fill(request.m * k, 1.0),
            w: fill(n * k, 1.0 / (k.max(1) as f32).sqrt()),
            b: fill(n, 1.0),
            alpha,
        }
    }

    fn alpha(&self) -> Option<&[f32]> {
        (self.request.alpha != AlphaSource::Constant).then_some(&self.alpha[..])
    }

    /// In one process, of these x and dy.
    fn alone(&self, host: &Host, x: &[f32], dy: impl FnOnce(&[f32]) -> Vec<f32>) -> Outcome<Results> {
        let request = self.request.saved(Saved::Z);
        let AffineRequest { m, n, .. } = request;
        let mut got = Results { y: vec![f32::NAN; m * n], z: vec![f32::NAN; m * n], ..Default::default() };
        let inputs = ForwardInputs::new(x, &self.w).b(Some(&self.b)).alpha(self.alpha());
        let outputs = ForwardOutputs { y: &mut got.y, saved: SavedOut::Z(&mut got.z), ..Default::default() };
        host.forward(&request, inputs, outputs)?;
        let dy = dy(&got.y);
        got.gradients(host, &request, x, &self.w, self.alpha(), &dy)?;
        Ok(got)
    }
}

impl Results {
    fn gradients(
        &mut self,
        host: &Host,
        request: &AffineRequest,
        x: &[f32],
        w: &[f32],
        alpha: Option<&[f32]>,
        dy: &[f32],
    ) -> Outcome<()> {
        let AffineRequest { m, n, k, .. } = *request;
        let room = |count: usize| vec![f32::NAN; count];
        (self.dx, self.dw, self.db) = (room(m * k), room(n * k), room(n));
        self.dalpha = room(alpha.map_or(0, <[f32]>::len));
        let inputs = BackwardInputs { x, w, alpha, dy, saved: SavedIn::Z(&self.z), ..Default::default() };
        let outputs = BackwardOutputs {
            dx: Some(&mut self.dx),
            dw: Some(&mut self.dw),
            db: Some(&mut self.db),
            dalpha: alpha.is_some().then_some(&mut self.dalpha[..]),
            ..Default::default()
        };
        host.backward(&BackwardRequest::new(*request, wants(request)), inputs, outputs)?;
        Ok(())
    }
}

/// Columns of a matrix with so many.
fn columns(matrix: &[f32], of: usize, part: std::ops::Range<usize>) -> Vec<f32> {
    if of == 0 { Vec::new() } else { matrix.chunks(of).flat_map(|row| &row[part.clone()]).copied().collect() }
}

fn rows(matrix: &[f32], columns: usize, part: std::ops::Range<usize>) -> &[f32] {
    &matrix[part.start * columns..part.end * columns]
}

/// The gradient that comes back to y.
fn of_y(y: &[f32]) -> Vec<f32> {
    y.iter().enumerate().map(|(i, _)| [1.0, -1.0, 2.0, 0.5][i % 4]).collect()
}

/// The largest distance over all, or an error that says of what.
fn compare(what: &str, bound: f64, pairs: &[(&str, &[f32], &[f32])]) -> Outcome<f64> {
    let mut furthest = 0.0f64;
    for (name, got, expected) in pairs {
        if got.len() != expected.len() {
            return Err(format!("{what}: {name} has {} numbers, not {}", got.len(), expected.len()).into());
        }
        let size = expected.iter().fold(1.0f32, |size, number| size.max(number.abs()));
        for (i, (got, expected)) in got.iter().zip(*expected).enumerate() {
            let apart = f64::from((got - expected).abs() / size);
            if apart.is_nan() || apart > bound {
                return Err(
                    format!("{what}: {name}[{i}] is {got}, not {expected}: {apart:.1e}, bound {bound:.1e}").into()
                );
            }
            furthest = furthest.max(apart);
        }
    }
    Ok(furthest)
}

struct Run<'a, C> {
    world: &'a C,
    host: &'a Host,
    processes: usize,
    rank: usize,
}

impl<C: Communicator> Run<'_, C> {
    fn column(&self, layer: &Layer, bound: f64) -> Outcome<f64> {
        let alone = layer.alone(self.host, &layer.x, of_y)?;
        let AffineRequest { m, n, k, alpha: source, .. } = layer.request;
        let mut column = Column::new(self.world, self.host, layer.request.saved(Saved::Z))?;
        let (part, request) = (column.columns(), column.part());
        let (w, b) = (rows(&layer.w, k, part.clone()), &layer.b[part.clone()]);
        let alpha =
            layer.alpha().map(|alpha| if source == AlphaSource::PerChannel { &alpha[part.clone()] } else { alpha });
        let mut got =
            Results { y: vec![f32::NAN; m * part.len()], z: vec![f32::NAN; m * part.len()], ..Default::default() };
        let outputs = ForwardOutputs { y: &mut got.y, saved: SavedOut::Z(&mut got.z), ..Default::default() };
        column.forward(ForwardInputs::new(&layer.x, w).b(Some(b)).alpha(alpha), outputs)?;
        let mut y = vec![f32::NAN; m * n];
        column.gather(&got.y, &mut y)?;
        let dy = columns(&of_y(&y), n, part.clone());
        let room = |count: usize| vec![f32::NAN; count];
        let (mut dx, mut dw, mut db) = (room(m * k), room(part.len() * k), room(part.len()));
        let mut dalpha = room(alpha.map_or(0, <[f32]>::len));
        let inputs = BackwardInputs { x: &layer.x, w, alpha, dy: &dy, saved: SavedIn::Z(&got.z), ..Default::default() };
        let outputs = BackwardOutputs {
            dx: Some(&mut dx),
            dw: Some(&mut dw),
            db: Some(&mut db),
            dalpha: alpha.is_some().then_some(&mut dalpha[..]),
            ..Default::default()
        };
        column.backward(wants(&request), inputs, outputs)?;
        let of_alpha = if source == AlphaSource::PerChannel { &alone.dalpha[part.clone()] } else { &alone.dalpha[..] };
        compare(
            "column",
            bound,
            &[
                ("y", &y, &alone.y),
                ("dx", &dx, &alone.dx),
                ("dW", &dw, rows(&alone.dw, k, part.clone())),
                ("db", &db, &alone.db[part]),
                ("dalpha", &dalpha, of_alpha),
            ],
        )
    }

    fn row(&self, layer: &Layer, bound: f64) -> Outcome<f64> {
        let alone = layer.alone(self.host, &layer.x, of_y)?;
        let AffineRequest { m, n, k, .. } = layer.request;
        let mut row = Row::new(self.world, self.host, layer.request)?;
        let part = row.columns();
        let (x, w) = (columns(&layer.x, k, part.clone()), columns(&layer.w, k, part.clone()));
        let inputs = RowInputs { x: &x, w: &w, b: Some(&layer.b), alpha: layer.alpha() };
        let room = |count: usize| vec![f32::NAN; count];
        let (mut sum, mut y) = (room(m * n), room(m * n));
        row.forward(inputs, &mut sum, &mut y)?;
        let (mut dx, mut dw, mut db) = (room(x.len()), room(w.len()), room(n));
        let mut dalpha = room(layer.alpha().map_or(0, <[f32]>::len));
        let gradients = RowGradients {
            dx: Some(&mut dx),
            dw: Some(&mut dw),
            db: Some(&mut db),
            dalpha: layer.alpha().is_some().then_some(&mut dalpha[..]),
        };
        row.backward(inputs, &sum, &of_y(&y), gradients)?;
        compare(
            "row",
            bound,
            &[
                ("y", &y, &alone.y),
                ("dx", &dx, &columns(&alone.dx, k, part.clone())),
                ("dW", &dw, &columns(&alone.dw, k, part)),
                ("db", &db, &alone.db),
                ("dalpha", &dalpha, &alone.dalpha),
            ],
        )
    }

    /// Two layers, first rows and then columns of their weights shared out: one all-reduce each way. The distance, and the seconds of a step.
    fn pair(&self, [first, second]: [&Layer; 2], bound: f64, rounds: usize) -> Outcome<(f64, f64)> {
        let lower = first.alone(self.host, &first.x, |y| vec![0.0; y.len()])?;
        let upper = second.alone(self.host, &lower.y, of_y)?;
        let mut whole = Results { z: lower.z, ..Default::default() };
        whole.gradients(self.host, &first.request.saved(Saved::Z), &first.x, &first.w, first.alpha(), &upper.dx)?;

        let (AffineRequest { m, k, .. }, n) = (first.request, second.request.n);
        let mut column = Column::new(self.world, self.host, first.request.saved(Saved::Z))?;
        let mut row = Row::new(self.world, self.host, second.request)?;
        let (part, request) = (column.columns(), column.part());
        let (w, b) = (rows(&first.w, k, part.clone()), &first.b[part.clone()]);
        let w2 = columns(&second.w, second.request.k, part.clone());
        let room = |count: usize| vec![f32::NAN; count];
        let (mut h, mut z) = (room(m * part.len()), room(m * part.len()));
        let (mut sum, mut y, mut dh) = (room(m * n), room(m * n), room(m * part.len()));
        let (mut dx, mut dw, mut db) = (room(m * k), room(part.len() * k), room(part.len()));
        let (mut dw2, mut db2) = (room(w2.len()), room(n));
        let mut best = f64::INFINITY;
        for _ in 0..=rounds {
            self.world.barrier();
            let start = Instant::now();
            let outputs = ForwardOutputs { y: &mut h, saved: SavedOut::Z(&mut z), ..Default::default() };
            column.forward(ForwardInputs::new(&first.x, w).b(Some(b)), outputs)?;
            let inputs = RowInputs { x: &h, w: &w2, b: Some(&second.b), alpha: None };
            row.forward(inputs, &mut sum, &mut y)?;
            let gradients = RowGradients { dx: Some(&mut dh), dw: Some(&mut dw2), db: Some(&mut db2), dalpha: None };
            row.backward(inputs, &sum, &of_y(&y), gradients)?;
            let inputs = BackwardInputs { x: &first.x, w, dy: &dh, saved: SavedIn::Z(&z), ..Default::default() };
            let outputs =
                BackwardOutputs { dx: Some(&mut dx), dw: Some(&mut dw), db: Some(&mut db), ..Default::default() };
            column.backward(wants(&request), inputs, outputs)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        let pairs: [(&str, &[f32], &[f32]); 6] = [
            ("y", &y, &upper.y),
            ("dx", &dx, &whole.dx),
            ("dW", &dw, rows(&whole.dw, k, part.clone())),
            ("db", &db, &whole.db[part.clone()]),
            ("dW of the second", &dw2, &columns(&upper.dw, second.request.k, part)),
            ("db of the second", &db2, &upper.db),
        ];
        Ok((compare("pair", bound, &pairs)?, best))
    }

    /// Three layers of the same width, the rows of x shared out. The distance, the buckets, and the seconds of a backward.
    fn data(&self, layers: &[Layer; 3], bound: f64, bytes: usize, rounds: usize) -> Outcome<(f64, Buckets, f64)> {
        // Forward of all rows, and back.
        let m = layers[0].request.m;
        let part = share(m, self.processes, self.rank);
        let of_rows = |count: usize, x: &[f32], dy: &dyn Fn(&[f32]) -> Vec<f32>| -> Outcome<(Vec<Results>, Vec<f32>)> {
            let mut kept: Vec<Results> = Vec::new();
            for layer in layers {
                let layer = Layer { request: layer.request.m(count), ..layer.copy() };
                let below = kept.last().map_or(x, |below| &below.y[..]).to_vec();
                kept.push(layer.alone(self.host, &below, |y| vec![0.0; y.len()])?);
            }
            let dy = kept.last().map_or(Vec::new(), |last| dy(&last.y));
            Ok((kept, dy))
        };
        let backward = |layer: usize, kept: &mut [Results], x: &[f32], dy: &[f32]| -> Outcome<()> {
            let below = if layer == 0 { x.to_vec() } else { kept[layer - 1].y.clone() };
            let count = below.len() / layers[layer].request.k.max(1);
            let request = layers[layer].request.m(count).saved(Saved::Z);
            kept[layer].gradients(self.host, &request, &below, &layers[layer].w, None, dy)
        };
        let (mut whole, mut dy) = of_rows(m, &layers[0].x, &of_y)?;
        for layer in (0..3).rev() {
            backward(layer, &mut whole, &layers[0].x, &dy)?;
            dy = whole[layer].dx.clone();
        }

        let (width, n) = (layers[0].request.k, layers[2].request.n);
        let x = rows(&layers[0].x, width, part.clone());
        // The mean over the processes of sums over rows is the sum over all rows, divided by them.
        let of_part = |y: &[f32]| of_y(&vec![0.0; m * n])[part.start * n..][..y.len()].to_vec();
        let parameters: Vec<usize> = layers.iter().map(|layer| layer.w.len() + layer.b.len()).collect();
        let mut buckets = Buckets::new(&parameters, bytes)?;
        let (mut own, dy) = of_rows(part.len(), x, &of_part)?;
        let mut best = f64::INFINITY;
        for _ in 0..=rounds {
            self.world.barrier();
            let (start, mut upstream) = (Instant::now(), dy.clone());
            buckets.backward(self.world, |layer, gradients| {
                backward(layer, &mut own, x, &upstream)
                    .map_err(|error| elbow::Error::Unsupported { what: "a layer".into(), why: error.to_string() })?;
                upstream.clone_from(&own[layer].dx);
                let (dw, db) = gradients.split_at_mut(own[layer].dw.len());
                dw.copy_from_slice(&own[layer].dw);
                db.copy_from_slice(&own[layer].db);
                Ok(())
            })?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        let mut furthest = 0.0f64;
        for (layer, whole) in whole.iter().enumerate() {
            let mean = |sum: &[f32]| -> Vec<f32> { sum.iter().map(|sum| sum / self.processes as f32).collect() };
            let (dw, db) = buckets.gradients(layer).split_at(whole.dw.len());
            let pairs: [(&str, &[f32], &[f32]); 2] = [("dW", dw, &mean(&whole.dw)), ("db", db, &mean(&whole.db))];
            furthest = furthest.max(compare(&format!("data, layer {layer}"), bound, &pairs)?);
        }
        Ok((furthest, buckets, best))
    }
}

impl Layer {
    fn copy(&self) -> Self {
        let Layer { request, x, w, b, alpha } = self;
        Layer { request: *request, x: x.clone(), w: w.clone(), b: b.clone(), alpha: alpha.clone() }
    }
}

fn main() -> Outcome<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let (universe, threading) = initialize_with_threading(Threading::Funneled).ok_or("MPI was initialised before")?;
    if threading < Threading::Funneled {
        return Err("this MPI allows no threads beside the one that calls it".into());
    }
    let world = universe.world();
    let host = match std::env::var("ELBOW_MPI_ROAD").as_deref() {
        Ok("gpu") => Host::with(Gpu::new()?, Road::Gpu),
        Ok(other) => return Err(format!("ELBOW_MPI_ROAD is {other}, not gpu").into()),
        Err(_) => Host::cpu(),
    };
    let (processes, rank) = (world.size() as usize, world.rank() as usize);
    let run = Run { world: &world, host: &host, processes, rank };
    let mut numbers = Numbers::new(7);

    // Integers: exact, whatever the parts; parts of unequal size, more processes than columns, and no rows.
    let prelu = Activation::prelu(0.25)?;
    for [m, n, k] in [[5, 13, 11], [1, 2, 3], [4, 1, 1], [3, 16, 8], [0, 5, 4], [2, 3, 0]] {
        for (act, alpha) in [
            (Activation::RELU, AlphaSource::Constant),
            (prelu, AlphaSource::PerLayer),
            (prelu, AlphaSource::PerChannel),
        ] {
            let layer = Layer::new(AffineRequest::new(m, n, k, act).alpha(alpha), &mut numbers, true);
            run.column(&layer, 0.0)?;
            run.row(&layer, 0.0)?;
        }
    }
    let plain = |m, n, k, act| AffineRequest::new(m, n, k, act);
    let first = Layer::new(plain(6, 13, 7, Activation::RELU), &mut numbers, true);
    let second = Layer::new(plain(6, 5, 13, Activation::RELU), &mut numbers, true);
    run.pair([&first, &second], 0.0, 0)?;
    // A refusal leaves the processes together.
    let residual = plain(2, 3, 4, Activation::RELU).residual(elbow::ResidualAt::AfterActivation);
    if Column::new(&world, &host, residual).is_ok() || Row::new(&world, &host, residual).is_ok() {
        return Err("a residual was split".into());
    }

    // Real numbers, then times.
    let (m, wide, narrow) = (96, 256, 64);
    let layer = Layer::new(plain(m, wide, narrow, Activation::GELU_ERF), &mut numbers, false);
    let column = run.column(&layer, BOUND)?;
    let row = run.row(&layer, BOUND)?;
    let second = Layer::new(plain(m, narrow, wide, Activation::SILU), &mut numbers, false);
    let (pair, seconds) = run.pair([&layer, &second], BOUND, rounds)?;
    let of_data = |numbers: &mut Numbers| {
        [(); 3].map(|()| Layer::new(plain(m, narrow, narrow, Activation::GELU_ERF), numbers, false))
    };
    let layers = of_data(&mut numbers);
    let (together, one, of_one) = run.data(&layers, BOUND, usize::MAX, rounds)?;
    let (apart, each, of_each) = run.data(&layers, BOUND, 0, rounds)?;
    if one.len() != 1 || each.len() != 3 {
        return Err(format!("{} and {} buckets, not 1 and 3", one.len(), each.len()).into());
    }
    world.barrier();
    if rank == 0 {
        println!("{processes} processes; {host}");
        println!(
            "| {processes} processes, M = {m} | from one process | bytes in collective calls a step | ms, least of {rounds} |\n|---|---|---|---|"
        );
        println!("| column, {narrow}→{wide} | {column:.1e} | gather {}, reduce {} | |", 4 * m * wide, 4 * m * narrow);
        println!("| row, {narrow}→{wide} | {row:.1e} | reduce {} | |", 4 * m * wide);
        println!("| pair, {narrow}→{wide}→{narrow} | {pair:.1e} | reduce {} | {:.2} |", 8 * m * narrow, seconds * 1e3);
        println!(
            "| data, 3 × {narrow}→{narrow}, 1 bucket | {together:.1e} | reduce {} | {:.2} |",
            one.bytes(),
            of_one * 1e3
        );
        println!(
            "| data, 3 × {narrow}→{narrow}, 3 buckets | {apart:.1e} | reduce {} | {:.2} |",
            each.bytes(),
            of_each * 1e3
        );
    }
    Ok(())
}
