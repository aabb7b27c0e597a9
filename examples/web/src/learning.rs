//! A network that learns the digits on the device: an epoch at a time, with what the page shows of it.

use std::cell::{Cell, RefCell};

use elbow::{
    Activation, AlphaSource, Float, Gpu, Saved, Tensor, View,
    activation::rows,
    affine::{Forward, Statistics},
    gpu::record::Prepared,
    mlp::{Architecture, Batch, Mlp, Optimiser},
    rates::{Rates, Rule},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use wasm_bindgen::prelude::{JsError, wasm_bindgen};
use web_time::Instant;

use crate::{
    data::{self, CLASSES, Digits, PIXELS, Scale},
    device::Device,
};

/// Images of a step.
const BATCH: usize = 32;
const MOMENTUM: f32 = 0.9;
/// Of the split, the weights and the order of the images.
const SEED: u64 = 1;

/// Every activation that needs no parameter, by its name.
#[wasm_bindgen]
pub fn activations() -> Vec<String> {
    rows().iter().map(|row| row.name).filter(|name| name.parse::<Activation>().is_ok()).map(str::to_owned).collect()
}

/// An activation's formula.
#[wasm_bindgen]
pub fn formula(activation: &str) -> Result<String, JsError> {
    Ok(activation.parse::<Activation>()?.row().formula.to_owned())
}

/// What an epoch has come to.
#[wasm_bindgen(getter_with_clone)]
#[derive(Debug, Clone)]
pub struct Epoch {
    /// Mean over the training images, each when its turn came.
    pub loss: f64,
    /// Share of the test images that are recognised, 0 to 1.
    pub accuracy: f64,
    /// Of each hidden layer: units whose z is above 0 for no test image.
    pub silent: Vec<u32>,
    /// Steps, each forward, backward and update of a minibatch.
    pub steps: usize,
    /// Seconds of the steps, from the first recording to the end of the last; of the first epoch compilation included.
    pub seconds: f64,
}

/// A network, the digits, and its minibatches, prepared once.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Trainer {
    gpu: Gpu,
    mlp: Mlp,
    sizes: [usize; 4],
    activation: Activation,
    training: Digits,
    test: Digits,
    scale: Scale,
    /// The training images in this epoch's order, so that a minibatch is a range of rows.
    x: Tensor,
    labels: Tensor,
    losses: Tensor,
    test_x: Tensor,
    drawn: Tensor,
    steps: Vec<Prepared>,
    rng: RefCell<ChaCha8Rng>,
    rate: f32,
    epoch: Cell<usize>,
    epochs: usize,
}

#[wasm_bindgen]
impl Trainer {
    /// 64 → `width` → `width` / 2 → 10, on `device`: hidden layers of this activation, numbers stored as `storage` (f32, f16 or bf16), a rate
    /// that falls from `rate` to 0 along half a cosine of so many epochs.
    pub async fn create(
        device: &Device,
        activation: &str,
        width: usize,
        storage: &str,
        rate: f32,
        epochs: usize,
    ) -> Result<Trainer, JsError> {
        let gpu = device.gpu.clone();
        let (activation, storage): (Activation, Float) = (activation.parse()?, storage.parse()?);
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let (training, test, scale) = data::split(&mut rng).map_err(|error| JsError::new(&error.to_string()))?;
        let sizes = [PIXELS, width, width / 2, CLASSES];
        let alpha = if activation.name() == "prelu" { AlphaSource::PerChannel } else { AlphaSource::Constant };
        let architecture = Architecture::new(&sizes, activation, BATCH.max(test.len()))
            .alpha(alpha)
            .storage(storage)
            .optimiser(Optimiser::new(Rule::Sgd, Rates::sgd(rate).momentum(MOMENTUM)));
        let mlp = Mlp::seeded(&gpu, &architecture, SEED)?;
        let count = training.len();
        let (x, labels) = (gpu.zeros(&[count, PIXELS])?, gpu.upload_words(&training.labels, &[count])?);
        let losses = gpu.zeros(&[count])?;
        let mut steps = Vec::new();
        for first in (0..count).step_by(BATCH) {
            let last = (first + BATCH).min(count);
            let [x, labels, losses] = [&x, &labels, &losses].map(|all| all.view().slice(0, first..last));
            steps.push(mlp.prepare(&gpu, &Batch::new(x?, labels?, losses?))?);
        }
        // The kernels did compile.
        gpu.settled().await?;
        let test_x = gpu.upload(&test.x, &[test.len(), PIXELS])?;
        let drawn = gpu.zeros(&[1, PIXELS])?;
        let (rng, epoch) = (RefCell::new(rng), Cell::new(0));
        Ok(Trainer {
            gpu,
            mlp,
            sizes,
            activation,
            training,
            test,
            scale,
            x,
            labels,
            losses,
            test_x,
            drawn,
            steps,
            rng,
            rate,
            epoch,
            epochs,
        })
    }

    /// Goes once through the training images, in a new order, and looks at the test images.
    pub async fn epoch(&self) -> Result<Epoch, JsError> {
        self.shuffle()?;
        let share = self.epoch.get() as f32 / self.epochs.max(1) as f32;
        self.mlp.set_rate(&self.gpu, self.rate * 0.5 * (1.0 + (std::f32::consts::PI * share.min(1.0)).cos()))?;
        let start = Instant::now();
        for step in &self.steps {
            self.gpu.submit_pass(|pass| step.record(pass))?;
        }
        self.gpu.wait_async().await?;
        let seconds = start.elapsed().as_secs_f64();
        self.epoch.set(self.epoch.get() + 1);
        let losses = self.gpu.download_async(&self.losses).await?;
        let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
        let (accuracy, silent) = (self.accuracy().await?, self.silent().await?);
        Ok(Epoch { loss, accuracy, silent, steps: self.steps.len(), seconds })
    }

    /// The probability of each digit for a drawing of 8×8 pixels, 0 to 16.
    pub async fn probabilities(&self, mut pixels: Vec<f32>) -> Result<Vec<f32>, JsError> {
        self.scale.apply(&mut pixels);
        self.gpu.write(&self.drawn, &pixels)?;
        self.gpu.submit_pass(|pass| self.mlp.infer(&self.gpu, pass, self.drawn.view()))?;
        let mut all = self.logits(1).await?;
        let top = all.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        all.iter_mut().for_each(|logit| *logit = (*logit - top).exp());
        let sum: f32 = all.iter().sum();
        Ok(all.iter().map(|share| share / sum).collect())
    }

    /// Units of each hidden layer.
    #[wasm_bindgen(getter)]
    pub fn units(&self) -> Vec<u32> {
        self.sizes[1..3].iter().map(|&units| units as u32).collect()
    }

    /// Whether a unit whose z is never above 0 is dead: the slope of the activation is 0 there, so that no gradient revives it.
    #[wasm_bindgen(getter)]
    pub fn silent_is_dead(&self) -> bool {
        [-0.1, -1.0, -10.0].iter().all(|&z| self.activation.slope(z) == 0.0)
    }

    /// Epochs that are behind it.
    #[wasm_bindgen(getter)]
    pub fn epochs_done(&self) -> usize {
        self.epoch.get()
    }
}

impl Trainer {
    fn shuffle(&self) -> elbow::Result<()> {
        let mut order: Vec<usize> = (0..self.training.len()).collect();
        order.shuffle(&mut *self.rng.borrow_mut());
        let shuffled = self.training.select(&order);
        self.gpu.write(&self.x, &shuffled.x)?;
        self.gpu.write(&self.labels, &shuffled.labels)
    }

    /// The first rows of the last layer's output.
    async fn logits(&self, rows: usize) -> elbow::Result<Vec<f32>> {
        match self.mlp.output(self.mlp.layers() - 1) {
            Some(logits) => self.gpu.download_async(logits.view_as(&[rows, CLASSES])).await,
            None => Ok(Vec::new()),
        }
    }

    async fn accuracy(&self) -> elbow::Result<f64> {
        self.gpu.submit_pass(|pass| self.mlp.forward(&self.gpu, pass, self.test_x.view()))?;
        let logits = self.logits(self.test.len()).await?;
        let right = logits.chunks(CLASSES).zip(&self.test.labels).filter(|(row, label)| {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class);
            best == Some(**label as usize)
        });
        Ok(right.count() as f64 / self.test.len() as f64)
    }

    /// After a forward of the test images: the layers count in how many of them each unit fires.
    async fn silent(&self) -> elbow::Result<Vec<u32>> {
        let (gpu, rows) = (&self.gpu, self.test.len());
        let mut silent = Vec::new();
        for index in 0..self.mlp.layers() - 1 {
            let (k, n) = (self.sizes[index], self.sizes[index + 1]);
            let (Some(p), below) = (self.mlp.parameters(index), [rows, k]) else { continue };
            let x = match index.checked_sub(1).and_then(|below| self.mlp.output(below)) {
                Some(output) => output.view_as(&below),
                None => self.test_x.view(),
            };
            let (y, firing) = (gpu.zeros(&[rows, n])?, gpu.zeros(&[n])?);
            let layer = Forward::new(self.activation, x, p.w, &y)
                .b(p.b)
                .alpha(p.alpha)
                .saved(Saved::None)
                .statistics(Statistics::default().firing(View::from(&firing)));
            gpu.submit(|encoder| layer.record(gpu, encoder))?;
            let counts = gpu.download_async(&firing).await?;
            silent.push(counts.iter().filter(|&&count| count == 0.0).count() as u32);
        }
        Ok(silent)
    }
}
