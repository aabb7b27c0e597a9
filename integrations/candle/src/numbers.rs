//! candle's storage as the slices of f32 that elbow takes, and back.

use std::borrow::Cow;

use candle_core::{CpuStorage, DType, Device, Error, Layout, Result, Shape, Storage, StorageRef, Tensor};
use elbow::{
    Operand,
    half::{bf16, f16, slice::HalfFloatSliceExt},
};

/// The error of an operand, as candle carries it.
pub(crate) fn mistake(operand: Operand, expected: impl Into<String>, got: impl Into<String>) -> Error {
    Error::wrap(elbow::Error::Operand { operand, expected: expected.into(), got: got.into() })
}

fn wrong_type(operand: Operand, dtype: DType) -> Error {
    mistake(operand, "a tensor of f32, f16 or bf16", format!("one of {}", dtype.as_str()))
}

/// An operand on the CPU, of a type that elbow computes with, without gaps; it is copied if it has any.
pub(crate) fn operand(operand: Operand, tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F32 | DType::F16 | DType::BF16 => {}
        dtype => return Err(wrong_type(operand, dtype)),
    }
    if !tensor.device().is_cpu() {
        return Err(mistake(operand, "a tensor on the CPU", format!("one on {:?}", tensor.device().location())));
    }
    tensor.contiguous()
}

/// The numbers of an operand in f32: as they lie, or widened.
pub(crate) fn numbers<'a>(operand: Operand, storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [f32]>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(mistake(operand, "a contiguous tensor", format!("strides {:?}", layout.stride())));
    };
    Ok(match storage {
        CpuStorage::F32(all) => Cow::Borrowed(&all[start..end]),
        CpuStorage::F16(all) => Cow::Owned(all[start..end].to_f32_vec()),
        CpuStorage::BF16(all) => Cow::Owned(all[start..end].to_f32_vec()),
        other => return Err(wrong_type(operand, candle_core::backend::BackendStorage::dtype(other))),
    })
}

/// Results as storage of this type, each rounded once.
pub(crate) fn storage(values: Vec<f32>, dtype: DType) -> CpuStorage {
    match dtype {
        DType::F16 => CpuStorage::F16(values.into_iter().map(f16::from_f32).collect()),
        DType::BF16 => CpuStorage::BF16(values.into_iter().map(bf16::from_f32).collect()),
        _ => CpuStorage::F32(values),
    }
}

/// A gradient as a tensor of the shape and type of its operand.
pub(crate) fn gradient(values: Vec<f32>, of: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, of.shape(), &Device::Cpu)?.to_dtype(of.dtype())
}

/// A tensor while its numbers are read.
pub(crate) struct Lent<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Lent<'a> {
    pub(crate) fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Lent { storage, layout }
    }

    pub(crate) fn numbers(&self, operand: Operand) -> Result<Cow<'_, [f32]>> {
        match &*self.storage {
            Storage::Cpu(storage) => numbers(operand, storage, self.layout),
            _ => Err(mistake(operand, "a tensor on the CPU", "one elsewhere")),
        }
    }
}

/// The dimensions of x as rows and columns.
pub(crate) fn rows(shape: &Shape) -> (usize, usize) {
    match shape.dims().split_last() {
        Some((&columns, leading)) => (leading.iter().product(), columns),
        None => (1, 1),
    }
}

/// Gradients as candle's backward hands them on have no graph of their own. Where candle is asked to keep one, those of elbow would silently have none.
pub(crate) fn refuse_second_gradients(name: &'static str) -> Result<()> {
    match std::env::var("CANDLE_GRAD_DO_NOT_DETACH") {
        Ok(asked) if !asked.is_empty() && asked != "0" => Err(Error::msg(format!(
            "{name}: CANDLE_GRAD_DO_NOT_DETACH asks for gradients of gradients, which this operation has not: use candle's own layers for them"
        ))),
        _ => Ok(()),
    }
}
