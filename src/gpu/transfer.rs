//! Tensors that elbow owns, and the way to them and back.

use std::{ops::Range, sync::Arc};

use futures_channel::oneshot;

use super::{
    Gpu, check, copy,
    memory::{self, Owned},
    record::prepare,
};
use crate::{
    dtype::{self, Dtype, Float, HostValue},
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

/// For operands that a call may have.
impl<'a> From<&'a Tensor> for Option<View<'a>> {
    fn from(tensor: &'a Tensor) -> Self {
        Some(tensor.view())
    }
}

impl<'a> From<&'a Tensor> for View<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        tensor.view()
    }
}

/// What the driver says of a mapping.
type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// How many elements a view has, and how many values of the host's each of them is.
fn counted<T: HostValue>(view: &View<'_>) -> Result<(u64, usize)> {
    let elements = shape::elements(Operand::Tensor, &view.shape)?;
    Ok((elements, dtype::per_element::<T>(Operand::Tensor, view.dtype)?))
}

/// Whether wgpu can copy the elements as they lie.
fn in_whole_words(view: &View<'_>, bytes: &Range<u64>) -> bool {
    view.is_contiguous() && bytes.start.is_multiple_of(4) && bytes.end.is_multiple_of(4)
}

/// An error unless the values are just the elements of a view; how many values each of them is.
fn fits<T: HostValue>(view: &View<'_>, values: &[T]) -> Result<usize> {
    let (elements, each) = counted::<T>(view)?;
    let expected = elements * each as u64;
    if values.len() as u64 == expected {
        return Ok(each);
    }
    Err(Error::Shape {
        operand: Operand::Tensor,
        expected: format!("{expected} values of {} for shape {:?} of {}", T::NAME, view.shape, view.dtype),
        got: format!("{} values", values.len()),
    })
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

    /// Copies host values to a new row-major tensor in f32.
    pub fn upload(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        self.upload_as(Dtype::F32, values, shape)
    }

    /// Copies host words (a mask, labels) to a new tensor of u32.
    pub fn upload_words(&self, words: &[u32], shape: &[usize]) -> Result<Tensor> {
        self.upload_as(Dtype::U32, words, shape)
    }

    /// Copies host values to a new row-major tensor of a type: f32 values rounded to it, values of the type itself, or its bytes
    /// ([`HostValue`]).
    ///
    /// [`Error::Operand`] if the values do not fit the type, [`Error::Shape`] if there are more or fewer than the shape has.
    ///
    /// ```no_run
    /// # use elbow::{Dtype, Float, Gpu, half::f16};
    /// # let gpu = Gpu::new()?;
    /// let rounded = gpu.upload_as(Float::F16, &[0.1, 0.2, 0.3], &[3])?;
    /// let exact = gpu.upload_as(Float::F16, &[f16::from_bits(0x2e66), f16::INFINITY], &[2])?;
    /// let read_from_a_file: Vec<u8> = vec![0; 3 * 2];
    /// let weights = gpu.upload_as(Dtype::BF16, &read_from_a_file, &[1, 3])?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn upload_as<T: HostValue>(&self, dtype: impl Into<Dtype>, values: &[T], shape: &[usize]) -> Result<Tensor> {
        let dtype = dtype.into();
        fits(&View::absent(shape, dtype), values)?;
        let tensor = self.zeros_of(dtype, shape)?;
        // The other half of the last word is nobody's.
        let bytes = check::copied(tensor.view(), USAGE)?;
        self.put(tensor.view(), bytes.start..bytes.end.next_multiple_of(4), values)?;
        Ok(tensor)
    }

    /// Writes host values over a tensor or a view, as many as it has elements: f32 values rounded to its type, values of the type
    /// itself, or its bytes ([`HostValue`]). Ordered before whatever is submitted next; never waits. Needs usage `COPY_DST`.
    ///
    /// What lies around the view stays as it is. For the last of an odd number of f16 or bf16, whose word has another half, that
    /// takes a kernel and 16 bytes of elbow's: such a write submits what was written so far, and the buffer needs `STORAGE` too.
    ///
    /// [`Error::Operand`] if the values do not fit the type, or the view may only be read ([`View::read_only`]) or has no
    /// buffer; [`Error::Shape`] if there are more or fewer than elements; [`Error::Misaligned`] if the offset is no multiple of an element;
    /// [`Error::Buffer`] if the buffer is too short, mapped, destroyed or lacks a usage.
    ///
    /// ```no_run
    /// # use elbow::{Dtype, Gpu, View, half::bf16, wgpu};
    /// # fn host(gpu: &Gpu, arena: &wgpu::Buffer) -> elbow::Result<()> {
    /// let tensor = gpu.zeros(&[2, 2])?;
    /// gpu.write(&tensor, &[1.0, 2.0, 3.0, 4.0])?;
    /// gpu.write(tensor.view_as(&[2]), &[5.0, 6.0])?; // its first row
    /// gpu.write(View::new(arena, 256, &[3], Dtype::BF16), &[bf16::ONE; 3])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn write<'a, T: HostValue>(&self, target: impl Into<View<'a>>, values: &[T]) -> Result<()> {
        self.check()?;
        let view = target.into();
        fits(&view, values)?;
        check::writable(Operand::Tensor, view)?;
        let bytes = check::copied(view, wgpu::BufferUsages::COPY_DST)?;
        if in_whole_words(&view, &bytes) {
            return self.put(view, bytes, values);
        }
        let whole = self.upload_as(view.dtype, values, &view.shape)?;
        self.copied(whole.view(), view)
    }

    /// Writes values to a range of whole words; after an odd number of halves comes a zero.
    fn put<T: HostValue>(&self, view: View<'_>, words: Range<u64>, values: &[T]) -> Result<()> {
        let Some(size) = wgpu::BufferSize::new(words.end - words.start) else { return Ok(()) };
        let buffer = check::buffer(Operand::Tensor, view)?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        // Dropped, and so written, before wgpu is asked what it thinks of that.
        if let Some(mut staging) = self.queue().write_buffer_with(buffer, words.start, size) {
            let mut at = 0;
            T::store(values, view.dtype, &mut |bytes| {
                staging.slice(at..at + bytes.len()).copy_from_slice(bytes);
                at += bytes.len();
            });
            staging.slice(at..).fill(0);
        }
        match self.caught(scope, || "writing a tensor".into()) {
            Some(error) => Err(check::unfit(self, Operand::Tensor, &error)),
            None => Ok(()),
        }
    }

    /// Copies the numbers of a tensor or a view to the host without blocking, widened where they are stored in f16 or bf16. Needs
    /// usage `COPY_SRC`.
    ///
    /// The copy is submitted when the future is first polled, and sees what was written and submitted before. Then it awaits the
    /// callback that says that the copy is there: any number of downloads may be on their way at a time, and end in any order. Dropped, it
    /// gives its staging memory back.
    ///
    /// wgpu calls back while the device is polled. A browser does that by itself; natively the host does, with
    /// `device.poll(PollType::Poll)` in its loop or a thread that waits, or [`Gpu::block_on`] does: this future never
    /// polls, and is never ready where nobody does. With a host's errors that came late it ends with [`Error::Late`], as
    /// [`Gpu::settled`] does: numbers that follow from a call that failed are not handed out.
    ///
    /// [`Error::Operand`] if it holds words or has no buffer; [`Error::Misaligned`] if the offset is no multiple of an element;
    /// [`Error::Buffer`] if the buffer is too short, mapped, destroyed or lacks the usage.
    ///
    /// ```no_run
    /// # use elbow::{Gpu, Tensor, View};
    /// # async fn host(gpu: &Gpu, loss: &Tensor, part: View<'_>) -> elbow::Result<()> {
    /// let loss: Vec<f32> = gpu.download_async(loss).await?;
    /// let part: Vec<f32> = gpu.download_async(part).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn download_async<'a>(&self, source: impl Into<View<'a>>) -> Result<Vec<f32>> {
        self.fetch_all(source.into()).await
    }

    /// [`Gpu::download_async`] of a tensor or a view of u32 words.
    pub async fn download_words_async<'a>(&self, source: impl Into<View<'a>>) -> Result<Vec<u32>> {
        self.fetch_all(source.into()).await
    }

    /// [`Gpu::download_async`] into memory of the caller's: as numbers in f32, as values of the type itself, or as bytes
    /// ([`HostValue`]).
    ///
    /// [`Error::Operand`] if the values do not fit the type, [`Error::Shape`] if there are more or fewer than elements. After an
    /// error, and until the future is ready, they are as they were.
    pub async fn download_into_async<'a, T: HostValue>(
        &self,
        source: impl Into<View<'a>>,
        values: &mut [T],
    ) -> Result<()> {
        let view = source.into();
        fits(&view, values)?;
        self.fetch(view, |bytes| T::load(bytes, view.dtype, values)).await
    }

    /// Into new memory, one value for each element.
    async fn fetch_all<T: HostValue>(&self, view: View<'_>) -> Result<Vec<T>> {
        let (elements, _) = counted::<T>(&view)?;
        let load = |bytes: &[u8]| {
            let mut values = vec![T::zeroed(); elements as usize];
            T::load(bytes, view.dtype, &mut values);
            values
        };
        self.fetch(view, load).await
    }

    /// What `read` makes of the bytes of a view, once they are here.
    async fn fetch<R>(&self, view: View<'_>, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.check()?;
        let bytes = check::copied(view, wgpu::BufferUsages::COPY_SRC)?;
        if bytes.is_empty() {
            return Ok(read(&[]));
        }
        // Read only, so that a word's other half does no harm at the end.
        let words = bytes.start..bytes.end.next_multiple_of(4);
        let whole = match in_whole_words(&view, &words) {
            true => None,
            false => Some(self.gathered(view)?),
        };
        let (view, words) = match &whole {
            Some(whole) => (whole.view(), 0..(whole.elements() as u64 * view.dtype.bytes()).next_multiple_of(4)),
            None => (view, words),
        };
        let (staging, mapped) = self.start_download(view, &words)?;
        let mapped = mapped.await;
        self.settled().await?;
        let range = match mapped {
            Ok(Ok(())) => staging.buffer.get_mapped_range(..words.end - words.start).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(oneshot::Canceled) => Err("the device let go of it".into()),
        };
        let range = match range {
            Ok(range) => range,
            Err(message) => {
                self.check_alive()?;
                return Err(Error::Wgpu { operation: "mapping a download".into(), message });
            }
        };
        let bytes = shape::elements(Operand::Tensor, &view.shape)? * view.dtype.bytes();
        let result = read(&range[..bytes as usize]);
        drop(range);
        staging.buffer.unmap();
        self.inner.memory.recycle(staging);
        Ok(result)
    }

    /// By a kernel, submitted. Whoever transfers knows one operand alone.
    fn copied(&self, from: View<'_>, to: View<'_>) -> Result<()> {
        let prepared = copy::planned(self, from, to).and_then(|(plan, operands)| prepare(self, &plan, &operands));
        let prepared = prepared.map_err(|mut error| {
            if let Error::Shape { operand, .. } | Error::Operand { operand, .. } | Error::Buffer { operand, .. } =
                &mut error
            {
                *operand = Operand::Tensor;
            }
            error
        })?;
        self.submit(|encoder| prepared.record(encoder))
    }

    /// The elements in memory without gaps.
    fn gathered(&self, view: View<'_>) -> Result<Tensor> {
        let whole = self.zeros_of(view.dtype, &view.shape)?;
        self.copied(view, whole.view())?;
        Ok(whole)
    }

    /// Submits the copy of whole words into staging memory, to be mapped. Staging memory that is dropped while it is being mapped
    /// never comes back to the pool.
    fn start_download(&self, view: View<'_>, words: &Range<u64>) -> Result<(Owned, oneshot::Receiver<Mapped>)> {
        let buffer = check::buffer(Operand::Tensor, view)?;
        let bytes = words.end - words.start;
        let staging = self.inner.memory.staging(self, bytes)?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder =
            self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("elbow download") });
        encoder.copy_buffer_to_buffer(buffer, words.start, &staging.buffer, 0, bytes);
        let (sender, mapped) = oneshot::channel();
        encoder.map_buffer_on_submit(&staging.buffer, wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver may be gone: the caller gave up.
            let _ = sender.send(result);
        });
        self.queue().submit([encoder.finish()]);
        match self.caught(scope, || "copying a tensor to the host".into()) {
            Some(error) => Err(check::unfit(self, Operand::Tensor, &error)),
            None => Ok((staging, mapped)),
        }
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
