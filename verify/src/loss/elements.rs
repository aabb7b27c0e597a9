//! The losses of elements: squared error, Huber's, binary cross-entropy.

use elbow::{
    Float, Gpu,
    cpu::reference,
    criterion::{Criterion, Reduction},
    train::Loss,
};

use super::{Losses, Outputs};
use crate::{close::Close, ulp::ulp_of};

/// Ulp of an element, as documented; a row's sum of many adds some.
const ULP: f64 = 8.0;

/// A call of an elementwise loss.
///
/// ```no_run
/// use elbow::{Gpu, criterion::Criterion};
/// use elbow_verify::Elements;
/// let case = Elements::new(Criterion::SquaredError, 1, vec![1.0, 2.0], vec![0.0, 2.0]);
/// case.check(&Gpu::new()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Elements {
    /// The loss of an element.
    pub criterion: Criterion,
    /// Mean or sum.
    pub reduction: Reduction,
    /// Elements of a row.
    pub columns: usize,
    /// Outputs.
    pub y: Vec<f32>,
    /// Targets.
    pub targets: Vec<f32>,
    /// A factor for each row.
    pub row_weight: Option<Vec<f32>>,
    /// A factor of the positive part for each column.
    pub positive_weight: Option<Vec<f32>>,
    /// The loss scale, 1 for none.
    pub scale: f32,
    /// In which y, targets and gradient are stored.
    pub dtype: Float,
    /// Whether the mean, or the sum, of all rows is asked for.
    pub total: bool,
}

impl Elements {
    /// The mean in f32, without weights, loss scale or total.
    pub fn new(criterion: Criterion, columns: usize, y: Vec<f32>, targets: Vec<f32>) -> Self {
        let (reduction, dtype, scale, total) = (Reduction::Mean, Float::F32, 1.0, false);
        let (row_weight, positive_weight) = (None, None);
        Elements { criterion, reduction, columns, y, targets, row_weight, positive_weight, scale, dtype, total }
    }

    /// Loss and gradient on the device.
    pub async fn run_async(&self, gpu: &Gpu) -> elbow::Result<Losses> {
        let (n, rows) = (self.columns, self.y.len() / self.columns);
        let y = gpu.upload_as(self.dtype, &self.y, &[rows, n])?;
        let targets = gpu.upload_as(self.dtype, &self.targets, &[rows, n])?;
        let vector = |v: &Option<Vec<f32>>| v.as_ref().map(|v| gpu.upload(v, &[v.len()])).transpose();
        let (row_weight, positive_weight) = (vector(&self.row_weight)?, vector(&self.positive_weight)?);
        let state = (self.scale != 1.0).then(|| gpu.upload(&[self.scale, 0.0, 0.0, 0.0], &[4])).transpose()?;
        let outputs = Outputs::new(gpu, self.dtype, rows, n)?;
        let (here, there, total) = ([rows], [rows, n], outputs.total()?);
        let (loss, dy) = (outputs.loss.view_as(&here), outputs.gradient.view_as(&there));
        let call = Loss::new(self.criterion, &y, &targets, loss, dy)
            .reduction(self.reduction)
            .row_weight(row_weight.as_ref().map(|v| v.view()))
            .positive_weight(positive_weight.as_ref().map(|v| v.view()))
            .loss_scale(state.as_ref().map(|v| v.view()))
            .total(self.total.then_some(total));
        gpu.submit(|encoder| call.record(gpu, encoder))?;
        outputs.results(gpu, self.total).await
    }

    /// Runs it and judges the results.
    pub async fn check_async(&self, gpu: &Gpu) -> Result<Close, String> {
        self.judge(&self.run_async(gpu).await.map_err(|error| error.to_string())?)
    }

    /// The largest error as a share of its bound; what is wrong if one is beyond it.
    pub fn judge(&self, got: &Losses) -> Result<Close, String> {
        let (weights, positive) = (self.row_weight.as_deref(), self.positive_weight.as_deref());
        let parts = [self.y.as_slice(), &self.targets];
        let right = reference::elementwise_loss(self.criterion, self.reduction, self.columns, parts, weights, positive)
            .map_err(|error| error.to_string())?;
        let mut close = Close::default();
        // All terms of a row have one sign; f32 sums of up to 1024 terms a lane.
        let of_sum = |right: f64, terms: usize| (ULP + 4.0) * ulp_of(right) * (1.0 + (terms as f64).log2() / 4.0);
        for (m, (&got, &right)) in got.loss.iter().zip(&right.loss).enumerate() {
            close.see(got, right, of_sum(right, self.columns), 0.0, || format!("loss[{m}]"))?;
        }
        for (i, (&got, &right)) in got.gradient.iter().zip(&right.dy).enumerate() {
            let right = right * f64::from(self.scale);
            // What cancels in σ(y) − t is the target's ulp: the factor of an element makes it small.
            let factor = self.reduction_factor() * f64::from(self.scale) * self.weight_of(i);
            let between =
                self.criterion == Criterion::BinaryCrossEntropy && self.targets[i] > 0.0 && self.targets[i] < 1.0;
            let unit = if between { ulp_of(factor.abs().max(right.abs())) } else { ulp_of(right) };
            let rounding = if self.dtype == Float::F32 { 0.0 } else { 1.001 * self.dtype.rounding(right) };
            let place = || format!("dy[{i}] with y {:e} and target {:e}", self.y[i], self.targets[i]);
            close.see(got, right, ULP * unit, rounding, place)?;
        }
        if let Some(total) = got.total {
            close.see(total, right.total, of_sum(right.total, self.y.len()), 0.0, || "total".into())?;
        }
        if got.outside { Err("written beside the outputs".into()) } else { Ok(close) }
    }

    fn reduction_factor(&self) -> f64 {
        if self.reduction == Reduction::Mean { 1.0 / self.y.len() as f64 } else { 1.0 }
    }

    fn weight_of(&self, i: usize) -> f64 {
        let row = self.row_weight.as_ref().map_or(1.0, |w| f64::from(w[i / self.columns]));
        row * self.positive_weight.as_ref().map_or(1.0, |w| f64::from(w[i % self.columns])).max(1.0)
    }
}
