//! elbow in a browser, on wgpu's WebGPU backend: what the page of `examples/web` calls.
//!
//! [`device`] opens the GPU, [`check`] verifies it with the checks of `elbow verify`, [`speed`] times fused layers, [`learning`] trains a
//! network on handwritten digits. Nothing here touches the page: it is told by values that are returned and by functions that it gives.

#![forbid(unsafe_code)]

pub mod check;
#[path = "../../digits/data.rs"]
mod data;
pub mod device;
pub mod learning;
pub mod report;
pub mod speed;
