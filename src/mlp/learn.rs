//! Training by a network's own optimiser, whose rates lie on the device: a batch is prepared once for a whole schedule.

use super::{Architecture, Mlp, Optimiser, parameters::ALIGN};
use crate::{
    activation::Activation,
    error::{Error, Result},
    gpu::{
        Gpu,
        record::{Prepared, Target},
        transfer::Tensor,
    },
    random,
    rates::{Place, Rule},
    setters::setters,
    train::{Advance, LossScale, Update},
    view::View,
};

/// A minibatch with its targets: the argument of [`Mlp::learn`].
///
/// ```no_run
/// use elbow::{Gpu, mlp::Batch};
/// let gpu = Gpu::new()?;
/// let (x, targets, loss) = (gpu.zeros(&[4, 2])?, gpu.zeros(&[4, 1])?, gpu.zeros(&[4])?);
/// let batch = Batch::new(&x, &targets, &loss);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// Input `[.., K]`, M rows.
    pub x: View<'a>,
    /// The class of each row, u32 words `[M]`, or what the outputs should be, M rows of N numbers: as the network's objective asks.
    pub targets: View<'a>,
    /// Receives the loss of each row, f32 `[M]`.
    pub loss: View<'a>,
}

impl<'a> Batch<'a> {
    /// Input, targets, and where the losses go.
    pub fn new(x: impl Into<View<'a>>, targets: impl Into<View<'a>>, loss: impl Into<View<'a>>) -> Self {
        Batch { x: x.into(), targets: targets.into(), loss: loss.into() }
    }
}

setters!(Batch<'a> {
    x: impl Into<View<'a>>,
    targets: impl Into<View<'a>>,
    loss: impl Into<View<'a>>,
});

/// What an optimiser keeps on the device, beside the first moments, which every network has.
#[derive(Debug, Clone)]
pub(super) struct Learning {
    rule: Rule,
    rates: Tensor,
    second: Option<Tensor>,
    factors: Tensor,
    clips: bool,
}

/// What a run of parameters belongs to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
    Weight,
    Bias,
    Alpha,
}

impl Learning {
    /// `parts`: of each run of [`ALIGN`] parameters.
    pub(super) fn new(gpu: &Gpu, optimiser: &Optimiser, parts: &[Part]) -> Result<Self> {
        let Optimiser { rule, rates } = *optimiser;
        let state = rates.state()?;
        let of = |on: bool| f32::from(u8::from(on));
        let factor = |&part: &Part| [1.0, of(part == Part::Weight), of(part == Part::Alpha), 0.0];
        let factors: Vec<f32> = parts.iter().flat_map(factor).collect();
        Ok(Learning {
            rule,
            rates: gpu.upload(&state, &[state.len()])?,
            second: match rule {
                Rule::AdamW => Some(gpu.zeros(&[parts.len() * ALIGN])?),
                _ => None,
            },
            factors: gpu.upload(&factors, &[parts.len(), 4])?,
            clips: rates.max_norm.is_finite(),
        })
    }

    #[cfg(feature = "safetensors")]
    pub(super) fn rule(&self) -> Rule {
        self.rule
    }

    /// The means of squared gradients, if the rule has them.
    #[cfg(feature = "safetensors")]
    pub(super) fn second(&self) -> Option<&Tensor> {
        self.second.as_ref()
    }
}

impl Mlp {
    /// The state of the optimiser's rates on the device, f32 `[12]` in the order of [`Place`]; None without an optimiser. A schedule writes
    /// there, by [`Mlp::set_rate`] or as it likes; steps and the norm of the gradients can be read.
    pub fn rates(&self) -> Option<&Tensor> {
        self.learning.as_ref().map(|learning| &learning.rates)
    }

    /// Sets the learning rate for all submissions to come: four bytes are written, nothing is allocated or recorded.
    /// [`Error::Unsupported`] without an optimiser, [`Error::BadParameter`] for a rate that is not finite.
    ///
    /// ```no_run
    /// use elbow::mlp::{Architecture, Batch, Mlp, Optimiser};
    /// use elbow::rates::{Rates, Rule};
    /// use elbow::{Activation, Gpu};
    /// let gpu = Gpu::new()?;
    /// let optimiser = Optimiser::new(Rule::AdamW, Rates::adamw(1e-3));
    /// let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4).optimiser(optimiser), 7)?;
    /// let (x, labels, loss) = (gpu.zeros(&[4, 2])?, gpu.upload_words(&[0, 1, 2, 0], &[4])?, gpu.zeros(&[4])?);
    /// let step = mlp.prepare(&gpu, &Batch::new(&x, &labels, &loss))?;
    /// for i in 0..1000 {
    ///     mlp.set_rate(&gpu, 1e-3 * (1.0 - i as f32 / 1000.0))?;
    ///     gpu.submit_pass(|pass| step.record(pass))?;
    /// }
    /// println!("{:?}", mlp.rates().map(|rates| gpu.download(rates)).transpose()?); // steps, norm of the gradients, ..
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn set_rate(&self, gpu: &Gpu, rate: f32) -> Result<()> {
        let learning = self.learning()?;
        if !rate.is_finite() {
            let (of, parameter) = ("rates".into(), "rate".into());
            return Err(Error::BadParameter {
                of,
                parameter,
                expected: "a finite number".into(),
                got: rate.to_string(),
            });
        }
        let at = Place::Rate as usize;
        gpu.write(learning.rates.view().slice(0, at..at + 1)?, &[rate])
    }

    /// Records a whole training step by the network's optimiser in one pass: forward, loss, backward, update. Nothing is recorded after an
    /// error. [`Error::Unsupported`] without an optimiser.
    ///
    /// A regression in ten lines:
    ///
    /// ```no_run
    /// use elbow::criterion::Criterion;
    /// use elbow::mlp::{Architecture, Batch, Mlp, Optimiser};
    /// use elbow::rates::{Rates, Rule};
    /// use elbow::{Activation, Gpu};
    /// let gpu = Gpu::new()?;
    /// let architecture = Architecture::new(&[1, 32, 1], Activation::TANH, 64).objective(Criterion::SquaredError);
    /// let mlp = Mlp::seeded(&gpu, &architecture.optimiser(Optimiser::new(Rule::AdamW, Rates::adamw(0.01))), 7)?;
    /// let points: Vec<f32> = (0..64).map(|i| i as f32 / 10.0 - 3.2).collect();
    /// let x = gpu.upload(&points, &[64, 1])?;
    /// let targets = gpu.upload(&points.iter().map(|v| v.sin()).collect::<Vec<f32>>(), &[64, 1])?;
    /// let loss = gpu.zeros(&[64])?;
    /// for _ in 0..500 {
    ///     gpu.submit_pass(|pass| mlp.learn(&gpu, pass, &Batch::new(&x, &targets, &loss)))?;
    /// }
    /// println!("{}", gpu.download(&loss)?.iter().sum::<f32>() / 64.0);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    ///
    /// A classification, in the same lines but for the objective's default and the labels:
    ///
    /// ```no_run
    /// use elbow::mlp::{Architecture, Batch, Mlp, Optimiser};
    /// use elbow::rates::{Rates, Rule};
    /// use elbow::{Activation, Gpu};
    /// let gpu = Gpu::new()?;
    /// let optimiser = Optimiser::new(Rule::Nesterov, Rates::sgd(0.2).momentum(0.9));
    /// let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 16, 2], Activation::RELU, 4).optimiser(optimiser), 7)?;
    /// let x = gpu.upload(&[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], &[4, 2])?;
    /// let (labels, loss) = (gpu.upload_words(&[0, 1, 1, 0], &[4])?, gpu.zeros(&[4])?);
    /// for _ in 0..100 {
    ///     gpu.submit_pass(|pass| mlp.learn(&gpu, pass, &Batch::new(&x, &labels, &loss)))?;
    /// }
    /// println!("{:?}", gpu.download(&loss)?);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn learn<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, batch: &Batch<'_>) -> Result<()> {
        self.prepare(gpu, batch)?.record(target)
    }

    /// [`Mlp::learn`] checked, planned and bound once, for any number of steps on the same buffers: their contents and the rates may change
    /// from step to step. [`Mlp::set_rate`] has an example.
    pub fn prepare(&self, gpu: &Gpu, batch: &Batch<'_>) -> Result<Prepared> {
        self.learning()?;
        let Batch { x, targets, loss } = *batch;
        let rows = self.rows(x)?;
        self.check_targets(targets, rows)?;
        let mut calls = Vec::new();
        self.training_calls(gpu, rows, x, &mut |call| {
            calls.push(call.prepare(gpu)?);
            Ok(())
        })?;
        calls.push(self.prepared_loss(gpu, targets, loss, rows)?);
        self.gradient_calls(gpu, rows, x, &mut |call| {
            calls.push(call.prepare(gpu)?);
            Ok(())
        })?;
        calls.extend(self.prepared_update(gpu)?);
        Ok(Prepared::joined(gpu, calls))
    }

    /// Records the update of every w, b and α from the gradients by the network's optimiser, after a backward.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Mlp, View};
    /// # fn own_loss(gpu: &Gpu, mlp: &Mlp, x: View<'_>) -> elbow::Result<()> {
    /// gpu.submit_pass(|pass| {
    ///     mlp.backward(gpu, &mut *pass, x)?; // from dz of the last layer
    ///     mlp.update(gpu, pass)
    /// })
    /// # }
    /// ```
    pub fn update<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>) -> Result<()> {
        Prepared::joined(gpu, self.prepared_update(gpu)?).record(target)
    }

    fn prepared_update(&self, gpu: &Gpu) -> Result<Vec<Prepared>> {
        let Learning { rule, rates, second, factors, clips } = self.learning()?;
        let mut calls = Vec::new();
        let loss_scale = self.loss_scale.as_ref().map(Tensor::view);
        if let Some(state) = loss_scale {
            calls.push(LossScale::new(&self.gradients, state).prepare(gpu)?);
        }
        let clipped = clips.then(|| self.gradients.view());
        calls.push(Advance::new(rates).clipped(clipped).loss_scale(loss_scale).prepare(gpu)?);
        let update = match second {
            Some(second) => Update::adamw(&self.parameters, &self.gradients, rates, &self.velocity, second),
            None => Update::sgd(&self.parameters, &self.gradients, rates).velocity(self.velocity.view()).rule(*rule),
        };
        let copy = self.copy.as_ref().map(Tensor::view);
        calls.push(update.factors(factors.view()).copy(copy).prepare(gpu)?);
        Ok(calls)
    }

    fn learning(&self) -> Result<&Learning> {
        self.learning.as_ref().ok_or_else(|| Error::Unsupported {
            what: "an update of a network without an optimiser".into(),
            why: "Architecture::optimiser gives it one; Mlp::train and Mlp::step take rates of the call".into(),
        })
    }

    /// Allocates, and initialises on the device: weights by [`Architecture::initialisation`], the numbers of layer l being stream l of the
    /// seed ([`random::fill`]), so that they are the same on every device; biases are 0, α is the activation's own.
    /// The fills are submitted; nothing waits. Errors as for [`Mlp::new`].
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, initialisation::Initialisation, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let each = [Activation::TANH, Activation::GELU_ERF, Activation::IDENTITY];
    /// let architecture = Architecture::new(&[64, 128, 128, 10], Activation::TANH, 256).activations(&each[..]);
    /// let mlp = Mlp::seeded(&gpu, &architecture.initialisation(Initialisation::Critical), 7)?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn seeded(gpu: &Gpu, architecture: &Architecture<'_>, seed: u64) -> Result<Self> {
        let mlp = Mlp::allocated(gpu, architecture, &|_, _| 0.0, &mut || 0.0)?;
        let mut below = Activation::IDENTITY;
        let mut calls = Vec::new();
        for (stream, layer) in mlp.layers.iter().enumerate() {
            let [n, k] = layer.w.shape;
            let spread = architecture.initialisation.distribution(below, k, n);
            for all in [Some(&mlp.parameters), mlp.copy.as_ref()].into_iter().flatten() {
                calls.push(random::fill(layer.w.of(all), spread, seed).stream(stream as u32).prepare(gpu)?);
            }
            below = layer.activation;
        }
        gpu.submit_pass(|pass| Prepared::joined(gpu, calls).record(pass))?;
        Ok(mlp)
    }
}
