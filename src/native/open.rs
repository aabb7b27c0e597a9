//! Opening a device the short way: it blocks, and the environment may narrow the choice.

use std::env;

use super::wait::until;
use crate::{
    error::Result,
    gpu::{self, AdapterChoice, Gpu, Options, TIMEOUT},
};

impl Gpu {
    /// Opens the best adapter of this machine: a real GPU before a software one.
    ///
    /// `WGPU_BACKEND` (a list such as `vulkan,metal`), `WGPU_ADAPTER_NAME` (part of a name) and `WGPU_POWER_PREF` (`low`,
    /// `high`) narrow the choice ([`AdapterChoice::from_env`]); where nothing fits, [`Error::NoAdapter`](crate::Error::NoAdapter)
    /// lists the adapters that are there. Blocks; [`Gpu::open`] does not.
    pub fn new() -> Result<Self> {
        Self::with_options(Options::default())
    }

    /// [`Gpu::new`] with options.
    pub fn with_options(options: Options) -> Result<Self> {
        let choice = AdapterChoice::from_env();
        let untested = Options { self_test: false, ..options };
        let gpu = until(TIMEOUT, || Ok(()), Gpu::open(&choice, untested))??;
        if options.self_test {
            // Apart, so that there is a device to ask whether it is lost.
            gpu.self_test()?;
            gpu.trim();
        }
        Ok(gpu)
    }
}

impl AdapterChoice {
    /// Reads the three variables; an empty one counts as unset.
    pub fn from_env() -> Self {
        let read = |name| env::var(name).ok().map(|v: String| v.trim().to_lowercase()).filter(|v| !v.is_empty());
        AdapterChoice { backend: read("WGPU_BACKEND"), name: read("WGPU_ADAPTER_NAME"), power: read("WGPU_POWER_PREF") }
    }
}

/// Every adapter of this machine that runs compute shaders; those of the GL backend where there is no other, or where
/// `WGPU_BACKEND` asks for them. Blocks; [`gpu::adapters`] does not.
pub fn adapters() -> Result<Vec<wgpu::Adapter>> {
    let choice = AdapterChoice::from_env();
    until(TIMEOUT, || Ok(()), gpu::adapters(&choice))
}
