//! Which weights can go: those of units that seldom fire.

use elbow::{Activation, mlp::Parameters};

use crate::shared::{
    Chart, Dense, Lab, Report, Result,
    classes::{cross_entropy, softmax},
    classifier,
    curvature::curvature,
    digits::{CLASSES, PIXELS},
    learnt, normal,
    statistics::{correlation, mean, normal_cdf, normal_density},
};

pub(crate) const TITLE: &str = "Pruning: a weight matters as often as its unit fires";

const THEORY: &str = "Optimal brain damage (LeCun et al. 1990) gives a weight the saliency ½ h w², where h is the curvature of the loss. For weight j of ReLU unit i \
    that is h = E[gᵢ² xⱼ²; zᵢ > 0] with gᵢ the gradient that reaches the unit's output: if gate and factors were independent, pᵢ E[gᵢ²xⱼ²], \
    proportional to the probability pᵢ that the unit fires. For normal inputs and z = w·x + b it is exact up to one term: with c = b/|w|, p = Φ(c), \
    E[xⱼ²; z > 0] = p - (wⱼ/|w|)² c φ(c). So weights are to be pruned by h w²; by p w² if units differ in nothing but how often they fire.";

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(6));
    // Normal inputs: units of all biases; each batch of rows is one sample.
    let (units, d, rows, batches) = (16, 8, 1024, lab.pick(400, 40));
    let w: Vec<f32> = (0..units * d).map(|_| normal(&mut rng)).collect();
    let length = |unit: usize| w[unit * d..][..d].iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
    let c = |unit: usize| -2.0 + 4.0 * unit as f64 / (units - 1) as f64;
    let b: Vec<f32> = (0..units).map(|unit| (c(unit) * length(unit)) as f32).collect();
    let layer = Dense::new(Activation::RELU, gpu.upload(&w, &[units, d])?, gpu.upload(&b, &[units])?);
    let ones = gpu.upload(&vec![1.0; rows * units], &[rows, units])?;
    let mut samples = vec![Vec::new(); units * d];
    for _ in 0..batches {
        let x = lab.normal(&mut rng, 1.0, &[rows, d])?;
        let h = curvature(gpu, &layer, &x, &ones)?;
        samples.iter_mut().zip(h).for_each(|(all, h)| all.push(f64::from(h)));
    }
    let exact = |at: usize| {
        let (c, share) = (c(at / d), f64::from(w[at]) / length(at / d));
        normal_cdf(c) - share * share * c * normal_density(c)
    };
    for at in [0, 4 * d + 1, 8 * d + 2, 15 * d + 3] {
        let p = normal_cdf(c(at / d));
        report.sampled(format!("h of a weight, p = {p:.3}"), exact(at), mean(&samples[at]), 4.0);
    }
    // χ²/n is 1 ± √(2/n) of n independent cases: units, for the weights of one share its gate.
    let off = |(at, (h, error)): (usize, (f64, f64))| ((h - exact(at)) / error).powi(2) / (units * d) as f64;
    let chi = samples.iter().map(|all| mean(all)).enumerate().map(off).sum();
    report.sampled(format!("χ² of all {} weights, each", units * d), 1.0, (chi, (2.0 / units as f64).sqrt()), 4.0);

    // Biases that begin at 0 would leave all units firing for about half of the images.
    let mlp = classifier(lab, &[64], Activation::RELU, 6)?;
    let first = mlp.parameters(0).ok_or("a network without layers")?;
    let spread = gpu.upload(&(0..64).map(|i| (i as f32 - 31.5) * 6.0 / 63.0).collect::<Vec<f32>>(), &[64])?;
    gpu.submit(|encoder| mlp.set_parameters(gpu, encoder, 0, &Parameters::new(first.w, &spread)))?;
    let (network, training, _) = learnt(lab, mlp, (6, lab.pick(20, 4)))?;
    let x = gpu.upload(&training.x, &[training.len(), PIXELS])?;
    // The curvature along a unit's output is the variance of its weights to the classes, under softmax.
    let hidden = network.forward(gpu, &x)?;
    let (logits, w2) = (gpu.download(&hidden[1])?, gpu.download(&network.layers[1].w)?);
    let mut g2: Vec<f32> = Vec::new();
    for y in logits.chunks(CLASSES) {
        let share = softmax(y);
        let moment = |i: usize, power: i32| (0..CLASSES).map(|c| share[c] * w2[c * 64 + i].powi(power)).sum::<f32>();
        g2.extend((0..64).map(|i| moment(i, 2) - moment(i, 1).powi(2)));
    }
    let squares = gpu.upload(&g2, &[training.len(), 64])?;
    let h = curvature(gpu, &network.layers[0], &x, &squares)?;
    let of = |values: &[f32]| mean(&values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>()).0;
    let column = |values: &[f32], i: usize| of(&values.iter().skip(i).step_by(64).copied().collect::<Vec<f32>>());
    let on: Vec<f32> = gpu.download(&hidden[0])?.iter().map(|y| f32::from(u8::from(*y > 0.0))).collect();
    let firing: Vec<f64> = (0..64).map(|i| column(&on, i)).collect();
    let of_unit = |i: usize| (firing[i], of(&h[i * PIXELS..][..PIXELS]) / column(&g2, i));
    let pairs: Vec<(f64, f64)> = (0..64).map(of_unit).collect();
    // Without any relation a correlation of 64 pairs is 0 ± 1/√63.
    let off = 1.0 / 63f64.sqrt();
    report.at_least("correlation of h / E[g²] and p, digits", 4.0 * off, correlation(&pairs), off);
    // What is left of the decisions when more and more weights of the first layer are 0.
    let w = gpu.download(&network.layers[0].w)?;
    let by = |rule: &dyn Fn(usize) -> f64| -> Result<Vec<(f64, f64, f64)>> {
        let mut order: Vec<usize> = (0..w.len()).collect();
        order.sort_by(|&a, &b| rule(a).total_cmp(&rule(b)));
        let mut curve = Vec::new();
        for percent in (50..=95).step_by(5) {
            let mut left = w.clone();
            order[..w.len() * percent / 100].iter().for_each(|&at| left[at] = 0.0);
            let first = Dense::new(Activation::RELU, gpu.upload(&left, &[64, PIXELS])?, network.layers[0].b.clone());
            let y = gpu.download(&network.layers[1].forward(gpu, &first.forward(gpu, &x)?)?)?;
            curve.push((percent as f64, cross_entropy(&y, &training), 0.0));
        }
        Ok(curve)
    };
    let square = |at: usize| f64::from(w[at]).powi(2);
    let plain = by(&square)?;
    let often = by(&|at| firing[at / PIXELS] * square(at))?;
    let full = by(&|at| f64::from(h[at]) * square(at))?;
    // The expansion behind a saliency is for small changes: half of the weights, whose loss is still near the whole network's.
    report.at_most("loss without half of W₁: by p w² / by w²", 1.0, often[0].1 / plain[0].1, 0.0);
    report.at_most("loss without half of W₁: by h w² / by w²", 1.0, full[0].1 / plain[0].1, 0.0);
    report.remark(format!(
        "Without 85 % of weights p w² makes a loss of {:.2} times that of w² (h w²: {:.2}): so far from the whole network no expansion holds, and p \
         without E[xⱼ²] is not enough. If biases begin at 0 no correlation is to be seen (-0.2 after 4 epochs): all units fire for 42 to 55 % of the \
         images, and what their gates have to do with errors differs more, by a factor of 0.7 to 2.",
        often[7].1 / plain[7].1,
        full[7].1 / plain[7].1
    ));
    let chart = Chart::new("Loss of a digit reader without its least weights", "% of first layer removed", "cross-entropy");
    let chart = chart.log_y().other_dots("least w²", plain).other_dots("least p w²", often);
    report.picture("64 units, biases from -3 to 3 at first", chart.other_dots("least h w²", full).svg()?);
    Ok(report)
}
