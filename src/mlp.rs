//! A multi-layer perceptron on the device: y₀ = x, y_l = act(y_{l−1}·W_lᵀ + b_l; α_l), the last layer linear unless it is given an activation.
//!
//! A convenience over [`affine`](crate::affine) and [`train`](crate::train) that owns the memory of parameters and batch. Everything is
//! recorded into the caller's encoder or pass, so that a whole training step can be one pass and one submission. Backward is a chain:
//! the dx product of each layer applies the slope of the layer below ([`Backward::below`](crate::affine::Backward::below)), which costs
//! no pass over memory of its own.
//!
//! ```no_run
//! use elbow::mlp::{Architecture, Mlp, Step};
//! use elbow::{Activation, Gpu};
//! use rand::{RngExt, SeedableRng};
//! let gpu = Gpu::new()?;
//! let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
//! let architecture = Architecture::new(&[2, 16, 2], Activation::RELU, 4);
//! let mlp = Mlp::new(&gpu, &architecture, &mut || rng.sample(rand_distr::StandardNormal))?;
//! let x = gpu.upload(&[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], &[4, 2])?;
//! let (labels, loss) = (gpu.upload_words(&[0, 1, 1, 0], &[4])?, gpu.zeros(&[4])?);
//! for _ in 0..100 {
//!     gpu.submit_pass(|pass| mlp.train(&gpu, pass, &Step::new(&x, &labels, &loss, 0.2).momentum(0.9)))?;
//! }
//! # Ok::<(), elbow::Error>(())
//! ```

mod architecture;
mod call;
#[cfg(feature = "safetensors")]
mod description;
mod files;
mod infer;
mod learn;
mod parameters;
mod step;
#[cfg(feature = "safetensors")]
mod stored;
mod wgsl;

#[cfg(feature = "safetensors")]
pub(crate) use self::stored::wrong;
pub use self::{
    architecture::{Architecture, Objective, Optimiser},
    learn::Batch,
    parameters::Parameters,
    step::Step,
    wgsl::{Weights, Wgsl},
};
#[cfg(feature = "safetensors")]
#[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
pub use self::{
    description::Description,
    files::Contents,
    stored::{NotedTensors, noted_tensors},
};
use self::{
    learn::{Learning, Part},
    parameters::{ALIGN, Place, place},
};
use crate::{
    activation::Activation,
    dtype::{Dtype, Float},
    elementwise,
    error::{Error, Result},
    gpu::{
        Gpu,
        record::{Prepared, Target},
        transfer::Tensor,
    },
    jet::Jet,
    operand::Operand,
    operands::wrong_shape,
    request::{AffineRequest, AlphaSource, Saved},
    storage::Storage,
    train::LossScale,
    view::View,
};

/// A multi-layer perceptron on the device: its parameters, their gradients, and the memory of a batch, allocated once. The module has an
/// example.
///
/// ```no_run
/// use elbow::{Activation, Gpu, Saved, mlp::{Architecture, Mlp}};
/// let gpu = Gpu::new()?;
/// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), &mut || 0.5)?;
/// assert_eq!((mlp.layers(), mlp.max_batch(), mlp.activation(0)), (2, 4, Some(Activation::RELU)));
/// assert_eq!((mlp.saved(0), mlp.saved(2)), (Some(Saved::Y), None)); // y tells a ReLU's slope; there is no third layer
/// assert!(mlp.loss_scale().is_none()); // it is of networks stored in f16
/// for layer in 0..mlp.layers() {
///     if let (Some(w), Some(gradients)) = (mlp.stored_weight(layer), mlp.gradients(layer)) {
///         println!("w {:?}, its gradient {:?}", w.shape(), gpu.download(gradients.w)?);
///     }
/// }
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mlp {
    layers: Vec<Layer>,
    max_batch: usize,
    jet: Option<Jet>,
    ignore_index: Option<u32>,
    /// All parameters in one tensor, so that one dispatch updates them; gradients and velocities have the same layout.
    parameters: Tensor,
    gradients: Tensor,
    velocity: Tensor,
    learning: Option<Learning>,
    objective: Objective,
    /// The parameters in the storage type, from which layers read, if that is not f32.
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
    /// z or the mask, if the activation needs one for its slope.
    kept: Option<Tensor>,
    /// `[max_batch, N]`
    dz: Tensor,
}

impl Layer {
    /// This layer's part of all parameters, of all gradients or of the copy.
    fn among<'a>(&'a self, all: &'a Tensor) -> Parameters<'a> {
        Parameters { w: self.w.of(all), b: self.b.of(all), alpha: self.alpha.as_ref().map(|alpha| alpha.of(all)) }
    }
}

impl Mlp {
    /// Allocates and initialises. Weights are normal with standard deviation gain / √K, the gain of [`Activation::gain`] (He et al. 2015
    /// for ReLU and PReLU); biases are 0, α is the activation's own.
    ///
    /// The first network on a device takes the tiles that `elbow tune` has kept for it, unless [`Options::tuning`](crate::Options::tuning) is
    /// off or [`Gpu::set_choices`] has chosen before.
    ///
    /// `normal` returns standard normal numbers; it is called for each weight, layer by layer, in the order of W `[N, K]`.
    /// [`Error::BadParameter`] if there are fewer than two sizes.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// use rand::{RngExt, SeedableRng};
    /// let gpu = Gpu::new()?;
    /// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    /// let architecture = Architecture::new(&[64, 128, 10], Activation::GELU_ERF, 256);
    /// let mlp = Mlp::new(&gpu, &architecture, &mut || rng.sample(rand_distr::StandardNormal))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn new(gpu: &Gpu, architecture: &Architecture<'_>, normal: &mut dyn FnMut() -> f32) -> Result<Self> {
        let deviation = |activation: Activation, k: usize| {
            // An activation that is 0 almost everywhere (threshold far above 0) has an infinite gain.
            let gain = activation.gain().he_gain();
            let gain = if gain.is_finite() { gain } else { 1.0 };
            (gain / (k.max(1) as f64).sqrt()) as f32
        };
        Mlp::allocated(gpu, architecture, &deviation, normal)
    }

    /// With weights that are a number of `normal` each, times the deviation for the activation of their layer and its K.
    fn allocated(
        gpu: &Gpu,
        architecture: &Architecture<'_>,
        deviation: &dyn Fn(Activation, usize) -> f32,
        normal: &mut dyn FnMut() -> f32,
    ) -> Result<Self> {
        let Architecture { sizes, max_batch, storage, jet, ignore_index, objective, .. } = *architecture;
        let kinds = architecture.layers()?;
        gpu.use_kept_choices();
        let mut values = Vec::new();
        let mut parts = Vec::new();
        let mut layers = Vec::with_capacity(kinds.len());
        for (pair, (activation, alpha)) in sizes.windows(2).zip(kinds) {
            let (k, n) = (pair[0], pair[1]);
            let stored = Storage::default().with(Operand::Y, storage);
            let request = AffineRequest::new(max_batch, n, k, activation).alpha(alpha).jet(jet).storage(stored);
            request.check_sizes()?;
            let learnable = alpha != AlphaSource::Constant;
            let saved = request.resolve_saved(learnable)?;
            let mut ends = |part: Part, values: &[f32]| parts.resize(values.len() / ALIGN, part);
            let deviation = deviation(activation, k);
            let w = place(&mut values, [n, k], || deviation * normal());
            ends(Part::Weight, &values);
            let b = place(&mut values, [n], || 0.0);
            ends(Part::Bias, &values);
            let alphas = if alpha == AlphaSource::PerLayer { 1 } else { n };
            let alpha = learnable.then(|| place(&mut values, [alphas], || activation.params()[0]));
            ends(Part::Alpha, &values);
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
        let learning = match &architecture.optimiser {
            Some(optimiser) => Some(Learning::new(gpu, optimiser, &parts)?),
            None => None,
        };
        Ok(Mlp {
            layers,
            max_batch,
            jet,
            ignore_index,
            objective,
            parameters,
            gradients,
            velocity,
            learning,
            copy,
            loss_scale,
        })
    }

    /// Number of layers: one less than the sizes.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The most rows that a call may have.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// The activation of a layer, counted from 0; None if there is no such layer.
    pub fn activation(&self, layer: usize) -> Option<Activation> {
        self.layers.get(layer).map(|l| l.activation)
    }

    /// What a layer keeps for backward: the cheapest choice that its activation allows.
    pub fn saved(&self, layer: usize) -> Option<Saved> {
        self.layers.get(layer).map(|l| l.saved)
    }

    /// The state of the loss scale, `[4]`, if the storage is f16: [`LossScale`] says what its numbers are.
    pub fn loss_scale(&self) -> Option<&Tensor> {
        self.loss_scale.as_ref()
    }

    /// The parameters of a layer in f32, as read-only views. They are written by [`Mlp::set_parameters`] alone, which keeps the copy in
    /// another storage type up to date.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 3], Activation::RELU, 4), &mut || 0.5)?;
    /// if let Some(first) = mlp.parameters(0) {
    ///     println!("w {:?}, b {:?}", gpu.download(first.w)?, gpu.download(first.b)?);
    /// }
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn parameters(&self, layer: usize) -> Option<Parameters<'_>> {
        let Parameters { w, b, alpha } = self.layers.get(layer)?.among(&self.parameters);
        Some(Parameters { w: w.read_only(), b: b.read_only(), alpha: alpha.map(View::read_only) })
    }

    /// The weight of a layer as its products read it, in the storage type, read-only: the parameters rounded, after every update and
    /// [`Mlp::set_parameters`].
    pub fn stored_weight(&self, layer: usize) -> Option<View<'_>> {
        let all = self.copy.as_ref().unwrap_or(&self.parameters);
        self.layers.get(layer).map(|layer| layer.w.of(all).read_only())
    }

    /// The gradients of a layer that the last backward wrote, in f32: of the scaled loss, if there is a loss scale.
    pub fn gradients(&self, layer: usize) -> Option<Parameters<'_>> {
        self.layers.get(layer).map(|layer| layer.among(&self.gradients))
    }

    /// Records copies that replace the parameters of a layer by tensors of the same shapes, of any float type. Velocities stay as they are.
    /// An error names the operand that does not fit, and nothing is recorded.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp, Parameters}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 3], Activation::RELU, 4), &mut || 0.0)?;
    /// let (w, b) = (gpu.upload(&[0.5; 6], &[3, 2])?, gpu.upload(&[0.0; 3], &[3])?);
    /// let loaded = Parameters::new(&w, &b);
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
        let copies = self.prepared_parameters(gpu, layer, values)?;
        target.into().in_one_pass(|pass| copies.iter().try_for_each(|copy| copy.record(Target::Pass(&mut *pass))))
    }

    fn prepared_parameters(&self, gpu: &Gpu, layer: usize, values: &Parameters<'_>) -> Result<Vec<Prepared>> {
        let Some(place) = self.layers.get(layer) else {
            let (asked, limit) = (layer as u64, self.layers.len() as u64);
            return Err(Error::LimitExceeded { what: "number of a layer, counted from 0".into(), asked, limit });
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
                        expected: format!("{}, as in layer {layer}", name(given.is_none())),
                        got: name(given.is_some()).into(),
                    });
                }
            }
        }
        Ok(copies)
    }

    /// The output y `[max_batch, N]` of a layer; after forward its first M rows are those of the batch. Of the last layer: the logits.
    pub fn output(&self, layer: usize) -> Option<&Tensor> {
        self.layers.get(layer).map(|l| &l.y)
    }

    /// The gradient dz `[max_batch, N]` of a layer. Of the last layer it is written by the loss (or by a loss of your own), and backward
    /// starts from it. Of the others it is written by a backward that goes layer by layer ([`Mlp::backward_plans`]).
    pub fn dz(&self, layer: usize) -> Option<&Tensor> {
        self.layers.get(layer).map(|l| &l.dz)
    }
}
