//! Graphs that smooth their nodes alike, and what a leaky slope can do about it.

use elbow::Activation;
use rand::RngExt;

use crate::shared::{
    Chart, Dense, Lab, Report, Result, normal,
    statistics::{mean, normal_cdf},
};

pub(crate) const TITLE: &str = "Graphs: oversmoothing, with and without a leak";

const THEORY: &str = "A graph layer takes the mean of the neighbours, then φ. Two nodes (m + d, m - d), or a ring that alternates so, change by m' = (φ(m + λd) + \
    φ(m - λd))/2 and d' = (φ(m + λd) - φ(m - λd))/2, where λ is the eigenvalue of the alternating component: -1 without self-loops, 0 for two nodes \
    with one each, -1/3 for a ring with one each. From m = 0 and λ = -1 ReLU halves d in its first layer and then keeps it; a leak keeps more at \
    first, |dₖ| = (1 + αᵏ)/2, and the same in the end. With self-loops d falls by |λ| a layer as soon as m > |λd|, whatever α; two nodes are equal \
    after one layer: no α helps (Li et al. 2018, Oono and Suzuki 2020 for linear decay in general). A mean over k neighbours of N(μ, σ²) features is \
    silent with probability Φ(-μ√k/σ): nodes of a high degree fall silent where μ < 0 and never do where μ > 0.";

const LAYERS: usize = 12;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(8));
    let graphs: [(&str, usize, f32, &[f32]); 4] = [
        ("two nodes", 2, -1.0, &[0.0, 1.0]),
        ("ring of 8", 8, -1.0, &[0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5]),
        ("two nodes, self-loops", 2, 0.0, &[0.5, 0.5]),
        ("ring of 8, self-loops", 8, -1.0 / 3.0, &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
    ];
    let alphas = [0.0f32, 0.1, 0.5, 0.9];
    let mut chart = Chart::new("The alternating component of a ring, layer by layer", "layer", "|d|").log_y();
    for (name, nodes, lambda, first) in graphs {
        // Rows of the matrix are the first one, turned; those of x are features, columns nodes.
        let total: f32 = first.iter().sum();
        let row = |i: usize| (0..nodes).map(move |j| first[(j + nodes - i) % nodes] / total);
        let w = gpu.upload(&(0..nodes).flat_map(row).collect::<Vec<f32>>(), &[nodes, nodes])?;
        let mut furthest = 0.0f64;
        for alpha in alphas {
            let activation = if alpha == 0.0 { Activation::RELU } else { Activation::leaky_relu(alpha)? };
            let layer = Dense::new(activation, w.clone(), None);
            let (mut m, mut d) = (0.0, 1.0);
            let start: Vec<f32> = (0..nodes).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
            let (mut line, mut dots) = (vec![(0.0, 1.0)], vec![(0.0, 1.0, 0.0)]);
            let mut x = gpu.upload(&start, &[1, nodes])?;
            for depth in 1..=LAYERS {
                x = layer.forward(gpu, &x)?;
                let y = gpu.download(&x)?;
                let measured = f64::from(y[0] - y[1]) / 2.0;
                let [high, low] = [1.0, -1.0].map(|sign| activation.value(m + sign * f64::from(lambda) * d));
                (m, d) = ((high + low) / 2.0, (high - low) / 2.0);
                furthest = furthest.max((measured - d).abs());
                if lambda == -1.0 {
                    furthest = furthest.max((d.abs() - (1.0 + f64::from(alpha).powi(depth as i32)) / 2.0).abs());
                }
                line.push((depth as f64, d.abs()));
                dots.push((depth as f64, measured.abs(), 0.0));
            }
            if nodes == 8 && alpha != 0.1 {
                let what = format!("{}, α = {alpha}", if lambda == -1.0 { "no self-loops" } else { "self-loops" });
                chart = chart.line(what, line).dots("measured", dots);
            }
        }
        // Twelve roundings of numbers of at most 1.
        report.within(format!("{name}: furthest |d| from theory, {LAYERS} layers, all α"), 0.0, furthest, 1e-6);
    }
    report.picture("Without self-loops half of it stays for ever; with them it is gone, for any α", chart.svg()?);

    // A random graph, whose layer is the mean of k neighbours. Channels are independent samples.
    let (nodes, channels) = (lab.pick(512, 192), lab.pick(1024, 256));
    let mut neighbours = vec![vec![false; nodes]; nodes];
    for (i, j) in (0..nodes).flat_map(|i| (0..i).map(move |j| (i, j))) {
        let edge = rng.random_range(0.0..1.0) < 5.0 / nodes as f64;
        (neighbours[i][j], neighbours[j][i]) = (edge, edge);
    }
    let degree: Vec<usize> = neighbours.iter().map(|row| row.iter().filter(|edge| **edge).count()).collect();
    let part = |i: usize, edge: &bool| f32::from(u8::from(*edge)) / degree[i].max(1) as f32;
    let w: Vec<f32> = (0..nodes).flat_map(|i| neighbours[i].iter().map(move |edge| part(i, edge))).collect();
    let layer = Dense::new(Activation::RELU, gpu.upload(&w, &[nodes, nodes])?, None);
    let mut chart = Chart::new("Silent units of a random graph, by the degree of their node", "degree", "share silent");
    for mu in [-0.5f32, 0.0, 0.5] {
        let features: Vec<f32> = (0..channels * nodes).map(|_| mu + normal(&mut rng)).collect();
        let y = gpu.download(&layer.forward(gpu, &gpu.upload(&features, &[channels, nodes])?)?)?;
        let theory = |k: usize| normal_cdf(-f64::from(mu) * (k as f64).sqrt());
        let mut dots = Vec::new();
        for k in 1..=10 {
            let of: Vec<usize> = (0..nodes).filter(|i| degree[*i] == k).collect();
            let silent = |row: &[f32]| of.iter().filter(|i| row[**i] == 0.0).count() as f64 / of.len() as f64;
            let share = mean(&y.chunks(nodes).map(silent).collect::<Vec<f64>>());
            dots.push((k as f64, share.0, share.1));
            if [1, 4, 8].contains(&k) {
                let what = format!("silent units, degree {k}, μ = {mu}");
                report.sampled(what, theory(k), share, 4.0);
            }
        }
        chart = chart.line(format!("Φ(-μ√k), μ = {mu}"), (1..=10).map(|k| (k as f64, theory(k)))).dots("measured", dots);
    }
    report.picture("Means of k neighbours with features of deviation 1", chart.svg()?);
    report.remark(format!("A random graph of {nodes} nodes and mean degree 5, {channels} channels."));
    Ok(report)
}
