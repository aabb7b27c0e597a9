//! The CPU road: [`reference`](mod@reference) judges the results, [`baseline`] is the fair opponent in benchmarks.

pub mod baseline;
mod operands;
pub mod reference;

pub use operands::{Elementwise, ForwardInputs};
