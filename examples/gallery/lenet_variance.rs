//! How large gradients are in each layer of LeNet-5, with tanh and with ReLU.

use elbow::{Activation, gpu::transfer::Tensor};
use rand_chacha::ChaCha8Rng;

use crate::shared::{
    Chart, Dense, Lab, Report, Result,
    covariance::tanh_slopes,
    normal,
    statistics::mean,
};

pub(crate) const TITLE: &str = "LeNet-5: the variance of gradients, layer by layer";

const THEORY: &str = "Back through a layer of N outputs with weights of variance σ² the mean square of the gradient becomes N σ² E[φ'²] times what it was (Glorot and Bengio \
    2010, He et al. 2015). In a convolution of k×k an input is under k² outputs, less at the edges: N k² (outputs per channel / inputs per channel). A mean \
    of 2×2 sends a quarter to each: 1/16. With biases of 0 and symmetric weights a ReLU's gate is open with probability ½, independently of what comes \
    back, so E[φ'²] = ½ holds in mean exactly. For tanh the variance q of each z comes from forward: q = E[tanh²] of the layer below, and after a mean of \
    2×2 from the covariances of neighbours, which share 5×5 windows; all by quadrature, exact for wide layers.";

/// Side and channels of what a convolution of 5×5 reads, and its outputs.
type Shape = (usize, usize, usize);
const FIRST: Shape = (32, 1, 6);
const SECOND: Shape = (14, 6, 16);
const FULL: [(usize, usize); 3] = [(400, 120), (120, 84), (84, 10)];
const NAMES: [&str; 5] = ["84 units", "120 units", "400 inputs of them", "14×14×6 maps", "image"];

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (networks, mut rng) = (lab.pick(400, 24), lab.rng(13));
    let bar = lab.progress(2 * networks, "lenet_variance");
    let mut chart = Chart::new("Mean squared gradient in LeNet-5", "layer, from the output", "mean square").log_y();
    for (name, activation, gain) in [("ReLU", Activation::RELU, 2.0), ("tanh", Activation::TANH, 1.0)] {
        let slopes = if activation == Activation::RELU { [0.5; 4] } else { tanh_slopes() };
        let [second, third, fourth] = [FULL[0].0, FULL[1].0, FULL[2].0].map(|k| gain / k as f64);
        let mut theory = vec![10.0 * fourth];
        theory.push(theory[0] * 84.0 * third * slopes[3]);
        theory.push(theory[1] * 120.0 * second * slopes[2]);
        theory.push(theory[2] / 16.0 * 16.0 * 25.0 * (100.0 / 196.0) * gain / 150.0 * slopes[1]);
        theory.push(theory[3] / 16.0 * 6.0 * 25.0 * (784.0 / 1024.0) * gain / 25.0 * slopes[0]);
        let mut samples = vec![Vec::new(); 5];
        for _ in 0..networks {
            for (all, sample) in samples.iter_mut().zip(gradients(lab, activation, gain, &mut rng)?) {
                all.push(sample);
            }
            bar.inc(1);
        }
        let mut dots = Vec::new();
        for (at, all) in samples.iter().enumerate() {
            let measured = mean(all);
            report.sampled(format!("{}, {name}", NAMES[at]), theory[at], measured, 4.0);
            dots.push((at as f64, measured.0, measured.1));
        }
        let line = theory.iter().enumerate().map(|(at, theory)| (at as f64, *theory));
        chart = chart.line(format!("theory, {name}"), line).dots("measured", dots);
    }
    bar.finish_and_clear();
    report.picture("84, 120 and 400 units, the first maps, the image", chart.svg()?);
    Ok(report)
}

/// Mean squares of the gradient at what each layer reads, for a random network, image and gradient of its outputs.
fn gradients(lab: &Lab, activation: Activation, gain: f64, rng: &mut ChaCha8Rng) -> Result<Vec<f64>> {
    let gpu = &lab.gpu;
    let mut layer = |activation: Activation, n: usize, k: usize| -> Result<Dense> {
        Ok(Dense::new(activation, lab.normal(rng, (gain as f32 / k as f32).sqrt(), &[n, k])?, None))
    };
    let convolutions = [layer(activation, 6, 25)?, layer(activation, 16, 150)?];
    let full = [layer(activation, 120, 400)?, layer(activation, 84, 120)?, layer(Activation::IDENTITY, 10, 84)?];
    let mut x: Vec<f32> = (0..32 * 32).map(|_| normal(rng).signum()).collect();
    let mut inputs: Vec<Tensor> = Vec::new();
    for (layer, shape) in convolutions.iter().zip([FIRST, SECOND]) {
        let out = (shape.0 - 4).pow(2);
        let columns: Vec<f32> = windows(shape).map(|at| x[at]).collect();
        inputs.push(gpu.upload(&columns, &[out, 25 * shape.1])?);
        let y = gpu.download(&layer.forward(gpu, &inputs[inputs.len() - 1])?)?;
        x = vec![0.0; out / 4 * shape.2];
        pooled(shape).zip(y).for_each(|(at, y)| x[at] += y / 4.0);
    }
    inputs.push(gpu.upload(&x, &[1, 400])?);
    for layer in &full[..2] {
        inputs.push(layer.forward(gpu, &inputs[inputs.len() - 1])?);
    }
    let mut dy: Vec<f32> = (0..10).map(|_| normal(rng)).collect();
    let square = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / v.len() as f64;
    let mut squares = Vec::new();
    for (layer, input) in full.iter().zip(&inputs[2..]).rev() {
        dy = gpu.download(&layer.backward(gpu, input, &gpu.upload(&dy, &[1, dy.len()])?)?.dx)?;
        squares.push(square(&dy));
    }
    for ((layer, input), shape) in convolutions.iter().zip(&inputs).zip([FIRST, SECOND]).rev() {
        let out = (shape.0 - 4).pow(2);
        let spread: Vec<f32> = pooled(shape).map(|at| dy[at] / 4.0).collect();
        let columns = gpu.download(&layer.backward(gpu, input, &gpu.upload(&spread, &[out, shape.2])?)?.dx)?;
        dy = vec![0.0; shape.0 * shape.0 * shape.1];
        windows(shape).zip(columns).for_each(|(at, dx)| dy[at] += dx);
        squares.push(square(&dy));
    }
    Ok(squares)
}

/// Where each element of each 5×5 window lies in maps of [side, side, channels].
fn windows((side, channels, _): Shape) -> impl Iterator<Item = usize> {
    let out = side - 4;
    let places = (0..out * out).flat_map(move |at| (0..25).map(move |o| (at / out + o / 5, at % out + o % 5)));
    places.flat_map(move |(y, x)| (0..channels).map(move |c| (y * side + x) * channels + c))
}

/// Where the mean lies that each output of a convolution is a part of.
fn pooled((side, _, channels): Shape) -> impl Iterator<Item = usize> {
    let out = side - 4;
    let mean = move |at: usize| (at / out / 2 * (out / 2) + at % out / 2) * channels;
    (0..out * out).flat_map(move |at| (0..channels).map(move |c| mean(at) + c))
}
