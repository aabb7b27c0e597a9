//! What a training goes on from: the network and its optimiser as [`elbow::Mlp`] keeps them in a checkpoint, with the losses so far, the best
//! parameters so far, the options, and a sum over the rows, by which another table is found out.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use elbow::{
    Gpu, Mlp,
    mlp::{Contents, Description, noted_tensors},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{
    columns::{Encoder, Value},
    fit::{Epoch, Part},
    options::Kept,
};
use crate::{
    destination::Destination,
    failure::Failure,
    file::{self, Source},
};

/// The entries of the metadata, and the names of tensors.
pub(crate) const COLUMNS: &str = "train.columns";
const STATE: &str = "train.state";
const LOSSES: &str = "losses";
const BEST: &str = "best.";

/// What a checkpoint says beside tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) options: Kept,
    pub(super) rows: Rows,
}

/// The rows of a table as the network sees them, in short: how many are in each part, and a sum over their numbers (CRC-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) counts: [usize; 3],
    sum: u32,
}

impl Rows {
    pub(super) fn of(parts: &[Part; 3]) -> Self {
        let mut sum = flate2::Crc::new();
        for part in parts {
            part.x.iter().for_each(|x| sum.update(&x.to_le_bytes()));
            for value in &part.values {
                match *value {
                    Value::Class(class) => sum.update(&(class as u64).to_le_bytes()),
                    Value::Number(number) => sum.update(&number.to_le_bytes()),
                }
            }
        }
        Rows { counts: parts.each_ref().map(|part| part.values.len()), sum: sum.sum() }
    }
}

/// Where checkpoints are written, and what is the same in each.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Epochs from one to the next.
    pub(super) every: usize,
    /// [`State`] as text.
    pub(super) state: String,
}

impl Place {
    /// Writes a checkpoint of the network as it is after so many epochs, beside the file of the best one: the whole new file, or the old one stays.
    pub(super) fn write(
        &self,
        gpu: &Gpu,
        mlp: &Mlp,
        columns: &str,
        history: &[Epoch],
        best: &[u8],
    ) -> Result<(), Failure> {
        let losses: Vec<f32> = history.iter().flat_map(|epoch| [epoch.training, epoch.validation]).collect();
        let best = SafeTensors::deserialize(best).map_err(Failure::new)?;
        let best: Vec<(String, Vec<usize>, Vec<f32>)> = best
            .iter()
            .map(|(name, tensor)| {
                let count = tensor.shape().iter().product();
                (format!("{BEST}{name}"), tensor.shape().to_vec(), elbow::Float::F32.decode(tensor.data(), count))
            })
            .collect();
        let shape = [history.len(), 2];
        let mut tensors: Vec<(&str, &[usize], &[f32])> = vec![(LOSSES, &shape, &losses)];
        tensors.extend(best.iter().map(|(name, shape, values)| (name.as_str(), &shape[..], &values[..])));
        let notes = [(COLUMNS, columns), (STATE, &self.state)];
        let contents = Contents::checkpoint().notes(&notes).tensors(&tensors);
        let bytes = gpu.block_on(mlp.to_safetensors_async(gpu, &contents))?;
        Destination::new(&self.path)?.write(&bytes)
    }
}

/// A checkpoint that was read.
pub(super) struct Checkpoint {
    /// The file, for messages.
    name: String,
    bytes: Vec<u8>,
    sizes: Vec<usize>,
    columns: String,
    pub(super) state: State,
    /// The losses of the epochs that are done, at least one.
    pub(super) history: Vec<Epoch>,
    /// The learning rate, perhaps halved by now.
    pub(super) rate: f32,
    /// The parameters of the best epoch, as a safetensors file.
    best: Vec<u8>,
}

impl Checkpoint {
    /// Reads a file; an error says why nothing can go on from it.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = file::bytes(path)?;
        Source::new(&name, &bytes)?;
        let damaged = |what: &dyn Display| damaged(&name, what);
        let description = Description::read(&bytes).map_err(|error| damaged(&error))?;
        let (Some(state), Some(columns)) = (description.notes.get(STATE), description.notes.get(COLUMNS)) else {
            let got = "a network without what its training goes on from";
            return Err(Failure::mismatch(&name, EXPECTED, got));
        };
        let state = serde_json::from_str(state).map_err(|error| damaged(&format_args!("{STATE}: {error}")))?;
        let optimiser = description.optimiser.ok_or_else(|| damaged(&"no optimiser"))?;
        let mut tensors = noted_tensors(&bytes).map_err(|error| damaged(&error))?;
        let history: Vec<Epoch> = match tensors.remove(LOSSES) {
            Some((shape, losses)) if shape.len() == 2 && shape[1] == 2 => {
                losses.chunks_exact(2).map(|pair| Epoch { training: pair[0], validation: pair[1] }).collect()
            }
            _ => Vec::new(),
        };
        if history.is_empty() || !history.iter().all(Epoch::is_finite) {
            return Err(damaged(&"losses of epochs are missing or no numbers"));
        }
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .into_iter()
            .filter_map(|(name, (shape, values))| Some((name.strip_prefix(BEST)?.to_owned(), shape, values)))
            .map(|(name, shape, values)| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = stored
            .iter()
            .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let best = views.and_then(|views| safetensors::serialize(views, None)).map_err(|error| damaged(&error))?;
        Ok(Checkpoint {
            sizes: description.sizes.clone(),
            columns: columns.clone(),
            rate: optimiser.rates.rate,
            state,
            history,
            best,
            bytes,
            name,
        })
    }

    /// Whether the table is the one of the training; an error says what is another.
    pub(super) fn check(&self, table: &str, encoder: &Encoder, rows: Rows) -> Result<(), Failure> {
        let columns = encoder.text()?;
        if (&columns, rows) == (&self.columns, self.state.rows) {
            return Ok(());
        }
        // Both read from their texts, so that numbers are compared that were rounded alike.
        let read = |text: &str| serde_json::from_str::<Encoder>(text);
        let (before, now) = match (read(&self.columns), read(&columns)) {
            (Ok(before), Ok(now)) => (before, now),
            (Err(error), _) | (_, Err(error)) => return Err(self.damaged(&format_args!("{COLUMNS}: {error}"))),
        };
        let count = |rows: Rows| rows.counts.iter().sum::<usize>();
        let features = before.features.iter().zip(&now.features);
        let mut others = features.filter(|(before, now)| before != now).map(|(_, now)| now.name.as_str());
        let got = if names(&before) != names(&now) {
            let expected = format!("columns {}, as in the checkpoint", names(&before));
            return Err(Failure::mismatch(table, expected, names(&now)));
        } else if count(rows) != count(self.state.rows) {
            format!("one of {} rows, where that has {}", count(rows), count(self.state.rows))
        } else if before.target != now.target {
            format!("other values in column {}", now.target.name)
        } else if let Some(name) = others.next() {
            format!("other values in column {name}")
        } else {
            "other values, or its rows in another order".into()
        };
        Err(Failure::mismatch(table, "the table of the checkpoint", got))
    }

    /// What is said of a file that is changed.
    pub(super) fn damaged(&self, what: &dyn Display) -> Failure {
        damaged(&self.name, what)
    }

    /// The network and its optimiser as they were, for so many rows; and the file of the best one.
    pub(super) fn open(&self, gpu: &Gpu, max_batch: usize, model: &Contents<'_>) -> Result<(Mlp, Vec<u8>), Failure> {
        let damaged = |error: elbow::Error| match error {
            elbow::Error::File { .. } => self.damaged(&error),
            error => error.into(),
        };
        let mlp = Mlp::from_safetensors(gpu, &self.bytes, max_batch).map_err(damaged)?;
        mlp.load_safetensors(gpu, &self.best).map_err(damaged)?;
        let best = gpu.block_on(mlp.to_safetensors_async(gpu, model))?;
        mlp.load_safetensors(gpu, &self.bytes).map_err(damaged)?;
        Ok((mlp, best))
    }

    /// Whether the network has these sizes, which follow from table and options.
    pub(super) fn check_sizes(&self, sizes: &[usize]) -> Result<(), Failure> {
        if self.sizes == sizes {
            return Ok(());
        }
        let expected = format!("a checkpoint of a network of sizes {sizes:?}");
        Err(Failure::mismatch(&self.name, expected, format_args!("{:?}", self.sizes)))
    }
}

/// What a file should be.
const EXPECTED: &str = "a checkpoint of elbow train";

fn damaged(name: &str, what: &dyn Display) -> Failure {
    Failure::mismatch(name, EXPECTED, format_args!("a damaged one ({what})"))
}

fn names(encoder: &Encoder) -> String {
    let all = encoder.features.iter().map(|feature| &feature.name).chain([&encoder.target.name]);
    all.map(String::as_str).collect::<Vec<_>>().join(", ")
}
