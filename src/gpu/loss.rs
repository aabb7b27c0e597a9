//! Whether the device is still there. The lost callback of a host's device is the host's, and that of a device that was
//! destroyed is called when somebody polls: so wgpu is asked in a way that needs neither.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::Gpu;
use crate::error::{Error, Result};

impl Gpu {
    /// [`Error::DeviceLost`], from the first call on that finds the device gone.
    pub(crate) fn check_alive(&self) -> Result<()> {
        let lost = &self.inner.lost;
        if lost.get().is_none() && !complains(self.device()) {
            // Whoever was first has the better reason.
            let _ = lost.set("it was destroyed, or its driver gave it up".into());
        }
        match lost.get() {
            Some(reason) => Err(Error::DeviceLost { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// An error of wgpu's as one of ours, on one line.
    pub(crate) fn refused(&self, operation: impl Into<String>, error: &wgpu::Error) -> Error {
        match self.check_alive() {
            Err(lost) => lost,
            Ok(()) => Error::Wgpu { operation: operation.into(), message: one_line(error) },
        }
    }
}

/// wgpu keeps the errors of a lost device to itself, and reports all others: a device that does not mind a buffer of no use
/// is lost. The buffer is refused before anything is allocated.
///
/// A browser answers too late for that, and a call on a lost device is nothing there; the loss shows in what comes back.
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

/// wgpu's words: the causes, from the call inwards.
pub(super) fn one_line(error: &wgpu::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}
