//! A fused layer on the host's own memory, by the road that is faster: [elbow_cpu], or the GPU with both transfers. For hosts whose tensors lie
//! in the CPU's memory: PyTorch on the CPU, NumPy, candle.
//!
//! ```text
//! z = x·Wᵀ + b        y = act(z; α)        dx, dW, db, dα and their second derivatives
//! ```
//!
//! A call takes the requests and the slices that [elbow_cpu] takes, and returns the [`Road`] that it went. Which road is faster depends on the machine
//! and on the shape: at the first call [`Host`] measures the CPU's rate, and the GPU's fixed cost, transfers and rate, and estimates both times
//! from them ([`Host::road`]). Beside a software adapter, which is the CPU itself, or without an adapter there is the CPU's road alone.
//!
//! ```
//! use elbow::{Activation, request::AffineRequest};
//! use elbow_cpu::{ForwardInputs, ForwardOutputs};
//! use elbow_host::{Host, Road};
//!
//! let host = Host::cpu(); // Host::open() takes a GPU where there is one
//! // Two rows, one channel of two features: M = 2, N = 1, K = 2.
//! let layer = AffineRequest::new(2, 1, 2, Activation::RELU);
//! let inputs = ForwardInputs::new(&[1.0, 2.0, -3.0, 0.5], &[0.5, 0.25]).b(Some(&[1.0]));
//! let mut y = [0.0; 2];
//! let road = host.forward(&layer, inputs, ForwardOutputs { y: &mut y, ..Default::default() })?;
//! assert_eq!((road, y), (Road::Cpu, [2.0, 0.0]));
//! # Ok::<(), elbow::Error>(())
//! ```
//!
//! Both roads hold elbow's bounds of error; their bits differ. A slice that is missing or too short is an error that names it, and nothing is written.

#![forbid(unsafe_code)]

mod costs;
mod device;
mod host;
mod load;

pub use costs::{Costs, GpuCosts};
pub use host::{Host, Road};
pub use load::Load;
