//! Everything that needs an adapter. One binary, one device: a missing adapter fails every test here.
//!
//! `ELBOW_TEST_CHECKS=checked` runs with wgpu's shader checks on; `ELBOW_TEST_LIMITS=default` at WebGPU's default limits
//! without features; `WGPU_BACKEND=gl` on another backend; `ELBOW_TEST_FULL=1` runs the exhaustive sweeps;
//! `ELBOW_TEST_PART=1/4` compiles a part of what `exact` compiles.

#![allow(unreachable_pub, reason = "modules of one test binary")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod alpha;
mod around;
mod batched;
mod class_weights;
mod common;
mod contract;
mod double;
mod dropout;
mod elementwise;
mod exact;
mod faults;
mod fronts;
mod fuzz;
mod gated;
mod gates;
mod golden;
mod guest;
mod host;
mod jets;
mod large;
mod limits;
mod losses;
mod matrix_units;
mod narrow;
mod network;
mod network_backward;
mod network_backward_matrices;
mod network_jets;
mod network_matrices;
mod pasted;
mod prepared;
mod random;
mod real;
mod rounded;
mod second_order;
mod sliced_k;
mod softmax;
mod split_operands;
mod stated_once;
mod stops;
mod strided;
mod sweep;
mod transfer;
mod tune;
mod updates;
mod whole;
