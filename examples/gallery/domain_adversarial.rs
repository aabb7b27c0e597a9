//! Gradient reversal: a feature layer learns what a domain classifier can not tell apart.

use elbow::{Activation, gpu::transfer::Tensor};
use rand::seq::SliceRandom;

use crate::shared::{
    Chart, Lab, Report, Result, Learner, cross_entropy,
    digits::{self, CLASSES, Digits, PIXELS},
    share_right,
    statistics::mean,
};

pub(crate) const TITLE: &str = "Domain-adversarial training reverses a gradient";

const THEORY: &str = "Features h = act(Wx + b) feed a classifier of digits and one of domains, digits against digits moved by a pixel; the gradient of the \
    second is reversed on its way into W (Ganin et al. 2016). It reaches a unit only where act'(z) ≠ 0: in a ReLU layer with symmetric weights for half \
    of all pairs of a row and a unit, in a Leaky layer for all of them, with E[act'²] = (1 + a²)/2 of the squared gradient against 1/2. Reversed or not, the \
    digits' labels come from the first domain alone, and accuracy in the second measures the transfer.";

const UNITS: usize = 128;
const ROWS: usize = 128;
const SLOPE: f32 = 0.2;

/// Each image moved by a pixel to the right.
fn moved(digits: &Digits) -> Digits {
    let pixel = |image: &[f32], i: usize| if i.is_multiple_of(8) { image[i] } else { image[i - 1] };
    let x = digits.x.chunks(PIXELS).flat_map(|image| (0..PIXELS).map(move |i| pixel(image, i)));
    Digits { x: x.collect(), labels: digits.labels.clone() }
}

/// Accuracy in the second domain after training, and the share of pairs through which the gradient passes, of each unit, before it and after it.
fn train(lab: &Lab, activation: Activation, reversal: f32, seed: u64, epochs: usize) -> Result<(f64, [Vec<f64>; 2])> {
    let (gpu, mut rng) = (&lab.gpu, lab.rng(seed));
    let (source, held_out) = digits::split(&mut rng)?;
    let (target, held_out) = (moved(&source), moved(&held_out));
    let features = Learner::new(lab, &mut rng, &[PIXELS, UNITS], &[activation])?;
    let classes = Learner::new(lab, &mut rng, &[UNITS, CLASSES], &[Activation::IDENTITY])?;
    let domains = Learner::new(lab, &mut rng, &[UNITS, 32, 2], &[activation, Activation::IDENTITY])?;
    let passing = |x: &Tensor| -> Result<Vec<f64>> {
        let slopes = features.layers[0].slopes(gpu, x)?;
        let of_unit = |unit| slopes.chunks(UNITS).filter(|row: &&[f32]| row[unit] != 0.0).count() as f64;
        Ok((0..UNITS).map(|unit| of_unit(unit) / x.shape()[0] as f64).collect())
    };
    let all = gpu.upload(&target.x, &[target.len(), PIXELS])?;
    let before = passing(&all)?;
    let mut order: Vec<usize> = (0..source.len()).collect();
    for _ in 0..epochs {
        order.shuffle(&mut rng);
        for batch in order.chunks_exact(ROWS) {
            let [here, there] = [source.select(batch), target.select(batch)];
            let both = gpu.upload(&[here.x, there.x].concat(), &[2 * ROWS, PIXELS])?;
            let h = features.forward(gpu, &both)?;
            // The first domain's rows have classes; those of the second are left out of the loss.
            let logits = classes.forward(gpu, &h[0])?;
            let mut dlogits = gpu.download(&cross_entropy(gpu, &logits[0], &[here.labels, there.labels].concat())?)?;
            dlogits[ROWS * CLASSES..].fill(0.0);
            let of_classes = classes.backward(gpu, &h[0], &logits, &gpu.upload(&dlogits, &[2 * ROWS, CLASSES])?)?;
            let told = domains.forward(gpu, &h[0])?;
            let of_domains = domains.backward(gpu, &h[0], &told, &cross_entropy(gpu, &told[1], &[[0; ROWS], [1; ROWS]].concat())?)?;
            let (up, against) = (gpu.download(&of_classes[0].dx)?, gpu.download(&of_domains[0].dx)?);
            let dh: Vec<f32> = up.iter().zip(&against).map(|(up, against)| up - reversal * against).collect();
            let of_features = features.backward(gpu, &both, &h, &gpu.upload(&dh, &[2 * ROWS, UNITS])?)?;
            for (stack, gradients) in [(&features, of_features), (&classes, of_classes), (&domains, of_domains)] {
                stack.step(gpu, &gradients, 0.02)?;
            }
        }
    }
    let x = gpu.upload(&held_out.x, &[held_out.len(), PIXELS])?;
    let h = features.forward(gpu, &x)?;
    let logits = gpu.download(&classes.forward(gpu, &h[0])?[0])?;
    Ok((share_right(&logits, &held_out.labels), [before, passing(&all)?]))
}

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (seeds, epochs) = (lab.pick(8, 2), lab.pick(12, 1));
    let strengths = lab.pick(vec![0.0, 0.3, 1.0, 3.0], vec![0.0, 1.0]);
    let bar = lab.progress(2 * seeds * strengths.len(), "domain_adversarial");
    let title = "Digits moved by a pixel, after training with the labels of the others alone";
    let mut chart = Chart::new(title, "strength of the reversed gradient", "accuracy");
    let leaky = Activation::leaky_relu(SLOPE)?;
    for (name, activation, predicted) in [("ReLU", Activation::RELU, 0.5), ("Leaky", leaky, 1.0)] {
        let (mut dots, mut passing, mut trained) = (Vec::new(), Vec::new(), Vec::new());
        let mut accuracies: Vec<Vec<f64>> = Vec::new();
        for &strength in &strengths {
            let mut of_seeds = Vec::new();
            for seed in 0..seeds as u64 {
                let (accuracy, [before, after]) = train(lab, activation, strength, 100 + seed, epochs)?;
                of_seeds.push(accuracy);
                // Every strength begins with the same weights: they count once.
                passing.extend(before.into_iter().filter(|_| strength == 0.0));
                trained.extend(after.into_iter().filter(|_| strength == 1.0));
                bar.inc(1);
            }
            let (accuracy, error) = mean(&of_seeds);
            dots.push((f64::from(strength), accuracy, error));
            accuracies.push(of_seeds);
        }
        report.sampled(format!("{name}: share that the gradient passes"), predicted, mean(&passing), 4.0);
        if !lab.is_quick() {
            // Of the same seeds, so that what the beginning does to both is not counted.
            let gains = accuracies[2].iter().zip(&accuracies[0]).map(|(with, without)| with - without);
            let (gain, error) = mean(&gains.collect::<Vec<_>>());
            report.at_least(format!("{name}: gain by a reversed gradient of strength 1"), 0.0, gain, error);
        }
        let share = 100.0 * mean(&trained).0;
        report.remark(format!("{name}: after training at strength 1 the gradient passes {share:.1} % of all pairs."));
        chart = chart.line(name, dots.iter().map(|&(x, y, _)| (x, y))).dots(format!("{name}, {seeds} seeds"), dots);
    }
    bar.finish_and_clear();
    report.picture("Means of the seeds, with their standard errors", chart.svg()?);
    report.remark(
        "Theory promises features that the second classifier can not use, not that the first one gains by it: strength 1 helps a little, \
         strength 3 no more, and between the two activations accuracy shows no difference beyond its error. What differs as predicted is where \
         the gradient arrives.",
    );
    Ok(report)
}
