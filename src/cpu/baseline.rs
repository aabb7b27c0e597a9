//! The fair opponent: as fast on the CPU as good libraries make it, under the same contract as the GPU kernels.
//!
//! y = act(x·Wᵀ + b; α) + residual and its gradients in f32, on all threads of the current rayon pool. Bias, activation,
//! residual and what is saved are done block by block while the product is in the cache. Results lie in the caller's
//! slices; the same inputs give the same bits on any number of threads, except the products that go through the `gemm`
//! crate, which promise it for one number of threads.

mod activation;
mod affine;
pub mod elementwise;
mod mask;
mod outputs;
mod packed;
mod pass;
mod product;
mod threads;
mod vectors;

pub use activation::{Alpha, evaluate};
pub use affine::{BackwardInputs, BackwardOutputs, ForwardOutputs, SavedIn, SavedOut, backward, forward};

/// Scratch memory of [`backward()`]: dz, and the partial sums of db and dα. Keep it from call to call: it grows to the
/// largest request and is never cleared.
#[derive(Debug, Default)]
pub struct Workspace {
    dz: Vec<f32>,
    dx: Vec<f32>,
    partials: Vec<f64>,
}

impl Workspace {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The first `length` elements, whatever is in them; the vector grows to hold them.
fn scratch<T: Clone + Default>(memory: &mut Vec<T>, length: usize) -> &mut [T] {
    if memory.len() < length {
        memory.resize(length, T::default());
    }
    &mut memory[..length]
}
