//! The fused layers as candle's modules.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Linear, VarBuilder};
use elbow::{Activation, Saved};

use crate::layer::{Layer, gated_apart};

/// `candle_nn::Linear` and the activation behind it as one operation.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{VarBuilder, VarMap, seq};
/// use elbow_candle::{Activation, LinearAct};
///
/// let variables = VarMap::new();
/// let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
/// let network = seq()
///     .add(LinearAct::load(64, 128, Activation::GELU_ERF, vb.pp("hidden"))?) // hidden.weight, hidden.bias
///     .add(LinearAct::load(128, 10, Activation::IDENTITY, vb.pp("head"))?);
/// let logits = network.forward(&Tensor::zeros((32, 64), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(logits.dims(), [32, 10]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearAct {
    linear: Linear,
    activation: Activation,
    alpha: Option<Tensor>,
    saved: Saved,
}

impl LinearAct {
    /// Of a layer of candle's, with what follows it.
    pub fn new(linear: Linear, activation: Activation) -> Self {
        LinearAct { linear, activation, alpha: None, saved: Saved::Auto }
    }

    /// `weight` `[outputs, inputs]` and `bias` `[outputs]`, read or initialised as `candle_nn::linear` does.
    pub fn load(inputs: usize, outputs: usize, activation: Activation, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self::new(candle_nn::linear(inputs, outputs, vb)?, activation))
    }

    /// Without a bias, as `candle_nn::linear_no_bias`.
    pub fn load_no_bias(inputs: usize, outputs: usize, activation: Activation, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self::new(candle_nn::linear_no_bias(inputs, outputs, vb)?, activation))
    }

    /// With a learnable α, one number or one for each output, such as the weight of a `candle_nn::PReLU`.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_nn::{VarBuilder, VarMap};
    /// use elbow_candle::{Activation, LinearAct};
    /// let variables = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    /// let slopes = candle_nn::prelu(Some(16), vb.pp("slopes"))?;
    /// let prelu = Activation::prelu(0.25).expect("a slope");
    /// let layer = LinearAct::load(8, 16, prelu, vb.pp("layer"))?.alpha(slopes.weight().clone());
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn alpha(self, alpha: Tensor) -> Self {
        LinearAct { alpha: Some(alpha), ..self }
    }

    /// What is kept for backward. A choice that is not enough for the activation is an error of `forward`.
    pub fn saved(self, saved: Saved) -> Self {
        LinearAct { saved, ..self }
    }

    /// The layer of candle's: its weight and bias.
    pub fn linear(&self) -> &Linear {
        &self.linear
    }

    /// The activation.
    pub fn activation(&self) -> Activation {
        self.activation
    }
}

impl Module for LinearAct {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Layer::new(x, self.linear.weight(), self.activation)
            .b(self.linear.bias())
            .alpha(self.alpha.as_ref())
            .saved(self.saved)
            .apply()
    }
}

/// A gated layer of two weights, y = act(x·W_gateᵀ) ⊙ (x·W_upᵀ): the first half of the feed-forward block of Llama, Mistral and Qwen.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use elbow_candle::{Activation, GatedLinear};
/// let variables = VarMap::new();
/// let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
/// let layer = GatedLinear::load(16, 48, Activation::SILU, vb.pp("mlp"))?; // mlp.gate_proj.weight, mlp.up_proj.weight
/// let y = layer.forward(&Tensor::zeros((2, 5, 16), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [2, 5, 48]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GatedLinear {
    w_gate: Tensor,
    w_up: Tensor,
    activation: Activation,
}

impl GatedLinear {
    /// Of two weights `[outputs, inputs]`.
    pub fn new(w_gate: Tensor, w_up: Tensor, activation: Activation) -> Self {
        GatedLinear { w_gate, w_up, activation }
    }

    /// `gate_proj.weight` and `up_proj.weight`, `[outputs, inputs]`.
    pub fn load(inputs: usize, outputs: usize, activation: Activation, vb: VarBuilder<'_>) -> Result<Self> {
        let linear = |name| candle_nn::linear_no_bias(inputs, outputs, vb.pp(name));
        let (gate, up) = (linear("gate_proj")?, linear("up_proj")?);
        Ok(Self::new(gate.weight().clone(), up.weight().clone(), activation))
    }
}

impl Module for GatedLinear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        gated_apart(x, &self.w_gate, &self.w_up, self.activation)
    }
}
