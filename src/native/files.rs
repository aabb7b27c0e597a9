//! The blocking form of a network's file.

use crate::{error::Result, gpu::Gpu, mlp::Mlp};

impl Mlp {
    /// Runs [`Mlp::to_safetensors_async`] and waits for it.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Mlp};
    /// # fn save(gpu: &Gpu, mlp: &Mlp) -> Result<(), Box<dyn std::error::Error>> {
    /// std::fs::write("model.safetensors", mlp.to_safetensors(gpu)?)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_safetensors(&self, gpu: &Gpu) -> Result<Vec<u8>> {
        gpu.block_on(self.to_safetensors_async(gpu))
    }
}
