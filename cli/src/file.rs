//! Reads and writes the tensors of safetensors files.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use elbow::{Float, Operand};
use safetensors::tensor::{Metadata, TensorInfo, TensorView};

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
pub(crate) const INPUTS: [Operand; 7] =
    [Operand::X, Operand::W, Operand::B, Operand::Residual, Operand::Alpha, Operand::Dy, Operand::Ddx];

/// The most bytes of an input file, and of y: the file is in memory together with its numbers, 4 bytes each.
const LARGEST: u64 = 4 << 30;

/// The bytes of the file at `path`.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    match limited(path) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Failure::mismatch(name, format_args!("a file of at most {LARGEST} bytes"), "a longer one")),
        Err(error) => Err(Failure::mismatch(name, "a readable file", error)),
    }
}

/// The bytes of a file; None if it is too long.
fn limited(path: &Path) -> io::Result<Option<Vec<u8>>> {
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

/// Every tensor of the file at `path`. [`parse`] says how much memory that takes beside the file's own bytes.
pub fn read(path: &Path) -> Result<BTreeMap<Operand, Tensor>, Failure> {
    let bytes = bytes(path)?;
    parse(&path.display().to_string(), &bytes)
}

/// Every tensor of a file's bytes; `name` names the file in messages. Memory depends on the bytes that are there, not on declared sizes:
/// once more the data (twice for 16-bit numbers, which become f32), and at most 12 times the header.
pub fn parse(name: &str, bytes: &[u8]) -> Result<BTreeMap<Operand, Tensor>, Failure> {
    Source::new(name, bytes)?.operands(&INPUTS, false)
}

/// A file whose tensors can be read by name.
pub(crate) struct Source<'a> {
    /// For messages.
    pub(crate) name: &'a str,
    metadata: Metadata,
    data: &'a [u8],
}

impl<'a> Source<'a> {
    /// Checks the header.
    pub(crate) fn new(name: &'a str, bytes: &'a [u8]) -> Result<Self, Failure> {
        let (metadata, data) = header::split(bytes).map_err(|what| damaged(name, what))?;
        Ok(Source { name, metadata, data })
    }

    /// The names of all tensors, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort_unstable();
        names
    }

    /// The shape of a tensor; None if there is none of that name.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// Every tensor, each of which must have the name of one of these operands.
    pub(crate) fn operands(&self, operands: &[Operand], convert: bool) -> Result<BTreeMap<Operand, Tensor>, Failure> {
        let mut tensors = BTreeMap::new();
        for key in self.metadata.offset_keys() {
            let Some(operand) = operands.iter().copied().find(|operand| operand.name() == key) else {
                let known = operands.iter().map(|operand| operand.name()).collect::<Vec<_>>().join(", ");
                let got: String = key.chars().take(60).collect();
                return Err(Failure::mismatch(
                    self.name,
                    format_args!("tensors named {known}"),
                    format_args!("{got:?}"),
                ));
            };
            tensors.insert(operand, self.tensor(operand, &key, convert)?);
        }
        Ok(tensors)
    }

    /// The tensor of this name, which is this operand; F64 and integers as F32 if they may be converted.
    pub(crate) fn tensor(&self, operand: Operand, name: &str, convert: bool) -> Result<Tensor, Failure> {
        let info = self.metadata.info(name);
        let place = info.and_then(|info| Some((info, self.data.get(info.data_offsets.0..info.data_offsets.1)?)));
        let (info, bytes) = place.ok_or_else(|| damaged(self.name, format!("{operand} lies outside of it")))?;
        tensor(operand, info, bytes, convert)
    }
}

fn damaged(name: &str, what: String) -> Failure {
    Failure::mismatch(name, "a safetensors file", format_args!("a damaged one ({what})"))
}

fn tensor(operand: Operand, info: &TensorInfo, bytes: &[u8], convert: bool) -> Result<Tensor, Failure> {
    // A learnable α in 16 bits is refused on the GPU, and so here for every device.
    let (accepted, expected) = match operand {
        Operand::Alpha => (&DTYPES[..1], "dtype F32"),
        _ => (&DTYPES[..], "dtype F32, F16 or BF16"),
    };
    if let Some(&(dtype, _)) = accepted.iter().find(|(_, stored)| *stored == info.dtype) {
        // The header was checked: the bytes are exactly those of the shape.
        let count = bytes.len() / dtype.bytes() as usize;
        return Ok(Tensor { shape: info.shape.clone(), values: dtype.decode(bytes, count), dtype });
    }
    match converted(info.dtype, bytes) {
        Some(values) if convert => Ok(Tensor { shape: info.shape.clone(), values: values(), dtype: Float::F32 }),
        Some(_) => {
            let hint = format_args!("{:?}; --convert rounds it to F32", info.dtype);
            Err(Failure::mismatch(operand, expected, hint))
        }
        None => Err(Failure::mismatch(operand, expected, format_args!("{:?}", info.dtype))),
    }
}

/// How numbers of another type become f32, each the nearest (F64 beyond f32 is infinite, bool is 0 or 1); None for a type that does not.
fn converted(dtype: safetensors::Dtype, bytes: &[u8]) -> Option<impl Fn() -> Vec<f32> + use<'_>> {
    macro_rules! numbers {
        ($($stored:ident => $number:ty),+) => {
            match dtype {
                $(safetensors::Dtype::$stored => {
                    |bytes: &[u8]| bytes.as_chunks().0.iter().map(|b| <$number>::from_le_bytes(*b) as f32).collect()
                })+
                safetensors::Dtype::BOOL => |bytes: &[u8]| bytes.iter().map(|b| f32::from(u8::from(*b != 0))).collect(),
                _ => return None,
            }
        };
    }
    let numbers: fn(&[u8]) -> Vec<f32> = numbers!(F64 => f64, I8 => i8, U8 => u8, I16 => i16, U16 => u16, I32 => i32, U32 => u32, I64 => i64, U64 => u64);
    Some(move || numbers(bytes))
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
