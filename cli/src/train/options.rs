//! The options of `elbow train`, and what of them a checkpoint keeps.

use std::{
    fmt::Display,
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
};

use elbow::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    checkpoint::Checkpoint,
    columns::{Missing, Task},
    table::Format,
};
use crate::{failure::Failure, tuning::Tuning};

/// Trains a network on a CSV file: writes the network and a page about it.
///
/// The file may be gzipped. Its columns are scaled, its rows are split (70 % for training, 15 % for validation, 15 % for test), and a network of
/// fully connected layers is trained until the loss of the validation rows gets no better. Written are the best network, to be used by
/// `elbow predict` (or by elbow::Mlp, or PyTorch: it is a safetensors file), and a page with its losses and what it gets wrong. Ctrl-C ends
/// training early and keeps the best network so far; the exit code is then 130.
///
/// After each epoch a checkpoint is written beside the network, from which --resume goes on, whatever ended the training. The same table, seed and
/// device give the same network, with a break or without.
///
/// Columns in which most values are numbers are scaled to mean 0 and deviation 1; others, of at most 64 different texts, become a number for
/// each text. Columns that are the same in every row are left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, of a table made on the spot, and of more epochs than were asked for first:\n  \
                  seq 100 | awk 'BEGIN { print \"size,price\" } { print $1 \",\" 3 * $1 + 7 }' > data.csv\n  \
                  elbow train data.csv --target price --task regression --hidden 8 --epochs 30\n  \
                  elbow train --resume model.checkpoint.safetensors --epochs 60")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(super) choices: Choices,
    /// Goes on from a checkpoint, as if there had been no break. Options that are not given are taken from it, and so is the table; files, --epochs
    /// and --patience may be changed, other options may not.
    #[arg(long, value_name = "FILE")]
    pub(super) resume: Option<PathBuf>,
    /// Without checkpoints.
    #[arg(long, conflicts_with_all = ["checkpoint", "checkpoint_every"])]
    pub(super) no_checkpoint: bool,
    #[command(flatten)]
    pub(super) tuning: Tuning,
    /// How the result is printed: JSON when training is over, with the losses of every epoch.
    #[arg(long = "format", value_enum, default_value_t)]
    pub(super) printed: crate::table::Format,
    /// The names of the options that were given, and not left at their defaults.
    #[arg(skip)]
    pub(crate) given: Vec<String>,
}

/// What a checkpoint keeps.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub(super) struct Choices {
    /// The table.
    #[arg(value_name = "DATA.csv", required_unless_present = "resume")]
    pub(super) data: Option<PathBuf>,
    /// The column to learn.
    #[arg(long, value_name = "COLUMN", required_unless_present = "resume")]
    pub(super) target: Option<String>,
    /// Columns to leave out, separated by commas.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(super) ignore: Vec<String>,
    /// What the target is. If not given: classes if it is text or at most 20 different whole numbers, else a number.
    #[arg(long, value_enum)]
    pub(super) task: Option<Task>,
    /// What becomes of missing values (nothing, NA, NaN, null, ?).
    #[arg(long, value_enum, default_value = "error")]
    #[serde(with = "word")]
    pub(super) missing: Missing,
    #[command(flatten)]
    #[serde(flatten)]
    pub(super) format: Format,
    /// Units of each hidden layer, separated by commas.
    #[arg(long, value_name = "UNITS", value_delimiter = ',', default_value = "64,64")]
    pub(super) hidden: Vec<NonZeroU16>,
    /// The activation of hidden layers: relu, silu, gelu, "leaky_relu(0.1)", ...; prelu learns a slope for each unit.
    #[arg(long, value_name = "SPEC", default_value = "silu")]
    #[serde(with = "text")]
    pub(super) activation: Activation,
    /// The most epochs, those before a --resume included.
    #[arg(long, value_name = "COUNT", default_value = "300")]
    pub(super) epochs: NonZeroUsize,
    /// Epochs without a better validation loss after which training ends; the learning rate is halved three times before.
    #[arg(long, value_name = "EPOCHS", default_value = "30")]
    pub(super) patience: NonZeroUsize,
    /// Rows of a step; if not given the power of two that is about a fiftieth of the rows for training, 16 to 1024.
    #[arg(long, value_name = "ROWS")]
    pub(super) batch: Option<NonZeroUsize>,
    /// The learning rate of AdamW.
    #[arg(long, value_name = "RATE", default_value = "0.002")]
    #[serde(with = "text")]
    pub(super) rate: f32,
    /// Weight decay: larger values for smoother networks.
    #[arg(long, value_name = "DECAY", default_value = "0.01")]
    #[serde(with = "text")]
    pub(super) weight_decay: f32,
    /// Of the split, the first weights and the order of rows.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(super) seed: u64,
    /// The file of the network.
    #[arg(long, value_name = "FILE", default_value = "model.safetensors")]
    pub(super) output: PathBuf,
    /// The page; if not given that of the network's name, with .html
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// The checkpoint; if not given that of the network's name, with .checkpoint.safetensors
    #[arg(long, value_name = "FILE")]
    pub(super) checkpoint: Option<PathBuf>,
    /// Epochs from one checkpoint to the next: so many are lost at most if the program is killed.
    #[arg(long, value_name = "EPOCHS", default_value = "1")]
    pub(super) checkpoint_every: NonZeroUsize,
}

/// What may be another after a checkpoint: files, how often they are written, and what ends the training.
const FREE: [&str; 7] = ["data", "epochs", "patience", "output", "report", "checkpoint", "checkpoint_every"];

impl Choices {
    /// The choices of a checkpoint with those of these that were given and may be others; an error names one that may not.
    pub(super) fn resumed(&self, given: &[String], from: &Checkpoint) -> Result<Self, Failure> {
        let mut all = from.state.options.0.clone();
        for (name, value) in self.kept()?.0 {
            let before = all.get(&name);
            if !given.contains(&name) || before == Some(&value) {
                continue;
            }
            if !FREE.contains(&name.as_str()) {
                let expected = format!("{}, as in the checkpoint", words(before.unwrap_or(&Value::Null)));
                return Err(Failure::mismatch(format_args!("--{}", name.replace('_', "-")), expected, words(&value)));
            }
            all.insert(name, value);
        }
        serde_json::from_value(Value::Object(all)).map_err(|error| from.damaged(&error))
    }

    /// As a checkpoint keeps them; an error if the name of a file is no text.
    pub(super) fn kept(&self) -> Result<Kept, Failure> {
        match serde_json::to_value(self) {
            Ok(Value::Object(all)) => Ok(Kept(all)),
            Ok(other) => Err(Failure::mismatch("options", "names and values", other)),
            Err(error) => Err(Failure::mismatch("names of files", "Unicode (or --no-checkpoint)", error)),
        }
    }

    /// The table's file, which is there unless a checkpoint was changed.
    pub(super) fn data(&self) -> Result<&PathBuf, Failure> {
        self.data.as_ref().ok_or_else(|| Failure::mismatch("DATA.csv", "a table", "none"))
    }

    /// The target's name, likewise.
    pub(super) fn target(&self) -> Result<&str, Failure> {
        self.target.as_deref().ok_or_else(|| Failure::mismatch("--target", "a column", "none"))
    }
}

/// [`Choices`] by the names of options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Kept(Map<String, Value>);

/// A value as it is typed.
fn words(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.is_empty() => "none".into(),
        Value::Array(all) => all.iter().map(words).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Values as the text that they are typed as, exactly.
mod text {
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: super::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: super::Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Words of the command line as these.
mod word {
    use clap::ValueEnum;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _, ser::Error as _};

    pub(super) fn serialize<T: ValueEnum, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        let word = value.to_possible_value().ok_or_else(|| S::Error::custom("a choice without a word"))?;
        to.serialize_str(word.get_name())
    }

    pub(super) fn deserialize<'de, T: ValueEnum, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        T::from_str(&String::deserialize(from)?, false).map_err(D::Error::custom)
    }
}
