//! Losses on the device against the reference, within their bounds.

mod classes;
mod elements;

pub use classes::Classes;
pub use elements::Elements;

/// What a call of a loss has written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// The loss of each row.
    pub loss: Vec<f32>,
    /// The gradient.
    pub gradient: Vec<f32>,
    /// The mean, or the sum, of all rows, if it was asked for.
    pub total: Option<f32>,
    /// Whether anything beside them was written.
    pub outside: bool,
}

/// What stands in the outputs before a call, and behind them: no loss is negative.
const CANARY: f32 = -7.0;

/// Where the outputs of a call lie, with canaries behind losses and gradients, and on both sides of the total.
struct Outputs {
    loss: elbow::Tensor,
    gradient: elbow::Tensor,
    total: elbow::Tensor,
    rows: usize,
    columns: usize,
}

impl Outputs {
    fn new(gpu: &elbow::Gpu, dtype: elbow::Float, rows: usize, columns: usize) -> elbow::Result<Self> {
        let loss = gpu.upload(&vec![CANARY; rows + 1], &[rows + 1])?;
        let gradient = gpu.upload_as(dtype, &vec![CANARY; (rows + 1) * columns], &[rows + 1, columns])?;
        let total = gpu.upload(&[CANARY; 3], &[3])?;
        Ok(Outputs { loss, gradient, total, rows, columns })
    }

    fn total(&self) -> elbow::Result<elbow::View<'_>> {
        self.total.view().slice(0, 1..2)
    }

    async fn results(&self, gpu: &elbow::Gpu, total: bool) -> elbow::Result<Losses> {
        let mut loss = gpu.download_async(&self.loss).await?;
        let mut gradient = gpu.download_async(&self.gradient).await?;
        let number = gpu.download_async(&self.total).await?;
        let behind = [loss.split_off(self.rows), gradient.split_off(self.rows * self.columns)].concat();
        let around = if total { vec![number[0], number[2]] } else { number.clone() };
        let outside = behind.iter().chain(&around).any(|&v| v != CANARY);
        Ok(Losses { loss, gradient, total: total.then_some(number[1]), outside })
    }
}
