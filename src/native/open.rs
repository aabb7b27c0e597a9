//! Opening a device with blocking calls; environment variables narrow the choice of the adapter.

use std::env;

use super::wait::until;
use crate::{
    error::Result,
    gpu::{self, AdapterChoice, Gpu, Options, TIMEOUT},
};

impl Gpu {
    /// Opens the best adapter of this machine, a real GPU before a software one, and runs [`Gpu::self_test`] on it. Blocks; [`Gpu::open`]
    /// does not.
    ///
    /// `WGPU_BACKEND` (a list such as `vulkan,metal`), `WGPU_ADAPTER_NAME` (part of a name) and `WGPU_POWER_PREF` (`low`,
    /// `high`) narrow the choice ([`AdapterChoice::from_env`]).
    ///
    /// [`Error::NoAdapter`](crate::Error::NoAdapter), with a list of the adapters that exist, if none fits;
    /// [`Error::SelfTest`](crate::Error::SelfTest) if the adapter computes wrong numbers.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// println!("{gpu}"); // name, driver, features used
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn new() -> Result<Self> {
        Self::with_options(Options::default())
    }

    /// [`Gpu::new`] with options.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Options};
    /// let gpu = Gpu::with_options(Options::default().self_test(false))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn with_options(options: Options) -> Result<Self> {
        Self::with_choice(&AdapterChoice::from_env(), options)
    }

    /// [`Gpu::with_options`] on an adapter of your choice, whatever the environment says.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Options, gpu::AdapterChoice};
    /// let gpu = Gpu::with_choice(&AdapterChoice::default().name("radeon".to_owned()), Options::default())?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn with_choice(choice: &AdapterChoice, options: Options) -> Result<Self> {
        let untested = Options { self_test: false, ..options };
        let gpu = until(TIMEOUT, || Ok(()), Gpu::open(choice, untested))??;
        if options.self_test {
            // Not inside `Gpu::open`: a blocking wait notices a lost device only on a `Gpu` that exists.
            gpu.self_test()?;
            gpu.trim();
        }
        #[cfg(feature = "tune")]
        if options.tuning {
            gpu.keep_choices(|gpu| drop(gpu.use_tuning()));
        }
        Ok(gpu)
    }
}

impl AdapterChoice {
    /// Reads `WGPU_BACKEND`, `WGPU_ADAPTER_NAME` and `WGPU_POWER_PREF`, in lower case; an empty variable counts as unset.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Options, gpu::AdapterChoice};
    /// # async fn host() -> elbow::Result<()> {
    /// let gpu = Gpu::open(&AdapterChoice::from_env(), Options::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_env() -> Self {
        let read = |name| env::var(name).ok().map(|v: String| v.trim().to_lowercase()).filter(|v| !v.is_empty());
        AdapterChoice { backend: read("WGPU_BACKEND"), name: read("WGPU_ADAPTER_NAME"), power: read("WGPU_POWER_PREF") }
    }
}

/// Every adapter of this machine that runs compute shaders. Those of the GL backend only if there is no other, or if `WGPU_BACKEND` asks
/// for them. Blocks; [`gpu::adapters`] does not.
///
/// ```no_run
/// for adapter in elbow::native::adapters()? {
///     println!("{}", adapter.get_info().name);
/// }
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn adapters() -> Result<Vec<wgpu::Adapter>> {
    let choice = AdapterChoice::from_env();
    until(TIMEOUT, || Ok(()), gpu::adapters(&choice))
}
