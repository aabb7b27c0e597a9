//! The one [`Host`] of the process: which road layers go.

use std::sync::OnceLock;

use candle_core::{Error, Result};
use elbow_host::Host;

static HOST: OnceLock<Host> = OnceLock::new();

/// Who computes the layers: what [`set_host`] said, else [`Host::open`] at the first call. It prints as the adapter and what was measured of it.
///
/// ```no_run
/// println!("{}", elbow_candle::host());
/// ```
pub fn host() -> &'static Host {
    HOST.get_or_init(Host::open)
}

/// Says who computes the layers, before the first of them; after it an error, and nothing changes.
///
/// ```
/// elbow_candle::set_host(elbow_candle::elbow_host::Host::cpu())?;
/// assert_eq!(elbow_candle::host().to_string(), "the CPU's road alone: asked for");
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn set_host(host: Host) -> Result<()> {
    HOST.set(host).map_err(|_| Error::msg("elbow: a host was set already, or a layer was computed: set it first"))
}
