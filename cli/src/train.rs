//! `elbow train`: a network for a table of numbers and texts, for people without a program of their own.

pub(crate) mod columns;
mod fit;
mod plot;
mod report;
pub(crate) mod score;
pub(crate) mod table;

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use elbow::Activation;

use self::{
    columns::{Encoder, Missing, Target, TargetKind, Task, Value},
    fit::{End, Epoch, Fitted, Part, Settings, Split},
    score::Score,
    table::{Format, Table},
};
use crate::{destination::Destination, failure::Failure, interrupt, out, tuning::Tuning, verify::bar};

/// Trains a network on a CSV file: writes the network and a page about it.
///
/// The file may be gzipped. Its columns are scaled, its rows are split (70 % for training, 15 % for validation, 15 % for test), and a network of
/// fully connected layers is trained until the loss of the validation rows gets no better. Written are the best network, to be used by
/// `elbow predict` (or by elbow::Mlp, or PyTorch: it is a safetensors file), and a page with its losses and what it gets wrong. Ctrl-C ends
/// training early and keeps the best network so far; the exit code is then 130.
///
/// Columns in which most values are numbers are scaled to mean 0 and deviation 1; others, of at most 64 different texts, become a number for
/// each text. Columns that are the same in every row are left out. The same table, seed and device give the same network.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, of a table made on the spot:\n  seq 100 | awk 'BEGIN { print \"size,price\" } { print $1 \",\" 3 * $1 + 7 }' > data.csv\n  \
                        elbow train data.csv --target price --task regression --hidden 8 --epochs 30"
)]
pub(crate) struct Options {
    /// The table.
    #[arg(value_name = "DATA.csv")]
    data: PathBuf,
    /// The column to learn.
    #[arg(long, value_name = "COLUMN")]
    target: String,
    /// Columns to leave out, separated by commas.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    ignore: Vec<String>,
    /// What the target is. If not given: classes if it is text or at most 20 different whole numbers, else a number.
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// What becomes of missing values (nothing, NA, NaN, null, ?).
    #[arg(long, value_enum, default_value = "error")]
    missing: Missing,
    #[command(flatten)]
    format: Format,
    /// Units of each hidden layer, separated by commas.
    #[arg(long, value_name = "UNITS", value_delimiter = ',', default_value = "64,64")]
    hidden: Vec<std::num::NonZeroU16>,
    /// The activation of hidden layers: relu, silu, gelu, "leaky_relu(0.1)", ...; prelu learns a slope for each unit.
    #[arg(long, value_name = "SPEC", default_value = "silu")]
    activation: Activation,
    /// The most epochs.
    #[arg(long, value_name = "COUNT", default_value = "300")]
    epochs: std::num::NonZeroUsize,
    /// Epochs without a better validation loss after which training ends; the learning rate is halved three times before.
    #[arg(long, value_name = "EPOCHS", default_value = "30")]
    patience: std::num::NonZeroUsize,
    /// Rows of a step; if not given the power of two that is about a fiftieth of the rows for training, 16 to 1024.
    #[arg(long, value_name = "ROWS")]
    batch: Option<std::num::NonZeroUsize>,
    /// The learning rate of AdamW.
    #[arg(long, value_name = "RATE", default_value = "0.002")]
    rate: f32,
    /// Weight decay: larger values for smoother networks.
    #[arg(long, value_name = "DECAY", default_value = "0.01")]
    weight_decay: f32,
    /// Of the split, the first weights and the order of rows.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    seed: u64,
    #[command(flatten)]
    tuning: Tuning,
    /// The file of the network.
    #[arg(long, value_name = "FILE", default_value = "model.safetensors")]
    output: PathBuf,
    /// The page; if not given that of the network's name, with .html
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// The fewest rows that are split.
const FEWEST: usize = 10;

/// The most steps of an epoch: each is prepared once, and takes memory.
const MOST_STEPS: usize = 1 << 16;

/// What was found and done, for the terminal and the page: pairs of a word and a line.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// Reads, trains, writes, and says what it did.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let page = options.report.clone().unwrap_or_else(|| options.output.with_extension("html"));
    if page == options.output {
        return Err(Failure::mismatch("--report", "another file than --output", page.display()));
    }
    let (output, page_output) = (Destination::new(&options.output)?, Destination::new(&page)?);
    let mut facts = Facts::new();
    let table = Table::read(&options.data, options.format)?;
    let mut rng = fit::generator(options.seed);
    let (encoder, [training, validation, test]) = prepared(options, &table, &mut rng, &mut facts)?;
    drop(table);
    let rows = training.values.len();
    let settings = Settings {
        hidden: options.hidden.iter().map(|units| usize::from(units.get())).collect(),
        activation: options.activation,
        epochs: options.epochs.get(),
        patience: options.patience.get(),
        batch: options.batch.map_or((rows / 64).next_power_of_two().clamp(16, 1024), |batch| batch.get()).min(rows),
        rate: options.rate,
        weight_decay: options.weight_decay,
        seed: options.seed,
    };
    if rows.div_ceil(settings.batch) > MOST_STEPS {
        let expected =
            format!("at least {}, because {MOST_STEPS} steps an epoch are the most", rows.div_ceil(MOST_STEPS));
        return Err(Failure::mismatch("--batch", expected, settings.batch));
    }
    let gpu = options.tuning.open(elbow::Options::default())?;
    let software = if gpu.is_software() { " (SOFTWARE adapter: a CPU plays GPU)" } else { "" };
    let sizes: Vec<String> = [encoder.inputs()]
        .iter()
        .chain(&settings.hidden)
        .chain([&encoder.target.outputs()])
        .map(usize::to_string)
        .collect();
    facts.push((
        "network",
        format!(
            "{}, {}; AdamW, rate {}, {} rows a step",
            sizes.join(" > "),
            settings.activation,
            settings.rate,
            settings.batch
        ),
    ));
    facts.push(("device", format!("{}{software}", gpu.info().name)));
    print(&facts)?;
    let before = facts.len();

    let graceful = interrupt::Graceful::new();
    let progress = bar("{spinner} epoch {pos}/{len} [{bar:24}] {msg} {elapsed}");
    progress.set_length(settings.epochs as u64);
    let mut say = |history: &[Epoch], since: usize| {
        let last = history.last().map_or((f64::NAN, f64::NAN), |epoch| (epoch.training, epoch.validation));
        progress.set_message(format!("loss {:.4}, validation {:.4}, best {since} ago", last.0, last.1));
        progress.inc(1);
    };
    let fitted = fit::fit(&gpu, &settings, &encoder, [&training, &validation], &mut rng, &mut say);
    progress.finish_and_clear();
    drop(graceful);
    let fitted = fitted?;
    facts.push(("training", ended(&fitted, settings.patience)));
    let outputs = fit::outputs(&gpu, &fitted.mlp, &test, &encoder)?;
    let score = Score::new(&encoder.target, &outputs, &test.values);
    facts.push(("test", score.sentence()));
    let units = fit::units(&gpu, &fitted.mlp, &training, encoder.inputs())?;
    let html = report::html(&report::Page {
        options,
        facts: &facts,
        encoder: &encoder,
        fitted: &fitted,
        score: &score,
        units: &units,
    });
    output.write(&fitted.file)?;
    page_output.write(html.as_bytes())?;
    facts.push(("written", format!("{} and {}", options.output.display(), page.display())));
    let format = options.format.arguments();
    facts.push(("to use it", format!("elbow predict {} {}{format}", options.output.display(), options.data.display())));
    print(&facts[before..])?;
    Ok(ExitCode::from(if fitted.end == End::Interrupt { 130 } else { 0 }))
}

fn print(facts: &[(&'static str, String)]) -> Result<(), Failure> {
    let mut text = String::new();
    for (name, says) in facts {
        let _ = writeln!(text, "{name:<11}{says}");
    }
    out::print(&text)
}

/// The columns' encoding and the three parts as numbers.
fn prepared(
    options: &Options,
    table: &Table,
    rng: &mut rand_chacha::ChaCha8Rng,
    facts: &mut Facts,
) -> Result<(Encoder, [Part; 3]), Failure> {
    let (mut target, mut rows, why) = columns::target(table, &options.target, options.task, options.missing)?;
    let ignored = options.ignore.iter().map(|name| table.column(name)).collect::<Result<Vec<_>, _>>()?;
    let target_column = table.column(&target.name)?;
    let columns: Vec<usize> =
        (0..table.columns.len()).filter(|column| *column != target_column && !ignored.contains(column)).collect();
    if options.missing == Missing::Drop {
        rows.retain(|(row, _)| columns.iter().all(|&column| !columns::is_missing(table.at(*row, column))));
    }
    if rows.len() < FEWEST {
        let expected = format!("at least {FEWEST} rows to split, all with a target");
        return Err(Failure::mismatch(&table.name, expected, rows.len()));
    }
    let dropped = table.rows() - rows.len();
    let split = Split::new(&rows, rng);
    let all: Vec<usize> = rows.iter().map(|(row, _)| *row).collect();
    let (features, constant) = columns::features(table, &columns, &all, &split.training)?;
    if features.is_empty() {
        return Err(Failure::mismatch(&table.name, "a column to learn from that is not the same in every row", "none"));
    }
    let mut value = vec![None; table.rows()];
    rows.iter().for_each(|(row, of)| value[*row] = Some(*of));
    let values = |rows: &[usize]| -> Vec<Value> { rows.iter().filter_map(|&row| value[row]).collect() };
    columns::scaled(&mut target, &values(&split.training));
    let encoder = Encoder { header: !options.format.no_header, missing: options.missing, features, target };
    facts.push(("data", of_data(table, &encoder, dropped)));
    if !constant.is_empty() {
        facts.push(("left out", of_constant(&constant)));
    }
    facts.push(("target", of_target(&encoder.target, why)));
    let [training, validation, test] = [&split.training, &split.validation, &split.test].map(Vec::len);
    let seed = options.seed;
    facts.push((
        "split",
        format!("{training} rows for training, {validation} for validation, {test} for test (seed {seed})"),
    ));
    let places = encoder.columns(table)?;
    let part = |rows: &[usize]| -> Result<Part, Failure> {
        Ok(Part { x: encoder.encode(table, &places, rows)?, values: values(rows) })
    };
    let parts = [part(&split.training)?, part(&split.validation)?, part(&split.test)?];
    Ok((encoder, parts))
}

fn of_data(table: &Table, encoder: &Encoder, dropped: usize) -> String {
    let is_text = |feature: &&columns::Feature| matches!(feature.kind, columns::Kind::Texts(_));
    let texts = encoder.features.iter().filter(is_text).count();
    let numbers = encoder.features.len() - texts;
    let mut says = format!("{}: {} rows; {numbers} columns of numbers", table.name, table.rows());
    if texts > 0 {
        let _ = write!(says, ", {texts} of texts");
    }
    if dropped > 0 {
        let _ = write!(says, "; {dropped} rows with missing values left out");
    }
    says
}

fn of_constant(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    let more = if names.len() > 8 { format!(" and {} more", names.len() - 8) } else { String::new() };
    format!("{}{more}: the same in every row for training", shown.join(", "))
}

fn of_target(Target { name, kind }: &Target, why: &str) -> String {
    match kind {
        TargetKind::Number { mean, deviation } => {
            let (mean, deviation) = (score::short(*mean), score::short(*deviation));
            format!("{name}, regression ({why}); mean {mean}, deviation {deviation}")
        }
        TargetKind::Classes(classes) => format!("{name}, classification ({why}); {} classes", classes.len()),
    }
}

fn ended(fitted: &Fitted, patience: usize) -> String {
    let (epochs, best) = (fitted.history.len(), fitted.best);
    let why = match fitted.end {
        End::Epochs => "all epochs".to_owned(),
        End::Patience => format!("{patience} epochs without a better validation loss"),
        End::Interrupt => "interrupted".to_owned(),
        End::Divergence => "the loss was no number any more (a lower --rate?)".to_owned(),
    };
    format!("{epochs} epochs ({why}); epoch {best} is kept, validation loss {:.4}", fitted.history[best - 1].validation)
}
