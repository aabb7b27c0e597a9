//! A layer in front of batch normalisation forgets the scale of its weights.

use elbow::{
    Activation, Norm,
    affine::{Forward, Front},
};

use crate::shared::{Dense, Gradients, Lab, Report, Result};

pub(crate) const TITLE: &str = "Batch normalisation forgets the scale of weights";

const THEORY: &str = "With batch normalisation behind it, a layer's output depends on the direction of its weights alone (Ioffe and Szegedy 2015): y(cW) = y(W) for c > 0. So the gradient is orthogonal to each unit's weights, \
    ⟨w, dw⟩ = 0, and dW(cW) = dW(W)/c: large weights learn slowly, and weight decay sets a rate of learning rather than a size. If c is a power of two, all of it holds bit for bit; else to the rounding of f32.";

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng) = (&lab.gpu, lab.rng(10));
    let (m, k, n) = (lab.pick(1024, 256), 64, lab.pick(256, 64));
    let (x, w) = (lab.normal(&mut rng, 1.0, &[m, k])?, lab.normal(&mut rng, 0.125, &[n, k])?);
    let (v, dy) = (lab.normal(&mut rng, 0.1, &[32, n])?, lab.normal(&mut rng, 1.0, &[m, 32])?);
    let weights = gpu.download(&w)?;
    // y = V relu(norm(Wx)) and dW for cW; ε is too small to be seen beside a variance.
    let both = |c: f32| -> Result<(Vec<f32>, Vec<f32>)> {
        let scaled: Vec<f32> = weights.iter().map(|w| c * w).collect();
        let first = Dense::new(Activation::IDENTITY, gpu.upload(&scaled, &[n, k])?, None);
        let (s, ds, y, moments) = (first.forward(gpu, &x)?, gpu.zeros(&[m, n])?, gpu.zeros(&[m, 32])?, gpu.zeros(&[2, n])?);
        let front = Front::new(Activation::RELU).norm(Norm::batch().epsilon(1e-30)?).moments(&moments);
        let second = Forward::new(Activation::IDENTITY, &s, &v, &y).front(front);
        gpu.submit_pass(|pass| {
            second.record(gpu, &mut *pass)?;
            second.backward(&dy).dx(&ds).record(gpu, pass)
        })?;
        Ok((gpu.download(&y)?, gpu.download(&first.backward(gpu, &x, &ds)?.dw)?))
    };
    let (y, dw) = both(1.0)?;
    let norm = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let apart = |a: &[f32], b: &[f32], c: f32| norm(&a.iter().zip(b).map(|(a, b)| c * a - b).collect::<Vec<_>>()) / norm(b);
    // Sums of 64 products, of 256 to 1,024 rows: some tens of roundings of 6e-8, of random signs.
    for (c, bound) in [(0.25, 0.0), (16.0, 0.0), (3.0, 1e-6), (0.7, 1e-6)] {
        let (scaled_y, scaled_dw) = both(c)?;
        report.within(format!("|y(cW) - y(W)| / |y|, c = {c}"), 0.0, apart(&scaled_y, &y, 1.0), bound);
        report.within(format!("|c dW(cW) - dW(W)| / |dW|, c = {c}"), 0.0, apart(&scaled_dw, &dw, c), bound);
    }
    let cosine = |(w, dw): (&[f32], &[f32])| {
        let product: f64 = w.iter().zip(dw).map(|(w, dw)| f64::from(*w) * f64::from(*dw)).sum();
        (product / norm(w) / norm(dw)).abs()
    };
    let most = weights.chunks(k).zip(dw.chunks(k)).map(cosine).fold(0.0, f64::max);
    report.within("largest cosine between a unit's w and dw", 0.0, most, 1e-5);
    // Without the norm there is no such thing: half of the units' weights are in dW.
    let Gradients { dw: plain, .. } = Dense::new(Activation::RELU, w, None).backward(gpu, &x, &lab.normal(&mut rng, 1.0, &[m, n])?)?;
    let most = weights.chunks(k).zip(gpu.download(&plain)?.chunks(k)).map(cosine).fold(0.0, f64::max);
    report.at_least("the same without normalisation", 0.1, most, 0.0);
    Ok(report)
}
