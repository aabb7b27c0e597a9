//! A physics-informed network solves the heat equation u_t = κ u_xx on [0, 1]², with u(0, x) = sin πx and u = 0 at both ends: every
//! point goes through the network as a jet, so that one forward gives u, u_t, u_x and u_xx, and one backward the gradients of a
//! loss on any of them. No derivative is taken by hand, or by nested automatic differentiation.
//!
//!     cargo run --release --example heat_equation
//!
//! It ends with an error if the network is further than 3 % from the solution, exp(-κ π² t) sin πx.

#![forbid(unsafe_code)]

use std::{error::Error, f32::consts::PI};

use clap::Parser;
use elbow::{
    Activation, Gpu, Jet,
    mlp::{Architecture, Mlp},
};
use indicatif::{ProgressBar, ProgressStyle};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KAPPA: f32 = 0.1;
/// Points inside, where the equation holds, and on the border, where the solution is known.
const INSIDE: usize = 192;
const BORDER: usize = 64;
const POINTS: usize = INSIDE + BORDER;
/// The weight of the border in the loss.
const WEIGHT: f32 = 10.0;
/// Rows of a point: u, u_t, u_x, u_xx.
const ROWS: usize = 4;

#[derive(Parser)]
#[command(about = "A physics-informed network for the heat equation, on jets")]
struct Cli {
    #[arg(long, default_value = "tanh")]
    activation: Activation,
    #[arg(long, default_value_t = 1500)]
    steps: usize,
    #[arg(long, default_value_t = 0.01)]
    rate: f32,
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn solution(t: f32, x: f32) -> f32 {
    (-KAPPA * PI * PI * t).exp() * (PI * x).sin()
}

/// The group of a point: itself, the directions of t and x, and no first-order terms in the operator.
fn group(t: f32, x: f32) -> [f32; 8] {
    [t, x, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
}

fn main() -> Result<(), Box<dyn Error>> {
    let Cli { activation, steps, rate, seed } = Cli::parse();
    let gpu = Gpu::new()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let heat = Jet::two([0.0, 0.0, 1.0])?;
    let architecture = Architecture::new(&[2, 32, 32, 32, 1], activation, POINTS * ROWS).jet(heat);
    let mlp = Mlp::new(&gpu, &architecture, &mut || rng.sample(rand_distr::StandardNormal))?;
    let last = mlp.layers() - 1;
    let (u, dz) = mlp.output(last).zip(mlp.dz(last)).ok_or("a network without layers")?;
    let x = gpu.zeros(&[POINTS, ROWS, 2])?;

    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template("{bar:32} {pos}/{len} steps, loss {msg}, {eta} left")?);
    let (mut points, mut rows, mut dy) = (vec![[0.0; 2]; POINTS], Vec::new(), vec![0.0; POINTS * ROWS]);
    for step in 0..steps {
        for (i, point) in points.iter_mut().enumerate() {
            let (a, b): (f32, f32) = (rng.random(), rng.random());
            // A third of the border each: t = 0, x = 0, x = 1.
            *point = match i.checked_sub(INSIDE) {
                None => [a, b],
                Some(i) => [[0.0, b], [a, 0.0], [a, 1.0]][i % 3],
            };
        }
        rows.clear();
        rows.extend(points.iter().flat_map(|&[t, x]| group(t, x)));
        gpu.write(&x, &rows)?;
        gpu.submit(|encoder| mlp.forward_for_backward(&gpu, encoder, x.view()))?;
        let mut loss = 0.0;
        for (i, (y, dy)) in gpu.download(u)?.chunks_exact(ROWS).zip(dy.chunks_exact_mut(ROWS)).enumerate() {
            let [t, x] = points[i];
            if i < INSIDE {
                let residual = y[1] - KAPPA * y[3];
                loss += residual * residual / INSIDE as f32;
                let dr = 2.0 * residual / INSIDE as f32;
                dy.copy_from_slice(&[0.0, dr, 0.0, -KAPPA * dr]);
            } else {
                let off = y[0] - solution(t, x);
                loss += WEIGHT * off * off / BORDER as f32;
                dy.copy_from_slice(&[2.0 * WEIGHT * off / BORDER as f32, 0.0, 0.0, 0.0]);
            }
        }
        gpu.write(dz, &dy)?;
        // The rate falls to a tenth.
        let rate = rate * 0.1f32.powf(step as f32 / steps as f32);
        gpu.submit_pass(|pass| {
            mlp.backward(&gpu, &mut *pass, x.view())?;
            mlp.step(&gpu, &mut *pass, rate, 0.9)
        })?;
        bar.set_message(format!("{loss:.2e}"));
        bar.inc(1);
    }
    bar.finish();

    // On a grid that training never saw.
    let grid: Vec<[f32; 2]> = (0..POINTS).map(|i| [(i / 16) as f32 / 15.0, (i % 16) as f32 / 15.0]).collect();
    gpu.write(&x, &grid.iter().flat_map(|&[t, x]| group(t, x)).collect::<Vec<f32>>())?;
    gpu.submit(|encoder| mlp.infer(&gpu, encoder, x.view()))?;
    let (mut off, mut size) = (0.0, 0.0);
    for (y, &[t, x]) in gpu.download(u)?.chunks_exact(ROWS).zip(&grid) {
        off += (y[0] - solution(t, x)).powi(2);
        size += solution(t, x).powi(2);
    }
    let error = (off / size).sqrt();
    println!("{activation}: {:.2} % from the solution after {steps} steps, on {gpu}", 100.0 * error);
    if error < 0.03 { Ok(()) } else { Err("further than 3 % from the solution".into()) }
}
