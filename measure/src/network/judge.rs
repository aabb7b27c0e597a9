//! What the f64 reference has for a network and a batch, and how far a side is from it.

use elbow::{
    Want,
    cpu::{CrossEntropy, ForwardInputs, reference},
    criterion::Reduction,
    request::{AffineRequest, BackwardRequest, Gradients},
};
use rand::{RngExt as _, SeedableRng as _};

use super::{Data, Perceptron, RATES, RULE, Targets};
use crate::{
    error::Result,
    numbers::{normals, worst},
};

/// The most multiply-adds of the reference's forward: backward takes twice as many.
const MOST_WORK: usize = 1 << 23;

/// The largest error of a layer, relative to the largest sum of the absolute values of an element's terms. Coarse: a row that is left out
/// of a batch of thousands is beyond it, f32 rounding of long sums stays far below.
const TOLERANCE: f64 = 1e-5;

/// Rows with a z nearer to a kink than this share of its terms are not taken: there f32 may stand on the other side.
const NEAR: f64 = 1e-6;

/// The most candidates for a row.
const CANDIDATES: usize = 32;

/// Results of the reference for the distinct rows, each gradient that of the whole batch.
pub(super) struct Expected<'a> {
    network: &'a Perceptron,
    tolerance: f64,
    x: Vec<f32>,
    targets: Targets,
    y: Vec<f64>,
    y_scale: f64,
    loss: Vec<f64>,
    /// W and b of each layer, with the scale of their errors.
    gradients: Vec<[(Vec<f64>, f64); 2]>,
}

/// What the reference's forward leaves: y of each layer as f32, y of the last one and the largest sum of its terms.
struct Values {
    inputs: Vec<Vec<f32>>,
    y: Vec<f64>,
    scale: f64,
    /// Rows in which a z lies at a kink.
    near: Vec<bool>,
}

impl<'a> Expected<'a> {
    pub(super) fn new(network: &'a Perceptron, batch: usize) -> Result<Self> {
        let count = (MOST_WORK / network.weights().max(1)).clamp(7, 301) | 1;
        let count = count.min(batch);
        let x = rows(network, count)?;
        let targets = targets(network, count);
        let Values { inputs, y, scale, .. } = forward(network, count, x.clone())?;
        let (loss, mut dy) = losses(network, batch, &y, &targets)?;
        let mut gradients = Vec::new();
        for l in (0..network.layers()).rev() {
            let request = request(network, l, count);
            let b = &network.parameters()[network.bias(l)];
            let inputs = reference::BackwardInputs::new(&inputs[l], &network.parameters()[network.weight(l)], &dy);
            let wants = Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite);
            let back = reference::backward(&BackwardRequest::new(request, wants), inputs.b(Some(b)))?;
            gradients.push([back.dw, back.db].map(|of| (of.value, largest(&of.terms))));
            dy = back.dx.value.iter().map(|&v| v as f32).collect();
        }
        gradients.reverse();
        let tolerance = TOLERANCE * network.layers() as f64;
        Ok(Expected { network, tolerance, x, targets, y, y_scale: scale, loss, gradients })
    }

    /// A batch of these rows, over and over.
    pub(super) fn data(&self, batch: usize) -> Data {
        let per_row = match &self.targets {
            Targets::Numbers(_) => self.network.outputs(),
            Targets::Classes(_) => 1,
        };
        Data {
            rows: batch,
            x: self.x.iter().copied().cycle().take(batch * self.network.inputs()).collect(),
            targets: self.targets.repeated(batch * per_row),
        }
    }

    fn judge(&self, what: String, got: &[f32], want: &[f64], scale: f64) -> Result<f64> {
        let want: Vec<f64> = want.iter().copied().cycle().take(got.len()).collect();
        let scale = vec![scale; got.len()];
        Ok(worst(&what, self.tolerance, got, &want, &scale)? / self.tolerance)
    }

    fn named(&self, side: &str, what: &str) -> String {
        format!("{} on the {side}: {what}", self.network)
    }

    pub(super) fn judge_y(&self, side: &str, y: &[f32]) -> Result<f64> {
        self.judge(self.named(side, "y"), y, &self.y, self.y_scale)
    }

    pub(super) fn judge_loss(&self, side: &str, loss: &[f32]) -> Result<f64> {
        // A loss moves with y by its slope, which is at most about itself and 1.
        let scale = largest(&self.loss).max(1.0) * self.y_scale.max(1.0);
        self.judge(self.named(side, "loss"), loss, &self.loss, scale)
    }

    pub(super) fn judge_gradients(&self, side: &str, gradients: &[f32]) -> Result<f64> {
        let mut share = 0.0f64;
        for (l, [dw, db]) in self.gradients.iter().enumerate() {
            for (name, place, (want, scale)) in [("dw", self.network.weight(l), dw), ("db", self.network.bias(l), db)] {
                let what = self.named(side, &format!("{name} of layer {l}"));
                share = share.max(self.judge(what, &gradients[place], want, *scale)?);
            }
        }
        Ok(share)
    }

    /// Parameters after the first step, from the side's own gradients: those of AdamW turn small errors of a small gradient into large ones.
    pub(super) fn judge_update(&self, side: &str, gradients: &[f32], updated: &[f32]) -> Result<f64> {
        let mut share = 0.0f64;
        for l in 0..self.network.layers() {
            for (name, place, decays) in [("w", self.network.weight(l), 1.0), ("b", self.network.bias(l), 0.0)] {
                let before = &self.network.parameters()[place.clone()];
                let mut state = reference::Updated::new(before);
                state.step(RULE, &RATES, &gradients[place.clone()], |_| [1.0, decays, 0.0])?;
                const OF_UPDATE: f64 = 1e-6;
                let moved = f64::from(RATES.rate);
                let scale: Vec<f64> = before.iter().map(|&v| f64::from(v).abs() + 100.0 * moved).collect();
                let what = self.named(side, &format!("{name} of layer {l} after a step"));
                let error = worst(&what, OF_UPDATE, &updated[place], &state.parameter, &scale)?;
                share = share.max(error / OF_UPDATE);
            }
        }
        Ok(share)
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |a: f64, &b| a.max(b.abs()))
}

fn request(network: &Perceptron, layer: usize, rows: usize) -> AffineRequest {
    let [k, n] = network.shape(layer);
    AffineRequest::new(rows, n, k, network.activation_of(layer))
}

/// Distinct rows of x, none of which brings a z near to a kink, where the slope would be a matter of rounding.
fn rows(network: &Perceptron, count: usize) -> Result<Vec<f32>> {
    let inputs = network.inputs();
    let mut x = Vec::with_capacity(count * inputs);
    for seed in 0..CANDIDATES as u64 {
        let candidates = normals(1000 + seed, count * inputs, 1.0);
        let near = forward(network, count, candidates.clone())?.near;
        for (row, _) in candidates.chunks(inputs).zip(near).filter(|(_, near)| !near) {
            x.extend(row);
            if x.len() == count * inputs {
                return Ok(x);
            }
        }
    }
    match x.is_empty() {
        // Every row of so wide a network has some z near a kink.
        true => Ok(normals(1000, count * inputs, 1.0)),
        false => Ok(x.iter().copied().cycle().take(count * inputs).collect()),
    }
}

fn targets(network: &Perceptron, count: usize) -> Targets {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(77);
    let columns = network.outputs();
    match network.loss().criterion() {
        None => Targets::Classes((0..count).map(|_| rng.random_range(0..columns as u32)).collect()),
        Some(elbow::criterion::Criterion::BinaryCrossEntropy) => {
            Targets::Numbers((0..count * columns).map(|_| f32::from(u8::from(rng.random_bool(0.5)))).collect())
        }
        Some(_) => Targets::Numbers(normals(78, count * columns, 1.0)),
    }
}

fn forward(network: &Perceptron, count: usize, x: Vec<f32>) -> Result<Values> {
    let mut values = Values { inputs: Vec::new(), y: Vec::new(), scale: 0.0, near: vec![false; count] };
    let mut below = x;
    for l in 0..network.layers() {
        let w = &network.parameters()[network.weight(l)];
        let inputs = ForwardInputs::new(&below, w).b(Some(&network.parameters()[network.bias(l)]));
        let out = reference::forward(&request(network, l, count), inputs)?;
        let n = network.shape(l)[1];
        for kink in network.activation_of(l).kinks() {
            for (i, (z, terms)) in out.z.iter().zip(&out.z_terms).enumerate() {
                values.near[i / n] |= (z - kink.at).abs() < NEAR * terms;
            }
        }
        values.inputs.push(below);
        below = out.y.iter().map(|&y| y as f32).collect();
        values.scale = largest(&out.z_terms);
        values.y = out.y;
    }
    Ok(values)
}

/// The losses of the distinct rows, and the gradient of the mean over the batch, in which a row counts as often as it is there.
fn losses(network: &Perceptron, batch: usize, y: &[f64], targets: &Targets) -> Result<(Vec<f64>, Vec<f32>)> {
    let columns = network.outputs();
    let count = y.len() / columns;
    let y: Vec<f32> = y.iter().map(|&y| y as f32).collect();
    let times = |row: usize| (batch - row).div_ceil(count) as f64;
    let (loss, dy, divisor) = match (targets, network.loss().criterion()) {
        (Targets::Numbers(targets), Some(criterion)) => {
            let out = reference::elementwise_loss(criterion, Reduction::Sum, columns, [&y, targets], None, None)?;
            let loss = out.loss.iter().map(|loss| loss / columns as f64).collect();
            (loss, out.dy, (batch * columns) as f64)
        }
        (Targets::Classes(labels), _) => {
            let request = CrossEntropy::new(columns).reduction(Reduction::Sum);
            let out = reference::cross_entropy(&request, &y, labels)?;
            (out.loss, out.dlogits, batch as f64)
        }
        (Targets::Numbers(_), None) => (Vec::new(), vec![0.0; y.len()], 1.0),
    };
    let dy = dy.iter().enumerate().map(|(i, dy)| (dy * times(i / columns) / divisor) as f32).collect();
    Ok((loss, dy))
}

#[cfg(test)]
mod tests {
    use elbow::Activation;

    use super::super::{Loss, OnCpu};
    use super::*;

    fn verify(network: &Perceptron, batch: usize) -> Result<f64> {
        let expected = Expected::new(network, batch)?;
        let data = expected.data(batch);
        OnCpu::new(network, &data).and_then(|mut cpu| cpu.verify(&expected))
    }

    #[test]
    fn the_cpu_is_right_on_every_loss_and_shape() {
        for (sizes, activation, loss) in [
            (&[8, 64, 64, 1][..], Activation::GELU_ERF, Loss::Mse),
            (&[5, 33, 17, 3], Activation::RELU, Loss::Huber),
            (&[3, 40, 2], Activation::HARDSWISH, Loss::Bce),
            (&[7, 24, 24, 10], Activation::TANH, Loss::CrossEntropy),
            (&[4, 3], Activation::RELU, Loss::Mse),
        ] {
            let network = Perceptron::new(sizes, activation, loss).expect("a network");
            for batch in [1, 6, 100, 3000] {
                let share = verify(&network, batch).map_err(|error| error.to_string());
                assert!(share.as_ref().is_ok_and(|&share| share < 0.5), "{network}, {batch}: {share:?}");
            }
        }
    }

    /// A side that computes another network, or a part of it wrong, is found.
    #[test]
    fn what_is_wrong_is_found() {
        let network = Perceptron::new(&[8, 32, 32, 3], Activation::SILU, Loss::Mse).expect("a network");
        let batch = 2000;
        let expected = Expected::new(&network, batch).expect("a reference");
        let data = expected.data(batch);
        assert!(OnCpu::new(&network, &data).and_then(|mut cpu| cpu.verify(&expected)).is_ok());
        // Another activation.
        let other = Perceptron::new(&[8, 32, 32, 3], Activation::GELU_TANH, Loss::Mse).expect("a network");
        assert!(OnCpu::new(&other, &data).and_then(|mut cpu| cpu.verify(&expected)).is_err(), "swapped activation");
        // Another loss.
        let other = Perceptron::new(&[8, 32, 32, 3], Activation::SILU, Loss::Huber).expect("a network");
        assert!(OnCpu::new(&other, &data).and_then(|mut cpu| cpu.verify(&expected)).is_err(), "another loss");
        // No bias in one neuron; a row of the batch in the place of another; the last row left out.
        let mut layers: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
        for l in 0..3 {
            let all = network.parameters();
            layers.push((all[network.weight(l)].to_vec(), all[network.bias(l)].to_vec()));
        }
        layers[1].1[31] = 0.0;
        let other = Perceptron::with_parameters(network.sizes(), Activation::SILU, Loss::Mse, layers);
        let other = other.expect("a network");
        assert!(OnCpu::new(&other, &data).and_then(|mut cpu| cpu.verify(&expected)).is_err(), "a bias dropped");
        let mut moved = expected.data(batch);
        moved.x.copy_within(8 * 64..8 * 65, 0);
        assert!(OnCpu::new(&network, &moved).and_then(|mut cpu| cpu.verify(&expected)).is_err(), "row 64 for row 0");
        let mut cpu = OnCpu::new(&network, &data).expect("memory");
        cpu.step().expect("a step");
        let lost = f64::from(cpu.gradients[network.weight(1).start]) * 1e-3;
        cpu.gradients[network.weight(1).start] -= lost.max(expected.gradients[1][0].1 / batch as f64) as f32;
        assert!(expected.judge_gradients("CPU", &cpu.gradients).is_err(), "one row of {batch} left out of a sum");
        // An update without decay, or by a tenth of the rate.
        let mut cpu = OnCpu::new(&network, &data).expect("memory");
        cpu.rates = RATES.weight_decay(0.0);
        cpu.step().expect("a step");
        assert!(expected.judge_update("CPU", &cpu.gradients, &cpu.parameters).is_err(), "no decay");
        let mut cpu = OnCpu::new(&network, &data).expect("memory");
        cpu.rates = RATES.rate(1e-4);
        cpu.step().expect("a step");
        assert!(expected.judge_update("CPU", &cpu.gradients, &cpu.parameters).is_err(), "a tenth of the rate");
    }
}
