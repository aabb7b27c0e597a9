//! An autoencoder of one number, whose input is skewed: the slope that leaves no bias.

use elbow::{Activation, elementwise, gpu::transfer::Tensor};
use rand::RngExt;

use crate::shared::{Chart, Lab, Report, Result, statistics::mean};

pub(crate) const TITLE: &str = "A skewed input, and the slope of least bias";

const THEORY: &str = "With P = E[x⁺] and N = E[x⁻] a Leaky code has the mean E[φ(x)] = P - αN: it is unbiased at α = P/N, which is 1 only where x has the mean 0, \
    and above 1 for an input with a long tail to the right of its median. The decoder v φ(x) of least squares has v = E[xφ]/E[φ²] = \
    (S₊ + αS₋)/(S₊ + α²S₋) with the second moments S± of the two sides, and its bias E[x] - v E[φ] is (α - 1)(αPS₋ + NS₊)/(S₊ + α²S₋): 0 at α = 1, \
    where nothing is lost, and at the negative α = -NS₊/(PS₋). For x = G - c with G exponential, P = e⁻ᶜ, N = P - 1 + c, S₊ = 2e⁻ᶜ and \
    S₋ = 1 + (1-c)² - S₊.";

/// P, N, S₊, S₋ of G - c.
fn moments(c: f64) -> [f64; 4] {
    let p = (-c).exp();
    [p, p - 1.0 + c, 2.0 * p, 1.0 + (1.0 - c).powi(2) - 2.0 * p]
}

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(9));
    // A channel is a sample of its own, with a slope of its own.
    let (rows, channels) = (lab.pick(32768, 4096), lab.pick(64, 32));
    let prelu = Activation::prelu(0.25)?;
    let skews = [("ln 2: median 0", 2f64.ln()), ("1: mean 0", 1.0), ("1.3", 1.3)];
    let bar = lab.progress(skews.len(), "autoencoder_bias");
    for (name, c) in skews {
        let [p, n, plus, minus] = moments(c);
        let drawn: Vec<f32> = (0..rows * channels).map(|_| (rng.sample::<f64, _>(rand_distr::Exp1) - c) as f32).collect();
        let x = gpu.upload(&drawn, &[rows, channels])?;
        let (y, dalpha) = (gpu.zeros(&[rows, channels])?, gpu.zeros(&[channels])?);
        // Descent on half of each channel's squared mean, whose curvature in α is N².
        let mut alpha = vec![0.25f32; channels];
        for _ in 0..12 {
            let slopes = gpu.upload(&alpha, &[channels])?;
            let code = elementwise::Forward::new(prelu, &x, &y).alpha(&slopes);
            gpu.submit(|encoder| code.record(gpu, encoder))?;
            let bias: Vec<f32> = of_channels(&gpu.download(&y)?, channels).iter().map(|mean| *mean as f32).collect();
            let dy: Vec<f32> = bias.iter().map(|bias| bias / rows as f32).collect();
            let dy: Tensor = gpu.upload(&dy.repeat(rows), &[rows, channels])?;
            gpu.submit(|encoder| code.backward(&dy).dalpha(&dalpha).record(gpu, encoder))?;
            let steps = gpu.download(&dalpha)?;
            alpha.iter_mut().zip(steps).for_each(|(alpha, step)| *alpha -= step / (n * n) as f32);
        }
        // P/N of a sample is off by 1/rows of its variance: a hundredth of the error.
        let found = mean(&alpha.iter().map(|alpha| f64::from(*alpha)).collect::<Vec<f64>>());
        report.sampled(format!("learnt α of an unbiased code, c = {name}"), p / n, found, 4.0);
        // The decoder's bias, over slopes.
        let other = -n * plus / (p * minus);
        let theory = |a: f64| (a - 1.0) * (a * p * minus + n * plus) / (plus + a * a * minus);
        let chart = Chart::new("Bias of the reconstruction, c = 1.3", "α", "E[x - v φ(x)]");
        let slopes: Vec<f64> = (-16..=16).map(|i| f64::from(i) * 0.25).chain([other]).collect();
        let mut dots = Vec::new();
        for &a in &slopes {
            let code = elementwise::Forward::new(prelu.with_alpha(a as f32), &x, &y);
            gpu.submit(|encoder| code.record(gpu, encoder))?;
            let code = gpu.download(&y)?;
            let product = |f: &dyn Fn(f32, f32) -> f32| -> Vec<f64> {
                of_channels(&drawn.iter().zip(&code).map(|(x, y)| f(*x, *y)).collect::<Vec<f32>>(), channels)
            };
            let (x, y) = (product(&|x, _| x), product(&|_, y| y));
            let (xy, yy) = (product(&|x, y| x * y), product(&|_, y| y * y));
            let bias = mean(&(0..channels).map(|i| x[i] - xy[i] / yy[i] * y[i]).collect::<Vec<f64>>());
            if a == 0.0 || a == 0.25 || a == other {
                report.sampled(format!("bias of reconstruction, α = {a:.3}, c = {name}"), theory(a), bias, 4.0);
            }
            dots.push((a, bias.0, bias.1));
        }
        if c == 1.3 {
            let fine = (-160..=160).map(|i| f64::from(i) * 0.025);
            let chart = chart.line("theory", fine.map(|a| (a, theory(a)))).dots("measured", dots);
            report.picture("Two slopes leave none: 1, which is the identity, and a negative one", chart.svg()?);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    report.remark(format!(
        "{channels} samples of {rows} numbers. From 0 to 1 every slope leaves the reconstruction too far to the right: a leak makes it less, and \
         only α = 1 makes it nothing."
    ));
    Ok(report)
}

/// The mean of each column.
fn of_channels(values: &[f32], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    for row in values.chunks(channels) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.iter().map(|sum| sum / (values.len() / channels) as f64).collect()
}
