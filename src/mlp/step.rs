//! The calls of an [`Mlp`] for a batch: forward, loss, backward, update, and all four as one training step.

use super::{Mlp, Objective, call::Each, parameters::Parameters};
use crate::{
    activation::Activation,
    affine::{Forward, Gradient},
    error::{Error, Result},
    gpu::{
        Gpu,
        record::{Prepared, Target},
        transfer::Tensor,
    },
    operand::Operand,
    operands::expect_rows,
    plan::{Plan, SgdRequest},
    request::Saved,
    setters::setters,
    shape,
    train::{Loss, LossScale, Sgd, SoftmaxCrossEntropy},
    view::View,
};

/// A minibatch with its labels, and the rates of the update: the argument of [`Mlp::train`].
///
/// ```no_run
/// use elbow::{Gpu, mlp::Step};
/// let gpu = Gpu::new()?;
/// let (x, labels, loss) = (gpu.zeros(&[4, 2])?, gpu.upload_words(&[0, 1, 1, 0], &[4])?, gpu.zeros(&[4])?);
/// let step = Step::new(&x, &labels, &loss, 0.2).momentum(0.9);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Step<'a> {
    /// Input `[.., K]`, M rows.
    pub x: View<'a>,
    /// The class of each row, u32 words `[M]`; with an elementwise objective what the outputs should be, M rows of N numbers.
    pub labels: View<'a>,
    /// Receives the loss of each row, f32 `[M]`.
    pub loss: View<'a>,
    /// Learning rate, finite.
    pub rate: f32,
    /// Momentum, finite and not negative; 0 after `new`.
    pub momentum: f32,
}

impl<'a> Step<'a> {
    /// Plain gradient descent, without momentum.
    pub fn new(x: impl Into<View<'a>>, labels: impl Into<View<'a>>, loss: impl Into<View<'a>>, rate: f32) -> Self {
        Step { x: x.into(), labels: labels.into(), loss: loss.into(), rate, momentum: 0.0 }
    }
}

setters!(Step<'a> {
    x: impl Into<View<'a>>,
    labels: impl Into<View<'a>>,
    loss: impl Into<View<'a>>,
    rate: f32,
    momentum: f32,
});

impl Mlp {
    /// Records y of every layer for a batch x `[.., K]` of at most `max_batch` rows, one dispatch a layer.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), &mut || 0.5)?;
    /// let x = gpu.zeros(&[4, 2])?;
    /// gpu.submit(|encoder| mlp.forward(&gpu, encoder, x.view()))?;
    /// if let Some(logits) = mlp.output(1) {
    ///     println!("{:?}", gpu.download(logits)?); // [4, 3]
    /// }
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn forward<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, x: View<'_>) -> Result<()> {
        let rows = self.rows(x)?;
        target.into().in_one_pass(|pass| self.forward_calls(rows, x, &mut |call| call.in_pass(gpu, &mut *pass)))
    }

    /// Records the network's loss of the outputs that forward wrote, for M labels (or M rows of targets), into `loss` `[M]`, and its gradient
    /// into dz of the last layer.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), &mut || 0.5)?;
    /// let (x, labels, loss) = (gpu.zeros(&[4, 2])?, gpu.upload_words(&[0, 1, 2, 0], &[4])?, gpu.zeros(&[4])?);
    /// gpu.submit_pass(|pass| {
    ///     mlp.forward(&gpu, &mut *pass, x.view())?;
    ///     mlp.loss(&gpu, &mut *pass, labels.view(), loss.view())
    /// })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn loss<'t, 'p: 't>(
        &self,
        gpu: &Gpu,
        target: impl Into<Target<'t, 'p>>,
        labels: View<'_>,
        loss: View<'_>,
    ) -> Result<()> {
        let rows = match self.objective {
            Objective::Classes { .. } => shape::elements(Operand::Labels, &labels.shape)? as usize,
            Objective::Elements(_) => shape::rows_and_columns(Operand::Targets, &labels.shape)?.0,
        };
        self.prepared_loss(gpu, labels, loss, rows)?.record(target)
    }

    /// The loss of the first rows of the last layer's output, bound; its gradient goes into the same rows of dz.
    pub(super) fn prepared_loss(&self, gpu: &Gpu, targets: View<'_>, loss: View<'_>, rows: usize) -> Result<Prepared> {
        self.check_loss()?;
        if rows > self.max_batch {
            let (operand, what) = match self.objective {
                Objective::Classes { .. } => (Operand::Labels, "labels"),
                Objective::Elements(_) => (Operand::Targets, "rows"),
            };
            return Err(Error::Shape {
                operand,
                expected: format!("at most {} {what}, because of max_batch", self.max_batch),
                got: format!("{rows}"),
            });
        }
        let Some(top) = self.layers.last() else { return Ok(Prepared::joined(gpu, Vec::new())) };
        let shape = [rows, top.b.shape[0]];
        let (y, dy) = (top.y.view_as(&shape), top.dz.view_as(&shape));
        let loss_scale = self.loss_scale.as_ref().map(Tensor::view);
        match self.objective {
            Objective::Classes { label_smoothing } => SoftmaxCrossEntropy::new(y, targets, loss, dy)
                .loss_scale(loss_scale)
                .ignore_index(self.ignore_index)
                .label_smoothing(label_smoothing)
                .prepare(gpu),
            Objective::Elements(criterion) => {
                Loss::new(criterion, y, targets, loss, dy).loss_scale(loss_scale).prepare(gpu)
            }
        }
    }

    /// An error if targets are not what the objective asks of so many rows.
    pub(super) fn check_targets(&self, targets: View<'_>, rows: usize) -> Result<()> {
        self.check_loss()?;
        match self.objective {
            Objective::Classes { .. } if targets.shape != [rows] => Err(Error::Shape {
                operand: Operand::Labels,
                expected: format!("[{rows}], a label for each row of x"),
                got: format!("{:?}", targets.shape),
            }),
            Objective::Classes { .. } => targets.words(Operand::Labels),
            Objective::Elements(_) => {
                let n = self.layers.last().map_or(0, |top| top.b.shape[0]);
                expect_rows(Operand::Targets, targets, rows, n)
            }
        }
    }

    /// Records all gradients ([`Mlp::gradients`]) from dz of the last layer, after forward of the same batch x.
    ///
    /// Where the plan expects it to be faster these are [two dispatches](crate::network::Backward) for all layers: hidden layers of one size of at
    /// most 32 columns, wider ones up to 128 for few rows, on a GPU; jets too. Then nothing of forward is needed but the last y for the loss:
    /// [`Mlp::train`], [`Mlp::learn`] and [`Mlp::forward_for_backward`] leave the rest out. Anything else is computed layer by layer.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), &mut || 0.5)?;
    /// let (x, labels, loss) = (gpu.zeros(&[4, 2])?, gpu.upload_words(&[0, 1, 2, 0], &[4])?, gpu.zeros(&[4])?);
    /// gpu.submit_pass(|pass| {
    ///     mlp.forward(&gpu, &mut *pass, x.view())?;
    ///     mlp.loss(&gpu, &mut *pass, labels.view(), loss.view())?;
    ///     mlp.backward(&gpu, &mut *pass, x.view())?;
    ///     mlp.step(&gpu, &mut *pass, 0.1, 0.9) // rate, momentum
    /// })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn backward<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, x: View<'_>) -> Result<()> {
        let rows = self.rows(x)?;
        target.into().in_one_pass(|pass| self.gradient_calls(gpu, rows, x, &mut |call| call.in_pass(gpu, &mut *pass)))
    }

    /// The plans of backward for a batch: one for all layers, or from the last layer to the first.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), &mut || 0.5)?;
    /// for plan in mlp.backward_plans(&gpu, gpu.zeros(&[4, 2])?.view())? {
    ///     println!("{plan}");
    /// }
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn backward_plans(&self, gpu: &Gpu, x: View<'_>) -> Result<Vec<Plan>> {
        let mut plans = Vec::with_capacity(self.layers.len());
        self.gradient_calls(gpu, self.rows(x)?, x, &mut |call| {
            plans.push(call.plan(gpu)?);
            Ok(())
        })?;
        Ok(plans)
    }

    /// Records the update of every w, b and α from the gradients: [`Sgd`] with this rate and momentum. [`Mlp::backward`] has an example.
    pub fn step<'t, 'p: 't>(
        &self,
        gpu: &Gpu,
        target: impl Into<Target<'t, 'p>>,
        rate: f32,
        momentum: f32,
    ) -> Result<()> {
        SgdRequest::check_rates(rate, momentum)?;
        target.into().in_one_pass(|pass| {
            let loss_scale = self.loss_scale.as_ref().map(Tensor::view);
            if let Some(state) = loss_scale {
                LossScale::new(&self.gradients, state).record(gpu, Target::Pass(&mut *pass))?;
            }
            Sgd::new(&self.parameters, &self.gradients, &self.velocity, rate)
                .momentum(momentum)
                .copy(self.copy.as_ref().map(Tensor::view))
                .loss_scale(loss_scale)
                .record(gpu, Target::Pass(pass))
        })
    }

    /// Records a whole training step in one pass: forward, loss, backward, update.
    ///
    /// Shapes and rates are checked before anything is recorded. After any other error (out of memory, a lost device) some of the
    /// calls may be in the pass, but not the update.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp, Step}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), &mut || 0.5)?;
    /// let (x, labels, loss) = (gpu.zeros(&[4, 2])?, gpu.upload_words(&[0, 1, 2, 0], &[4])?, gpu.zeros(&[4])?);
    /// gpu.submit_pass(|pass| mlp.train(&gpu, pass, &Step::new(&x, &labels, &loss, 0.1)))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn train<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, step: &Step<'_>) -> Result<()> {
        let rows = self.rows(step.x)?;
        self.check_targets(step.labels, rows)?;
        SgdRequest::check_rates(step.rate, step.momentum)?;
        target.into().in_one_pass(|pass| {
            self.training_calls(gpu, rows, step.x, &mut |call| call.in_pass(gpu, &mut *pass))?;
            self.loss(gpu, Target::Pass(&mut *pass), step.labels, step.loss)?;
            self.gradient_calls(gpu, rows, step.x, &mut |call| call.in_pass(gpu, &mut *pass))?;
            self.step(gpu, Target::Pass(&mut *pass), step.rate, step.momentum)
        })
    }

    /// An error if the rows of a batch are not examples with a label each.
    fn check_loss(&self) -> Result<()> {
        match self.jet {
            None => Ok(()),
            Some(_) => Err(Error::Unsupported {
                what: "the loss of a network with jets".into(),
                why: "most of its rows are derivatives: write dz of the last layer from a loss of your own".into(),
            }),
        }
    }

    /// Forward of every layer, with what its backward needs.
    pub(super) fn forward_calls(&self, rows: usize, x: View<'_>, each: Each<'_>) -> Result<()> {
        let shapes = self.shapes(rows);
        (0..self.layers.len()).try_for_each(|index| each(&self.call(index, x, &shapes)))
    }

    /// The call of a layer on this batch, for forward and for making its backward.
    pub(super) fn call<'a>(&'a self, index: usize, x: View<'a>, shapes: &'a [Shapes]) -> Forward<'a> {
        let (layer, shape) = (&self.layers[index], &shapes[index]);
        let Parameters { b, alpha, .. } = layer.among(&self.parameters);
        let (w, y) = (layer.w.of(self.copy.as_ref().unwrap_or(&self.parameters)), layer.y.view_as(&shape.y));
        Forward::new(layer.activation, self.input(index, x, shapes), w, y)
            .b(b)
            .alpha(alpha)
            .jet(self.jet)
            .saved(layer.saved)
            .save_to(layer.kept.as_ref().map(|kept| kept.view_as(shape.kept(layer.saved))))
    }

    /// The chain from the last layer to the first: each call starts from dz, and its dx product writes dz of the layer below. A last layer that
    /// is not linear starts from dy, which then lies where dz does.
    pub(super) fn backward_calls(&self, rows: usize, x: View<'_>, each: Each<'_>) -> Result<()> {
        let shapes = self.shapes(rows);
        let dz = |index: usize| self.layers[index].dz.view_as(&shapes[index].y);
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let Parameters { w: dw, b: db, alpha: dalpha } = layer.among(&self.gradients);
            let top = index + 1 == self.layers.len();
            let forward = self.call(index, x, &shapes);
            let mut call = match top && layer.activation != Activation::IDENTITY {
                true => forward.backward(dz(index)).dalpha(dalpha.map(Gradient::overwrite)),
                false => forward.backward_from_dz(dz(index)),
            };
            call = call.dw(dw);
            // db of the other layers comes from the call above them (`db_below`).
            if top {
                call = call.db(db);
            }
            if let Some(below) = index.checked_sub(1) {
                let Parameters { b: db, alpha: dalpha, .. } = self.layers[below].among(&self.gradients);
                call = call.dx(dz(below)).below(&self.call(below, x, &shapes)).db_below(db);
                call = call.dalpha_below(dalpha.map(Gradient::overwrite));
            }
            each(&call)?;
        }
        Ok(())
    }

    fn input<'a>(&'a self, index: usize, x: View<'a>, shapes: &'a [Shapes]) -> View<'a> {
        match index.checked_sub(1) {
            Some(below) => self.layers[below].y.view_as(&shapes[below].y),
            None => x,
        }
    }

    pub(super) fn shapes(&self, rows: usize) -> Vec<Shapes> {
        let shapes = |n: usize| Shapes { y: [rows, n], mask: [rows, n.div_ceil(32)] };
        self.layers.iter().map(|layer| shapes(layer.b.shape[0])).collect()
    }

    /// M, the rows of x; an error if x does not fit the first layer or is larger than the memory of a batch.
    pub(super) fn rows(&self, x: View<'_>) -> Result<usize> {
        let (rows, columns) = shape::rows_and_columns(Operand::X, &x.shape)?;
        let k = self.layers.first().map_or(0, |layer| layer.w.shape[1]);
        if columns != k || rows > self.max_batch {
            return Err(Error::Shape {
                operand: Operand::X,
                expected: format!("[.., {k}] with at most {} rows, because of max_batch", self.max_batch),
                got: format!("{:?}", x.shape),
            });
        }
        Ok(rows)
    }
}

/// The shapes of a layer's memory for a number of rows.
pub(super) struct Shapes {
    y: [usize; 2],
    mask: [usize; 2],
}

impl Shapes {
    fn kept(&self, saved: Saved) -> &[usize; 2] {
        if saved == Saved::Mask { &self.mask } else { &self.y }
    }
}
