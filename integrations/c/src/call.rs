//! Layers on the GPU: at once, or prepared for a loop.

use elbow_rs::{Gpu, Operand, Prepared};

use crate::{
    gpu::{elbow_gpu, of_gpu},
    layer::{elbow_gradients, elbow_layer},
    pointer::{Out, free, slice, some},
    status::{Failure, Status, guarded},
    tensor::{elbow_tensor, needed},
};

/// A call that is checked, planned and bound, for loops. It keeps the memory of its tensors, whose contents may change from run to run.
#[derive(Debug)]
pub struct elbow_call {
    gpu: Gpu,
    prepared: Prepared,
}

/// Computes a layer: submits the work and returns. elbow_tensor_read() and elbow_gpu_wait() wait for it.
///
/// # Safety
/// Every pointer, also in the structure, is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_forward(gpu: *const elbow_gpu, layer: *const elbow_layer) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (gpu, layer) = unsafe { (of_gpu(gpu)?, some("layer", layer)?) };
        // SAFETY: the caller's promise.
        let layer = unsafe { layer.forward(gpu) }?;
        gpu.submit(|encoder| layer.record(gpu, encoder))?;
        Ok(())
    })
}

/// Computes the gradients of a layer from dy, shaped as y: submits the work and returns. The layer is stated as it was in forward.
///
/// # Safety
/// Every pointer, also in the structures, is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_backward(
    gpu: *const elbow_gpu,
    layer: *const elbow_layer,
    dy: *const elbow_tensor,
    gradients: *const elbow_gradients,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (gpu, layer, gradients) = unsafe { (of_gpu(gpu)?, some("layer", layer)?, some("gradients", gradients)?) };
        // SAFETY: the caller's promise.
        let (layer, dy) = unsafe { (layer.forward(gpu)?, needed(gpu, Operand::Dy, dy)?) };
        // SAFETY: the caller's promise.
        let backward = unsafe { gradients.backward(gpu, &layer, dy) }?;
        gpu.submit(|encoder| backward.record(gpu, encoder))?;
        Ok(())
    })
}

/// Prepares elbow_forward() for elbow_run(). Free it with elbow_call_free().
///
/// # Safety
/// Every pointer, also in the structure, is NULL or valid; `call` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_prepare_forward(
    gpu: *const elbow_gpu,
    layer: *const elbow_layer,
    call: *mut *mut elbow_call,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (out, gpu, layer) = unsafe { (Out::new("call", call)?, of_gpu(gpu)?, some("layer", layer)?) };
        // SAFETY: the caller's promise.
        let layer = unsafe { layer.forward(gpu) }?;
        out.put(elbow_call { gpu: gpu.clone(), prepared: layer.prepare(gpu)? });
        Ok(())
    })
}

/// Prepares elbow_backward() for elbow_run(). Free it with elbow_call_free().
///
/// # Safety
/// Every pointer, also in the structures, is NULL or valid; `call` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_prepare_backward(
    gpu: *const elbow_gpu,
    layer: *const elbow_layer,
    dy: *const elbow_tensor,
    gradients: *const elbow_gradients,
    call: *mut *mut elbow_call,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (out, gpu, layer, gradients) =
            unsafe { (Out::new("call", call)?, of_gpu(gpu)?, some("layer", layer)?, some("gradients", gradients)?) };
        // SAFETY: the caller's promise.
        let (layer, dy) = unsafe { (layer.forward(gpu)?, needed(gpu, Operand::Dy, dy)?) };
        // SAFETY: the caller's promise.
        let backward = unsafe { gradients.backward(gpu, &layer, dy) }?;
        out.put(elbow_call { gpu: gpu.clone(), prepared: backward.prepare(gpu)? });
        Ok(())
    })
}

/// Runs calls in their order, in one submission, and returns before they are done. Calls of another GPU are an error.
///
/// # Safety
/// `gpu` is NULL or open; `calls` has `count` pointers, each NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_run(gpu: *const elbow_gpu, calls: *const *const elbow_call, count: usize) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (gpu, calls) = unsafe { (of_gpu(gpu)?, slice("calls", calls, count)?) };
        // SAFETY: the caller's promise.
        let of = |call: &*const elbow_call| unsafe { some("calls", *call) };
        for call in calls {
            if of(call)?.gpu != *gpu {
                return Err(Failure::input("calls: expected calls of this GPU, got one of another".to_owned()));
            }
        }
        gpu.submit_pass(|pass| {
            // SAFETY: the caller's promise; none is NULL.
            let mut all = calls.iter().filter_map(|call| unsafe { call.as_ref() });
            all.try_for_each(|call| call.prepared.record(&mut *pass))
        })?;
        Ok(())
    })
}

/// Frees a call, and NULL.
///
/// # Safety
/// `call` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_call_free(call: *mut elbow_call) {
    // SAFETY: the caller's promise.
    unsafe { free(call) };
}
