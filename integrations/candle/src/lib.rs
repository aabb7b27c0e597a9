//! elbow's fused layers in [candle](candle_core): product, bias and activation as one operation of the graph, forward and backward.
//!
//! ```text
//! z = x·Wᵀ + b        y = act(z; α)        dz = dy ⊙ act'(z; α)        dx = dz·W    dW = dzᵀ·x    db = Σ_rows dz    dα = Σ dy ⊙ ∂act/∂α
//! ```
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use elbow_candle::{Activation, linear_act};
//!
//! let x = Tensor::new(&[[1f32, 2.0], [-3.0, 0.5]], &Device::Cpu)?;
//! let w = Var::new(&[[0.5f32, 0.25]], &Device::Cpu)?; // [N, K], as candle's Linear has it
//! let b = Var::new(&[1f32], &Device::Cpu)?;
//! let y = linear_act(&x, &w, Some(&b), Activation::RELU)?;
//! assert_eq!(y.to_vec2::<f32>()?, [[2.0], [0.0]]);
//! let gradients = y.sum_all()?.backward()?;
//! assert_eq!(gradients.get(&w).expect("dW").to_vec2::<f32>()?, [[1.0, 2.0]]);
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! In a network [`LinearAct`] takes the place of `candle_nn::Linear` and what follows it, with the same names of weights ([`LinearAct::load`]).
//!
//! **Where it runs.** candle's tensors on the CPU, by [`elbow_host`]: the CPU's road, or a GPU with the operands copied there and the results
//! back, where that is estimated to be faster ([`host`] says what was measured). Tensors on CUDA or Metal are an error.
//!
//! **Operands.** f32; f16 and bf16 are widened, computed in f32 and rounded once, each operand as a copy; other types are an error by name. x has any leading
//! dimensions. A strided or broadcast operand is copied first (`contiguous`), as candle's own operations do where they must.
//!
//! **What is kept for backward** is elbow's choice ([`Saved`]): y where it determines the slope (ReLU and its family), else z, in f32, as long as candle keeps
//! the graph; nothing where no operand has a gradient. [`LinearAct::saved`] changes it: with [`Saved::None`] z is computed again.
//!
//! **Second derivatives.** candle detaches gradients, and these operations offer no others: with `CANDLE_GRAD_DO_NOT_DETACH` backward is an error.

#![forbid(unsafe_code)]

mod fused;
mod layer;
mod modules;
mod names;
mod numbers;
mod pointwise;
mod road;

pub use elbow::{Activation, Gate, Saved};
pub use elbow_host;
pub use layer::{gated, gated_apart, linear_act, linear_act_alpha};
pub use modules::{GatedLinear, LinearAct};
pub use names::of_candle;
pub use pointwise::{activation, activation_alpha};
pub use road::{host, set_host};
