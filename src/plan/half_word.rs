//! One invocation that writes half a word.

use super::{Builder, Plan};
use crate::{
    kernel::{Elem, KernelFile},
    request::Operand,
};

/// Puts the lower half of a word (operand x) into another (operand tensor), whose upper half stays: for the last of an odd
/// number of f16 or bf16, because a copy takes whole words.
pub fn half_word() -> Plan {
    let mut k = Builder::new(KernelFile::HalfWord);
    k.read("half", Elem::Word, Operand::X, 1);
    k.write("word", Elem::Word, Operand::Tensor, 1);
    k.params.tiles = 1;
    Plan { dispatches: vec![k.build()], ..Plan::default() }
}
