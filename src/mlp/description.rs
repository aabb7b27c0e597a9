//! What a file says of the network that it holds: an [`Architecture`] with its own memory, as entries of a safetensors file's metadata.

use std::{collections::BTreeMap, str::FromStr};

use safetensors::SafeTensors;

use super::{
    Architecture, Mlp, Objective, Optimiser,
    stored::{RATES, numbers, wrong},
};
use crate::{
    activation::Activation,
    criterion::Criterion,
    dtype::{Dtype, Float},
    error::Result,
    gpu::transfer::Tensor,
    jet::Jet,
    rates::{Place, Rates, Rule, STATE},
    request::AlphaSource,
};

/// The version of these entries, and what elbow's own begin with.
const VERSION: &str = "1";
const OURS: &str = "elbow.";

/// The network in a safetensors file, as its metadata says: all of an [`Architecture`] but the rows of a batch, and the entries of others.
///
/// ```no_run
/// use elbow::{Gpu, mlp::{Description, Mlp}};
/// # fn load(gpu: &Gpu) -> Result<(), Box<dyn std::error::Error>> {
/// let description = Description::read(&std::fs::read("model.safetensors")?)?;
/// println!("{:?}, {:?}", description.sizes, description.activations);
/// let untrained = Mlp::seeded(gpu, &description.architecture(256), 7)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// Features of the input, of each hidden layer, and of the output.
    pub sizes: Vec<usize>,
    /// The activation of each layer, the last included.
    pub activations: Vec<Activation>,
    /// Where the α of activations that have a learnable one comes from.
    pub alpha: AlphaSource,
    /// The type in which weights are read.
    pub storage: Float,
    /// What the rows of a batch are, if they carry derivatives along.
    pub jet: Option<Jet>,
    /// The label of rows that are left out.
    pub ignore_index: Option<u32>,
    /// The loss.
    pub objective: Objective,
    /// The optimiser with its rates at that time, if the file is a checkpoint of a network that has one.
    pub optimiser: Option<Optimiser>,
    /// All other entries of the metadata.
    pub notes: BTreeMap<String, String>,
}

impl Description {
    /// From the bytes of a file that elbow has written ([`Mlp::to_safetensors`](super::Mlp::to_safetensors)). Its tensors have the shapes that
    /// the sizes say. [`Error::File`](crate::Error::File) names an entry that is missing or says nothing that could be, or a tensor.
    pub fn read(file: &[u8]) -> Result<Self> {
        let (description, _) = Self::with_tensors(file)?;
        Ok(description)
    }

    pub(super) fn with_tensors(file: &[u8]) -> Result<(Self, SafeTensors<'_>)> {
        let (_, header) = SafeTensors::read_metadata(file).map_err(|error| wrong("", "a safetensors file", error))?;
        let tensors = SafeTensors::deserialize(file).map_err(|error| wrong("", "a safetensors file", error))?;
        let entries = header.metadata().clone().unwrap_or_default();
        let description = Self::of_entries(entries, &tensors)?;
        for (name, shape) in description.parameters()? {
            let tensor = tensors.tensor(&name).map_err(|_| wrong(&name, format!("{shape:?}"), "no such tensor"))?;
            if tensor.shape() != shape {
                return Err(wrong(&name, format!("{shape:?}"), format_args!("{:?}", tensor.shape())));
            }
        }
        Ok((description, tensors))
    }

    fn of_entries(entries: std::collections::HashMap<String, String>, tensors: &SafeTensors<'_>) -> Result<Self> {
        let entry = |name: &str| entries.get(&format!("{OURS}{name}")).map(String::as_str);
        let needed = |name: &str| {
            let why = "an entry of the metadata (a file without is loaded into a network that you make: Mlp::load_safetensors)";
            entry(name).ok_or_else(|| wrong(&format!("{OURS}{name}"), why, "none"))
        };
        let version = needed("mlp")?;
        if version != VERSION {
            return Err(wrong("elbow.mlp", format!("version {VERSION}"), format_args!("{version:?}")));
        }
        let rule: Option<Rule> = entry("optimiser").map(|text| parsed("optimiser", text)).transpose()?;
        Ok(Description {
            sizes: list("sizes", needed("sizes")?, ',')?,
            activations: list("activations", needed("activations")?, ';')?,
            alpha: parsed("alpha", needed("alpha")?)?,
            storage: parsed("storage", needed("storage")?)?,
            jet: entry("jet").map(|text| parsed("jet", text)).transpose()?,
            ignore_index: entry("ignore_index").map(|text| parsed("ignore_index", text)).transpose()?,
            objective: objective(needed("objective")?)?,
            optimiser: rule.map(|rule| Ok(Optimiser { rule, rates: rates(tensors)? })).transpose()?,
            notes: entries.into_iter().filter(|(name, _)| !name.starts_with(OURS) && name != "format").collect(),
        })
    }

    /// The architecture, for up to so many rows in a call.
    pub fn architecture(&self, max_batch: usize) -> Architecture<'_> {
        Architecture::new(&self.sizes, Activation::IDENTITY, max_batch)
            .activations(&self.activations[..])
            .alpha(self.alpha)
            .storage(self.storage)
            .jet(self.jet)
            .ignore_index(self.ignore_index)
            .objective(self.objective)
            .optimiser(self.optimiser)
    }

    /// The names and shapes of all parameters, as of [`Mlp::named_parameters`](super::Mlp::named_parameters); an error if sizes and
    /// activations are no layers.
    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let kinds =
            self.architecture(0).layers().map_err(|error| wrong("elbow.sizes", "the sizes of layers", error))?;
        let mut parameters = Vec::with_capacity(2 * kinds.len());
        for (l, (pair, (_, alpha))) in self.sizes.windows(2).zip(kinds).enumerate() {
            let (k, n) = (pair[0], pair[1]);
            parameters.push((format!("{}.weight", 2 * l), vec![n, k]));
            parameters.push((format!("{}.bias", 2 * l), vec![n]));
            match alpha {
                AlphaSource::Constant => {}
                AlphaSource::PerLayer => parameters.push((format!("{}.weight", 2 * l + 1), vec![1])),
                AlphaSource::PerChannel => parameters.push((format!("{}.weight", 2 * l + 1), vec![n])),
            }
        }
        Ok(parameters)
    }

    /// The entries of the metadata; with the optimiser's if it is there.
    pub(super) fn entries(&self) -> BTreeMap<String, String> {
        let sizes: Vec<String> = self.sizes.iter().map(usize::to_string).collect();
        let activations: Vec<String> = self.activations.iter().map(Activation::to_string).collect();
        let ours = [
            ("mlp", Some(VERSION.to_owned())),
            ("sizes", Some(sizes.join(","))),
            ("activations", Some(activations.join(";"))),
            ("alpha", Some(self.alpha.to_string())),
            ("storage", Some(self.storage.to_string())),
            ("jet", self.jet.map(|jet| jet.to_string())),
            ("ignore_index", self.ignore_index.map(|label| label.to_string())),
            ("objective", Some(objective_text(self.objective))),
            ("optimiser", self.optimiser.map(|optimiser| optimiser.rule.to_string())),
        ];
        let mut entries = self.notes.clone();
        entries.extend(ours.into_iter().filter_map(|(name, text)| Some((format!("{OURS}{name}"), text?))));
        // What readers of PyTorch's files ask for.
        entries.insert("format".into(), "pt".into());
        entries
    }

    /// Adds an entry of the caller's; an error if its name is one of elbow's.
    pub(super) fn note(&mut self, name: &str, text: &str) -> Result<()> {
        if name.starts_with(OURS) || name == "format" {
            return Err(wrong(name, format!("a note that is not named format or {OURS}.."), "one of these names"));
        }
        self.notes.insert(name.into(), text.into());
        Ok(())
    }
}

impl Mlp {
    /// What this network is made of, as a file says it; its optimiser is left out, because its rates lie on the device.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), 7)?;
    /// assert_eq!(mlp.description().sizes, [2, 16, 3]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
    pub fn description(&self) -> Description {
        let inputs = self.layers.first().map(|layer| layer.w.shape[1]);
        let learnable = self.layers.iter().filter_map(|layer| layer.alpha.as_ref());
        let alpha =
            learnable.map(|alpha| if alpha.shape == [1] { AlphaSource::PerLayer } else { AlphaSource::PerChannel });
        let storage = match self.copy.as_ref().map(Tensor::dtype) {
            Some(Dtype::F16) => Float::F16,
            Some(Dtype::BF16) => Float::Bf16,
            _ => Float::F32,
        };
        Description {
            sizes: inputs.into_iter().chain(self.layers.iter().map(|layer| layer.w.shape[0])).collect(),
            activations: self.layers.iter().map(|layer| layer.activation).collect(),
            // One unit has one α, whichever of the two it was.
            alpha: alpha.reduce(|all, one| if one == AlphaSource::PerChannel { one } else { all }).unwrap_or_default(),
            storage,
            jet: self.jet,
            ignore_index: self.ignore_index,
            objective: self.objective,
            optimiser: None,
            notes: BTreeMap::new(),
        }
    }
}

/// The rates of a checkpoint, as numbers that [`Rates::state`] allows.
fn rates(tensors: &SafeTensors<'_>) -> Result<Rates> {
    let state = state(tensors)?;
    let at = |place: Place| state[place as usize];
    let rates = Rates {
        rate: at(Place::Rate),
        momentum: at(Place::Momentum),
        beta2: at(Place::Beta2),
        epsilon: at(Place::Epsilon),
        weight_decay: at(Place::WeightDecay),
        l1: at(Place::L1),
        max_norm: at(Place::MaxNorm),
    };
    rates.state().map_err(|error| wrong(RATES, "rates of an optimiser", error))?;
    Ok(rates)
}

/// The state of the rates in a checkpoint.
pub(super) fn state(tensors: &SafeTensors<'_>) -> Result<Vec<f32>> {
    let state = numbers(tensors, RATES, &[STATE])?;
    match state[Place::Steps as usize] {
        steps if steps >= 0.0 && steps.is_finite() => Ok(state),
        steps => Err(wrong(RATES, "a count of steps", steps)),
    }
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| {
        wrong(&format!("{OURS}{name}"), "what elbow writes", format_args!("{text:?} ({error})"))
    })
}

fn list<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str, between: char) -> Result<Vec<T>> {
    text.split(between).map(|word| parsed(name, word)).collect()
}

fn objective_text(objective: Objective) -> String {
    match objective {
        Objective::Classes { label_smoothing: 0.0 } => "classes".into(),
        Objective::Classes { label_smoothing } => format!("classes({label_smoothing})"),
        Objective::Elements(Criterion::SquaredError) => "squared_error".into(),
        Objective::Elements(Criterion::Huber { delta }) => format!("huber({delta})"),
        Objective::Elements(Criterion::BinaryCrossEntropy) => "binary_cross_entropy".into(),
    }
}

fn objective(text: &str) -> Result<Objective> {
    let (name, inside) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some((name, inside)) => (name, Some(parsed::<f32>("objective", inside)?)),
        None => (text, None),
    };
    match (name, inside) {
        ("classes", label_smoothing) => Ok(Objective::Classes { label_smoothing: label_smoothing.unwrap_or(0.0) }),
        ("squared_error", None) => Ok(Criterion::SquaredError.into()),
        ("huber", Some(delta)) => Ok(Criterion::Huber { delta }.into()),
        ("binary_cross_entropy", None) => Ok(Criterion::BinaryCrossEntropy.into()),
        _ => {
            let known = "classes, classes(EPSILON), squared_error, huber(DELTA) or binary_cross_entropy";
            Err(wrong("elbow.objective", known, format_args!("{text:?}")))
        }
    }
}
