//! How far an image of a digit may move before a network can change its mind: from norms, and from intervals.

use elbow::Activation;
use rand::RngExt;

use crate::shared::{
    Chart, Lab, Report, Result, Stack,
    classes::one_hot,
    digits::{CLASSES, PIXELS},
    matrices::{largest_singular_value, orthogonal},
    reader,
};

pub(crate) const TITLE: &str = "Certified radii: how far an input may move";

const THEORY: &str = "ReLU and Leaky ReLU have slopes of at most 1, so a network moves by at most L = Π ‖Wₗ‖₂ times what its input does, and the difference of two \
    of its outputs by √2 L. A decision whose *margin* is m is safe within r = m / (√2 L) (Tsuzuku et al. 2018). On |z| ≤ R the two activations \
    differ by at most αR, so with the same two layers their radii differ by at most αR/‖W₁‖₂. Intervals l ≤ x ≤ u go through a layer as two \
    networks do: l' = φ(W⁺l + W⁻u + b), u' = φ(W⁺u + W⁻l + b) (Gowal et al. 2018), which holds for every input of the box and is reached by a \
    corner of it in the first layer.";

const ALPHA: f32 = 0.1;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(4));
    // Known singular values, 3, 2.4 and smaller ones: what is left of the second after 50 steps is (2.4/3)^100.
    let q = orthogonal(&mut rng, 32);
    let known: Vec<f32> = (0..32 * 32).map(|at| (q[at] * 3.0 * 0.8f64.powi(at as i32 % 32)) as f32).collect();
    let measured = largest_singular_value(gpu, &gpu.upload(&known, &[32, 32])?, 50)?;
    report.within("‖W‖₂ of a matrix made with 3, power iteration", 3.0, measured, 1e-5);

    let (relu, _, test) = reader(lab, &[64], Activation::RELU, (4, lab.pick(20, 3)))?;
    let leaky = relu.with(Activation::leaky_relu(ALPHA)?);
    let images = lab.pick(256, 32);
    let x = gpu.upload(&test.x[..images * PIXELS], &[images, PIXELS])?;
    // Power iteration comes from below: after 100 steps by less than ln(64)/200, whatever the other values.
    let norm = |layer: usize| largest_singular_value(gpu, &relu.layers[layer].w, 100).map(|norm| 1.03 * norm);
    let norms = [norm(0)?, norm(1)?];
    let decide = |y: &[f32]| Decision::of(y, norms[0] * norms[1]);
    let radii = |network: &Stack| Ok(network.outputs(gpu, &x)?.chunks(CLASSES).map(decide).collect());
    let [plain, other]: [Result<Vec<Decision>>; 2] = [radii(&relu), radii(&leaky)];
    let (plain, other) = (plain?, other?);
    let (_, z) = relu.layers[0].forward_with_z(gpu, &x)?;
    let z = gpu.download(&z)?;
    let pairs = plain.iter().zip(&other).zip(z.chunks(64));
    let share = pairs.filter(|((a, b), _)| (a.class, a.next) == (b.class, b.next)).map(|((a, b), z)| {
        let below = z.iter().map(|z| f64::from(z.min(0.0)).powi(2)).sum::<f64>().sqrt();
        (a.radius - b.radius).abs() / (f64::from(ALPHA) * below / norms[0])
    });
    report.at_most("largest |r(ReLU) - r(Leaky)| / (αR/‖W₁‖)", 1.0, share.fold(0.0, f64::max), 0.0);

    // The nearest change of mind on the way down the margin, which is not the nearest of all.
    let (next, class) = (one_hot(plain.iter().map(|d| d.next)), one_hot(plain.iter().map(|d| d.class)));
    let dy: Vec<f32> = next.iter().zip(class).map(|(next, class)| next - class).collect();
    let direction = relu.slopes(gpu, &x, &gpu.upload(&dy, &[images, CLASSES])?)?;
    let (mut nearest, mut flips) = (f64::INFINITY, Vec::new());
    for ((image, decision), along) in plain.iter().enumerate().zip(direction.chunks(PIXELS)) {
        let from = test.image(image);
        let length = along.iter().map(|d| d * d).sum::<f32>().sqrt();
        let moved = |step: usize| from.iter().zip(along).map(move |(x, d)| x + d / length * 0.05 * step as f32);
        let moved = gpu.upload(&(0..400).flat_map(moved).collect::<Vec<f32>>(), &[400, PIXELS])?;
        let (y, other) = (relu.outputs(gpu, &moved)?, |y: &[f32]| Decision::of(y, 1.0).class != decision.class);
        let Some(step) = y.chunks(CLASSES).position(other) else { continue };
        flips.push((decision.radius, 0.05 * step as f64, 0.0));
        nearest = nearest.min(0.05 * step as f64 / decision.radius);
    }
    report.at_least("nearest change of mind found / certified radius", 1.0, nearest, 0.0);

    // Boxes of half a deviation of a pixel around images; and the corner of each that first-layer unit i likes best.
    let epsilon = 0.5f32;
    let boxes = relu.intervals(gpu)?;
    let (mut outside, mut corners, tries) = (0, 0.0f64, lab.pick(100_000, 4096) / 8);
    for image in 0..8 {
        let at = test.image(image);
        let ends: Vec<f32> = [-epsilon, epsilon].iter().flat_map(|e| at.iter().map(move |x| x + e)).collect();
        let bounds = boxes.forward(gpu, &gpu.upload(&ends, &[1, 2 * PIXELS])?)?;
        let shaken: Vec<f32> = (0..tries).flat_map(|_| at).map(|x| x + rng.random_range(-epsilon..=epsilon)).collect();
        let inside = relu.forward(gpu, &gpu.upload(&shaken, &[tries, PIXELS])?)?;
        for (bounds, inside) in bounds.iter().zip(&inside) {
            let (bounds, n) = (gpu.download(bounds)?, inside.shape()[1]);
            // Rounded sums of up to 128 numbers.
            let within = |(i, y): (usize, &f32)| (bounds[i % n] - 1e-5..=bounds[n + i % n] + 1e-5).contains(y);
            outside += gpu.download(inside)?.iter().enumerate().filter(|&each| !within(each)).count();
        }
        let w = gpu.download(&relu.layers[0].w)?;
        let best: Vec<f32> = w.iter().enumerate().map(|(i, w)| at[i % PIXELS] + epsilon * w.signum()).collect();
        let best = gpu.download(&relu.layers[0].forward(gpu, &gpu.upload(&best, &[64, PIXELS])?)?)?;
        let upper = gpu.download(&bounds[0])?;
        corners = (0..64).map(|i| f64::from((best[i * 65] - upper[64 + i]).abs())).fold(corners, f64::max);
    }
    report.within(format!("values outside of intervals, {} tries", 8 * tries), 0.0, outside as f64, 0.0);
    report.within("largest |upper end - y at its corner|, first layer", 0.0, corners, 1e-5);
    report.remark(format!(
        "{images} images, 64 hidden units, L = {:.1}. The nearest change of mind found is {nearest:.1} radii away: a product of \
         norms is safe, not tight.",
        norms[0] * norms[1]
    ));
    let most = flips.iter().map(|flip| flip.0).fold(0.0, f64::max);
    let chart = Chart::new("Certified radius, and where the network changed its mind", "certified radius", "distance moved");
    let chart = chart.line("the radius itself", [(0.0, 0.0), (most, most)]).other_dots("change of mind", flips);
    report.picture("Each dot an image, moved down the slope of its margin: none lies below the line", chart.svg()?);
    Ok(report)
}

/// What a network says of an image, what it would say next, and how far that is.
struct Decision {
    class: usize,
    next: usize,
    radius: f64,
}

impl Decision {
    fn of(y: &[f32], lipschitz: f64) -> Self {
        let mut order: Vec<usize> = (0..y.len()).collect();
        order.sort_by(|&a, &b| y[b].total_cmp(&y[a]));
        let radius = f64::from(y[order[0]] - y[order[1]]) / (2f64.sqrt() * lipschitz);
        Decision { class: order[0], next: order[1], radius }
    }
}
