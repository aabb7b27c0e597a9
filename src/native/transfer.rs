//! The futures of the device, waited for.

use crate::{
    error::Result,
    gpu::{Gpu, Subnormals, transfer::Tensor},
    view::View,
};

impl Gpu {
    /// [`Gpu::download_async`], waited for: copies a tensor back.
    pub fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.block_on(self.download_async(tensor))
    }

    /// [`Gpu::download_words_async`], waited for: copies a tensor back as the words that lie in its memory.
    pub fn download_words(&self, tensor: &Tensor) -> Result<Vec<u32>> {
        self.block_on(self.download_words_async(tensor))
    }

    /// [`Gpu::download_view_async`], waited for: copies any operand back; its buffer needs `COPY_SRC`.
    pub fn download_view(&self, view: View<'_>) -> Result<Vec<f32>> {
        self.block_on(self.download_view_async(view))
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
