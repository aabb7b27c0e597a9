//! Files of networks: the blocking form, and writing that leaves a whole file whatever happens.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use crate::{
    error::Result,
    gpu::Gpu,
    mlp::{Contents, Mlp, wrong},
};

impl Mlp {
    /// Runs [`Mlp::to_safetensors_async`] for a model and waits for it.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Mlp};
    /// # fn save(gpu: &Gpu, mlp: &Mlp) -> Result<(), Box<dyn std::error::Error>> {
    /// std::fs::write("model.safetensors", mlp.to_safetensors(gpu)?)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_safetensors(&self, gpu: &Gpu) -> Result<Vec<u8>> {
        gpu.block_on(self.to_safetensors_async(gpu, &Contents::model()))
    }

    /// Writes [`Mlp::to_safetensors_async`] to a file: into a temporary one beside it, which is flushed to disk and then takes its place, so
    /// that whatever happens there is either the whole new file or the old one. Of a link its target is replaced.
    /// [`Error::File`](crate::Error::File) says what could not be written.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Mlp, mlp::Contents};
    /// # fn save(gpu: &Gpu, mlp: &Mlp) -> elbow::Result<()> {
    /// mlp.save(gpu, "checkpoint.safetensors", &Contents::checkpoint().notes(&[("epoch", "12")]))
    /// # }
    /// ```
    pub fn save(&self, gpu: &Gpu, path: impl AsRef<Path>, contents: &Contents<'_>) -> Result<()> {
        let bytes = gpu.block_on(self.to_safetensors_async(gpu, contents))?;
        let path = path.as_ref();
        written(path, &bytes).map_err(|error| wrong("", format_args!("to write {}", path.display()), error))
    }

    /// [`Mlp::from_safetensors`] of a file.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Mlp};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::open(&gpu, "model.safetensors", 256)?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn open(gpu: &Gpu, path: impl AsRef<Path>, max_batch: usize) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| wrong("", format_args!("to read {}", path.display()), error))?;
        Self::from_safetensors(gpu, &bytes, max_batch)
    }
}

fn written(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".elbow-").suffix(".tmp");
    // Those of a new file, not those of a secret.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    Ok(())
}
