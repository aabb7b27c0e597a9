//! One Swish unit fits what goes down and up again; one tanh or sigmoid cannot.

use elbow::{Activation, activation::Quantity};

use crate::shared::{Chart, Dense, Lab, Report, Result};

pub(crate) const TITLE: &str = "Swish: one unit that is not monotone";

const THEORY: &str = "c f(ax + b) + d is monotone if f is, and no monotone function comes nearer to data than their *isotonic regression* (Ayer et al. 1955), \
    rising or falling. For x² on [-1, 1] that is 1/4 up to x = 1/2 and x² beyond, with a mean squared error of 9/160 = 0.056: no tanh, sigmoid or ReLU unit does better. Swish \
    (Ramachandran et al. 2017), z σ(z), has a minimum at z₀ = -1.278, and near it c f(ax + b) + d with c = 2/(a²f'') is x² up to the term f'''a x³/3f'': \
    with the best b the error is (f'''a/3f'')² · 4/175, which vanishes with a.";

const POINTS: usize = 200;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let gpu = &lab.gpu;
    let points: Vec<f32> = (0..POINTS).map(|i| (i as f32 + 0.5) / 100.0 - 1.0).collect();
    let x = gpu.upload(&points, &[POINTS, 1])?;
    let at = |f: fn(f64) -> f64| points.iter().map(|x| f(f64::from(*x))).collect::<Vec<f64>>();
    let (valley, hook) = (at(|x| x * x), at(|x| x + 1.5 * (-2.0 * (x + 1.0)).exp()));
    let swish = Activation::swish(1.0)?;

    // Every unit of a grid of (a, b) at once, each with its best c and d.
    let side = lab.pick(256, 96);
    let place = |i: usize, most: f64| most * (2.0 * i as f64 / (side - 1) as f64 - 1.0);
    let a: Vec<f32> = (0..side * side).map(|i| place(i / side, 6.0) as f32).collect();
    let b: Vec<f32> = (0..side * side).map(|i| place(i % side, 6.0) as f32).collect();
    let mut chart = Chart::new("One unit c f(ax + b) + d, the best of a grid", "x", "y");
    chart = chart.other_dots("data x²", points.iter().zip(&valley).step_by(8).map(|(x, y)| (f64::from(*x), *y, 0.0)));
    for (data, name) in [(&valley, "x²"), (&hook, "x + 3/2 exp(-2(x+1))")] {
        let bound = isotonic(data).min(isotonic(&data.iter().map(|y| -y).collect::<Vec<f64>>()));
        if name == "x²" {
            // Midpoints of 200 pieces for an integral whose second derivative is below 8: 8/24 · 1e-4.
            report.within("isotonic regression of x²: mean squared error", 9.0 / 160.0, bound, 4e-5);
        }
        let monotone = [("tanh", Activation::TANH), ("sigmoid", Activation::SIGMOID), ("ReLU", Activation::RELU)];
        for (kind, f) in monotone.into_iter().chain([("Swish", swish)]) {
            let units = Dense::new(f, gpu.upload(&a, &[side * side, 1])?, gpu.upload(&b, &[side * side])?);
            let y = gpu.download(&units.forward(gpu, &x)?)?;
            let fits = fits(&y, data).into_iter().enumerate();
            let best = fits.min_by(|one, other| one.1[0].total_cmp(&other.1[0]));
            let (unit, [error, c, d]) = best.ok_or("no units")?;
            match kind {
                "Swish" => report.at_most(format!("{name}: Swish / best monotone fit"), 1.0, error / bound, 0.0),
                _ => report.at_least(format!("{name}: {kind} / best monotone fit"), 1.0 - 1e-6, error / bound, 0.0),
            }
            if name == "x²" && kind != "ReLU" {
                let column = y.iter().skip(unit).step_by(side * side);
                let curve = points.iter().zip(column).map(|(x, f)| (f64::from(*x), c * f64::from(*f) + d));
                chart = chart.line(format!("{kind}: error {error:.1e}"), curve);
            }
        }
    }
    report.picture("The best monotone fit of a valley is a flat line", chart.svg()?);

    // Near its minimum, with the b that leaves nothing of x³ along x, and 64 beside it.
    let (mut low, mut high) = (-2.0, -1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        *(if swish.slope(middle) < 0.0 { &mut low } else { &mut high }) = middle;
    }
    let [second, third] = [Quantity::SecondDerivative, Quantity::ThirdDerivative].map(|q| swish.evaluate(q, low));
    for near in [1.0, 0.5] {
        let centre = low - third * near * near / (10.0 * second);
        let b: Vec<f32> = (0..65).map(|i| (centre + (f64::from(i) - 32.0) * near * near * 2e-3) as f32).collect();
        let units = Dense::new(swish, gpu.upload(&[near as f32; 65], &[65, 1])?, gpu.upload(&b, &[65])?);
        let y = gpu.download(&units.forward(gpu, &x)?)?;
        let best = fits(&y, &valley).iter().map(|fit| fit[0]).fold(f64::INFINITY, f64::min);
        let predicted = (third * near / (3.0 * second)).powi(2) * 4.0 / 175.0;
        // The next term of the series is of order a² of this one.
        let what = format!("x², Swish near its minimum, a = {near}: error");
        report.within(what, predicted, best, predicted * 0.3 * near * near);
    }
    Ok(report)
}

/// The mean squared error of the best c f + d, c and d, for each column f of y.
fn fits(y: &[f32], data: &[f64]) -> Vec<[f64; 3]> {
    let rows = data.len() as f64;
    let mut sums = vec![[0.0; 3]; y.len() / data.len()];
    for (row, target) in y.chunks(sums.len()).zip(data) {
        for (sum, f) in sums.iter_mut().zip(row.iter().map(|f| f64::from(*f))) {
            *sum = [sum[0] + f / rows, sum[1] + f * f / rows, sum[2] + f * target / rows];
        }
    }
    let mean = data.iter().sum::<f64>() / rows;
    let spread = data.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / rows;
    let fit = |[f, ff, fy]: [f64; 3]| {
        let (variance, shared) = (ff - f * f, fy - f * mean);
        // A unit that is constant, but for rounding, has nothing to fit with.
        let c = if variance > 1e-9 { shared / variance } else { 0.0 };
        [spread - c * shared, c, mean - c * f]
    };
    sums.into_iter().map(fit).collect()
}

/// The mean squared error of the best rising function: pools of neighbours that would fall, each at its mean.
fn isotonic(data: &[f64]) -> f64 {
    let mut pools: Vec<(f64, f64)> = Vec::new();
    for &y in data {
        let mut pool = (y, 1.0);
        while let Some(&(sum, count)) = pools.last().filter(|(sum, count)| sum / count >= pool.0 / pool.1) {
            pools.pop();
            pool = (pool.0 + sum, pool.1 + count);
        }
        pools.push(pool);
    }
    let squares = data.iter().map(|y| y * y).sum::<f64>();
    (squares - pools.iter().map(|(sum, count)| sum * sum / count).sum::<f64>()) / data.len() as f64
}
