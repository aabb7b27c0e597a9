//! A portfolio of call options is a layer of ReLUs; its smoothed sums are prices, with delta and gamma beside them.

use elbow::{Activation, Jet, affine::Forward};
use rand::RngExt;

use crate::shared::{
    Chart, Dense, Lab, Report, Result,
    statistics::{normal_cdf, normal_density},
};

pub(crate) const TITLE: &str = "Call options are ReLUs";

const THEORY: &str = "A call with strike K pays max(S - K, 0), so a portfolio Σ q max(S - K, 0) is a ReLU layer with weights 1, biases -K and an output layer q: exactly. With q ≥ 0 it is convex and monotone in S, whatever the strikes. \
    Its price under Black and Scholes (1973) is the mean over the lognormal S e^(σ√T Z - σ²T/2): by quadrature again a ReLU layer, whose weights are those factors. Its slope, dx of backward, is the delta Φ(d₁). ReLU has no second derivative to see: \
    the gamma φ(d₁)/(Sσ√T) comes from softplus_β, carried along as a jet. That is the price of a strike with a logistic error of deviation π/(√3 β), which changes the gamma by at most π²/(6β²) times its second derivative by the strike.";

const STRIKE: f64 = 100.0;
/// σ√T: a year at 25 %.
const SIGMA: f64 = 0.25;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(9));
    // Strikes, holdings and prices are multiples of 1/4, and sums below 2^24 of them: every product and sum is exact in f32.
    let calls = lab.pick(512, 64);
    let strikes: Vec<f32> = (0..calls).map(|_| -(rng.random_range(200..600) as f32) / 4.0).collect();
    let holdings: Vec<f32> = (0..calls).map(|_| rng.random_range(1..16) as f32).collect();
    let grid: Vec<f32> = (0..=1000).map(|i| i as f32 / 4.0).collect();
    let (spots, points) = (gpu.upload(&grid, &[grid.len(), 1])?, grid.len());
    let ones = gpu.upload(&vec![1.0; calls], &[calls, 1])?;
    let payoffs = Dense::new(Activation::RELU, ones, gpu.upload(&strikes, &[calls])?).forward(gpu, &spots)?;
    let long = Dense::new(Activation::IDENTITY, gpu.upload(&holdings, &[1, calls])?, None);
    let value = gpu.download(&long.forward(gpu, &payoffs)?)?;
    let paid = |s: f32| strikes.iter().zip(&holdings).map(|(k, q)| f64::from(*q) * f64::from((s + k).max(0.0))).sum::<f64>();
    let off = value.iter().zip(&grid).map(|(&v, &s)| (f64::from(v) - paid(s)).abs()).fold(0.0, f64::max);
    report.within(format!("largest error of {calls} calls at {points} prices"), 0.0, off, 0.0);
    let least = |f: &dyn Fn(&[f32]) -> f32, v: &[f32]| f64::from(v.windows(3).map(f).fold(f32::INFINITY, f32::min));
    report.at_least("least second difference, q ≥ 0", 0.0, least(&|v| v[0] - 2.0 * v[1] + v[2], &value), 0.0);
    report.at_least("least first difference, q ≥ 0", 0.0, least(&|v| v[1] - v[0], &value), 0.0);
    // One short call among them is a concave kink, if no other has its strike.
    let mut short = holdings.clone();
    (short[0], short[1]) = (-15.0, 1.0);
    let value = gpu.download(&Dense::new(Activation::IDENTITY, gpu.upload(&short, &[1, calls])?, None).forward(gpu, &payoffs)?)?;
    let at = |k: f32| short.iter().zip(&strikes).filter(|(_, strike)| **strike == -k).map(|(q, _)| *q).sum::<f32>();
    let concave = grid.iter().map(|&k| at(k)).fold(f32::INFINITY, f32::min);
    report.within("least second difference, one q = -15", f64::from(concave) / 4.0, least(&|v| v[0] - 2.0 * v[1] + v[2], &value), 0.0);

    // Midpoints of the normal distribution on [-6, 6], whose weights are normed to a mean of 1 for S: a martingale, as the price wants.
    let nodes = lab.pick(2048, 1024);
    let z: Vec<f64> = (0..nodes).map(|i| 12.0 * (i as f64 + 0.5) / nodes as f64 - 6.0).collect();
    let factors: Vec<f32> = z.iter().map(|z| (SIGMA * z - 0.5 * SIGMA * SIGMA).exp() as f32).collect();
    let weights: Vec<f32> = z.iter().map(|&z| (normal_density(z) * 12.0 / nodes as f64) as f32).collect();
    let (w, b) = (gpu.upload(&factors, &[nodes, 1])?, gpu.upload(&vec![-STRIKE as f32; nodes], &[nodes])?);
    let out = gpu.upload(&weights, &[1, nodes])?;
    let prices: Vec<f64> = (0..=48).map(|i| 60.0 + 2.5 * f64::from(i)).collect();
    let rows = prices.len();
    let spots = gpu.upload(&prices.iter().map(|s| *s as f32).collect::<Vec<_>>(), &[rows, 1])?;
    let hidden = Dense::new(Activation::RELU, gpu.upload(&factors, &[nodes, 1])?, gpu.upload(&vec![-STRIKE as f32; nodes], &[nodes])?);
    let last = Dense::new(Activation::IDENTITY, gpu.upload(&weights, &[1, nodes])?, None);
    let payoffs = hidden.forward(gpu, &spots)?;
    let price = gpu.download(&last.forward(gpu, &payoffs)?)?;
    let dy = last.backward(gpu, &payoffs, &gpu.upload(&vec![1.0; rows], &[rows, 1])?)?.dx;
    let delta = gpu.download(&hidden.backward(gpu, &spots, &dy)?.dx)?;
    let d1 = |s: f64| (s / STRIKE).ln() / SIGMA + 0.5 * SIGMA;
    let worst = |seen: &[f32], theory: &dyn Fn(f64) -> f64| {
        seen.iter().zip(&prices).map(|(&seen, &s)| (f64::from(seen) - theory(s)).abs()).fold(0.0, f64::max)
    };
    let black_scholes = |s: f64| s * normal_cdf(d1(s)) - STRIKE * normal_cdf(d1(s) - SIGMA);
    let (gamma_of, step) = (|s: f64| normal_density(d1(s)) / (s * SIGMA), 12.0 / nodes as f64);
    // A kink between two nodes: h²/8 of the integrand's jump in slope, 0.4 SIGMA S; and 1,000 numbers of 100 rounded to f32.
    report.within("largest error of the price", 0.0, worst(&price, &black_scholes), step * step / 8.0 * 0.4 * SIGMA * 180.0 + 1e-4);
    // A jump between two nodes: half of a node's weight, whose density is at most 0.4, times its factor.
    report.within("largest error of delta, by dx", 0.0, worst(&delta, &|s| normal_cdf(d1(s))), 0.5 * step * 0.4 * 2.0);

    let jet = Jet::two([1.0, 0.0, 0.0])?;
    let rows_of = |s: &f64| [*s as f32, 1.0, 0.0, 0.0];
    let x = gpu.upload(&prices.iter().flat_map(rows_of).collect::<Vec<_>>(), &[rows, 4, 1])?;
    let mut chart = Chart::new("Gamma of a call, strike 100, 25 %", "price", "gamma");
    chart = chart.line("Black and Scholes", (600..=1800).map(|s| f64::from(s) / 10.0).map(|s| (s, gamma_of(s))));
    for beta in [0.25, 0.5, 1.0f64] {
        let (h, y) = (gpu.zeros(&[rows, 4, nodes])?, gpu.zeros(&[rows, 4, 1])?);
        let smooth = Forward::new(Activation::softplus(beta as f32)?, &x, &w, &h).b(&b).jet(jet);
        gpu.submit(|encoder| smooth.record(gpu, encoder))?;
        gpu.submit(|encoder| Forward::new(Activation::IDENTITY, &h, &out, &y).jet(jet).record(gpu, encoder))?;
        let gamma: Vec<f32> = gpu.download(&y)?.chunks(4).map(|rows| rows[3]).collect();
        // Half of the error's variance times the largest second derivative by the strike; by Γ(S, K) = Γ(100 S/K, 100) 100/K.
        let of_strike = |s: f64, k: f64| gamma_of(s * STRIKE / k) * STRIKE / k;
        let curve = |s: f64| of_strike(s, 99.0) - 2.0 * of_strike(s, 100.0) + of_strike(s, 101.0);
        let most = (400..2000).map(|s| curve(f64::from(s) / 10.0).abs()).fold(0.0, f64::max);
        let bound = std::f64::consts::PI.powi(2) / (6.0 * beta * beta) * most;
        report.at_most(format!("largest error of gamma, softplus β = {beta}"), bound, worst(&gamma, &gamma_of), 0.0);
        let dots = prices.iter().zip(gamma).step_by(2).map(|(s, gamma)| (*s, f64::from(gamma), 0.0));
        chart = chart.other_dots(format!("softplus, β = {beta}"), dots.collect::<Vec<_>>());
    }
    report.picture("The second derivative of a smoothed layer, which ReLU does not have", chart.svg()?);
    Ok(report)
}
