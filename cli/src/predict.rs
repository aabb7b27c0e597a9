//! `elbow predict`: what a network of `elbow train` says of the rows of a table.

use std::path::PathBuf;

use elbow::{Operand, mlp::Description};

use crate::{
    args::{Device, Eval},
    destination::Destination,
    failure::Failure,
    file::{self, Source, Tensor},
    layers, out,
    train::{
        checkpoint::COLUMNS,
        columns::{Encoder, TargetKind},
        score::class,
        table::{Format, Table},
    },
    tuning::Tuning,
};

/// Adds a trained network's predictions to a CSV file.
///
/// Prints the table with a column more, TARGET_predicted; for classes also TARGET_probability, that of the predicted class. Columns are found by
/// their names, in any order, among others; the target may be there or not.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, with the network of the example of `elbow train --help`:\n  seq 100 | awk 'BEGIN { print \"size,price\" } { print $1 \",\" 3 * $1 + 7 }' > data.csv\n  \
                        elbow train data.csv --target price --task regression --hidden 8 --epochs 30\n  elbow predict model.safetensors data.csv --output predicted.csv"
)]
pub(crate) struct Options {
    /// The network, written by elbow train.
    #[arg(value_name = "MODEL.safetensors")]
    model: PathBuf,
    /// The table, with the columns that the network was trained on.
    #[arg(value_name = "DATA.csv")]
    data: PathBuf,
    #[command(flatten)]
    format: Format,
    /// What runs the network.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: Device,
    #[command(flatten)]
    tuning: Tuning,
    /// A file for the result; otherwise it is printed.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Rows that are computed at a time.
const ROWS: usize = 1 << 18;

/// Reads, computes, and prints or writes.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let output = options.output.as_deref().map(Destination::new).transpose()?;
    let name = options.model.display().to_string();
    let bytes = file::bytes(&options.model)?;
    let source = Source::new(&name, &bytes)?;
    let description = Description::read(&bytes)?;
    let encoder = encoder(&name, &description)?;
    let table = Table::read(&options.data, options.format)?;
    if options.format.no_header == encoder.header {
        let expected = if encoder.header {
            "a first line of names, as where it was trained"
        } else {
            "--no-header, as where it was trained"
        };
        return Err(Failure::mismatch(&table.name, expected, if encoder.header { "--no-header" } else { "none" }));
    }
    let columns = encoder.columns(&table)?;
    let rows: Vec<usize> = (0..table.rows()).collect();
    let mut outputs = Vec::with_capacity(rows.len() * encoder.target.outputs());
    let args = Eval { device: options.device, ..Eval::default() };
    for rows in rows.chunks(ROWS) {
        let values = encoder.encode(&table, &columns, rows)?;
        let x = Tensor { shape: vec![rows.len(), encoder.inputs()], values, dtype: elbow::Float::F32 };
        let jobs = layers::jobs(&args, &source, x, &description.activations)?;
        for (operand, y) in layers::run(options.device, &options.tuning, jobs)? {
            if operand == Operand::Y {
                outputs.extend(y.values);
            }
        }
    }
    let text = csv(&table, &encoder, &outputs, options.format).map_err(Failure::new)?;
    match output {
        Some(output) => output.write(&text),
        None => out::print(&String::from_utf8_lossy(&text)),
    }
}

/// The encoding in a model's metadata.
fn encoder(name: &str, description: &Description) -> Result<Encoder, Failure> {
    let expected = "a network of elbow train";
    let note = description
        .notes
        .get(COLUMNS)
        .ok_or_else(|| Failure::mismatch(name, expected, "one without its columns (elbow eval runs any network)"))?;
    let (inputs, outputs) = match (description.sizes.first(), description.sizes.last()) {
        (Some(inputs), Some(outputs)) => (*inputs, *outputs),
        _ => (0, 0),
    };
    Encoder::parse(note, inputs, outputs)
        .map_err(|got| Failure::mismatch(name, expected, format_args!("a damaged one ({COLUMNS}: {got})")))
}

/// The table with its predictions.
fn csv(
    table: &Table,
    encoder: &Encoder,
    outputs: &[f32],
    format: Format,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = csv::WriterBuilder::new().delimiter(format.delimiter).from_writer(Vec::new());
    let target = &encoder.target;
    if encoder.header {
        let mut names = table.columns.clone();
        names.push(format!("{}_predicted", target.name));
        if matches!(target.kind, TargetKind::Classes(_)) {
            names.push(format!("{}_probability", target.name));
        }
        writer.write_record(names)?;
    }
    for (row, outputs) in outputs.chunks(target.outputs()).enumerate() {
        let mut record = table.row(row).clone();
        match &target.kind {
            TargetKind::Number { mean, deviation } => {
                record.push_field(&((f64::from(outputs[0]) * deviation + mean) as f32).to_string());
            }
            TargetKind::Classes(classes) => {
                let (place, probability) = class(outputs);
                record.push_field(&classes[place]);
                record.push_field(&format!("{probability:.4}"));
            }
        }
        writer.write_record(&record)?;
    }
    Ok(writer.into_inner()?)
}
