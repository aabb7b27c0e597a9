//! The operands of a call, by name, and what their views say of types and strides.

use crate::{
    dtype::Dtype,
    error::{Error, Result},
    operand::Operand,
    storage::Storage,
    view::{Strides, View},
};

/// The operands of a call.
#[derive(Debug, Default)]
pub(crate) struct Operands<'a> {
    pub(super) list: Vec<(Operand, View<'a>)>,
    /// An output and the input whose memory it may be, because each element is read before it is written.
    pub(super) in_place: Option<(Operand, Operand)>,
}

impl<'a> Operands<'a> {
    pub(crate) fn add(&mut self, operand: Operand, view: impl Into<Option<View<'a>>>) -> &mut Self {
        self.list.extend(view.into().map(|view| (operand, view)));
        self
    }

    /// Drops the operands that the call does not use, so that they need not be in memory.
    pub(crate) fn retain(&mut self, used: impl Fn(Operand) -> bool) {
        self.list.retain(|(operand, _)| used(*operand));
    }

    /// Allows `output` to be the very memory of `input`.
    pub(crate) fn in_place(&mut self, output: Operand, input: Operand) -> &mut Self {
        self.in_place = Some((output, input));
        self
    }

    pub(super) fn get(&self, operand: Operand) -> Result<View<'a>> {
        self.list.iter().find(|(o, _)| *o == operand).map(|(_, v)| *v).ok_or_else(|| Error::Operand {
            operand,
            expected: "an operand, because this call needs it".into(),
            got: "none".into(),
        })
    }

    /// Their types and strides; `batched`: each begins with the dimension of the layers.
    pub(crate) fn storage(&self, batched: bool) -> Result<Storage> {
        self.storage_beside(Storage::default(), batched)
    }

    /// [`Operands::storage`] added to the storage of other operands.
    pub(crate) fn storage_beside(&self, others: Storage, batched: bool) -> Result<Storage> {
        let mut storage = others;
        for &(operand, view) in &self.list {
            let Strides { row, batch } = view.rows_apart(operand, batched)?;
            storage = storage.with_row_stride(operand, row).with_batch_stride(operand, batch);
            match view.dtype {
                Dtype::Float(float) => storage = storage.with(operand, float),
                // Kernels find a word of the mask by the length of a row, not by a stride.
                Dtype::U32 if row.is_some() => return Err(view.out_of_order(operand)),
                Dtype::U32 => {}
            }
        }
        Ok(storage)
    }

    /// [`Operands::storage`] of operands without gaps; an error if one has some.
    pub(crate) fn contiguous(&self) -> Result<Storage> {
        self.list.iter().try_for_each(|(operand, view)| view.contiguous(*operand))?;
        self.storage(false)
    }

    /// Whether every operand starts at a multiple of 16 bytes, so that it can be read and written as vec4.
    pub(crate) fn aligned(&self) -> bool {
        self.list.iter().filter(|(_, v)| v.dtype != Dtype::U32).all(|(_, v)| v.offset.is_multiple_of(16))
    }
}
