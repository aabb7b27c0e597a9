//! What the f64 reference has for the distinct rows of a batch: of a side that rounds nothing but f32, or stores narrow numbers on its way.

use elbow::{
    Float, Saved, Want,
    cpu::{CrossEntropy, ForwardInputs, reference},
    criterion::Reduction,
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};

use super::{Perceptron, Targets, rows::Rows};
use crate::error::Result;

/// Where a side stores less than it computes with. x and weights are numbers of the storage type for both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rounding {
    /// The type of the last y, and of its gradient.
    pub(super) ends: Float,
    /// That of what goes from layer to layer: y, the z that is kept, dz.
    pub(super) between: Float,
    /// What the loss, and so all gradients, are multiplied by while they are stored.
    pub(super) scale: f32,
}

impl Rounding {
    /// Everything is f32.
    pub(super) const NONE: Rounding = Rounding { ends: Float::F32, between: Float::F32, scale: 1.0 };

    /// Gradients of rows as they are stored in this type, each as often as its row is in the batch.
    fn gradients(self, dtype: Float, of_row: &[f64], times: &[f64]) -> Vec<f32> {
        let columns = of_row.len() / times.len().max(1);
        let stored = |v: f64| f64::from(dtype.round(v as f32 * self.scale) / self.scale);
        of_row.iter().enumerate().map(|(i, v)| (stored(*v) * times[i / columns]) as f32).collect()
    }
}

/// Results of the reference for the distinct rows, each gradient that of the whole batch.
pub(super) struct Exact {
    pub(super) y: Scaled,
    /// y of inference, which may be rounded otherwise.
    pub(super) inferred: Scaled,
    pub(super) loss: Vec<f64>,
    /// W, b and α of each layer.
    pub(super) gradients: Vec<[Scaled; 3]>,
}

/// Numbers, and the scale of their errors.
#[derive(Debug, Clone, Default)]
pub(super) struct Scaled {
    pub(super) values: Vec<f64>,
    pub(super) scale: f64,
}

impl Scaled {
    fn of(gradient: reference::Gradient) -> Self {
        Scaled { scale: largest(&gradient.terms), values: gradient.value }
    }
}

/// What the reference's forward leaves.
pub(super) struct Values {
    /// What each layer reads.
    inputs: Vec<Vec<f32>>,
    /// z of each layer as it is kept.
    z: Vec<Vec<f32>>,
    y: Scaled,
    /// How near to a kink each row comes, the least |z − kink| as a share of the terms.
    pub(super) near: Vec<f64>,
}

impl Exact {
    /// For a batch of these rows, of a side that rounds so in inference and in training.
    pub(super) fn new(
        network: &Perceptron,
        rows: &Rows,
        batch: usize,
        [inference, training]: [Rounding; 2],
    ) -> Result<Self> {
        let count = rows.x().len() / network.inputs();
        let Values { inputs, z, y, .. } = forward(network, rows.x().to_vec(), training)?;
        let inferred = match inference.between == training.between {
            true => y.clone(),
            false => forward(network, rows.x().to_vec(), inference)?.y,
        };
        let read: Vec<f32> = y.values.iter().map(|&y| training.ends.round(y as f32)).collect();
        let (loss, dy) = losses(network, batch, &read, rows.targets())?;
        let times: Vec<f64> = (0..count).map(|row| (batch - row).div_ceil(count) as f64).collect();
        let mut upstream = training.gradients(training.ends, &dy, &times);
        let mut gradients = Vec::new();
        let mut of_alpha = Scaled::default();
        for l in (0..network.layers()).rev() {
            let top = l + 1 == network.layers();
            let mut request = BackwardRequest::new(request(network, l, count), Gradients::default().x(Want::Overwrite));
            let mut inputs =
                reference::BackwardInputs::new(&inputs[l], &network.parameters()[network.weight(l)], &upstream)
                    .b(Some(&network.parameters()[network.bias(l)]))
                    .alpha(alpha(network, l))
                    .z(Some(&z[l]));
            request.upstream_is_dz = !top;
            if let Some(below) = l.checked_sub(1) {
                let (activation, source) = (network.activation_of(below), network.design().alpha_of(below));
                request.below = Some(Below::new(activation, Saved::Z).alpha(source));
                inputs = inputs.z_below(Some(&z[below])).alpha_below(alpha(network, below));
            }
            let back = reference::backward(&request, inputs)?;
            let own = if top { Scaled::of(back.dalpha) } else { of_alpha };
            gradients.push([Scaled::of(back.dw), Scaled::of(back.db), own]);
            of_alpha = Scaled::of(back.dalpha_below);
            let n = network.shape(l)[0];
            let of_row = back.dz_below.value.iter().enumerate().map(|(i, dz)| dz / times[i / n]);
            upstream = training.gradients(training.between, &of_row.collect::<Vec<f64>>(), &times);
        }
        gradients.reverse();
        Ok(Exact { y, inferred, loss, gradients })
    }
}

pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |a: f64, &b| a.max(b.abs()))
}

/// The α of a layer, if it is learnable.
fn alpha(network: &Perceptron, l: usize) -> Option<&[f32]> {
    network.alpha(l).map(|place| &network.parameters()[place])
}

fn request(network: &Perceptron, layer: usize, rows: usize) -> AffineRequest {
    let [k, n] = network.shape(layer);
    AffineRequest::new(rows, n, k, network.activation_of(layer)).alpha(network.design().alpha_of(layer))
}

pub(super) fn forward(network: &Perceptron, x: Vec<f32>, rounding: Rounding) -> Result<Values> {
    let count = x.len() / network.inputs();
    let mut values =
        Values { inputs: Vec::new(), z: Vec::new(), y: Scaled::default(), near: vec![f64::INFINITY; count] };
    let mut below = x;
    for l in 0..network.layers() {
        let w = &network.parameters()[network.weight(l)];
        let b = &network.parameters()[network.bias(l)];
        let inputs = ForwardInputs::new(&below, w).b(Some(b)).alpha(alpha(network, l));
        let out = reference::forward(&request(network, l, count), inputs)?;
        let n = network.shape(l)[1];
        for column in 0..n {
            let of_channel = alpha(network, l).map(|alpha| alpha[column.min(alpha.len() - 1)]);
            let activation = network.activation_of(l);
            for kink in of_channel.map_or(activation, |alpha| activation.with_alpha(alpha)).kinks() {
                for (row, near) in values.near.iter_mut().enumerate() {
                    let (z, terms) = (out.z[row * n + column], out.z_terms[row * n + column]);
                    *near = near.min((z - kink.at).abs() / terms.max(f64::MIN_POSITIVE));
                }
            }
        }
        values.inputs.push(below);
        values.z.push(out.z.iter().map(|&z| rounding.between.round(z as f32)).collect());
        below = out.y.iter().map(|&y| rounding.between.round(y as f32)).collect();
        values.y = Scaled { scale: largest(&out.z_terms), values: out.y };
    }
    Ok(values)
}

/// The losses of the distinct rows, and the gradient of the mean over the batch for each.
fn losses(network: &Perceptron, batch: usize, y: &[f32], targets: &Targets) -> Result<(Vec<f64>, Vec<f64>)> {
    let columns = network.outputs();
    let (loss, dy, divisor) = match (targets, network.design().loss.criterion()) {
        (Targets::Numbers(targets), Some(criterion)) => {
            let out = reference::elementwise_loss(criterion, Reduction::Sum, columns, [y, targets], None, None)?;
            let loss = out.loss.iter().map(|loss| loss / columns as f64).collect();
            (loss, out.dy, (batch * columns) as f64)
        }
        (Targets::Classes(labels), _) => {
            let request = CrossEntropy::new(columns).reduction(Reduction::Sum);
            let out = reference::cross_entropy(&request, y, labels)?;
            (out.loss, out.dlogits, batch as f64)
        }
        (Targets::Numbers(_), None) => (Vec::new(), vec![0.0; y.len()], 1.0),
    };
    Ok((loss, dy.iter().map(|dy| dy / divisor).collect()))
}
