//! Whether the device is lost. A host's device has the host's callback for that, and the callback of a destroyed device runs only when
//! somebody polls: so the device is probed in a way that needs neither.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::Gpu;
use crate::error::{Error, Result};

impl Gpu {
    /// [`Error::DeviceLost`] if the device is lost, also for every later call.
    pub(crate) fn check_alive(&self) -> Result<()> {
        let lost = &self.inner.lost;
        if lost.get().is_none() && !complains(self.device()) {
            // If the callback was faster, its reason stays: it says more.
            let _ = lost.set("it was destroyed, or its driver gave it up".into());
        }
        self.check_known_loss()
    }

    /// [`Gpu::check_alive`] without the probe: what an earlier call, or the callback of a device of our own, has found.
    pub(super) fn check_known_loss(&self) -> Result<()> {
        match self.inner.lost.get() {
            Some(reason) => Err(Error::DeviceLost { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// An error of wgpu's as one of ours, on one line; [`Error::DeviceLost`] if that is the cause.
    pub(crate) fn refused(&self, operation: impl Into<String>, error: &wgpu::Error) -> Error {
        match self.check_alive() {
            Err(lost) => lost,
            Ok(()) => Error::Wgpu { operation: operation.into(), message: one_line(error) },
        }
    }
}

/// Whether the device reports an invalid call, here a buffer without a usage: a lost device reports no errors. The buffer is refused before
/// anything is allocated.
///
/// A browser answers too late for this probe. Calls on a lost device do nothing there, and the loss shows in later answers.
fn complains(device: &wgpu::Device) -> bool {
    if cfg!(target_family = "wasm") {
        return true;
    }
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let _ = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("elbow asks whether the device is lost"),
        size: 4,
        usage: wgpu::BufferUsages::empty(),
        mapped_at_creation: false,
    });
    match pin!(scope.pop()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(complaint) => complaint.is_some(),
        Poll::Pending => true,
    }
}

/// wgpu's message on one line: first the call, then its causes.
pub(super) fn one_line(error: &wgpu::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}
