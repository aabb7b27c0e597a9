//! Magika's layers on the CPU: by elbow-cpu in f32, which the device is timed against, and in f64, which judges both.

use elbow::{
    Activation, Norm,
    cpu::{ForwardInputs, FrontInputs},
    request::{AffineRequest, Front},
};
use elbow_cpu::ForwardOutputs;

use super::{BYTES, CHANNELS, EMBEDDED, EPSILON, FILTERS, Magika, Parameters, Road, WINDOW};
use crate::shared::Result;

pub(crate) struct OnCpu<'a> {
    magika: &'a Magika,
    table: Vec<f64>,
}

impl<'a> OnCpu<'a> {
    pub(crate) fn new(magika: &'a Magika) -> Result<Self> {
        let bytes: Vec<f32> = (0..BYTES * BYTES).map(|at| f32::from(u8::from(at % (BYTES + 1) == 0))).collect();
        let table = layer(&bytes, &magika.embedding, Activation::GELU_TANH, None)?;
        Ok(OnCpu { magika, table: table.into_iter().map(f64::from).collect() })
    }
}

/// act(front(x)·Wᵀ + b).
fn layer(x: &[f32], (w, b): &Parameters, act: Activation, front: Option<(Front, FrontInputs<'_>)>) -> Result<Vec<f32>> {
    let (n, k) = (b.len(), w.len() / b.len());
    let mut y = vec![0.0; x.len() / k * n];
    let (front, of_front) = front.unzip();
    let request = AffineRequest::new(x.len() / k, n, k, act).front(front);
    let inputs = ForwardInputs::new(x, w).b(Some(b)).front(of_front.unwrap_or_default());
    elbow_cpu::forward(&request, inputs, ForwardOutputs { y: &mut y, ..Default::default() })?;
    Ok(y)
}

impl Road for OnCpu<'_> {
    fn table(&self) -> &[f64] {
        &self.table
    }

    fn convolved(&self, x: &[f64]) -> Result<Vec<f64>> {
        let x: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let windows: Vec<f32> = windows(&x).flatten().copied().collect();
        let y = layer(&windows, &self.magika.convolution, Activation::GELU_TANH, None)?;
        Ok(y.into_iter().map(f64::from).collect())
    }

    fn logits(&self, pooled: &[f64]) -> Result<Vec<f64>> {
        let x: Vec<f32> = pooled.iter().map(|x| *x as f32).collect();
        let (scale, shift) = &self.magika.filters;
        let front = Front::new(Activation::IDENTITY).norm(Norm::layer().epsilon(EPSILON)?).scale(true).shift(true);
        let of_front = FrontInputs::default().scale(Some(scale)).shift(Some(shift));
        let y = layer(&x, &self.magika.classes, Activation::IDENTITY, Some((front, of_front)))?;
        Ok(y.into_iter().map(f64::from).collect())
    }
}

/// Rows of a convolution, of x `[.., 256]`.
fn windows<T>(x: &[T]) -> impl Iterator<Item = &[T]> {
    x.windows(WINDOW * CHANNELS).step_by(CHANNELS)
}

/// In f64, plainly.
pub(crate) struct Exact<'a> {
    magika: &'a Magika,
    table: Vec<f64>,
}

impl<'a> Exact<'a> {
    pub(crate) fn new(magika: &'a Magika) -> Self {
        let (w, b) = &magika.embedding;
        let row = |byte: usize| (0..EMBEDDED).map(move |n| f64::from(w[n * BYTES + byte]) + f64::from(b[n]));
        let table = (0..BYTES).flat_map(row).map(|z| Activation::GELU_TANH.value(z)).collect();
        Exact { magika, table }
    }
}

impl Road for Exact<'_> {
    fn table(&self) -> &[f64] {
        &self.table
    }

    fn convolved(&self, x: &[f64]) -> Result<Vec<f64>> {
        let z = product(windows(x), &self.magika.convolution);
        Ok(z.into_iter().map(|z| Activation::GELU_TANH.value(z)).collect())
    }

    fn logits(&self, pooled: &[f64]) -> Result<Vec<f64>> {
        let (scale, shift) = &self.magika.filters;
        let norm = |x: &[f64]| {
            let mean = x.iter().sum::<f64>() / FILTERS as f64;
            let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / FILTERS as f64;
            let inverse = 1.0 / (square + f64::from(EPSILON)).sqrt();
            let channels = x.iter().zip(scale).zip(shift);
            channels.map(|((x, scale), shift)| (x - mean) * inverse * f64::from(*scale) + f64::from(*shift)).collect()
        };
        let x: Vec<Vec<f64>> = pooled.chunks(FILTERS).map(norm).collect();
        Ok(product(x.iter().map(Vec::as_slice), &self.magika.classes))
    }
}

/// x·Wᵀ + b, row by row; eight sums beside each other, so that they need not wait for one another.
fn product<'a>(x: impl Iterator<Item = &'a [f64]>, (w, b): &Parameters) -> Vec<f64> {
    let k = w.len() / b.len();
    let w: Vec<f64> = w.iter().copied().map(f64::from).collect();
    let dot = |x: &[f64], w: &[f64]| -> f64 {
        let mut sums = [0.0; 8];
        for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
            sums.iter_mut().zip(x).zip(w).for_each(|((sum, x), w)| *sum += x * w);
        }
        sums.iter().sum()
    };
    x.flat_map(|x| w.chunks(k).zip(b).map(|(w, b)| dot(x, w) + f64::from(*b)).collect::<Vec<_>>()).collect()
}
