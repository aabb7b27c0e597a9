//! What a network is: sizes, activation, loss, and its parameters on the host.

use std::{fmt, ops::Range, str::FromStr};

use elbow::{Activation, criterion::Criterion, network::Layers};
use serde::{Deserialize, Serialize};

use crate::numbers::normals;

/// The loss that a network is trained by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The mean squared error.
    #[default]
    Mse,
    /// Huber's loss with delta 1.
    Huber,
    /// The binary cross-entropy of logits.
    Bce,
    /// The softmax cross-entropy of one class for each row.
    CrossEntropy,
}

impl Loss {
    /// All of them.
    pub const ALL: [Loss; 4] = [Loss::Mse, Loss::Huber, Loss::Bce, Loss::CrossEntropy];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Loss::Mse => "mse",
            Loss::Huber => "huber",
            Loss::Bce => "bce",
            Loss::CrossEntropy => "cross_entropy",
        }
    }

    /// The elementwise loss; None for the one of rows.
    pub(crate) fn criterion(self) -> Option<Criterion> {
        match self {
            Loss::Mse => Some(Criterion::SquaredError),
            Loss::Huber => Some(Criterion::Huber { delta: 1.0 }),
            Loss::Bce => Some(Criterion::BinaryCrossEntropy),
            Loss::CrossEntropy => None,
        }
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Loss::ALL.into_iter().find(|loss| loss.name() == text.trim());
        found.ok_or_else(|| format!("expected {}", Loss::ALL.map(Loss::name).join(", ")))
    }
}

/// A multi-layer perceptron on the host: hidden layers of one activation, the last layer linear.
#[derive(Debug, Clone)]
pub struct Perceptron {
    sizes: Vec<usize>,
    activation: Activation,
    loss: Loss,
    /// W `[N, K]` and b `[N]` of each layer, each at a multiple of [`Layers::ALIGN`].
    parameters: Vec<f32>,
    places: Vec<[usize; 2]>,
}

impl Perceptron {
    /// With weights of the deviation that He et al. found for the activation, and small biases. At least two sizes, none of them 0.
    pub fn new(sizes: &[usize], activation: Activation, loss: Loss) -> Result<Self, String> {
        let gain = Some(activation.gain().he_gain()).filter(|gain| gain.is_finite()).unwrap_or(1.0);
        let weights = sizes.windows(2).enumerate().map(|(l, pair)| {
            let (seed, [k, n]) = (2 * l as u64, [pair[0], pair[1]]);
            let count = k.checked_mul(n).filter(|&count| count <= MOST).unwrap_or(0);
            (normals(seed, count, gain as f32 / (k.max(1) as f32).sqrt()), normals(seed + 1, n.min(MOST), 0.1))
        });
        Self::with_parameters(sizes, activation, loss, weights.collect())
    }

    /// With these W `[N, K]` and b `[N]` of each layer.
    pub fn with_parameters(
        sizes: &[usize],
        activation: Activation,
        loss: Loss,
        layers: Vec<(Vec<f32>, Vec<f32>)>,
    ) -> Result<Self, String> {
        if sizes.len() < 2 || sizes.contains(&0) {
            return Err(format!("expected two sizes or more, each at least 1, such as 8,64,64,1, got {sizes:?}"));
        }
        let mut elements = sizes.windows(2).map(|pair| pair[0].checked_mul(pair[1]));
        if !elements.all(|count| count.is_some_and(|count| count <= MOST)) {
            return Err(format!("expected at most {MOST} weights in a layer, got {sizes:?}"));
        }
        let (mut parameters, mut places) = (Vec::new(), Vec::new());
        for (pair, (w, b)) in sizes.windows(2).zip(layers) {
            let (w, b) = (put(&mut parameters, &w, pair[0] * pair[1])?, put(&mut parameters, &b, pair[1])?);
            places.push([w, b]);
        }
        if places.len() + 1 != sizes.len() {
            return Err(format!("expected the parameters of {} layers, got {}", sizes.len() - 1, places.len()));
        }
        Ok(Perceptron { sizes: sizes.to_vec(), activation, loss, parameters, places })
    }

    /// Features of the input, of each hidden layer, and of the output.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The activation of the hidden layers.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The loss of a training step.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// How many numbers W and b of all layers are.
    pub fn weights(&self) -> usize {
        self.sizes.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum()
    }

    /// The activation of a layer: the last is linear.
    pub fn activation_of(&self, layer: usize) -> Activation {
        if layer + 1 < self.layers() { self.activation } else { Activation::IDENTITY }
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.places.len()
    }

    /// K and N of a layer.
    pub fn shape(&self, layer: usize) -> [usize; 2] {
        [self.sizes[layer], self.sizes[layer + 1]]
    }

    pub(crate) fn inputs(&self) -> usize {
        self.sizes[0]
    }

    pub(crate) fn outputs(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    pub(crate) fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// Numbers of all parameters as they lie, gaps included.
    pub(crate) fn elements(&self) -> usize {
        self.parameters.len()
    }

    /// Where W of a layer lies.
    pub(crate) fn weight(&self, layer: usize) -> Range<usize> {
        let [k, n] = self.shape(layer);
        self.places[layer][0]..self.places[layer][0] + k * n
    }

    /// Where b of a layer lies.
    pub(crate) fn bias(&self, layer: usize) -> Range<usize> {
        let [_, n] = self.shape(layer);
        self.places[layer][1]..self.places[layer][1] + n
    }

    /// The same network as one operation, if its hidden layers are alike.
    pub(crate) fn whole(&self) -> Option<Layers> {
        let layers = Layers::new(&self.sizes, self.activation).ok()?;
        (layers.elements() == self.elements()).then_some(layers)
    }
}

/// The most weights of a layer: 4 GiB.
const MOST: usize = 1 << 30;

/// Appends numbers, then zeros up to the next multiple of [`Layers::ALIGN`]; where they begin.
fn put(all: &mut Vec<f32>, values: &[f32], count: usize) -> Result<usize, String> {
    if values.len() != count {
        return Err(format!("expected {count} parameters, got {}", values.len()));
    }
    let at = all.len();
    all.extend(values);
    all.resize(all.len().next_multiple_of(Layers::ALIGN), 0.0);
    Ok(at)
}

impl fmt::Display for Perceptron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.sizes.iter().map(usize::to_string).collect();
        write!(f, "{}, {}", sizes.join("-"), self.activation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_lie_where_the_device_has_them() {
        let network = Perceptron::new(&[3, 16, 16, 2], Activation::RELU, Loss::Mse).expect("a network");
        let layers = network.whole().expect("hidden layers are alike");
        for l in 0..3 {
            assert_eq!((network.weight(l).start, network.bias(l).start), (layers.place(l).w, layers.place(l).b));
        }
        assert_eq!((network.weights(), network.to_string()), (4 * 16 + 17 * 16 + 17 * 2, "3-16-16-2, relu".into()));
        let uneven = Perceptron::new(&[3, 16, 8, 2], Activation::RELU, Loss::Mse).expect("a network");
        assert!(uneven.whole().is_none() && uneven.activation_of(2) == Activation::IDENTITY);
        for wrong in [&[][..], &[3], &[3, 0, 1], &[1 << 40, 1 << 40]] {
            assert!(Perceptron::new(wrong, Activation::RELU, Loss::Mse).is_err(), "{wrong:?}");
        }
        assert!(Loss::ALL.into_iter().all(|loss| loss.name().parse() == Ok(loss)) && "ms".parse::<Loss>().is_err());
    }
}
