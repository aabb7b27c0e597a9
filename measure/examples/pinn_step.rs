//! One training step of a physics-informed network on elbow-cpu, for `scripts/compare-pinn`: 2 inputs (t, x), 4 hidden layers of 64 with
//! tanh, 1 output, the heat equation's residual u_t - u_xx at 4,096 points, its mean square, gradients of all weights and biases, Adam.
//!
//!     cargo run --release -p elbow-measure --example pinn_step -- [STEPS]
//!
//! Prints tab-separated name, loss, norm of the gradient (both of the first step), and the milliseconds of each step. Weights and points
//! follow a formula that other programs can follow too.

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use elbow::{
    Activation, Jet, Saved, Want,
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace};

const WIDTHS: [usize; 6] = [2, 64, 64, 64, 64, 1];
const POINTS: usize = 4096;
/// Rows of a point: u, u_t, u_x, u_xx.
const ROWS: usize = 4;
const M: usize = POINTS * ROWS;
const RATE: f64 = 1e-3;

/// Parameters of a layer, their gradients, and Adam's moments.
struct Parameters {
    values: Vec<f32>,
    gradient: Vec<f32>,
    moments: Vec<[f32; 2]>,
}

impl Parameters {
    fn new(values: Vec<f32>) -> Self {
        let count = values.len();
        Parameters { values, gradient: vec![0.0; count], moments: vec![[0.0; 2]; count] }
    }

    /// Adam (Kingma and Ba 2014) with its usual decays.
    fn step(&mut self, t: i32) {
        let scale = RATE * (1.0 - 0.999f64.powi(t)).sqrt() / (1.0 - 0.9f64.powi(t));
        let epsilon = 1e-8 * (1.0 - 0.999f64.powi(t)).sqrt();
        for ((value, &g), [m, v]) in self.values.iter_mut().zip(&self.gradient).zip(&mut self.moments) {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            *value -= scale as f32 * *m / (v.sqrt() + epsilon as f32);
        }
    }
}

struct Layer {
    request: AffineRequest,
    w: Parameters,
    b: Parameters,
    /// z and y of every row; y of the last layer is its z.
    z: Vec<f32>,
    y: Vec<f32>,
    dz: Vec<f32>,
}

struct Network {
    jet: Jet,
    layers: Vec<Layer>,
    x: Vec<f32>,
    workspace: Workspace,
}

impl Network {
    fn new() -> Result<Self, Box<dyn Error>> {
        let jet = Jet::two([0.0, 0.0, 1.0])?;
        let layers = (0..WIDTHS.len() - 1).map(|l| {
            let (k, n) = (WIDTHS[l], WIDTHS[l + 1]);
            let last = l + 2 == WIDTHS.len();
            let (activation, saved) =
                if last { (Activation::IDENTITY, Saved::None) } else { (Activation::TANH, Saved::Z) };
            let scale = (2.0 / (k + n) as f64).sqrt() * 1.4;
            let w = (0..n * k).map(|i| (((1 + i) as f64 * 0.7 + l as f64).sin() * scale) as f32).collect();
            let b = (0..n).map(|i| (((1 + i) as f64 * 1.3 + l as f64).sin() * 0.1) as f32).collect();
            Layer {
                request: AffineRequest::new(M, n, k, activation).saved(saved).jet(jet),
                w: Parameters::new(w),
                b: Parameters::new(b),
                z: vec![0.0; if last { 0 } else { M * n }],
                y: vec![0.0; M * n],
                dz: vec![0.0; M * n],
            }
        });
        let points = (0..POINTS).map(|i| [0.618_034, 0.414_214].map(|step| ((i as f64 * step) % 1.0) as f32));
        let x = points.flat_map(|[t, x]| [t, x, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).collect();
        Ok(Network { jet, layers: layers.collect(), x, workspace: Workspace::new() })
    }

    /// The loss; gradients lie with their parameters.
    fn gradients(&mut self) -> elbow::Result<f64> {
        for l in 0..self.layers.len() {
            let (below, layer) = self.layers.split_at_mut(l);
            let Some(Layer { request, w, b, z, y, .. }) = layer.first_mut() else { break };
            let x = below.last().map_or(&self.x, |below| &below.y);
            let inputs = ForwardInputs::new(x, &w.values).b(Some(&b.values));
            let saved = if z.is_empty() { SavedOut::None } else { SavedOut::Z(z) };
            elbow_cpu::forward(request, inputs, ForwardOutputs { y, saved, ..Default::default() })?;
        }
        let mut loss = 0.0;
        if let Some(last) = self.layers.last_mut() {
            for (y, dz) in last.y.chunks_exact(ROWS).zip(last.dz.chunks_exact_mut(ROWS)) {
                let residual = y[1] - y[3];
                loss += f64::from(residual).powi(2) / POINTS as f64;
                let d = 2.0 * residual / POINTS as f32;
                dz.copy_from_slice(&[0.0, d, 0.0, -d]);
            }
        }
        for l in (0..self.layers.len()).rev() {
            let top = l + 1 == self.layers.len();
            let (below, layer) = self.layers.split_at_mut(l);
            let Some(Layer { request, w, b, dz, .. }) = layer.first_mut() else { break };
            let gradients = Gradients::default().w(Want::Overwrite);
            let gradients = if top { gradients.b(Want::Overwrite) } else { gradients };
            let mut backward = BackwardRequest::new(*request, gradients).upstream_is_dz(true);
            let mut inputs = BackwardInputs { w: &w.values, dy: dz, ..BackwardInputs::default() };
            let mut outputs = BackwardOutputs { dw: Some(&mut w.gradient), ..BackwardOutputs::default() };
            outputs.db = if top { Some(&mut b.gradient) } else { None };
            match below.last_mut() {
                None => inputs.x = &self.x,
                Some(Layer { b, z, y, dz, .. }) => {
                    backward.gradients = gradients.x(Want::Overwrite);
                    let under = Below::new(Activation::TANH, Saved::Z).jet(self.jet).db(Want::Overwrite);
                    backward = backward.below(under);
                    (inputs.x, inputs.saved_below) = (y, SavedIn::Z(z));
                    outputs.dx = Some(dz);
                    outputs.db_below = Some(&mut b.gradient);
                }
            }
            elbow_cpu::backward(&backward, inputs, outputs, &mut self.workspace)?;
        }
        Ok(loss)
    }

    fn step(&mut self, t: i32) {
        self.layers.iter_mut().flat_map(|layer| [&mut layer.w, &mut layer.b]).for_each(|p| p.step(t));
    }

    fn norm(&self) -> f64 {
        let all = self.layers.iter().flat_map(|layer| layer.w.gradient.iter().chain(&layer.b.gradient));
        all.map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(20), |steps| steps.parse())?;
    let mut network = Network::new()?;
    let (mut first, mut times) = (None, Vec::new());
    for t in 1..=steps {
        let begin = Instant::now();
        let loss = network.gradients()?;
        first.get_or_insert((loss, network.norm()));
        network.step(t);
        times.push(format!("{:.3}", begin.elapsed().as_secs_f64() * 1e3));
    }
    let (loss, norm) = first.ok_or("no step")?;
    println!("elbow-cpu, jets\t{loss:.9e}\t{norm:.9e}\t{}", times.join("\t"));
    Ok(())
}
