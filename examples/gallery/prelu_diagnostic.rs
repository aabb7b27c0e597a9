//! Learnable slopes as an instrument: they rise with what is lost below 0, and show another domain.

use elbow::{
    Activation, Tensor,
    criterion::Criterion,
    elementwise,
    train::{Loss, Sgd},
};
use rand::RngExt;

use crate::shared::{
    Chart, Lab, Report, Result,
    digits::{self, PIXELS},
    normal,
    statistics::{mean, normal_cdf, normal_density},
};

pub(crate) const TITLE: &str = "Slopes of PReLU as a diagnostic";

const THEORY: &str = "If a channel has to pass its input x on, the loss (prelu(x; α) - x)² pulls α to 1 at a rate that is the mass below 0: after T steps 1 - α is (1 - α₀)(1 - 2η m)^T with m = E[min(x, 0)²]. \
    So slopes rise with how badly inputs are centred, m = (1 + s²)Φ(s) + sφ(s) for x normal around -s; and with their skew at mean 0 and variance 1: m is 2/e for exponential numbers with their tail to the left, 1 - 2/e with it to the right. \
    The other way round, the pace of a slope is a meter of the mass below 0 of its channel, m = (1 - ((1 - α)/(1 - α₀))^(1/T))/2η, and another domain is seen in slopes alone.";

/// Channels of each kind of input.
const EACH: usize = 16;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    passing_on(lab, &mut report)?;
    another_domain(lab, &mut report)?;
    Ok(report)
}

/// Slopes of channels that have to pass their input on.
fn passing_on(lab: &Lab, report: &mut Report) -> Result<()> {
    let (gpu, mut rng, rows, steps, rate) = (&lab.gpu, lab.rng(16), lab.pick(8192, 1024), 40, 0.01);
    let shifts: Vec<f64> = (-4..=4).map(|i| f64::from(i) / 2.0).collect();
    let channels = (shifts.len() + 2) * EACH;
    let mut number = |channel: usize| {
        let exponential = |u: f32| -(1.0 - u).ln() - 1.0;
        match shifts.get(channel / EACH) {
            Some(&shift) => normal(&mut rng) - shift as f32,
            None if channel / EACH == shifts.len() => -exponential(rng.random()),
            None => exponential(rng.random()),
        }
    };
    let x = gpu.upload(&(0..rows * channels).map(|i| number(i % channels)).collect::<Vec<_>>(), &[rows, channels])?;
    let learned = pass_on(lab, &x, &vec![0.25; channels], rate, steps)?;
    let of = |kind: usize| mean(&learned[kind * EACH..(kind + 1) * EACH].iter().map(|a| f64::from(*a)).collect::<Vec<_>>());
    let theory = |m: f64| 1.0 - 0.75 * (1.0 - 2.0 * f64::from(rate) * m).powi(steps);
    let mass = |s: f64| (1.0 + s * s) * normal_cdf(s) + s * normal_density(s);
    for kind in [0, 2, 4, 6, 8] {
        report.sampled(format!("α, inputs around {}", 0.0 - shifts[kind]), theory(mass(shifts[kind])), of(kind), 4.0);
    }
    report.sampled("α, exponential, tail to the left", theory(2.0 / std::f64::consts::E), of(shifts.len()), 4.0);
    report.sampled("α, exponential, tail to the right", theory(1.0 - 2.0 / std::f64::consts::E), of(shifts.len() + 1), 4.0);
    let fine = (-50..=50).map(|i| f64::from(i) / 25.0).map(|s| (-s, theory(mass(s))));
    let seen = shifts.iter().enumerate().map(|(kind, s)| (-s, of(kind).0, of(kind).1));
    let chart = Chart::new(&format!("Slopes after {steps} steps"), "mean of the inputs", "α").line("theory", fine).dots("learned", seen);
    report.picture("A channel whose inputs are below 0 needs its slope", chart.svg()?);
    Ok(())
}

/// Slopes on pixels of the digits 0 to 4, and then of 5 to 9: what they say of the mass below 0 without a look at the data.
fn another_domain(lab: &Lab, report: &mut Report) -> Result<()> {
    let (rate, steps) = (0.02, 60);
    let (digits, _) = digits::split(&mut lab.rng(17))?;
    let mut alpha = vec![0.25; PIXELS];
    let (mut read, mut known) = (Vec::new(), Vec::new());
    for (name, domain) in [("0 to 4", 0..5), ("then 5 to 9", 5..10)] {
        let images: Vec<usize> = (0..digits.len()).filter(|&i| domain.contains(&digits.labels[i])).collect();
        let part = digits.select(&images);
        let x = lab.gpu.upload(&part.x, &[part.len(), PIXELS])?;
        let after = pass_on(lab, &x, &alpha, rate, steps)?;
        let below = |j: usize| (0..part.len()).map(|i| f64::from(part.image(i)[j].min(0.0)).powi(2)).sum::<f64>() / part.len() as f64;
        let rest = |alpha: f32| 1.0 - f64::from(alpha);
        let theory = |j: usize| 1.0 - rest(alpha[j]) * (1.0 - 2.0 * f64::from(rate) * below(j)).powi(steps);
        let worst = (0..PIXELS).map(|j| (f64::from(after[j]) - theory(j)).abs()).fold(0.0, f64::max);
        // Sixty steps of a sum of 720 squares, rounded to f32.
        report.within(format!("largest error of α, {PIXELS} pixels of digits {name}"), 0.0, worst, 1e-5);
        let meter = |j: usize| (1.0 - (rest(after[j]) / rest(alpha[j])).powf(1.0 / f64::from(steps))) / (2.0 * f64::from(rate));
        read.push((0..PIXELS).map(meter).collect::<Vec<f64>>());
        known.push((0..PIXELS).map(below).collect::<Vec<f64>>());
        alpha = after;
    }
    let shifts: Vec<(f64, f64)> = (0..PIXELS).map(|j| (known[1][j] - known[0][j], read[1][j] - read[0][j])).collect();
    // The meter divides roundings of α by its pace: 1e-7 / (2 η T).
    let worst = shifts.iter().map(|(known, read)| (known - read).abs()).fold(0.0, f64::max);
    report.within("largest error of a pixel's shift of mass, read from α", 0.0, worst, 1e-4);
    let largest = shifts.iter().map(|(known, _)| known.abs()).fold(0.0, f64::max);
    report.at_least("largest shift of mass of a pixel", 100.0 * 1e-4, largest, 0.0);
    let line = [-largest, largest].map(|at| (at, at));
    let chart = Chart::new("From the digits 0 to 4 to the digits 5 to 9", "change of E[min(x, 0)²] of a pixel", "read from its slope");
    let chart = chart.line("theory", line).dots("pixels", shifts.iter().map(|&(known, read)| (known, read, 0.0)));
    report.picture("A domain shift that is seen in slopes alone", chart.svg()?);
    Ok(())
}

/// Slopes after so many steps on (prelu(x; α) - x)², the mean over rows.
fn pass_on(lab: &Lab, x: &Tensor, alpha: &[f32], rate: f32, steps: i32) -> Result<Vec<f32>> {
    let (gpu, channels, rows) = (&lab.gpu, alpha.len(), x.shape()[0]);
    let (y, dy, loss) = (gpu.zeros(x.shape())?, gpu.zeros(x.shape())?, gpu.zeros(&[rows])?);
    let (alpha, dalpha, velocity) = (gpu.upload(alpha, &[channels])?, gpu.zeros(&[channels])?, gpu.zeros(&[channels])?);
    let unit = elementwise::Forward::new(Activation::prelu(0.25)?, x, &y).alpha(&alpha);
    for _ in 0..steps {
        gpu.submit_pass(|pass| {
            unit.record(gpu, &mut *pass)?;
            // A mean over channels, too: the rate makes up for it.
            Loss::new(Criterion::SquaredError, &y, x, &loss, &dy).record(gpu, &mut *pass)?;
            unit.backward(&dy).dalpha(&dalpha).record(gpu, &mut *pass)?;
            Sgd::new(&alpha, &dalpha, &velocity, rate * channels as f32).record(gpu, pass)
        })?;
    }
    Ok(gpu.download(&alpha)?)
}
