//! The futures of the device, waited for.

use crate::{
    dtype::HostValue,
    error::Result,
    gpu::{Gpu, Subnormals},
    view::View,
};

impl Gpu {
    /// Copies the numbers of a tensor or a view to the host: [`Gpu::download_async`], waited for.
    pub fn download<'a>(&self, source: impl Into<View<'a>>) -> Result<Vec<f32>> {
        self.block_on(self.download_async(source))
    }

    /// Copies the words of a tensor or a view to the host: [`Gpu::download_words_async`], waited for.
    pub fn download_words<'a>(&self, source: impl Into<View<'a>>) -> Result<Vec<u32>> {
        self.block_on(self.download_words_async(source))
    }

    /// Copies the elements of a tensor or a view into memory of the caller's, as numbers in f32, as values of their type, or as
    /// bytes: [`Gpu::download_into_async`], waited for.
    ///
    /// ```no_run
    /// # use elbow::{Gpu, Tensor, half::f16};
    /// # fn save(gpu: &Gpu, half: &Tensor) -> elbow::Result<()> {
    /// let mut numbers = vec![0.0f32; half.elements()];
    /// gpu.download_into(half, &mut numbers)?; // widened
    /// let mut values = vec![f16::ZERO; half.elements()];
    /// gpu.download_into(half, &mut values)?; // bit for bit
    /// let mut bytes = vec![0u8; half.elements() * half.dtype().bytes() as usize];
    /// gpu.download_into(half, &mut bytes)?; // of any type
    /// # Ok(())
    /// # }
    /// ```
    pub fn download_into<'a, T: HostValue>(&self, source: impl Into<View<'a>>, values: &mut [T]) -> Result<()> {
        self.block_on(self.download_into_async(source, values))
    }

    /// [`Gpu::self_test_async`], waited for: [`Error::SelfTest`](crate::Error::SelfTest) if the adapter computes wrong numbers.
    pub fn self_test(&self) -> Result<()> {
        self.block_on(self.self_test_async())
    }

    /// [`Gpu::subnormals_async`], waited for: what this device makes of subnormal numbers, measured when it is asked for the
    /// first time, then remembered.
    pub fn subnormals(&self) -> Result<Subnormals> {
        self.block_on(self.subnormals_async())
    }
}
