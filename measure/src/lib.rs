//! How elbow is timed: shared by its benchmarks and `elbow bench`.
//!
//! A case ([`Layer`], [`Alone`]) has operands on the GPU and on the CPU; making it verifies both against the f64 reference, so that no
//! wrong result is timed. A [`Device`] has two clocks, its own (timestamp queries) and wall time, which are never mixed. A [`Timing`] is a
//! median with its quartiles. [`probe`] measures what the machine can do at most, to compare results with.

#![forbid(unsafe_code)]

mod about;
mod alone;
mod budget;
mod device;
mod error;
mod layer;
mod memory;
mod numbers;
pub mod probe;

pub use about::About;
pub use alone::{Alone, AlonePart};
pub use budget::{Budget, Timing};
pub use device::Device;
pub use error::{Error, Result};
pub use layer::{Errors, Layer, Part, Shape};
pub use memory::{Footprint, footprint};
pub use numbers::normals;
