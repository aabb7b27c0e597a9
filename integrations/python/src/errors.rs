//! elbow's errors as Python's: `ValueError` for what the caller gave, `RuntimeError` for what the device did. The text is elbow's, one line.

use elbow::Error;
use pyo3::{
    PyErr,
    exceptions::{PyRuntimeError, PyValueError},
};

pub(crate) fn raise(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::NoAdapter { .. }
        | Error::DeviceLost { .. }
        | Error::OutOfMemory { .. }
        | Error::ShaderCompile { .. }
        | Error::Wgpu { .. }
        | Error::Late { .. }
        | Error::SelfTest { .. }
        | Error::Timeout { .. } => PyRuntimeError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

/// What an argument should have been, and what it is.
pub(crate) fn expected(name: &str, expected: &str, got: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{name}: expected {expected}, got {got}"))
}
