//! Fused affine + activation layers for [Burn](burn): elbow's kernels on the device, the queue and the memory of Burn's wgpu tensors, with gradients.
//!
//! ```no_run
//! use burn::tensor::{Device, Distribution, Tensor};
//! use elbow_burn::{Activation, linear_act};
//!
//! let device = elbow_burn::open(Device::wgpu_options())?.autodiff(); // instead of Device::default().autodiff()
//! let x = Tensor::<2>::random([32, 64], Distribution::Default, &device);
//! let w = Tensor::<2>::random([64, 10], Distribution::Default, &device).require_grad();
//! let y = linear_act(x, w.clone(), None, Activation::GELU_ERF)?;
//! let dw = w.grad(&y.sum().backward());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Models of Burn's own layers need not change: [`register`] puts elbow's layers where Burn looks for fusions.

mod autodiff;
mod cube;
mod device;
#[cfg(feature = "flex")]
mod flex;
mod fusion;
mod layer;
mod module;
mod ops;
mod own;

pub use device::{gpu, open, share};
pub use elbow::{self, Activation, Error, Result};
pub use fusion::{Fused, fused, register};
pub use layer::{Layer, linear_act};
pub use module::{Alpha, LinearAct, LinearActConfig, Mlp, MlpConfig};
