//! `elbow bench`: compares the adapter's speed with the CPU's, with the accuracy and limits that are needed to judge the figures.

mod cases;
mod chart;
pub(crate) mod lines;
mod page;
mod results;
mod sections;
mod table;

use std::{path::PathBuf, process::ExitCode};

use elbow::{Activation, Float, MatrixUnits, Pin};
use elbow_measure::{About, Budget, Device, Shape, footprint, probe};

use crate::{args::words, destination::Destination, failure::Failure, out, tiles, tuning::Tuning, verify::bar};
use results::Results;

/// Times layers on the GPU and on the CPU baseline: device time (by timestamps), wall time, and wall time with the transfers of x, y and
/// their gradients. Every case is verified against the f64 reference before it is timed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Shapes MxKxN, separated by commas: x is [M, K], W is [N, K]. Three or more M of one K and N give a crossover.
    #[arg(long, value_name = "SHAPES", value_delimiter = ',')]
    pub(crate) shapes: Vec<Shape>,
    /// Activations, separated by semicolons.
    #[arg(long, value_name = "SPECS", value_delimiter = ';', default_value = "relu;gelu")]
    pub(crate) activations: Vec<Activation>,
    /// Type in which the GPU stores x, w, y, z, dy and dx: f32, f16 or bf16. The CPU computes in f32.
    #[arg(long, value_name = "TYPE", default_value_t)]
    pub(crate) dtype: Float,
    /// The tile of every product, by its number (see `elbow tiles`), instead of the plan's choice; a product that it cannot serve gets
    /// another.
    #[arg(long, value_name = "NUMBER", value_parser = tiles::tile)]
    pub(crate) tile: Option<usize>,
    /// Which products may run on the adapter's matrix units. `rounded` computes with operands rounded to f16, and is judged accordingly; `split` with two numbers of f16 for each, and is judged as f32.
    #[arg(long, value_parser = words(MatrixUnits::ALL, MatrixUnits::name), default_value_t)]
    pub(crate) matrix_units: MatrixUnits,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// Elements of the tensors that the activations alone run on.
    #[arg(long, value_name = "COUNT")]
    pub(crate) elements: Option<std::num::NonZeroU32>,
    /// Only the GPU, as one line of JSON for each case when it is measured. A case that fails is a line too, and the others go on; then
    /// the exit code is 1.
    #[arg(long, conflicts_with_all = ["json", "report"])]
    pub(crate) lines: bool,
    /// Only small shapes and few samples, in seconds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes an HTML page with charts: one file that loads no others.
    #[arg(long, value_name = "OUT.html")]
    pub(crate) report: Option<PathBuf>,
}

impl Options {
    fn pin(&self) -> Pin {
        Pin::default().tile(self.tile)
    }
}

/// Measures, writes the page if one is wanted, and prints the results.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    // Mistakes are found before the minutes of measuring.
    let report = options.report.as_deref().map(Destination::new).transpose()?;
    let gpu = options.tuning.open(elbow::Options::default().matrix_units(options.matrix_units))?;
    let device = Device::new(gpu);
    if options.lines {
        let about = About::new(&device.gpu, command());
        let (shapes, elements, budget) = sizes(&device, options);
        let failed = lines::run(&device, options, &shapes, elements, budget, &about)?;
        return Ok(ExitCode::from(u8::from(failed > 0)));
    }
    let results = measure(&device, options)?;
    // The results are printed even if the page cannot be written.
    let saved = report.map_or(Ok(()), |report| report.write(page::html(&results).as_bytes()));
    let text = if options.json {
        serde_json::to_string_pretty(&results).map_err(Failure::new)? + "\n"
    } else {
        table::text(&results)
    };
    out::print(&text)?;
    saved.map(|()| ExitCode::SUCCESS)
}

/// The shapes, the elements of tensors, and how long to take samples.
fn sizes(device: &Device, options: &Options) -> (Vec<Shape>, usize, Budget) {
    let (quick, software) = (options.quick, device.gpu.is_software());
    let budget = match quick {
        true => Budget { samples: 3, seconds: 0.01, most_seconds: 1.0 },
        false => Budget { samples: 7, seconds: 0.1, most_seconds: 5.0 },
    };
    let shapes = if options.shapes.is_empty() { shapes(software, quick) } else { options.shapes.clone() };
    let elements = match (software, quick) {
        (true, true) => 1 << 16,
        (false, false) => 1 << 24,
        _ => 1 << 20,
    };
    (shapes, options.elements.map_or(elements, |elements| elements.get() as usize), budget)
}

fn measure(device: &Device, options: &Options) -> Result<Results, Failure> {
    let (quick, software) = (options.quick, device.gpu.is_software());
    let (shapes, elements, budget) = sizes(device, options);
    let bar = bar(match software {
        // Said before measuring, not at the end.
        true => "{spinner} SOFTWARE adapter: {msg:<28} [{bar:24}] {pos}/{len} {elapsed}",
        false => "{spinner} {msg:<32} [{bar:30}] {pos}/{len} {elapsed}",
    });
    bar.set_length((shapes.len() + 1) as u64 * options.activations.len() as u64 + 2);
    let say = |message: String| {
        bar.set_message(message);
        bar.inc(1);
    };
    say("ceilings".into());
    let ceilings = probe::ceilings(device, budget).map_err(failure)?;
    let mut layers = Vec::new();
    let mut alone = Vec::new();
    for &activation in &options.activations {
        for &shape in &shapes {
            say(format!("{shape} {activation}"));
            layers
                .push(cases::layer(device, shape, activation, options.dtype, options.pin(), budget).map_err(failure)?);
        }
        say(format!("{activation} alone"));
        alone.extend(cases::alone(device, elements, activation, options.dtype, budget).map_err(failure)?);
    }
    say("memory".into());
    let (depth, width, batch) = if quick { (4, 64, 64) } else { (8, 1024, 1024) };
    // On a software adapter a step of the large network would take seconds.
    let (width, batch) = if software && !quick { (256, 256) } else { (width, batch) };
    let memory = options.activations.iter().map(|&a| footprint(&device.gpu, a, options.dtype, depth, width, batch));
    let memory = memory.collect::<Result<_, _>>().map_err(failure)?;
    bar.finish_and_clear();
    let (units, tuning) = (device.gpu.matrix_units(), options.tuning.says());
    let about = About::new(&device.gpu, command());
    Ok(Results::new(about, units, tuning, options.dtype, ceilings, layers, alone, memory))
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
fn command() -> String {
    let quoted = |argument: String| match argument.chars().all(|c| c.is_alphanumeric() || "-_=.,/:+".contains(c)) {
        true => argument,
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    };
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(argument.to_string_lossy().into_owned()));
    std::iter::once("elbow".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}
