//! Reads and writes the tensors of safetensors files.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use elbow::{Float, Operand};
use safetensors::tensor::{TensorInfo, TensorView};

use crate::{failure::Failure, header};

/// A row-major tensor on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its dimensions, the last one contiguous.
    pub shape: Vec<usize>,
    /// The numbers, as many as the shape has elements.
    pub values: Vec<f32>,
    /// The type in the file; numbers are rounded to it when they are written.
    pub dtype: Float,
}

impl Tensor {
    /// A tensor of zeros in f32. The caller has checked its size.
    pub(crate) fn zeros(shape: &[usize]) -> Self {
        Tensor { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()], dtype: Float::F32 }
    }
}

/// The supported types, and their names in the format.
const DTYPES: [(Float, safetensors::Dtype); 3] = [
    (Float::F32, safetensors::Dtype::F32),
    (Float::F16, safetensors::Dtype::F16),
    (Float::Bf16, safetensors::Dtype::BF16),
];

/// The names of the tensors that a file may hold.
const INPUTS: [Operand; 7] =
    [Operand::X, Operand::W, Operand::B, Operand::Residual, Operand::Alpha, Operand::Dy, Operand::Ddx];

/// The most bytes of an input file, and of y: the file is in memory together with its numbers, 4 bytes each.
const LARGEST: u64 = 4 << 30;

/// Every tensor of the file at `path`. [`parse`] says how much memory that takes beside the file's own bytes.
pub fn read(path: &Path) -> Result<BTreeMap<Operand, Tensor>, Failure> {
    let name = path.display().to_string();
    match bytes(path) {
        Ok(Some(bytes)) => parse(&name, &bytes),
        Ok(None) => Err(Failure::mismatch(name, format_args!("a file of at most {LARGEST} bytes"), "a longer one")),
        Err(error) => Err(Failure::mismatch(name, "a readable file", error)),
    }
}

/// The bytes of a file; None if it is too long.
pub(crate) fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LARGEST {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))?;
    // Limited while reading too: a pipe has no length, and a file may grow.
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= LARGEST))
}

/// Every tensor of a file's bytes; `name` names the file in messages. Memory depends on the bytes that are there, not on declared sizes:
/// once more the data (twice for 16-bit numbers, which become f32), and at most 12 times the header.
pub fn parse(name: &str, bytes: &[u8]) -> Result<BTreeMap<Operand, Tensor>, Failure> {
    let damaged = |what: String| Failure::mismatch(name, "a safetensors file", format_args!("a damaged one ({what})"));
    let (metadata, data) = header::split(bytes).map_err(damaged)?;
    let mut tensors = BTreeMap::new();
    for key in metadata.offset_keys() {
        let Some(operand) = INPUTS.into_iter().find(|operand| operand.name() == key) else {
            let known = INPUTS.map(Operand::name).join(", ");
            let got: String = key.chars().take(60).collect();
            return Err(Failure::mismatch(name, format_args!("tensors named {known}"), format_args!("{got:?}")));
        };
        let place =
            metadata.info(&key).and_then(|info| Some((info, data.get(info.data_offsets.0..info.data_offsets.1)?)));
        let (info, bytes) = place.ok_or_else(|| damaged(format!("{operand} lies outside of it")))?;
        tensors.insert(operand, tensor(operand, info, bytes)?);
    }
    Ok(tensors)
}

fn tensor(operand: Operand, info: &TensorInfo, bytes: &[u8]) -> Result<Tensor, Failure> {
    // A learnable α in 16 bits is refused on the GPU, and so here for every device.
    let (accepted, expected) = match operand {
        Operand::Alpha => (&DTYPES[..1], "dtype F32"),
        _ => (&DTYPES[..], "dtype F32, F16 or BF16"),
    };
    let Some(&(dtype, _)) = accepted.iter().find(|(_, stored)| *stored == info.dtype) else {
        return Err(Failure::mismatch(operand, expected, format_args!("{:?}", info.dtype)));
    };
    // The header was checked: the bytes are exactly those of the shape.
    let count = bytes.len() / dtype.bytes() as usize;
    Ok(Tensor { shape: info.shape.clone(), values: dtype.decode(bytes, count), dtype })
}

/// A tensor's bytes in a file, each number rounded to the nearest of its type.
fn data(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = tensor.dtype.encode(&tensor.values);
    // `encode` pads to whole words; the file must not have the padding.
    bytes.truncate(tensor.values.len() * tensor.dtype.bytes() as usize);
    bytes
}

/// The bytes of a file with these tensors; `name` names the file in messages.
pub(crate) fn serialize(name: &str, tensors: &[(Operand, Tensor)]) -> Result<Vec<u8>, Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::mismatch(name, "tensors that the format can hold", error);
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, tensor)| data(tensor)).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((operand, tensor), bytes) in tensors.iter().zip(&bytes) {
        let dtype = DTYPES.into_iter().find(|(dtype, _)| *dtype == tensor.dtype);
        let (_, dtype) = dtype.ok_or_else(|| fail(&format_args!("{operand} in {}", tensor.dtype)))?;
        let view = TensorView::new(dtype, tensor.shape.clone(), bytes).map_err(|e| fail(&e))?;
        views.push((operand.name(), view));
    }
    safetensors::serialize(views, None).map_err(|e| fail(&e))
}
