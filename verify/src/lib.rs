//! What judges elbow's kernels on any adapter. The tests run these cases on ours, `elbow verify` on the user's.
//!
//! A [`Spec`] is one fused layer, forward and backward, as plain data; it prints as text that replays it. [`run`] puts many
//! of them into one submission, with canaries around every operand and NaN in every output before the run, and compares
//! with the f64 reference: integers to the last bit, real numbers within the bound of `docs/numerics.md`. [`points`] does the
//! same for the activations alone, [`sweep`] for ranges of bit patterns, [`Judge`] knows what is right where numbers become
//! subnormal, [`suite`] is the list that `elbow verify` works through.

#![forbid(unsafe_code)]

mod batch;
mod bound;
mod case;
mod judge;
mod numbers;
mod part;
pub mod points;
mod run;
mod shrink;
mod spec;
mod special;
pub mod suite;
pub mod sweep;
mod text;
mod ulp;

pub use judge::Judge;
pub use numbers::Numbers;
pub use part::Part;
pub use run::{Failure, Outcome, Worst, run};
pub use shrink::smallest;
pub use spec::{Data, EXACT, Spec, any_exact, any_real, with_gaps};
pub use ulp::ulp_of;
