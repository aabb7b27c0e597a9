//! Activations alone: a number, or a tensor.

use std::ffi::c_char;

use elbow_rs::{Operand, elementwise::Forward};

use crate::{
    gpu::{elbow_gpu, of_gpu},
    layer::activation,
    pointer::text,
    status::{Failure, Status, guarded},
    tensor::{elbow_tensor, needed},
};

/// Writes act(z) and act'(z), in f64; either may be NULL.
///
/// # Safety
/// `name` is NULL or a text; `value` and `slope` are NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_activation(name: *const c_char, z: f64, value: *mut f64, slope: *mut f64) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let activation = activation(unsafe { text("name", name) }?)?;
        for (out, number) in [(value, activation.value(z)), (slope, activation.slope(z))] {
            if !out.is_null() {
                // SAFETY: the caller's promise.
                unsafe { out.write(number) };
            }
        }
        Ok(())
    })
}

/// Computes y = act(x) on tensors of one shape: submits the work and returns.
///
/// # Safety
/// Every pointer is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_activation_forward(
    gpu: *const elbow_gpu,
    name: *const c_char,
    x: *const elbow_tensor,
    y: *const elbow_tensor,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (gpu, call) = unsafe { (of_gpu(gpu)?, of(gpu, name, x, y)?) };
        gpu.submit(|encoder| call.record(gpu, encoder))?;
        Ok(())
    })
}

/// Computes dx = dy * act'(x) on tensors of one shape: submits the work and returns.
///
/// # Safety
/// Every pointer is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_activation_backward(
    gpu: *const elbow_gpu,
    name: *const c_char,
    x: *const elbow_tensor,
    dy: *const elbow_tensor,
    dx: *const elbow_tensor,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (gpu, call) = unsafe { (of_gpu(gpu)?, of(gpu, name, x, x)?) };
        // SAFETY: the caller's promise.
        let (dy, dx) = unsafe { (needed(gpu, Operand::Dy, dy)?, needed(gpu, Operand::Dx, dx)?) };
        gpu.submit(|encoder| call.backward(dy).dx(dx).record(gpu, encoder))?;
        Ok(())
    })
}

/// # Safety
/// Every pointer is NULL or valid.
unsafe fn of<'a>(
    gpu: *const elbow_gpu,
    name: *const c_char,
    x: *const elbow_tensor,
    y: *const elbow_tensor,
) -> Result<Forward<'a>, Failure> {
    // SAFETY: the caller's promise.
    unsafe {
        let gpu = of_gpu(gpu)?;
        let activation = activation(text("name", name)?)?;
        Ok(Forward::new(activation, needed(gpu, Operand::X, x)?, needed(gpu, Operand::Y, y)?))
    }
}
