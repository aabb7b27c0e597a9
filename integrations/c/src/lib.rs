//! elbow from C. `include/elbow.h` is generated from this crate (`cargo test -p elbow-c` says when it is stale) and says what each function does.
//!
//! Handles are boxes behind a pointer; a function that can fail returns a [`Status`] and leaves one line in [`elbow_last_error`]. Nothing unwinds into C:
//! [`status::guarded`] ends a panic, which would be a mistake of elbow's, in [`Status::Internal`].

#![allow(unsafe_code, reason = "pointers of C; each function says what they must be, and checks for NULL")]
#![allow(non_camel_case_types, reason = "handles have the names that they have in C")]

mod call;
mod cpu;
mod elementwise;
mod gpu;
mod layer;
mod pointer;
mod status;
mod tensor;
mod vulkan;

pub use call::*;
pub use cpu::*;
pub use elementwise::*;
pub use gpu::*;
pub use layer::*;
pub use status::*;
pub use tensor::*;
pub use vulkan::*;
