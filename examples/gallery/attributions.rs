//! Which pixels a decision depends on: the slope at the image, and the mean slope on the way to it.

use elbow::Activation;

use crate::shared::{
    Chart, Dense, Lab, Report, Result, Stack,
    classes::one_hot,
    digits::{CLASSES, PIXELS},
    reader,
};

pub(crate) const TITLE: &str = "Attributions: saliency and integrated gradients";

const THEORY: &str = "The saliency of input i is |∂f/∂xᵢ|; its integrated gradient is xᵢ ∫₀¹ ∂f/∂xᵢ(t x) dt from the baseline 0 (Sundararajan et al. 2017), and those \
    add up to f(x) - f(0): *completeness*. A sum of n midpoints misses the integral by at most V/2n, where V is the variation of the slope of f along \
    the path, because the slope of a piecewise linear f only jumps. Without biases f(tx) = t f(x), so the slope itself is complete: Σ xᵢ∂f/∂xᵢ = f(x) \
    (Euler). In f(x) = 1 - φ(1 - x) at x = 2, ReLU is off and its saliency 0, though f has risen by 1; with Leaky ReLU the saliency is α, and the \
    integrated gradient 1 + α.";

const ALPHA: f32 = 0.1;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let gpu = &lab.gpu;
    let leaky = Activation::leaky_relu(ALPHA)?;
    for (name, activation, alpha) in [("ReLU", Activation::RELU, 0.0), ("Leaky", leaky, f64::from(ALPHA))] {
        let unit = Dense::new(activation, gpu.upload(&[-1.0], &[1, 1])?, gpu.upload(&[1.0], &[1])?);
        let line = Stack { layers: vec![unit, Dense::new(Activation::IDENTITY, gpu.upload(&[-1.0], &[1, 1])?, None)] };
        // Midpoints of 1000 pieces, none of which has the kink at x = 1 inside; then the point itself.
        let points: Vec<f32> = (0..1000).map(|i| (i as f32 + 0.5) / 500.0).chain([2.0]).collect();
        let slopes = line.slopes(gpu, &gpu.upload(&points, &[1001, 1])?, &gpu.upload(&[1.0; 1001], &[1001, 1])?)?;
        report.within(format!("1 - φ(1 - x): saliency at 2, {name}"), alpha, f64::from(slopes[1000]), 1e-7);
        let integral = slopes[..1000].iter().map(|&slope| f64::from(slope) * 2e-3).sum();
        report.within(format!("1 - φ(1 - x): integrated gradient, {name}"), 1.0 + alpha, integral, 1e-6);
    }

    let (network, _, test) = reader(lab, &[64, 64], Activation::RELU, (5, lab.pick(20, 3)))?;
    let (images, finest) = (lab.pick(32, 3), lab.pick(2048, 1024));
    let mut chart = Chart::new("What n midpoints miss of completeness", "n", "|Σ - (f(x) - f(0))| / |f(x) - f(0)|");
    let bar = lab.progress(2 * images, "attributions");
    for (name, activation) in [("ReLU", Activation::RELU), ("Leaky", leaky)] {
        let network = network.with(activation);
        let (mut missed, mut allowed) = (vec![Vec::new(); 8], vec![Vec::new(); 8]);
        for image in 0..images {
            let (x, label) = (test.image(image), test.labels[image] as usize);
            // The slope of f along the path, at these points of it.
            let along = |times: &[f32]| -> Result<Vec<f64>> {
                let path: Vec<f32> = times.iter().flat_map(|t| x.iter().map(move |x| x * t)).collect();
                let dy = gpu.upload(&one_hot(times.iter().map(|_| label)), &[times.len(), CLASSES])?;
                let slopes = network.slopes(gpu, &gpu.upload(&path, &[times.len(), PIXELS])?, &dy)?;
                let sum = |dx: &[f32]| dx.iter().zip(x).map(|(dx, x)| f64::from(*dx) * f64::from(*x)).sum::<f64>();
                Ok(slopes.chunks(PIXELS).map(sum).collect())
            };
            let y = network.outputs(gpu, &gpu.upload(&[&[0.0; PIXELS], x].concat(), &[2, PIXELS])?)?;
            let rise = f64::from(y[CLASSES + label] - y[label]);
            // Ends included; two jumps that undo each other between two of these points are not seen.
            let times: Vec<f32> = (0..=2 * finest).map(|i| i as f32 / (2 * finest) as f32).collect();
            let variation: f64 = along(&times)?.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
            for power in 0..8 {
                let n = finest >> power;
                let middles: Vec<f32> = (0..n).map(|i| (i as f32 + 0.5) / n as f32).collect();
                let sum = along(&middles)?.iter().sum::<f64>() / n as f64;
                missed[power].push((sum - rise).abs() / rise.abs());
                allowed[power].push(variation / (2 * n) as f64 / rise.abs());
            }
            bar.inc(1);
        }
        let pairs = missed.iter().flatten().zip(allowed.iter().flatten());
        // Beside the bound there is rounding: sums of 64 products of order 1.
        let used = pairs.map(|(missed, allowed)| (missed - 1e-5) / allowed).fold(0.0, f64::max);
        let worst = missed[0].iter().copied().fold(0.0, f64::max);
        report.at_most(format!("completeness missed, n = {finest}, worst of {images}, {name}"), 1e-3, worst, 0.0);
        report.at_most(format!("missed / (V/2n), worst of all n, {name}"), 1.0, used, 0.0);
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
        let curve = |of: &[Vec<f64>]| (0..8).map(|power| ((finest >> power) as f64, mean(&of[power]))).collect::<Vec<_>>();
        let dots = curve(&missed).into_iter().map(|(n, missed)| (n, missed, 0.0));
        chart = chart.line(format!("bound V/2n, {name}"), curve(&allowed)).dots(format!("missed, {name}"), dots);
    }
    bar.finish_and_clear();
    report.picture("Means over images of digits. Kinks fall between midpoints at random", chart.log_x().log_y().svg()?);

    let mut rng = lab.rng(5);
    let mut layer = |activation, n: usize| -> Result<Dense> {
        Ok(Dense::new(activation, lab.normal(&mut rng, (2.0 / PIXELS as f32).sqrt(), &[n, PIXELS])?, None))
    };
    let x = gpu.upload(&test.x[..64 * PIXELS], &[64, PIXELS])?;
    for (name, activation) in [("ReLU", Activation::RELU), ("Leaky", leaky)] {
        let layers = vec![layer(activation, 64)?, layer(activation, 64)?, layer(Activation::IDENTITY, 1)?];
        let network = Stack { layers };
        let slopes = network.slopes(gpu, &x, &gpu.upload(&[1.0; 64], &[64, 1])?)?;
        let y = network.outputs(gpu, &x)?;
        let terms = |row: usize| test.image(row).iter().zip(&slopes[row * PIXELS..]);
        let euler = |row: usize| terms(row).map(|(x, dx)| f64::from(x * dx)).sum::<f64>();
        let off = (0..64).map(|row| (euler(row) - f64::from(y[row])).abs()).fold(0.0, f64::max);
        // Three layers of sums of 64 terms of order 1, rounded in another order.
        report.within(format!("no biases: largest |Σ x ∂f/∂x - f|, {name}"), 0.0, off, 3e-5);
    }
    Ok(report)
}
