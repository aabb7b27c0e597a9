//! A physics-informed network solves the heat equation with smooth activations, and another equation with ReLU.

use std::f32::consts::PI;

use elbow::{Activation, Jet};
use rand::RngExt;

use crate::shared::{
    Chart, Lab, Report, Result,
    pinn::{Pinn, ROWS, relative_error},
};

pub(crate) const TITLE: &str = "The heat equation, and why ReLU cannot see it";

const THEORY: &str = "u_t = κ u_xx with u(0, x) = sin πx and cold ends has the solution exp(-κπ²t) sin πx. A network is trained on the squares of u_t - κ u_xx at random points and of what it lacks at the border (Raissi et al. 2019); \
    points go through it as jets, so that one pass has u, u_t and u_xx. Through ReLU every second derivative is 0: the loss is that of u_t = 0, whose solution keeps the profile it begins with. With λ = κπ² that is \
    √(1 - 2 a + b) / √b from the solution, a = (1 - e^-λ)/λ, b = (1 - e^-2λ)/2λ; and no steady profile is nearer than √(1 - a²/b).";

const KAPPA: f32 = 0.1;
/// The weight of the border in the loss.
const WEIGHT: f32 = 10.0;

fn solution(&[t, x]: &[f32; 2]) -> f32 {
    (-KAPPA * PI * PI * t).exp() * (PI * x).sin()
}

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (all, steps) = lab.pick((256, 2000), (128, 300));
    let inside = all * 3 / 4;
    let grid: Vec<[f32; 2]> = (0..all).map(|i| [(i / 16) as f32 / (all / 16 - 1) as f32, (i % 16) as f32 / 15.0]).collect();
    let late: Vec<[f32; 2]> = (0..all).map(|i| [1.0, i as f32 / (all - 1) as f32]).collect();
    let mut chart = Chart::new("Temperature at t = 1", "x", "u");
    chart = chart.line("the solution", late.iter().map(|point| (f64::from(point[1]), f64::from(solution(point)))));
    let bar = lab.progress(4, "pinn_heat");
    let smooth = [("GELU", Activation::GELU_ERF), ("tanh", Activation::TANH), ("Swish", Activation::SILU)];
    let smooth = lab.pick(&smooth[..], &smooth[..1]);
    for &(name, activation) in smooth.iter().chain(&[("ReLU", Activation::RELU)]) {
        let mut rng = lab.rng(11);
        let jet = Jet::two([0.0, 0.0, 1.0])?.even_if_flat();
        let network = Pinn::new(&lab.gpu, activation, jet, all, 12)?;
        let points = || {
            let point = |i: usize| {
                let (a, b): (f32, f32) = (rng.random(), rng.random());
                // A third of the border each: t = 0, x = 0, x = 1.
                if i < inside { [a, b] } else { [[0.0, b], [a, 0.0], [a, 1.0]][i % 3] }
            };
            (0..all).map(point).collect()
        };
        network.train(steps, points, |i, point, y, dy| {
            if i < inside {
                let dr = 2.0 * (y[1] - KAPPA * y[3]) / inside as f32;
                dy.copy_from_slice(&[0.0, dr, 0.0, -KAPPA * dr]);
            } else {
                dy[0] = 2.0 * WEIGHT * (y[0] - solution(&point)) / (all - inside) as f32;
            }
        })?;
        let rows = network.forward(&grid)?;
        let error = relative_error(&rows, &grid, solution);
        if name == "ReLU" {
            let lambda = f64::from(KAPPA * PI * PI);
            let (a, b) = ((1.0 - (-lambda).exp()) / lambda, (1.0 - (-2.0 * lambda).exp()) / (2.0 * lambda));
            let largest = rows.chunks(ROWS).map(|rows| f64::from(rows[3].abs())).fold(0.0, f64::max);
            report.within("ReLU: largest |u_xx|", 0.0, largest, 0.0);
            // However high: a steady profile c sin πx is nearest to the solution at c = a.
            report.at_least("ReLU: relative error, of any steady profile", (1.0 - a * a / b).sqrt(), error, 0.0);
            if !lab.is_quick() {
                // Six times what the smooth networks may be off; in a few seconds the profile has not yet risen to its height.
                report.within("ReLU: relative error, that of u_t = 0", ((1.0 - 2.0 * a + b) / b).sqrt(), error, 0.06);
            }
        } else {
            // In a few seconds the first digits only.
            report.at_most(format!("{name}: relative error"), lab.pick(0.01, 0.1), error, 0.0);
        }
        let rows = network.forward(&late)?;
        let dots = rows.chunks(ROWS).zip(&late).step_by(12).map(|(y, point)| (f64::from(point[1]), f64::from(y[0]), 0.0));
        chart = chart.other_dots(name, dots.collect::<Vec<_>>());
        bar.inc(1);
    }
    bar.finish_and_clear();
    report.picture("ReLU keeps the profile of t = 0", chart.svg()?);
    report.remark(format!("{steps} steps of Adam on {all} random points each, three hidden layers of 32."));
    Ok(report)
}
