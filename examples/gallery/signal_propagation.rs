//! How signals and gradients grow or shrink over fifty random layers.

use elbow::{Activation, philox::Distribution, random};

use crate::shared::{
    Chart, Lab, Report, Result,
    propagation::{Sigma, Stack, mean_squares},
    statistics::mean,
};

pub(crate) const TITLE: &str = "Signals and gradients over fifty layers";

const THEORY: &str = "Given a layer's input y of N numbers, z = Wy with independent weights N(0, σ²/N) is exactly normal, of variance q = σ²|y|²/N. So the next layer's is, \
    on average, V(q) = σ² E[φ(√q Z)²], and that of gradients, going back, is multiplied by σ² E[φ'(√q Z)²] (He et al. 2015; Poole et al. 2016). σ² = 1/E[φ(Z)²] makes q = 1 a fixed \
    point: 2 for ReLU, 2/(1 + a²) for a leaky one. For these V(q) is a line through 0, and both expectations are exact at any width: with σ = 1 they are ((1 + a²)/2)^L. For others \
    the fixed point can be unstable: V'(1) > 1 for GELU, whose mean squares run away from 1 on either side. In a stack of several activations the weights behind φ need the σ of φ, the activation \
    *below* them; the σ of the activation that comes next leaves the layer behind the first one off by the ratio of their moments.";

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let gpu = &lab.gpu;
    let (depth, networks, n) = (lab.pick(50, 20), lab.pick(64, 32), lab.pick(256, 128));
    let (relu, leaky, tanh, gelu) = (Activation::RELU, Activation::leaky_relu(0.2)?, Activation::TANH, Activation::GELU_ERF);
    let mut rng = lab.rng(3);
    let mut stack = |name, activations, sigma, start: f64| -> Result<Stack> {
        let y = lab.normal(&mut rng, start.sqrt() as f32, &[networks, 1, n])?;
        Ok(Stack::new(name, activations, sigma, y))
    };
    let mut stacks = [
        stack("ReLU, He", [relu; 2], Sigma::OfBelow, 1.0)?,
        stack("ReLU, σ = 1", [relu; 2], Sigma::One, 1.0)?,
        stack("leaky 0.2, 2/(1 + a²)", [leaky; 2], Sigma::OfBelow, 1.0)?,
        stack("leaky 0.2, σ = 1", [leaky; 2], Sigma::One, 1.0)?,
        stack("tanh", [tanh; 2], Sigma::OfBelow, 1.0)?,
        stack("GELU from 4", [gelu; 2], Sigma::OfBelow, 4.0)?,
        stack("GELU from 1/4", [gelu; 2], Sigma::OfBelow, 0.25)?,
        stack("ReLU-GELU, σ of below", [relu, gelu], Sigma::OfBelow, 1.0)?,
        stack("ReLU-GELU, σ of next", [relu, gelu], Sigma::OfNext, 1.0)?,
    ];
    // The weights of all stacks are the same numbers; they are made again for backward, not kept.
    let w = gpu.zeros(&[networks, n, n])?;
    let distribution = Distribution::Normal { mean: 0.0, deviation: 1.0 / (n as f32).sqrt() };
    let fill = |l: usize| gpu.submit(|encoder| random::fill(&w, distribution, 4).stream(l as u32).record(gpu, encoder));
    let bar = lab.progress(2 * depth, "signal_propagation");
    for l in 0..depth {
        fill(l)?;
        stacks.iter_mut().try_for_each(|stack| stack.forward(gpu, &w))?;
        bar.inc(1);
    }
    let top = lab.normal(&mut lab.rng(5), 1.0, &[networks, 1, n])?;
    for stack in &mut stacks {
        stack.q.push(mean_squares(gpu, &stack.y)?);
        stack.y = gpu.upload(&gpu.download(&top)?, top.shape())?;
    }
    for l in (0..depth).rev() {
        fill(l)?;
        stacks.iter_mut().try_for_each(|stack| stack.backward(gpu, &w))?;
        bar.inc(1);
    }
    bar.finish_and_clear();

    let mut chart = Chart::new(&format!("{networks} random networks of {n} units"), "layer", "mean of z²").log_y();
    for stack in &stacks {
        let (mut q, mut growth, mut path) = (mean(&stack.q[0]).0, 1.0, Vec::new());
        for l in 0..depth {
            path.push((l as f64, q));
            let (next, factor) = stack.map(l, q);
            (q, growth) = (next, growth * factor);
        }
        path.push((depth as f64, q));
        // Given the layer below each ratio has the mean 1: they are uncorrelated over layers, and independent over networks.
        let ratios = (0..depth).flat_map(|l| stack.q[l].iter().zip(&stack.q[l + 1]).map(move |(q, next)| next / stack.map(l, *q).0));
        report.sampled(format!("{}: one layer, over quadrature", stack.name), 1.0, mean(&ratios.collect::<Vec<_>>()), 4.0);
        report.sampled(format!("{}: mean of z² after {depth}", stack.name), q, mean(&stack.q[depth]), 4.0);
        let gradient: Vec<f64> = mean_squares(gpu, &stack.y)?.iter().zip(mean_squares(gpu, &top)?).map(|(dx, dy)| dx / dy).collect();
        report.sampled(format!("{}: gradient² over {depth}", stack.name), growth, mean(&gradient), 4.0);
        let seen = stack.q.iter().enumerate().step_by(5).map(|(l, q)| (l as f64, mean(q).0, mean(q).1));
        if !stack.name.contains("of below") && !stack.name.contains("2/") {
            chart = chart.line(stack.name, path).dots("", seen.collect::<Vec<_>>());
        }
    }
    let behind = |stack: &Stack| mean(&stack.q[0].iter().zip(&stack.q[1]).map(|(q, next)| next / q).collect::<Vec<_>>());
    report.sampled("ReLU-GELU: z² behind the first ReLU, σ of below", 1.0, behind(&stacks[7]), 4.0);
    let off = relu.gain().value_moment / gelu.gain().value_moment;
    report.sampled("ReLU-GELU: z² behind the first ReLU, σ of next", off, behind(&stacks[8]), 4.0);
    // To first order in 1/N, which is 1/N of it; the error is that of a variance of normal samples.
    let logs: Vec<f64> = stacks[0].q[depth].iter().zip(&stacks[0].q[0]).map(|(last, first)| (last / first).ln()).collect();
    let (spread, cases) = (mean(&logs).1.powi(2) * networks as f64, networks as f64 - 1.0);
    report.sampled("ReLU: variance of ln z² between networks, 5L/N", 5.0 * depth as f64 / n as f64, (spread, spread * (2.0 / cases).sqrt()), 4.0);
    report.remark("One layer of N units multiplies the mean square by 1 ± √(5/N) for ReLU: over L layers that is a lognormal factor whose mean is 1 but whose median falls as \
        exp(-5L/2N) (Hanin and Rolnick 2018). So the errors of figures over all layers are wide, and single networks are not what the mean says; the figure over one layer has no such spread. \
        A V'(1) above 1, as GELU's, multiplies that spread at each layer: a GELU stack that begins at 1 leaves it, however its σ is chosen.");
    report.picture("Lines are the map V from layer to layer, dots random networks on the device", chart.svg()?);
    Ok(report)
}
