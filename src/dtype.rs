//! Types of elements: floats, each with a WGSL prelude, and u32 words.

mod host;

use std::{fmt, str::FromStr};

use half::{bf16, f16};

pub use host::HostValue;
use host::Sealed as _;
pub(crate) use host::per_element;

use crate::error::{Error, Result};

/// The type of the elements of a view or a tensor: floats, or u32 words (masks, labels). A call that reads one refuses the other.
///
/// ```
/// use elbow::{Dtype, Float};
/// assert_eq!((Dtype::from(Float::F16), Dtype::F16.bytes(), "bf16".parse()), (Dtype::F16, 2, Ok(Dtype::BF16)));
/// assert_eq!((Float::Bf16.name(), Dtype::U32.name()), ("bf16", "u32"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// Numbers in this format.
    Float(Float),
    /// u32 words: 32 bits of a mask, or a label, each.
    U32,
}

impl Dtype {
    /// Numbers in [`Float::F32`].
    pub const F32: Dtype = Dtype::Float(Float::F32);
    /// Numbers in [`Float::F16`].
    pub const F16: Dtype = Dtype::Float(Float::F16);
    /// Numbers in [`Float::Bf16`].
    pub const BF16: Dtype = Dtype::Float(Float::Bf16);

    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Dtype::Float(float) => float.bytes(),
            Dtype::U32 => 4,
        }
    }

    /// `f32`, `f16`, `bf16` or `u32`.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::Float(float) => float.name(),
            Dtype::U32 => "u32",
        }
    }
}

impl From<Float> for Dtype {
    fn from(float: Float) -> Self {
        Dtype::Float(float)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The format in which numbers are stored. Arithmetic and sums are in f32 for all of them.
///
/// ```
/// use elbow::Float;
/// assert_eq!((Float::F16.round(0.1), Float::F16.unit_roundoff()), (0.099975586, 1.0 / 2048.0));
/// assert_eq!((Float::F16.rounding(1000.0), Float::F16.rounding(70000.0)), (0.25, f64::INFINITY));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Float {
    /// IEEE single precision; never replaced by tf32 or f16 on the way.
    #[default]
    F32,
    /// IEEE half precision: 11 significant bits, up to 65,504; a larger result becomes infinite.
    F16,
    /// The upper half of an f32: its range, with 8 significant bits.
    Bf16,
}

impl Float {
    /// Every format.
    pub const ALL: [Float; 3] = [Float::F32, Float::F16, Float::Bf16];

    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Float::F32 => 4,
            Float::F16 | Float::Bf16 => 2,
        }
    }

    /// `f32`, `f16` or `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            Float::F32 => "f32",
            Float::F16 => "f16",
            Float::Bf16 => "bf16",
        }
    }

    /// The nearest number of this type, ties to even: what a kernel stores for `v`.
    pub fn round(self, v: f32) -> f32 {
        match self {
            Float::F32 => v,
            Float::F16 => f16::from_f32(v).to_f32(),
            Float::Bf16 => bf16::from_f32(v).to_f32(),
        }
    }

    /// The largest error of [`Float::round`] relative to the number, where it neither overflows nor is subnormal: 2⁻²⁴, 2⁻¹¹, 2⁻⁸.
    pub const fn unit_roundoff(self) -> f64 {
        match self {
            Float::F32 => 1.0 / (1u64 << 24) as f64,
            Float::F16 => 1.0 / (1u64 << 11) as f64,
            Float::Bf16 => 1.0 / (1u64 << 8) as f64,
        }
    }

    /// The largest error of [`Float::round`] near `v`: half the distance of two neighbours. Infinite where rounding overflows.
    pub fn rounding(self, v: f64) -> f64 {
        let (bits, least, most) = match self {
            Float::F32 => (24, -149, f64::from(f32::MAX)),
            Float::F16 => (11, -24, 65504.0),
            Float::Bf16 => (8, -133, f64::from(bf16::MAX.to_f32())),
        };
        let exponent = if v == 0.0 { least } else { (v.abs().log2().floor() as i32 - bits + 1).max(least) };
        let step = 2f64.powi(exponent);
        if v.abs() >= most + step / 2.0 { f64::INFINITY } else { step / 2.0 }
    }

    /// The bytes of the values in device memory: each rounded to the nearest, little-endian, padded to whole words of 4 bytes.
    ///
    /// ```
    /// use elbow::Float;
    /// let bytes = Float::F16.encode(&[1.0, -2.0, 0.5]);
    /// assert_eq!((bytes.len(), Float::F16.decode(&bytes, 3)), (8, vec![1.0, -2.0, 0.5]));
    /// ```
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((values.len() * self.bytes() as usize).next_multiple_of(4));
        f32::store(values, self.into(), &mut |piece| bytes.extend_from_slice(piece));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// The first `count` values in bytes of device memory, or as many as there are: the reverse of [`Float::encode`].
    pub fn decode(self, bytes: &[u8], count: usize) -> Vec<f32> {
        let each = self.bytes() as usize;
        let mut values = vec![0.0; count.min(bytes.len() / each)];
        f32::load(&bytes[..values.len() * each], self.into(), &mut values);
        values
    }

    /// The WGSL prelude of a narrow type: the functions `NAME_value` and `NAME_bits`, from and to f32.
    pub(crate) const fn prelude(self) -> &'static str {
        match self {
            Float::F32 => "",
            Float::F16 => include_str!("../shaders/dtype/f16.wgsl"),
            Float::Bf16 => include_str!("../shaders/dtype/bf16.wgsl"),
        }
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Float {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Float::ALL.into_iter().find(|dtype| dtype.name() == text).ok_or_else(|| Error::Unsupported {
            what: format!("dtype {text:?}"),
            why: "there are f32, f16 and bf16".into(),
        })
    }
}

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(float) => Ok(Dtype::Float(float)),
            Err(_) if text == Dtype::U32.name() => Ok(Dtype::U32),
            Err(_) => Err(Error::Unsupported {
                what: format!("dtype {text:?}"),
                why: "there are f32, f16, bf16 and u32".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn names_read_back_and_rounding_is_what_the_table_says() {
        for dtype in Float::ALL {
            assert_eq!(dtype.name().parse::<Float>().unwrap(), dtype);
            for v in [0.0f32, 1.0, -1.0 / 3.0, 3.1e-7, 1e-38, 60000.5, 65519.0, 65520.0, 3e38] {
                let off = f64::from(dtype.round(v)) - f64::from(v);
                let allowed = dtype.rounding(f64::from(v));
                assert!(off.abs() <= allowed, "{dtype} {v}: {off} beyond {allowed}");
                assert_eq!(allowed.is_infinite(), dtype.round(v).is_infinite(), "{dtype} {v}");
            }
            let values = [1.0, -2.5, 0.125];
            assert_eq!(dtype.decode(&dtype.encode(&values), 3), values);
            assert_eq!(dtype.encode(&values).len() % 4, 0);
        }
        assert!("f64".parse::<Float>().is_err());
    }

    #[test]
    fn every_narrow_number_is_read_and_written_as_it_is() {
        // More than one piece of the conversion, and the last piece is short.
        let words: Vec<u16> = (0..=u16::MAX).chain([0x3c00]).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let one: [fn(u16) -> f32; 2] = [|bits| f16::from_bits(bits).to_f32(), |bits| bf16::from_bits(bits).to_f32()];
        for (dtype, one) in [Float::F16, Float::Bf16].into_iter().zip(one) {
            let values = dtype.decode(&bytes, words.len());
            let written = dtype.encode(&values);
            assert_eq!((values.len(), written.len()), (65_537, 65_537 * 2 + 2));
            for (i, &word) in words.iter().enumerate() {
                let got = u16::from_le_bytes([written[2 * i], written[2 * i + 1]]);
                let (value, expected) = (values[i], one(word));
                let same = if expected.is_nan() { value.is_nan() } else { value.to_bits() == expected.to_bits() };
                assert!(same && (got == word || expected.is_nan()), "{dtype} {word:#06x}: {value}, {got:#06x}");
            }
            assert_eq!(dtype.decode(&bytes[..7], 9), dtype.decode(&bytes, 3), "as many as there are");
        }
    }
}
