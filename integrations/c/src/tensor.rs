//! Tensors on the device.

use elbow_rs::{Dtype, Gpu, Operand, View, wgpu};

use crate::{
    gpu::{elbow_gpu, of_gpu},
    pointer::{Out, free, slice, slice_mut, some},
    status::{Failure, Status, guarded},
};

/// A row-major tensor in a GPU's memory.
#[derive(Debug)]
pub struct elbow_tensor {
    pub(crate) gpu: Gpu,
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: Dtype,
    /// Keeps memory of elbow's own counted for as long as the tensor lives.
    pub(crate) _owned: Option<elbow_rs::Tensor>,
}

impl elbow_tensor {
    fn owned(gpu: &Gpu, tensor: elbow_rs::Tensor) -> Self {
        elbow_tensor {
            gpu: gpu.clone(),
            buffer: tensor.buffer().clone(),
            offset: 0,
            shape: tensor.shape().to_vec(),
            dtype: tensor.dtype(),
            _owned: Some(tensor),
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(&self.buffer, self.offset, &self.shape, self.dtype)
    }

    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bytes() as usize
    }
}

/// The type of a tensor's elements.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// 32 bits: sums, and the gradients of parameters.
    F32 = 0,
    /// IEEE half precision.
    F16 = 1,
    /// The upper half of an f32.
    Bf16 = 2,
    /// Words: masks.
    U32 = 3,
}

/// A number of C's, which may be any, as a type.
pub(crate) fn dtype(kind: u32) -> Result<Dtype, Failure> {
    match kind {
        0 => Ok(Dtype::F32),
        1 => Ok(Dtype::F16),
        2 => Ok(Dtype::BF16),
        3 => Ok(Dtype::U32),
        _ => Err(Failure::input(format!("kind: expected one of elbow_data_type, 0 to 3, got {kind}"))),
    }
}

/// Makes a tensor of zeros: kind is one of elbow_data_type, shape has rank dimensions, the slowest first. Free it with elbow_tensor_free().
///
/// # Safety
/// `gpu` is NULL or open; `shape` has `rank` elements; `tensor` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_tensor_zeros(
    gpu: *const elbow_gpu,
    kind: u32,
    shape: *const usize,
    rank: usize,
    tensor: *mut *mut elbow_tensor,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (out, gpu, shape) = unsafe { (Out::new("tensor", tensor)?, of_gpu(gpu)?, slice("shape", shape, rank)?) };
        out.put(elbow_tensor::owned(gpu, gpu.zeros_of(dtype(kind)?, shape)?));
        Ok(())
    })
}

/// elbow_tensor_zeros() with elements of the tensor's type in the place of the zeros, exactly as many bytes as they take.
///
/// # Safety
/// `gpu` is NULL or open; `shape` has `rank` elements, `data` has `bytes` bytes; `tensor` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_tensor_upload(
    gpu: *const elbow_gpu,
    kind: u32,
    shape: *const usize,
    rank: usize,
    data: *const u8,
    bytes: usize,
    tensor: *mut *mut elbow_tensor,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (out, gpu, shape, data) = unsafe {
            (Out::new("tensor", tensor)?, of_gpu(gpu)?, slice("shape", shape, rank)?, slice("data", data, bytes)?)
        };
        out.put(elbow_tensor::owned(gpu, gpu.upload_as(dtype(kind)?, data, shape)?));
        Ok(())
    })
}

/// Copies all elements of a tensor from data, exactly as many bytes as they take. Work that was submitted before still reads the old ones.
///
/// # Safety
/// `tensor` is NULL or valid; `data` has `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_tensor_write(tensor: *const elbow_tensor, data: *const u8, bytes: usize) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (tensor, data) = unsafe { (some("tensor", tensor)?, slice("data", data, bytes)?) };
        tensor.gpu.write(tensor.view(), data)?;
        Ok(())
    })
}

/// Waits for the work that was submitted, and copies all elements of a tensor to data, exactly as many bytes as they take.
///
/// # Safety
/// `tensor` is NULL or valid; `data` has `bytes` bytes that nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_tensor_read(tensor: *const elbow_tensor, data: *mut u8, bytes: usize) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (tensor, data) = unsafe { (some("tensor", tensor)?, slice_mut("data", data, bytes)?) };
        tensor.gpu.download_into(tensor.view(), data)?;
        Ok(())
    })
}

/// The bytes of all elements; 0 if tensor is NULL.
///
/// # Safety
/// `tensor` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_tensor_bytes(tensor: *const elbow_tensor) -> usize {
    // SAFETY: the caller's promise.
    unsafe { tensor.as_ref() }.map_or(0, elbow_tensor::bytes)
}

/// Frees a tensor, and NULL. Work and prepared calls that use its memory keep that for themselves.
///
/// # Safety
/// `tensor` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_tensor_free(tensor: *mut elbow_tensor) {
    // SAFETY: the caller's promise.
    unsafe { free(tensor) };
}

/// The operand that a tensor is in a call on this device; None for NULL.
///
/// # Safety
/// `tensor` is NULL or valid.
pub(crate) unsafe fn operand<'a>(
    gpu: &Gpu,
    operand: Operand,
    tensor: *const elbow_tensor,
) -> Result<Option<View<'a>>, Failure> {
    // SAFETY: the caller's promise.
    let Some(tensor) = (unsafe { tensor.as_ref() }) else { return Ok(None) };
    // wgpu would panic.
    if tensor.gpu != *gpu {
        return Err(Failure::input(format!("{operand}: expected a tensor of this GPU, got one of another")));
    }
    Ok(Some(tensor.view()))
}

/// [`operand`] of one that must be there.
///
/// # Safety
/// `tensor` is NULL or valid.
pub(crate) unsafe fn needed<'a>(gpu: &Gpu, name: Operand, tensor: *const elbow_tensor) -> Result<View<'a>, Failure> {
    // SAFETY: the caller's promise.
    unsafe { operand(gpu, name, tensor) }?.ok_or_else(|| Failure::input(format!("{name}: expected a tensor, got NULL")))
}
