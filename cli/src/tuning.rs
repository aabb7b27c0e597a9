//! Whether a command takes the choices that `elbow tune` has kept.

use std::{cell::OnceCell, path::PathBuf};

use elbow::Gpu;

/// The switch of `elbow bench` and `elbow eval`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Tuning {
    /// Without the choices of tiles that `elbow tune` has kept for this adapter.
    #[arg(long)]
    pub(crate) no_tuning: bool,
    #[arg(skip)]
    used: OnceCell<Option<PathBuf>>,
}

impl Tuning {
    /// Opens the device, with them unless told not to.
    pub(crate) fn open(&self, options: elbow::Options) -> elbow::Result<Gpu> {
        let gpu = Gpu::with_options(options.tuning(!self.no_tuning))?;
        let file = if self.no_tuning { None } else { gpu.use_tuning() };
        let _ = self.used.set(file);
        Ok(gpu)
    }

    /// Where the choices are from, for reports.
    pub(crate) fn says(&self) -> String {
        match (self.no_tuning, self.used.get()) {
            (true, _) => "off".into(),
            (false, Some(Some(file))) => format!("from {}", file.display()),
            (false, _) => "none for this adapter, driver and version: see elbow tune".into(),
        }
    }
}
