//! The feed-forward block of an encoder, LN(x + W₂ act(W₁x + b₁) + b₂): on the device, and in f64 with what f32 may round off.

use elbow::{
    Activation, Gpu, Norm,
    affine::{Forward, Front},
    gpu::transfer::Tensor,
};

use super::{
    Dense, Result,
    minilm::{MiniLm, WIDTH, moments},
};

/// A matrix `[N, K]` and a vector `[N]`.
type Parameters = (Vec<f32>, Vec<f32>);

pub(crate) struct Block {
    activation: Activation,
    up: Parameters,
    down: Parameters,
    norm: Parameters,
}

/// What the device makes of x: act(..), the sum in front of the norm, and the hidden states behind it.
pub(crate) struct Outputs {
    pub(crate) act: Tensor,
    pub(crate) sum: Tensor,
    pub(crate) hidden: Tensor,
}

impl Block {
    pub(crate) fn of(model: &MiniLm, layer: usize, activation: Activation) -> Result<Self> {
        let pair = |name: &str| -> Result<Parameters> {
            let of = |part: &str| model.tensor(&format!("encoder.layer.{layer}.{name}.{part}"));
            Ok((of("weight")?, of("bias")?))
        };
        let (up, down) = (pair("intermediate.dense")?, pair("output.dense")?);
        Ok(Block { activation, up, down, norm: pair("output.LayerNorm")? })
    }

    pub(crate) fn with(self, activation: Activation) -> Self {
        Block { activation, ..self }
    }

    /// Units between the two layers.
    pub(crate) fn units(&self) -> usize {
        self.up.1.len()
    }

    /// Mean and deviation of each unit's z for x = γ⊙Z + β of independent normal Z.
    pub(crate) fn normal_units(&self, (gamma, beta): &Parameters) -> Vec<(f64, f64)> {
        let unit = |(w, b): (&[f32], &f32)| {
            let (mut mean, mut variance) = (f64::from(*b), 0.0);
            for ((w, gamma), beta) in w.iter().zip(gamma).zip(beta) {
                mean += f64::from(*w) * f64::from(*beta);
                variance += (f64::from(*w) * f64::from(*gamma)).powi(2);
            }
            (mean, variance.sqrt())
        };
        self.up.0.chunks(WIDTH).zip(&self.up.1).map(unit).collect()
    }

    /// W₂v, and the largest ‖w₂‖₁ of its rows.
    pub(crate) fn through(&self, v: &[f64]) -> (Vec<f64>, f64) {
        let rows = || self.down.0.chunks(v.len());
        let product = rows().map(|w| w.iter().zip(v).map(|(w, v)| f64::from(*w) * v).sum()).collect();
        (product, rows().map(|w| w.iter().map(|w| f64::from(w.abs())).sum()).fold(0.0, f64::max))
    }

    /// The first layer.
    pub(crate) fn first(&self, gpu: &Gpu) -> Result<Dense> {
        let (n, (w, b)) = (self.units(), &self.up);
        Ok(Dense::new(self.activation, gpu.upload(w, &[n, WIDTH])?, gpu.upload(b, &[n])?))
    }

    pub(crate) fn forward(&self, gpu: &Gpu, x: &Tensor) -> Result<Outputs> {
        let act = self.first(gpu)?.forward(gpu, x)?;
        let down = gpu.upload(&self.down.0, &[WIDTH, self.units()])?;
        let [b, scale, shift] = [&self.down.1, &self.norm.0, &self.norm.1].map(|v| gpu.upload(v, &[WIDTH]));
        let (b, scale, shift, rows) = (b?, scale?, shift?, x.shape()[0]);
        let (sum, hidden, kept) = (gpu.zeros(x.shape())?, gpu.zeros(x.shape())?, gpu.zeros(&[2, rows])?);
        // A norm stands in front of a layer: of one that leaves everything as it is.
        let one: Vec<f32> = (0..WIDTH * WIDTH).map(|at| f32::from(u8::from(at % (WIDTH + 1) == 0))).collect();
        let one = gpu.upload(&one, &[WIDTH, WIDTH])?;
        let front = Front::new(Activation::IDENTITY).norm(Norm::layer().epsilon(1e-12)?);
        let front = front.moments(&kept).scale(&scale).shift(&shift);
        gpu.submit_pass(|pass| {
            Forward::new(Activation::IDENTITY, &act, &down, &sum).b(&b).residual(x).record(gpu, &mut *pass)?;
            Forward::new(Activation::IDENTITY, &sum, &one, &hidden).front(front).record(gpu, pass)
        })?;
        Ok(Outputs { act, sum, hidden })
    }

    /// The hidden states in f64, each with the standard deviation of what f32 rounds off on the way.
    pub(crate) fn exact(&self, x: &[f32]) -> Vec<(f64, f64)> {
        let row = |x: &[f32]| {
            let x: Vec<Number> = x.iter().map(|x| (f64::from(*x), 0.0)).collect();
            let act = layer(&x, &self.up).map(|(z, variance)| {
                // An activation may be off by 8 units in its last place; 1 is usual.
                let y = self.activation.value(z);
                (y, variance * self.activation.slope(z).powi(2) + (2.0 * UNIT * y).powi(2))
            });
            let act: Vec<Number> = act.collect();
            let joined = |((y, variance), (x, _)): (Number, &Number)| (y + x, variance + rounded(y + x));
            let sum: Vec<Number> = layer(&act, &self.down).zip(&x).map(joined).collect();
            let (mean, deviation) = moments(&sum.iter().map(|sum| sum.0).collect::<Vec<_>>());
            let channels = sum.iter().zip(&self.norm.0).zip(&self.norm.1);
            let normalised = channels.map(|((&(y, variance), scale), shift)| {
                let (scale, shift) = (f64::from(*scale), f64::from(*shift));
                let u = (y - mean) / deviation;
                // The difference, and three factors.
                let own = rounded(y / deviation) + 3.0 * rounded(u);
                let hidden = u * scale + shift;
                (hidden, ((variance / deviation.powi(2) + own) * scale.powi(2) + rounded(hidden)).sqrt())
            });
            normalised.collect::<Vec<_>>()
        };
        x.chunks(WIDTH).flat_map(row).collect()
    }
}

/// A value, and the variance of its error.
type Number = (f64, f64);

/// Half of an f32's last place beside 1.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// The variance of rounding a value: evenly between plus and minus half of the last place, which is UNIT of it at most.
fn rounded(value: f64) -> f64 {
    (UNIT * value).powi(2) / 3.0
}

/// A row through x·Wᵀ + b. Each product is rounded, and each sum so far, as if they came one after the other: any other order has smaller ones.
fn layer<'a>(x: &'a [Number], (w, b): &'a Parameters) -> impl Iterator<Item = Number> + 'a {
    w.chunks(x.len()).zip(b).map(|(w, b)| {
        let (mut sum, mut carried, mut squares) = (0.0, 0.0, 0.0);
        for (&(x, variance), &w) in x.iter().zip(w) {
            let w = f64::from(w);
            sum += w * x;
            carried += w * w * variance;
            squares += (w * x).powi(2) + sum * sum;
        }
        sum += f64::from(*b);
        (sum, carried + UNIT * UNIT / 3.0 * (squares + sum * sum))
    })
}
