//! `elbow bench`: is the GPU worth it, for a network or for layers? With the accuracy and limits that are needed to judge the figures.

mod answer;
mod cases;
mod chart;
pub(crate) mod lines;
#[cfg(test)]
mod made;
mod model;
mod page;
pub(crate) mod results;
mod sections;
mod tables;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use elbow::{Activation, AlphaSource, Float, MatrixUnits, Pin};
use elbow_measure::{About, Budget, Design, Device, Loss, Perceptron, Shape, footprint, probe};

use crate::{
    args::words,
    destination::{Destination, twin},
    failure::Failure,
    layers::Activations,
    out,
    table::Format,
    tiles,
    tuning::Tuning,
    verify::bar,
};
use results::{NetworkResult, Results};

/// The options of `elbow bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A network by its sizes: features of the input, of each hidden layer, and of the output.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', conflicts_with = "model")]
    mlp: Vec<NonZeroUsize>,
    /// A network from a safetensors file, by PyTorch's names: 0.weight [N, K], 0.bias [N], the slope of a PReLU 1.weight, 2.weight, ...
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// What the names of the model's parameters begin with, its last dot included.
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true, requires = "model")]
    prefix: String,
    /// The modules of the model's layers behind the prefix, separated by commas, instead of Sequential's numbers; MODULE:PRELU has its α in
    /// another.
    #[arg(long, value_name = "MODULES", value_delimiter = ',', requires = "model")]
    modules: Vec<String>,
    /// Rounds F64 and integers of the model to F32, where they are an error otherwise.
    #[arg(long, requires = "model")]
    convert: bool,
    /// The activation of all hidden layers of the network, or one for each, separated by commas; one more is that of the last layer, which is linear
    /// otherwise. relu if it is not given, but for a model that says its own or has the slopes of PReLUs.
    #[arg(long, value_name = "SPECS", conflicts_with = "activations")]
    activation: Option<Activations>,
    /// Whether the α of the network's activations (slopes of prelu, β of swish, ..) is a constant, or learned: one number for each layer or channel.
    /// Not given it is as the model has it; of --mlp prelu learns one for each channel, as in `elbow train`, and others are constants.
    #[arg(long, value_parser = words(AlphaSource::ALL, AlphaSource::name), conflicts_with = "shapes")]
    alpha: Option<AlphaSource>,
    /// The loss of the network's training step: mse, huber, bce (of logits) or cross_entropy (of classes). mse if neither this nor the model says it.
    #[arg(long, value_name = "LOSS")]
    loss: Option<Loss>,
    /// The batches that the network is timed at, separated by commas.
    #[arg(long, value_name = "BATCHES", value_delimiter = ',')]
    batches: Vec<NonZeroUsize>,
    /// Layers alone: shapes MxKxN, separated by commas; x is [M, K], W is [N, K]. Three or more M of one K and N give an answer.
    #[arg(long, value_name = "SHAPES", value_delimiter = ',', conflicts_with_all = OF_A_NETWORK)]
    pub(crate) shapes: Vec<Shape>,
    /// Activations of layers alone, separated by semicolons.
    #[arg(long, value_name = "SPECS", value_delimiter = ';', default_value = "relu;gelu", conflicts_with_all = OF_A_NETWORK)]
    pub(crate) activations: Vec<Activation>,
    /// Type in which the GPU stores x, w, y, z, dy and dx of layers, and x, weights and what lies between layers of a network: f32, f16 or bf16. f32 if it
    /// is not given, or the type of the model's weights. The CPU computes in f32.
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Float>,
    /// The tile of every product of layers, by its number (see `elbow tiles`), instead of the plan's choice; a product that it cannot
    /// serve gets another.
    #[arg(long, value_name = "NUMBER", value_parser = tiles::tile, conflicts_with_all = OF_A_NETWORK)]
    pub(crate) tile: Option<usize>,
    /// Which products may run on the adapter's matrix units. `rounded` computes with operands rounded to f16, and is judged accordingly; `split` with two numbers of f16 for each, and is judged as f32. A network is not timed with `rounded`.
    #[arg(long, value_parser = words(MatrixUnits::ALL, MatrixUnits::name), default_value_t)]
    pub(crate) matrix_units: MatrixUnits,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// Elements of the tensors that the activations alone run on.
    #[arg(long, value_name = "COUNT")]
    pub(crate) elements: Option<std::num::NonZeroU32>,
    /// Only the GPU, and only layers, as one line of JSON for each case when it is measured. A case that fails is a line too, and the
    /// others go on; then the exit code is 1.
    #[arg(long, conflicts_with_all = ["format", "report", "mlp", "model"])]
    pub(crate) lines: bool,
    /// Only small shapes and few samples, in seconds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Writes an HTML page with charts, one file that loads no others, and the same as JSON beside it: OUT.json, for `elbow compare`.
    #[arg(long, value_name = "OUT.html")]
    pub(crate) report: Option<PathBuf>,
}

/// What is not said of layers where a network is.
const OF_A_NETWORK: [&str; 2] = ["mlp", "model"];

impl Options {
    fn pin(&self) -> Pin {
        Pin::default().tile(self.tile)
    }

    /// The type of layers.
    pub(crate) fn dtype(&self) -> Float {
        self.dtype.unwrap_or_default()
    }

    fn file(&self) -> Option<String> {
        self.model.as_ref().map(|file| file.display().to_string())
    }
}

/// Measures, writes the page if one is wanted, and prints the results.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    // Mistakes are found before the minutes of measuring.
    let twin = options.report.as_deref().map(twin).transpose()?;
    [options.report.as_deref(), twin.as_deref()].into_iter().flatten().try_for_each(Destination::check)?;
    let report = options.report.as_deref().map(Destination::new).transpose()?;
    let network = options.network()?;
    let gpu = options.tuning.open(elbow::Options::default().matrix_units(options.matrix_units))?;
    let device = Device::new(gpu);
    if options.lines {
        let about = About::new(&device.gpu, command());
        let (shapes, elements, budget) = sizes(&device, options);
        let failed = lines::run(&device, options, &shapes, elements, budget, &about)?;
        return Ok(ExitCode::from(u8::from(failed > 0)));
    }
    let results = measure(&device, options, network.as_ref())?;
    let json = serde_json::to_string_pretty(&results).map_err(Failure::new)? + "\n";
    // The results are printed even if the page cannot be written.
    let saved = report.map_or(Ok(()), |report| report.write(page::html(&results).as_bytes()));
    let saved = saved.and_then(|()| twin.map_or(Ok(()), |twin| Destination::new(&twin)?.write(json.as_bytes())));
    out::print(&if options.format == Format::Json { json } else { tables::text(&results, options.format) })?;
    saved.map(|()| ExitCode::SUCCESS)
}

/// The shapes, the elements of tensors, and how long to take samples.
fn sizes(device: &Device, options: &Options) -> (Vec<Shape>, usize, Budget) {
    let (quick, software) = (options.quick, device.gpu.is_software());
    // At least as many samples as an interval needs.
    let budget = match quick {
        true => Budget { samples: 8, seconds: 0.01, most_seconds: 2.0 },
        false => Budget { samples: 20, seconds: 0.1, most_seconds: 8.0 },
    };
    let shapes = if options.shapes.is_empty() { shapes(software, quick) } else { options.shapes.clone() };
    let elements = match (software, quick) {
        (true, true) => 1 << 16,
        (false, false) => 1 << 24,
        _ => 1 << 20,
    };
    (shapes, options.elements.map_or(elements, |elements| elements.get() as usize), budget)
}

fn measure(device: &Device, options: &Options, network: Option<&Perceptron>) -> Result<Results, Failure> {
    let (quick, software) = (options.quick, device.gpu.is_software());
    let (shapes, elements, budget) = sizes(device, options);
    let batches = batches(options, software);
    let layers: Vec<(Shape, cases::Unit)> = match network {
        Some(network) => cases::layers_of(network, &batches),
        None => {
            let units = options.activations.iter().map(|&activation| (activation, AlphaSource::Constant));
            units.flat_map(|unit| shapes.iter().map(move |&shape| (shape, unit))).collect()
        }
    };
    let dtype = network.map_or(options.dtype(), |network| network.design().storage);
    let activations = network.map_or(options.activations.clone(), cases::activations_of);
    let bar = bar(match software {
        // Said before measuring, not at the end.
        true => "{spinner} SOFTWARE adapter: {msg:<28} [{bar:24}] {pos}/{len} {elapsed}",
        false => "{spinner} {msg:<32} [{bar:30}] {pos}/{len} {elapsed}",
    });
    let of_network = if network.is_some() { batches.len() } else { 0 };
    bar.set_length((layers.len() + activations.len() + of_network) as u64 + 2);
    let say = |message: String| {
        bar.set_message(message);
        bar.inc(1);
    };
    let of_network = match network {
        None => None,
        Some(network) => {
            let at = |&batch: &usize| {
                say(format!("{network}, batch {batch}"));
                cases::network(device, network, batch, budget).map_err(failure)
            };
            let design = network.design();
            Some(NetworkResult {
                name: network.to_string(),
                sizes: network.sizes().to_vec(),
                activation: design.specs(),
                alpha: if design.learns_alpha() { design.alpha } else { AlphaSource::Constant }.to_string(),
                loss: design.loss,
                weights: network.weights(),
                file: options.file(),
                batches: batches.iter().map(at).collect::<Result<_, _>>()?,
            })
        }
    };
    say("ceilings".into());
    let ceilings = probe::ceilings(device, budget).map_err(failure)?;
    let layers = layers.into_iter().map(|(shape, unit)| {
        say(format!("{shape} {}", unit.0));
        cases::layer(device, shape, unit, dtype, options.pin(), budget).map_err(failure)
    });
    let layers = layers.collect::<Result<_, _>>()?;
    let mut alone = Vec::new();
    for &activation in &activations {
        say(format!("{activation} alone"));
        alone.extend(cases::alone(device, elements, activation, dtype, budget).map_err(failure)?);
    }
    say("memory".into());
    let memory = match network {
        Some(network) => {
            let batch = batches.iter().copied().max().unwrap_or(1);
            vec![footprint(&device.gpu, network.sizes(), network.design(), batch).map_err(failure)?]
        }
        None => {
            let (sizes, batch) = match (software, quick) {
                (_, true) => (vec![64; 5], 64),
                // On a software adapter a step of the large network would take seconds.
                (true, false) => (vec![256; 9], 256),
                (false, false) => (vec![1024; 9], 1024),
            };
            let of = |&activation: &Activation| {
                let design = Design::of(&[activation], sizes.len() - 1).map_err(Failure::new)?;
                let design = Design { storage: dtype, loss: Loss::CrossEntropy, ..design };
                footprint(&device.gpu, &sizes, &design, batch).map_err(failure)
            };
            activations.iter().map(of).collect::<Result<_, _>>()?
        }
    };
    bar.finish_and_clear();
    let results = Results {
        answer: String::new(),
        answers: Vec::new(),
        about: About::new(&device.gpu, command()),
        matrix_units: device.gpu.matrix_units(),
        tuning: options.tuning.says(),
        dtype: dtype.name().to_owned(),
        ceilings,
        network: of_network,
        layers,
        alone,
        memory,
    };
    Ok(results.answered())
}

/// The batches of a network, ascending: far apart, because the answer is a region.
fn batches(options: &Options, software: bool) -> Vec<usize> {
    let mut batches: Vec<usize> = options.batches.iter().map(|batch| batch.get()).collect();
    if batches.is_empty() {
        batches = match (software, options.quick) {
            (true, true) => vec![4, 32, 256],
            (true, false) => vec![16, 256, 1024],
            (false, true) => vec![16, 256, 4096],
            (false, false) => vec![1, 16, 64, 256, 1024, 4096, 16_384],
        };
    }
    batches.sort_unstable();
    batches.dedup();
    batches
}

/// The default shapes: one K and N with growing M, for the crossover, and larger layers.
fn shapes(software: bool, quick: bool) -> Vec<Shape> {
    let (batches, width): (&[usize], usize) = match (software, quick) {
        (true, true) => (&[1, 8, 64], 64),
        (true, false) => (&[1, 4, 16, 64, 256], 256),
        (false, true) => (&[1, 16, 256, 4096], 256),
        (false, false) => (&[1, 8, 64, 512, 4096], 1024),
    };
    let larger: &[usize] = match (software, quick) {
        (true, false) => &[512],
        (false, false) => &[256, 2048],
        _ => &[],
    };
    let batches = batches.iter().map(|&m| Shape { m, k: width, n: width });
    batches
        .chain(larger.iter().map(|&size| Shape { m: size.min(256) * if software { 1 } else { 8 }, k: size, n: size }))
        .collect()
}

fn failure(error: elbow_measure::Error) -> Failure {
    match error {
        elbow_measure::Error::Elbow(error) => error.into(),
        error => Failure::new(error),
    }
}

/// The command as it was typed, without the program's folder.
pub(crate) fn command() -> String {
    let quoted = |argument: String| match argument.chars().all(|c| c.is_alphanumeric() || "-_=.,/:+".contains(c)) {
        true => argument,
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    };
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(argument.to_string_lossy().into_owned()));
    std::iter::once("elbow".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}
