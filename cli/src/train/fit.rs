//! The rows of three parts, and the training: the network of the best epoch, by the loss of the validation rows.

use elbow::{
    Activation, AlphaSource, Gpu, Mlp, Prepared, Tensor, View,
    affine::Forward,
    criterion::Criterion,
    mlp::{Architecture, Batch, Contents, Objective, Optimiser},
    rates::{Rates, Rule},
    request::Saved,
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    checkpoint::{COLUMNS, Checkpoint, Place},
    columns::{Encoder, TargetKind, Value},
};
use crate::{failure::Failure, interrupt};

/// Rows as numbers: inputs, and what the outputs should be.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) x: Vec<f32>,
    pub(crate) values: Vec<Value>,
}

/// What training is asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) hidden: Vec<usize>,
    pub(crate) activation: Activation,
    pub(crate) epochs: usize,
    pub(crate) patience: usize,
    pub(crate) batch: usize,
    pub(crate) rate: f32,
    pub(crate) weight_decay: f32,
    pub(crate) seed: u64,
}

/// The mean losses of an epoch: that of the training rows as their turns came, and that of the validation rows at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    pub(crate) training: f32,
    pub(crate) validation: f32,
}

impl Epoch {
    pub(crate) fn is_finite(&self) -> bool {
        self.training.is_finite() && self.validation.is_finite()
    }
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All epochs were run.
    Epochs,
    /// No better for as many epochs as patience allows.
    Patience,
    /// Ctrl-C.
    Interrupt,
    /// The loss is no number any more.
    Divergence,
}

impl End {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            End::Epochs => "epochs",
            End::Patience => "patience",
            End::Interrupt => "interrupt",
            End::Divergence => "divergence",
        }
    }
}

/// A network with the parameters of its best epoch.
pub(crate) struct Fitted {
    pub(crate) mlp: Mlp,
    /// Its file.
    pub(crate) file: Vec<u8>,
    pub(crate) history: Vec<Epoch>,
    /// Counted from 1.
    pub(crate) best: usize,
    pub(crate) end: End,
    /// The epochs of the last checkpoint, if one was to be written.
    pub(crate) written: usize,
}

/// Steps in one submission, so that a slow device answers in between.
const STEPS: usize = 16;
/// The most rows in a call that only computes outputs.
const ROWS: usize = 4096;

/// Trains, from a checkpoint or from the beginning, and writes checkpoints if there is a place for them; `say` is told each epoch. An interrupt
/// ends it at the next submission.
///
/// An epoch is a function of the seed, its number, and the network with its optimiser: what a checkpoint keeps.
pub(crate) fn fit(
    gpu: &Gpu,
    settings: &Settings,
    encoder: &Encoder,
    [training, validation]: [&Part; 2],
    (from, place): (Option<&Checkpoint>, Option<&Place>),
    say: &mut dyn FnMut(&[Epoch], usize),
) -> Result<Fitted, Failure> {
    let columns = encoder.text()?;
    let notes = [(COLUMNS, columns.as_str())];
    let contents = Contents::model().notes(&notes);
    let rows = settings.batch.max(training.values.len().min(ROWS));
    let (mlp, mut history, mut best, mut rate) = match from {
        None => (network(gpu, settings, encoder, rows)?, Vec::<Epoch>::new(), None, settings.rate),
        Some(from) => {
            let (mlp, file) = from.open(gpu, rows, &contents)?;
            (mlp, from.history.clone(), Some((best_of(&from.history), file)), from.rate)
        }
    };
    let mut trainer = Trainer::new(gpu, mlp, settings, encoder, training)?;
    // The epochs of the last checkpoint.
    let mut written = history.len();
    let end = loop {
        let (epochs, best_epoch) = (history.len(), best.as_ref().map_or(0, |(epoch, _)| *epoch));
        let over = match () {
            () if epochs > 0 && epochs - best_epoch >= settings.patience => Some(End::Patience),
            () if epochs >= settings.epochs => Some(End::Epochs),
            () if interrupt::asked() => Some(End::Interrupt),
            () => None,
        };
        if let (Some(place), Some((_, file))) = (place, &best)
            && (over.is_some() || epochs - written >= place.every)
        {
            place.write(gpu, &trainer.mlp, &columns, &history, file)?;
            written = epochs;
        }
        if let Some(end) = over {
            break end;
        }
        let Some(loss) = trainer.epoch(settings.seed, epochs + 1)? else { break End::Interrupt };
        let outputs = outputs(gpu, &trainer.mlp, validation, encoder)?;
        let now = Epoch { training: loss as f32, validation: mean_loss(&outputs, validation, encoder) as f32 };
        if !now.is_finite() {
            break End::Divergence;
        }
        history.push(now);
        if best_of(&history) == history.len() {
            let file = gpu.block_on(trainer.mlp.to_safetensors_async(gpu, &contents))?;
            best = Some((history.len(), file));
        }
        let since = history.len() - best_of(&history);
        say(&history, since);
        // Smaller steps where larger ones no longer help: three times before patience is over.
        if since > 0 && since.is_multiple_of(settings.patience.div_ceil(4).max(1)) {
            rate *= 0.5;
            trainer.mlp.set_rate(gpu, rate)?;
        }
    };
    let Some((best, file)) = best else {
        return Err(match end {
            End::Interrupt => Failure::new("interrupted before the first epoch was over: nothing was written"),
            _ => Failure::mismatch("loss", "a finite number", "none in the first epoch; try a lower --rate"),
        });
    };
    trainer.mlp.load_safetensors(gpu, &file)?;
    Ok(Fitted { mlp: trainer.mlp, file, history, best, end, written })
}

/// The epoch with the least validation loss, the first of them, counted from 1; 0 if there is none.
fn best_of(history: &[Epoch]) -> usize {
    let least = history.iter().enumerate().min_by(|a, b| a.1.validation.total_cmp(&b.1.validation));
    least.map_or(0, |(epoch, _)| epoch + 1)
}

/// Features of the input, of each hidden layer, and of the output.
pub(crate) fn sizes(settings: &Settings, encoder: &Encoder) -> Vec<usize> {
    [encoder.inputs()].into_iter().chain(settings.hidden.iter().copied()).chain([encoder.target.outputs()]).collect()
}

/// The network before its first step, for so many rows.
fn network(gpu: &Gpu, settings: &Settings, encoder: &Encoder, rows: usize) -> Result<Mlp, Failure> {
    let objective = match encoder.target.kind {
        TargetKind::Classes(_) => Objective::Classes { label_smoothing: 0.0 },
        TargetKind::Number { .. } => Criterion::SquaredError.into(),
    };
    let rates = Rates::adamw(settings.rate).weight_decay(settings.weight_decay).max_norm(10.0);
    // A PReLU learns its slopes.
    let alpha = if settings.activation.name() == "prelu" { AlphaSource::PerChannel } else { AlphaSource::Constant };
    let sizes = sizes(settings, encoder);
    let architecture = Architecture::new(&sizes, settings.activation, rows)
        .alpha(alpha)
        .objective(objective)
        .optimiser(Optimiser::new(Rule::AdamW, rates));
    Ok(Mlp::seeded(gpu, &architecture, settings.seed)?)
}

/// The network, the training rows beside it, and a prepared step for each batch.
struct Trainer<'a> {
    gpu: &'a Gpu,
    mlp: Mlp,
    training: &'a Part,
    columns: usize,
    x: Tensor,
    targets: Tensor,
    losses: Tensor,
    steps: Vec<Prepared>,
    encoder: &'a Encoder,
}

impl<'a> Trainer<'a> {
    fn new(
        gpu: &'a Gpu,
        mlp: Mlp,
        settings: &Settings,
        encoder: &'a Encoder,
        training: &'a Part,
    ) -> Result<Self, Failure> {
        let (rows, columns) = (training.values.len(), encoder.inputs());
        let classes = matches!(encoder.target.kind, TargetKind::Classes(_));
        let mut trainer = Trainer {
            gpu,
            mlp,
            training,
            columns,
            x: gpu.zeros(&[rows, columns])?,
            targets: if classes { gpu.upload_words(&vec![0; rows], &[rows])? } else { gpu.zeros(&[rows, 1])? },
            losses: gpu.zeros(&[rows])?,
            steps: Vec::new(),
            encoder,
        };
        for first in (0..rows).step_by(settings.batch) {
            let count = settings.batch.min(rows - first);
            let (x_shape, row_shape, loss_shape) = ([count, columns], [count, 1], [count]);
            let target_shape: &[usize] = if classes { &loss_shape } else { &row_shape };
            let at = |width: usize| (first * width) as u64 * 4;
            let batch = Batch::new(
                View::new(trainer.x.buffer(), at(columns), &x_shape, trainer.x.dtype()),
                View::new(trainer.targets.buffer(), at(1), target_shape, trainer.targets.dtype()),
                View::new(trainer.losses.buffer(), at(1), &loss_shape, trainer.losses.dtype()),
            );
            let step = trainer.mlp.prepare(gpu, &batch)?;
            trainer.steps.push(step);
        }
        Ok(trainer)
    }

    /// Every row once, in the order of this epoch, counted from 1; the mean loss, or None if it was interrupted.
    fn epoch(&mut self, seed: u64, epoch: usize) -> Result<Option<f64>, Failure> {
        let mut order: Vec<usize> = (0..self.training.values.len()).collect();
        order.shuffle(&mut generator(seed, epoch));
        let row = |&row: &usize| &self.training.x[row * self.columns..][..self.columns];
        let x: Vec<f32> = order.iter().flat_map(row).copied().collect();
        self.gpu.write(&self.x, &x)?;
        let values = order.iter().map(|&row| self.training.values[row]);
        match self.encoder.target.kind {
            TargetKind::Classes(_) => self.gpu.write(&self.targets, &values.map(class).collect::<Vec<u32>>())?,
            TargetKind::Number { .. } => {
                let numbers: Vec<f32> = values.map(|value| scaled(value, self.encoder) as f32).collect();
                self.gpu.write(&self.targets, &numbers)?;
            }
        }
        for steps in self.steps.chunks(STEPS) {
            self.gpu.submit_pass(|pass| steps.iter().try_for_each(|step| step.record(&mut *pass)))?;
            if interrupt::asked() {
                return Ok(None);
            }
        }
        let losses = self.gpu.download(&self.losses)?;
        Ok(Some(losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64))
    }
}

fn class(value: Value) -> u32 {
    match value {
        Value::Class(class) => class as u32,
        Value::Number(_) => 0,
    }
}

/// What the output should be.
fn scaled(value: Value, encoder: &Encoder) -> f64 {
    match (value, &encoder.target.kind) {
        (Value::Number(number), TargetKind::Number { mean, deviation }) => (number - mean) / deviation,
        _ => 0.0,
    }
}

/// The outputs of all rows of a part.
pub(crate) fn outputs(gpu: &Gpu, mlp: &Mlp, part: &Part, encoder: &Encoder) -> Result<Vec<f32>, Failure> {
    let (columns, n) = (encoder.inputs(), encoder.target.outputs());
    let mut outputs = Vec::with_capacity(part.values.len() * n);
    for x in part.x.chunks(mlp.max_batch() * columns) {
        let rows = x.len() / columns;
        let x = gpu.upload(x, &[rows, columns])?;
        gpu.submit_pass(|pass| mlp.infer(gpu, pass, x.view()))?;
        let Some(y) = mlp.output(mlp.layers() - 1) else { break };
        outputs.extend(gpu.download(y.view_as(&[rows, n]))?);
    }
    Ok(outputs)
}

/// The mean loss of outputs: the cross-entropy, or the squared error of scaled numbers.
pub(crate) fn mean_loss(outputs: &[f32], part: &Part, encoder: &Encoder) -> f64 {
    let n = encoder.target.outputs();
    let loss = |(row, &value): (&[f32], &Value)| match value {
        Value::Class(class) => {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&z| f64::from(z - top).exp()).sum();
            sum.ln() - f64::from(row[class] - top)
        }
        Value::Number(_) => (f64::from(row[0]) - scaled(value, encoder)).powi(2),
    };
    outputs.chunks(n).zip(&part.values).map(loss).sum::<f64>() / part.values.len().max(1) as f64
}

/// A hidden layer of a trained network.
#[derive(Debug)]
pub(crate) struct Units {
    pub(crate) count: usize,
    /// Units whose slope is 0 for every row: no gradient moves them.
    pub(crate) dead: usize,
    /// The learned α, sorted.
    pub(crate) slopes: Vec<f32>,
}

/// What became of the hidden units, over (at most) the first rows of a part.
pub(crate) fn units(gpu: &Gpu, mlp: &Mlp, part: &Part, columns: usize) -> Result<Vec<Units>, Failure> {
    let rows = part.values.len().min(mlp.max_batch());
    let mut input = gpu.upload(&part.x[..rows * columns], &[rows, columns])?;
    let mut all = Vec::new();
    for layer in 0..mlp.layers() - 1 {
        let (Some(p), Some(activation)) = (mlp.parameters(layer), mlp.activation(layer)) else { break };
        let count = p.b.shape()[0];
        let (z, y) = (gpu.zeros(&[rows, count])?, gpu.zeros(&[rows, count])?);
        let call = Forward::new(activation, &input, p.w, &y).saved(Saved::Z).save_to(&z).b(p.b).alpha(p.alpha);
        gpu.submit(|encoder| call.record(gpu, encoder))?;
        let z = gpu.download(&z)?;
        let mut slopes = p.alpha.map(|alpha| gpu.download(alpha)).transpose()?.unwrap_or_default();
        let dead = |unit: &usize| {
            let activation = slopes.get(*unit).map_or(activation, |&alpha| activation.with_alpha(alpha));
            z.iter().skip(*unit).step_by(count).all(|&z| activation.slope(f64::from(z)) == 0.0)
        };
        let dead = (0..count).filter(dead).count();
        slopes.sort_by(f32::total_cmp);
        all.push(Units { count, dead, slopes });
        input = y;
    }
    Ok(all)
}

/// The random numbers of a seed: those of the split (0), and of each epoch, so that none depends on those before.
pub(super) fn generator(seed: u64, epoch: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64);
    rng
}
