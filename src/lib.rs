//! Fused affine + activation layers on any GPU: y = act(x·Wᵀ + b; α), forward and backward.

pub mod activation;
pub mod cpu;
pub mod dtype;
pub mod error;
pub mod request;
pub mod shape;
