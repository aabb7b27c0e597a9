//! One invocation that adds, multiplies, divides and compares subnormal numbers.

use super::{Builder, Plan};
use crate::{
    kernel::{Elem, KernelFile},
    operand::Operand,
};

/// Numbers that the kernel is given, as words.
pub(crate) const NUMBERS: usize = 8;
/// Answers that it gives, as words: one for each operation.
pub(crate) const ANSWERS: usize = 11;

/// What arithmetic makes of the numbers (operand x): an answer for each operation (operand y). Both are words, so that
/// nothing but the operation touches them.
pub fn subnormals() -> Plan {
    let mut k = Builder::new(KernelFile::Subnormals);
    k.read("numbers", Elem::Word, Operand::X, NUMBERS as u64);
    k.write("answers", Elem::Word, Operand::Y, ANSWERS as u64);
    k.params.tiles = 1;
    Plan { dispatches: vec![k.build()], ..Plan::default() }
}
