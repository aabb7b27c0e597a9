//! How elbow is timed: shared by its benchmarks and `elbow bench`.
//!
//! A case ([`Layer`], [`Network`], [`Alone`]) has operands on the GPU and on the CPU; making it verifies both against the f64 reference, so that no
//! wrong result is timed. A [`Device`] has two clocks, its own (timestamp queries) and wall time, which are never mixed. An [`Estimate`] is a
//! median with its confidence interval, a [`Comparison`] those of both sides, timed in turns. [`probe`] measures what the machine can do at most, to compare results with.

#![forbid(unsafe_code)]

mod about;
mod alone;
mod budget;
mod device;
mod error;
mod layer;
mod memory;
mod network;
mod numbers;
pub mod probe;
mod rounds;
mod statistics;

pub use about::About;
pub use alone::{Alone, AlonePart};
pub use budget::Budget;
pub use device::Device;
pub use error::{Error, Result};
pub use layer::{Errors, Layer, Part, Shape};
pub use memory::{Footprint, footprint};
pub use network::{Design, Loss, Network, Numbers, Perceptron, Road};
pub use numbers::normals;
pub use rounds::Comparison;
pub use statistics::{Estimate, Verdict};
