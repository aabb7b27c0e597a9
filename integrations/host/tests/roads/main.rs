//! Both roads compute the same: integer layers to the last bit, real ones within bounds of the f64 reference; and both refuse the same.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod choice;
mod exact;
mod layer;
mod real;
mod refused;

use std::sync::OnceLock;

use elbow::Gpu;
use elbow_host::{Host, Road};

/// The device of this machine, always taken, and the CPU alone.
fn hosts() -> &'static [Host; 2] {
    static HOSTS: OnceLock<[Host; 2]> = OnceLock::new();
    HOSTS.get_or_init(|| [Host::with(Gpu::new().expect("an adapter"), Road::Gpu), Host::cpu()])
}
