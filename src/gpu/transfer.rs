//! Tensors that elbow owns, copies between them and the host, and submissions.

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

/// A row-major tensor on the device, of floats or of u32 words. Cheap to clone: clones share the memory.
///
/// ```no_run
/// let gpu = elbow::Gpu::new()?;
/// let x = gpu.upload(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
/// assert_eq!((x.shape(), x.elements(), x.dtype().bytes()), (&[2, 3][..], 6, 4));
/// assert!(x.buffer().size() >= 24);
/// assert_eq!(gpu.download(x.view_as(&[3]))?, [1.0, 2.0, 3.0]); // its first row
/// assert_eq!(gpu.download(x.view().slice(1, 0..1)?)?, [1.0, 4.0]); // its first column
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tensor {
    memory: Arc<Owned>,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Tensor {
    /// Its dimensions, the slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its buffer, with usages `STORAGE`, `COPY_SRC` and `COPY_DST`. It counts against [`Gpu::memory_limit`] as long as the tensor or a
    /// clone of it lives.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.memory.buffer
    }

    /// Number of elements: the product of its dimensions.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// All of it as an operand, to be sliced, transposed or expanded.
    pub fn view(&self) -> View<'_> {
        self.view_as(&self.shape)
    }

    /// Its first elements as an operand of another shape, of as many elements or fewer.
    pub fn view_as(&self, shape: &[usize]) -> View<'_> {
        View::new(self.buffer(), 0, shape, self.dtype).owned_by(self.memory.owner)
    }
}

/// So that a setter of an optional operand takes a tensor.
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

/// wgpu's answer to a request to map a buffer.
type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// The number of elements of a view, and how many values of type T one element is.
fn counted<T: HostValue>(view: &View<'_>) -> Result<(u64, usize)> {
    let elements = shape::elements(Operand::Tensor, &view.shape)?;
    Ok((elements, dtype::per_element::<T>(Operand::Tensor, view.dtype)?))
}

/// Whether wgpu can copy the elements: without gaps, from and to whole words.
fn in_whole_words(view: &View<'_>, bytes: &Range<u64>) -> bool {
    view.is_contiguous() && bytes.start.is_multiple_of(4) && bytes.end.is_multiple_of(4)
}

/// How many values one element of the view is; an error unless the values are exactly the elements of the view.
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
    ///
    /// [`Error::OutOfMemory`] or [`Error::LimitExceeded`] if the device does not have the memory.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// let y = gpu.zeros(&[32, 10])?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn zeros(&self, shape: &[usize]) -> Result<Tensor> {
        self.zeros_of(Float::F32, shape)
    }

    /// A tensor of zeros of any type.
    ///
    /// ```no_run
    /// use elbow::{Dtype, Gpu};
    /// let gpu = Gpu::new()?;
    /// let y = gpu.zeros_of(Dtype::F16, &[32, 10])?;
    /// let mask = gpu.zeros_of(Dtype::U32, &[32, 10usize.div_ceil(32)])?; // one bit an element of y
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn zeros_of(&self, dtype: impl Into<Dtype>, shape: &[usize]) -> Result<Tensor> {
        self.check()?;
        let dtype = dtype.into();
        let bytes = (shape::elements(Operand::Tensor, shape)? * dtype.bytes()).next_multiple_of(4);
        // A buffer may not be empty; a tensor may.
        let memory = Arc::new(memory::create(self, "elbow tensor", bytes.max(16), USAGE)?);
        Ok(Tensor { memory, shape: shape.to_vec(), dtype })
    }

    /// Copies host values to a new row-major tensor in f32. [`Error::Shape`] if there are more or fewer than the shape has elements.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// let x = gpu.upload(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn upload(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        self.upload_as(Dtype::F32, values, shape)
    }

    /// Copies host words (a mask, labels) to a new row-major tensor of u32.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// let labels = gpu.upload_words(&[3, 0, 7], &[3])?; // the class of each of three rows
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn upload_words(&self, words: &[u32], shape: &[usize]) -> Result<Tensor> {
        self.upload_as(Dtype::U32, words, shape)
    }

    /// Copies host values to a new row-major tensor of a type: f32 values, rounded to it; values of the type itself; or its bytes
    /// ([`HostValue`]).
    ///
    /// [`Error::Operand`] if the values do not fit the type, [`Error::Shape`] if there are more or fewer than the shape has elements.
    ///
    /// ```no_run
    /// use elbow::{Dtype, Float, Gpu, half::f16};
    /// let gpu = Gpu::new()?;
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
        // Of an odd number of halves the last word has a spare half: it is written too.
        let bytes = check::copied(self, tensor.view(), USAGE)?;
        self.put(tensor.view(), bytes.start..bytes.end.next_multiple_of(4), values)?;
        Ok(tensor)
    }

    /// Writes host values over the elements of a tensor or a view: f32 values, rounded to its type; values of the type itself; or its
    /// bytes ([`HostValue`]). Ordered before everything that is submitted later; never waits. The buffer needs usage `COPY_DST`.
    ///
    /// Memory outside the view stays as it is. Where the view has gaps, or does not begin and end at whole words of 4 bytes (f16, bf16),
    /// a kernel does that: such a write submits at once, and the buffer needs `STORAGE` too.
    ///
    /// [`Error::Operand`] if the values do not fit the type, or the view may only be read ([`View::read_only`]) or has no
    /// buffer; [`Error::Shape`] if there are more or fewer values than elements; [`Error::Misaligned`] if the offset is no multiple of an
    /// element; [`Error::Buffer`] if the buffer is too short, mapped, destroyed or lacks a usage.
    ///
    /// ```no_run
    /// use elbow::{Dtype, Gpu, View, half::bf16, wgpu};
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
        let bytes = check::copied(self, view, wgpu::BufferUsages::COPY_DST)?;
        if in_whole_words(&view, &bytes) {
            return self.put(view, bytes, values);
        }
        let whole = self.upload_as(view.dtype, values, &view.shape)?;
        self.copied(whole.view(), view)
    }

    /// Writes values to a range of whole words; a spare half at the end becomes zero.
    fn put<T: HostValue>(&self, view: View<'_>, words: Range<u64>, values: &[T]) -> Result<()> {
        let Some(size) = wgpu::BufferSize::new(words.end - words.start) else { return Ok(()) };
        let buffer = check::buffer(Operand::Tensor, view)?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        // `staging` writes when it is dropped: before the error scope is read.
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

    /// Copies the numbers of a tensor or a view to the host without blocking, f16 and bf16 widened to f32. The buffer needs usage
    /// `COPY_SRC`.
    ///
    /// The copy is submitted when the future is first polled, after everything that was written and submitted before. Then the future
    /// awaits wgpu's callback. Any number of downloads may be under way, and they may end in any order. A future that is dropped
    /// releases its staging memory.
    ///
    /// wgpu calls back while the device is polled. A browser does that by itself; natively the host does, with
    /// `device.poll(PollType::Poll)` in its loop or a thread that waits, or [`Gpu::block_on`] does. This future itself never
    /// polls the device: if nobody does, it is never ready. A view with gaps, or one that begins inside a word of 4 bytes, is first
    /// gathered by a kernel, and its buffer needs `STORAGE` too.
    ///
    /// [`Error::Operand`] if the view holds words or has no buffer; [`Error::Misaligned`] if the offset is no multiple of an element;
    /// [`Error::Buffer`] if the buffer is too short, mapped, destroyed or lacks the usage; [`Error::Late`] if an earlier call has failed
    /// meanwhile (in a browser, [`Gpu::settled`]), so that no numbers are returned that depend on it.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Tensor, View};
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
    ///
    /// ```no_run
    /// use elbow::{Gpu, Tensor};
    /// # async fn host(gpu: &Gpu, mask: &Tensor) -> elbow::Result<()> {
    /// let words: Vec<u32> = gpu.download_words_async(mask).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn download_words_async<'a>(&self, source: impl Into<View<'a>>) -> Result<Vec<u32>> {
        self.fetch_all(source.into()).await
    }

    /// [`Gpu::download_async`] into memory of the caller's: as numbers in f32, as values of the type itself, or as bytes
    /// ([`HostValue`]).
    ///
    /// [`Error::Operand`] if the values do not fit the type, [`Error::Shape`] if there are more or fewer values than elements. Until the
    /// future is ready, and after an error, they keep their old contents.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Tensor, half::f16};
    /// # async fn host(gpu: &Gpu, half: &Tensor) -> elbow::Result<()> {
    /// let mut values = vec![f16::ZERO; half.elements()];
    /// gpu.download_into_async(half, &mut values).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn download_into_async<'a, T: HostValue>(
        &self,
        source: impl Into<View<'a>>,
        values: &mut [T],
    ) -> Result<()> {
        let view = source.into();
        fits(&view, values)?;
        self.fetch(view, |bytes| T::load(bytes, view.dtype, values)).await
    }

    /// The elements of a view in a new vector, one value each.
    async fn fetch_all<T: HostValue>(&self, view: View<'_>) -> Result<Vec<T>> {
        let (elements, _) = counted::<T>(&view)?;
        let load = |bytes: &[u8]| {
            let mut values = vec![T::zeroed(); elements as usize];
            T::load(bytes, view.dtype, &mut values);
            values
        };
        self.fetch(view, load).await
    }

    /// Downloads the bytes of a view and passes them to `read`.
    async fn fetch<R>(&self, view: View<'_>, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.check()?;
        let bytes = check::copied(self, view, wgpu::BufferUsages::COPY_SRC)?;
        if bytes.is_empty() {
            return Ok(read(&[]));
        }
        // Reading the spare half of the last word does no harm.
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
        let elements = shape::elements(Operand::Tensor, &view.shape)?;
        let all = (elements * view.dtype.bytes()) as usize;
        let unpolled = self.inner.mapped.unpolled().await;
        let range = match mapped {
            Ok(Ok(())) => staging.buffer.get_mapped_range(..words.end - words.start).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(oneshot::Canceled) => Err("the device dropped the request".into()),
        };
        let result = range.map(|range| read(&range[..all]));
        drop(unpolled);
        let result = match result {
            Ok(result) => result,
            Err(message) => {
                self.check_alive()?;
                return Err(Error::Wgpu { operation: "mapping a download".into(), message });
            }
        };
        self.unmap(&staging.buffer)?;
        self.inner.memory.recycle(staging);
        Ok(result)
    }

    /// Unmaps a buffer. That of a device that was destroyed meanwhile is gone, of which wgpu would tell the handler of errors, and that of no host panics.
    pub(super) fn unmap(&self, buffer: &wgpu::Buffer) -> Result<()> {
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        buffer.unmap();
        match self.caught(scope, || "unmapping a buffer".into()) {
            Some(error) => Err(self.refused("unmapping a buffer", &error)),
            None => Ok(()),
        }
    }

    /// Copies with a kernel, and submits it. To the caller of a transfer both operands of the copy are the one tensor: errors say so.
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

    /// A copy of the elements without gaps.
    fn gathered(&self, view: View<'_>) -> Result<Tensor> {
        let whole = self.zeros_of(view.dtype, &view.shape)?;
        self.copied(view, whole.view())?;
        Ok(whole)
    }

    /// Submits the copy of whole words into staging memory and asks wgpu to map it. Staging memory that is dropped before it is mapped is
    /// freed and does not return to the pool.
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

    /// Records with `f` into a new encoder and submits it; returns what `f` returns. If `f` fails, nothing is submitted. Does not wait
    /// for the work.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, elementwise::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, y) = (gpu.upload(&[-1.0, 2.0], &[2])?, gpu.zeros(&[2])?);
    /// gpu.submit(|encoder| Forward::new(Activation::RELU, &x, &y).record(&gpu, encoder))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn submit<T>(&self, f: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<T>) -> Result<T> {
        self.check()?;
        let mut encoder =
            self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("elbow") });
        let value = f(&mut encoder)?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        self.queue().submit([encoder.finish()]);
        match self.caught(scope, || "submitting".into()) {
            Some(error) => Err(self.refused("submitting", &error)),
            // A lost device drops what is submitted and reports nothing.
            None => self.check_alive().map(|()| value),
        }
    }

    /// [`Gpu::submit`] with one open compute pass: many calls, one pass, one submission. A call that needs the pass more than once takes
    /// `&mut *pass`.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, elementwise::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, y, z) = (gpu.upload(&[-1.0, 2.0], &[2])?, gpu.zeros(&[2])?, gpu.zeros(&[2])?);
    /// gpu.submit_pass(|pass| {
    ///     Forward::new(Activation::RELU, &x, &y).record(&gpu, &mut *pass)?;
    ///     Forward::new(Activation::TANH, &y, &z).record(&gpu, &mut *pass)
    /// })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn submit_pass<T>(&self, f: impl FnOnce(&mut wgpu::ComputePass<'_>) -> Result<T>) -> Result<T> {
        self.submit(|encoder| {
            let descriptor = wgpu::ComputePassDescriptor { label: Some("elbow"), timestamp_writes: None };
            f(&mut encoder.begin_compute_pass(&descriptor))
        })
    }
}
