//! Fused affine + activation layers on any GPU, forward and backward, in WGSL through wgpu.
//!
//! ```text
//! z = x·Wᵀ + b                    y = act(z; α) (+ residual)
//! dz = dy ⊙ act'(z; α)            dx = dz·W      dW = dzᵀ·x      db = Σ_rows dz
//! dα = Σ dy ⊙ ∂act/∂α(z; α)       over everything (per layer) or over rows (per channel)
//! ```
//!
//! x is `[.., K]`, W is `[N, K]` (or `[K, N]`), b is `[N]`, α a constant, `[1]` or `[N]`, y is `[.., N]`. Data and weights
//! are stored in f32, f16 or bf16 ([`Float`]), sums and the gradients of parameters in f32.
//! A batch, many layers of one shape, is one call: see [`affine`].
//!
//! # Three levels
//!
//! **A value.** An [`Activation`] parses and prints, knows its derivatives, kinks, Lipschitz constant and gain:
//!
//! ```
//! use elbow::Activation;
//! let leaky: Activation = "leaky_relu(0.01)".parse()?;
//! assert_eq!(leaky.value(-2.0) as f32, -0.02);
//! assert_eq!(leaky.slope(0.0) as f32, 0.01);
//! assert!((Activation::RELU.gain().he_gain() - 2f64.sqrt()).abs() < 1e-9);
//! # Ok::<(), elbow::Error>(())
//! ```
//!
//! **Recording.** Operands are views of wgpu buffers; calls are recorded into your encoder or pass ([`Target`]). Nothing is submitted:
//!
//! ```no_run
//! use elbow::{Activation, Dtype, Gpu, Saved, View, affine::Forward, wgpu};
//! # fn host(device: &wgpu::Device, queue: &wgpu::Queue, arena: &wgpu::Buffer, encoder: &mut wgpu::CommandEncoder)
//! #     -> elbow::Result<()> {
//! let gpu = Gpu::from_wgpu(device, queue); // once: it keeps the pipelines
//! let x = View::new(arena, 0, &[32, 64], Dtype::F32);
//! let w = View::new(arena, 8192, &[10, 64], Dtype::F32);
//! let y = View::new(arena, 10752, &[32, 10], Dtype::F32);
//! let layer = Forward::new(Activation::RELU, x, w, y).saved(Saved::Y);
//! layer.record(&gpu, &mut *encoder)?;
//! let dy = View::new(arena, 12032, &[32, 10], Dtype::F32);
//! let dw = View::new(arena, 13312, &[10, 64], Dtype::F32);
//! layer.backward(dy).dw(dw).record(&gpu, encoder)?;
//! # Ok(())
//! # }
//! ```
//!
//! **Convenience.** A device of elbow's own, tensors, a small network:
//!
//! ```no_run
//! use elbow::{Activation, Gpu, affine::Forward};
//! let gpu = Gpu::new()?;
//! let x = gpu.upload(&[1.0, -2.0], &[1, 2])?;
//! let w = gpu.upload(&[0.5, 0.25], &[1, 2])?;
//! let y = gpu.zeros(&[1, 1])?;
//! gpu.submit(|encoder| Forward::new(Activation::GELU_ERF, &x, &w, &y).record(&gpu, encoder))?;
//! println!("{gpu}: {:?}", gpu.download(&y)?);
//! # Ok::<(), elbow::Error>(())
//! ```
//!
//! # Features, and what waits
//!
//! On by default: wgpu's backends `vulkan`, `metal`, `dx12`, `gles` and `webgpu`; `tune` (`native::tune` and its files). Not by
//! default: `serde` ([`Activation`], [`Float`], [`Dtype`] and choices as text), `safetensors` (parameters of an [`Mlp`] in and out of files). A guest on a host's device takes `default-features = false`
//! and the backends that its host has.
//!
//! Recording, preparing, submitting and uploading never wait. [`Gpu::open`], [`Gpu::download_async`] and the other futures never block,
//! and are woken while the host polls the device. Calls that block are in `native`, which is not compiled for a browser; there wgpu
//! reports errors late ([`Gpu::settled`]).
//!
//! # The contract
//!
//! - NaN in, NaN out; ±inf gives the limit; the slope at a kink is PyTorch's, declared in the activation's row.
//! - What forward saves is a choice ([`Saved`]); one that is not enough is an error, never a wrong gradient.
//! - A layer is stated once: its backward is made from its forward call ([`affine::Forward::backward`]).
//! - Same device, same plan: same bits. Reductions have two stages and no float atomics.
//! - Errors are values ([`Error`]) that name operand, expected and got. A call that fails records nothing (browsers: [`Error::Late`]).
//!
//! The accuracy of each function, in ulp over all finite inputs, is in its row ([`activation::Row::ulp`]) and measured in
//! `docs/numerics.md`.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod activation;
pub mod affine;
pub mod cpu;
pub mod criterion;
pub mod dropout;
pub mod dtype;
pub mod elementwise;
pub mod error;
pub mod gate;
pub mod gpu;
pub mod initialisation;
pub mod jet;
// The inside: public for tests and tools, but not promised by any version.
#[doc(hidden)]
pub mod kernel;
pub mod mlp;
#[cfg(not(target_family = "wasm"))]
pub mod native;
pub mod network;
pub mod norm;
mod operand;
mod operands;
pub mod philox;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod program;
pub mod random;
pub mod rates;
pub mod request;
pub mod rules;
mod setters;
#[doc(hidden)]
pub mod shader;
pub mod shape;
pub mod storage;
#[cfg(feature = "serde")]
mod text;
pub mod train;
mod view;
mod words;

/// The pages of `docs/` whose code is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct Pages;

pub use activation::Activation;
pub use dropout::Dropout;
pub use dtype::{Dtype, Float, HostValue};
pub use error::{Error, Result};
pub use gate::Gate;
pub use gpu::{
    Checks, Gpu, Options,
    record::{Prepared, Target},
    transfer::Tensor,
};
/// The `half` crate of this version, for `f16` and `bf16` on the host ([`HostValue`]): use it, so that the types match.
pub use half;
pub use jet::Jet;
pub use mlp::Mlp;
pub use norm::Norm;
pub use operand::Operand;
pub use operands::Gradient;
pub use plan::{Caps, Choices, DeviceClass, MatrixUnits, Pin, Plan};
pub use request::{AlphaSource, ResidualAt, Saved, Statistic, Strategy, Want, WeightLayout};
pub use view::View;
/// The `wgpu` crate of this version: use it, so that the types match.
pub use wgpu;
