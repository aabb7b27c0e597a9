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
        let mut values: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let mut errors: Vec<f64> = values.iter().map(|v| v.abs() * rounding).collect();
        for layer in &self.0 {
            let (mut next, mut wrong) = (Vec::new(), Vec::new());
            for n in 0..layer.n {
                let mut z = f64::from(layer.b[n]);
                let (mut size, mut carried) = (z.abs(), 0.0);
                for k in 0..layer.k {
                    let w = f64::from(layer.w[n * layer.k + k]);
                    z += w * values[k];
                    size += (w * values[k]).abs();
                    carried += w.abs() * (errors[k] + values[k].abs() * rounding);
                }
                let e = carried + size * (layer.k as f64 + 2.0) * 2f64.powi(-23);
                let activation = match &layer.alpha {
                    None => layer.activation,
                    Some(alpha) => layer.activation.with_alpha(alpha[n % alpha.len()]),
                };
                let y = activation.value(z);
                let row = activation.row();
                let size = y.abs().max(activation.terms(Quantity::Value, z));
                let moved = [z - e, z + e].map(|z| (activation.value(z) - y).abs()).into_iter().fold(0.0, f64::max);
                wrong.push(2.0 * moved + (row.tolerance(Quantity::Value) + 2.0) * ulp_of(size) + y.abs() * rounding);
                next.push(y);
            }
            (values, errors) = (next, wrong);
        }
        (values, errors)
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
