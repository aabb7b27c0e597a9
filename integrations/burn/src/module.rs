//! Layers as modules of Burn: [`LinearAct`], and [`Mlp`] of them.

use burn::{
    config::Config,
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use elbow::{Activation, Error, Operand, Result};

use crate::Layer;

/// Where α of a layer's activation comes from.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Alpha {
    /// The activation's own number.
    Constant,
    /// One learnable number for the layer, which begins at the activation's own.
    Layer,
    /// One for each channel.
    Channel,
}

/// Makes a [`LinearAct`].
///
/// ```no_run
/// use burn::tensor::Device;
/// use elbow_burn::{Activation, Alpha, LinearActConfig};
/// let device = elbow_burn::open(Device::wgpu_options())?;
/// let prelu = LinearActConfig::new(64, 128, Activation::prelu(0.25)?).with_alpha(Alpha::Channel).init(&device)?;
/// let swiglu = LinearActConfig::new(64, 256, Activation::SILU).with_gated(true).with_bias(false).init(&device)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct LinearActConfig {
    /// K, the size of the input features.
    pub d_input: usize,
    /// N, the size of the output features.
    pub d_output: usize,
    /// act.
    pub activation: Activation,
    /// Whether there is a bias.
    #[config(default = true)]
    pub bias: bool,
    /// Whether the layer is a gated unit, of two weights `[K, N]`.
    #[config(default = false)]
    pub gated: bool,
    /// Where α comes from.
    #[config(default = "Alpha::Constant")]
    pub alpha: Alpha,
    /// How weights and biases begin; that of Burn's `Linear` unless it is set.
    #[config(default = "Initializer::KaimingUniform{gain: 1.0 / f64::sqrt(3.0), fan_out_only: false}")]
    pub initializer: Initializer,
}

impl LinearActConfig {
    /// The layer, with new parameters.
    ///
    /// # Errors
    /// [`Error::Operand`]: a learnable α for an activation that has none.
    pub fn init(&self, device: &Device) -> Result<LinearAct> {
        let LinearActConfig { d_input: k, d_output: n, activation, .. } = *self;
        if self.alpha != Alpha::Constant && !activation.has_alpha() {
            let expected = "an activation whose α can be learned".into();
            return Err(Error::Operand { operand: Operand::Alpha, expected, got: activation.to_string() });
        }
        let weight = || self.initializer.init_with([k, n], Some(k), Some(n), device);
        let bias = || self.initializer.init_with([n], Some(k), Some(n), device);
        let alpha =
            |count: usize| Initializer::Constant { value: f64::from(activation.params()[0]) }.init([count], device);
        Ok(LinearAct {
            weight: weight(),
            bias: self.bias.then(bias),
            alpha: match self.alpha {
                Alpha::Constant => None,
                Alpha::Layer => Some(alpha(1)),
                Alpha::Channel => Some(alpha(n)),
            },
            weight_up: self.gated.then(weight),
            bias_up: (self.gated && self.bias).then(bias),
            activation,
        })
    }
}

/// A fused layer, y = act(x·w + b; α), or a gated unit, y = act(x·w + b) ⊙ (x·w_up + b_up): what a `Linear` and an activation of Burn compute in turn.
/// Weight and bias have the shapes and the names that `Linear` has, so that its records are read (those of its default layout, in rows).
///
/// ```no_run
/// use burn::tensor::{Device, Distribution, Tensor};
/// use elbow_burn::{Activation, LinearActConfig};
/// let device = elbow_burn::open(Device::wgpu_options())?.autodiff();
/// let layer = LinearActConfig::new(64, 10, Activation::GELU_ERF).init(&device)?;
/// let y = layer.forward(Tensor::<2>::random([32, 64], Distribution::Default, &device))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct LinearAct {
    /// `[K, N]`; of a gated unit the gate's.
    pub weight: Param<Tensor<2>>,
    /// `[N]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Learnable α, `[1]` or `[N]`.
    pub alpha: Option<Param<Tensor<1>>>,
    /// `[K, N]`, of what the gate lets through.
    pub weight_up: Option<Param<Tensor<2>>>,
    /// `[N]`, of what the gate lets through.
    pub bias_up: Option<Param<Tensor<1>>>,
    /// act. No part of a record.
    #[module(skip)]
    pub activation: Activation,
}

impl LinearAct {
    /// y `[.., N]` of x `[.., K]`.
    ///
    /// # Errors
    /// Those of [`Layer::forward`].
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>> {
        let one = |parameter: &Option<Param<Tensor<1>>>| parameter.as_ref().map(Param::val);
        Layer::new(self.activation, x, self.weight.val())
            .b(one(&self.bias))
            .alpha(one(&self.alpha))
            .w_up(self.weight_up.as_ref().map(Param::val))
            .b_up(one(&self.bias_up))
            .forward()
    }
}

/// Makes an [`Mlp`].
#[derive(Config, Debug)]
pub struct MlpConfig {
    /// Inputs, then the outputs of each layer: at least two.
    pub sizes: Vec<usize>,
    /// Behind every layer but the last.
    pub activation: Activation,
    /// Behind the last.
    #[config(default = "Activation::IDENTITY")]
    pub last: Activation,
    /// Where α of the hidden layers comes from.
    #[config(default = "Alpha::Constant")]
    pub alpha: Alpha,
    /// Whether layers have a bias.
    #[config(default = true)]
    pub bias: bool,
}

impl MlpConfig {
    /// The network, with new parameters.
    ///
    /// # Errors
    /// [`Error::Unsupported`] of fewer than two sizes, and those of [`LinearActConfig::init`].
    pub fn init(&self, device: &Device) -> Result<Mlp> {
        let layers = self.sizes.len().saturating_sub(1);
        if layers == 0 {
            let why = "expected inputs and the outputs of at least one layer".into();
            return Err(Error::Unsupported { what: format!("a network of sizes {:?}", self.sizes), why });
        }
        let layer = |(at, sizes): (usize, &[usize])| {
            let (activation, alpha) =
                if at + 1 == layers { (self.last, Alpha::Constant) } else { (self.activation, self.alpha) };
            let config = LinearActConfig::new(sizes[0], sizes[1], activation);
            config.with_alpha(alpha).with_bias(self.bias).init(device)
        };
        Ok(Mlp { layers: self.sizes.windows(2).enumerate().map(layer).collect::<Result<_>>()? })
    }
}

/// A multilayer perceptron: fused layers, one behind the other.
///
/// ```no_run
/// use burn::tensor::{Device, Distribution, Tensor};
/// use elbow_burn::{Activation, MlpConfig};
/// let device = elbow_burn::open(Device::wgpu_options())?.autodiff();
/// let mlp = MlpConfig::new(vec![64, 128, 64, 10], Activation::RELU).init(&device)?;
/// let logits = mlp.forward(Tensor::<2>::random([32, 64], Distribution::Default, &device))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct Mlp {
    /// From the input to the output.
    pub layers: Vec<LinearAct>,
}

impl Mlp {
    /// y `[.., N]` of x `[.., K]`.
    ///
    /// # Errors
    /// Those of [`Layer::forward`].
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>> {
        self.layers.iter().try_fold(x, |x, layer| layer.forward(x))
    }
}
