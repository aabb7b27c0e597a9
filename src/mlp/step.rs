//! What an [`Mlp`] records for a batch: forward, loss, backward, update, and the four as one step.

use super::{Mlp, parameters::Parameters};
use crate::{
    affine::{Backward, Forward, Gradient},
    error::{Error, Result},
    gpu::{Gpu, record::Target, transfer::Tensor},
    operand::Operand,
    plan::{Plan, SgdRequest},
    request::Saved,
    setters::setters,
    shape,
    train::{LossScale, Sgd, SoftmaxCrossEntropy},
    view::View,
};

/// One minibatch and how far to go.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Step<'a> {
    /// Input `[.., K]`, M rows.
    pub x: View<'a>,
    /// Classes as u32 words, `[M]`.
    pub labels: View<'a>,
    /// Receives the loss of each row, `[M]`.
    pub loss: View<'a>,
    /// Learning rate, finite.
    pub rate: f32,
    /// Momentum, finite and not negative.
    pub momentum: f32,
}

impl<'a> Step<'a> {
    /// Plain descent at a rate.
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
    /// y of every layer for a batch `[.., K]`, one dispatch a layer.
    pub fn forward<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, x: View<'_>) -> Result<()> {
        let rows = self.rows(x)?;
        target.into().in_one_pass(|pass| self.record_forward(gpu, pass, x, rows))
    }

    /// The softmax cross-entropy of the logits that forward left, `[M]` for M labels, and its gradient.
    pub fn loss<'t, 'p: 't>(
        &self,
        gpu: &Gpu,
        target: impl Into<Target<'t, 'p>>,
        labels: View<'_>,
        loss: View<'_>,
    ) -> Result<()> {
        let rows = shape::elements(Operand::Labels, &labels.shape)? as usize;
        if rows > self.max_batch {
            return Err(Error::Shape {
                operand: Operand::Labels,
                expected: format!("at most {} labels, the largest batch", self.max_batch),
                got: format!("{rows}"),
            });
        }
        let Some(top) = self.layers.last() else { return Ok(()) };
        let logits = [rows, top.b.shape[0]];
        let (x, dx) = (top.y.view_as(&logits), top.dz.view_as(&logits));
        let loss_scale = self.loss_scale.as_ref().map(Tensor::view);
        let ignore_index = self.ignore_index;
        SoftmaxCrossEntropy::new(x, labels, loss, dx)
            .loss_scale(loss_scale)
            .ignore_index(ignore_index)
            .record(gpu, target)
    }

    /// All gradients, from the dz of the last layer and from what forward of this very batch left.
    pub fn backward<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, x: View<'_>) -> Result<()> {
        let rows = self.rows(x)?;
        target
            .into()
            .in_one_pass(|pass| self.backward_calls(rows, x, &mut |call| call.record(gpu, Target::Pass(&mut *pass))))
    }

    /// What backward of a batch will run, from the last layer to the first.
    pub fn backward_plans(&self, gpu: &Gpu, x: View<'_>) -> Result<Vec<Plan>> {
        let mut plans = Vec::with_capacity(self.layers.len());
        self.backward_calls(self.rows(x)?, x, &mut |call| {
            plans.push(call.plan(gpu)?);
            Ok(())
        })?;
        Ok(plans)
    }

    /// Descent with momentum on every w, b and α.
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

    /// A whole training step: forward, loss, backward, update; one pass.
    ///
    /// Shapes and rates are checked before anything is recorded. An error after that (memory, a lost device) may leave some of the
    /// calls in the pass: no update is among them.
    pub fn train<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, step: &Step<'_>) -> Result<()> {
        let rows = self.rows(step.x)?;
        if step.labels.shape != [rows] {
            return Err(Error::Shape {
                operand: Operand::Labels,
                expected: format!("[{rows}], a label for each row of x"),
                got: format!("{:?}", step.labels.shape),
            });
        }
        step.labels.words(Operand::Labels)?;
        SgdRequest::check_rates(step.rate, step.momentum)?;
        target.into().in_one_pass(|pass| {
            self.record_forward(gpu, pass, step.x, rows)?;
            self.loss(gpu, Target::Pass(&mut *pass), step.labels, step.loss)?;
            self.backward_calls(rows, step.x, &mut |call| call.record(gpu, Target::Pass(&mut *pass)))?;
            self.step(gpu, Target::Pass(&mut *pass), step.rate, step.momentum)
        })
    }

    fn record_forward(&self, gpu: &Gpu, pass: &mut wgpu::ComputePass<'_>, x: View<'_>, rows: usize) -> Result<()> {
        let shapes = self.shapes(rows);
        (0..self.layers.len()).try_for_each(|index| self.call(index, x, &shapes).record(gpu, Target::Pass(&mut *pass)))
    }

    /// A layer on this batch: forward is recorded, and backward made from it.
    fn call<'a>(&'a self, index: usize, x: View<'a>, shapes: &'a [Shapes]) -> Forward<'a> {
        let (layer, shape) = (&self.layers[index], &shapes[index]);
        let Parameters { b, alpha, .. } = layer.among(&self.parameters);
        let (w, y) = (layer.w.of(self.copy.as_ref().unwrap_or(&self.parameters)), layer.y.view_as(&shape.y));
        Forward::new(layer.activation, self.input(index, x, shapes), w, y)
            .b(b)
            .alpha(alpha)
            .saved(layer.saved)
            .save_to(layer.kept.as_ref().map(|kept| kept.view_as(shape.kept(layer.saved))))
    }

    /// The chain from the last layer down: every dy is dz already, and every dx product hands dz to the layer below.
    fn backward_calls(
        &self,
        rows: usize,
        x: View<'_>,
        each: &mut dyn FnMut(&Backward<'_>) -> Result<()>,
    ) -> Result<()> {
        let shapes = self.shapes(rows);
        let dz = |index: usize| self.layers[index].dz.view_as(&shapes[index].y);
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let Parameters { w: dw, b: db, .. } = layer.among(&self.gradients);
            let mut call = self.call(index, x, &shapes).backward_from_dz(dz(index)).dw(dw);
            // The layers under the top have theirs from the chain.
            if index + 1 == self.layers.len() {
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

    fn shapes(&self, rows: usize) -> Vec<Shapes> {
        let shapes = |n: usize| Shapes { y: [rows, n], mask: [rows, n.div_ceil(32)] };
        self.layers.iter().map(|layer| shapes(layer.b.shape[0])).collect()
    }

    /// M, if x fits the first layer and the memory of a batch.
    fn rows(&self, x: View<'_>) -> Result<usize> {
        let (rows, columns) = shape::rows_and_columns(Operand::X, &x.shape)?;
        let k = self.layers.first().map_or(0, |layer| layer.w.shape[1]);
        if columns != k || rows > self.max_batch {
            return Err(Error::Shape {
                operand: Operand::X,
                expected: format!("[.., {k}] with at most {} rows, the largest batch", self.max_batch),
                got: format!("{:?}", x.shape),
            });
        }
        Ok(rows)
    }
}

/// The shapes of a layer's memory for one batch.
struct Shapes {
    y: [usize; 2],
    mask: [usize; 2],
}

impl Shapes {
    fn kept(&self, saved: Saved) -> &[usize; 2] {
        if saved == Saved::Mask { &self.mask } else { &self.y }
    }
}
