//! What one neuron learns from one example: error times gate times input.

use elbow::{Activation, affine::Forward};

use crate::shared::{
    Chart, Lab, Report, Result,
    digits::{PIXELS, split},
    normal,
};

pub(crate) const TITLE: &str = "One neuron's lesson: error × gate × input";

const THEORY: &str = "For the loss ½(y - t)² of one neuron y = φ(w·x + b), gradient descent moves w by -η (y - t) φ'(z) x: Hebb's product of what comes in and \
    what goes on, with the error for a teacher and the slope for a gate (Widrow and Hoff 1960 without the gate). Where the gate of a ReLU is shut \
    nothing is learnt, whatever the error. A Leaky neuron learns α of what an open one does, softplus σ(z) of it. Before any learning half of all \
    gates are shut; the length of a lesson is |Δw| = η |y - t| φ'(z) |x|.";

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(7));
    let (training, _) = split(&mut rng)?;
    // Each image is a batch layer's only row, with a neuron of its own: gates of different neurons are independent.
    let images = lab.pick(training.len(), 256);
    let x = gpu.upload(&training.x[..images * PIXELS], &[images, 1, PIXELS])?;
    let deviation = 1.0 / (PIXELS as f32).sqrt();
    let w = lab.normal(&mut rng, deviation, &[images, 1, PIXELS])?;
    let weights = gpu.download(&w)?;
    // Is it a three?
    let targets: Vec<f32> = training.labels[..images].iter().map(|label| f32::from(u8::from(*label == 3))).collect();
    let rate = 0.1f32;
    let mut chart = Chart::new("How much a neuron learns, by its pre-activation", "z", "|Δw| / (η |error| |x|)");
    let leaky = Activation::leaky_relu(0.2)?;
    for (name, activation) in [("ReLU", Activation::RELU), ("Leaky 0.2", leaky), ("softplus", Activation::softplus(1.0)?)] {
        let y = gpu.zeros(&[images, 1, 1])?;
        let layer = Forward::new(activation, &x, &w, &y);
        gpu.submit(|encoder| layer.record(gpu, encoder))?;
        let error: Vec<f32> = gpu.download(&y)?.iter().zip(&targets).map(|(y, target)| y - target).collect();
        let (dy, dw) = (gpu.upload(&error, &[images, 1, 1])?, gpu.zeros(&[images, 1, PIXELS])?);
        gpu.submit(|encoder| layer.backward(&dy).dw(&dw).record(gpu, encoder))?;
        let updates: Vec<f32> = gpu.download(&dw)?.iter().map(|dw| -rate * dw).collect();
        // In f64, on the host.
        let (mut furthest, mut shut, mut learnt, mut dots) = (0.0f64, 0usize, 0usize, Vec::new());
        for (image, update) in updates.chunks(PIXELS).enumerate() {
            let input = training.image(image);
            let z: f64 = input.iter().zip(&weights[image * PIXELS..]).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            let lesson = -f64::from(rate) * (activation.value(z) - f64::from(targets[image])) * activation.slope(z);
            let off = input.iter().zip(update).map(|(x, update)| (lesson * f64::from(*x) - f64::from(*update)).abs());
            furthest = off.fold(furthest, f64::max);
            let length = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            if z <= 0.0 {
                shut += 1;
                learnt += usize::from(length(update) > 0.0);
            }
            let size = length(update) / (f64::from(rate) * f64::from(error[image].abs()) * length(input));
            dots.push((z, size, 0.0));
        }
        // z is a sum of 64 terms of order 1 in f32, error and slope move with it: 64 · 2⁻²⁴, times x (up to 5) and the rate.
        report.within(format!("largest |Δw - formula|, {name}"), 0.0, furthest, 2e-6);
        if activation == Activation::RELU {
            let error = (0.25 / images as f64).sqrt();
            report.sampled("share of shut gates, new neurons", 0.5, (shut as f64 / images as f64, error), 4.0);
            report.within(format!("lessons learnt behind {shut} shut gates, ReLU"), 0.0, learnt as f64, 0.0);
        } else {
            report.within(format!("lessons learnt behind {shut} shut gates, {name}"), shut as f64, learnt as f64, 0.0);
        }
        chart = chart.line(format!("φ'(z), {name}"), (-300..=300).map(|i| f64::from(i) * 0.01).map(|z| (z, activation.slope(z))));
        chart = chart.dots(format!("measured, {name}"), dots.into_iter().step_by(images / 64));
    }
    report.picture("Lines are the slope of the activation, dots single images of digits", chart.svg()?);

    // A neuron that learns to tell threes, image by image: it stays as it is at every image that finds its gate shut.
    let steps = lab.pick(2000, 200);
    let mut w: Vec<f32> = (0..PIXELS).map(|_| deviation * normal(&mut rng)).collect();
    let (mut shut, mut moved) = (0usize, 0usize);
    for step in 0..steps {
        let image = step % images;
        let (x, weight) = (gpu.upload(training.image(image), &[1, PIXELS])?, gpu.upload(&w, &[1, PIXELS])?);
        let (y, dw) = (gpu.zeros(&[1, 1])?, gpu.zeros(&[1, PIXELS])?);
        let layer = Forward::new(Activation::RELU, &x, &weight, &y);
        gpu.submit(|encoder| layer.record(gpu, encoder))?;
        let y = gpu.download(&y)?[0];
        let dy = gpu.upload(&[y - targets[image]], &[1, 1])?;
        gpu.submit(|encoder| layer.backward(&dy).dw(&dw).record(gpu, encoder))?;
        let update = gpu.download(&dw)?;
        shut += usize::from(y == 0.0);
        moved += usize::from(y == 0.0 && update.iter().any(|dw| *dw != 0.0));
        w.iter_mut().zip(update).for_each(|(w, dw)| *w -= 0.002 * dw);
    }
    report.within(format!("weights moved by {shut} shut images of {steps} steps"), 0.0, moved as f64, 0.0);
    Ok(report)
}
