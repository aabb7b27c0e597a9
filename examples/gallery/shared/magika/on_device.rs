//! Magika's layers on elbow's kernels.

use elbow::{
    Activation, Gpu, Norm,
    affine::{Forward, Front},
    gpu::transfer::Tensor,
};

use super::{BYTES, CHANNELS, EMBEDDED, EPSILON, FILTERS, Magika, Road, WINDOW};
use crate::shared::{Dense, Result};

pub(crate) struct OnDevice<'a> {
    gpu: &'a Gpu,
    table: Vec<f64>,
    convolution: Dense,
    scale: Tensor,
    shift: Tensor,
    classes: Dense,
}

impl<'a> OnDevice<'a> {
    pub(crate) fn new(gpu: &'a Gpu, magika: &Magika) -> Result<Self> {
        let layer = |(w, b): &(Vec<f32>, Vec<f32>), activation: Activation| -> Result<Dense> {
            let n = b.len();
            Ok(Dense::new(activation, gpu.upload(w, &[n, w.len() / n])?, gpu.upload(b, &[n])?))
        };
        // A one-hot row for each byte.
        let bytes: Vec<f32> = (0..BYTES * BYTES).map(|at| f32::from(u8::from(at % (BYTES + 1) == 0))).collect();
        let embedding = layer(&magika.embedding, Activation::GELU_TANH)?;
        let table = gpu.download(&embedding.forward(gpu, &gpu.upload(&bytes, &[BYTES, BYTES])?)?)?;
        debug_assert_eq!(table.len(), BYTES * EMBEDDED);
        Ok(OnDevice {
            gpu,
            table: table.into_iter().map(f64::from).collect(),
            convolution: layer(&magika.convolution, Activation::GELU_TANH)?,
            scale: gpu.upload(&magika.filters.0, &[FILTERS])?,
            shift: gpu.upload(&magika.filters.1, &[FILTERS])?,
            classes: layer(&magika.classes, Activation::IDENTITY)?,
        })
    }
}

impl Road for OnDevice<'_> {
    fn table(&self) -> &[f64] {
        &self.table
    }

    fn convolved(&self, x: &[f64]) -> Result<Vec<f64>> {
        let (gpu, layer, rows) = (self.gpu, &self.convolution, x.len() / CHANNELS);
        let x = gpu.upload(&x.iter().map(|x| *x as f32).collect::<Vec<f32>>(), &[rows, CHANNELS])?;
        // The windows are rows that overlap: each begins one position behind the last, and nothing is copied.
        let windows = rows - WINDOW + 1;
        let x = x.view_as(&[windows, WINDOW * CHANNELS]).with_strides(&[CHANNELS, 1])?;
        let y = gpu.zeros(&[windows, FILTERS])?;
        let b = layer.b.as_ref().map(Tensor::view);
        gpu.submit(|encoder| Forward::new(layer.activation, x, &layer.w, &y).b(b).record(gpu, encoder))?;
        Ok(gpu.download(&y)?.into_iter().map(f64::from).collect())
    }

    fn logits(&self, pooled: &[f64]) -> Result<Vec<f64>> {
        let (gpu, layer, files) = (self.gpu, &self.classes, pooled.len() / FILTERS);
        let x = gpu.upload(&pooled.iter().map(|x| *x as f32).collect::<Vec<f32>>(), &[files, FILTERS])?;
        let (y, kept) = (gpu.zeros(&[files, layer.w.shape()[0]])?, gpu.zeros(&[2, files])?);
        let front = Front::new(Activation::IDENTITY).norm(Norm::layer().epsilon(EPSILON)?).moments(&kept);
        let front = front.scale(&self.scale).shift(&self.shift);
        let b = layer.b.as_ref().map(Tensor::view);
        let call = Forward::new(layer.activation, &x, &layer.w, &y).b(b).front(front);
        gpu.submit(|encoder| call.record(gpu, encoder))?;
        Ok(gpu.download(&y)?.into_iter().map(f64::from).collect())
    }
}
