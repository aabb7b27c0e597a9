//! How elbow is timed: what its benchmarks and `elbow bench` share.
//!
//! A case ([`Layer`], [`Alone`]) holds its operands on the GPU and on the CPU, and has been verified on both against the f64
//! reference before anyone can time it. A [`Device`] has two clocks, its own (timestamp queries) and the wall's; they are
//! never mixed. A [`Timing`] is a median with its quartiles. [`probe`] measures the ceilings that a result is judged by.

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
