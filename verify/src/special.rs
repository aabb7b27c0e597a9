//! NaN and infinities in the fused layer, and repeated calls that must give the same bits.

use elbow::{Activation, Error, Gpu, Saved, Strategy, Tensor, affine::Forward, plan::Pin};

use crate::Numbers;

/// Sizes that no tile divides evenly.
const M: usize = 5;
const N: usize = 7;
const K: usize = 6;
/// The row of x and the column of y that get a NaN.
const ROW: usize = 2;
const COLUMN: usize = 3;

/// A layer's operands and results on the host.
struct Layer {
    activation: Activation,
    saved: Saved,
    strategy: Strategy,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
}

struct Results {
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
}

impl Layer {
    fn new(activation: Activation, saved: Saved, strategy: Strategy) -> Self {
        let mut numbers = Numbers::new(5);
        let mut normal = |len: usize| -> Vec<f32> { (0..len).map(|_| numbers.normal()).collect() };
        Layer { activation, saved, strategy, x: normal(M * K), w: normal(N * K), b: normal(N) }
    }

    async fn run(&self, gpu: &Gpu) -> Result<Results, Error> {
        let (x, w, b) = (gpu.upload(&self.x, &[M, K])?, gpu.upload(&self.w, &[N, K])?, gpu.upload(&self.b, &[N])?);
        let dy = gpu.upload(&[1.0; M * N], &[M, N])?;
        let (y, dx) = (gpu.zeros(&[M, N])?, gpu.zeros(&[M, K])?);
        let (dw, db) = (gpu.zeros(&[N, K])?, gpu.zeros(&[N])?);
        let pin = Pin::default().tile(3).strategy(self.strategy);
        let (saved, b_) = (self.saved, Some(b.view()));
        let forward = Forward::new(self.activation, &x, &w, &y).b(b_).saved(saved).pin(pin);
        let kept = forward.saved_shape()?.map(|(shape, dtype)| gpu.zeros_of(dtype, &shape)).transpose()?;
        let forward = forward.save_to(kept.as_ref().map(Tensor::view));
        gpu.submit_pass(|pass| {
            forward.record(gpu, &mut *pass)?;
            let backward = forward.backward(&dy).dx(&dx).dw(&dw).db(&db);
            backward.record(gpu, &mut *pass)
        })?;
        Ok(Results {
            y: gpu.download_async(&y).await?,
            dx: gpu.download_async(&dx).await?,
            dw: gpu.download_async(&dw).await?,
            db: gpu.download_async(&db).await?,
        })
    }
}

/// Checks that a NaN in x makes its row of y and of dx NaN, one in w its column of y, and the sums over them, but nothing else; and that an
/// infinite bias gives the activation's limit. The error says what is wrong.
pub(crate) async fn nan_and_inf(
    gpu: &Gpu,
    activation: Activation,
    saved: Saved,
    strategy: Strategy,
) -> Result<(), String> {
    let layer = || Layer::new(activation, saved, strategy);
    let run = async |layer: &Layer| layer.run(gpu).await.map_err(|e| e.to_string());
    // A mask can't represent NaN, and the identity's slope is 1 also for NaN.
    let spoils_slope = saved != Saved::Mask && !activation.needs_nothing();
    let expect = |name: &str, values: &[f32], width: usize, spoiled: &dyn Fn(usize, usize) -> bool| {
        for (i, value) in values.iter().enumerate() {
            let (row, column) = (i / width, i % width);
            if value.is_nan() != spoiled(row, column) {
                return Err(format!("{name}[{row}][{column}] is {value}"));
            }
        }
        Ok(())
    };

    let mut spoiled = layer();
    spoiled.x[ROW * K + 1] = f32::NAN;
    let got = run(&spoiled).await?;
    expect("with a NaN in x, y", &got.y, N, &|row, _| row == ROW)?;
    expect("with a NaN in x, dx", &got.dx, K, &|row, _| row == ROW && spoils_slope)?;
    // x is a factor of dw: its NaN appears there whatever the slope is.
    expect("with a NaN in x, dw", &got.dw, K, &|_, column| spoils_slope || column == 1)?;
    expect("with a NaN in x, db", &got.db, 1, &|_, _| spoils_slope)?;

    let mut spoiled = layer();
    spoiled.w[COLUMN * K + 1] = f32::NAN;
    let got = run(&spoiled).await?;
    expect("with a NaN in w, y", &got.y, N, &|_, column| column == COLUMN)?;
    expect("with a NaN in w, dx", &got.dx, K, &|_, column| spoils_slope || column == 1)?;
    expect("with a NaN in w, dw", &got.dw, K, &|row, _| row == COLUMN && spoils_slope)?;
    expect("with a NaN in w, db", &got.db, 1, &|row, _| row == COLUMN && spoils_slope)?;

    for infinity in [f32::INFINITY, f32::NEG_INFINITY] {
        let mut endless = layer();
        endless.b[COLUMN] = infinity;
        let y = run(&endless).await?.y;
        let limit = activation.value(f64::from(infinity)) as f32;
        for row in 0..M {
            let got = y[row * N + COLUMN];
            if got != limit && !(got.is_nan() && limit.is_nan()) {
                return Err(format!("with a bias of {infinity}, y[{row}][{COLUMN}] is {got}, expected {limit}"));
            }
        }
    }
    Ok(())
}

/// Runs the same call `times` times and compares all bits.
pub(crate) async fn same_bits(gpu: &Gpu, activation: Activation, times: usize) -> Result<(), String> {
    let layer = Layer::new(activation, Saved::Z, Strategy::Auto);
    let run = async || {
        let r = layer.run(gpu).await.map_err(|e| e.to_string())?;
        Result::<Vec<u32>, String>::Ok([r.y, r.dx, r.dw, r.db].iter().flatten().map(|v| v.to_bits()).collect())
    };
    let first = run().await?;
    for time in 1..times {
        let again = run().await?;
        if let Some(i) = first.iter().zip(&again).position(|(a, b)| a != b) {
            return Err(format!("run {time}: result {i} has bits {:08x}, before {:08x}", again[i], first[i]));
        }
    }
    Ok(())
}
