//! Tensors that elbow owns, and the way to them and back.

use std::sync::Arc;

use futures_channel::oneshot;

use super::{
    Gpu, check,
    memory::{self, Owned},
};
use crate::{
    dtype::{Dtype, Float},
    error::{Error, Result},
    operand::Operand,
    shape,
    view::View,
};

/// A row-major tensor on the device, of floats or of u32 words. A cheap handle: clones share the memory.
#[derive(Debug, Clone)]
pub struct Tensor {
    memory: Arc<Owned>,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Tensor {
    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What its elements are.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its buffer. It counts against [`Gpu::memory_limit`] as long as the tensor or a clone of it lives.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.memory.buffer
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The operand that it is.
    pub fn view(&self) -> View<'_> {
        View::new(self.buffer(), 0, &self.shape, self.dtype)
    }

    /// The same memory under another shape of as many elements or fewer.
    pub fn view_as(&self, shape: &[usize]) -> View<'_> {
        View::new(self.buffer(), 0, shape, self.dtype)
    }
}

impl<'a> From<&'a Tensor> for View<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        tensor.view()
    }
}

/// What the driver says of a mapping.
type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// A copy on its way to the host.
struct Download {
    staging: Owned,
    bytes: u64,
    elements: usize,
    mapped: oneshot::Receiver<Mapped>,
}

/// Copied, wherever the bytes lie.
fn words<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    let mut values = vec![T::zeroed(); bytes.len() / size_of::<T>()];
    bytemuck::cast_slice_mut::<T, u8>(&mut values).copy_from_slice(bytes);
    values
}

fn values(dtype: Float, bytes: &[u8], count: usize) -> Vec<f32> {
    match dtype {
        Float::F32 => words(&bytes[..count * 4]),
        dtype => dtype.decode(bytes, count),
    }
}

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

impl Gpu {
    /// A tensor of zeros in f32.
    pub fn zeros(&self, shape: &[usize]) -> Result<Tensor> {
        self.zeros_of(Float::F32, shape)
    }

    /// A tensor of zeros of any type, words among them: `gpu.zeros_of(Dtype::U32, &[m, n.div_ceil(32)])` is a mask.
    pub fn zeros_of(&self, dtype: impl Into<Dtype>, shape: &[usize]) -> Result<Tensor> {
        self.check()?;
        let dtype = dtype.into();
        let bytes = (shape::elements(Operand::Tensor, shape)? * dtype.bytes()).next_multiple_of(4);
        // A buffer may not be empty; a tensor may.
        let memory = Arc::new(memory::create(self, "elbow tensor", bytes.max(16), USAGE)?);
        Ok(Tensor { memory, shape: shape.to_vec(), dtype })
    }

    /// Copies host values to a new tensor in f32.
    pub fn upload(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        self.upload_bytes(Dtype::F32, bytemuck::cast_slice(values), values.len(), shape)
    }

    /// Copies host values to a new tensor, each rounded to the nearest of its type.
    pub fn upload_as(&self, dtype: Float, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        self.upload_bytes(dtype.into(), &dtype.encode(values), values.len(), shape)
    }

    /// Copies host words (a mask, labels) to a new tensor of u32.
    pub fn upload_words(&self, words: &[u32], shape: &[usize]) -> Result<Tensor> {
        self.upload_bytes(Dtype::U32, bytemuck::cast_slice(words), words.len(), shape)
    }

    fn upload_bytes(&self, dtype: Dtype, bytes: &[u8], len: usize, shape: &[usize]) -> Result<Tensor> {
        let expected = shape::elements(Operand::Tensor, shape)?;
        if expected != len as u64 {
            return Err(Error::Shape {
                operand: Operand::Tensor,
                expected: format!("{expected} values for shape {shape:?}"),
                got: format!("{len} values"),
            });
        }
        let tensor = self.zeros_of(dtype, shape)?;
        self.write_checked(&tensor, bytes)?;
        Ok(tensor)
    }

    /// Writes host values over a tensor, from its first element on; ordered before whatever is submitted next. Of the two
    /// halves of a word both are written: after an odd number of f16 or bf16 values comes a zero.
    pub fn write(&self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        match tensor.view().floats(Operand::Tensor)? {
            Float::F32 => self.write_bytes(tensor, bytemuck::cast_slice(values), values.len()),
            dtype => self.write_bytes(tensor, &dtype.encode(values), values.len()),
        }
    }

    /// Writes host words over a tensor of u32.
    pub fn write_words(&self, tensor: &Tensor, words: &[u32]) -> Result<()> {
        tensor.view().words(Operand::Tensor)?;
        self.write_bytes(tensor, bytemuck::cast_slice(words), words.len())
    }

    fn write_bytes(&self, tensor: &Tensor, bytes: &[u8], len: usize) -> Result<()> {
        self.check()?;
        if len > tensor.elements() || bytes.len() as u64 > tensor.buffer().size() {
            return Err(Error::Shape {
                operand: Operand::Tensor,
                expected: format!("at most {} values for shape {:?}", tensor.elements(), tensor.shape),
                got: format!("{len} values"),
            });
        }
        self.write_checked(tensor, bytes)
    }

    fn write_checked(&self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        self.queue().write_buffer(tensor.buffer(), 0, bytes);
        match self.caught(scope, || "writing a tensor".into()) {
            Some(error) => Err(check::unfit(self, Operand::Tensor, &error)),
            None => Ok(()),
        }
    }

    /// Copies a tensor back without blocking: submits the copy, and awaits the callback that says it is there.
    ///
    /// wgpu calls back while the device is polled. A browser does that by itself; natively the host does, with
    /// `device.poll(PollType::Poll)` in its loop or a thread that waits, or [`Gpu::block_on`] does: this future never
    /// polls, and is never ready where nobody does. With a host's errors that came late it ends with [`Error::Late`], as
    /// [`Gpu::settled`] does: numbers that follow from a call that failed are not handed out.
    pub async fn download_async(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.download_view_async(tensor.view()).await
    }

    /// [`Gpu::download_async`] of any operand; its buffer needs `COPY_SRC`.
    pub async fn download_view_async(&self, view: View<'_>) -> Result<Vec<f32>> {
        let dtype = view.floats(Operand::Tensor)?;
        self.fetch(view, |bytes, count| values(dtype, bytes, count)).await
    }

    /// [`Gpu::download_async`] of the words that lie in a tensor's memory, whatever they stand for.
    pub async fn download_words_async(&self, tensor: &Tensor) -> Result<Vec<u32>> {
        self.fetch(tensor.view(), |bytes, _| words(bytes)).await
    }

    async fn fetch<T>(&self, view: View<'_>, read: impl FnOnce(&[u8], usize) -> Vec<T>) -> Result<Vec<T>> {
        let Some(mut download) = self.start_download(view)? else { return Ok(Vec::new()) };
        let mapped = (&mut download.mapped).await.ok();
        self.settled().await?;
        self.finish_download(download, mapped, read)
    }

    /// Submits the copy; None if there is nothing to copy.
    fn start_download(&self, view: View<'_>) -> Result<Option<Download>> {
        self.check()?;
        let elements = shape::elements(Operand::Tensor, &view.shape)?;
        let bytes = (elements * view.dtype.bytes()).next_multiple_of(4);
        if bytes == 0 {
            return Ok(None);
        }
        if !view.offset.is_multiple_of(4) {
            return Err(Error::Misaligned { operand: Operand::Tensor, alignment: 4, offset: view.offset });
        }
        let buffer = check::buffer(Operand::Tensor, view)?;
        let copyable = buffer.usage().contains(wgpu::BufferUsages::COPY_SRC);
        let inside = view.offset.checked_add(bytes).is_some_and(|end| end <= buffer.size());
        if !copyable || !inside {
            return Err(Error::Buffer {
                operand: Operand::Tensor,
                expected: format!("usage COPY_SRC and {bytes} bytes from offset {} on", view.offset),
                got: format!("usage {:?} and {} bytes", buffer.usage(), buffer.size()),
            });
        }
        let staging = self.inner.memory.staging(self, bytes)?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder =
            self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("elbow download") });
        encoder.copy_buffer_to_buffer(buffer, view.offset, &staging.buffer, 0, bytes);
        let (sender, mapped) = oneshot::channel();
        encoder.map_buffer_on_submit(&staging.buffer, wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver may be gone: the caller gave up.
            let _ = sender.send(result);
        });
        self.queue().submit([encoder.finish()]);
        match self.caught(scope, || "copying a tensor to the host".into()) {
            Some(error) => Err(check::unfit(self, Operand::Tensor, &error)),
            None => Ok(Some(Download { staging, bytes, elements: elements as usize, mapped })),
        }
    }

    fn finish_download<T>(
        &self,
        download: Download,
        mapped: Option<Mapped>,
        read: impl FnOnce(&[u8], usize) -> Vec<T>,
    ) -> Result<Vec<T>> {
        let Download { staging, bytes, elements, .. } = download;
        let range = match mapped {
            Some(Ok(())) => staging.buffer.get_mapped_range(0..bytes).map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the device let go of it".into()),
        };
        let range = match range {
            Ok(range) => range,
            Err(message) => {
                self.check_alive()?;
                return Err(Error::Wgpu { operation: "mapping a download".into(), message });
            }
        };
        let values = read(&range, elements);
        drop(range);
        staging.buffer.unmap();
        self.inner.memory.recycle(staging);
        Ok(values)
    }

    /// Records with `f` into a new encoder and submits it. If `f` fails nothing is submitted.
    pub fn submit<T>(&self, f: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<T>) -> Result<T> {
        self.check()?;
        let mut encoder =
            self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("elbow") });
        let value = f(&mut encoder)?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        self.queue().submit([encoder.finish()]);
        match self.caught(scope, || "submitting".into()) {
            Some(error) => Err(self.refused("submitting", &error)),
            // What a lost device is given is dropped without a word.
            None => self.check_alive().map(|()| value),
        }
    }

    /// The same with one compute pass: many operations, one pass, one submission.
    pub fn submit_pass<T>(&self, f: impl FnOnce(&mut wgpu::ComputePass<'_>) -> Result<T>) -> Result<T> {
        self.submit(|encoder| {
            let descriptor = wgpu::ComputePassDescriptor { label: Some("elbow"), timestamp_writes: None };
            f(&mut encoder.begin_compute_pass(&descriptor))
        })
    }
}
