//! A rate neuron that hears a tone: the harmonics that its rectifier makes of it.

use elbow::{Activation, affine::Forward};

use crate::shared::{Chart, Dense, Lab, Report, Result};

pub(crate) const TITLE: &str = "A leaky rate neuron under a sinusoid";

const THEORY: &str = "A membrane that leaks, τ dV/dt = I - V, follows a tone with amplitude 1/√(1 + ω²τ²); in steps of k = Δt/τ with 1/|H|, \
    H = k/(1 - (1-k)e^{-iωΔt}), exactly. Its firing rate is φ(b + A cos θ). With c = -b/A and θ₀ = arccos c (0 to π) ReLU has the mean rate \
    (A sin θ₀ + bθ₀)/π and the harmonics aₙ = (2/π)[b sin nθ₀ / n + (A/2)(sin((n-1)θ₀)/(n-1) + sin((n+1)θ₀)/(n+1))], where sin(0)/0 stands for θ₀. \
    A Leaky neuron is (1-α) of that and α of the tone itself: α damps every harmonic from the second on by 1 - α.";

/// Samples of a period.
const PERIOD: usize = 4096;
/// The mean and so many harmonics.
const HARMONICS: usize = 9;
const AMPLITUDE: f64 = 1.0;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let gpu = &lab.gpu;
    let biases = [-0.8, -0.3, 0.0, 0.5, 1.5];
    let angle = |i: usize| i as f64 / PERIOD as f64 * std::f64::consts::TAU;
    // A neuron is one weight and one bias; its Fourier coefficients are a product with cosines.
    let tone: Vec<f32> = (0..PERIOD).map(|i| angle(i).cos() as f32).collect();
    let cosine = |n: usize, i: usize| if n == 0 { 1.0 } else { 2.0 * (n as f64 * angle(i)).cos() } / PERIOD as f64;
    let cosines: Vec<f32> = (0..HARMONICS).flat_map(|n| (0..PERIOD).map(move |i| cosine(n, i) as f32)).collect();
    let fourier = Dense::new(Activation::IDENTITY, gpu.upload(&cosines, &[HARMONICS, PERIOD])?, None);
    let x = gpu.upload(&tone, &[PERIOD, 1])?;
    let mut chart = Chart::new("Harmonics of a rectified tone, b = -0.3", "harmonic", "|amplitude|").log_y();
    for (name, alpha) in [("ReLU", 0.0f32), ("Leaky 0.1", 0.1), ("Leaky 0.5", 0.5)] {
        let activation = if alpha == 0.0 { Activation::RELU } else { Activation::leaky_relu(alpha)? };
        let mut furthest = 0.0f64;
        for b in biases {
            let (gain, bias) = (gpu.upload(&[AMPLITUDE as f32], &[1, 1])?, gpu.upload(&[b as f32], &[1])?);
            let rate = Dense::new(activation, gain, bias).forward(gpu, &x)?;
            let rate = gpu.upload(&gpu.download(&rate)?, &[1, PERIOD])?;
            let measured = gpu.download(&fourier.forward(gpu, &rate)?)?;
            let theory = |n: usize| harmonic(n, b, alpha.into());
            let off = |n: usize| (f64::from(measured[n]) - theory(n)).abs();
            furthest = (0..HARMONICS).map(off).fold(furthest, f64::max);
            if b == -0.3 {
                // Harmonics of a kink fall as 1/n², and those beyond 4096 fold back: 1e-6. Sums of 4096 numbers: 2e-6.
                report.within(format!("mean rate, b = -0.3, {name}"), theory(0), measured[0].into(), 3e-6);
                report.within(format!("second harmonic, b = -0.3, {name}"), theory(2), measured[2].into(), 3e-6);
                let line = (1..HARMONICS).map(|n| (n as f64, theory(n).abs()));
                let dots = (1..HARMONICS).map(|n| (n as f64, f64::from(measured[n].abs()), 0.0));
                chart = chart.line(format!("theory, {name}"), line).dots(format!("measured, {name}"), dots);
            }
        }
        report.within(format!("furthest of all {HARMONICS} for five biases, {name}"), 0.0, furthest, 3e-6);
    }
    report.picture("α damps every harmonic but the first, which it brings back to the tone's own", chart.svg()?);

    // The membrane: one step is V ← (1-k) V + k I, a layer whose residual is the input; a row for each of four tones.
    let (steps, k, tones) = (lab.pick(256, 128), 0.05, [1usize, 2, 4, 8]);
    let input = |t: usize, f: usize| (std::f64::consts::TAU * (t * f) as f64 / steps as f64).cos();
    let currents = (0..steps).flat_map(|t| tones.map(|f| (k * input(t, f)) as f32)).collect::<Vec<f32>>();
    let (currents, keep) = (gpu.upload(&currents, &[steps, tones.len(), 1])?, gpu.upload(&[1.0 - k as f32], &[1, 1])?);
    let mut membrane = [gpu.zeros(&[tones.len(), 1])?, gpu.zeros(&[tones.len(), 1])?];
    let (mut sums, periods) = ([[0.0f64; 2]; 4], 3);
    for t in 0..periods * steps {
        let [v, next] = &membrane;
        let current = currents.view().slice(0, t % steps..t % steps + 1)?.reshaped(&[tones.len(), 1])?;
        gpu.submit(|encoder| Forward::new(Activation::IDENTITY, v, &keep, next).residual(current).record(gpu, encoder))?;
        membrane.swap(0, 1);
        // After two periods (1-k)^(2 steps) is left of the beginning.
        if t >= (periods - 1) * steps {
            for (i, v) in gpu.download(&membrane[0])?.into_iter().enumerate() {
                let phase = std::f64::consts::TAU * (t * tones[i]) as f64 / steps as f64;
                sums[i][0] += f64::from(v) * phase.cos() * 2.0 / steps as f64;
                sums[i][1] += f64::from(v) * phase.sin() * 2.0 / steps as f64;
            }
        }
    }
    for (f, [re, im]) in tones.iter().zip(sums) {
        let phase = std::f64::consts::TAU * *f as f64 / steps as f64;
        let size = k / ((1.0 - (1.0 - k) * phase.cos()).powi(2) + ((1.0 - k) * phase.sin()).powi(2)).sqrt();
        let left = (1.0 - k).powi(2 * steps as i32);
        report.within(format!("membrane's amplitude, tone {f} of {steps} steps"), size, re.hypot(im), left + 1e-5);
    }
    Ok(report)
}

/// The cosine coefficient n of φ(b + A cos θ); the mean for n = 0.
fn harmonic(n: usize, b: f64, alpha: f64) -> f64 {
    let theta = (-b / AMPLITUDE).clamp(-1.0, 1.0).acos();
    let part = |m: i32| if m == 0 { theta } else { (f64::from(m) * theta).sin() / f64::from(m) };
    let (m, pi) = (n as i32, std::f64::consts::PI);
    let relu = (b * part(m) + AMPLITUDE / 2.0 * (part(m - 1) + part(m + 1))) * if n == 0 { 1.0 } else { 2.0 } / pi;
    let tone = [b, AMPLITUDE].get(n).copied().unwrap_or(0.0);
    (1.0 - alpha) * relu + alpha * tone
}
