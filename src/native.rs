//! What may wait: the blocking conveniences of a native program, and all that needs a clock, files or the environment.
//!
//! Everything else in this crate returns at once, or is a future. This room is not there in a browser.

mod open;
mod transfer;
#[cfg(feature = "tune")]
#[cfg_attr(docsrs, doc(cfg(feature = "tune")))]
pub mod tune;
mod wait;

pub use open::adapters;
