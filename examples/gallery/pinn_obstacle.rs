//! A string over an obstacle, by a penalty that is a squared ReLU.

use elbow::{Activation, Jet, elementwise};

use crate::shared::{
    Chart, Lab, Report, Result,
    pinn::{Pinn, ROWS},
};

pub(crate) const TITLE: &str = "An obstacle, and a squared ReLU as penalty";

const THEORY: &str = "A string from (-1, 0) to (1, 0) over ψ = 3/4 - x² has the least energy ½∫u'² of all u ≥ ψ: it lies on ψ for |x| ≤ ½ and leaves it along tangents; its energy is 2/3. With the penalty ∫relu(ψ - u)²/2ε in place of the obstacle \
    (Tran et al. 2015) it sinks in: w = ψ - u solves w'' = w/ε - 2, so w = 2ε (1 - cosh(x/√ε)/cosh(a/√ε)) up to the a at which u meets its tangent, (3/4 - a²) = (1 - a)(2a - 2√ε tanh(a/√ε)). So it is 2ε deep in the middle, \
    touches on a wider set than the exact one, and has less energy. A smooth network is trained on energy and penalty, its u' by jets, u = 0 at the ends by a factor 1 - x².";

const EPSILON: f64 = 0.01;

fn psi(x: f64) -> f64 {
    0.75 - x * x
}

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, points, steps) = (&lab.gpu, lab.pick(256, 128), lab.pick(3000, 400));
    // Midpoints.
    let xs: Vec<[f32; 1]> = (0..points).map(|i| [(2 * i + 1) as f32 / points as f32 - 1.0]).collect();
    let step = 2.0 / points as f32;
    let network = Pinn::new(gpu, Activation::TANH, Jet::two([0.0; 3])?, points, 15)?;
    // What is left of (ψ - u) at each point: the slope of elbow's relu_squared is 2 relu.
    let (gap, ones, slope) = (gpu.zeros(&[points])?, gpu.upload(&vec![1.0; points], &[points])?, gpu.zeros(&[points])?);
    let of_rows = |x: f32, y: &[f32]| ((1.0 - x * x) * y[0], (1.0 - x * x) * y[1] - 2.0 * x * y[0]);
    let bar = lab.progress(steps, "pinn_obstacle");
    network.train_all(steps, &xs, |rows, dy| {
        let gaps: Vec<f32> = xs.iter().zip(rows.chunks(ROWS)).map(|(&[x], y)| psi(x.into()) as f32 - of_rows(x, y).0).collect();
        gpu.write(&gap, &gaps)?;
        let penalty = elementwise::Forward::new("relu_squared".parse()?, &gap, &slope).backward(&ones);
        gpu.submit(|encoder| penalty.dx(&slope).record(gpu, encoder))?;
        let slopes = gpu.download(&slope)?;
        for (((&[x], y), dy), slope) in xs.iter().zip(rows.chunks(ROWS)).zip(dy.chunks_mut(ROWS)).zip(slopes) {
            let (du, du_x) = (-step * slope / (2.0 * EPSILON as f32), step * of_rows(x, y).1);
            (dy[0], dy[1]) = ((1.0 - x * x) * du - 2.0 * x * du_x, (1.0 - x * x) * du_x);
        }
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();

    // The penalised solution: where it leaves the obstacle, by halving.
    let root = EPSILON.sqrt();
    let meets = |a: f64| psi(a) - (1.0 - a) * (2.0 * a - 2.0 * root * (a / root).tanh());
    let (mut low, mut high) = (0.3, 1.0);
    for _ in 0..60 {
        let a = 0.5 * (low + high);
        if meets(a) > 0.0 { low = a } else { high = a }
    }
    let a = low;
    let sunk = |x: f64| 2.0 * EPSILON * (1.0 - (x / root).cosh() / (a / root).cosh());
    let tangent = 2.0 * a - 2.0 * root * (a / root).tanh();
    let solution = |x: f64| if x.abs() < a { psi(x) - sunk(x) } else { tangent * (1.0 - x.abs()) };
    let slope_of = |x: f64| if x.abs() < a { -2.0 * x + 2.0 * root * (x / root).sinh() / (a / root).cosh() } else { -tangent * x.signum() };
    let energy = |u_x: &dyn Fn(usize) -> f64| (0..points).map(|i| 0.5 * u_x(i).powi(2) * f64::from(step)).sum::<f64>();

    let rows = network.forward(&xs)?;
    let seen: Vec<(f32, f32)> = xs.iter().zip(rows.chunks(ROWS)).map(|(&[x], y)| of_rows(x, y)).collect();
    let at = |i: usize| f64::from(xs[i][0]);
    let predicted = energy(&|i| slope_of(at(i)));
    let worst = (0..points).map(|i| (f64::from(seen[i].0) - solution(at(i))).abs()).fold(0.0, f64::max);
    let touching = (0..points).filter(|&i| f64::from(seen[i].0) < psi(at(i))).count() as f64 * f64::from(step);
    // What 3,000 steps of Adam leave, and in a few seconds 400. Energies are second order in it.
    let left = lab.pick(0.003, 0.03);
    report.within("energy of the string", predicted, energy(&|i| f64::from(seen[i].1)), 2.0 * left);
    report.at_most("energy, less than over a hard obstacle", 2.0 / 3.0, energy(&|i| f64::from(seen[i].1)), 0.0);
    report.within("largest distance from the solution", 0.0, worst, left);
    report.within("depth in the middle", sunk(0.0), psi(at(points / 2)) - f64::from(seen[points / 2].0), left);
    // w has a slope of 2√ε at its ends, so that an error e of u moves each of them by e / 2√ε.
    report.within("length of the contact set", 2.0 * a, touching, 2.0 * left / (2.0 * root));
    report.at_least("the same, wider than over a hard obstacle", 1.0, touching, 0.0);
    let fine = || (-200..=200).map(|i| f64::from(i) / 200.0);
    let chart = Chart::new("A string over an obstacle", "x", "u").line("ψ", fine().filter(|x| psi(*x) > 0.0).map(|x| (x, psi(x))));
    let chart = chart.line("the string, by theory", fine().map(|x| (x, solution(x))));
    let chart = chart.dots("by a network", (0..points).step_by(6).map(|i| (at(i), f64::from(seen[i].0), 0.0)));
    report.picture("The penalty lets the string sink in by 2ε", chart.svg()?);
    report.remark(format!("{steps} steps, ε = {EPSILON}; contact up to ±{a:.4} instead of ±0.5."));
    Ok(report)
}
