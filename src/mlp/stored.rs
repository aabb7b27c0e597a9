//! What is found in a safetensors file of a network, and errors that name it.

use std::collections::BTreeMap;

use safetensors::{Dtype as Stored, SafeTensors};

use crate::{
    dtype::Float,
    error::{Error, Result},
};

/// The state of an optimiser's rates in a checkpoint.
pub(super) const RATES: &str = "optimiser.rates";

/// Beginning of the names of the caller's tensors.
pub(super) const NOTED: &str = "notes.";

/// Shape and numbers of tensors, by name: what [`noted_tensors`] returns.
#[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
pub type NotedTensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The caller's tensors in a file, by the names that they had in [`Contents::tensors`](super::Contents::tensors): shape and numbers.
/// [`Error::File`](crate::Error::File) if it is no safetensors file, or names one of them that is not of f32, f16 or bf16.
///
/// ```no_run
/// let tensors = elbow::mlp::noted_tensors(&std::fs::read("checkpoint.safetensors")?)?;
/// if let Some((shape, losses)) = tensors.get("losses") {
///     println!("{shape:?}: {losses:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
pub fn noted_tensors(file: &[u8]) -> Result<NotedTensors> {
    let file = SafeTensors::deserialize(file).map_err(|error| wrong("", "a safetensors file", error))?;
    let mut noted = NotedTensors::new();
    for (name, tensor) in file.iter() {
        if let Some(own) = name.strip_prefix(NOTED) {
            noted.insert(own.to_owned(), (tensor.shape().to_vec(), numbers(&file, name, tensor.shape())?));
        }
    }
    Ok(noted)
}

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
