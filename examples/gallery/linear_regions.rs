//! A ReLU network is linear in pieces: how many there are, and what changes at their borders.

use std::collections::BTreeSet;

use elbow::Activation;
use rand::RngExt;

use crate::shared::{Chart, Dense, Lab, Report, Result, Stack, digits::PIXELS, normal, reader};

pub(crate) const TITLE: &str = "Linear regions: how many pieces a ReLU network has";

const THEORY: &str = "Each ReLU unit folds space along the line w·x + b = 0, and between the folds the network is linear. n lines in general position cut the \
    plane into 1 + n + n(n-1)/2 regions (Steiner 1826; Zaslavsky 1975 for any dimension): three make seven. In f = Σ vᵢ relu(wᵢ·x + bᵢ) the gradient of a \
    region is Σ vᵢwᵢ over the units that are on, so that it jumps by vᵢwᵢ across border i. Along a straight line a unit of the *first* layer is met \
    at most once: a path has one region more than there are units whose sign differs at its ends. Depth multiplies: k layers of two units that fold \
    [0, 1] as a tent give 2ᵏ pieces (Telgarsky 2016), though trained networks stay far below such bounds (Hanin and Rolnick 2019).";

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(3));
    for lines in [3, lab.pick(8, 5), lab.pick(24, 9)] {
        let units: Vec<[f32; 3]> = (0..lines).map(|_| [0; 3].map(|_| normal(&mut rng))).collect();
        // Every region has a crossing of two lines for a corner: four points around each, nearer than any third line, visit all of them.
        let at = |unit: &[f32; 3], [x, y]: [f64; 2]| {
            let [a, b, c] = unit.map(f64::from);
            (a * x + b * y + c) / a.hypot(b)
        };
        let mut points: Vec<f32> = Vec::new();
        for (i, j) in (0..lines).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let ([a, b, c], [d, e, f]) = (units[i].map(f64::from), units[j].map(f64::from));
            let corner = [(b * f - c * e) / (a * e - b * d), (c * d - a * f) / (a * e - b * d)];
            let others = units.iter().enumerate().filter(|(k, _)| ![i, j].contains(k));
            let room = others.map(|(_, unit)| at(unit, corner).abs()).fold(1.0, f64::min) / 2.0;
            // Along the sum and the difference of the two lines' directions lie the middles of the four sectors.
            let (one, other) = ([-b / a.hypot(b), a / a.hypot(b)], [-e / d.hypot(e), d / d.hypot(e)]);
            for (s, t) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
                points.extend((0..2).map(|k| (corner[k] + room * (s * one[k] + t * other[k]) / 2.0) as f32));
            }
        }
        let weights: Vec<f32> = units.iter().flat_map(|unit| [unit[0], unit[1]]).collect();
        let biases = gpu.upload(&units.iter().map(|unit| unit[2]).collect::<Vec<f32>>(), &[lines])?;
        let layer = Dense::new(Activation::RELU, gpu.upload(&weights, &[lines, 2])?, biases);
        let rows = points.len() / 2;
        let x = gpu.upload(&points, &[rows, 2])?;
        let patterns = patterns(&gpu.download(&layer.forward(gpu, &x)?)?, lines);
        let regions = patterns.iter().collect::<BTreeSet<_>>().len();
        report.within(format!("regions of {lines} lines"), (1 + lines + lines * (lines - 1) / 2) as f64, regions as f64, 0.0);
        // Gradients: those of each point, and the jumps between points whose patterns differ in one unit.
        let v: Vec<f32> = (0..lines).map(|_| normal(&mut rng)).collect();
        let dy = gpu.upload(&v.repeat(rows), &[rows, lines])?;
        let dx = gpu.download(&layer.backward(gpu, &x, &dy)?.dx)?;
        let (mut jumps, mut furthest) = (BTreeSet::new(), 0.0f64);
        for (p, q) in (0..rows).flat_map(|p| (0..p).map(move |q| (p, q))) {
            let mut differ = (0..lines).filter(|&unit| patterns[p][unit] != patterns[q][unit]);
            let (Some(unit), None) = (differ.next(), differ.next()) else { continue };
            let sign = if patterns[p][unit] { 1.0 } else { -1.0 };
            let jump = |k: usize| sign * f64::from(dx[2 * p + k] - dx[2 * q + k]);
            let off = |k: usize| (jump(k) - f64::from(v[unit]) * f64::from(units[unit][k])).abs();
            furthest = furthest.max(off(0)).max(off(1));
            jumps.insert(unit);
        }
        report.within(format!("borders of {lines} that were crossed"), lines as f64, jumps.len() as f64, 0.0);
        // Two sums of `lines` terms of order 1 in f32.
        report.within("largest |jump of the gradient - vᵢwᵢ|", 0.0, furthest, lines as f64 * 1e-6);
    }
    // Tents on tents, in numbers that f32 has.
    let grid: Vec<f32> = (0..=8192).map(|i| i as f32 / 8192.0).collect();
    let mut deep = Stack { layers: Vec::new() };
    for depth in 1..=8 {
        let w = if depth == 1 { gpu.upload(&[1.0, 1.0], &[2, 1])? } else { gpu.upload(&[2.0, -4.0, 2.0, -4.0], &[2, 2])? };
        deep.layers.push(Dense::new(Activation::RELU, w, gpu.upload(&[0.0, -0.5], &[2])?));
        let hidden = deep.forward(gpu, &gpu.upload(&grid, &[grid.len(), 1])?)?.pop().ok_or("no layers")?;
        let y: Vec<f32> = gpu.download(&hidden)?.chunks(2).map(|h| 2.0 * h[0] - 4.0 * h[1]).collect();
        let slopes: Vec<f32> = y.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let pieces = 1 + slopes.windows(2).filter(|pair| pair[0] != pair[1]).count();
        if depth % 4 == 0 {
            report.within(format!("pieces of {depth} tents, 2 units each"), f64::from(1 << depth), pieces as f64, 0.0);
        }
    }
    // Straight lines between images of the digits that training did not see.
    let (network, _, test) = reader(lab, &[64, 64], Activation::RELU, (3, lab.pick(20, 2)))?;
    let (paths, fine, mut met) = (lab.pick(16, 4), 4096, [Vec::new(), Vec::new(), Vec::new()]);
    for path in 0..paths {
        let [from, to] = [0; 2].map(|_| test.image(rng.random_range(0..test.len())));
        let between = |i: usize| from.iter().zip(to).map(move |(a, b)| a + (b - a) * i as f32 / fine as f32);
        let x = gpu.upload(&(0..=fine).flat_map(between).collect::<Vec<f32>>(), &[fine + 1, PIXELS])?;
        let hidden = network.forward(gpu, &x)?;
        let layers = [&hidden[0], &hidden[1]].map(|y| Ok(patterns(&gpu.download(y)?, 64)));
        let [first, second]: [elbow::Result<Vec<Vec<bool>>>; 2] = layers;
        let (first, second) = (first?, second?);
        let flips = |layer: &[Vec<bool>]| layer.windows(2).map(|pair| differing(&pair[0], &pair[1])).sum::<usize>();
        let counts = [differing(&first[0], &first[fine]), flips(&first), flips(&first) + flips(&second)];
        met.iter_mut().zip(counts).for_each(|(all, count)| all.push((path as f64, count as f64, 0.0)));
    }
    let sum = |of: usize| met[of].iter().map(|point| point.1).sum::<f64>();
    report.within(format!("first layer's borders on {paths} paths between digits"), sum(0), sum(1), 0.0);
    let most = met[2].iter().map(|point| point.1).fold(0.0, f64::max);
    report.at_most("most borders of a path through 64 and 64 units", 64.0 + 65.0 * 64.0, most, 0.0);
    report.remark(format!(
        "A path between two digits meets {:.0} borders of the first layer and {:.0} of both, of 128 units: fewer than there are units, and far \
         from the 4224 that depth allows, as Hanin and Rolnick found.",
        sum(1) / paths as f64,
        sum(2) / paths as f64
    ));
    let [_, first, both] = met;
    let chart = Chart::new("Borders on straight paths between digits", "path", "borders met");
    let chart = chart.line("units: 128", [(0.0, 128.0), (paths as f64 - 1.0, 128.0)]).other_dots("both layers", both);
    report.picture("Two trained layers of 64 units", chart.other_dots("first layer", first).svg()?);
    Ok(report)
}

/// Which units are on, for each row.
fn patterns(y: &[f32], units: usize) -> Vec<Vec<bool>> {
    y.chunks(units).map(|row| row.iter().map(|&y| y > 0.0).collect()).collect()
}

fn differing(a: &[bool], b: &[bool]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}
