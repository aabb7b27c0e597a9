//! What a network is: sizes, activations, types, loss, and its parameters on the host.

use std::{fmt, ops::Range, str::FromStr};

use elbow::{Activation, AlphaSource, Float, criterion::Criterion, network::Layers};
use serde::{Deserialize, Serialize};

use crate::numbers::{alphas, around, normals};

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

/// What a network is beside its sizes and its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    /// The activation of each layer, the last included.
    pub activations: Vec<Activation>,
    /// Where the α of those activations comes from that have a learnable one.
    pub alpha: AlphaSource,
    /// The type in which the device reads weights and stores x, y, z and dz.
    pub storage: Float,
    /// The loss of a training step.
    pub loss: Loss,
}

impl Design {
    /// By one activation for all hidden layers, or one for each of them, in front of a linear layer; or by one for each layer. With constant α,
    /// all in f32, by the mean squared error.
    pub fn of(asked: &[Activation], layers: usize) -> Result<Self, String> {
        let hidden = layers.saturating_sub(1);
        let mut activations = match asked {
            [one] => vec![*one; hidden],
            each => each.to_vec(),
        };
        if activations.len() == hidden {
            activations.push(Activation::IDENTITY);
        }
        if activations.len() != layers {
            return Err(format!(
                "expected one activation for all hidden layers, {hidden} for one each, or {layers} with that of the last layer, got {}",
                asked.len()
            ));
        }
        Ok(Design { activations, alpha: AlphaSource::Constant, storage: Float::F32, loss: Loss::default() })
    }

    /// Where the α of a layer comes from.
    pub fn alpha_of(&self, layer: usize) -> AlphaSource {
        if self.activations[layer].has_alpha() { self.alpha } else { AlphaSource::Constant }
    }

    /// Whether any α is learnable.
    pub fn learns_alpha(&self) -> bool {
        (0..self.activations.len()).any(|layer| self.alpha_of(layer) != AlphaSource::Constant)
    }

    /// The activations as [`Design::of`] takes them: one if hidden layers are alike and the last is linear.
    pub fn specs(&self) -> String {
        let named = match self.activations.split_last() {
            Some((last, [first, rest @ ..])) if *last == Activation::IDENTITY => {
                let alike = rest.iter().all(|other| other == first);
                &self.activations[..if alike { 1 } else { 1 + rest.len() }]
            }
            _ => &self.activations,
        };
        named.iter().map(Activation::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.specs())?;
        if self.learns_alpha() {
            write!(f, ", α learned by {}", self.alpha)?;
        }
        if self.storage != Float::F32 {
            write!(f, ", {}", self.storage)?;
        }
        Ok(())
    }
}

/// The numbers of a layer.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// W `[N, K]`.
    pub w: Vec<f32>,
    /// b `[N]`.
    pub b: Vec<f32>,
    /// α `[1]` or `[N]`, if it is learnable; empty otherwise.
    pub alpha: Vec<f32>,
}

/// A multi-layer perceptron on the host.
#[derive(Debug, Clone)]
pub struct Perceptron {
    sizes: Vec<usize>,
    design: Design,
    /// W `[N, K]`, b `[N]` and α of each layer, each at a multiple of [`Layers::ALIGN`]. W has numbers of the storage type alone.
    parameters: Vec<f32>,
    places: Vec<Place>,
}

/// Where the numbers of a layer begin.
#[derive(Debug, Clone, Copy)]
struct Place {
    w: usize,
    b: usize,
    alpha: Option<usize>,
}

impl Perceptron {
    /// With weights of the deviation that He et al. found for the activation, small biases, and α around the activation's own. At least two sizes,
    /// none of them 0.
    pub fn new(sizes: &[usize], design: Design) -> Result<Self, String> {
        let numbers = sizes.windows(2).zip(0..design.activations.len()).map(|(pair, l)| {
            let (seed, [k, n], activation) = (3 * l as u64, [pair[0], pair[1]], design.activations[l]);
            let gain = Some(activation.gain().he_gain()).filter(|gain| gain.is_finite()).unwrap_or(1.0);
            let count = k.checked_mul(n).filter(|&count| count <= MOST).unwrap_or(0);
            let alphas = alphas(design.alpha_of(l), n.min(MOST));
            Numbers {
                w: normals(seed, count, gain as f32 / (k.max(1) as f32).sqrt()),
                b: normals(seed + 1, n.min(MOST), 0.1),
                alpha: around(activation, seed + 2, alphas),
            }
        });
        let numbers = numbers.collect();
        Self::with_parameters(sizes, design, numbers)
    }

    /// With these numbers in each layer; weights are rounded to the storage type.
    pub fn with_parameters(sizes: &[usize], design: Design, layers: Vec<Numbers>) -> Result<Self, String> {
        if sizes.len() < 2 || sizes.contains(&0) {
            return Err(format!("expected two sizes or more, each at least 1, such as 8,64,64,1, got {sizes:?}"));
        }
        let mut elements = sizes.windows(2).map(|pair| pair[0].checked_mul(pair[1]));
        if !elements.all(|count| count.is_some_and(|count| count <= MOST)) {
            return Err(format!("expected at most {MOST} weights in a layer, got {sizes:?}"));
        }
        let count = sizes.len() - 1;
        for (what, got) in [("the parameters", layers.len()), ("activations", design.activations.len())] {
            if got != count {
                return Err(format!("expected {what} of {count} layers, got {got}"));
            }
        }
        let (mut parameters, mut places) = (Vec::new(), Vec::new());
        for (l, (pair, mut numbers)) in sizes.windows(2).zip(layers).enumerate() {
            for w in &mut numbers.w {
                let stored = design.storage.round(*w);
                if stored.is_infinite() && w.is_finite() {
                    return Err(format!("expected weights that {} holds, got {w} in layer {l}", design.storage));
                }
                *w = stored;
            }
            let alphas = alphas(design.alpha_of(l), pair[1]);
            places.push(Place {
                w: put(&mut parameters, &numbers.w, pair[0] * pair[1])?,
                b: put(&mut parameters, &numbers.b, pair[1])?,
                alpha: Some(put(&mut parameters, &numbers.alpha, alphas)?).filter(|_| alphas > 0),
            });
        }
        Ok(Perceptron { sizes: sizes.to_vec(), design, parameters, places })
    }

    /// Features of the input, of each hidden layer, and of the output.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// What the network is beside its sizes.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// How many numbers W, b and α of all layers are.
    pub fn weights(&self) -> usize {
        let alphas = (0..self.layers()).filter_map(|l| self.alpha(l)).map(|alpha| alpha.len());
        self.sizes.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum::<usize>() + alphas.sum::<usize>()
    }

    /// The activation of a layer.
    pub fn activation_of(&self, layer: usize) -> Activation {
        self.design.activations[layer]
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
        self.places[layer].w..self.places[layer].w + k * n
    }

    /// Where b of a layer lies.
    pub(crate) fn bias(&self, layer: usize) -> Range<usize> {
        let [_, n] = self.shape(layer);
        self.places[layer].b..self.places[layer].b + n
    }

    /// Where α of a layer lies, if it is learnable.
    pub(crate) fn alpha(&self, layer: usize) -> Option<Range<usize>> {
        let count = alphas(self.design.alpha_of(layer), self.shape(layer)[1]);
        self.places[layer].alpha.map(|at| at..at + count)
    }

    /// The same network as one operation, if its hidden layers are alike and the last has no learnable α.
    pub(crate) fn whole(&self) -> Option<Layers> {
        let (last, hidden) = self.design.activations.split_last()?;
        let first = hidden.first().unwrap_or(last);
        let alike = hidden.iter().all(|other| other == first) && self.alpha(self.layers() - 1).is_none();
        let alpha = if hidden.is_empty() { AlphaSource::Constant } else { self.design.alpha_of(0) };
        let layers = Layers::new(&self.sizes, *first).ok()?.alpha(alpha).output(*last);
        (alike && layers.elements() == self.elements()).then_some(layers)
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
        write!(f, "{}, {}", sizes.join("-"), self.design)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(sizes: &[usize], asked: &[Activation], alpha: AlphaSource) -> Result<Perceptron, String> {
        let design = Design::of(asked, sizes.len().saturating_sub(1))?;
        Perceptron::new(sizes, Design { alpha, ..design })
    }

    #[test]
    fn parameters_lie_where_the_device_has_them() {
        let relu = &[Activation::RELU][..];
        let prelu = &[Activation::prelu(0.25).expect("a slope")][..];
        for (asked, alpha, weights) in [
            (relu, AlphaSource::Constant, 4 * 16 + 17 * 16 + 17 * 2),
            (prelu, AlphaSource::PerLayer, 4 * 16 + 17 * 16 + 17 * 2 + 2),
            (prelu, AlphaSource::PerChannel, 4 * 16 + 17 * 16 + 17 * 2 + 32),
        ] {
            let network = made(&[3, 16, 16, 2], asked, alpha).expect("a network");
            let layers = network.whole().expect("hidden layers are alike");
            for l in 0..3 {
                let place = layers.place(l);
                assert_eq!((network.weight(l).start, network.bias(l).start), (place.w, place.b));
                assert_eq!(network.alpha(l).map(|alpha| alpha.start), place.alpha);
            }
            assert_eq!(network.weights(), weights);
        }
        let uneven = made(&[3, 16, 8, 2], relu, AlphaSource::Constant).expect("a network");
        assert!(uneven.whole().is_none() && uneven.activation_of(2) == Activation::IDENTITY);
        let others = [Activation::RELU, Activation::SILU];
        assert!(made(&[3, 16, 16, 2], &others, AlphaSource::Constant).expect("a network").whole().is_none());
        for wrong in [&[][..], &[3], &[3, 0, 1], &[1 << 40, 1 << 40]] {
            assert!(made(wrong, relu, AlphaSource::Constant).is_err(), "{wrong:?}");
        }
        assert!(Loss::ALL.into_iter().all(|loss| loss.name().parse() == Ok(loss)) && "ms".parse::<Loss>().is_err());
    }

    #[test]
    fn a_name_says_what_is_not_usual() {
        let of = |specs: &str, layers| -> Result<Design, String> {
            let asked: Vec<Activation> = specs.split(',').map(|spec| spec.parse().expect("an activation")).collect();
            Design::of(&asked, layers)
        };
        for (specs, layers, printed) in [
            ("gelu", 3, "gelu_erf"),
            ("gelu,relu", 3, "gelu_erf,relu"),
            ("relu,relu", 3, "relu"),
            ("relu,relu,identity", 3, "relu"),
            ("tanh,tanh,sigmoid", 3, "tanh,tanh,sigmoid"),
            ("tanh,tanh,tanh", 3, "tanh,tanh,tanh"),
            ("relu", 1, "identity"),
        ] {
            let design = of(specs, layers);
            assert_eq!(design.as_ref().map(Design::specs), Ok(printed.to_owned()), "{specs}");
            assert_eq!(of(printed, layers), design, "what is printed is read as the same");
        }
        let error = of("relu,tanh", 4).expect_err("two of three");
        assert!(error.contains("3 for one each, or 4 with that of the last layer, got 2"), "{error}");
        let narrow =
            Design { alpha: AlphaSource::PerChannel, storage: Float::F16, ..of("prelu,gelu", 3).expect("a design") };
        assert_eq!(narrow.to_string(), "prelu(0.25),gelu_erf, α learned by channel, f16");
        let without = Design { alpha: AlphaSource::PerLayer, ..of("gelu", 3).expect("a design") };
        assert_eq!(without.to_string(), "gelu_erf", "nothing is learned that is not there");
    }

    #[test]
    fn weights_are_what_is_stored() {
        let design = Design { storage: Float::F16, ..Design::of(&[Activation::RELU], 1).expect("a design") };
        let with = |w: f32| {
            let numbers = Numbers { w: vec![w], b: vec![0.1], alpha: Vec::new() };
            Perceptron::with_parameters(&[1, 1], design.clone(), vec![numbers])
        };
        let network = with(0.1).expect("a network");
        assert_eq!(network.parameters()[network.weight(0)], [0.099975586]);
        assert_eq!(network.parameters()[network.bias(0)], [0.1], "b stays f32");
        assert_eq!(with(1e6).map(drop), Err("expected weights that f16 holds, got 1000000 in layer 0".into()));
    }
}
