//! Softmax cross-entropy with each of its choices.

use elbow::{
    Float, Gpu, Tensor,
    cpu::{CrossEntropy, reference},
    criterion::Reduction,
    train::SoftmaxCrossEntropy,
};

use super::{Losses, Outputs};
use crate::{close::Close, ulp::ulp_of};

/// A call of the softmax cross-entropy.
///
/// ```no_run
/// use elbow::Gpu;
/// use elbow_verify::Classes;
/// let case = Classes { label_smoothing: 0.1, ..Classes::new(vec![1.0, 2.0, 3.0, 4.0], vec![0, 1]) };
/// case.check(&Gpu::new()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    /// Scores, row by row.
    pub logits: Vec<f32>,
    /// The class of each row.
    pub labels: Vec<u32>,
    /// The label of rows that are left out.
    pub ignore_index: Option<u32>,
    /// ε of label smoothing.
    pub label_smoothing: f32,
    /// A weight for each class.
    pub class_weight: Option<Vec<f32>>,
    /// Mean or sum.
    pub reduction: Reduction,
    /// The loss scale, 1 for none.
    pub scale: f32,
    /// In which logits and gradient are stored.
    pub dtype: Float,
    /// Whether the mean, or the sum, of all rows is asked for.
    pub total: bool,
}

impl Classes {
    /// The mean in f32, without anything that may be chosen.
    pub fn new(logits: Vec<f32>, labels: Vec<u32>) -> Self {
        let (reduction, dtype, scale, total) = (Reduction::Mean, Float::F32, 1.0, false);
        let (ignore_index, label_smoothing, class_weight) = (None, 0.0, None);
        Classes { logits, labels, ignore_index, label_smoothing, class_weight, reduction, scale, dtype, total }
    }

    fn classes(&self) -> usize {
        self.logits.len() / self.labels.len()
    }

    /// What the reference is asked.
    pub(crate) fn request(&self) -> CrossEntropy<'_> {
        CrossEntropy::new(self.classes())
            .ignore_index(self.ignore_index)
            .label_smoothing(f64::from(self.label_smoothing))
            .class_weight(self.class_weight.as_deref())
            .reduction(self.reduction)
    }

    /// Loss and gradient on the device.
    pub async fn run_async(&self, gpu: &Gpu) -> elbow::Result<Losses> {
        let (rows, classes) = (self.labels.len(), self.classes());
        let logits = gpu.upload_as(self.dtype, &self.logits, &[rows, classes])?;
        let labels = gpu.upload_words(&self.labels, &[rows])?;
        let weight = self.class_weight.as_ref().map(|w| gpu.upload(w, &[w.len()])).transpose()?;
        let state = (self.scale != 1.0).then(|| gpu.upload(&[self.scale, 0.0, 0.0, 0.0], &[4])).transpose()?;
        let outputs = Outputs::new(gpu, self.dtype, rows, classes)?;
        let (here, there, total) = ([rows], [rows, classes], outputs.total()?);
        let (loss, dlogits) = (outputs.loss.view_as(&here), outputs.gradient.view_as(&there));
        let call = SoftmaxCrossEntropy::new(&logits, &labels, loss, dlogits)
            .ignore_index(self.ignore_index)
            .label_smoothing(self.label_smoothing)
            .class_weight(weight.as_ref().map(Tensor::view))
            .reduction(self.reduction)
            .loss_scale(state.as_ref().map(Tensor::view))
            .total(self.total.then_some(total));
        gpu.submit(|encoder| call.record(gpu, encoder))?;
        outputs.results(gpu, self.total).await
    }

    /// Runs it and judges the results.
    pub async fn check_async(&self, gpu: &Gpu) -> Result<Close, String> {
        self.judge(&self.run_async(gpu).await.map_err(|error| error.to_string())?)
    }

    /// The largest error as a share of its bound; what is wrong if one is beyond it. The bounds are those of `SoftmaxCrossEntropy`.
    pub fn judge(&self, got: &Losses) -> Result<Close, String> {
        let (classes, eps) = (self.classes(), f64::from(self.label_smoothing));
        let (of_losses, of_gradients) = if self.class_weight.is_some() { (9.0, 16.0) } else { (8.0, 12.0) };
        let request = self.request();
        let answer = |request| reference::cross_entropy(request, &self.logits, &self.labels).map_err(|e| e.to_string());
        let (right, plain) = (answer(&request)?, answer(&CrossEntropy::new(classes))?);
        let weight = |class: usize| self.class_weight.as_ref().map_or(1.0, |weights| f64::from(weights[class]));
        let of_all: f64 = (0..classes).map(weight).sum();
        let other = eps / classes as f64;
        let mut close = Close::default();
        let mut costs = 0.0;
        for (m, (&got, &right)) in got.loss.iter().zip(&right.loss).enumerate() {
            let label = self.labels[m] as usize;
            // The row's targets times what the label's class costs: the first of a loss's two terms.
            let first = if right.is_finite() && request.counts(self.labels[m]).is_some() {
                ((1.0 - eps) * weight(label) + other * of_all) * plain.loss[m]
            } else {
                0.0
            };
            costs += first;
            let unit = match self.class_weight {
                _ if eps == 0.0 => ulp_of(right),
                None => ulp_of(right) * (1.0 + eps) / (1.0 - eps),
                Some(_) => ulp_of(right.max(first)),
            };
            close.see(got, right, of_losses * unit, 0.0, || format!("loss[{m}]"))?;
        }
        let counted: f64 = match self.reduction {
            Reduction::Mean => self.labels.iter().filter_map(|&label| request.counts(label)).map(f64::from).sum(),
            Reduction::Sum => 1.0,
        };
        for (i, (&got, &right)) in got.gradient.iter().zip(&right.dlogits).enumerate() {
            let (row, class) = (i / classes, i % classes);
            let hit = class == self.labels[row] as usize;
            // What is taken from softmax times the targets of the row: the target of the class, or, of the label, those of all others.
            let target = match self.class_weight {
                None => other + if hit { 1.0 - eps } else { 0.0 },
                Some(_) => other * if hit { of_all - weight(class) } else { weight(class) },
            };
            let right = right * f64::from(self.scale);
            let left_out = request.counts(self.labels[row]).is_none();
            let target = if left_out { 0.0 } else { target / counted * f64::from(self.scale) };
            let part = if eps == 0.0 { right.abs() } else { right.abs().max(target) };
            let rounding = if self.dtype == Float::F32 { 0.0 } else { 1.001 * self.dtype.rounding(right) };
            close.see(got, right, of_gradients * ulp_of(part), rounding, || format!("dlogits[{row}][{class}]"))?;
        }
        if eps == 0.0 && self.class_weight.is_none() && self.dtype == Float::F32 {
            let worst = got.gradient.chunks(classes).map(unbalanced).fold(0.0, f64::max);
            let place = || "sum of a row of dlogits, in 2^-24 of its terms,".into();
            close.see(worst as f32, 0.0, 8.0, 0.0, place)?;
        }
        if let Some(total) = got.total {
            let (unit, bound) = match eps == 0.0 {
                true => (ulp_of(right.total), 8.0),
                false => (ulp_of(right.total.max(costs / counted)), 12.0),
            };
            let bound = if self.class_weight.is_some() { 12.0 } else { bound };
            close.see(total, right.total, bound * unit, 0.0, || "total".into())?;
        }
        if got.outside { Err("written beside the outputs".into()) } else { Ok(close) }
    }
}

/// The sum of a row of the gradient, in 2⁻²⁴ of the sum of its absolute values; 0 if it is NaN.
fn unbalanced(row: &[f32]) -> f64 {
    let [sum, all] = row.iter().fold([0.0, 0.0], |[sum, all], &d| [sum + f64::from(d), all + f64::from(d).abs()]);
    // What is smaller than the smallest normal number may have become 0.
    let flushed = row.len() as f64 * f64::from(f32::MIN_POSITIVE);
    if sum.is_nan() { 0.0 } else { (sum.abs() - flushed).max(0.0) / all.max(1e-300) * f64::from(1 << 24) }
}
