//! The blocking forms of the device's futures. Each ends with [`Error::Timeout`](crate::Error::Timeout) after [`Gpu::timeout`].

use crate::{
    dtype::HostValue,
    error::Result,
    gpu::{Gpu, Subnormals},
    view::View,
};

impl Gpu {
    /// Copies the numbers of a tensor or a view to the host and waits for them, f16 and bf16 widened to f32. Errors as for
    /// [`Gpu::download_async`].
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// let x = gpu.upload(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
    /// assert_eq!(gpu.download(&x)?, [1.0, 2.0, 3.0, 4.0]);
    /// assert_eq!(gpu.download(x.view().transposed(0, 1)?)?, [1.0, 3.0, 2.0, 4.0]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn download<'a>(&self, source: impl Into<View<'a>>) -> Result<Vec<f32>> {
        self.block_on(self.download_async(source))
    }

    /// Copies the u32 words of a tensor or a view to the host and waits for them. Errors as for [`Gpu::download_words_async`].
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// let labels = gpu.upload_words(&[3, 0, 7], &[3])?;
    /// assert_eq!(gpu.download_words(&labels)?, [3, 0, 7]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn download_words<'a>(&self, source: impl Into<View<'a>>) -> Result<Vec<u32>> {
        self.block_on(self.download_words_async(source))
    }

    /// Copies the elements of a tensor or a view into memory of the caller's and waits for them: as numbers in f32, as values of their
    /// type, or as bytes. Errors as for [`Gpu::download_into_async`].
    ///
    /// ```no_run
    /// use elbow::{Gpu, Tensor, half::f16};
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

    /// Runs [`Gpu::self_test_async`] and waits for it: [`Error::SelfTest`](crate::Error::SelfTest) if the adapter computes wrong numbers.
    ///
    /// ```no_run
    /// use elbow::{Gpu, wgpu};
    /// # fn host(device: &wgpu::Device, queue: &wgpu::Queue) -> elbow::Result<()> {
    /// Gpu::from_wgpu(device, queue).self_test()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn self_test(&self) -> Result<()> {
        self.block_on(self.self_test_async())
    }

    /// Whether this device keeps subnormal numbers or flushes them to 0: measured by the first call, which waits, then remembered.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// println!("subnormals are {}", gpu.subnormals()?);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn subnormals(&self) -> Result<Subnormals> {
        self.block_on(self.subnormals_async())
    }
}
