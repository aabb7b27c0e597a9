//! A whole network on the GPU and on the CPU: inference and a training step, verified.

mod judge;
mod on_cpu;
mod perceptron;

use elbow::{
    Float, Gpu, MatrixUnits, Tensor,
    gpu::record::Prepared,
    mlp::{Architecture, Batch, Mlp, Objective, Optimiser, Parameters},
    rates::{Rates, Rule},
    wgpu,
};

use self::{judge::Expected, on_cpu::OnCpu};
pub use self::{
    on_cpu::Road,
    perceptron::{Loss, Perceptron},
};
use crate::{
    budget::Budget,
    device::Device,
    error::{Error, Result},
    layer::Part,
    rounds::{Comparison, Sides},
};

/// The optimiser of a training step, on both sides: AdamW with PyTorch's numbers.
const RULE: Rule = Rule::AdamW;
const RATES: Rates = Rates::adamw(1e-3);

/// The most MiB of one case, on each side.
const MOST_MIB: u64 = 16 << 10;

/// A network and a batch on both sides, verified when it is made.
#[derive(Debug)]
pub struct Network<'a> {
    device: &'a Device,
    network: &'a Perceptron,
    data: Data,
    mlp: Mlp,
    x: Tensor,
    targets: Tensor,
    loss: Tensor,
    step: Prepared,
    road: Road,
    errors: [f64; 2],
}

/// A batch. Its rows are a few distinct ones, over and over, so that the reference, which is slow, knows all of them; their number is odd,
/// because a row that is mistaken for another is most often one that is a power of two away.
#[derive(Debug)]
pub(crate) struct Data {
    rows: usize,
    x: Vec<f32>,
    targets: Targets,
}

#[derive(Debug)]
pub(crate) enum Targets {
    Numbers(Vec<f32>),
    Classes(Vec<u32>),
}

impl Targets {
    /// Those of a batch of so many rows, from those of the distinct rows.
    fn repeated(&self, rows: usize) -> Targets {
        match self {
            Targets::Numbers(values) => Targets::Numbers(values.iter().copied().cycle().take(rows).collect()),
            Targets::Classes(labels) => Targets::Classes(labels.iter().copied().cycle().take(rows).collect()),
        }
    }
}

impl<'a> Network<'a> {
    /// Makes network and batch on both sides, and compares y, the loss, every gradient and every updated parameter with the f64 reference;
    /// an error if one differs.
    pub fn new(device: &'a Device, network: &'a Perceptron, batch: usize) -> Result<Self> {
        let columns: usize = network.sizes().iter().sum();
        let mib = (16 * (network.elements() as u64) + 12 * batch as u64 * columns as u64) >> 20;
        if mib > MOST_MIB {
            return Err(Error::TooLarge { what: format!("{network}, a batch of {batch}"), most: MOST_MIB, got: mib });
        }
        if batch == 0 {
            return Err(elbow::Error::Unsupported { what: "a batch of 0".into(), why: "nothing to time".into() }.into());
        }
        let gpu = &device.gpu;
        if gpu.caps().matrix_units == MatrixUnits::Rounded && gpu.caps().matrix_size > 0 {
            let what = "a network of products that are rounded to f16".into();
            let why = "its gradients are not those of f32, which verify it; use off, stored or split".into();
            return Err(elbow::Error::Unsupported { what, why }.into());
        }
        let expected = Expected::new(network, batch)?;
        let data = expected.data(batch);
        let mlp = made(gpu, network, batch)?;
        let x = gpu.upload(&data.x, &[batch, network.inputs()])?;
        let targets = match &data.targets {
            Targets::Numbers(values) => gpu.upload(values, &[batch, network.outputs()])?,
            Targets::Classes(labels) => gpu.upload_words(labels, &[batch])?,
        };
        let loss = gpu.zeros(&[batch])?;
        let step = mlp.prepare(gpu, &Batch::new(&x, &targets, &loss))?;
        let mut made =
            Network { device, network, data, mlp, x, targets, loss, step, road: Road::Layers, errors: [0.0; 2] };
        made.errors[0] = made.verify_gpu(&expected)?;
        let mut cpu = OnCpu::new(network, &made.data)?;
        made.errors[1] = cpu.verify(&expected)?;
        made.road = cpu.faster_road()?;
        // The work of a step is the same, and the parameters stay as they are.
        made.mlp.set_rate(gpu, 0.0)?;
        Ok(made)
    }

    /// The largest error of the device and that of the CPU, as shares of what is allowed.
    pub fn errors(&self) -> [f64; 2] {
        self.errors
    }

    /// How the CPU infers: the faster of its two roads.
    pub fn road(&self) -> Road {
        self.road
    }

    /// Records inference or a training step into a pass.
    fn record(&self, part: Part, pass: &mut wgpu::ComputePass<'_>) -> elbow::Result<()> {
        match part {
            Part::Step => self.step.record(pass),
            _ => self.mlp.infer(&self.device.gpu, pass, self.x.view()),
        }
    }

    /// Times a training step, or (of any other part) inference, beside the same on the CPU, in rounds. With transfers x goes up and y comes
    /// down; of a step x and targets go up, and the losses come down.
    pub fn compare(&self, part: Part, budget: Budget) -> Result<Comparison> {
        let gpu = &self.device.gpu;
        let mut cpu = OnCpu::new(self.network, &self.data)?;
        cpu.road = self.road;
        cpu.rates = RATES.rate(0.0);
        let step = part == Part::Step;
        let outputs = self.output()?;
        self.device.compare(
            budget,
            Sides {
                record: &|pass| self.record(part, pass),
                upload: &|| {
                    gpu.write(&self.x, &self.data.x)?;
                    match &self.data.targets {
                        Targets::Numbers(values) if step => gpu.write(&self.targets, values),
                        Targets::Classes(labels) if step => gpu.write(&self.targets, labels),
                        _ => Ok(()),
                    }
                },
                download: &|| gpu.download(if step { &self.loss } else { outputs }).map(drop),
                cpu: &mut || if step { cpu.step() } else { cpu.infer() },
            },
        )
    }

    fn output(&self) -> Result<&Tensor> {
        let last = self.mlp.output(self.network.layers() - 1);
        last.ok_or_else(|| elbow::Error::Unsupported { what: "no layers".into(), why: "nothing to time".into() }.into())
    }

    fn verify_gpu(&self, expected: &Expected<'_>) -> Result<f64> {
        let gpu = &self.device.gpu;
        gpu.submit_pass(|pass| self.record(Part::Inference, pass))?;
        let of_inference = expected.judge_y("GPU, inference", &gpu.download(self.output()?)?)?;
        gpu.submit_pass(|pass| self.record(Part::Step, pass))?;
        let mut gradients = vec![0.0; self.network.elements()];
        let mut updated = gradients.clone();
        for l in 0..self.network.layers() {
            for (all, of_layer) in [(&mut gradients, self.mlp.gradients(l)), (&mut updated, self.mlp.parameters(l))] {
                let Some(Parameters { w, b, .. }) = of_layer else { continue };
                let (at, bias) = (self.network.weight(l), self.network.bias(l));
                all[at].copy_from_slice(&gpu.download(w)?);
                all[bias].copy_from_slice(&gpu.download(b)?);
            }
        }
        let y = expected.judge_y("GPU", &gpu.download(self.output()?)?)?;
        let loss = expected.judge_loss("GPU", &gpu.download(&self.loss)?)?;
        let of_gradients = expected.judge_gradients("GPU", &gradients)?;
        let of_update = expected.judge_update("GPU", &gradients, &updated)?;
        Ok([of_inference, y, loss, of_gradients, of_update].into_iter().fold(0.0, f64::max))
    }
}

/// The network on the device, with the numbers of the host's.
fn made(gpu: &Gpu, network: &Perceptron, batch: usize) -> Result<Mlp> {
    let objective = match network.loss().criterion() {
        Some(criterion) => Objective::Elements(criterion),
        None => Objective::Classes { label_smoothing: 0.0 },
    };
    let architecture = Architecture::new(network.sizes(), network.activation(), batch)
        .storage(Float::F32)
        .objective(objective)
        .optimiser(Optimiser::new(RULE, RATES));
    let mlp = Mlp::new(gpu, &architecture, &mut || 0.0)?;
    for l in 0..network.layers() {
        let [k, n] = network.shape(l);
        let w = gpu.upload(&network.parameters()[network.weight(l)], &[n, k])?;
        let b = gpu.upload(&network.parameters()[network.bias(l)], &[n])?;
        gpu.submit_pass(|pass| mlp.set_parameters(gpu, pass, l, &Parameters::new(&w, &b)))?;
    }
    Ok(mlp)
}
