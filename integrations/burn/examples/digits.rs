//! Two networks learn to read handwritten digits in Burn, 64→128→64→10 with ReLU, from the same weights, in the same order: one of elbow's fused layers, one of
//! Burn's own `Linear` and `relu`. Their losses must agree, step by step.
//!
//!     cargo run --example digits            # six epochs of each
//!     cargo run --example digits -- 20

use std::{error::Error, io::Read};

use burn::{
    module::Module,
    nn::{Linear, loss::CrossEntropyLossConfig},
    optim::{GradientsParams, SgdConfig, momentum::MomentumConfig},
    tensor::{Device, Int, Tensor, TensorData, activation::relu},
};
use elbow_burn::{Activation, Mlp, MlpConfig};

const PIXELS: usize = 64;
const BATCH: usize = 32;
const RATE: f64 = 0.05;

/// How far a step's loss may be apart, relative to the loss (or to 1, if it is smaller). Both networks compute in f32 and round differently, and each step
/// begins at what the steps before it made of that.
const LOSS_BOUND: f32 = 1e-4;

/// What the network of elbow's layers must read right of the images that it has not seen, after six epochs.
const FLOOR: f32 = 0.9;

/// Burn's own layers.
#[derive(Module, Debug)]
struct Own {
    layers: Vec<Linear>,
}

impl Own {
    /// With the parameters of the other.
    fn of(mlp: &Mlp) -> Self {
        let linear = |layer: &elbow_burn::LinearAct| Linear { weight: layer.weight.clone(), bias: layer.bias.clone() };
        Own { layers: mlp.layers.iter().map(linear).collect() }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(x, |x, (at, layer)| {
            let z = layer.forward(x);
            if at == last { z } else { relu(z) }
        })
    }
}

/// Images, row-major, and a label for each.
#[derive(Default)]
struct Digits {
    x: Vec<f32>,
    labels: Vec<i32>,
}

impl Digits {
    /// Every image of the file, those that `chosen` takes by their number.
    fn read(chosen: impl Fn(usize) -> bool) -> Result<Self, Box<dyn Error>> {
        let mut text = String::new();
        let file = include_bytes!("../../../examples/data/digits.csv.gz");
        flate2::read::GzDecoder::new(&file[..]).read_to_string(&mut text)?;
        let mut digits = Digits::default();
        for (_, line) in text.lines().enumerate().filter(|(at, _)| chosen(*at)) {
            let numbers = line.split(',').map(|n| n.trim().parse()).collect::<Result<Vec<f32>, _>>()?;
            let (label, pixels) = numbers.split_last().ok_or("an empty line")?;
            digits.x.extend(pixels.iter().map(|pixel| pixel / 16.0));
            digits.labels.push(*label as i32);
        }
        Ok(digits)
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn batch(&self, from: usize, to: usize, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let x = TensorData::new(self.x[from * PIXELS..to * PIXELS].to_vec(), [to - from, PIXELS]);
        let labels = TensorData::new(self.labels[from..to].to_vec(), [to - from]);
        (Tensor::from_data(x, device), Tensor::from_data(labels, device))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let epochs: usize = std::env::args().nth(1).map_or(Ok(6), |text| text.parse())?;
    let device = elbow_burn::open(Device::wgpu_options())?;
    println!("{}", elbow_burn::gpu(&device)?);
    let training_device = device.clone().autodiff();
    training_device.seed(7);
    // Every fifth image is held out.
    let (training, test) = (Digits::read(|at| at % 5 != 0)?, Digits::read(|at| at % 5 == 0)?);

    let mut mlp = MlpConfig::new(vec![PIXELS, 128, 64, 10], Activation::RELU).init(&training_device)?;
    let mut own = Own::of(&mlp);
    let sgd = || SgdConfig::new().with_momentum(Some(MomentumConfig::new())).init();
    let (mut for_mlp, mut for_own) = (sgd(), sgd());
    let cross_entropy = CrossEntropyLossConfig::new().init(&training_device);
    let (mut worst, mut last) = (0f32, 0f32);
    for epoch in 1..=epochs {
        for from in (0..training.len()).step_by(BATCH) {
            let (x, labels) = training.batch(from, training.len().min(from + BATCH), &training_device);
            let loss = cross_entropy.forward(mlp.forward(x.clone())?, labels.clone());
            let of_own = cross_entropy.forward(own.forward(x), labels);
            let (ours, theirs): (f32, f32) = (loss.clone().into_scalar(), of_own.clone().into_scalar());
            let apart = (ours - theirs).abs() / theirs.max(1.0);
            if apart.is_nan() || apart > LOSS_BOUND {
                return Err(
                    format!("epoch {epoch}, image {from}: losses {ours} and {theirs} are {apart:.1e} apart").into()
                );
            }
            (worst, last) = (worst.max(apart), ours);
            let grads = GradientsParams::from_grads(loss.backward(), &mlp);
            mlp = for_mlp.step(RATE, mlp, grads);
            let grads = GradientsParams::from_grads(of_own.backward(), &own);
            own = for_own.step(RATE, own, grads);
        }
        println!(
            "epoch {epoch}: loss {last:.4}; at most {worst:.1e} from that of Burn's own layers (bound {LOSS_BOUND:.0e})"
        );
    }
    let (x, labels) = test.batch(0, test.len(), &device);
    let read = mlp.valid().forward(x)?.argmax(1).reshape([-1]);
    let right: f32 = read.equal(labels).int().sum().into_scalar::<i32>() as f32 / test.len() as f32;
    println!("{:.1} % of {} images that it has not seen are read right", right * 100.0, test.len());
    match right >= FLOOR {
        true => Ok(()),
        false => Err(format!("fewer than {:.0} %", FLOOR * 100.0).into()),
    }
}
