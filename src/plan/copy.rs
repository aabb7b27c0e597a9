//! The plan of a copy between any strides.

use super::{
    Builder, Caps, Plan,
    builder::workgroups,
    pieces::{self, ELEMENT},
};
use crate::{
    error::Result,
    kernel::{Elem, KernelFile, MOST_SLOTS},
    operand::Operand,
    shape::{self, MOST_DIMENSIONS, Shape},
    storage::Storage,
};

/// A copy from the operand `from` to the operand `to`, without buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CopyRequest {
    /// The shape of both.
    pub shape: Shape,
    /// For `from` and for `to`: elements from one index of each dimension to the next.
    pub strides: [[usize; MOST_DIMENSIONS]; 2],
    /// For `from` and for `to`: elements from the first to the last, gaps included.
    pub extents: [u64; 2],
    /// The types of the numbers; None for words.
    pub storage: Option<Storage>,
}

/// A dimension: its length, and its strides in `from` and in `to`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dimension {
    length: u32,
    strides: [u32; 2],
}

impl CopyRequest {
    /// The dimensions, the last one first, without those of length 1; two that are contiguous in both operands are merged.
    fn dimensions(&self) -> Result<Vec<Dimension>> {
        let mut all: Vec<Dimension> = Vec::with_capacity(MOST_DIMENSIONS);
        for (dim, &length) in self.shape.iter().enumerate().rev().filter(|(_, length)| **length != 1) {
            let stride = |operand, side: usize| shape::elements(operand, &[self.strides[side][dim]]).map(|s| s as u32);
            let strides = [stride(Operand::From, 0)?, stride(Operand::To, 1)?];
            match all.last_mut() {
                Some(last)
                    if [0, 1]
                        .iter()
                        .all(|&i| u64::from(last.strides[i]) * u64::from(last.length) == u64::from(strides[i])) =>
                {
                    last.length *= length as u32;
                }
                _ => all.push(Dimension { length: length as u32, strides }),
            }
        }
        Ok(all)
    }
}

/// The plan of a copy; `aligned` says that both start at a multiple of 16 bytes.
pub fn copy(request: &CopyRequest, aligned: bool, caps: &Caps) -> Result<Plan> {
    const LANES: u32 = 64;
    let total = shape::elements(Operand::From, &request.shape)?;
    let mut plan = Plan::default();
    if total == 0 {
        return Ok(plan);
    }
    let mut dimensions = request.dimensions()?;
    let type_of = |operand| request.storage.map(|storage| storage.of(operand));
    let (from, to) = (type_of(Operand::From), type_of(Operand::To));
    // Four elements at a time, if both operands have them side by side and aligned.
    let wide = aligned
        && from.is_some()
        && dimensions.split_first().is_some_and(|(first, others)| {
            let fours = |dimension: &Dimension| dimension.strides.iter().all(|stride| stride.is_multiple_of(4));
            first.strides == [1, 1] && first.length.is_multiple_of(4) && others.iter().all(fours)
        });
    // Two-byte elements that keep their type are moved as bits, two at a time as a word if possible.
    let narrow = from == to && from.is_some_and(|dtype| dtype.bytes() == 2);
    let (elem, together, unit) = match (narrow, wide) {
        (true, true) => (Elem::Word, 2, 2),
        (true, false) => (Elem::Half, 1, 1),
        (false, _) if from.is_none() => (Elem::Word, 1, 1),
        (false, true) => (Elem::Four, 4, 1),
        (false, false) => (Elem::Scalar, 1, 1),
    };
    if let Some(first) = dimensions.first_mut() {
        *first = Dimension { length: first.length / together, strides: first.strides.map(|stride| stride * together) };
    }
    let bits = matches!(elem, Elem::Word | Elem::Half);
    let mut k = Builder::storing(KernelFile::Copy, request.storage.unwrap_or_default(), caps);
    k.flag("LANES", LANES)
        .flag("DIMENSIONS", dimensions.len() as u32)
        .on("WIDE", elem == Elem::Four)
        .on("BITS_ALONE", bits);
    k.read("source", elem, Operand::From, request.extents[0].div_ceil(unit));
    k.write("destination", elem, Operand::To, request.extents[1].div_ceil(unit));
    for (i, Dimension { length, strides }) in dimensions.into_iter().enumerate() {
        let [from, to] = strides.map(|stride| stride / unit as u32);
        k.params.batch_stride[i] = length;
        k.params.row_stride[i] = from;
        k.params.row_stride[MOST_SLOTS / 2 + i] = to;
    }
    let groups = total / u64::from(together);
    k.params.rows = groups as u32;
    k.cut.rows = u64::from(LANES);
    k.cut.work = u64::from(LANES) * ELEMENT;
    k.params.tiles = workgroups(groups.div_ceil(u64::from(LANES)))?;
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn dimensions(shape: &[usize], from: &[usize], to: &[usize]) -> Vec<(u32, [u32; 2])> {
        let six = |strides: &[usize]| {
            let mut all = [0; MOST_DIMENSIONS];
            all[..strides.len()].copy_from_slice(strides);
            all
        };
        let request =
            CopyRequest { shape: Shape::new(shape), strides: [six(from), six(to)], extents: [0, 0], storage: None };
        request.dimensions().unwrap().into_iter().map(|d| (d.length, d.strides)).collect()
    }

    #[test]
    fn neighbours_that_run_on_are_one_dimension() {
        assert_eq!(dimensions(&[2, 3, 4], &[12, 4, 1], &[12, 4, 1]), [(24, [1, 1])]);
        assert_eq!(dimensions(&[2, 1, 4], &[9, 7, 1], &[4, 4, 1]), [(4, [1, 1]), (2, [9, 4])]);
        assert_eq!(dimensions(&[3, 4], &[1, 3], &[4, 1]), [(4, [3, 1]), (3, [1, 4])]);
        assert_eq!(dimensions(&[5, 3, 4], &[0, 4, 1], &[12, 4, 1]), [(12, [1, 1]), (5, [0, 12])]);
        assert_eq!(dimensions(&[1, 1], &[5, 5], &[1, 1]), []);
    }
}
