//! A stack of dense layers that lives on the device: y₀ = x, y_l = act(y_{l−1}·W_lᵀ + b_l; α_l), the last layer linear.
//!
//! A convenience over [`affine`](crate::affine) and [`train`](crate::train): it owns memory and nothing else. Everything is recorded into the
//! caller's encoder or pass, so that a whole training step can be one pass and one submission. Backward is a chain: the dx
//! product of each layer applies the slope of the layer below, so dz of a hidden layer is written once and no pass of its
//! own is spent on it.

use crate::{
    activation::Activation,
    affine::{Backward, Forward, Gradient},
    dtype::{Dtype, Float},
    elementwise,
    error::{Error, Result},
    gpu::{
        Gpu,
        record::{Prepared, Target},
        transfer::Tensor,
    },
    operand::Operand,
    operands::wrong_shape,
    plan::{Plan, SgdRequest},
    request::{AffineRequest, AlphaSource, Saved},
    shape,
    storage::Storage,
    train::{LossScale, Sgd, SoftmaxCrossEntropy},
    view::View,
};

/// What an [`Mlp`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct Architecture<'a> {
    /// Features of the input, of each hidden layer, and of the output: `[64, 128, 64, 10]` has three layers.
    pub sizes: &'a [usize],
    /// The activation of every hidden layer; the last layer is linear.
    pub activation: Activation,
    /// Where its α comes from; a learnable one starts at the activation's own number.
    pub alpha: AlphaSource,
    /// The largest batch that will come.
    pub max_batch: usize,
    /// The type in which the products read weights and in which the layers leave y, z and dz. With f16 or bf16 training
    /// is of mixed precision: parameters, their gradients and velocities stay f32, and so do the sums of the products;
    /// with f16 the loss is scaled ([`LossScale`]).
    pub storage: Float,
    /// Rows with this label have no loss and no gradient, and are not counted in the mean
    /// ([`SoftmaxCrossEntropy::ignore_index`]); a token of padding, for instance.
    pub ignore_index: Option<u32>,
}

impl<'a> Architecture<'a> {
    /// A constant α, everything in f32.
    pub fn new(sizes: &'a [usize], activation: Activation, max_batch: usize) -> Self {
        Architecture {
            sizes,
            activation,
            alpha: AlphaSource::Constant,
            max_batch,
            storage: Float::F32,
            ignore_index: None,
        }
    }
}

/// One minibatch and how far to go.
#[derive(Debug, Clone, Copy)]
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

/// A multi-layer perceptron on the device: parameters, their gradients, and the memory of a batch, allocated once.
#[derive(Debug, Clone)]
pub struct Mlp {
    layers: Vec<Layer>,
    max_batch: usize,
    ignore_index: Option<u32>,
    /// All parameters side by side, so that one dispatch updates them; gradients and velocities lie the same way.
    parameters: Tensor,
    gradients: Tensor,
    velocity: Tensor,
    /// The parameters in the type that the products read, if that is another one.
    copy: Option<Tensor>,
    loss_scale: Option<Tensor>,
}

#[derive(Debug, Clone)]
struct Layer {
    activation: Activation,
    saved: Saved,
    w: Place<2>,
    b: Place<1>,
    alpha: Option<Place<1>>,
    /// `[max_batch, N]`
    y: Tensor,
    /// z or the mask, where the activation calls for one.
    kept: Option<Tensor>,
    /// `[max_batch, N]`
    dz: Tensor,
}

/// A tensor among the parameters.
#[derive(Debug, Clone)]
struct Place<const D: usize> {
    /// First element.
    at: usize,
    shape: [usize; D],
}

impl Layer {
    /// Its own among the parameters, their gradients or what the products read.
    fn among<'a>(&'a self, all: &'a Tensor) -> Parameters<'a> {
        Parameters { w: self.w.of(all), b: self.b.of(all), alpha: self.alpha.as_ref().map(|alpha| alpha.of(all)) }
    }
}

impl<const D: usize> Place<D> {
    fn of<'a>(&'a self, all: &'a Tensor) -> View<'a> {
        View::new(all.buffer(), self.at as u64 * all.dtype().bytes(), &self.shape, all.dtype())
    }
}

/// The parameters of one layer, or their gradients.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    /// Weight `[N, K]`.
    pub w: View<'a>,
    /// Bias `[N]`.
    pub b: View<'a>,
    /// α, `[1]` or `[N]`, if it is learnable.
    pub alpha: Option<View<'a>>,
}

/// Every tensor starts where a binding may start on any device (256 bytes, of f16 too), so that vec4 reads and aligned
/// bindings hold.
const ALIGN: usize = 128;

impl Mlp {
    /// Allocates and initialises: weights normal with standard deviation gain / √fan_in, the gain by the activation's row
    /// (He et al. 2015 for ReLU and PReLU), biases 0, α at the activation's own number.
    ///
    /// `normal` gives standard normal numbers; layer by layer, in the order of W `[N, K]`.
    pub fn new(gpu: &Gpu, architecture: &Architecture<'_>, normal: &mut dyn FnMut() -> f32) -> Result<Self> {
        let Architecture { sizes, activation, alpha, max_batch, storage, ignore_index } = *architecture;
        if sizes.len() < 2 {
            return Err(Error::Shape {
                operand: Operand::W,
                expected: "at least two sizes: in features and out features".into(),
                got: format!("{sizes:?}"),
            });
        }
        let mut values = Vec::new();
        let mut layers = Vec::with_capacity(sizes.len() - 1);
        for (index, pair) in sizes.windows(2).enumerate() {
            let (k, n) = (pair[0], pair[1]);
            let hidden = index + 2 < sizes.len();
            let (activation, alpha) =
                if hidden { (activation, alpha) } else { (Activation::IDENTITY, AlphaSource::Constant) };
            let stored = Storage::default().with(Operand::Y, storage);
            let request = AffineRequest { alpha, storage: stored, ..AffineRequest::new(max_batch, n, k, activation) };
            request.check_sizes()?;
            let learnable = alpha != AlphaSource::Constant;
            let saved = request.resolve_saved(learnable)?;
            // An activation that is zero almost everywhere has no gain to speak of.
            let gain = activation.gain().he_gain();
            let gain = if gain.is_finite() { gain } else { 1.0 };
            let deviation = (gain / (k.max(1) as f64).sqrt()) as f32;
            let w = place(&mut values, [n, k], || deviation * normal());
            let b = place(&mut values, [n], || 0.0);
            let alphas = if alpha == AlphaSource::PerLayer { 1 } else { n };
            let alpha = learnable.then(|| place(&mut values, [alphas], || activation.params()[0]));
            let kept = match saved {
                Saved::Z => Some(gpu.zeros_of(storage, &[max_batch, n])?),
                Saved::Mask => Some(gpu.zeros_of(Dtype::U32, &[max_batch, n.div_ceil(32)])?),
                Saved::Auto | Saved::Y | Saved::None => None,
            };
            let (y, dz) = (gpu.zeros_of(storage, &[max_batch, n])?, gpu.zeros_of(storage, &[max_batch, n])?);
            layers.push(Layer { activation, saved, w, b, alpha, y, kept, dz });
        }
        let shape = [values.len()];
        let parameters = gpu.upload(&values, &shape)?;
        let copy = match storage {
            Float::F32 => None,
            dtype => Some(gpu.upload_as(dtype, &values, &shape)?),
        };
        let loss_scale = match storage {
            Float::F16 => Some(gpu.upload(&LossScale::INITIAL, &[LossScale::INITIAL.len()])?),
            _ => None,
        };
        let (gradients, velocity) = (gpu.zeros(&shape)?, gpu.zeros(&shape)?);
        Ok(Mlp { layers, max_batch, ignore_index, parameters, gradients, velocity, copy, loss_scale })
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The largest batch.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// The activation of a layer.
    pub fn activation(&self, layer: usize) -> Option<Activation> {
        self.layers.get(layer).map(|l| l.activation)
    }

    /// What a layer keeps for backward.
    pub fn saved(&self, layer: usize) -> Option<Saved> {
        self.layers.get(layer).map(|l| l.saved)
    }

    /// The state of the loss scale, where there is one: [`LossScale`] says what its numbers are.
    pub fn loss_scale(&self) -> Option<&Tensor> {
        self.loss_scale.as_ref()
    }

    /// The parameters of a layer, on the device, in f32, to be read: [`Gpu::download`] copies them back. With another
    /// storage the products read a copy of their own, so they are written by [`Mlp::set_parameters`] alone.
    pub fn parameters(&self, layer: usize) -> Option<Parameters<'_>> {
        let Parameters { w, b, alpha } = self.layers.get(layer)?.among(&self.parameters);
        Some(Parameters { w: w.read_only(), b: b.read_only(), alpha: alpha.map(View::read_only) })
    }

    /// The gradients of a layer that the last backward left, in f32; those of the scaled loss, where there is a scale.
    pub fn gradients(&self, layer: usize) -> Option<Parameters<'_>> {
        self.layers.get(layer).map(|layer| layer.among(&self.gradients))
    }

    /// Replaces the parameters of a layer by tensors of the same shapes, of any float type; what the products read is
    /// replaced with them. Velocities stay as they are.
    ///
    /// ```no_run
    /// # use elbow::{Activation, Gpu, mlp::{Architecture, Mlp, Parameters}};
    /// # let gpu = Gpu::new()?;
    /// # let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 3], Activation::RELU, 4), &mut || 0.0)?;
    /// # let (w, b) = ([0.0; 6], [0.0; 3]);
    /// let (w, b) = (gpu.upload(&w, &[3, 2])?, gpu.upload(&b, &[3])?);
    /// let loaded = Parameters { w: w.view(), b: b.view(), alpha: None };
    /// gpu.submit(|encoder| mlp.set_parameters(&gpu, encoder, 0, &loaded))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn set_parameters<'t, 'p: 't>(
        &self,
        gpu: &Gpu,
        target: impl Into<Target<'t, 'p>>,
        layer: usize,
        values: &Parameters<'_>,
    ) -> Result<()> {
        let Some(place) = self.layers.get(layer) else {
            let (asked, limit) = (layer as u64, self.layers.len() as u64);
            return Err(Error::LimitExceeded { what: "number of a layer, from 0 on".into(), asked, limit });
        };
        let mut copies: Vec<Prepared> = Vec::new();
        for all in [Some(&self.parameters), self.copy.as_ref()].into_iter().flatten() {
            let Parameters { w, b, alpha } = place.among(all);
            let mut copy = |operand: Operand, from: View<'_>, to: View<'_>| -> Result<()> {
                if from.shape != to.shape {
                    return Err(wrong_shape(operand, format!("{:?}", to.shape), from));
                }
                copies.push(elementwise::Forward::new(Activation::IDENTITY, from, to).prepare(gpu)?);
                Ok(())
            };
            copy(Operand::W, values.w, w)?;
            copy(Operand::B, values.b, b)?;
            match (values.alpha, alpha) {
                (Some(from), Some(to)) => copy(Operand::Alpha, from, to)?,
                (None, None) => {}
                (given, _) => {
                    let name = |there| if there { "an alpha" } else { "no alpha" };
                    return Err(Error::Operand {
                        operand: Operand::Alpha,
                        expected: format!("{}: that is what layer {layer} has", name(given.is_none())),
                        got: name(given.is_some()).into(),
                    });
                }
            }
        }
        in_one_pass(target.into(), |pass| copies.iter().try_for_each(|copy| copy.record(Target::Pass(&mut *pass))))
    }

    /// The output y `[max_batch, N]` of a layer: after forward the first rows hold the batch. Of the last layer: the logits.
    pub fn output(&self, layer: usize) -> Option<&Tensor> {
        self.layers.get(layer).map(|l| &l.y)
    }

    /// The gradient dz `[max_batch, N]` of a layer. Of the last layer: what the loss writes and backward starts from.
    pub fn dz(&self, layer: usize) -> Option<&Tensor> {
        self.layers.get(layer).map(|l| &l.dz)
    }

    /// y of every layer for a batch `[.., K]`, one dispatch a layer.
    pub fn forward<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, x: View<'_>) -> Result<()> {
        let rows = self.rows(x)?;
        in_one_pass(target.into(), |pass| self.record_forward(gpu, pass, x, rows))
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
        SoftmaxCrossEntropy { loss_scale, ignore_index, ..SoftmaxCrossEntropy::new(x, labels, loss, dx) }
            .record(gpu, target)
    }

    /// All gradients, from the dz of the last layer and from what forward of this very batch left.
    pub fn backward<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, x: View<'_>) -> Result<()> {
        let rows = self.rows(x)?;
        in_one_pass(target.into(), |pass| {
            self.backward_calls(rows, x, &mut |call| call.record(gpu, Target::Pass(&mut *pass)))
        })
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
        in_one_pass(target.into(), |pass| {
            let loss_scale = self.loss_scale.as_ref().map(Tensor::view);
            if let Some(state) = loss_scale {
                LossScale::new(&self.gradients, state).record(gpu, Target::Pass(&mut *pass))?;
            }
            let update = Sgd {
                momentum,
                copy: self.copy.as_ref().map(Tensor::view),
                loss_scale,
                ..Sgd::new(&self.parameters, &self.gradients, &self.velocity, rate)
            };
            update.record(gpu, Target::Pass(pass))
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
        in_one_pass(target.into(), |pass| {
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
        Forward {
            saved: layer.saved,
            b: Some(b),
            alpha,
            save_to: layer.kept.as_ref().map(|kept| kept.view_as(shape.kept(layer.saved))),
            ..Forward::new(layer.activation, self.input(index, x, shapes), w, y)
        }
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

/// Appends a tensor to the parameters.
fn place<const D: usize>(values: &mut Vec<f32>, shape: [usize; D], mut value: impl FnMut() -> f32) -> Place<D> {
    let at = values.len();
    let elements = shape.iter().product();
    values.extend(std::iter::repeat_with(&mut value).take(elements));
    values.resize(values.len().next_multiple_of(ALIGN), 0.0);
    Place { at, shape }
}

/// Records into the caller's pass, or into one pass of the caller's encoder.
fn in_one_pass(target: Target<'_, '_>, f: impl FnOnce(&mut wgpu::ComputePass<'_>) -> Result<()>) -> Result<()> {
    match target {
        Target::Pass(pass) => f(pass),
        Target::Encoder(encoder) => {
            let descriptor = wgpu::ComputePassDescriptor { label: Some("elbow"), timestamp_writes: None };
            f(&mut encoder.begin_compute_pass(&descriptor))
        }
    }
}
