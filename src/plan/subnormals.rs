//! The plan that measures whether a device flushes subnormal numbers: one invocation that adds, multiplies, divides and compares them.

use super::{Builder, Plan};
use crate::{
    kernel::{Elem, KernelFile},
    operand::Operand,
};

/// Number of the kernel's inputs, as words.
pub(crate) const NUMBERS: usize = 8;
/// Number of the kernel's answers, as words: one for each operation.
pub(crate) const ANSWERS: usize = 11;

/// The result of each operation (operand y) on the numbers (operand x). Both are words, so that loads and stores cannot flush them.
pub fn subnormals() -> Plan {
    let mut k = Builder::new(KernelFile::Subnormals);
    k.read("numbers", Elem::Word, Operand::X, NUMBERS as u64);
    k.write("answers", Elem::Word, Operand::Y, ANSWERS as u64);
    k.params.tiles = 1;
    Plan { dispatches: vec![k.build()], ..Plan::default() }
}
