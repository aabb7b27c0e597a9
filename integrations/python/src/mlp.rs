//! `Network`: a multi-layer perceptron on a device, its step and its files. `elbow.Mlp` makes the loops around it.

use std::{collections::BTreeMap, path::PathBuf};

use elbow::{
    Activation as Act, AlphaSource, Float, Gpu as Device, Mlp,
    criterion::Criterion,
    initialisation::Initialisation,
    mlp::{Architecture, Batch, Contents, Description, Objective, Optimiser, Parameters},
    rates::{Rates, Rule},
};
use pyo3::{exceptions::PyOSError, prelude::*, types::PyDict};

use crate::{
    activation,
    array::{Array, array},
    errors::{expected, raise},
    gpu::Gpu,
    tensor::Tensor,
};

/// The parameters, gradients and batch memory of a network.
#[pyclass(frozen, module = "elbow")]
pub(crate) struct Network {
    device: Device,
    mlp: Mlp,
    /// What it is made of, and the notes of its file.
    description: Description,
}

fn word<T: Copy>(name: &str, words: &[(&str, T)], given: &str) -> PyResult<T> {
    words.iter().find(|(word, _)| *word == given).map(|(_, choice)| *choice).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        expected(name, &format!("one of {}", known.join(", ")), format!("{given:?}"))
    })
}

/// A number of the options, by name; taken out, so that what is left is unknown.
fn number(options: &Bound<'_, PyDict>, name: &str, value: f32) -> PyResult<f32> {
    let Some(given) = options.get_item(name)? else { return Ok(value) };
    options.del_item(name)?;
    given.extract()
}

/// An optimiser, from its name and options.
fn optimiser(name: &str, rate: f32, options: &Bound<'_, PyDict>) -> PyResult<Optimiser> {
    let rules = [("sgd", Rule::Sgd), ("nesterov", Rule::Nesterov), ("adamw", Rule::AdamW)];
    let rule = word("optimiser", &rules, name)?;
    let start = if rule == Rule::AdamW { Rates::adamw(rate) } else { Rates::sgd(rate) };
    let momentum = if rule == Rule::AdamW { "beta1" } else { "momentum" };
    let rates = start
        .momentum(number(options, momentum, start.momentum)?)
        .beta2(number(options, "beta2", start.beta2)?)
        .epsilon(number(options, "epsilon", start.epsilon)?)
        .weight_decay(number(options, "weight_decay", start.weight_decay)?)
        .l1(number(options, "l1", start.l1)?)
        .max_norm(number(options, "max_norm", start.max_norm)?);
    Ok(Optimiser::new(rule, rates))
}

/// An error if there is an option that nothing has taken.
fn nothing_left(options: &Bound<'_, PyDict>) -> PyResult<()> {
    options.keys().iter().next().map_or(Ok(()), |other| Err(expected("Mlp", "an option that it has", other)))
}

/// The loss, from its name and options.
fn objective(loss: &str, options: &Bound<'_, PyDict>) -> PyResult<Objective> {
    let delta = number(options, "delta", 1.0)?;
    let label_smoothing = number(options, "label_smoothing", 0.0)?;
    let losses = [
        ("cross_entropy", Objective::Classes { label_smoothing }),
        ("squared_error", Objective::Elements(Criterion::SquaredError)),
        ("huber", Objective::Elements(Criterion::Huber { delta })),
        ("binary_cross_entropy", Objective::Elements(Criterion::BinaryCrossEntropy)),
    ];
    word("loss", &losses, loss)
}

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (gpu, sizes, activation, *, alpha, loss, optimiser, rate, max_batch, seed, dtype, initialisation, **options))]
    #[expect(clippy::too_many_arguments, reason = "the keywords of a constructor in Python")]
    fn new(
        py: Python<'_>,
        gpu: &Gpu,
        sizes: Vec<usize>,
        activation: &Bound<'_, PyAny>,
        alpha: &str,
        loss: &str,
        optimiser: &str,
        rate: f32,
        max_batch: usize,
        seed: u64,
        dtype: &str,
        initialisation: &str,
        options: Option<Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let options = options.unwrap_or_else(|| PyDict::new(py));
        let beginnings = [
            ("he", Initialisation::He),
            ("critical", Initialisation::Critical),
            ("lecun", Initialisation::Lecun),
            ("glorot", Initialisation::Glorot),
            ("glorot_normal", Initialisation::GlorotNormal),
        ];
        let objective = objective(loss, &options)?;
        let optimiser = self::optimiser(optimiser, rate, &options)?;
        nothing_left(&options)?;
        let alpha: AlphaSource = alpha.parse().map_err(raise)?;
        let storage: Float = dtype.parse().map_err(raise)?;
        // One activation for all hidden layers, or one for each layer.
        let each: Option<Vec<Act>> = match activation.extract::<Vec<Bound<'_, PyAny>>>() {
            Ok(all) if !activation.is_instance_of::<pyo3::types::PyString>() => {
                Some(all.iter().map(activation::parse).collect::<PyResult<_>>()?)
            }
            _ => None,
        };
        let hidden = if each.is_some() { Act::IDENTITY } else { activation::parse(activation)? };
        let architecture = Architecture::new(&sizes, hidden, max_batch)
            .activations(each.as_deref())
            .alpha(alpha)
            .storage(storage)
            .objective(objective)
            .optimiser(optimiser)
            .initialisation(word("initialisation", &beginnings, initialisation)?);
        let mlp = py.detach(|| Mlp::seeded(&gpu.device, &architecture, seed)).map_err(raise)?;
        Ok(Network { device: gpu.device.clone(), description: mlp.description(), mlp })
    }

    /// The network of a file: of a checkpoint with its optimiser in its state, unless another one is asked for.
    #[staticmethod]
    #[pyo3(signature = (gpu, file, *, max_batch, optimiser, rate, **options))]
    fn open(
        py: Python<'_>,
        gpu: &Gpu,
        file: &[u8],
        max_batch: usize,
        optimiser: Option<&str>,
        rate: f32,
        options: Option<Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let options = options.unwrap_or_else(|| PyDict::new(py));
        let other = optimiser.map(|name| self::optimiser(name, rate, &options)).transpose()?;
        nothing_left(&options)?;
        let device = &gpu.device;
        let open = || -> elbow::Result<(Description, Mlp)> {
            let description = Description::read(file)?;
            let mlp = match other {
                None => Mlp::from_safetensors(device, file, max_batch)?,
                Some(optimiser) => {
                    let mlp = Mlp::seeded(device, &description.architecture(max_batch).optimiser(optimiser), 0)?;
                    mlp.load_safetensors(device, file)?;
                    mlp
                }
            };
            Ok((description, mlp))
        };
        let (description, mlp) = py.detach(open).map_err(raise)?;
        Ok(Network { device: device.clone(), description, mlp })
    }

    #[getter]
    fn sizes(&self) -> Vec<usize> {
        self.description.sizes.clone()
    }

    #[getter]
    fn activations(&self) -> Vec<String> {
        self.description.activations.iter().map(Act::to_string).collect()
    }

    /// The notes of the file that it is from.
    #[getter]
    fn notes(&self) -> BTreeMap<String, String> {
        self.description.notes.clone()
    }

    #[getter]
    fn max_batch(&self) -> usize {
        self.mlp.max_batch()
    }

    /// Whether targets are classes.
    #[getter]
    fn classifies(&self) -> bool {
        matches!(self.description.objective, Objective::Classes { .. })
    }

    /// One step of the optimiser, submitted; the losses of the rows, on the device.
    fn step(&self, py: Python<'_>, x: &Tensor, targets: &Tensor) -> PyResult<Tensor> {
        if self.mlp.rates().is_none() {
            let what = "an optimiser, as a checkpoint has it, or open(.., optimiser=..)";
            return Err(expected("Mlp", what, "a model without one"));
        }
        let device = &self.device;
        let run = || {
            let rows = x.shape().iter().rev().skip(1).product();
            let loss = device.zeros(&[rows])?;
            let batch = Batch::new(x.view(), targets.view(), &loss);
            device.submit_pass(|pass| self.mlp.learn(device, pass, &batch))?;
            Ok(loss)
        };
        Ok(Tensor::of(device, py.detach(run).map_err(raise)?))
    }

    /// y of the last layer for at most `max_batch` rows, copied to the host.
    fn infer<'py>(&self, py: Python<'py>, x: &Tensor) -> PyResult<Bound<'py, PyAny>> {
        let device = &self.device;
        let mut shape = x.shape().to_vec();
        shape.pop();
        shape.extend(self.description.sizes.last());
        let run = || -> elbow::Result<Vec<f32>> {
            device.submit(|encoder| self.mlp.infer(device, encoder, x.view()))?;
            match self.mlp.output(self.mlp.layers().saturating_sub(1)) {
                Some(y) => device.download(y.view_as(&shape)),
                None => Ok(Vec::new()),
            }
        };
        array(py, py.detach(run).map_err(raise)?, &shape)
    }

    fn set_rate(&self, rate: f32) -> PyResult<()> {
        self.mlp.set_rate(&self.device, rate).map_err(raise)
    }

    /// The parameters by PyTorch's names.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (name, view) in self.mlp.named_parameters() {
            let values = py.detach(|| self.device.download(view)).map_err(raise)?;
            all.set_item(name, array(py, values, view.shape())?)?;
        }
        Ok(all)
    }

    /// Replaces every parameter; an error names what is missing, unknown or of another shape, and nothing is replaced.
    fn load_state_dict(&self, state: &Bound<'_, PyDict>) -> PyResult<()> {
        let names = self.mlp.named_parameters();
        let known: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        for name in state.keys() {
            let name: String = name.extract()?;
            if !known.contains(&name.as_str()) {
                return Err(expected("state_dict", &format!("names among {}", known.join(", ")), format!("{name:?}")));
            }
        }
        let mut tensors = Vec::with_capacity(names.len());
        for (name, view) in &names {
            let Some(value) = state.get_item(name)? else {
                return Err(expected("state_dict", &format!("a parameter {name}"), "none"));
            };
            let value = Array::<f32>::read(name, &value)?;
            if value.shape() != view.shape() {
                return Err(expected(name, &format!("shape {:?}", view.shape()), format!("{:?}", value.shape())));
            }
            tensors.push(self.device.upload(value.values(), value.shape()).map_err(raise)?);
        }
        let mut tensors = tensors.iter();
        let mut layers = Vec::with_capacity(self.mlp.layers());
        for layer in 0..self.mlp.layers() {
            // In the order of the names.
            let (Some(w), Some(b)) = (tensors.next(), tensors.next()) else { break };
            let learnable = self.mlp.parameters(layer).is_some_and(|parameters| parameters.alpha.is_some());
            let alpha = if learnable { tensors.next() } else { None };
            layers.push(Parameters::new(w, b).alpha(alpha.map(|alpha| alpha.view())));
        }
        let set = |pass: &mut elbow::wgpu::ComputePass<'_>| {
            let mut each = layers.iter().enumerate();
            each.try_for_each(|(layer, values)| self.mlp.set_parameters(&self.device, &mut *pass, layer, values))
        };
        self.device.submit_pass(set).map_err(raise)
    }

    /// Writes a safetensors file, whole or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf, checkpoint: bool, notes: Vec<(String, String)>) -> PyResult<()> {
        let notes: Vec<(&str, &str)> = notes.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let contents = if checkpoint { Contents::checkpoint() } else { Contents::model() }.notes(&notes);
        py.detach(|| self.mlp.save(&self.device, path, &contents)).map_err(|error| match error {
            // Not of an entry: of the file.
            elbow::Error::File { ref entry, .. } if entry.is_empty() => PyOSError::new_err(error.to_string()),
            error => raise(error),
        })
    }

    fn load_safetensors(&self, py: Python<'_>, file: &[u8]) -> PyResult<()> {
        py.detach(|| self.mlp.load_safetensors(&self.device, file)).map_err(raise)
    }
}
