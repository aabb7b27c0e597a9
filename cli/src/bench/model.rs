//! The network that is asked about: by its sizes, or from a file with the parameters of PyTorch's `Sequential(Linear, activation, Linear, ..)`, found
//! as `elbow eval --layers` finds them.

use std::path::Path;

use elbow::{
    Activation, AlphaSource, Float, Operand,
    criterion::Criterion,
    mlp::{Description, Objective},
};
use elbow_measure::{Design, Loss, Numbers, Perceptron};

use super::Options;
use crate::{
    failure::Failure,
    file::{self, Source, Tensor},
    layers::modules,
};

impl Options {
    /// The network that is asked about, if one is.
    pub(super) fn network(&self) -> Result<Option<Perceptron>, Failure> {
        match &self.model {
            Some(file) => self.read(file).map(Some),
            None if self.mlp.is_empty() => {
                let of_a_network = [
                    ("--batches", !self.batches.is_empty()),
                    ("--activation", self.activation.is_some()),
                    ("--alpha", self.alpha.is_some()),
                    ("--loss", self.loss.is_some()),
                ];
                match of_a_network.iter().find(|(_, given)| *given) {
                    Some((option, _)) => Err(Failure::mismatch(option, "a network (--mlp or --model)", "none")),
                    None => Ok(None),
                }
            }
            None => {
                let sizes: Vec<usize> = self.mlp.iter().map(|size| size.get()).collect();
                if let [one] = sizes[..] {
                    return Err(Failure::mismatch("--mlp", "two sizes or more, such as 8,64,64,1", one));
                }
                let asked = self.activation.as_ref().map_or(&[Activation::RELU][..], |asked| &asked.0);
                let mut design = of_activations(asked, sizes.len() - 1)?;
                design.storage = self.dtype.unwrap_or_default();
                design.loss = self.loss.unwrap_or_default();
                design.alpha = match self.alpha {
                    Some(alpha) => self.learned(&design, alpha)?,
                    None => of_prelu(&design)?,
                };
                let network = Perceptron::new(&sizes, design);
                network.map(Some).map_err(|why| Failure::new(format_args!("--mlp: {why}")))
            }
        }
    }

    /// The α that is asked for; an error if nothing has one.
    fn learned(&self, design: &Design, alpha: AlphaSource) -> Result<AlphaSource, Failure> {
        let learns = alpha == AlphaSource::Constant || Design { alpha, ..design.clone() }.learns_alpha();
        let expected = "an activation with a learnable parameter (prelu, swish, elu, ..), or constant";
        if learns { Ok(alpha) } else { Err(Failure::mismatch("--alpha", expected, design.specs())) }
    }

    /// Weights `[N, K]` and biases `[N]`, where K is the N of the layer before, and the slopes of PReLUs.
    fn read(&self, path: &Path) -> Result<Perceptron, Failure> {
        let name = path.display().to_string();
        let bytes = file::bytes(path)?;
        let model = Source::new(&name, &bytes)?;
        let described = Description::read(&bytes).ok();
        let (mut sizes, mut layers): (Vec<usize>, Vec<Layer>) = (Vec::new(), Vec::new());
        for module in modules(&self.prefix, &self.modules, &model)? {
            let [weight, bias] = ["weight", "bias"].map(|part| format!("{}.{part}", module.name));
            let w = model.tensor(Operand::W, &weight, self.convert)?;
            let before = sizes.last().copied();
            let &[n, k] = w.shape.as_slice() else {
                return Err(Failure::mismatch(weight, "[N, K] of a linear layer", format_args!("{:?}", w.shape)));
            };
            if let Some(before) = before.filter(|before| *before != k) {
                let expected = format_args!("[N, {before}], the columns of the layer before");
                return Err(Failure::mismatch(weight, expected, format_args!("{:?}", w.shape)));
            }
            if model.shape(&bias) != Some(&[n]) {
                let got = model.shape(&bias).map_or("none".into(), |shape| format!("{shape:?}"));
                return Err(Failure::mismatch(bias, format_args!("[{n}]"), got));
            }
            sizes.extend(before.is_none().then_some(k).into_iter().chain([n]));
            let b = model.tensor(Operand::B, &bias, self.convert)?;
            // As a bias, because a model in 16 bits has its slopes in 16 bits too, and here they are parameters in f32.
            let alpha = module.alpha.as_ref().map(|alpha| model.tensor(Operand::B, alpha, self.convert)).transpose()?;
            layers.push(Layer { name: module.name, weight, w, b, alpha: module.alpha.zip(alpha) });
        }
        let design = self.design(&layers, described.as_ref())?;
        let numbers = layers.into_iter().enumerate().map(|(l, layer)| {
            let own = match design.alpha_of(l) {
                AlphaSource::Constant => 0,
                AlphaSource::PerLayer => 1,
                AlphaSource::PerChannel => layer.b.values.len(),
            };
            let own = || vec![design.activations[l].params()[0]; own];
            let alpha = layer.alpha.map_or_else(own, |(_, alpha)| alpha.values);
            Numbers { w: layer.w.values, b: layer.b.values, alpha }
        });
        let numbers = numbers.collect();
        Perceptron::with_parameters(&sizes, design, numbers).map_err(|why| Failure::new(format_args!("{name}: {why}")))
    }

    /// What a file's network is: as it is asked for, else as elbow's own files say, else as the tensors are.
    fn design(&self, layers: &[Layer], described: Option<&Description>) -> Result<Design, Failure> {
        let mut design = match (&self.activation, described) {
            (Some(asked), _) => of_activations(&asked.0, layers.len())?,
            (None, Some(described)) => Design {
                activations: described.activations.clone(),
                alpha: AlphaSource::Constant,
                storage: Float::F32,
                loss: Loss::default(),
            },
            (None, None) => {
                let prelu: Activation = "prelu".parse()?;
                let (top, relu) = (layers.len() - 1, Activation::RELU);
                let of = |(l, layer): (usize, &Layer)| match &layer.alpha {
                    Some(_) => prelu,
                    None if l == top => Activation::IDENTITY,
                    None => relu,
                };
                of_activations(&layers.iter().enumerate().map(of).collect::<Vec<_>>(), layers.len())?
            }
        };
        let objective = described.and_then(|described| loss(described.objective));
        design.loss = self.loss.or(objective).unwrap_or_default();
        design.storage = match (self.dtype, described) {
            (Some(dtype), _) => dtype,
            (None, Some(described)) => described.storage,
            (None, None) => one_type(layers)?,
        };
        design.alpha = self.alpha_of(layers, &design)?;
        Ok(design)
    }

    /// Where α comes from: the tensors say, and of a network all that can be learned are, or none.
    fn alpha_of(&self, layers: &[Layer], design: &Design) -> Result<AlphaSource, Failure> {
        let mut found: Option<(AlphaSource, &str)> = None;
        for (layer, activation) in layers.iter().zip(&design.activations) {
            let of = |expected: &str, got: &str| {
                Failure::mismatch(format_args!("layer {}: alpha", layer.name), expected, got)
            };
            let Some((name, alpha)) = &layer.alpha else {
                if activation.name() == "prelu" && self.alpha.is_none() {
                    let expected =
                        "the weight of a PReLU behind it (--modules MODULE:PRELU), --alpha, or leaky_relu(SLOPE)";
                    return Err(of(expected, "none"));
                }
                continue;
            };
            if !activation.has_alpha() {
                let why = "no weight of one dimension behind it, because";
                return Err(of(&format!("{why} {activation} has no learnable parameter"), "a tensor"));
            }
            let n = layer.b.values.len();
            let source = match alpha.shape.as_slice() {
                // Of one column both are the same.
                [1] if n == 1 => continue,
                [1] => AlphaSource::PerLayer,
                [channels] if *channels == n => AlphaSource::PerChannel,
                other => return Err(Failure::mismatch(name, format_args!("[1] or [{n}]"), format_args!("{other:?}"))),
            };
            match found {
                Some((other, first)) if other != source => {
                    let expected =
                        format_args!("one number for each {other}, as {first} has: a network has all α alike");
                    return Err(Failure::mismatch(name, expected, format_args!("{:?}", alpha.shape)));
                }
                _ => found = found.or(Some((source, name))),
            }
        }
        let any = layers.iter().find_map(|layer| layer.alpha.as_ref());
        let Some((name, _)) = any else {
            return self.alpha.map_or(Ok(AlphaSource::Constant), |alpha| self.learned(design, alpha));
        };
        let source = found.map_or(self.alpha.unwrap_or(AlphaSource::PerLayer), |(source, _)| source);
        if let Some(asked) = self.alpha.filter(|asked| *asked != source) {
            return Err(Failure::mismatch("--alpha", format_args!("{source}, as {name} has it"), asked));
        }
        let lacking = layers.iter().zip(&design.activations).find(|(layer, a)| a.has_alpha() && layer.alpha.is_none());
        match lacking {
            None => Ok(source),
            Some((layer, activation)) => {
                let expected =
                    format!("a tensor, as {name} is one: a network learns the α of all activations that have one");
                Err(Failure::mismatch(format_args!("layer {}: alpha of {activation}", layer.name), expected, "none"))
            }
        }
    }
}

/// A layer in a file.
struct Layer {
    name: String,
    weight: String,
    w: Tensor,
    b: Tensor,
    /// With its name.
    alpha: Option<(String, Tensor)>,
}

fn of_activations(asked: &[Activation], layers: usize) -> Result<Design, Failure> {
    Design::of(asked, layers).map_err(|why| Failure::new(format_args!("--activation: {why}")))
}

/// A PReLU has learned slopes, one for each channel as `elbow train` has them; other α are constants.
fn of_prelu(design: &Design) -> Result<AlphaSource, Failure> {
    if design.activations.iter().all(|activation| activation.name() != "prelu") {
        return Ok(AlphaSource::Constant);
    }
    match design.activations.iter().find(|activation| activation.has_alpha() && activation.name() != "prelu") {
        None => Ok(AlphaSource::PerChannel),
        Some(other) => {
            let expected = format_args!(
                "constant, layer or channel, because the slope of prelu is learned, and {other} would be learned with it"
            );
            Err(Failure::mismatch("--alpha", expected, "none"))
        }
    }
}

/// The type of all weights.
fn one_type(layers: &[Layer]) -> Result<Float, Failure> {
    let Some(first) = layers.first() else { return Ok(Float::F32) };
    match layers.iter().find(|layer| layer.w.dtype != first.w.dtype) {
        None => Ok(first.w.dtype),
        Some(other) => {
            let expected = format_args!("{}, as {} (--dtype makes all of one type)", first.w.dtype, first.weight);
            Err(Failure::mismatch(&other.weight, expected, other.w.dtype))
        }
    }
}

/// The loss of that kind.
fn loss(objective: Objective) -> Option<Loss> {
    match objective {
        Objective::Classes { .. } => Some(Loss::CrossEntropy),
        Objective::Elements(Criterion::SquaredError) => Some(Loss::Mse),
        Objective::Elements(Criterion::Huber { .. }) => Some(Loss::Huber),
        Objective::Elements(Criterion::BinaryCrossEntropy) => Some(Loss::Bce),
        _ => None,
    }
}
