//! Checks of elbow's kernels on any adapter: the library's tests run them on ours, `elbow verify` on the user's.
//!
//! A [`Spec`] is one fused layer, forward and backward, as plain data; it prints as text that replays it. [`run`] runs many in one
//! submission, with canaries around every operand and NaN in every output before the run, and compares the results with the f64
//! reference: integers to the last bit, real numbers within the bounds of `docs/numerics.md`. [`points`] checks the activations alone,
//! [`sweep`] over all bit patterns, [`Elements`] and [`Classes`] are losses, [`Schedule`] is an update, [`Judge`] says which results are right near subnormal numbers, and [`suite`] is the list of checks of
//! `elbow verify`.
//!
//! Every check is a future that never blocks (`run_async`), for a browser too; a native program has the same name without `_async`,
//! which waits.
//!
//! ```no_run
//! use elbow::{Activation, Gpu};
//! use elbow_verify::{Spec, run};
//! let gpu = Gpu::new()?;
//! let outcome = run(&gpu, &[Spec::new(5, 7, 6, Activation::GELU_ERF)]);
//! assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
//! # Ok::<(), elbow::Error>(())
//! ```

#![forbid(unsafe_code)]

mod batch;
mod bound;
mod case;
mod close;
mod factors;
mod front;
mod gate;
mod jet;
mod judge;
mod loss;
mod near;
mod numbers;
mod operands;
mod part;
pub mod points;
mod run;
mod second;
mod shrink;
mod spec;
mod special;
pub mod suite;
#[cfg(not(target_family = "wasm"))]
pub mod sweep;
mod text;
mod training;
mod ulp;
mod update;
#[cfg(not(target_family = "wasm"))]
mod wait;

pub use close::Close;
pub use judge::Judge;
pub use loss::{Classes, Elements, Losses};
pub use numbers::Numbers;
pub use part::Part;
pub use run::{Failure, Outcome, Worst, run_async};
pub use second::Second;
pub use shrink::smallest;
pub use spec::{Data, EXACT, Spec, any_exact, any_real, with_gaps};
pub use ulp::ulp_of;
pub use update::{Schedule, Stepped};
#[cfg(not(target_family = "wasm"))]
pub use wait::run;
