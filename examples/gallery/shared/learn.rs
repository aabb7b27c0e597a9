//! Training in batches, whose loss stays on the device until it is asked for.

use elbow::{
    Gpu,
    criterion::Criterion,
    gpu::transfer::Tensor,
    mlp::{Batch, Mlp},
    train::{Loss, SoftmaxCrossEntropy},
};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Result, digits::Digits};

/// A network, and the memory of its batches.
pub(crate) struct Trainer<'a> {
    gpu: &'a Gpu,
    pub(crate) mlp: Mlp,
    x: Tensor,
    labels: Tensor,
    loss: Tensor,
}

impl<'a> Trainer<'a> {
    /// Of a classifier; batches are as long as the network allows, of `features` columns.
    pub(crate) fn new(gpu: &'a Gpu, mlp: Mlp, features: usize) -> Result<Self> {
        let rows = mlp.max_batch();
        let (x, labels) = (gpu.zeros(&[rows, features])?, gpu.upload_words(&vec![0; rows], &[rows])?);
        Ok(Trainer { gpu, mlp, x, labels, loss: gpu.zeros(&[rows])? })
    }

    /// One pass over the data in a new order, whole batches only; the mean loss of the last batch.
    pub(crate) fn epoch(&self, data: &Digits, rng: &mut ChaCha8Rng) -> Result<f32> {
        let (rows, features) = (self.mlp.max_batch(), self.x.shape()[1]);
        let mut order: Vec<usize> = (0..data.len()).collect();
        order.shuffle(rng);
        for batch in order.chunks_exact(rows) {
            let of = |&row: &usize| &data.x[row * features..(row + 1) * features];
            self.gpu.write(&self.x, &batch.iter().flat_map(of).copied().collect::<Vec<f32>>())?;
            self.gpu.write(&self.labels, &batch.iter().map(|&row| data.labels[row]).collect::<Vec<u32>>())?;
            let step = Batch::new(&self.x, &self.labels, &self.loss);
            self.gpu.submit_pass(|pass| self.mlp.learn(self.gpu, pass, &step))?;
        }
        Ok(self.gpu.download(&self.loss)?.iter().sum::<f32>() / rows as f32)
    }

    /// Outputs of the last layer, in batches.
    pub(crate) fn outputs(&self, x: &[f32]) -> Result<Vec<f32>> {
        let features = self.x.shape()[1];
        let mut all = Vec::new();
        for rows in x.chunks(self.mlp.max_batch() * features) {
            let x = self.gpu.upload(rows, &[rows.len() / features, features])?;
            self.gpu.submit(|encoder| self.mlp.infer(self.gpu, encoder, x.view()))?;
            let y = self.mlp.output(self.mlp.layers() - 1).ok_or("a network without layers")?;
            let outputs = y.shape()[1];
            all.extend(self.gpu.download(y.view_as(&[rows.len() / features, outputs]))?);
        }
        Ok(all)
    }

    /// The share of rows whose largest output is their label's.
    pub(crate) fn accuracy(&self, data: &Digits) -> Result<f64> {
        Ok(share_right(&self.outputs(&data.x)?, &data.labels))
    }
}

/// The gradient of the mean softmax cross-entropy for the logits.
pub(crate) fn cross_entropy(gpu: &Gpu, logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let (labels, loss) = (gpu.upload_words(labels, &[labels.len()])?, gpu.zeros(&[labels.len()])?);
    let dlogits = gpu.zeros(logits.shape())?;
    gpu.submit(|encoder| SoftmaxCrossEntropy::new(logits, &labels, &loss, &dlogits).record(gpu, encoder))?;
    Ok(dlogits)
}

/// The gradient of the mean binary cross-entropy where every logit should be this target.
pub(crate) fn towards(gpu: &Gpu, logits: &Tensor, target: f32) -> Result<Tensor> {
    let (targets, loss) = (vec![target; logits.elements()], gpu.zeros(&[logits.shape()[0]])?);
    let (targets, dlogits) = (gpu.upload(&targets, logits.shape())?, gpu.zeros(logits.shape())?);
    let call = Loss::new(Criterion::BinaryCrossEntropy, logits, &targets, &loss, &dlogits);
    gpu.submit(|encoder| call.record(gpu, encoder))?;
    Ok(dlogits)
}

/// The share of rows whose largest output is their label's.
pub(crate) fn share_right(outputs: &[f32], labels: &[u32]) -> f64 {
    let largest = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class as u32);
    let rows = outputs.chunks((outputs.len() / labels.len().max(1)).max(1));
    rows.zip(labels).filter(|(row, label)| largest(row) == Some(**label)).count() as f64 / labels.len() as f64
}
