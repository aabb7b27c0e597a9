//! The Rust types of elements on the host.

use bytemuck::Pod;
use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::{Dtype, Float};
use crate::{
    error::{Error, Result},
    operand::Operand,
};

/// A Rust type of values on the host, for `upload_as`, `write` and `download_into` of [`crate::Gpu`].
///
/// | values | elements that they fit | how they are copied |
/// |---|---|---|
/// | `f32` | f32; f16 and bf16 | bit for bit; rounded to the nearest (ties to even) when written, widened exactly when read |
/// | [`f16`](struct@f16), [`bf16`] | the same type | bit for bit |
/// | `u32` | u32 | bit for bit |
/// | `u8` | any | the bytes in memory, little-endian: [`Dtype::bytes`] for each element |
///
/// Bit for bit: NaN keeps its payload, zero its sign, subnormals are kept. Values that do not fit are an [`Error::Operand`].
///
/// ```no_run
/// use elbow::{Gpu, HostValue, Tensor};
/// fn all<T: HostValue + Default + Clone>(gpu: &Gpu, tensor: &Tensor) -> elbow::Result<Vec<T>> {
///     let mut values = vec![T::default(); tensor.elements()];
///     gpu.download_into(tensor, &mut values)?;
///     Ok(values)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no type of host values",
    label = "these are f32, u32, elbow::half::f16 and bf16, and u8 for the bytes of any of them"
)]
pub trait HostValue: Sealed {}

impl HostValue for f32 {}
impl HostValue for f16 {}
impl HostValue for bf16 {}
impl HostValue for u32 {}
impl HostValue for u8 {}

/// Takes bytes, one piece after the other.
pub(crate) type Put<'a> = dyn FnMut(&[u8]) + 'a;

/// The conversions of [`HostValue`], sealed: no other crate can implement them.
pub trait Sealed: Pod + Send + Sync {
    /// Its name, in errors.
    const NAME: &'static str;
    /// The elements that it fits, in errors.
    const FITS: &'static str;

    /// How many values one element is; None if values of this type do not fit the elements.
    fn per_element(dtype: Dtype) -> Option<usize>;

    /// Passes the bytes of the values, as elements of this type, to `put`. The values must fit.
    fn store(values: &[Self], _: Dtype, put: &mut Put<'_>) {
        put(bytemuck::cast_slice(values));
    }

    /// Fills the values from the bytes of as many elements. The bytes need not be aligned for a value.
    fn load(bytes: &[u8], _: Dtype, values: &mut [Self]) {
        bytemuck::cast_slice_mut(values).copy_from_slice(bytes);
    }
}

macro_rules! own_type {
    ($($value:ty => $dtype:expr),+) => {$(
        impl Sealed for $value {
            const NAME: &'static str = $dtype.name();
            const FITS: &'static str = $dtype.name();

            fn per_element(dtype: Dtype) -> Option<usize> {
                (dtype == $dtype).then_some(1)
            }
        }
    )+};
}

own_type!(u32 => Dtype::U32, f16 => Dtype::F16, bf16 => Dtype::BF16);

impl Sealed for u8 {
    const NAME: &'static str = "u8";
    const FITS: &'static str = "any type";

    fn per_element(dtype: Dtype) -> Option<usize> {
        Some(dtype.bytes() as usize)
    }
}

impl Sealed for f32 {
    const NAME: &'static str = "f32";
    const FITS: &'static str = "f32, f16 or bf16";

    fn per_element(dtype: Dtype) -> Option<usize> {
        matches!(dtype, Dtype::Float(_)).then_some(1)
    }

    fn store(values: &[f32], dtype: Dtype, put: &mut Put<'_>) {
        match dtype {
            Dtype::Float(Float::F16) => round::<f16>(values, put),
            Dtype::Float(Float::Bf16) => round::<bf16>(values, put),
            _ => put(bytemuck::cast_slice(values)),
        }
    }

    fn load(bytes: &[u8], dtype: Dtype, values: &mut [f32]) {
        match dtype {
            Dtype::Float(Float::F16) => widen::<f16>(bytes, values),
            Dtype::Float(Float::Bf16) => widen::<bf16>(bytes, values),
            _ => bytemuck::cast_slice_mut(values).copy_from_slice(bytes),
        }
    }
}

/// Values that are converted at a time, on the stack: 2 KiB, so that no copy of all of them is made.
const PIECE: usize = 1024;

fn round<H: Pod>(values: &[f32], put: &mut Put<'_>)
where
    [H]: HalfFloatSliceExt,
{
    let mut halves = [H::zeroed(); PIECE];
    for values in values.chunks(PIECE) {
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        put(bytemuck::cast_slice(halves));
    }
}

fn widen<H: Pod>(bytes: &[u8], values: &mut [f32])
where
    [H]: HalfFloatSliceExt,
{
    let mut halves = [H::zeroed(); PIECE];
    for (bytes, values) in bytes.chunks(PIECE * size_of::<H>()).zip(values.chunks_mut(PIECE)) {
        let halves = &mut halves[..values.len()];
        bytemuck::cast_slice_mut(halves).copy_from_slice(bytes);
        halves.convert_to_f32_slice(values);
    }
}

/// How many host values one element of this type is; an error with this operand's name if they do not fit.
pub(crate) fn per_element<T: HostValue>(operand: Operand, dtype: Dtype) -> Result<usize> {
    T::per_element(dtype).ok_or_else(|| Error::Operand {
        operand,
        expected: format!("{}, for host values of {}", T::FITS, T::NAME),
        got: dtype.name().into(),
    })
}
