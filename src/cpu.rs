//! The CPU road: [`reference`](mod@reference) judges the results, `baseline` (feature `cpu`) is the fair opponent in benchmarks.

#[cfg(feature = "cpu")]
#[cfg_attr(docsrs, doc(cfg(feature = "cpu")))]
pub mod baseline;
mod operands;
pub mod reference;

pub use operands::{Elementwise, ForwardInputs};
