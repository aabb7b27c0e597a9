//! Updates with rates on the device against the reference, over a whole schedule.

use elbow::{
    Float, Gpu, Tensor, View,
    cpu::reference::Updated,
    rates::{Place, Rates, Rule},
    train::{Advance, Update},
};

use crate::{Numbers, close::Close, ulp::ulp_of};

/// Steps of a schedule, and the one whose gradient has an infinity: it is left out.
const STEPS: usize = 20;
const BAD: usize = 7;
/// Beside the operands.
const CANARY: f32 = -7.0;
/// Neighbours that share their factors.
const RUN: usize = 128;

/// Twenty steps of a schedule: one prepared pair of calls, one number written a step.
///
/// ```no_run
/// use elbow::{Gpu, rates::{Rates, Rule}};
/// use elbow_verify::Schedule;
/// Schedule::new(Rule::AdamW, Rates::adamw(0.02), 1000).check(&Gpu::new()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// How parameters follow.
    pub rule: Rule,
    /// The rates of the first step; the learning rate then falls.
    pub rates: Rates,
    /// Number of parameters.
    pub elements: usize,
    /// Of the operands in their buffers.
    pub offset: usize,
    /// Whether runs of parameters have factors.
    pub factors: bool,
    /// The type of a copy.
    pub copy: Option<Float>,
    /// The loss scale.
    pub scale: Option<f32>,
}

/// What the steps have left.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    /// The state of the rates after each step.
    pub states: Vec<Vec<f32>>,
    /// The parameters after the last, with what is beside them.
    pub parameter: Vec<f32>,
    /// Their copy, alike.
    pub copy: Option<Vec<f32>>,
}

impl Schedule {
    /// Without factors, copy, offset or loss scale.
    pub fn new(rule: Rule, rates: Rates, elements: usize) -> Self {
        Schedule { rule, rates, elements, offset: 0, factors: false, copy: None, scale: None }
    }

    /// The parameters before the first step, and the gradient of each, not scaled.
    fn numbers(&self) -> (Vec<f32>, Vec<Vec<f32>>) {
        let n = self.elements;
        let mut numbers = Numbers::new(n as u64 + 3);
        let theta = (0..n).map(|_| numbers.normal()).collect();
        let mut gradient = |step: usize, i: usize| match step == BAD && i == n / 2 {
            true => f32::INFINITY,
            false => 0.1 * numbers.normal() * 10f32.powi(i as i32 % 5 - 2),
        };
        let gradients = (0..STEPS).map(|step| (0..n).map(|i| gradient(step, i)).collect()).collect();
        (theta, gradients)
    }

    fn rate(&self, step: usize) -> f32 {
        self.rates.rate * (1.0 - step as f32 / 25.0)
    }

    fn factors(&self, run: usize) -> [f32; 3] {
        if self.factors { [1.0, (run % 2) as f32, (run % 3) as f32] } else { [1.0; 3] }
    }

    /// All steps on the device.
    pub async fn run_async(&self, gpu: &Gpu) -> elbow::Result<Stepped> {
        let Schedule { rule, elements: n, offset, .. } = *self;
        let (theta, gradients) = self.numbers();
        let room = n + offset + 4;
        let padded = |v: &[f32]| {
            let mut all = vec![CANARY; room];
            all[offset..offset + n].copy_from_slice(v);
            gpu.upload(&all, &[room])
        };
        let zeros = vec![0.0; n];
        let (parameter, gradient) = (padded(&theta)?, padded(&theta)?);
        let (first, second) = (padded(&zeros)?, padded(&zeros)?);
        let copied = self.copy.map(|dtype| gpu.upload_as(dtype, &vec![CANARY; room], &[room])).transpose()?;
        let runs = n.div_ceil(RUN);
        // The fourth is not used.
        let factors: Vec<f32> = (0..runs).flat_map(|run| [&self.factors(run)[..], &[f32::NAN]].concat()).collect();
        let factors = gpu.upload(&factors, &[runs, 4])?;
        let rates = gpu.upload(&self.rates.state()?, &[12])?;
        let scale = self.scale.map(|scale| gpu.upload(&[scale, 1.0 / scale, 0.0, 0.0], &[4])).transpose()?;
        let [theta, g, m] = [&parameter, &gradient, &first].map(|tensor| part(tensor, offset, n));
        let (theta, g, m) = (theta?, g?, m?);
        let update = match rule {
            Rule::AdamW => Update::adamw(theta, g, &rates, m, part(&second, offset, n)?),
            _ => Update::sgd(theta, g, &rates).velocity(m).rule(rule),
        };
        let update = update.factors(self.factors.then(|| factors.view()));
        let update = update.copy(copied.as_ref().map(|copied| part(copied, offset, n)).transpose()?);
        let advance = Advance::new(&rates).clipped(g).loss_scale(scale.as_ref().map(Tensor::view));
        let (advance, update) = (advance.prepare(gpu)?, update.prepare(gpu)?);
        let mut states = Vec::new();
        for (step, gradient) in gradients.iter().enumerate() {
            let scaled: Vec<f32> = gradient.iter().map(|g| g * self.scale.unwrap_or(1.0)).collect();
            gpu.write(g, &scaled)?;
            gpu.write(part(&rates, Place::Rate as usize, 1)?, &[self.rate(step)])?;
            gpu.submit_pass(|pass| {
                advance.record(&mut *pass)?;
                update.record(pass)
            })?;
            states.push(gpu.download_async(&rates).await?);
        }
        let copy = match &copied {
            Some(copied) => Some(gpu.download_async(copied).await?),
            None => None,
        };
        Ok(Stepped { states, parameter: gpu.download_async(&parameter).await?, copy })
    }

    /// Runs it and judges the results.
    pub async fn check_async(&self, gpu: &Gpu) -> Result<Close, String> {
        self.judge(&self.run_async(gpu).await.map_err(|error| error.to_string())?)
    }

    /// The largest error as a share of its bound; what is wrong if one is beyond it.
    pub fn judge(&self, got: &Stepped) -> Result<Close, String> {
        let Schedule { rule, rates, elements: n, offset, .. } = *self;
        let (theta, gradients) = self.numbers();
        let mut right = Updated::new(&theta);
        let mut close = Close::default();
        for (step, (gradient, state)) in gradients.iter().zip(&got.states).enumerate() {
            if step != BAD {
                let stepped = right.step(rule, &rates.rate(self.rate(step)), gradient, |i| self.factors(i / RUN));
                stepped.map_err(|error| error.to_string())?;
                let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                let name = || format!("norm of step {step}");
                close.see(state[Place::Norm as usize], norm, 1e-6 * norm, 0.0, name)?;
            }
            let counted = state[Place::Steps as usize];
            if counted != right.steps as f32 {
                return Err(format!("after step {step}, {counted} are counted, expected {}", right.steps));
            }
            let lacking = 1.0 - f64::from(rates.beta2).powi(right.steps);
            let name = || format!("1 - beta2^{}", right.steps);
            close.see(state[Place::Lacking2 as usize], lacking, 4.0 * ulp_of(lacking), 0.0, name)?;
        }
        let outside = |v: &[f32]| v[..offset].iter().chain(&v[offset + n..]).any(|&v| v != CANARY);
        if outside(&got.parameter) || got.copy.as_ref().is_some_and(|copy| outside(copy)) {
            return Err("written beside the parameters, or beside their copy".into());
        }
        let parameter = &got.parameter[offset..offset + n];
        for (i, (&got, &right)) in parameter.iter().zip(&right.parameter).enumerate() {
            // Twenty steps, each a few roundings of a parameter that may have been larger.
            let allowed = 80.0 * ulp_of(right.abs().max(f64::from(theta[i]).abs()).max(0.05));
            close.see(got, right, allowed, 0.0, || format!("parameter[{i}]"))?;
        }
        if rates.l1 > 0.0 && !self.factors && n >= 1000 && !parameter.contains(&0.0) {
            return Err("no parameter became 0, in spite of the penalty".into());
        }
        if let (Some(copy), Some(dtype)) = (&got.copy, self.copy) {
            for (i, (&copy, &parameter)) in copy[offset..].iter().zip(parameter).enumerate() {
                if copy != dtype.round(parameter) {
                    return Err(format!("copy[{i}] is {copy:e}, expected {:e}, as stored", dtype.round(parameter)));
                }
            }
        }
        Ok(close)
    }
}

fn part(tensor: &Tensor, from: usize, count: usize) -> elbow::Result<View<'_>> {
    tensor.view().slice(0, from..from + count)
}
