//! Accuracy over all bit patterns of f32, or every stride-th: the largest error of each quantity, its input, and a histogram.

use elbow::{Activation, Error, Gpu, Tensor, activation::Quantity, affine::Gradient, elementwise::Forward};
use rayon::prelude::*;

use crate::{judge::Judge, points::WorstPoint};

/// Upper ends of the classes of the histogram, in ulp; the last class is open.
pub const CLASSES: [f64; 6] = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0];

/// The result of a sweep for one quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Swept {
    /// The largest error, with its input.
    pub worst: WorstPoint,
    /// Number of inputs whose error is beyond the row's tolerance.
    pub beyond: u64,
    /// Number of inputs in each class of [`CLASSES`], and beyond the last.
    pub histogram: [u64; CLASSES.len() + 1],
}

impl Swept {
    const fn new(quantity: Quantity) -> Self {
        let worst = WorstPoint { quantity, ulp: -1.0, x: 0.0, got: 0.0, expected: 0.0 };
        Swept { worst, beyond: 0, histogram: [0; CLASSES.len() + 1] }
    }

    fn add(&mut self, point: WorstPoint, tolerance: f64) {
        let class = CLASSES.iter().position(|&end| point.ulp <= end).unwrap_or(CLASSES.len());
        self.histogram[class] += 1;
        self.beyond += u64::from(point.ulp > tolerance);
        if point.ulp > self.worst.ulp {
            self.worst = point;
        }
    }

    fn and(mut self, other: Swept) -> Self {
        self.beyond += other.beyond;
        self.histogram.iter_mut().zip(other.histogram).for_each(|(a, b)| *a += b);
        if other.worst.ulp > self.worst.ulp {
            self.worst = other.worst;
        }
        self
    }
}

/// Inputs of one submission: 4 MiB for each tensor.
const CHUNK: usize = 1 << 20;

/// Checks every quantity of an activation at every stride-th of the 2³² bit patterns, NaN included. `progress` is called with the number of
/// inputs of each submission, 2³² / stride in all, rounded up.
///
/// ```no_run
/// use elbow::{Activation, Gpu};
/// let gpu = Gpu::new()?;
/// for swept in elbow_verify::sweep::sweep(&gpu, Activation::GELU_ERF, 1021, &mut |_| ())? {
///     println!("{}: {} ulp", swept.worst.quantity.wgsl_name(), swept.worst.ulp);
/// }
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn sweep(
    gpu: &Gpu,
    activation: Activation,
    stride: u32,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Swept>, Error> {
    let judge = Judge::of(gpu)?;
    let stride = u64::from(stride.max(1));
    let total = (1u64 << 32).div_ceil(stride);
    let device = Device::new(gpu, activation, CHUNK.min(total as usize))?;
    let mut found: Vec<Swept> = device.quantities().iter().map(|&q| Swept::new(q)).collect();
    let mut done = 0;
    while done < total {
        let count = (total - done).min(device.x.elements() as u64);
        // The last submission repeats the last input.
        let pattern = |i: u64| ((done + i.min(count - 1)) * stride) as u32;
        let x: Vec<f32> = (0..device.x.elements() as u64).map(|i| f32::from_bits(pattern(i))).collect();
        let got = device.run(&x)?;
        let judged = judged(judge, &activation, device.quantities(), &x[..count as usize], &got);
        found = found.into_iter().zip(judged).map(|(a, b)| a.and(b)).collect();
        done += count;
        progress(count);
    }
    Ok(found)
}

fn judged(judge: Judge, activation: &Activation, quantities: &[Quantity], x: &[f32], got: &[Vec<f32>]) -> Vec<Swept> {
    let tolerance = |q: Quantity| activation.row().tolerance(q);
    let none = || -> Vec<Swept> { quantities.iter().map(|&q| Swept::new(q)).collect() };
    (0..x.len())
        .into_par_iter()
        .with_min_len(4096)
        .fold(none, |mut found, i| {
            let (values, terms) = activation.evaluate_all(f64::from(x[i]));
            for (swept, got) in found.iter_mut().zip(got) {
                let quantity = swept.worst.quantity;
                let (got, expected) = (got[i], values[quantity as usize]);
                let ulp = judge.ulps_from(activation, quantity, x[i], (expected, terms[quantity as usize]), got);
                swept.add(WorstPoint { quantity, ulp, x: x[i], got, expected }, tolerance(quantity));
            }
            found
        })
        .reduce(none, |a, b| a.into_iter().zip(b).map(|(a, b)| a.and(b)).collect())
}

/// The tensors, which every submission uses again.
struct Device<'a> {
    gpu: &'a Gpu,
    activation: Activation,
    x: Tensor,
    ones: Tensor,
    alpha: Option<Tensor>,
    out: Vec<Tensor>,
}

impl<'a> Device<'a> {
    fn new(gpu: &'a Gpu, activation: Activation, len: usize) -> Result<Self, Error> {
        let shape = [len];
        let alpha = match activation.has_alpha() {
            true => Some(gpu.upload(&vec![activation.params()[0]; len], &shape)?),
            false => None,
        };
        let mut device = Device {
            gpu,
            activation,
            x: gpu.zeros(&shape)?,
            ones: gpu.upload(&vec![1.0; len], &shape)?,
            alpha,
            out: Vec::new(),
        };
        for _ in device.quantities() {
            device.out.push(gpu.zeros(&shape)?);
        }
        Ok(device)
    }

    fn quantities(&self) -> &'static [Quantity] {
        self.activation.row().quantities()
    }

    /// Each quantity at x, in the order of [`Device::quantities`].
    fn run(&self, x: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
        let gpu = self.gpu;
        gpu.write(&self.x, x)?;
        let alpha = self.alpha.as_ref().map(Tensor::view);
        let out = |quantity: Quantity| self.out.get(quantity as usize).map(Gradient::overwrite);
        gpu.submit_pass(|pass| {
            let forward = Forward::new(self.activation, &self.x, &self.out[0]).alpha(alpha);
            forward.record(gpu, &mut *pass)?;
            let backward = forward.backward(&self.ones);
            let double = backward.backward(&self.ones);
            let double = double.ddy(out(Quantity::Slope)).dx2(out(Quantity::SecondDerivative));
            double.dalpha2(out(Quantity::MixedDerivative)).record(gpu, &mut *pass)?;
            if alpha.is_some() {
                backward.dalpha(out(Quantity::AlphaSlope)).record(gpu, &mut *pass)?;
            }
            let alone = [Quantity::ThirdDerivative, Quantity::MixedThirdDerivative, Quantity::SecondAlphaDerivative];
            for quantity in alone {
                if let Some(y) = self.out.get(quantity as usize) {
                    forward.y(y).quantity(quantity).record(gpu, &mut *pass)?;
                }
            }
            Ok(())
        })?;
        self.out.iter().map(|tensor| gpu.download(tensor)).collect()
    }
}
