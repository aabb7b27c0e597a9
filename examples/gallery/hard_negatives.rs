//! Contrastive learning: what a hard negative can teach a feature that is off.

use elbow::{
    Activation,
    affine::{Forward, Gradient},
    gpu::transfer::Tensor,
    train::{Sgd, SoftmaxCrossEntropy},
};

use crate::shared::{Chart, Lab, Report, Result, normal};

pub(crate) const TITLE: &str = "Hard negatives, and features that are off";

const THEORY: &str = "InfoNCE (van den Oord et al. 2018) asks of an anchor's features y = φ(z) to tell the positive from negatives: L = -log p₊ with p = softmax(y·kⱼ/τ). \
    It sends ∂L/∂yᵢ = (1/τ)(Σⱼ pⱼkⱼᵢ - k₊ᵢ) back, in which a negative weighs as much as it is hard, pⱼ; and of that φ'(zᵢ) reaches the feature: nothing \
    at all where a ReLU is off, α of it where a Leaky one is. If all features of an anchor are off, ReLU's loss stays at ln(number of keys) for \
    ever. With keys and α fixed, a Leaky feature that is off moves as α times one that is on, until it is on.";

const ALPHA: f32 = 0.1;
const TAU: f32 = 0.5;
/// Inputs, features, anchors, keys.
const SHAPE: (usize, usize, usize, usize) = (16, 32, 64, 64);

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(11));
    let (inputs, features, anchors, keys) = SHAPE;
    // A key for each anchor, its positive; the second half are those of the first, moved a little: hard negatives.
    let half: Vec<f32> = (0..keys / 2 * features).map(|_| normal(&mut rng).max(0.0)).collect();
    let k: Vec<f32> = half.iter().copied().chain(half.iter().map(|k| k + 0.3 * normal(&mut rng))).collect();
    let x = lab.normal(&mut rng, 1.0, &[anchors, inputs])?;
    let w = lab.normal(&mut rng, 1.0 / (inputs as f32).sqrt(), &[features, inputs])?;
    let start = gpu.download(&w)?;
    let labels = gpu.upload_words(&(0..anchors as u32).collect::<Vec<u32>>(), &[anchors])?;
    // The products with the keys, of a temperature: a linear layer whose weights are k/τ.
    let scaled = gpu.upload(&k.iter().map(|k| k / TAU).collect::<Vec<f32>>(), &[keys, features])?;
    let (y, z) = (gpu.zeros(&[anchors, features])?, gpu.zeros(&[anchors, features])?);
    let (logits, loss) = (gpu.zeros(&[anchors, keys])?, gpu.zeros(&[anchors])?);
    let dlogits = gpu.zeros(&[anchors, keys])?;
    let (dy, dz) = (gpu.zeros(&[anchors, features])?, gpu.zeros(&[anchors, features])?);
    let (dw, velocity) = (gpu.zeros(&[features, inputs])?, gpu.zeros(&[features, inputs])?);
    // One step: the loss before it, and y, z, dy, dz.
    let step = |activation: Activation, bias: &Tensor, rate: f32| -> Result<f64> {
        let encoder = Forward::new(activation, &x, &w, &y).b(bias).saved(elbow::Saved::Z).save_to(&z);
        let compare = Forward::new(Activation::IDENTITY, &y, &scaled, &logits);
        gpu.submit_pass(|pass| {
            encoder.record(gpu, &mut *pass)?;
            compare.record(gpu, &mut *pass)?;
            SoftmaxCrossEntropy::new(&logits, &labels, &loss, &dlogits).record(gpu, &mut *pass)?;
            compare.backward(&dlogits).dx(Gradient::overwrite(&dy)).record(gpu, &mut *pass)?;
            elbow::elementwise::Forward::new(activation, &z, &dz).backward(&dy).dx(&dz).record(gpu, &mut *pass)?;
            encoder.backward_from_dz(&dz).dw(&dw).record(gpu, &mut *pass)?;
            Sgd::new(&w, &dw, &velocity, rate).record(gpu, pass)
        })?;
        Ok(gpu.download(&loss)?.iter().map(|loss| f64::from(*loss)).sum::<f64>() / anchors as f64)
    };
    let leaky = Activation::leaky_relu(ALPHA)?;
    let open = gpu.zeros(&[features])?;
    for (name, activation, alpha) in [("ReLU", Activation::RELU, 0.0), ("Leaky", leaky, f64::from(ALPHA))] {
        step(activation, &open, 0.0)?;
        let (y, z, dz) = (gpu.download(&y)?, gpu.download(&z)?, gpu.download(&dz)?);
        // The closed form, in f64; the loss is a mean over anchors.
        let (mut furthest, mut off, mut sent) = (0.0f64, 0.0, 0.0);
        for (anchor, row) in y.chunks(features).enumerate() {
            let products = |key: &[f32]| row.iter().zip(key).map(|(y, k)| f64::from(*y) * f64::from(*k)).sum::<f64>();
            let scores: Vec<f64> = k.chunks(features).map(|key| products(key) / f64::from(TAU)).collect();
            let most = scores.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
            for i in 0..features {
                let share = |key: usize| (scores[key] - most).exp() / total - f64::from(u8::from(key == anchor));
                let pulls = (0..keys).map(|key| share(key) * f64::from(k[key * features + i]));
                let sends = pulls.sum::<f64>() / f64::from(TAU) / anchors as f64;
                let at = anchor * features + i;
                let gate = if z[at] > 0.0 { 1.0 } else { alpha };
                furthest = furthest.max((gate * sends - f64::from(dz[at])).abs() * anchors as f64);
                if z[at] <= 0.0 {
                    (off, sent) = (off + f64::from(dz[at].abs()), sent + sends.abs());
                }
            }
        }
        // Softmax of scores of up to 40: their rounding, 40 · 2⁻²⁴ · a few, is a relative error of p.
        report.within(format!("largest |dz - closed form|, {name}"), 0.0, furthest, 1e-4);
        report.within(format!("share of it that reaches features that are off, {name}"), alpha, off / sent, 1e-4);
    }
    // All features off at first, and no bias that moves: only the weights can bring them back.
    let shut = gpu.upload(&vec![-4.0; features], &[features])?;
    let steps = lab.pick(400, 100);
    let mut chart = Chart::new("Training when all features are off", "step", "InfoNCE");
    for (name, activation) in [("ReLU", Activation::RELU), ("Leaky 0.1", leaky)] {
        gpu.write(&w, &start)?;
        gpu.write(&velocity, &vec![0.0; features * inputs])?;
        let curve = (0..steps).map(|_| step(activation, &shut, 1.0)).collect::<Result<Vec<f64>>>()?;
        let last = curve[steps - 1];
        // All scores of an anchor are 0 where its features are: log 64, to a rounding of f32.
        let forever = (keys as f64).ln();
        if activation == leaky {
            report.at_most(format!("loss after {steps} steps, {name}"), forever, last, 0.0);
        } else {
            report.within(format!("loss after {steps} steps, {name}"), forever, last, 1e-6);
        }
        chart = chart.line(name, curve.iter().enumerate().map(|(step, loss)| (step as f64, *loss)));
    }
    report.picture("64 anchors and keys, biases of -4", chart.svg()?);
    Ok(report)
}
