//! Fused affine + activation layers on any GPU: y = act(x·Wᵀ + b; α), forward and backward.

pub mod activation;
pub mod affine;
pub mod cpu;
pub mod dtype;
pub mod elementwise;
pub mod error;
pub mod gpu;
pub mod kernel;
pub mod mlp;
pub mod plan;
pub mod request;
pub mod shader;
pub mod shape;
pub mod train;

pub use activation::Activation;
pub use error::{Error, Result};
pub use gpu::{
    Checks, Gpu, Options,
    record::{Target, View},
    transfer::Tensor,
};
pub use mlp::Mlp;
pub use request::{AlphaSource, Operand, Road, Saved, Want, WeightLayout};
/// The wgpu that this version is built on: use it, so that the types match.
pub use wgpu;
