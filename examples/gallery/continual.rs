//! Two tasks in turn: what the second moves, and what is left of the first.

use elbow::{Activation, affine::Forward};

use crate::shared::{
    Chart, Lab, Report, Result, Stack, Trainer,
    classes::one_hot,
    classifier,
    digits::{CLASSES, Digits, PIXELS, split},
    normal,
    statistics::mean,
};

pub(crate) const TITLE: &str = "One task after the other: a shut gate protects";

const THEORY: &str = "A new example moves one neuron φ(w·x) by (φ(z) - t) φ'(z) x. For x of K standard normal numbers, |w| = σ and a target N(0, s²) the mean square of \
    that is U₊ = ½(σ²(K+2) + s²K) from the open side, and a Leaky neuron adds U₋ = ½α²(α²σ²(K+2) + s²K) from the other: Leaky's weights always \
    move more than ReLU's, by the same examples. A unit that is silent for the whole second task keeps every weight that it had, exactly; behind \
    a leak every unit moves. Whether that makes a network forget less is not in the formula: it is measured.";

const K: usize = 16;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(12));
    let examples = lab.pick(1 << 18, 1 << 14);
    let (sigma, s) = (1.5f64, 0.5f64);
    let mut w: Vec<f32> = (0..K).map(|_| normal(&mut rng)).collect();
    let length = w.iter().map(|w| w * w).sum::<f32>().sqrt();
    w.iter_mut().for_each(|w| *w *= sigma as f32 / length);
    let w = gpu.upload(&w, &[1, K])?;
    let side = |alpha: f64| 0.5 * alpha * alpha * (alpha * alpha * sigma * sigma * (K as f64 + 2.0) + s * s * K as f64);
    let (mut plain, beginning) = (Vec::new(), rng.clone());
    for alpha in [0.0f32, 0.1, 0.5] {
        // The same examples for each.
        rng = beginning.clone();
        let activation = if alpha == 0.0 { Activation::RELU } else { Activation::leaky_relu(alpha)? };
        let mut squares = Vec::new();
        // Every example is a layer of a batch, all with the same weights and each with a gradient of its own.
        for _ in 0..examples / 4096 {
            let x = lab.normal(&mut rng, 1.0, &[4096, 1, K])?;
            let (y, dw) = (gpu.zeros(&[4096, 1, 1])?, gpu.zeros(&[4096, 1, K])?);
            let layer = Forward::new(activation, &x, w.view().expanded(4096)?, &y);
            gpu.submit(|encoder| layer.record(gpu, encoder))?;
            let error: Vec<f32> = gpu.download(&y)?.iter().map(|y| y - s as f32 * normal(&mut rng)).collect();
            let dy = gpu.upload(&error, &[4096, 1, 1])?;
            gpu.submit(|encoder| layer.backward(&dy).dw(&dw).record(gpu, encoder))?;
            let square = |dw: &[f32]| dw.iter().map(|dw| f64::from(*dw).powi(2)).sum::<f64>();
            squares.extend(gpu.download(&dw)?.chunks(K).map(square));
        }
        if alpha == 0.0 {
            report.sampled("mean squared update, ReLU", side(1.0), mean(&squares), 4.0);
            plain = squares;
        } else {
            let added: Vec<f64> = squares.iter().zip(&plain).map(|(leaky, relu)| leaky - relu).collect();
            report.sampled(format!("what a leak adds to it, α = {alpha}"), side(f64::from(alpha)), mean(&added), 4.0);
        }
    }

    // Digits: 0 to 4, then 5 to 9.
    let (seeds, epochs) = (lab.pick(6, 2), lab.pick(10, 2));
    let bar = lab.progress(2 * seeds, "continual");
    let mut chart = Chart::new("Accuracy on digits 0 to 4, which are learnt first", "epoch", "accuracy");
    let mut lost = Vec::new();
    for (name, activation) in [("ReLU", Activation::RELU), ("Leaky 0.1", Activation::leaky_relu(0.1)?)] {
        let (mut curves, mut silent, mut moved) = (vec![Vec::new(); 2 * epochs + 1], 0, 0);
        for seed in 0..seeds as u64 {
            let mut rng = lab.rng(100 + seed);
            let (training, test) = split(&mut rng)?;
            let tasks = |data: &Digits| [false, true].map(|second| {
                data.select(&(0..data.len()).filter(|i| (data.labels[*i] >= 5) == second).collect::<Vec<usize>>())
            });
            let ([first, second], [asked, _]) = (tasks(&training), tasks(&test));
            let trainer = Trainer::new(gpu, classifier(lab, &[256], activation, 100 + seed)?, PIXELS)?;
            for (epoch, curve) in curves.iter_mut().enumerate() {
                if epoch == epochs + 1 {
                    let (off, not_kept) = silent_units(lab, &Stack::of(gpu, &trainer.mlp)?, &second)?;
                    (silent, moved) = (silent + off, moved + not_kept);
                }
                if epoch > 0 {
                    trainer.epoch(if epoch > epochs { &second } else { &first }, &mut rng)?;
                }
                curve.push(trainer.accuracy(&asked)?);
            }
            bar.inc(1);
        }
        let kept = if activation == Activation::RELU { 0 } else { silent };
        let what = format!("moved of {silent} units that four new images leave silent, {name}");
        report.within(what, f64::from(kept), f64::from(moved), 0.0);
        let both = curves[epochs].iter().zip(&curves[2 * epochs]);
        let forgotten = mean(&both.map(|(before, after)| before - after).collect::<Vec<f64>>());
        report.at_least(format!("forgotten of the first task, {name}"), 4.0 * forgotten.1, forgotten.0, forgotten.1);
        lost.push(forgotten);
        let points = curves.iter().enumerate().map(|(epoch, all)| (epoch as f64, mean(all)));
        chart = chart.other_dots(name, points.map(|(epoch, (mean, error))| (epoch, mean, error)));
    }
    bar.finish_and_clear();
    report.picture("Then 5 to 9 are learnt, by the same ten outputs", chart.svg()?);
    report.remark(format!(
        "{seeds} networks of 256 hidden units each way. ReLU forgets {:.3} ± {:.3} of its accuracy, Leaky {:.3} ± {:.3}: with ten outputs in common \
         both forget by what moves in the last layer, which no gate protects, and the side whose weights move more does not forget more.",
        lost[0].0, lost[0].1, lost[1].0, lost[1].1
    ));
    Ok(report)
}

/// How many hidden units no one of the first four images opens, and how many of them these move.
fn silent_units(lab: &Lab, network: &Stack, data: &Digits) -> Result<(u32, u32)> {
    let gpu = &lab.gpu;
    let x = gpu.upload(&data.x[..4 * PIXELS], &[4, PIXELS])?;
    let (_, z) = network.layers[0].forward_with_z(gpu, &x)?;
    let (outputs, z) = (network.forward(gpu, &x)?, gpu.download(&z)?);
    let wrong = one_hot(data.labels[..4].iter().map(|label| *label as usize));
    let error: Vec<f32> = gpu.download(&outputs[1])?.iter().zip(wrong).map(|(y, t)| y - t).collect();
    let all = network.backward(gpu, &x, &outputs, &gpu.upload(&error, &[4, CLASSES])?)?;
    let dw = gpu.download(&all[0].dw)?;
    let silent: Vec<usize> = (0..256).filter(|unit| z.iter().skip(*unit).step_by(256).all(|z| *z <= 0.0)).collect();
    let moved = silent.iter().filter(|unit| dw[*unit * PIXELS..][..PIXELS].iter().any(|dw| *dw != 0.0)).count();
    Ok((silent.len() as u32, moved as u32))
}
