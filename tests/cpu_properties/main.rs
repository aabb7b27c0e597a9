//! What holds for every activation and for every request, without an adapter: properties of the f64 mathematics and of
//! both CPU implementations, over random parameters, inputs, shapes and choices.
//!
//! `ELBOW_TEST_FULL=1` takes twenty times as many cases.

#![allow(unreachable_pub, reason = "modules of one test binary")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod accuracy;
mod alpha;
mod baseline;
mod common;
mod contract;
mod double;
mod double_baseline;
mod front;
mod gradients;
mod identities;
mod jet;
mod layer;
mod nan;
mod shape;
mod stops;
