//! Fused affine + activation layers on the CPU, forward, backward and double backward, in f32: the fast baseline against which the GPU
//! kernels of [elbow] are timed, under the same contract.
//!
//! ```text
//! z = x·Wᵀ + b (+ residual)       y = row_weight ⊙ act(z; α) (+ residual)
//! dz = dy ⊙ act'(z; α)            dx = dz·W      dW = dzᵀ·x      db = Σ_rows dz      dα = Σ dy ⊙ ∂act/∂α(z; α)
//! ```
//!
//! A layer is stated as one of elbow's requests; operands and results are the caller's slices: x `[M, K]`, W `[N, K]` or `[K, N]`,
//! y `[M, N]`. A slice that is missing or too short is an error that names it, and nothing is written.
//!
//! ```
//! use elbow::{Activation, request::AffineRequest};
//! use elbow_cpu::{ForwardInputs, ForwardOutputs};
//!
//! // Two rows, one channel of two features: M = 2, N = 1, K = 2.
//! let layer = AffineRequest::new(2, 1, 2, Activation::RELU);
//! let inputs = ForwardInputs::new(&[1.0, 2.0, -3.0, 0.5], &[0.5, 0.25]).b(Some(&[1.0]));
//! let mut y = [0.0; 2];
//! elbow_cpu::forward(&layer, inputs, ForwardOutputs { y: &mut y, ..Default::default() })?;
//! assert_eq!(y, [2.0, 0.0]);
//! # Ok::<(), elbow::Error>(())
//! ```
//!
//! Bias, activation, residual and what is saved are computed block by block while the product is in the cache, on all threads of the
//! current [`rayon`] pool. The same inputs give the same bits on any number of threads, except in products that go through the
//! `gemm` crate, where that holds only for a fixed number of threads.

mod activation;
mod affine;
mod below;
mod columns;
mod cross_entropy;
mod double;
pub mod elementwise;
mod front;
mod gated;
mod jet;
mod left;
mod loss;
mod mask;
mod network;
pub mod outputs;
mod packed;
mod panels;
mod pass;
mod product;
mod saved;
mod slopes;
mod threads;
mod times;
mod update;
mod vectors;

pub use activation::{Alpha, evaluate};
pub use affine::{BackwardInputs, BackwardOutputs, ForwardOutputs, backward, forward};
pub use cross_entropy::cross_entropy;
pub use double::{DoubleBackwardInputs, DoubleBackwardOutputs, double_backward};
pub use elbow::cpu::{Elementwise, ForwardInputs, FrontInputs};
pub use loss::elementwise_loss;
pub use network::network;
/// The `rayon` crate of this version: a pool that is built with it sets the number of threads.
pub use rayon;
pub use saved::{SavedIn, SavedOut};
pub use update::{RUN, Updated, update};

/// Scratch memory of [`backward()`] and [`double_backward()`]: dz, dz2, what a front makes of x, and the partial sums of db and dα. Keep it from call to call, so that
/// memory is allocated once: it grows to the largest request.
///
/// ```
/// let mut workspace = elbow_cpu::Workspace::new();
/// ```
#[derive(Debug, Default)]
pub struct Workspace {
    dz: Vec<f32>,
    dz2: Vec<f32>,
    dx: Vec<f32>,
    fronted: Vec<f32>,
    partials: Vec<f64>,
}

impl Workspace {
    /// Empty: the first call allocates.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The first `length` elements, with any contents; the vector grows if it is shorter.
fn scratch<T: Clone + Default>(memory: &mut Vec<T>, length: usize) -> &mut [T] {
    if memory.len() < length {
        memory.resize(length, T::default());
    }
    &mut memory[..length]
}
