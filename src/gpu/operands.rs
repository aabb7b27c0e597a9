//! The operands of one call, by name.

use crate::{
    dtype::Dtype,
    error::{Error, Result},
    operand::Operand,
    storage::Storage,
    view::{Strides, View},
};

/// The operands of one call.
#[derive(Debug, Default)]
pub(crate) struct Operands<'a> {
    pub(super) list: Vec<(Operand, View<'a>)>,
    /// An output that may be the very memory of an input, because each element is read before it is written.
    pub(super) in_place: Option<(Operand, Operand)>,
}

impl<'a> Operands<'a> {
    pub(crate) fn add(&mut self, operand: Operand, view: impl Into<Option<View<'a>>>) -> &mut Self {
        self.list.extend(view.into().map(|view| (operand, view)));
        self
    }

    /// Leaves out what the call has no use for.
    pub(crate) fn retain(&mut self, used: impl Fn(Operand) -> bool) {
        self.list.retain(|(operand, _)| used(*operand));
    }

    /// Allows `output` to be the memory of `input`, exactly.
    pub(crate) fn in_place(&mut self, output: Operand, input: Operand) -> &mut Self {
        self.in_place = Some((output, input));
        self
    }

    pub(super) fn get(&self, operand: Operand) -> Result<View<'a>> {
        self.list.iter().find(|(o, _)| *o == operand).map(|(_, v)| *v).ok_or_else(|| Error::Operand {
            operand,
            expected: "an operand: this request needs it".into(),
            got: "none".into(),
        })
    }

    /// How they lie in memory, in a batch each begins with.
    pub(crate) fn storage(&self, batched: bool) -> Result<Storage> {
        self.storage_beside(Storage::default(), batched)
    }

    /// The same, beside operands that are stored so.
    pub(crate) fn storage_beside(&self, others: Storage, batched: bool) -> Result<Storage> {
        let mut storage = others;
        for &(operand, view) in &self.list {
            let Strides { row, batch } = view.rows_apart(operand, batched)?;
            storage = storage.with_row_stride(operand, row).with_batch_stride(operand, batch);
            match view.dtype {
                Dtype::Float(float) => storage = storage.with(operand, float),
                // Rows of words end where they are full.
                Dtype::U32 if row.is_some() => return Err(view.out_of_order(operand)),
                Dtype::U32 => {}
            }
        }
        Ok(storage)
    }

    /// The same of operands that must not have gaps.
    pub(crate) fn contiguous(&self) -> Result<Storage> {
        self.list.iter().try_for_each(|(operand, view)| view.contiguous(*operand))?;
        self.storage(false)
    }

    /// Whether every operand starts at a multiple of 16 bytes, so that rows of vec4 can be read as such.
    pub(crate) fn aligned(&self) -> bool {
        self.list.iter().all(|(_, v)| v.offset.is_multiple_of(16))
    }
}
