//! Opening a device, and asking what it is.

use std::ffi::c_char;

use elbow_rs::{Gpu, Options, gpu::AdapterChoice};

use crate::{
    pointer::{Out, free, some, text},
    status::{Failure, Status, guarded},
};

/// A GPU that is open. Any number of threads may use it at once.
#[derive(Debug)]
pub struct elbow_gpu {
    pub(crate) gpu: Gpu,
}

/// Opens a GPU: the best one there is, or with a name (NULL for none) the best whose name contains it, in any case. The environment variables WGPU_BACKEND,
/// WGPU_ADAPTER_NAME and WGPU_POWER_PREF narrow the choice where name is NULL. A small layer is computed first, and a driver that gets it wrong is
/// refused. Close it with elbow_gpu_close().
///
/// # Safety
/// `name` is NULL or a text; `gpu` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_gpu_open(name: *const c_char, gpu: *mut *mut elbow_gpu) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("gpu", gpu) }?;
        let choice = if name.is_null() {
            AdapterChoice::from_env()
        } else {
            // SAFETY: the caller's promise.
            AdapterChoice::default().name(unsafe { text("name", name) }?.to_owned())
        };
        out.put(elbow_gpu { gpu: Gpu::with_choice(&choice, Options::default())? });
        Ok(())
    })
}

/// Frees what elbow_gpu_open() or elbow_gpu_from_vulkan() made, and NULL. Tensors and calls of it may be freed before or after.
///
/// # Safety
/// `gpu` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_gpu_close(gpu: *mut elbow_gpu) {
    // SAFETY: the caller's promise.
    unsafe { free(gpu) };
}

/// Writes at most size bytes of a line that says which GPU it is, a zero at the end. Returns the bytes that the whole line takes, or 0 if gpu is
/// NULL: with size 0 text may be NULL.
///
/// # Safety
/// `gpu` is NULL or open; `text` has `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_gpu_describe(gpu: *const elbow_gpu, text: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller's promise.
    let Some(gpu) = (unsafe { gpu.as_ref() }) else { return 0 };
    let line = gpu.gpu.to_string();
    if !text.is_null() && size > 0 {
        let written = line.len().min(size - 1);
        // SAFETY: the caller's promise: `written` < `size`.
        unsafe {
            text.copy_from_nonoverlapping(line.as_ptr().cast(), written);
            text.add(written).write(0);
        }
    }
    line.len() + 1
}

/// Whether it is a CPU in the place of a GPU: right, but not fast. False if gpu is NULL.
///
/// # Safety
/// `gpu` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_gpu_is_software(gpu: *const elbow_gpu) -> bool {
    // SAFETY: the caller's promise.
    unsafe { gpu.as_ref() }.is_some_and(|gpu| gpu.gpu.is_software())
}

/// Waits until all work that was submitted is done. Five minutes at most.
///
/// # Safety
/// `gpu` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_gpu_wait(gpu: *const elbow_gpu) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe { of_gpu(gpu) }?.wait()?;
        Ok(())
    })
}

/// # Safety
/// NULL or open.
pub(crate) unsafe fn of_gpu<'a>(gpu: *const elbow_gpu) -> Result<&'a Gpu, Failure> {
    // SAFETY: the caller's promise.
    unsafe { some("gpu", gpu) }.map(|gpu| &gpu.gpu)
}
