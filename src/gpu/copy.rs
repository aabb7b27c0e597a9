//! The plan of a copy from one view to another: for [`crate::elementwise::copy`], and for transfers that wgpu cannot copy (gaps, half
//! words).

use super::{Gpu, operands::Operands};
use crate::{
    dtype::Dtype,
    error::{Error, Result},
    operand::Operand,
    plan::{self, CopyRequest, Plan},
    shape,
    storage::Storage,
    view::View,
};

/// Plan and operands of a copy. An error unless the two have the same shape, and both hold numbers or both words.
pub(crate) fn planned<'a>(gpu: &Gpu, from: View<'a>, to: View<'a>) -> Result<(Plan, Operands<'a>)> {
    if from.shape != *to.shape {
        let expected = format!("{:?}, the shape of the source", from.shape);
        return Err(Error::Shape { operand: Operand::To, expected, got: format!("{:?}", to.shape) });
    }
    shape::elements(Operand::From, &from.shape)?;
    let mut operands = Operands::default();
    operands.add(Operand::From, from).add(Operand::To, to);
    let storage = match (from.dtype, to.dtype) {
        (Dtype::Float(from), Dtype::Float(to)) => {
            Some(Storage::default().with(Operand::From, from).with(Operand::To, to))
        }
        (Dtype::U32, Dtype::U32) => None,
        (from, to) => {
            let expected = format!("{}, as in the source", if from == Dtype::U32 { "u32 words" } else { "numbers" });
            return Err(Error::Operand { operand: Operand::To, expected, got: to.name().into() });
        }
    };
    let request = CopyRequest {
        shape: from.shape,
        strides: [from.all_strides(), to.all_strides()],
        extents: [from.extent(), to.extent()],
        storage,
    };
    Ok((plan::copy(&request, operands.aligned(), &gpu.caps())?, operands))
}
