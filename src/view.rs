//! Operands as callers state them: place in a buffer, shape, strides and type.

use std::ops::Range;

use crate::{
    dtype::{Dtype, Float},
    error::{Error, Result},
    operand::Operand,
    shape::{MOST_DIMENSIONS, Shape},
};

/// An operand: a part of a buffer seen as a tensor of floats or words. It is row-major without gaps, unless it has strides, given or
/// made by [`View::slice`], [`View::expanded`] and [`View::transposed`]. A word of 4 bytes holds two f16 or bf16, the first in its lower
/// half.
///
/// Calls read and write these strides in place: matrices `[.., columns]` (x, w, y, the residual, z, their gradients) with any one distance
/// from row to row, elements of a row side by side; and in a batch any distance from layer to layer, also 0 for what is only read, whose rows may
/// overlap too. Other operands must have no gaps within a layer. Any other strides are an [`Error::Operand`]; [`elementwise::copy`](crate::elementwise::copy)
/// takes them all.
///
/// ```no_run
/// use elbow::{Activation, Dtype, Gpu, View, affine::Forward, wgpu};
/// # fn host(gpu: &Gpu, qkv: &wgpu::Buffer, w: View<'_>, y: View<'_>) -> elbow::Result<()> {
/// // [q | k | v], 64 columns each: a layer on k alone.
/// let qkv = View::new(qkv, 0, &[1024, 192], Dtype::F32);
/// let k = qkv.slice(1, 64..128)?;
/// gpu.submit(|encoder| Forward::new(Activation::RELU, k, w, y).record(gpu, encoder))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// None for an absent operand: shape and type alone.
    pub(crate) buffer: Option<&'a wgpu::Buffer>,
    /// Of the first element, in bytes.
    pub(crate) offset: u64,
    pub(crate) shape: Shape,
    /// Elements from one index of a dimension to the next; None for row-major without gaps.
    strides: Option<[usize; MOST_DIMENSIONS]>,
    pub(crate) dtype: Dtype,
    pub(crate) read_only: bool,
    /// The device whose tensor it is a part of, by the number that elbow gave it; None for a host's buffer or device.
    pub(crate) owner: Option<u64>,
}

/// Strides as kernels take them, in elements; None for no gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Strides {
    pub(crate) row: Option<u32>,
    pub(crate) batch: Option<u32>,
}

impl<'a> View<'a> {
    /// The elements of a buffer from a byte offset on, which is a multiple of the element size. The shape is copied; of more than six
    /// dimensions the leading ones are merged ([`Shape`]). A call that reads another type refuses the view.
    ///
    /// Calls check the buffer: it must be of the same device as the [`Gpu`](crate::Gpu), have `BufferUsages::STORAGE` and not be mapped (no
    /// other thread may map or unmap it during a call). They cannot notice a host's buffer of another `wgpu::Instance`, for which wgpu has no answer but a
    /// panic; of a [`Tensor`](crate::Tensor) they know.
    ///
    /// ```no_run
    /// use elbow::{Dtype, View, wgpu};
    /// # fn host(arena: &wgpu::Buffer) {
    /// let x = View::new(arena, 0, &[32, 64], Dtype::F32); // bytes 0 to 8192
    /// let w = View::new(arena, 8192, &[10, 64], Dtype::F16); // the next 1280
    /// # }
    /// ```
    pub fn new(buffer: &'a wgpu::Buffer, offset: u64, shape: &[usize], dtype: impl Into<Dtype>) -> Self {
        View { buffer: Some(buffer), offset, ..View::absent(shape, dtype) }
    }

    /// Says whose it is.
    pub(crate) fn owned_by(self, owner: Option<u64>) -> Self {
        View { owner, ..self }
    }

    /// An operand without memory, shape and type alone. A host that runs backward later states the layer as forward had it, but has kept
    /// only the operands that backward reads. A call that reads or writes an absent operand is an [`Error::Operand`].
    ///
    /// ```
    /// use elbow::{Activation, Dtype, Saved, View, affine::Forward};
    /// let [x, w, y] = [[32, 64], [10, 64], [32, 10]].map(|shape| View::absent(&shape, Dtype::F32));
    /// // Without a device: what will the layer keep for backward?
    /// assert_eq!(Forward::new(Activation::RELU, x, w, y).saved(Saved::Auto).request()?.saved, Saved::Y);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn absent(shape: &[usize], dtype: impl Into<Dtype>) -> Self {
        let shape = Shape::new(shape);
        View { buffer: None, offset: 0, shape, strides: None, dtype: dtype.into(), read_only: false, owner: None }
    }

    /// The same shape at other strides: elements from one index to the next, one stride for each dimension; 0 repeats an element. An error
    /// if there are more or fewer strides than dimensions.
    ///
    /// ```
    /// use elbow::{Dtype, View};
    /// // 32 rows of 64 columns, each padded to 80.
    /// let padded = View::absent(&[32, 64], Dtype::F32).with_strides(&[80, 1])?;
    /// assert!(!padded.is_contiguous());
    /// // The windows of a convolution over 512 positions of 256 channels, five at a time: rows that overlap, and nothing is copied.
    /// let windows = View::absent(&[508, 5 * 256], Dtype::F32).with_strides(&[256, 1])?;
    /// assert_eq!(windows.strides(), [256, 1]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn with_strides(self, strides: &[usize]) -> Result<Self> {
        if strides.len() != self.shape.len() {
            return Err(self.refused(format!("{} strides, one for each dimension", self.shape.len()), strides.len()));
        }
        let mut all = [0; MOST_DIMENSIONS];
        all[..strides.len()].copy_from_slice(strides);
        Ok(self.strided(all))
    }

    /// A range of one dimension. An error if there is no such dimension or the range is not within it.
    ///
    /// ```
    /// use elbow::{Dtype, View};
    /// let qkv = View::absent(&[1024, 192], Dtype::F32);
    /// let k = qkv.slice(1, 64..128)?; // 64 of the columns
    /// assert_eq!((k.shape(), k.strides(), k.dtype()), (&[1024, 64][..], vec![192, 1], Dtype::F32));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn slice(self, dimension: usize, part: Range<usize>) -> Result<Self> {
        match self.shape.get(dimension) {
            Some(&length) if part.start <= part.end && part.end <= length => {}
            Some(&length) => return Err(self.refused(format!("a part of 0..{length}"), format!("{part:?}"))),
            None => return Err(self.refused(format!("a dimension of {:?}", self.shape), dimension)),
        }
        let strides = self.all_strides();
        let mut shape = self.shape.to_vec();
        shape[dimension] = part.len();
        let offset = self.offset.saturating_add((part.start as u64).saturating_mul(self.bytes(strides[dimension])));
        Ok(View { offset, shape: Shape::new(&shape), ..self }.strided(strides))
    }

    /// `[count, ..]`: the same memory for each layer of a batch, for an operand that is only read. An error if there are six dimensions
    /// already.
    ///
    /// ```
    /// use elbow::{Dtype, View};
    /// let x = View::absent(&[32, 64], Dtype::F32).expanded(8)?; // one x for eight layers
    /// assert_eq!((x.shape(), x.strides()), (&[8, 32, 64][..], vec![0, 64, 1]));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn expanded(self, count: usize) -> Result<Self> {
        if self.shape.len() == MOST_DIMENSIONS {
            return Err(self.refused(format!("fewer than {MOST_DIMENSIONS} dimensions"), format!("{:?}", self.shape)));
        }
        let mut strides = self.all_strides();
        strides.copy_within(..MOST_DIMENSIONS - 1, 1);
        strides[0] = 0;
        Ok(View { shape: Shape::new(&[&[count], &*self.shape].concat()), ..self }.strided(strides))
    }

    /// The same memory with two dimensions swapped. An error if one of them does not exist. Calls other than
    /// [`elementwise::copy`](crate::elementwise::copy) seldom take such strides; for a transposed w there is
    /// [`WeightLayout`](crate::WeightLayout).
    ///
    /// ```
    /// use elbow::{Dtype, View};
    /// let w = View::absent(&[64, 32], Dtype::F32).transposed(0, 1)?;
    /// assert_eq!((w.shape(), w.strides()), (&[32, 64][..], vec![1, 32]));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn transposed(self, one: usize, other: usize) -> Result<Self> {
        let (mut shape, mut strides) = (self.shape.to_vec(), self.all_strides());
        if one.max(other) >= shape.len() {
            return Err(self.refused(format!("a dimension of {shape:?}"), one.max(other)));
        }
        shape.swap(one, other);
        strides.swap(one, other);
        Ok(View { shape: Shape::new(&shape), ..self }.strided(strides))
    }

    /// The same memory in another shape, of as many elements or fewer. An error if the view has strides.
    ///
    /// ```
    /// use elbow::{Dtype, View};
    /// let image = View::absent(&[8, 16, 28, 28], Dtype::F32);
    /// assert_eq!(image.reshaped(&[8, 16 * 28 * 28])?.shape(), [8, 12544]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn reshaped(self, shape: &[usize]) -> Result<Self> {
        match self.strides {
            None => Ok(View { shape: Shape::new(shape), ..self }),
            Some(_) => Err(self.refused("elements without a gap".into(), format!("strides {:?}", self.strides()))),
        }
    }

    /// The same memory, protected: a call that would write it is an [`Error::Operand`].
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// let w = gpu.zeros(&[2])?;
    /// assert!(gpu.write(w.view().read_only(), &[1.0, 2.0]).is_err());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub const fn read_only(self) -> Self {
        View { read_only: true, ..self }
    }

    /// Its dimensions, at most six.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// For each dimension the elements from one index to the next.
    pub fn strides(&self) -> Vec<usize> {
        self.all_strides()[..self.shape.len()].to_vec()
    }

    /// The type of its elements.
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Whether it is row-major without gaps.
    pub const fn is_contiguous(&self) -> bool {
        self.strides.is_none()
    }

    /// Its own strides, or those of its shape without gaps.
    pub(crate) fn all_strides(&self) -> [usize; MOST_DIMENSIONS] {
        self.strides.unwrap_or_else(|| without_gaps(&self.shape))
    }

    /// With these strides, dropped if they are those of the shape without gaps.
    fn strided(self, strides: [usize; MOST_DIMENSIONS]) -> Self {
        let usual = without_gaps(&self.shape);
        let mut dims = self.shape.iter().zip(strides).zip(usual);
        let same = self.shape.contains(&0) || dims.all(|((&dim, stride), usual)| dim == 1 || stride == usual);
        View { strides: (!same).then_some(strides), ..self }
    }

    fn bytes(&self, elements: usize) -> u64 {
        (elements as u64).saturating_mul(self.dtype.bytes())
    }

    /// Elements from the first to the last, gaps included; 0 if the view is empty.
    pub(crate) fn extent(&self) -> u64 {
        if self.shape.contains(&0) {
            return 0;
        }
        let last = self
            .shape
            .iter()
            .zip(self.all_strides())
            .fold(0u64, |last, (&dim, stride)| last.saturating_add((dim as u64 - 1).saturating_mul(stride as u64)));
        last.saturating_add(1)
    }

    /// Whether no two indices are the same element: each stride is larger than the reach of all smaller strides together. (Strict: it may
    /// say no where strides interleave without a collision.)
    pub(crate) fn is_injective(&self) -> bool {
        let Some(strides) = self.strides else { return true };
        let mut dims: Vec<(usize, usize)> = self.shape.iter().copied().zip(strides).map(|(d, s)| (s, d)).collect();
        dims.retain(|&(_, dim)| dim != 1);
        dims.sort_unstable();
        let mut reach = 1u64;
        dims.into_iter().all(|(stride, dim)| {
            let free = stride as u64 >= reach;
            reach = reach.saturating_add((dim as u64).saturating_sub(1).saturating_mul(stride as u64));
            free
        })
    }

    /// If every row begins at a multiple of one distance: that distance and the length of a row, in bytes.
    pub(crate) fn columns(&self) -> Option<(u64, u64)> {
        let strides = self.strides?;
        let mut dims: Vec<(u64, u64)> = self.shape.iter().zip(strides).map(|(&d, s)| (s as u64, d as u64)).collect();
        dims.retain(|&(stride, dim)| dim > 1 && stride > 0);
        dims.sort_unstable();
        let width = match dims.first() {
            Some(&(1, columns)) => {
                dims.remove(0);
                columns
            }
            _ => 1,
        };
        let (period, _) = *dims.first()?;
        let regular = dims.iter().all(|(stride, _)| stride.is_multiple_of(period));
        regular.then_some((self.bytes(period as usize), self.bytes(width as usize)))
    }

    /// The first layer of a batch: the view without its first dimension.
    pub(crate) fn first_layer(&self) -> Self {
        let mut strides = self.all_strides();
        strides.copy_within(1.., 0);
        View { shape: Shape::new(self.shape.get(1..).unwrap_or_default()), ..*self }.strided(strides)
    }

    /// The first row, `[K]` of `[.., K]`, or of each layer of a batch, `[E, K]`.
    pub(crate) fn first_row(&self, batched: bool) -> Self {
        let (strides, last) = (self.all_strides(), self.shape.len().saturating_sub(1));
        let kept: &[usize] = if batched { &[0, last] } else { &[last] };
        let mut of_kept = strides;
        for (to, &from) in kept.iter().enumerate() {
            of_kept[to] = strides[from];
        }
        let shape: Vec<usize> = kept.iter().map(|&dimension| self.shape[dimension]).collect();
        View { shape: Shape::new(&shape), ..*self }.strided(of_kept)
    }

    /// The distance from row to row, seen as `[.., columns]`, and in a batch from layer to layer. An error with this operand's name for any
    /// other strides.
    pub(crate) fn rows_apart(&self, operand: Operand, batched: bool) -> Result<Strides> {
        if self.is_contiguous() {
            return Ok(Strides::default());
        }
        let (one, batch) = match (batched, self.shape.first()) {
            (true, Some(&layers)) if layers > 1 => (self.first_layer(), Some(self.all_strides()[0])),
            (true, Some(_)) => (self.first_layer(), None),
            _ => (*self, None),
        };
        // Not the largest u32: in `Storage` it stands for no stride.
        let fits = |stride: usize| {
            let stride = u32::try_from(stride).ok().filter(|&stride| stride != u32::MAX);
            stride.ok_or_else(|| self.out_of_order(operand))
        };
        let batch = batch.map(fits).transpose()?;
        if one.is_contiguous() {
            return Ok(Strides { row: None, batch });
        }
        // The last leading dimension that is not 1 gives the distance of the rows; the others must be multiples that agree with it.
        let strides = one.all_strides();
        let last = one.shape.len() - 1;
        if one.shape[last] > 1 && strides[last] != 1 {
            return Err(self.out_of_order(operand));
        }
        let (mut row, mut next) = (None, 0);
        for dim in (0..last).rev().filter(|&dim| one.shape[dim] > 1) {
            match row {
                None => row = Some(strides[dim]),
                Some(_) if strides[dim] != next => return Err(self.out_of_order(operand)),
                Some(_) => {}
            }
            next = strides[dim].saturating_mul(one.shape[dim]);
        }
        Ok(Strides { row: row.map(fits).transpose()?, batch })
    }

    /// An error with this operand's name if there are gaps.
    pub(crate) fn contiguous(&self, operand: Operand) -> Result<()> {
        if self.is_contiguous() { Ok(()) } else { Err(self.out_of_order(operand)) }
    }

    pub(crate) fn out_of_order(&self, operand: Operand) -> Error {
        Error::Operand {
            operand,
            expected: "strides that this call takes (see View); elementwise::copy takes any".into(),
            got: format!("{:?} at strides {:?}", self.shape, self.strides()),
        }
    }

    fn refused(&self, expected: String, got: impl ToString) -> Error {
        Error::Operand { operand: Operand::Tensor, expected, got: got.to_string() }
    }

    pub(crate) fn same_memory(&self, other: &View<'_>) -> bool {
        let strides = match (self.strides, other.strides) {
            (None, None) => true,
            (one, other_strides) => one == other_strides && self.shape == *other.shape,
        };
        let place = self.buffer == other.buffer && self.offset == other.offset && self.dtype == other.dtype;
        self.buffer.is_some() && place && strides
    }

    /// The type of its numbers; an error with this operand's name if it holds words.
    pub(crate) fn floats(&self, operand: Operand) -> Result<Float> {
        match self.dtype {
            Dtype::Float(float) => Ok(float),
            dtype => Err(Error::Operand { operand, expected: "f32, f16 or bf16".into(), got: dtype.name().into() }),
        }
    }

    /// An error with this operand's name if it holds numbers.
    pub(crate) fn words(&self, operand: Operand) -> Result<()> {
        match self.dtype {
            Dtype::U32 => Ok(()),
            dtype => Err(Error::Operand { operand, expected: "u32 words".into(), got: dtype.name().into() }),
        }
    }
}

fn without_gaps(shape: &[usize]) -> [usize; MOST_DIMENSIONS] {
    let (mut strides, mut stride) = ([0; MOST_DIMENSIONS], 1usize);
    for (place, &dim) in strides.iter_mut().zip(shape).rev() {
        *place = stride;
        stride = stride.saturating_mul(dim);
    }
    strides
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn view(shape: &[usize]) -> View<'static> {
        View::absent(shape, Dtype::F32)
    }

    fn apart(view: View<'_>, batched: bool) -> Option<(Option<u32>, Option<u32>)> {
        view.rows_apart(Operand::X, batched).ok().map(|Strides { row, batch }| (row, batch))
    }

    #[test]
    fn strides_of_parts() {
        let all = view(&[2, 5, 12]);
        assert_eq!(all.strides(), [60, 12, 1]);
        let part = all.slice(2, 4..8).unwrap();
        assert_eq!((part.shape(), part.strides(), part.offset), (&[2, 5, 4][..], vec![60, 12, 1], 16));
        assert_eq!((part.extent(), part.is_injective()), (112, true));
        // As one matrix of ten rows, as a batch of two; what is whole has no gaps.
        assert_eq!((apart(part, false), apart(part, true)), (Some((Some(12), None)), Some((Some(12), Some(60)))));
        assert!(all.slice(2, 0..12).unwrap().is_contiguous() && all.slice(0, 1..2).unwrap().is_contiguous());
        // A part of the middle: rows at two distances, but in a batch only one.
        let middle = all.slice(1, 1..3).unwrap();
        assert_eq!((apart(middle, false), apart(middle, true)), (None, Some((None, Some(60)))));
        // One number of each row.
        let column = all.slice(2, 3..4).unwrap();
        assert_eq!(apart(column, false), Some((Some(12), None)));
        let turned = all.transposed(1, 2).unwrap();
        assert_eq!((turned.shape(), turned.strides(), apart(turned, true)), (&[2, 12, 5][..], vec![60, 1, 12], None));
        let shared = view(&[3, 4]).expanded(7).unwrap();
        assert_eq!((shared.shape(), shared.extent(), shared.is_injective()), (&[7, 3, 4][..], 12, false));
        assert_eq!((apart(shared, true), apart(shared, false)), (Some((None, Some(0))), None));
        assert_eq!((part.columns(), column.columns(), all.columns()), (Some((48, 16)), Some((48, 4)), None));
        assert_eq!((turned.columns(), shared.columns()), (Some((48, 48)), Some((16, 16))));
        assert!(view(&[0, 4]).expanded(7).unwrap().is_contiguous());
        assert!(view(&[4, 3]).with_strides(&[2, 1]).is_ok_and(|v| !v.is_injective() && v.extent() == 9));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        let all = view(&[2, 3]);
        assert!(all.slice(2, 0..1).is_err() && all.slice(1, 2..4).is_err());
        let (start, end) = (2, 1);
        assert!(all.slice(1, start..end).is_err());
        assert!(all.with_strides(&[1]).is_err() && all.transposed(0, 2).is_err());
        assert!(view(&[1; 6]).expanded(2).is_err() && all.slice(1, 0..2).unwrap().reshaped(&[4]).is_err());
        assert!(all.with_strides(&[u32::MAX as usize, 1]).is_ok_and(|v| apart(v, false).is_none()));
        assert!(all.with_strides(&[usize::MAX, 1]).is_ok_and(|v| apart(v, false).is_none() && v.extent() == u64::MAX));
    }
}
