//! The extension module `elbow._elbow`: elbow for Python. What users see of it is documented in `python/elbow/__init__.pyi`.

mod activation;
mod array;
mod errors;
mod gpu;
mod host;
mod layer;
mod mlp;
mod tensor;
mod verify;

use pyo3::prelude::*;

#[pymodule]
mod _elbow {
    #[pymodule_export]
    use super::{
        activation::Activation,
        gpu::Gpu,
        host::{Host, set_threads},
        layer::Layer,
        mlp::Network,
        tensor::Tensor,
        verify::{verify_group, verify_groups},
    };
}
