//! The calls that block, and those that need a clock, files or the environment: for native programs, not compiled for a browser.
//!
//! Everything else in this crate returns at once, or is a future.
//!
//! ```no_run
//! for adapter in elbow::native::adapters()? {
//!     println!("{}", adapter.get_info().name);
//! }
//! let gpu = elbow::Gpu::new()?; // blocks
//! # Ok::<(), elbow::Error>(())
//! ```

#[cfg(feature = "safetensors")]
#[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
mod files;
mod open;
mod transfer;
#[cfg(feature = "tune")]
#[cfg_attr(docsrs, doc(cfg(feature = "tune")))]
pub mod tune;
mod wait;

pub use open::adapters;
