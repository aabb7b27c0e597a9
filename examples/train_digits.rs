//! A network learns to read handwritten digits on the GPU: 64→128→64→10, every product and every activation, forward and
//! backward, by elbow's fused kernels; the parameters never leave the device between steps.
//!
//!     cargo run --release --example train_digits
//!
//! At a rate that is too high for it a ReLU network dies (its units are below zero for every image, no gradient revives
//! them) where a leaky one learns:
//!
//!     cargo run --release --example train_digits -- --epochs 8 --rate 0.15 --compare 0 --activation relu
//!     cargo run --release --example train_digits -- --epochs 8 --rate 0.15 --compare 0 --activation 'leaky_relu(0.01)'
//!
//! With the feature `safetensors` the network goes into a file that says its layers, for `elbow eval`, PyTorch or [`Mlp::open`]:
//!
//!     cargo run --release --features safetensors --example train_digits -- --save digits.safetensors
//!
//! During the first epochs the same steps also run on the CPU implementation (`elbow_cpu`), and the losses of both are
//! compared step by step; a difference above the bound ends the run with an error.

#![forbid(unsafe_code)]

#[path = "digits/data.rs"]
mod data;
#[path = "digits/on_cpu.rs"]
mod on_cpu;

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use data::{CLASSES, Digits, PIXELS};
use elbow::{
    Activation, AlphaSource, Gpu, Saved, Tensor, View,
    affine::Forward,
    mlp::{Architecture, Mlp, Step},
    request::AffineRequest,
};
use indicatif::{ProgressBar, ProgressStyle};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

const SIZES: [usize; 4] = [PIXELS, 128, 64, CLASSES];

/// How far the mean loss of a step may be apart on the two implementations, relative to the loss (or to 1, if it is smaller). Both
/// compute in f32 and round differently; every step starts from what the steps before it made of that.
const LOSS_BOUND: f64 = 1e-4;

/// Threads of the CPU implementation.
const THREADS: usize = 2;

#[derive(Parser)]
#[command(about = "Trains a network on handwritten digits with elbow's fused kernels")]
struct Cli {
    /// Activation of the hidden layers, such as relu, "leaky_relu(0.01)", gelu_erf
    #[arg(long, default_value = "prelu(0.25)")]
    activation: Activation,
    /// Where its parameter comes from; channel where the activation is a prelu, else constant
    #[arg(long)]
    alpha: Option<Alpha>,
    #[arg(long, default_value_t = 40)]
    epochs: usize,
    /// Images in a minibatch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Learning rate; falls to 0 along half a cosine
    #[arg(long, default_value_t = 0.05)]
    rate: f32,
    #[arg(long, default_value_t = 0.9)]
    momentum: f32,
    /// Of the split, the initialisation and the order of the images
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Epochs that also run on the CPU, to compare losses and times
    #[arg(long, default_value_t = 1)]
    compare: usize,
    /// Test accuracy in percent below which the run counts as failed
    #[arg(long, default_value_t = 0.0)]
    floor: f64,
    /// File for the network, which is opened again and tested
    #[cfg(feature = "safetensors")]
    #[arg(long)]
    save: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Alpha {
    /// The number in the activation
    Constant,
    /// One learnable number for each layer
    Layer,
    /// One learnable number for each unit
    Channel,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train_digits: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let alpha = match cli.alpha {
        Some(Alpha::Constant) => AlphaSource::Constant,
        Some(Alpha::Layer) => AlphaSource::PerLayer,
        Some(Alpha::Channel) => AlphaSource::PerChannel,
        None if cli.activation.name() == "prelu" => AlphaSource::PerChannel,
        None => AlphaSource::Constant,
    };
    let gpu = Gpu::new()?;
    println!("adapter: {gpu}");
    if gpu.is_software() {
        println!("         This is a SOFTWARE adapter: a CPU plays GPU. Results count, times do not.");
    }

    let mut rng = ChaCha8Rng::seed_from_u64(cli.seed);
    let (training, test, _) = data::split(&mut rng)?;
    let batch = cli.batch.clamp(1, training.len());
    println!(
        "data: {} images to learn from, {} held out (a fifth, after a shuffle with seed {})",
        training.len(),
        test.len(),
        cli.seed
    );
    let mut gpu_rng = rng.clone();
    let architecture = Architecture::new(&SIZES, cli.activation, batch.max(test.len())).alpha(alpha);
    let mlp = Mlp::new(&gpu, &architecture, &mut || gpu_rng.sample(rand_distr::StandardNormal))?;
    println!(
        "network: {SIZES:?}, {} with {alpha:?} alpha, kept for backward: {}; {} images a step, rate {}, momentum {}",
        cli.activation,
        mlp.saved(0).unwrap_or_default(),
        batch,
        cli.rate,
        cli.momentum
    );

    let mut trainer = Trainer::new(&gpu, mlp, cli, batch, training)?;
    let (test_x, test_shape) = (gpu.upload(&test.x, &[test.len(), PIXELS])?, [test.len(), CLASSES]);
    trainer.compare(&mut rng)?;
    let bar = ProgressBar::new((cli.epochs - trainer.epoch.min(cli.epochs)) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} epoch {pos}/{len}  {msg}  {elapsed}")?);
    while trainer.epoch < cli.epochs {
        let loss = trainer.epoch(&mut rng)?;
        let accuracy = accuracy(&gpu, &trainer.mlp, &test_x, &test_shape, &test)?;
        bar.set_message(format!("loss {loss:.4}  test accuracy {:.2} %", 100.0 * accuracy));
        bar.inc(1);
    }
    bar.finish();

    let accuracy = 100.0 * accuracy(&gpu, &trainer.mlp, &test_x, &test_shape, &test)?;
    println!("\ntest accuracy: {accuracy:.2} % of {} images (loss of the last epoch {:.5})", test.len(), trainer.loss);
    #[cfg(feature = "safetensors")]
    if let Some(path) = &cli.save {
        trainer.mlp.save(&gpu, path, &elbow::mlp::Contents::model())?;
        let opened = Mlp::open(&gpu, path, test.len())?;
        let again = 100.0 * self::accuracy(&gpu, &opened, &test_x, &test_shape, &test)?;
        println!("{}, opened again: test accuracy {again:.2} %", path.display());
    }
    report_units(&gpu, &trainer.mlp, &test_x)?;
    report_slopes(&gpu, &trainer.mlp)?;
    trainer.report_times();
    if accuracy < cli.floor {
        return Err(format!("test accuracy {accuracy:.2} % is below the floor of {} %", cli.floor).into());
    }
    Ok(())
}

/// The network on the device, the data beside it, and the clock.
struct Trainer<'a> {
    gpu: &'a Gpu,
    cli: &'a Cli,
    mlp: Mlp,
    batch: usize,
    training: Digits,
    /// The images in this epoch's order, so that a minibatch is a range of rows.
    x: Tensor,
    labels: Tensor,
    /// The loss of each image when its turn came.
    losses: Tensor,
    epoch: usize,
    /// Mean over the last epoch.
    loss: f64,
    gpu_time: Duration,
    gpu_steps: usize,
    cpu_time: Duration,
    cpu_steps: usize,
    largest_difference: f64,
}

impl<'a> Trainer<'a> {
    fn new(gpu: &'a Gpu, mlp: Mlp, cli: &'a Cli, batch: usize, training: Digits) -> elbow::Result<Self> {
        let rows = training.len();
        Ok(Trainer {
            gpu,
            cli,
            mlp,
            batch,
            x: gpu.upload(&training.x, &[rows, PIXELS])?,
            labels: gpu.upload_words(&training.labels, &[rows])?,
            losses: gpu.zeros(&[rows])?,
            training,
            epoch: 0,
            loss: f64::NAN,
            gpu_time: Duration::ZERO,
            gpu_steps: 0,
            cpu_time: Duration::ZERO,
            cpu_steps: 0,
            largest_difference: 0.0,
        })
    }

    /// Half a cosine from the first rate to 0.
    fn rate(&self) -> f32 {
        let share = self.epoch as f32 / self.cli.epochs.max(1) as f32;
        self.cli.rate * 0.5 * (1.0 + (std::f32::consts::PI * share).cos())
    }

    /// First rows of the minibatches, and their lengths.
    fn batches(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, batch) = (self.training.len(), self.batch);
        (0..rows).step_by(batch).map(move |first| (first, batch.min(rows - first)))
    }

    /// Puts the images in a new order.
    fn shuffle(&mut self, rng: &mut ChaCha8Rng) -> elbow::Result<Digits> {
        let mut order: Vec<usize> = (0..self.training.len()).collect();
        order.shuffle(rng);
        let shuffled = self.training.select(&order);
        self.gpu.write(&self.x, &shuffled.x)?;
        self.gpu.write(&self.labels, &shuffled.labels)?;
        Ok(shuffled)
    }

    /// Every minibatch once, each step one submission, nothing waited for in between; the losses.
    fn steps(&mut self) -> elbow::Result<Vec<f32>> {
        let start = Instant::now();
        let rate = self.rate();
        for (first, rows) in self.batches() {
            let (x_shape, shape) = ([rows, PIXELS], [rows]);
            let step = Step::new(
                View::new(self.x.buffer(), (first * PIXELS) as u64 * 4, &x_shape, self.x.dtype()),
                View::new(self.labels.buffer(), first as u64 * 4, &shape, self.labels.dtype()),
                View::new(self.losses.buffer(), first as u64 * 4, &shape, self.losses.dtype()),
                rate,
            )
            .momentum(self.cli.momentum);
            self.gpu.submit_pass(|pass| self.mlp.train(self.gpu, pass, &step))?;
        }
        self.gpu.wait()?;
        // The first epoch compiles the kernels.
        if self.epoch > 0 {
            self.gpu_time += start.elapsed();
            self.gpu_steps += self.batches().count();
        }
        let losses = self.gpu.download(&self.losses)?;
        self.loss = losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64;
        self.epoch += 1;
        Ok(losses)
    }

    /// One epoch on the GPU.
    fn epoch(&mut self, rng: &mut ChaCha8Rng) -> elbow::Result<f64> {
        self.shuffle(rng)?;
        self.steps()?;
        Ok(self.loss)
    }

    /// The first epochs on both implementations, from the same parameters, over the same minibatches.
    fn compare(&mut self, rng: &mut ChaCha8Rng) -> Result<(), Box<dyn Error>> {
        let mut network = cpu_network(self.gpu, &self.mlp, self.batch)?;
        let threads = elbow_cpu::rayon::ThreadPoolBuilder::new().num_threads(THREADS).build()?;
        for _ in 0..self.cli.compare.min(self.cli.epochs) {
            let rate = self.rate();
            let shuffled = self.shuffle(rng)?;
            let gpu_losses = self.steps()?;
            for (first, rows) in self.batches() {
                let (x, labels) = (&shuffled.x[first * PIXELS..], &shuffled.labels[first..first + rows]);
                let start = Instant::now();
                let losses = threads.install(|| network.train(x, labels, rate, self.cli.momentum))?;
                self.cpu_time += start.elapsed();
                self.cpu_steps += 1;
                let mean = |losses: &[f32]| losses.iter().map(|&l| f64::from(l)).sum::<f64>() / rows as f64;
                let (gpu, cpu) = (mean(&gpu_losses[first..first + rows]), mean(&losses));
                let difference = (gpu - cpu).abs() / cpu.abs().max(1.0);
                if !(gpu.is_finite() || cpu.is_finite()) {
                    return Err(format!(
                        "step {}: the loss is {cpu} on both implementations; try a lower --rate",
                        self.cpu_steps
                    )
                    .into());
                }
                // A NaN on one side is not within the bound.
                if difference.is_nan() || difference > LOSS_BOUND {
                    return Err(format!(
                        "step {}: the loss is {gpu} on the GPU and {cpu} on the CPU; they may be {LOSS_BOUND:e} apart \
                         (where training is unstable, roundings grow: lower --rate, or leave the comparison out with --compare 0)",
                        self.cpu_steps
                    )
                    .into());
                }
                self.largest_difference = self.largest_difference.max(difference);
            }
        }
        if self.cpu_steps > 0 {
            println!(
                "losses of the first {} steps on GPU and CPU: at most {:.1e} apart (bound {LOSS_BOUND:.0e})",
                self.cpu_steps, self.largest_difference
            );
        }
        Ok(())
    }

    fn report_times(&self) {
        let per_step = |time: Duration, steps: usize| match steps {
            0 => "not measured".to_owned(),
            steps => format!("{:.3} ms", time.as_secs_f64() * 1e3 / steps as f64),
        };
        let note = if self.gpu.is_software() { " (SOFTWARE adapter)" } else { "" };
        println!("time of a step of {} images, forward, backward and update:", self.batch);
        println!("  GPU  {}   {}{note}", per_step(self.gpu_time, self.gpu_steps), self.gpu.info().name);
        println!("  CPU  {}   elbow_cpu, {THREADS} threads", per_step(self.cpu_time, self.cpu_steps));
    }
}

/// The network as it is on the device, on the CPU.
fn cpu_network(gpu: &Gpu, mlp: &Mlp, batch: usize) -> elbow::Result<on_cpu::Network> {
    let mut layers = Vec::new();
    for (index, (p, activation)) in layers_of(mlp).enumerate() {
        let request = AffineRequest::new(batch, SIZES[index + 1], SIZES[index], activation).alpha(
            match p.alpha.as_ref().map(|alpha| alpha.shape()) {
                None => AlphaSource::Constant,
                Some([1]) => AlphaSource::PerLayer,
                Some(_) => AlphaSource::PerChannel,
            },
        );
        let alpha = p.alpha.map(|alpha| gpu.download(alpha)).transpose()?;
        layers.push(on_cpu::Layer::new(request, gpu.download(p.w)?, gpu.download(p.b)?, alpha)?);
    }
    Ok(on_cpu::Network { layers, workspace: Default::default() })
}

fn layers_of(mlp: &Mlp) -> impl Iterator<Item = (elbow::mlp::Parameters<'_>, Activation)> {
    (0..mlp.layers()).filter_map(|index| Some((mlp.parameters(index)?, mlp.activation(index)?)))
}

/// Share of the test images whose largest logit is that of the label.
fn accuracy(gpu: &Gpu, mlp: &Mlp, x: &Tensor, shape: &[usize], test: &Digits) -> elbow::Result<f64> {
    gpu.submit_pass(|pass| mlp.forward(gpu, pass, x.view()))?;
    let Some(logits) = mlp.output(mlp.layers() - 1) else { return Ok(0.0) };
    let logits = gpu.download(logits.view_as(shape))?;
    let right = logits.chunks(CLASSES).zip(&test.labels).filter(|(row, label)| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class);
        best == Some(**label as usize)
    });
    Ok(right.count() as f64 / test.len() as f64)
}

/// Which units of the hidden layers no test image moves, from the pre-activations z of the whole test part.
fn report_units(gpu: &Gpu, mlp: &Mlp, x: &Tensor) -> elbow::Result<()> {
    println!("units of the hidden layers, over the test images:");
    gpu.submit_pass(|pass| mlp.forward(gpu, pass, x.view()))?;
    let rows = x.shape()[0];
    for (index, (p, activation)) in layers_of(mlp).enumerate().take(mlp.layers() - 1) {
        let (n, k) = (SIZES[index + 1], SIZES[index]);
        let (z, y) = (gpu.zeros(&[rows, n])?, gpu.zeros(&[rows, n])?);
        let below = [rows, k];
        let input = match index.checked_sub(1).and_then(|below| mlp.output(below)) {
            Some(output) => output.view_as(&below),
            None => x.view(),
        };
        let layer = Forward::new(activation, input, p.w, &y).saved(Saved::Z).save_to(&z).b(p.b).alpha(p.alpha);
        gpu.submit(|encoder| layer.record(gpu, encoder))?;
        let z = gpu.download(&z)?;
        let alpha = p.alpha.map(|alpha| gpu.download(alpha)).transpose()?;
        let share = |holds: &dyn Fn(Activation, f64) -> bool| {
            let all = |unit: &usize| {
                let alpha = alpha.as_ref().and_then(|a| a.get(*unit).or(a.first()));
                let activation = alpha.map_or(activation, |&alpha| activation.with_alpha(alpha));
                z.iter().skip(*unit).step_by(n).all(|&z| holds(activation, f64::from(z)))
            };
            (0..n).filter(all).count() as f64 * 100.0 / n as f64
        };
        println!(
            "  layer {index} ({n} units): {:.1} % dead (slope 0 for every image), {:.1} % never positive",
            share(&|activation, z| activation.slope(z) == 0.0),
            share(&|_, z| z <= 0.0)
        );
    }
    Ok(())
}

/// What became of the learnable slopes.
fn report_slopes(gpu: &Gpu, mlp: &Mlp) -> elbow::Result<()> {
    for (index, (p, activation)) in layers_of(mlp).enumerate() {
        let Some(alpha) = p.alpha else { continue };
        let mut alpha = gpu.download(alpha)?;
        alpha.sort_by(f32::total_cmp);
        let (min, max) = (alpha[0], alpha[alpha.len() - 1]);
        println!(
            "learned alpha of layer {index} (it was {}): min {min:.3}, median {:.3}, max {max:.3}",
            activation.params()[0],
            alpha[alpha.len() / 2]
        );
        if alpha.len() > 1 {
            println!("  {min:6.3} {} {max:.3}", histogram(&alpha, min, max));
        }
    }
    Ok(())
}

/// A bar for each of 24 equal intervals.
fn histogram(values: &[f32], min: f32, max: f32) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut counts = [0usize; 24];
    for value in values {
        let place = ((value - min) / (max - min).max(f32::MIN_POSITIVE) * counts.len() as f32) as usize;
        counts[place.min(counts.len() - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    counts.iter().map(|&count| BARS[(count * 8).div_ceil(most)]).collect()
}
