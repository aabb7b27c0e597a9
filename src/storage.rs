//! The types and strides of the operands of a call.

use crate::{
    dtype::Float,
    error::{Error, Result},
    operand::Operand,
};

/// For each operand its type, f32 unless set, and strides if there are gaps.
///
/// ```
/// use elbow::{Float, Operand, storage::Storage};
/// let storage = Storage::default().with(Operand::X, Float::F16).with_row_stride(Operand::X, Some(192));
/// assert_eq!((storage.of(Operand::X), storage.of(Operand::W)), (Float::F16, Float::F32));
/// let storage = storage.with_batch_stride(Operand::X, Some(32 * 192));
/// assert_eq!((storage.row_stride(Operand::X), storage.batch_stride(Operand::X)), (Some(192), Some(6144)));
/// assert!(storage.keeps_fours() && storage.check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Storage {
    dtypes: [Float; Operand::COUNT],
    rows: [u32; Operand::COUNT],
    batches: [u32; Operand::COUNT],
}

/// Stands for "no gap": too large for a stride, since an index is a u32.
const NONE: u32 = u32::MAX;

impl Default for Storage {
    fn default() -> Self {
        let none = [NONE; Operand::COUNT];
        Storage { dtypes: [Float::F32; Operand::COUNT], rows: none, batches: none }
    }
}

impl Storage {
    /// Every operand that may be narrow is stored in this type: data and weights, not α, gradients of parameters or statistics.
    ///
    /// ```
    /// use elbow::{Float, Operand, storage::Storage};
    /// let storage = Storage::all(Float::Bf16);
    /// assert_eq!((storage.of(Operand::W), storage.of(Operand::Dw)), (Float::Bf16, Float::F32));
    /// ```
    pub fn all(dtype: Float) -> Self {
        let mut storage = Storage::default();
        for operand in Operand::ALL {
            if may_be_narrow(operand) {
                storage = storage.with(operand, dtype);
            }
        }
        storage
    }

    /// Sets the type of an operand.
    pub const fn with(mut self, operand: Operand, dtype: Float) -> Self {
        self.dtypes[operand as usize] = dtype;
        self
    }

    /// The type of an operand.
    pub const fn of(&self, operand: Operand) -> Float {
        self.dtypes[operand as usize]
    }

    /// Sets the row stride of an operand, in elements; None for no gap.
    pub const fn with_row_stride(mut self, operand: Operand, stride: Option<u32>) -> Self {
        self.rows[operand as usize] = or_none(stride);
        self
    }

    /// Elements from one row to the next; None if that is the length of a row.
    pub const fn row_stride(&self, operand: Operand) -> Option<u32> {
        some(self.rows[operand as usize])
    }

    /// Sets the batch stride of an operand, in elements from layer to layer; None for no gap.
    pub const fn with_batch_stride(mut self, operand: Operand, stride: Option<u32>) -> Self {
        self.batches[operand as usize] = or_none(stride);
        self
    }

    /// Elements from one layer of a batch to the next; None if that is the number of elements of a layer.
    pub const fn batch_stride(&self, operand: Operand) -> Option<u32> {
        some(self.batches[operand as usize])
    }

    /// Whether all strides are multiples of 4, so that groups of four elements (vec4) stay aligned from row to row and layer to layer.
    pub fn keeps_fours(&self) -> bool {
        self.rows.iter().chain(&self.batches).all(|&stride| stride == NONE || stride.is_multiple_of(4))
    }

    /// An error if an operand is narrow, or has gaps between its rows, although it must not.
    pub fn check(&self) -> Result<()> {
        for operand in Operand::ALL {
            let dtype = self.of(operand);
            if dtype != Float::F32 && !may_be_narrow(operand) {
                return Err(Error::Operand {
                    operand,
                    expected: "f32, like all learnable α, gradients of parameters and statistics".into(),
                    got: dtype.name().into(),
                });
            }
            match self.row_stride(operand) {
                Some(stride) if !may_have_gaps(operand) => {
                    return Err(Error::Operand {
                        operand,
                        expected: "elements without gaps; elementwise::copy packs them".into(),
                        got: format!("rows {stride} elements apart"),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

const fn or_none(stride: Option<u32>) -> u32 {
    match stride {
        Some(stride) => stride,
        None => NONE,
    }
}

const fn some(stride: u32) -> Option<u32> {
    if stride == NONE { None } else { Some(stride) }
}

/// Data and weights may be f16 or bf16; α, gradients of parameters and scratch stay f32, for accuracy.
const fn may_be_narrow(operand: Operand) -> bool {
    matches!(
        operand,
        Operand::B
            | Operand::Scale
            | Operand::Shift
            | Operand::FirstRow
            | Operand::BUp
            | Operand::RowWeight
            | Operand::RowWeightBelow
            | Operand::Ddb
            | Operand::Copy
            | Operand::Logits
            | Operand::Dlogits
            | Operand::From
            | Operand::To
    ) || (may_have_gaps(operand) && !matches!(operand, Operand::Dw | Operand::DwUp | Operand::Dw2))
}

/// Matrices may have gaps: their kernels address an element by row and column.
const fn may_have_gaps(operand: Operand) -> bool {
    matches!(
        operand,
        Operand::X
            | Operand::W
            | Operand::WUp
            | Operand::Residual
            | Operand::Y
            | Operand::Saved
            | Operand::Dy
            | Operand::Dx
            | Operand::Dw
            | Operand::DwUp
            | Operand::Dresidual
            | Operand::SavedBelow
            | Operand::Ddx
            | Operand::Ddy
            | Operand::Dx2
            | Operand::Ddw
            | Operand::Dw2
            | Operand::Ddresidual
            | Operand::Dresidual2
            | Operand::Gate
            | Operand::Up
            | Operand::Dgate
            | Operand::Dup
            | Operand::Targets
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn gradients_of_parameters_stay_f32() {
        assert!(Storage::all(Float::F16).check().is_ok());
        let error = Storage::default().with(Operand::Dw, Float::Bf16).check().unwrap_err().to_string();
        assert!(error.contains("dw") && error.contains("bf16") && error.contains("f32"), "{error}");
    }

    #[test]
    fn matrices_may_have_gaps() {
        let storage = Storage::default().with_row_stride(Operand::X, Some(9)).with_batch_stride(Operand::B, Some(0));
        assert!(storage.check().is_ok() && !storage.keeps_fours() && Storage::default().keeps_fours());
        assert_eq!((storage.row_stride(Operand::X), storage.row_stride(Operand::Y)), (Some(9), None));
        assert_eq!((storage.batch_stride(Operand::B), storage.batch_stride(Operand::X)), (Some(0), None));
        let error = storage.with_row_stride(Operand::B, Some(7)).check().unwrap_err().to_string();
        assert!(error.contains("b:") && error.contains("7 elements apart"), "{error}");
    }
}
