//! Networks that are born dead, and the way back of a unit that is.

use elbow::{Activation, affine, philox::Distribution, random, train::Sgd};

use crate::shared::{Chart, Dense, Lab, Report, Result, statistics::share_error};

pub(crate) const TITLE: &str = "Born dead, and the way back";

const THEORY: &str = "With random weights a ReLU layer of n units is silent for a given input with probability 2⁻ⁿ, so a network of L layers without biases is born dead for it with probability \
    1 - (1 - 2⁻ⁿ)^L (Lu et al. 2019): narrow and deep is deadly. A unit at z = -c that its loss pushes up by κ a step goes z' = z + κ act'(z): never back with ReLU; after c/(aκ) steps with slope a; with ELU, \
    whose slope is e^z, after about (e^c - 1)/κ. GELU and Swish fall there: the same push takes the unit further away.";

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    born_dead(lab, &mut report)?;
    come_back(lab, &mut report)?;
    Ok(report)
}

/// The share of networks whose output is 0, by depth.
fn born_dead(lab: &Lab, report: &mut Report) -> Result<()> {
    const N: usize = 4;
    let networks = lab.pick(8192, 2048);
    let (gpu, w) = (&lab.gpu, lab.gpu.zeros(&[networks, N, N])?);
    let he = Distribution::Normal { mean: 0.0, deviation: (2.0 / N as f32).sqrt() };
    let mut chart = Chart::new("Networks of 4 units a layer that are born dead", "layers", "share");
    for (name, activation, alive) in [("ReLU", Activation::RELU, 1.0 - 0.5f64.powi(N as i32)), ("leaky 0.1", Activation::leaky_relu(0.1)?, 1.0)] {
        let mut shares = Vec::new();
        let born = |l: f64| 1.0 - alive.powf(l);
        let mut x = lab.normal(&mut lab.rng(6), 1.0, &[networks, 1, N])?;
        for l in 1..=24 {
            gpu.submit(|encoder| random::fill(&w, he, 7).stream(l).record(gpu, encoder))?;
            let y = gpu.zeros(&[networks, 1, N])?;
            gpu.submit(|encoder| affine::Forward::new(activation, &x, &w, &y).record(gpu, encoder))?;
            let dead = gpu.download(&y)?.chunks(N).filter(|y| y.iter().all(|&y| y == 0.0)).count();
            let share = dead as f64 / networks as f64;
            shares.push((f64::from(l), share, share_error(share, networks)));
            if [1, 8, 24].contains(&l) {
                let measured = (share, share_error(share, networks));
                report.sampled(format!("networks born dead, {name}, {N} units, {l} layers"), born(f64::from(l)), measured, 4.0);
            }
            x = y;
        }
        chart = chart.line(name, (1..=24).map(|l| (f64::from(l), born(f64::from(l))))).dots("", shares);
    }
    report.picture("The share of random networks without biases that are 0 for an input; lines are theory", chart.svg()?);
    Ok(())
}

/// One unit at z = b = -2.005 that the loss pushes up by 0.1 a step, dy = -1.
fn come_back(lab: &Lab, report: &mut Report) -> Result<()> {
    /// Not -2, from where sums of rounded steps end on either side of the kink.
    const STEPS: usize = 220;
    let (gpu, rate) = (&lab.gpu, 0.1);
    let (x, dy, velocity) = (gpu.zeros(&[1, 1])?, gpu.upload(&[-1.0], &[1, 1])?, gpu.zeros(&[1])?);
    let mut chart = Chart::new("A unit that is pushed up by 0.1 a step", "step", "z");
    let all = [
        ("ReLU", Activation::RELU),
        ("leaky 0.1", Activation::leaky_relu(0.1)?),
        ("leaky 0.25", Activation::leaky_relu(0.25)?),
        ("ELU", Activation::elu(1.0)?),
        ("GELU", Activation::GELU_ERF),
        ("Swish", Activation::SILU),
    ];
    for (name, activation) in all {
        let unit = Dense::new(activation, gpu.zeros(&[1, 1])?, gpu.upload(&[-2.005], &[1])?);
        let b = unit.b.as_ref().ok_or("a layer without bias")?;
        let (mut z, mut theory, mut seen) = (-2.005, Vec::new(), Vec::new());
        for _ in 0..STEPS {
            let db = unit.backward(gpu, &x, &dy)?.db;
            gpu.submit(|encoder| Sgd::new(b, &db, &velocity, rate).record(gpu, encoder))?;
            z += f64::from(rate) * activation.slope(z);
            theory.push(z);
            seen.push(f64::from(gpu.download(b)?[0]));
        }
        let steps = |path: &[f64]| path.iter().position(|z| *z > 0.0).map_or(f64::INFINITY, |at| at as f64);
        // Sums of 200 steps round: one step more or less.
        let (predicted, measured) = (steps(&theory), steps(&seen));
        match predicted.is_finite() {
            true => report.within(format!("{name}: steps to come back from -2.005"), predicted, measured, 1.0),
            false => report.at_least(format!("{name}: steps to come back from -2.005"), STEPS as f64, measured, 0.0),
        }
        report.within(format!("{name}: z after {STEPS} steps"), z, seen[STEPS - 1], 1e-4);
        let dots = seen.iter().enumerate().skip(9).step_by(20).map(|(step, &z)| ((step + 1) as f64, z, 0.0));
        chart = chart.line(name, theory.iter().enumerate().map(|(step, &z)| ((step + 1) as f64, z))).dots("", dots.collect::<Vec<_>>());
    }
    report.picture("Lines are z' = z + 0.1 act'(z), dots elbow's backward and update", chart.svg()?);
    Ok(())
}

