//! Two small dispatches that find drivers that compute wrong numbers.

use super::{Gpu, operands::Operands, record::prepare};
use crate::{
    activation::{Activation, Quantity},
    error::{Error, Result},
    kernel::MOST_TRIPS,
    operand::Operand,
    plan::{self, DeviceClass, Pin},
    request::{AffineRequest, Saved},
};

const M: usize = 9;
const N: usize = 8;
const K: usize = 3;
/// Fills the memory after the end of y, to see that no kernel writes there.
const CANARY: f32 = -12345.0;
/// The row of x that holds a NaN.
const SPOILED: usize = 4;

impl Gpu {
    /// Runs a fused layer with GELU, 72 elements of y, and compares it with the reference: product, edge tiles, bias, tails of the
    /// activation, NaN, and that nothing is written beyond y. Then the longest loop that a plan may have, because some drivers silently
    /// cut loops short. [`Error::SelfTest`] if a number is wrong. If matrix units are on, products of integers on them too: where one is wrong they are
    /// no longer used, and [`Gpu::matrix_units`] says so.
    ///
    /// Opening a device does this ([`super::Options::self_test`]). On a host's device nothing is submitted unless the host asks for it: it
    /// awaits this once, as it does [`Gpu::download_async`].
    ///
    /// ```no_run
    /// use elbow::{Gpu, wgpu};
    /// # async fn host(device: &wgpu::Device, queue: &wgpu::Queue) -> elbow::Result<()> {
    /// let gpu = Gpu::from_wgpu(device, queue);
    /// gpu.self_test_async().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn self_test_async(&self) -> Result<()> {
        let (x, w, b) = operands();
        let behind = 64;
        let y = vec![CANARY; M * N + behind];
        let (x_, w_, b_) = (self.upload(&x, &[M, K])?, self.upload(&w, &[N, K])?, self.upload(&b, &[N])?);
        let y_ = self.upload(&y, &[y.len()])?;
        let request = AffineRequest::new(M, N, K, Activation::GELU_ERF).saved(Saved::None);
        // On a CPU the tile that compiles fastest; on a GPU one with workgroup memory and barriers, to test those too.
        let tile = Some(if self.inner.class == DeviceClass::Software { 3 } else { 5 });
        let pin = Pin { tile, splits: Some(1), ..Pin::default() };
        let plan = plan::forward(&request, true, false, &self.caps(), &pin)?;
        let mut operands = Operands::default();
        operands.add(Operand::X, x_.view()).add(Operand::W, w_.view()).add(Operand::B, b_.view());
        operands.add(Operand::Y, y_.view_as(&[M, N]));
        let layer = prepare(self, &plan, &operands)?;
        let ones = self.upload(&vec![1.0; MOST_TRIPS as usize], &[MOST_TRIPS as usize])?;
        let count = self.upload(&[CANARY], &[1])?;
        let mut operands = Operands::default();
        operands.add(Operand::X, ones.view()).add(Operand::Y, count.view());
        let long = prepare(self, &plan::longest_loop(), &operands)?;
        self.submit(|encoder| {
            layer.record(&mut *encoder)?;
            long.record(encoder)
        })?;
        let (got, counted) = (self.download_async(&y_).await?, self.download_async(&count).await?);
        judge(&x, &w, &b, &got)
            .and_then(|()| whole_loop(&counted))
            .map_err(|message| Error::SelfTest { adapter: self.to_string(), message })?;
        self.test_matrix_units().await
    }
}

/// z = x·wᵀ + b is exact: multiples of 1/8 between −12 and 12.
fn operands() -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut x: Vec<f32> = (0..M * K).map(|i| (i % 7) as f32 - 3.0).collect();
    x[SPOILED * K] = f32::NAN;
    let w = (0..N * K).map(|i| (i % 5) as f32 * 0.25 - 0.5).collect();
    let b = (0..N).map(|i| i as f32 * 2.375 - 9.5).collect();
    (x, w, b)
}

/// Compares each element of y with f64, and looks for writes after its end.
fn judge(x: &[f32], w: &[f32], b: &[f32], y: &[f32]) -> Result<(), String> {
    let tolerance = Activation::GELU_ERF.row().tolerance(Quantity::Value) * f64::powi(2.0, -23);
    for (i, &got) in y.iter().enumerate() {
        if i >= M * N {
            if got != CANARY {
                return Err(format!("memory after the end of y was written ({got} at element {i})"));
            }
            continue;
        }
        let (m, n) = (i / N, i % N);
        let z: f32 = (0..K).map(|k| x[m * K + k] * w[n * K + k]).sum::<f32>() + b[n];
        let expected = Activation::GELU_ERF.value(f64::from(z));
        let right = match expected.is_nan() {
            true => got.is_nan(),
            false => (f64::from(got) - expected).abs() <= tolerance * expected.abs(),
        };
        if !right {
            return Err(format!("gelu_erf({z}) at y[{m}][{n}] is {got:e}, expected {expected:e}"));
        }
    }
    Ok(())
}

/// The sum of [`MOST_TRIPS`] ones, by one invocation.
fn whole_loop(counted: &[f32]) -> Result<(), String> {
    match counted {
        [count] if *count == MOST_TRIPS as f32 => Ok(()),
        other => Err(format!("a loop over {MOST_TRIPS} ones has summed to {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_numbers_are_noticed() {
        let (x, w, b) = operands();
        let z = |i: usize| (0..K).map(|k| x[i / N * K + k] * w[i % N * K + k]).sum::<f32>() + b[i % N];
        let gelu = |i: usize| Activation::GELU_ERF.value(f64::from(z(i))) as f32;
        let right: Vec<f32> = (0..M * N + 64).map(|i| if i < M * N { gelu(i) } else { CANARY }).collect();
        assert_eq!(judge(&x, &w, &b, &right), Ok(()));
        let wrong = |change: &dyn Fn(usize, f32) -> f32| {
            let y: Vec<f32> = right.iter().enumerate().map(|(i, &y)| change(i, y)).collect();
            assert!(judge(&x, &w, &b, &y).is_err());
        };
        assert_eq!(whole_loop(&[MOST_TRIPS as f32]), Ok(()));
        assert!(whole_loop(&[16_384.0]).is_err() && whole_loop(&[CANARY]).is_err());
        wrong(&|i, y| if i == M * N { 0.0 } else { y });
        wrong(&|i, y| if i == M * N - 1 { y.next_up() * 1.00001 } else { y });
        // A ReLU that drops NaN, a tail that cancels to zero, the other GELU, a layer without its bias.
        wrong(&|_, y| if y.is_nan() { 0.0 } else { y });
        wrong(&|i, y| if i < M * N && z(i) < -5.5 { 0.0 } else { y });
        wrong(&|i, y| if i < M * N { Activation::GELU_TANH.value(f64::from(z(i))) as f32 } else { y });
        wrong(&|i, y| if i < M * N { Activation::GELU_ERF.value(f64::from(z(i) - b[i % N])) as f32 } else { y });
    }
}
