//! Layers on the CPU, in f32, on the caller's arrays: no GPU is needed, or asked for.

use std::ffi::c_char;

use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace};
use elbow_rs::{
    Saved, Want, WeightLayout,
    request::{AffineRequest, BackwardRequest, Gradients},
};

use crate::{
    layer::activation,
    pointer::{slice, slice_mut, some, text},
    status::{Failure, Status, guarded},
};

/// A layer on the CPU, y = act(x W^T + b), m rows: arrays of f32, row-major.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct elbow_cpu_layer {
    /// As in elbow_layer.
    pub activation: *const c_char,
    /// Rows of x and y.
    pub m: usize,
    /// Columns of y.
    pub n: usize,
    /// Columns of x.
    pub k: usize,
    /// `[m, k]`.
    pub x: *const f32,
    /// `[n, k]`, or `[k, n]` if in_out.
    pub w: *const f32,
    /// `[n]`, or NULL.
    pub b: *const f32,
    /// `[m, n]`: written by forward, not used by backward.
    pub y: *mut f32,
    /// `[m, n]`, or NULL: z, written by forward and read by backward, which without it computes z again.
    pub z: *mut f32,
    /// Whether w is `[k, n]`.
    pub in_out: bool,
}

/// The gradients of an elbow_cpu_layer that are wanted: each is written unless it is NULL.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct elbow_cpu_gradients {
    /// `[m, k]`.
    pub dx: *mut f32,
    /// Shaped as w.
    pub dw: *mut f32,
    /// `[n]`.
    pub db: *mut f32,
    /// Whether all of them are added to what the arrays hold.
    pub accumulate: bool,
}

impl elbow_cpu_layer {
    /// # Safety
    /// `activation` is NULL or a text.
    unsafe fn request(&self) -> Result<AffineRequest, Failure> {
        // SAFETY: the caller's promise.
        let activation = activation(unsafe { text("activation", self.activation) }?)?;
        let saved = if self.z.is_null() { Saved::None } else { Saved::Z };
        let layout = if self.in_out { WeightLayout::InOut } else { WeightLayout::OutIn };
        let request = AffineRequest::new(self.m, self.n, self.k, activation).layout(layout).saved(saved);
        Ok(request.bias(!self.b.is_null()))
    }

    /// # Safety
    /// The arrays are NULL or as long as they should be.
    unsafe fn inputs<'a>(&self) -> Result<ForwardInputs<'a>, Failure> {
        let [x, w, _] = self.lengths()?;
        // SAFETY: the caller's promise.
        unsafe {
            let b = if self.b.is_null() { None } else { Some(slice("b", self.b, self.n)?) };
            Ok(ForwardInputs::new(slice("x", self.x, x)?, slice("w", self.w, w)?).b(b))
        }
    }

    /// Elements of x, w and y.
    fn lengths(&self) -> Result<[usize; 3], Failure> {
        let Self { m, n, k, .. } = *self;
        let most = isize::MAX as usize / size_of::<f32>();
        let length = |a: usize, b: usize| a.checked_mul(b).filter(|length| *length <= most);
        match (length(m, k), length(n, k), length(m, n)) {
            (Some(x), Some(w), Some(y)) => Ok([x, w, y]),
            _ => Err(Failure::input(format!("m, n, k: expected arrays that fit in memory, got {m}, {n}, {k}"))),
        }
    }
}

/// Computes a layer on the CPU, on all threads, and returns when it is done.
///
/// # Safety
/// Every pointer is NULL or valid, every array as long as its shape says, and nobody else uses those that are written meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_cpu_forward(layer: *const elbow_cpu_layer) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let layer = unsafe { some("layer", layer) }?;
        let [.., length] = layer.lengths()?;
        // SAFETY: the caller's promise.
        let (request, inputs, y) = unsafe { (layer.request()?, layer.inputs()?, slice_mut("y", layer.y, length)?) };
        let saved = match layer.z.is_null() {
            true => SavedOut::None,
            // SAFETY: the caller's promise.
            false => SavedOut::Z(unsafe { slice_mut("z", layer.z, length) }?),
        };
        elbow_cpu::forward(&request, inputs, ForwardOutputs { y, saved, ..Default::default() })?;
        Ok(())
    })
}

/// Computes the gradients of a layer on the CPU from dy `[m, n]`, and returns when it is done.
///
/// # Safety
/// As elbow_cpu_forward().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_cpu_backward(
    layer: *const elbow_cpu_layer,
    dy: *const f32,
    gradients: *const elbow_cpu_gradients,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (layer, wanted) = unsafe { (some("layer", layer)?, some("gradients", gradients)?) };
        let [of_x, of_w, of_y] = layer.lengths()?;
        // SAFETY: the caller's promise.
        let (request, ForwardInputs { x, w, b, .. }, dy) =
            unsafe { (layer.request()?, layer.inputs()?, slice("dy", dy, of_y)?) };
        // SAFETY: the caller's promise.
        let out = |name, pointer: *mut f32, length| match pointer.is_null() {
            true => Ok(None),
            false => unsafe { slice_mut(name, pointer, length) }.map(Some),
        };
        let (dx, dw, db) = (out("dx", wanted.dx, of_x)?, out("dw", wanted.dw, of_w)?, out("db", wanted.db, layer.n)?);
        let saved = match layer.z.is_null() {
            true => SavedIn::None,
            // SAFETY: the caller's promise.
            false => SavedIn::Z(unsafe { slice("z", layer.z.cast_const(), of_y) }?),
        };
        let want = |there: bool| match (there, wanted.accumulate) {
            (false, _) => Want::No,
            (true, false) => Want::Overwrite,
            (true, true) => Want::Accumulate,
        };
        let gradients = Gradients::default().x(want(dx.is_some())).w(want(dw.is_some())).b(want(db.is_some()));
        let request = BackwardRequest::new(request, gradients);
        let inputs = BackwardInputs { x, w, b: b.filter(|_| layer.z.is_null()), dy, saved, ..Default::default() };
        let outputs = BackwardOutputs { dx, dw, db, ..Default::default() };
        elbow_cpu::backward(&request, inputs, outputs, &mut Workspace::new())?;
        Ok(())
    })
}
