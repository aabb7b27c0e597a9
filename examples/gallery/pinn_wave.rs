//! A physics-informed network solves the wave equation with smooth activations; with ReLU the equation is not there.

use std::f32::consts::PI;

use elbow::{Activation, Jet};
use rand::RngExt;

use crate::shared::{
    Chart, Lab, Report, Result,
    pinn::{Pinn, ROWS, relative_error},
};

pub(crate) const TITLE: &str = "The wave equation, which ReLU satisfies with anything";

const THEORY: &str = "u_tt = u_xx with u(0, x) = sin πx, u_t(0, x) = 0 and fixed ends has the solution cos πt sin πx. The jet's operator is u_tt - u_xx itself, one row. Through ReLU it is 0 wherever it is asked, \
    and so is the gradient of any loss on it: the border alone decides, and one loss step with the equation is the same, bit for bit, as one without. Nothing then says that the string comes back from below: the border is met by sin πx at all times, too, \
    which is √3 from the solution.";

fn solution(&[t, x]: &[f32; 2]) -> f32 {
    (PI * t).cos() * (PI * x).sin()
}

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (points, steps) = lab.pick((256, 4000), (128, 300));
    let (inside, of_relu_steps) = (points * 5 / 8, lab.pick(1000, 300));
    let grid: Vec<[f32; 2]> = (0..points).map(|i| [(i / 16) as f32 / (points / 16 - 1) as f32, (i % 16) as f32 / 15.0]).collect();
    let middle: Vec<[f32; 2]> = (0..points).map(|i| [i as f32 / (points - 1) as f32, 0.5]).collect();
    let mut chart = Chart::new("The middle of the string", "t", "u");
    chart = chart.line("the solution", middle.iter().map(|point| (f64::from(point[0]), f64::from(solution(point)))));
    let all = [("GELU", Activation::GELU_ERF), ("tanh", Activation::TANH), ("Swish", Activation::SILU)];
    let smooth = lab.pick(&all[..], &all[..1]);
    let bar = lab.progress(smooth.len() + 2, "pinn_wave");
    let mut of_relu = Vec::new();
    let relus = [("ReLU", Activation::RELU, 1.0), ("ReLU, border alone", Activation::RELU, 0.0)];
    for (name, activation, equation) in smooth.iter().map(|&(name, activation)| (name, activation, 1.0)).chain(relus) {
        let mut rng = lab.rng(13);
        let network = Pinn::new(&lab.gpu, activation, Jet::two([1.0, 0.0, -1.0])?.even_if_flat(), points, 14)?;
        let sample = || {
            let point = |i: usize| {
                let (a, b): (f32, f32) = (rng.random(), rng.random());
                // Half of the border at t = 0, a quarter at each end.
                if i < inside { [a, b] } else { [[0.0, b], [a, 0.0], [0.0, b], [a, 1.0]][i % 4] }
            };
            (0..points).map(point).collect()
        };
        let border = 2.0 / (points - inside) as f32;
        let steps = if activation == Activation::RELU { of_relu_steps } else { steps };
        network.train(steps, sample, |i, point, y, dy| {
            if i < inside {
                dy[3] = equation * 2.0 * y[3] / inside as f32;
            } else {
                dy[0] = 20.0 * border * (y[0] - solution(&point));
                // At the ends u_t is 0 because u is.
                dy[1] = border * y[1];
            }
        })?;
        let rows = network.forward(&grid)?;
        let error = relative_error(&rows, &grid, solution);
        if activation == Activation::RELU {
            let largest = rows.chunks(ROWS).map(|rows| f64::from(rows[3].abs())).fold(0.0, f64::max);
            report.within(format!("{name}: largest |u_tt - u_xx|"), 0.0, largest, 0.0);
            report.at_least(format!("{name}: relative error"), 0.5, error, 0.0);
            of_relu.push(rows.clone());
        } else {
            // In a few seconds half of what 0 everywhere would have.
            report.at_most(format!("{name}: relative error"), lab.pick(0.01, 0.5), error, 0.0);
        }
        let rows = network.forward(&middle)?;
        let dots = rows.chunks(ROWS).zip(&middle).step_by(12).map(|(y, point)| (f64::from(point[0]), f64::from(y[0]), 0.0));
        chart = chart.other_dots(name, dots.collect::<Vec<_>>());
        bar.inc(1);
    }
    bar.finish_and_clear();
    let apart = of_relu[0].iter().zip(&of_relu[1]).map(|(with, without)| f64::from((with - without).abs())).fold(0.0, f64::max);
    report.within(format!("ReLU: what the equation changes in {of_relu_steps} steps"), 0.0, apart, 0.0);
    report.picture("Dots are networks; those of ReLU lie upon each other", chart.svg()?);
    report.remark(format!("{steps} steps of Adam on {points} random points each, three hidden layers of 32; {of_relu_steps} with ReLU."));
    Ok(report)
}
