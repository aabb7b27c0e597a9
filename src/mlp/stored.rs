//! What is found in a safetensors file of a network, and errors that name it.

use safetensors::{Dtype as Stored, SafeTensors};

use crate::{
    dtype::Float,
    error::{Error, Result},
};

/// The state of an optimiser's rates in a checkpoint.
pub(super) const RATES: &str = "optimiser.rates";

/// The type and the bytes of a tensor of this shape.
pub(super) fn found<'a>(file: &'a SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<(Float, &'a [u8])> {
    let expected = format!("{shape:?} of f32, f16 or bf16");
    let tensor = file.tensor(name).map_err(|_| wrong(name, &expected, "no such tensor"))?;
    let dtype = match tensor.dtype() {
        Stored::F32 => Float::F32,
        Stored::F16 => Float::F16,
        Stored::BF16 => Float::Bf16,
        other => return Err(wrong(name, &expected, format_args!("{other:?}"))),
    };
    if tensor.shape() != shape {
        return Err(wrong(name, &expected, format_args!("{:?}", tensor.shape())));
    }
    Ok((dtype, tensor.data()))
}

/// The numbers of a tensor of this shape.
pub(super) fn numbers(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let (dtype, bytes) = found(file, name, shape)?;
    Ok(dtype.decode(bytes, shape.iter().product()))
}

pub(crate) fn wrong(entry: &str, expected: impl std::fmt::Display, got: impl std::fmt::Display) -> Error {
    Error::File { entry: entry.into(), expected: expected.to_string(), got: got.to_string() }
}
