//! The activations alone, point by point: value, derivatives by z and derivatives by α on the device, compared with f64.

use elbow::{
    Activation, Error, Gpu, View,
    activation::{Quantity, rows},
    elementwise::Forward,
};
use rayon::prelude::*;

use crate::judge::Judge;
#[cfg(not(target_family = "wasm"))]
pub use crate::wait::on_device;

/// Which kernels compute the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// Forward, double backward, third derivatives and the second by α: every quantity once, with few kernels to compile.
    Few,
    /// Also backward: the slope and the derivative by α from every kernel that computes them.
    All,
}

/// Inputs of an activation, and for each of [`Quantity::ALL`] the expected values and the sums of |terms|.
#[derive(Debug, Clone)]
pub struct Points {
    /// The activation.
    pub activation: Activation,
    /// The inputs z.
    pub x: Vec<f32>,
    /// The expected values.
    pub expected: [Vec<f64>; 8],
    /// The scales of the errors ([`Activation::terms`]).
    pub terms: [Vec<f64>; 8],
}

/// The largest error of a quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorstPoint {
    /// The quantity.
    pub quantity: Quantity,
    /// The error in ulp of the sum of |terms|.
    pub ulp: f64,
    /// The input.
    pub x: f32,
    /// The result of the device.
    pub got: f32,
    /// The exact result.
    pub expected: f64,
}

impl Points {
    /// The expected values by the activation's f64 mathematics.
    pub fn new(activation: Activation, x: Vec<f32>) -> Self {
        let jets: Vec<_> = x.par_iter().with_min_len(1024).map(|&x| activation.evaluate_all(f64::from(x))).collect();
        let expected = std::array::from_fn(|q| jets.iter().map(|(values, _)| values[q]).collect());
        let terms = std::array::from_fn(|q| jets.iter().map(|(_, terms)| terms[q]).collect());
        Points { activation, x, expected, terms }
    }

    /// The quantities that this activation has.
    pub fn quantities(&self) -> &'static [Quantity] {
        self.activation.row().quantities()
    }

    /// The largest error of the device's results `got`, in ulp of the sum of |terms|.
    pub fn worst(&self, judge: Judge, quantity: Quantity, got: &[f32]) -> WorstPoint {
        let (expected, terms) = (&self.expected[quantity as usize], &self.terms[quantity as usize]);
        let none = WorstPoint { quantity, ulp: -1.0, x: f32::NAN, got: f32::NAN, expected: f64::NAN };
        let points = self.x.iter().zip(got).zip(expected.iter().zip(terms));
        points.fold(none, |worst, ((&x, &got), (&expected, &terms))| {
            let ulp = judge.ulps_from(&self.activation, quantity, x, (expected, terms), got);
            if ulp > worst.ulp { WorstPoint { quantity, ulp, x, got, expected } } else { worst }
        })
    }
}

/// Every quantity of the activation at x, computed on the device; some twice, by two kernels.
pub async fn on_device_async(
    gpu: &Gpu,
    activation: Activation,
    x: &[f32],
    kernels: Kernels,
) -> Result<Vec<(Quantity, Vec<f32>)>, Error> {
    let shape = [x.len()];
    let learnable = activation.has_alpha();
    let upload = |value: f32| gpu.upload(&vec![value; x.len()], &shape);
    let (x, ones) = (gpu.upload(x, &shape)?, upload(1.0)?);
    // An α for each element, so that dα is not summed over elements.
    let alpha = upload(activation.params()[0])?;
    let alpha: Option<View<'_>> = learnable.then(|| alpha.view());
    let mut out = Vec::new();
    for quantity in [
        Quantity::Value,
        Quantity::Slope,
        Quantity::SecondDerivative,
        Quantity::MixedDerivative,
        Quantity::Slope,
        Quantity::AlphaSlope,
        Quantity::ThirdDerivative,
        Quantity::MixedThirdDerivative,
        Quantity::SecondAlphaDerivative,
    ] {
        out.push((quantity, gpu.zeros(&shape)?));
    }
    let all = kernels == Kernels::All || learnable;
    gpu.submit_pass(|pass| {
        let forward = Forward::new(activation, &x, &out[0].1).alpha(alpha);
        forward.record(gpu, &mut *pass)?;
        let backward = forward.backward(&ones);
        let mut double = backward.backward(&ones).ddy(&out[1].1).dx2(&out[2].1);
        let mut backward = backward.dx(&out[4].1);
        if learnable {
            (double, backward) = (double.dalpha2(&out[3].1), backward.dalpha(&out[5].1));
        }
        double.record(gpu, &mut *pass)?;
        if all {
            backward.record(gpu, &mut *pass)?;
        }
        // No operator needs these: by themselves.
        for (quantity, y) in out[6..].iter().filter(|(quantity, _)| activation.row().quantities().contains(quantity)) {
            Forward::new(activation, &x, y).alpha(alpha).quantity(*quantity).record(gpu, &mut *pass)?;
        }
        Ok(())
    })?;
    let computed = |i: usize| i < 3 || i == 6 || (i == 4 && all) || (learnable && i != 4);
    let mut results = Vec::new();
    for (_, (quantity, tensor)) in out.iter().enumerate().filter(|(i, _)| computed(*i)) {
        results.push((*quantity, gpu.download_async(tensor).await?));
    }
    Ok(results)
}

/// Inputs where errors are likely: special values, powers of two, a grid, the tails, and the neighbourhood of every kink.
pub fn probes(activation: &Activation) -> Vec<f32> {
    let mut x = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX, f32::MIN];
    let smallest = f32::from_bits(1);
    let mut both = |v: f32| x.extend([v, -v]);
    [smallest, f32::MIN_POSITIVE, f32::MIN_POSITIVE.next_down(), 1.0f32.next_up(), 1.0f32.next_down()]
        .into_iter()
        .for_each(&mut both);
    (-149..128).for_each(|e| both(2f64.powi(e) as f32));
    (0..200).for_each(|i| both(i as f32 * 0.1));
    for tail in
        [5.5, 6.5, 9.011, 10.5, 13.0, 13.5, 14.2, 16.6355, 17.33, 30.0, 87.3, 88.72, 88.73, 103.97, 104.0, 1e5, 1e20]
    {
        both(tail);
    }
    // Near roots and extrema of the slopes of gelu, silu and mish, and roots of third derivatives: of gelu, silu, mish, tanh, sigmoid and
    // softplus.
    [0.7518, 1.2785, 1.1924, std::f32::consts::SQRT_2, 2.3994, 1.4906].into_iter().for_each(&mut both);
    [2.0, 2.01348, 3.43584, 3.78698, 0.9913, 3.26734, 2.11484, 0.65848, 1.31696, 1.5434]
        .into_iter()
        .for_each(&mut both);
    for kink in activation.kinks() {
        let at = kink.at as f32;
        let (mut up, mut down) = (at, at);
        for _ in 0..4 {
            (up, down) = (up.next_up(), down.next_down());
            x.extend([up, down]);
        }
        x.push(at);
        x.extend((-20..-6).flat_map(|e| [at + 2f32.powi(e), at - 2f32.powi(e)]));
    }
    x
}

/// Each row of the table at its default parameters.
pub fn defaults() -> Vec<Activation> {
    (0..rows().len()).map(crate::spec::default_of).collect()
}
