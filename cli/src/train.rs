//! `elbow train`: a network for a table of numbers and texts, for people without a program of their own.

pub(crate) mod checkpoint;
pub(crate) mod columns;
mod fit;
mod options;
mod plot;
mod report;
pub(crate) mod score;
mod split;
pub(crate) mod table;

use std::{fmt::Write as _, num::NonZeroUsize, path::PathBuf, process::ExitCode};

use serde_json::json;

use self::{
    checkpoint::{Checkpoint, Place, Rows, State},
    columns::{Encoder, Missing, Target, TargetKind, Value},
    fit::{End, Epoch, Fitted, Part, Settings},
    options::Choices,
    score::Score,
    split::Split,
    table::Table,
};
use crate::{destination::Destination, document, failure::Failure, interrupt, out, table::Format, verify::bar};

pub(crate) use self::options::Options;

/// The fewest rows that are split.
const FEWEST: usize = 10;

/// The most steps of an epoch: each is prepared once, and takes memory.
const MOST_STEPS: usize = 1 << 16;

/// What was found and done, for the terminal and the page: pairs of a word and a line.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// Reads, trains, writes, and says what it did.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let from = options.resume.as_deref().map(Checkpoint::read).transpose()?;
    let mut choices = match &from {
        None => options.choices.clone(),
        Some(from) => options.choices.resumed(&options.given, from)?,
    };
    let files = Files::new(&choices, options.no_checkpoint)?;
    let mut facts = Facts::new();
    let table = Table::read(choices.data()?, choices.format)?;
    let (encoder, parts) = prepared(&choices, &table, &mut facts)?;
    let (rows, name) = (Rows::of(&parts), table.name.clone());
    drop(table);
    let settings = settings(&choices, parts[0].values.len())?;
    let sizes = fit::sizes(&settings, &encoder);
    if let Some(from) = &from {
        from.check(&name, &encoder, rows)?;
        from.check_sizes(&sizes)?;
        if settings.epochs < from.history.len() {
            let expected = format!("at least {}, the epochs of the checkpoint", from.history.len());
            return Err(Failure::mismatch("--epochs", expected, settings.epochs));
        }
    }
    // What was decided counts as asked for.
    choices.batch = NonZeroUsize::new(settings.batch);
    let place = files.checkpoint.as_ref().map(|path| -> Result<Place, Failure> {
        let state = State { options: choices.kept()?, rows };
        let state = serde_json::to_string(&state).map_err(Failure::new)?;
        Ok(Place { path: path.clone(), every: choices.checkpoint_every.get(), state })
    });
    let place = place.transpose()?;
    let gpu = options.tuning.open(elbow::Options::default())?;
    let software = if gpu.is_software() { " (SOFTWARE adapter: a CPU plays GPU)" } else { "" };
    facts.push((
        "network",
        format!(
            "{}, {}; AdamW, rate {}, {} rows a step",
            sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" > "),
            settings.activation,
            settings.rate,
            settings.batch
        ),
    ));
    facts.push(("device", format!("{}{software}", gpu.info().name)));
    print(&facts, options.printed)?;
    if let (Some(from), Some(path)) = (&from, &options.resume) {
        print(&[("resumed", format!("{}, epoch {}", path.display(), from.history.len()))], options.printed)?;
    }
    let before = facts.len();

    let graceful = interrupt::Graceful::new();
    let progress = bar("{spinner} epoch {pos}/{len} [{bar:24}] {msg} {elapsed}");
    progress.set_length(settings.epochs as u64);
    let mut say = |history: &[Epoch], since: usize| {
        let last = history.last().map_or((f32::NAN, f32::NAN), |epoch| (epoch.training, epoch.validation));
        progress.set_message(format!("loss {:.4}, validation {:.4}, best {since} ago", last.0, last.1));
        progress.set_position(history.len() as u64);
    };
    let [training, validation, test] = &parts;
    let fitted = fit::fit(&gpu, &settings, &encoder, [training, validation], (from.as_ref(), place.as_ref()), &mut say);
    progress.finish_and_clear();
    drop(graceful);
    let fitted = fitted?;
    facts.push(("training", ended(&fitted, settings.patience)));
    let outputs = fit::outputs(&gpu, &fitted.mlp, test, &encoder)?;
    let score = Score::new(&encoder.target, &outputs, &test.values);
    facts.push(("test", score.sentence()));
    let units = fit::units(&gpu, &fitted.mlp, training, encoder.inputs())?;
    let html = report::html(&report::Page {
        data: choices.data()?,
        facts: &facts,
        encoder: &encoder,
        fitted: &fitted,
        score: &score,
        units: &units,
    });
    files.output.write(&fitted.file)?;
    files.page.write(html.as_bytes())?;
    facts.push(("written", files.says));
    let (model, data) = (choices.output.display(), choices.data()?.display());
    facts.push(("to use it", format!("elbow predict {model} {data}{}", choices.format.arguments())));
    if let (Some(path), 1..) = (&files.checkpoint, fitted.written) {
        let more = match fitted.end {
            End::Epochs => format!(" --epochs {}", 2 * settings.epochs),
            End::Patience => format!(" --patience {}", 2 * settings.patience),
            End::Interrupt | End::Divergence => String::new(),
        };
        facts.push(("to go on", format!("elbow train --resume {}{more}", path.display())));
    }
    print(&facts[before..], options.printed)?;
    if options.printed == Format::Json {
        let epochs: Vec<_> = fitted.history.iter().map(|epoch| [epoch.training, epoch.validation]).collect();
        document::json(&json!({
            "elbow": env!("CARGO_PKG_VERSION"), "adapter": gpu.info().name, "software": gpu.is_software(),
            "options": choices.kept()?, "sizes": sizes, "rows": rows.counts, "losses": epochs, "best": fitted.best,
            "ended": fitted.end.name(), "test": score.json(),
        }))?;
    }
    Ok(ExitCode::from(if fitted.end == End::Interrupt { 130 } else { 0 }))
}

/// The files that are written, each at a place of its own, which can be written.
struct Files {
    output: Destination,
    page: Destination,
    checkpoint: Option<PathBuf>,
    /// The first two, in words.
    says: String,
}

impl Files {
    fn new(choices: &Choices, no_checkpoint: bool) -> Result<Self, Failure> {
        let beside = |extension: &str| choices.output.with_extension(extension);
        let page = choices.report.clone().unwrap_or_else(|| beside("html"));
        let checkpoint = choices.checkpoint.clone().unwrap_or_else(|| beside("checkpoint.safetensors"));
        let checkpoint = Some(checkpoint).filter(|_| !no_checkpoint);
        for (option, path, others) in [
            ("--report", Some(&page), &[("--output", &choices.output)][..]),
            ("--checkpoint", checkpoint.as_ref(), &[("--output", &choices.output), ("--report", &page)]),
        ] {
            if let Some((other, _)) = others.iter().find(|(_, other)| path == Some(*other)) {
                let got = path.map(|path| path.display().to_string()).unwrap_or_default();
                return Err(Failure::mismatch(option, format_args!("another file than {other}"), got));
            }
        }
        let says = format!("{} and {}", choices.output.display(), page.display());
        let (output, page) = (Destination::new(&choices.output)?, Destination::new(&page)?);
        checkpoint.as_deref().map_or(Ok(()), Destination::check)?;
        Ok(Files { output, page, checkpoint, says })
    }
}

fn settings(choices: &Choices, rows: usize) -> Result<Settings, Failure> {
    let settings = Settings {
        hidden: choices.hidden.iter().map(|units| usize::from(units.get())).collect(),
        activation: choices.activation,
        epochs: choices.epochs.get(),
        patience: choices.patience.get(),
        batch: choices.batch.map_or((rows / 64).next_power_of_two().clamp(16, 1024), |batch| batch.get()).min(rows),
        rate: choices.rate,
        weight_decay: choices.weight_decay,
        seed: choices.seed,
    };
    if rows.div_ceil(settings.batch) > MOST_STEPS {
        let expected =
            format!("at least {}, because {MOST_STEPS} steps an epoch are the most", rows.div_ceil(MOST_STEPS));
        return Err(Failure::mismatch("--batch", expected, settings.batch));
    }
    Ok(settings)
}

/// Lines as they come; as JSON all of it comes at the end.
fn print(facts: &[(&'static str, String)], format: Format) -> Result<(), Failure> {
    let line = |(name, says): &(&str, String)| match format {
        Format::Table => format!("{name:<11}{says}\n"),
        Format::Md => format!("- {name}: {says}\n"),
        Format::Json => String::new(),
    };
    out::print(&facts.iter().map(line).collect::<String>())
}

/// The columns' encoding and the three parts as numbers.
fn prepared(options: &Choices, table: &Table, facts: &mut Facts) -> Result<(Encoder, [Part; 3]), Failure> {
    let (mut target, mut rows, why) = columns::target(table, options.target()?, options.task, options.missing)?;
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
    let split = Split::new(&rows, options.seed);
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
