//! Half of a ReLU layer is silent, and a bias decides how much of it.

use elbow::Activation;

use crate::shared::{
    Chart, Dense, Lab, Report, Result,
    statistics::{mean, normal_cdf, normal_density, share_error},
};

pub(crate) const TITLE: &str = "Half of a ReLU layer is silent";

const THEORY: &str = "A pre-activation that is normal with mean μ and deviation σ is at most 0, and its unit silent, with probability Φ(-μ/σ): half of all \
    units at μ = 0. In a random layer with weights of deviation σ/√d and inputs of mean square 1, a bias b moves that to Φ(-b/σ). What is left \
    has a mean: E[relu(σZ + μ)] = μ Φ(μ/σ) + σ φ(μ/σ), which is σ/√(2π) at μ = 0, and it is the *bias shift* that the next layer sees.";

/// Inputs of a unit.
const D: usize = 256;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (units, rows) = (lab.pick(4096, 1024), lab.pick(256, 64));
    let mut rng = lab.rng(1);
    let sigma = 1.5;
    let biases: Vec<f64> = (-8..=8).map(|i| f64::from(i) * 0.375).collect();
    let bar = lab.progress(biases.len(), "half_silent");
    let (mut silent, mut means) = (Vec::new(), Vec::new());
    for &b in &biases {
        // Units share rows, and rows units: the mean of each row is one sample, and so is that of each unit; the larger error is taken.
        let x = lab.normal(&mut rng, 1.0, &[rows, D])?;
        let w = lab.normal(&mut rng, sigma / (D as f32).sqrt(), &[units, D])?;
        let bias = lab.gpu.upload(&vec![b as f32; units], &[units])?;
        let y = lab.gpu.download(&Dense::new(Activation::RELU, w, bias).forward(&lab.gpu, &x)?)?;
        let of_rows = |f: &dyn Fn(f32) -> f64| -> Vec<f64> {
            y.chunks(units).map(|row| row.iter().map(|&y| f(y)).sum::<f64>() / units as f64).collect()
        };
        let (share, between_rows) = mean(&of_rows(&|y| f64::from(u8::from(y == 0.0))));
        silent.push((b, share, between_rows.max(share_error(share, units))));
        let (shift, error) = mean(&of_rows(&f64::from));
        means.push((b, shift, error));
        bar.inc(1);
    }
    bar.finish_and_clear();

    let sigma = f64::from(sigma);
    let share = |b: f64| normal_cdf(-b / sigma);
    let shift = |b: f64| b * normal_cdf(b / sigma) + sigma * normal_density(b / sigma);
    for at in [0, 4, 8, 12, 16] {
        let ((b, measured, error), (_, mean, mean_error)) = (silent[at], means[at]);
        report.sampled(format!("share of silent units, b = {b}"), share(b), (measured, error), 4.0);
        report.sampled(format!("mean of y, b = {b}"), shift(b), (mean, mean_error), 4.0);
    }
    let (_, middle, error) = means[8];
    let gauss = 1.0 / (2.0 * std::f64::consts::PI).sqrt();
    report.sampled("E[relu(Z)] of a standard Z", gauss, (middle / sigma, error / sigma), 4.0);

    let fine = || (-60..=60).map(|i| f64::from(i) * 0.05);
    let chart = Chart::new("Silent units and the bias shift, σ = 1.5", "bias", "share, mean");
    let chart = chart.line("Φ(-b/σ)", fine().map(|b| (b, share(b)))).dots("silent, measured", silent);
    let chart = chart.line("b Φ(b/σ) + σ φ(b/σ)", fine().map(|b| (b, shift(b)))).dots("mean of y, measured", means);
    report.picture("Lines are theory, dots a random layer on the device", chart.svg()?);
    report.remark(format!("{units} units of {D} inputs, {rows} rows for each bias."));
    Ok(report)
}
