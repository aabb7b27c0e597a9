//! candle's activations by elbow's names.

use candle_core::{Error, Result};
use elbow::Activation;

/// The same function as candle's. `Swiglu` is an error: it is a gate ([`gated`](crate::gated) with [`Activation::SILU`]).
///
/// | candle | elbow |
/// |---|---|
/// | `Gelu` | `gelu_erf` |
/// | `NewGelu`, `GeluPytorchTanh` | `gelu_tanh` |
/// | `Relu2` | `relu_squared` |
/// | `Silu`, `Swish` | `silu` |
/// | `Elu(α)`, `LeakyRelu(slope)` | with the same number, in f32 |
/// | the others | by the same name |
///
/// ```
/// use elbow_candle::{Activation, of_candle};
/// assert_eq!(of_candle(candle_nn::Activation::NewGelu)?, Activation::GELU_TANH);
/// assert!(of_candle(candle_nn::Activation::Swiglu).is_err());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn of_candle(activation: candle_nn::Activation) -> Result<Activation> {
    use candle_nn::Activation as Candle;
    Ok(match activation {
        Candle::Gelu => Activation::GELU_ERF,
        Candle::NewGelu | Candle::GeluPytorchTanh => Activation::GELU_TANH,
        Candle::Relu => Activation::RELU,
        Candle::Relu2 => Activation::RELU_SQUARED,
        Candle::Relu6 => Activation::RELU6,
        Candle::Silu | Candle::Swish => Activation::SILU,
        Candle::Sigmoid => Activation::SIGMOID,
        Candle::HardSigmoid => Activation::HARDSIGMOID,
        Candle::Mish => Activation::MISH,
        Candle::HardSwish => Activation::HARDSWISH,
        Candle::Elu(alpha) => Activation::elu(alpha as f32).map_err(Error::wrap)?,
        Candle::LeakyRelu(slope) => Activation::leaky_relu(slope as f32).map_err(Error::wrap)?,
        Candle::Swiglu => return Err(Error::msg("swiglu is a gate, not an activation: gated with Activation::SILU")),
    })
}
