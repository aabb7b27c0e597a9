//! A network of narrow layers, SiLU, by `elbow_cpu::network` and layer by layer: the time of both roads in turns, and how far the results are apart.
//!
//!     cargo run --release -p elbow-cpu --example cpu_network -- 65536 3 64 64 64 64 4

#![forbid(unsafe_code)]

use std::{error::Error, time::Instant};

use elbow::{Activation, cpu::ForwardInputs, network::Layers, request::AffineRequest};
use elbow_cpu::{ForwardOutputs, forward, network};

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers: Vec<usize> = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    if numbers.is_empty() {
        numbers = vec![65_536, 3, 64, 64, 64, 64, 4];
    }
    let (rows, layers) = (numbers[0], Layers::new(&numbers[1..], Activation::SILU)?);
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let mut parameters = vec![0.0; layers.elements()];
    for l in 0..layers.count {
        let (place, [n, k]) = (layers.place(l), layers.shape(l));
        parameters[place.w..][..n * k].fill_with(|| uniform() * (3.0 / k as f32).sqrt());
    }
    let x: Vec<f32> = (0..rows * layers.inputs).map(|_| uniform()).collect();
    let mut y = vec![0.0; rows * layers.outputs];
    let mut outs: Vec<Vec<f32>> = (0..layers.count).map(|l| vec![0.0; rows * layers.shape(l)[0]]).collect();
    let mut best = [f64::INFINITY; 2];
    for _ in 0..24 {
        let start = Instant::now();
        network(&layers, rows, &x, &parameters, &mut y)?;
        best[0] = best[0].min(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        for l in 0..layers.count {
            let (place, [n, k]) = (layers.place(l), layers.shape(l));
            let activation = if l + 1 < layers.count { layers.activation } else { layers.output };
            let (below, above) = outs.split_at_mut(l);
            let inputs = ForwardInputs::new(below.last().unwrap_or(&x), &parameters[place.w..]);
            let outputs = ForwardOutputs { y: &mut above[0], ..Default::default() };
            forward(&AffineRequest::new(rows, n, k, activation), inputs.b(Some(&parameters[place.b..])), outputs)?;
        }
        best[1] = best[1].min(start.elapsed().as_secs_f64() * 1e3);
    }
    let apart = y.iter().zip(&outs[layers.count - 1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{rows} rows, {:?}, {} threads", &numbers[1..], elbow_cpu::rayon::current_num_threads());
    println!("whole network {:.3} ms, layer by layer {:.3} ms, {apart:e} apart", best[0], best[1]);
    Ok(())
}
