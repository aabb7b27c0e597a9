//! Whole networks on the host: parameters, and the f64 reference with a bound of what f32 may make of it.

use elbow::{
    Activation, AlphaSource, Gpu,
    activation::Quantity,
    mlp::{Architecture, Mlp, Parameters},
    network::Layers,
};

use crate::common::{Numbers, ulp_of};

/// One layer's parameters, α of one element or of N if there is one.
pub struct HostLayer {
    pub k: usize,
    pub n: usize,
    pub activation: Activation,
    pub w: Vec<f32>,
    pub b: Vec<f32>,
    pub alpha: Option<Vec<f32>>,
}

impl HostLayer {
    fn of(&self, channel: usize) -> Activation {
        match &self.alpha {
            None => self.activation,
            Some(alpha) => self.activation.with_alpha(alpha[channel % alpha.len()]),
        }
    }

    /// A quantity of the activation at z, and how far from it f32 may be where z itself is `e` wrong.
    fn near(&self, channel: usize, quantity: Quantity, z: f64, e: f64) -> [f64; 2] {
        let activation = self.of(channel);
        let v = activation.evaluate(quantity, z);
        let size = v.abs().max(activation.terms(quantity, z));
        let moved =
            [z - e, z + e].map(|z| (activation.evaluate(quantity, z) - v).abs()).into_iter().fold(0.0, f64::max);
        [v, 2.0 * moved + (activation.row().tolerance(quantity) + 2.0) * ulp_of(size)]
    }
}

/// Of a row behind a layer: z and y, and how far f32 may be from them.
#[derive(Default)]
struct Step {
    z: Vec<f64>,
    z_errors: Vec<f64>,
    y: Vec<f64>,
    y_errors: Vec<f64>,
}

/// Numbers, and how far f32 may be from each.
#[derive(Default)]
pub struct Bounded {
    pub values: Vec<f64>,
    pub errors: Vec<f64>,
}

impl Bounded {
    fn zeros(length: usize) -> Self {
        Bounded { values: vec![0.0; length], errors: vec![0.0; length] }
    }

    /// Every number within its bound.
    pub fn judge(&self, what: &str, got: &[f32]) {
        assert_eq!(got.len(), self.values.len(), "{what}");
        for (i, ((&got, want), bound)) in got.iter().zip(&self.values).zip(&self.errors).enumerate() {
            let close = (f64::from(got) - want).abs() <= bound + 1e-37;
            assert!(close, "{what}[{i}] is {got}, expected {want} ± {bound:e}");
        }
    }
}

/// What a sum of f32 may lose for each of its terms.
const EPSILON: f64 = 1.0 / (1 << 23) as f64;

pub struct HostNetwork(pub Vec<HostLayer>);

impl HostNetwork {
    /// With parameters of the size that keeps numbers near 1, the last layer linear.
    pub fn random(sizes: &[usize], activation: Activation, alpha: AlphaSource, numbers: &mut Numbers) -> Self {
        let hidden = sizes.len() - 2;
        let layer = |(l, pair): (usize, &[usize])| {
            let (k, n) = (pair[0], pair[1]);
            let deviation = 1.0 / (k.max(1) as f32).sqrt();
            let learns = l < hidden && alpha != AlphaSource::Constant;
            let alphas = if alpha == AlphaSource::PerLayer { 1 } else { n };
            HostLayer {
                k,
                n,
                activation: if l < hidden { activation } else { Activation::IDENTITY },
                w: (0..n * k).map(|_| numbers.normal() * deviation).collect(),
                b: (0..n).map(|_| numbers.normal() * 0.5).collect(),
                alpha: learns.then(|| (0..alphas).map(|_| numbers.normal().abs() * 0.2 + 0.4).collect()),
            }
        };
        HostNetwork(sizes.windows(2).enumerate().map(layer).collect())
    }

    /// With the numbers rounded to small integers, so that sums are exact.
    pub fn integers(mut self, most: f32) -> Self {
        for layer in &mut self.0 {
            for number in layer.w.iter_mut().chain(&mut layer.b) {
                *number = (*number * 2.0 * (layer.k as f32).sqrt()).round().clamp(-most, most);
            }
        }
        self
    }

    /// Sizes, activation and α as a whole network has them.
    pub fn layers(&self, alpha: AlphaSource) -> Layers {
        let sizes: Vec<usize> = std::iter::once(self.0[0].k).chain(self.0.iter().map(|layer| layer.n)).collect();
        Layers::new(&sizes, self.0[0].activation).unwrap().alpha(alpha)
    }

    /// All parameters in one tensor; what nobody may read is NaN.
    pub fn all(&self, layers: &Layers) -> Vec<f32> {
        let mut all = vec![f32::NAN; layers.elements()];
        for (l, layer) in self.0.iter().enumerate() {
            let place = layers.place(l);
            all[place.w..][..layer.w.len()].copy_from_slice(&layer.w);
            all[place.b..][..layer.b.len()].copy_from_slice(&layer.b);
            match (place.alpha, &layer.alpha) {
                (Some(at), Some(alpha)) => all[at..][..alpha.len()].copy_from_slice(alpha),
                (None, None) => {}
                other => panic!("{other:?}"),
            }
        }
        all
    }

    /// A network on the device with these parameters.
    pub fn on_the_device(&self, gpu: &Gpu, architecture: &Architecture<'_>) -> Mlp {
        let mlp = Mlp::new(gpu, architecture, &mut || 0.0).unwrap();
        for (l, layer) in self.0.iter().enumerate() {
            let (w, b) =
                (gpu.upload(&layer.w, &[layer.n, layer.k]).unwrap(), gpu.upload(&layer.b, &[layer.n]).unwrap());
            let alpha = layer.alpha.as_ref().map(|alpha| gpu.upload(alpha, &[alpha.len()]).unwrap());
            let parameters = Parameters::new(&w, &b).alpha(alpha.as_ref().map(|alpha| alpha.view()));
            gpu.submit(|encoder| mlp.set_parameters(gpu, encoder, l, &parameters)).unwrap();
        }
        mlp
    }

    /// y of a row, and how far from it f32 may be: each sum within its rounding, each activation within its row's tolerance, and what was wrong
    /// before it carried along. `rounding`: the share that each layer's weights and outputs may lose beside.
    pub fn reference(&self, x: &[f32], rounding: f64) -> (Vec<f64>, Vec<f64>) {
        let last = self.steps(x, rounding).pop().expect("a layer");
        (last.y, last.y_errors)
    }

    /// The same for every layer, first x.
    fn steps(&self, x: &[f32], rounding: f64) -> Vec<Step> {
        let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let y_errors = x.iter().map(|v| v.abs() * rounding).collect();
        let mut steps = vec![Step { y: x, y_errors, ..Step::default() }];
        for layer in &self.0 {
            let Step { y: values, y_errors: errors, .. } = &steps[steps.len() - 1];
            let mut step = Step::default();
            // What is rounded to f16 loses more below 2⁻¹⁴, or beside a magnitude that is so many times larger.
            let least = |largest: f64| rounding * f64::powi(2.0, -14) * largest.max(1.0);
            let of_values = least(values.iter().fold(0.0, |largest, v| v.abs().max(largest)));
            for n in 0..layer.n {
                let weights = &layer.w[n * layer.k..][..layer.k];
                let of_weights = least(weights.iter().fold(0.0, |largest, w| f64::from(w.abs()).max(largest)));
                let mut z = f64::from(layer.b[n]);
                let (mut size, mut carried) = (z.abs(), 0.0);
                for k in 0..layer.k {
                    let w = f64::from(weights[k]);
                    z += w * values[k];
                    size += (w * values[k]).abs();
                    carried += w.abs() * (errors[k] + values[k].abs() * rounding + of_values);
                    carried += values[k].abs() * of_weights;
                }
                let e = carried + size * (layer.k as f64 + 2.0) * EPSILON;
                let [y, wrong] = layer.near(n, Quantity::Value, z, e);
                step.y.push(y);
                step.y_errors.push(wrong + y.abs() * rounding);
                step.z.push(z);
                step.z_errors.push(e);
            }
            steps.push(step);
        }
        steps
    }

    /// Gradients for rows of x and dy, and how far from them f32 may be: of x, and of all parameters in the order of `layers`. `rounding` as above;
    /// `factor`: the share that a dz may lose where it is a factor of a product, and what is small beside the largest of its row or column more of it.
    pub fn gradients(&self, layers: &Layers, x: &[f32], dy: &[f32], rounding: f64, factor: f64) -> [Bounded; 2] {
        let (inputs, outputs) = (self.0[0].k, self.0[self.0.len() - 1].n);
        let rows = x.len() / inputs;
        let (mut dx, mut all) = (Bounded::default(), Bounded::zeros(layers.elements()));
        let mut sizes = vec![0.0; layers.elements()];
        // Of each layer, over the rows: the largest and the sum of the magnitudes of what goes in, and of dz.
        let sides = |layer: &HostLayer| [layer.k, layer.n].map(|columns| vec![[0.0f64; 2]; columns]);
        let mut columns: Vec<_> = self.0.iter().map(sides).collect();
        let small = factor * f64::powi(2.0, -14);
        for m in 0..rows {
            let steps = self.steps(&x[m * inputs..][..inputs], rounding);
            let mut dy: Vec<f64> = dy[m * outputs..][..outputs].iter().map(|&v| f64::from(v)).collect();
            let mut errors = vec![0.0; outputs];
            for (l, layer) in self.0.iter().enumerate().rev() {
                let (below, step, place) = (&steps[l], &steps[l + 1], layers.place(l));
                let mut next = Bounded::zeros(layer.k);
                let mut next_sizes = vec![0.0; layer.k];
                let mut count = |side: usize, i: usize, v: f64| {
                    let [largest, sum] = &mut columns[l][side][i];
                    (*largest, *sum) = (largest.max(v.abs()), *sum + v.abs());
                };
                below.y.iter().enumerate().for_each(|(k, &y)| count(0, k, y));
                let mut largest: f64 = 0.0;
                for n in 0..layer.n {
                    let of = |quantity| {
                        let [by, wrong] = layer.near(n, quantity, step.z[n], step.z_errors[n]);
                        let (v, error) = (layer.of(n).passed(dy[n], by), errors[n] * (by.abs() + wrong));
                        (v, error + dy[n].abs() * wrong + v.abs() * EPSILON)
                    };
                    let mut add = |at: usize, v: f64, error: f64| {
                        all.values[at] += v;
                        all.errors[at] += error;
                        sizes[at] += v.abs();
                    };
                    let (dz, wrong) = of(Quantity::Slope);
                    add(place.b + n, dz, wrong);
                    count(1, n, dz);
                    largest = largest.max(dz.abs());
                    if let (Some(at), Some(alpha)) = (place.alpha, &layer.alpha) {
                        let (dalpha, wrong) = of(Quantity::AlphaSlope);
                        add(at + n % alpha.len(), dalpha, wrong);
                    }
                    for (k, next_size) in next_sizes.iter_mut().enumerate() {
                        let (y, w) = (below.y[k], f64::from(layer.w[n * layer.k + k]));
                        let error = wrong * (y.abs() + below.y_errors[k]) + dz.abs() * below.y_errors[k];
                        let error = error + factor * (dz * y).abs();
                        add(place.w + n * layer.k + k, dz * y, error);
                        next.values[k] += dz * w;
                        next.errors[k] += wrong * w.abs() * (1.0 + rounding) + (dz * w).abs() * (rounding + factor);
                        *next_size += (dz * w).abs();
                    }
                }
                for (k, (error, size)) in next.errors.iter_mut().zip(next_sizes).enumerate() {
                    let column = (0..layer.n).map(|n| f64::from(layer.w[n * layer.k + k].abs()));
                    let [most, all] = column.fold([0.0f64, 0.0], |[most, all], w| [most.max(w), all + w]);
                    *error += small * (largest * all + most.max(1.0) * largest * layer.n as f64);
                    *error += size * (layer.n as f64 + 2.0) * EPSILON;
                }
                (dy, errors) = (next.values, next.errors);
            }
            dx.errors.extend(errors.iter().zip(&dy).map(|(error, dx)| error + dx.abs() * rounding));
            dx.values.extend(dy);
        }
        for (l, layer) in self.0.iter().enumerate() {
            let [inputs, outputs] = &columns[l];
            for (n, [dz, all_dz]) in outputs.iter().enumerate() {
                for (k, [y, all_y]) in inputs.iter().enumerate() {
                    all.errors[layers.place(l).w + n * layer.k + k] += small * (dz * all_y + y.max(1.0) * all_dz);
                }
            }
        }
        for (error, size) in all.errors.iter_mut().zip(sizes) {
            *error += size * (rows as f64 + 8.0) * EPSILON;
        }
        [dx, all]
    }

    /// Every row of an output within its bound.
    pub fn judge(&self, what: &str, x: &[f32], y: &[f32], rounding: f64) {
        let (k, n) = (self.0[0].k, self.0[self.0.len() - 1].n);
        let rows = y.len() / n;
        for m in 0..rows {
            let (want, bounds) = self.reference(&x[m * k..(m + 1) * k], rounding);
            for (i, (&got, (want, bound))) in y[m * n..].iter().zip(want.iter().zip(&bounds)).enumerate() {
                let close = (f64::from(got) - want).abs() <= *bound + 1e-37;
                assert!(close, "{what}: y[{m}, {i}] is {got}, expected {want} ± {bound:e}");
            }
        }
    }
}

/// Sizes of every width of the kernel and beside it, one layer to five.
pub const SIZES: [&[usize]; 12] = [
    &[1, 1],
    &[16, 16],
    &[128, 128],
    &[3, 16, 1],
    &[2, 32, 32, 3],
    &[64, 64, 64, 64],
    &[17, 33, 33, 5],
    &[127, 128, 126],
    &[3, 64, 64, 64, 64, 4],
    &[100, 12, 12, 12, 99],
    &[1, 1, 1, 1, 1, 1],
    &[4, 128, 128, 128, 128, 1],
];
