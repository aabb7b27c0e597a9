//! The time of fused layers, forward and backward.

use elbow::{Activation, Saved, affine::Forward};
use wasm_bindgen::prelude::{JsError, wasm_bindgen};
use web_time::{Duration, Instant};

use crate::device::Device;

/// A measurement goes on until a submission of many calls takes so long: far longer than a submission's own time.
const LONG_ENOUGH: Duration = Duration::from_millis(100);
/// The most calls in a submission.
const MOST: usize = 256;

/// The time of one layer.
#[wasm_bindgen]
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    /// Seconds of the first call, which compiles the kernels.
    pub first: f64,
    /// Seconds of a forward and a backward, of `calls` in one submission: the clock on the wall from its recording to its end.
    pub seconds: f64,
    /// Calls in that submission.
    pub calls: usize,
    /// 2·M·N·K operations for each of the products y, dx and dW, by `seconds`.
    pub operations: f64,
}

/// Times y = gelu(x·Wᵀ + b) of M rows with K columns to N, and its dx, dW and db.
#[wasm_bindgen]
pub async fn time_layer(device: &Device, m: usize, n: usize, k: usize) -> Result<Timed, JsError> {
    let gpu = &device.gpu;
    let numbers = |count: usize| -> Vec<f32> { (0..count).map(|i| (i % 13) as f32 / 6.5 - 0.9).collect() };
    let (x, w) = (gpu.upload(&numbers(m * k), &[m, k])?, gpu.upload(&numbers(n * k), &[n, k])?);
    let (b, dy) = (gpu.upload(&numbers(n), &[n])?, gpu.upload(&numbers(m * n), &[m, n])?);
    let (y, z, dx) = (gpu.zeros(&[m, n])?, gpu.zeros(&[m, n])?, gpu.zeros(&[m, k])?);
    let (dw, db) = (gpu.zeros(&[n, k])?, gpu.zeros(&[n])?);
    let layer = Forward::new(Activation::GELU_ERF, &x, &w, &y).b(b.view()).saved(Saved::Z).save_to(z.view());
    let start = Instant::now();
    let forward = layer.prepare(gpu)?;
    let backward = layer.backward(&dy).dx(&dx).dw(&dw).db(&db).prepare(gpu)?;
    let submit = async |calls: usize| -> elbow::Result<Duration> {
        let start = Instant::now();
        gpu.submit_pass(|pass| {
            for _ in 0..calls {
                forward.record(&mut *pass)?;
                backward.record(&mut *pass)?;
            }
            Ok(())
        })?;
        gpu.wait_async().await?;
        Ok(start.elapsed())
    };
    submit(1).await?;
    let first = start.elapsed().as_secs_f64();
    let (mut calls, mut taken) = (1, submit(1).await?);
    while taken < LONG_ENOUGH && calls < MOST {
        calls = (calls * 2).min(MOST);
        taken = submit(calls).await?;
    }
    let seconds = taken.as_secs_f64() / calls as f64;
    Ok(Timed { first, seconds, calls, operations: 6.0 * (m * n * k) as f64 / seconds })
}
