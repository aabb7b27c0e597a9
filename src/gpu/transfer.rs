//! Tensors that elbow owns, and the way to them and back.

use std::time::{Duration, Instant};

use futures_intrusive::channel::shared::oneshot_channel;

use super::{Gpu, memory, record::View};
use crate::{
    error::{Error, Result},
    request::Operand,
    shape,
};

/// A row-major tensor of f32 (or of u32 words) on the device.
#[derive(Debug, Clone)]
pub struct Tensor {
    buffer: wgpu::Buffer,
    shape: Vec<usize>,
}

impl Tensor {
    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its buffer.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The operand that it is.
    pub fn view(&self) -> View<'_> {
        View::new(&self.buffer, &self.shape)
    }

    /// The same memory under another shape of as many elements or fewer.
    pub fn view_as<'a>(&'a self, shape: &'a [usize]) -> View<'a> {
        View::new(&self.buffer, shape)
    }
}

impl<'a> From<&'a Tensor> for View<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        tensor.view()
    }
}

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

impl Gpu {
    /// A tensor of zeros.
    pub fn zeros(&self, shape: &[usize]) -> Result<Tensor> {
        self.check_alive()?;
        let bytes = shape::elements(Operand::Tensor, shape)? * 4;
        // A buffer may not be empty; a tensor may.
        let buffer = memory::create(self, "elbow tensor", bytes.max(16), USAGE)?;
        Ok(Tensor { buffer, shape: shape.to_vec() })
    }

    /// Copies host values to a new tensor.
    pub fn upload(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        self.upload_bytes(bytemuck::cast_slice(values), values.len(), shape)
    }

    /// Copies host words (a mask, labels) to a new tensor.
    pub fn upload_words(&self, words: &[u32], shape: &[usize]) -> Result<Tensor> {
        self.upload_bytes(bytemuck::cast_slice(words), words.len(), shape)
    }

    fn upload_bytes(&self, bytes: &[u8], len: usize, shape: &[usize]) -> Result<Tensor> {
        let expected = shape::elements(Operand::Tensor, shape)?;
        if expected != len as u64 {
            return Err(Error::Shape {
                operand: Operand::Tensor,
                expected: format!("{expected} values for shape {shape:?}"),
                got: format!("{len} values"),
            });
        }
        let tensor = self.zeros(shape)?;
        self.queue().write_buffer(&tensor.buffer, 0, bytes);
        Ok(tensor)
    }

    /// Writes host values over a tensor; ordered before whatever is submitted next.
    pub fn write(&self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        self.write_bytes(tensor, bytemuck::cast_slice(values), values.len())
    }

    /// Writes host words over a tensor.
    pub fn write_words(&self, tensor: &Tensor, words: &[u32]) -> Result<()> {
        self.write_bytes(tensor, bytemuck::cast_slice(words), words.len())
    }

    fn write_bytes(&self, tensor: &Tensor, bytes: &[u8], len: usize) -> Result<()> {
        self.check_alive()?;
        if len > tensor.elements() {
            return Err(Error::Shape {
                operand: Operand::Tensor,
                expected: format!("at most {} values for shape {:?}", tensor.elements(), tensor.shape),
                got: format!("{len} values"),
            });
        }
        self.queue().write_buffer(&tensor.buffer, 0, bytes);
        Ok(())
    }

    /// Copies a tensor back, and waits for it.
    pub fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        pollster::block_on(self.download_view_with(tensor.view(), true))
    }

    /// Copies words back, and waits for them.
    pub fn download_words(&self, tensor: &Tensor) -> Result<Vec<u32>> {
        pollster::block_on(self.download_view_with(tensor.view(), true))
    }

    /// Copies any operand back, and waits; its buffer needs `COPY_SRC`.
    pub fn download_view(&self, view: View<'_>) -> Result<Vec<f32>> {
        pollster::block_on(self.download_view_with(view, true))
    }

    /// Copies a tensor back without blocking: the host polls its device, or a later call does.
    pub async fn download_async(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.download_view_with(tensor.view(), false).await
    }

    async fn download_view_with<T: bytemuck::Pod>(&self, view: View<'_>, wait: bool) -> Result<Vec<T>> {
        self.check_alive()?;
        let len = shape::elements(Operand::Tensor, view.shape)?;
        let bytes = len * 4;
        if bytes == 0 {
            return Ok(Vec::new());
        }
        if !view.offset.is_multiple_of(4) {
            return Err(Error::Misaligned { operand: Operand::Tensor, alignment: 4, offset: view.offset });
        }
        let copyable = view.buffer.usage().contains(wgpu::BufferUsages::COPY_SRC);
        if !copyable || view.offset + bytes > view.buffer.size() {
            return Err(Error::Buffer {
                operand: Operand::Tensor,
                expected: format!("usage COPY_SRC and {bytes} bytes from offset {} on", view.offset),
                got: format!("usage {:?} and {} bytes", view.buffer.usage(), view.buffer.size()),
            });
        }
        let staging = self.inner.memory.staging(self, bytes)?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder =
            self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("elbow download") });
        encoder.copy_buffer_to_buffer(view.buffer, view.offset, &staging, 0, bytes);
        let (sender, receiver) = oneshot_channel();
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver may be gone: the caller gave up.
            let _ = sender.send(result);
        });
        let submission = self.queue().submit([encoder.finish()]);
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(self.refused("downloading", &error));
        }
        if wait {
            self.wait_for(Some(submission))?;
        }
        match receiver.receive().await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.check_alive()?;
                return Err(Error::DeviceLost { reason: format!("a download could not be mapped: {error}") });
            }
            None => return Err(Error::DeviceLost { reason: "a download was dropped".into() }),
        }
        let range = staging
            .get_mapped_range(0..bytes)
            .map_err(|error| Error::Wgpu { operation: "reading a download".into(), message: error.to_string() })?;
        let mut values = vec![T::zeroed(); len as usize];
        bytemuck::cast_slice_mut::<T, u8>(&mut values).copy_from_slice(&range);
        drop(range);
        staging.unmap();
        self.inner.memory.recycle(staging, self.scratch_limit());
        Ok(values)
    }

    /// Waits until everything submitted so far is done.
    pub fn wait(&self) -> Result<()> {
        self.wait_for(None)
    }

    fn wait_for(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let poll = |timeout| {
            let wait = wgpu::PollType::Wait { submission_index: submission.clone(), timeout: Some(timeout) };
            self.device().poll(wait).map(|_| ())
        };
        wait_in_slices(self.patience(), || self.check_alive(), poll)
    }

    /// Records with `f` into a new encoder and submits it. If `f` fails nothing is submitted.
    pub fn submit<T>(&self, f: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<T>) -> Result<T> {
        self.check_alive()?;
        let mut encoder =
            self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("elbow") });
        let value = f(&mut encoder)?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        self.queue().submit([encoder.finish()]);
        match pollster::block_on(scope.pop()) {
            Some(error) => Err(self.refused("submitting", &error)),
            None => Ok(value),
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

/// In slices, so that a lost device is noticed and a hung one does not hang the caller for ever.
fn wait_in_slices(
    patience: Duration,
    alive: impl Fn() -> Result<()>,
    poll: impl Fn(Duration) -> Result<(), wgpu::PollError>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        alive()?;
        match poll(patience.min(Duration::from_secs(1))) {
            Ok(()) => return alive(),
            Err(wgpu::PollError::Timeout) if start.elapsed() < patience => {}
            Err(wgpu::PollError::Timeout) => return Err(Error::Timeout { waited: patience }),
            Err(error) => return Err(Error::DeviceLost { reason: error.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that never answers. (A real one can't be asked to be slow: some drivers run the work inside submit.)
    fn never(slice: Duration) -> Result<(), wgpu::PollError> {
        std::thread::sleep(slice);
        Err(wgpu::PollError::Timeout)
    }

    #[test]
    fn a_wait_gives_up_when_its_patience_ends() {
        let patience = Duration::from_millis(20);
        assert_eq!(wait_in_slices(patience, || Ok(()), never), Err(Error::Timeout { waited: patience }));
        assert_eq!(wait_in_slices(patience, || Ok(()), |_| Ok(())), Ok(()));
    }

    #[test]
    fn a_wait_ends_when_the_device_is_lost() {
        let lost = || Err(Error::DeviceLost { reason: "gone".into() });
        assert_eq!(wait_in_slices(Duration::from_secs(600), lost, never), lost());
    }
}
