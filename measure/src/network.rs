//! A whole network on the GPU and on the CPU: inference and a training step, verified.

mod exact;
mod judge;
mod on_cpu;
mod perceptron;
mod rows;

use elbow::{
    Activation, Dtype, Float, Gpu, MatrixUnits, Tensor,
    gpu::record::Prepared,
    mlp::{Architecture, Batch, Mlp, Objective, Optimiser, Parameters},
    rates::{Rates, Rule},
    wgpu,
};

use self::{exact::Rounding, judge::Expected, on_cpu::OnCpu, rows::Rows};
pub use self::{
    on_cpu::Road,
    perceptron::{Design, Loss, Numbers, Perceptron},
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

/// The most steps until a loss scale has no gradient beyond f16: it halves at each.
const MOST_SCALES: usize = 40;

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
        let rows = Rows::new(network, batch)?;
        let data = rows.data(network, batch);
        let mlp = made(gpu, network, batch)?;
        let [x, targets, loss] = room(gpu, network.sizes(), network.design(), batch)?;
        gpu.write(&x, &data.x)?;
        match &data.targets {
            Targets::Numbers(values) => gpu.write(&targets, values)?,
            Targets::Classes(labels) => gpu.write(&targets, labels)?,
        }
        let step = mlp.prepare(gpu, &Batch::new(&x, &targets, &loss))?;
        let mut made =
            Network { device, network, data, mlp, x, targets, loss, step, road: Road::Layers, errors: [0.0; 2] };
        made.errors[0] = made.verify_gpu(&rows)?;
        let mut cpu = OnCpu::new(network, &made.data)?;
        made.errors[1] = cpu.verify(&Expected::new(network, &rows, batch, [Rounding::NONE; 2])?)?;
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

    /// Where the device rounds: between layers too, unless all of them are one dispatch.
    fn rounding(&self) -> Result<[Rounding; 2]> {
        let (gpu, x, storage) = (&self.device.gpu, self.x.view(), self.network.design().storage);
        let of = |dispatches: usize| {
            let whole = dispatches == 1 && self.network.layers() > 1;
            Rounding { ends: storage, between: if whole { Float::F32 } else { storage }, scale: 1.0 }
        };
        Ok([of(self.mlp.infer_plans(gpu, x)?.len()), of(self.mlp.backward_plans(gpu, x)?.len())])
    }

    /// Runs the first training step that counts: with a loss scale those are left out whose gradients are beyond f16. What the loss was
    /// multiplied by.
    fn first_step(&self) -> Result<f32> {
        let gpu = &self.device.gpu;
        for _ in 0..MOST_SCALES {
            gpu.submit_pass(|pass| self.record(Part::Step, pass))?;
            match self.mlp.loss_scale().map(|state| gpu.download(state)).transpose()?.as_deref() {
                None => return Ok(1.0),
                Some(&[_, inverse, ..]) if inverse > 0.0 => return Ok(1.0 / inverse),
                Some(_) => {}
            }
        }
        let what = format!("{}: a training step", self.network);
        Err(elbow::Error::Unsupported { what, why: "its gradients are beyond f16 by every loss scale".into() }.into())
    }

    fn verify_gpu(&self, rows: &Rows) -> Result<f64> {
        let gpu = &self.device.gpu;
        gpu.submit_pass(|pass| self.record(Part::Inference, pass))?;
        let inferred = gpu.download(self.output()?)?;
        let scale = self.first_step()?;
        let rounding = self.rounding()?.map(|rounding| Rounding { scale, ..rounding });
        let expected = Expected::new(self.network, rows, self.data.rows, rounding)?;
        let mut gradients = vec![0.0; self.network.elements()];
        let mut updated = gradients.clone();
        for l in 0..self.network.layers() {
            for (all, of_layer) in [(&mut gradients, self.mlp.gradients(l)), (&mut updated, self.mlp.parameters(l))] {
                let Some(Parameters { w, b, alpha, .. }) = of_layer else { continue };
                let places = [Some(self.network.weight(l)), Some(self.network.bias(l)), self.network.alpha(l)];
                for (view, place) in [Some(w), Some(b), alpha].into_iter().zip(places) {
                    if let (Some(view), Some(place)) = (view, place) {
                        all[place].copy_from_slice(&gpu.download(view)?);
                    }
                }
            }
            if let Some(stored) = self.mlp.stored_weight(l) {
                expected.judge_stored("GPU", l, &gpu.download(stored)?, &updated)?;
            }
        }
        let inferred = expected.judge_inference("GPU", &inferred)?;
        let y = expected.judge_y("GPU", &gpu.download(self.output()?)?)?;
        let loss = expected.judge_loss("GPU", &gpu.download(&self.loss)?)?;
        let of_gradients = expected.judge_gradients("GPU", &gradients)?;
        let of_update = expected.judge_update("GPU", &gradients, &updated)?;
        Ok([inferred, y, loss, of_gradients, of_update].into_iter().fold(0.0, f64::max))
    }
}

/// The architecture of such a network: what is timed, and what memory is counted of.
pub(crate) fn architecture<'a>(sizes: &'a [usize], design: &'a Design, batch: usize) -> Architecture<'a> {
    let objective = match design.loss.criterion() {
        Some(criterion) => Objective::Elements(criterion),
        None => Objective::Classes { label_smoothing: 0.0 },
    };
    Architecture::new(sizes, Activation::IDENTITY, batch)
        .activations(&design.activations[..])
        .alpha(design.alpha)
        .storage(design.storage)
        .objective(objective)
        .optimiser(Optimiser::new(RULE, RATES))
}

/// Memory of a batch on the device: x, targets and losses.
pub(crate) fn room(gpu: &Gpu, sizes: &[usize], design: &Design, batch: usize) -> Result<[Tensor; 3]> {
    let [inputs, .., outputs] = *sizes else {
        return Err(elbow::Error::Unsupported { what: format!("sizes {sizes:?}"), why: "no layers".into() }.into());
    };
    let targets = match design.loss.criterion() {
        Some(_) => gpu.zeros(&[batch, outputs])?,
        None => gpu.zeros_of(Dtype::U32, &[batch])?,
    };
    Ok([gpu.zeros_of(design.storage, &[batch, inputs])?, targets, gpu.zeros(&[batch])?])
}

/// The network on the device, with the numbers of the host's.
fn made(gpu: &Gpu, network: &Perceptron, batch: usize) -> Result<Mlp> {
    let mlp = Mlp::new(gpu, &architecture(network.sizes(), network.design(), batch), &mut || 0.0)?;
    let of = |place: std::ops::Range<usize>, shape: &[usize]| gpu.upload(&network.parameters()[place], shape);
    for l in 0..network.layers() {
        let [k, n] = network.shape(l);
        let (w, b) = (of(network.weight(l), &[n, k])?, of(network.bias(l), &[n])?);
        let alpha = network.alpha(l).map(|place| of(place.clone(), &[place.len()])).transpose()?;
        let values = Parameters::new(&w, &b).alpha(alpha.as_ref().map(Tensor::view));
        gpu.submit_pass(|pass| mlp.set_parameters(gpu, pass, l, &values))?;
    }
    Ok(mlp)
}
