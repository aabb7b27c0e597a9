//! Whether the device keeps subnormal numbers or flushes them to 0, measured.

use std::fmt;

use super::{Gpu, operands::Operands, record::prepare};
use crate::{
    error::Result,
    operand::Operand,
    plan::{self, ANSWERS, NUMBERS},
};

/// The kernel's input: 2⁻¹²⁸ (subnormal), 2⁻¹²⁶ (the least normal number), their sum, 2²⁴, 2⁻²⁴, 4, 1/4, 0.
const GIVEN: [u32; NUMBERS] =
    [0x0020_0000, LEAST, LEAST + 0x0020_0000, 0x4b80_0000, 0x3380_0000, 0x4080_0000, 0x3e80_0000, 0];
const LEAST: u32 = 0x0080_0000;

/// The kernel's operations, in order. The first [`OPERANDS`] have a subnormal operand, the others a subnormal result.
const OPERATIONS: [&str; ANSWERS] =
    ["add", "multiply", "divide", "fma", "sqrt", "compare", "max", "add", "multiply", "divide", "fma"];
const OPERANDS: usize = 7;

/// Whether a device keeps subnormal f32 numbers (not 0, below 2⁻¹²⁶ in magnitude) or flushes them to 0. WGSL leaves that to each
/// operation; `docs/numerics.md` says which results are right on a device that flushes.
///
/// ```no_run
/// let gpu = elbow::Gpu::new()?;
/// let subnormals = gpu.subnormals()?;
/// println!("subnormals are {subnormals}"); // kept, or flushed to zero (by some operations)
/// let flushing = subnormals.operands_flushed_by().chain(subnormals.results_flushed_by()).count();
/// assert_eq!(subnormals.are_kept(), flushing == 0);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnormals {
    flushed: [bool; ANSWERS],
}

impl Subnormals {
    /// Whether every operation that was tried keeps them, as operand and as result.
    pub fn are_kept(&self) -> bool {
        !self.flushed.contains(&true)
    }

    /// The operations that take 0 for a subnormal operand.
    pub fn operands_flushed_by(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.flushing(0..OPERANDS)
    }

    /// The operations that give 0 for a subnormal result.
    pub fn results_flushed_by(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.flushing(OPERANDS..ANSWERS)
    }

    fn flushing(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = &'static str> + use<> {
        let flushed = self.flushed;
        range.filter(move |&i| flushed[i]).map(|i| OPERATIONS[i])
    }

    /// From the kernel's answers. A quotient or a root may be a little off and still counts as kept; a flushed one is exactly 0.
    fn of(answers: &[u32]) -> Self {
        let flushed = |i: usize| answers.get(i).map(|bits| bits & 0x7fff_ffff) == Some(if i == 0 { LEAST } else { 0 });
        Subnormals { flushed: std::array::from_fn(flushed) }
    }
}

/// `kept`, `flushed`, or which operations flush what.
impl fmt::Display for Subnormals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_kept() {
            return f.write_str("kept");
        }
        f.write_str("flushed to zero")?;
        if self.flushed.contains(&false) {
            let list = |names: Vec<&str>| if names.is_empty() { "none".into() } else { names.join(", ") };
            let (operands, results) = (self.operands_flushed_by().collect(), self.results_flushed_by().collect());
            write!(f, " by some operations (operands: {}; results: {})", list(operands), list(results))?;
        }
        Ok(())
    }
}

impl Gpu {
    /// Whether this device keeps subnormal numbers or flushes them to 0: measured by the first call, then remembered.
    ///
    /// The first call compiles a kernel of one invocation, submits it and awaits it as [`Gpu::download_async`] does.
    ///
    /// ```no_run
    /// # async fn host(gpu: &elbow::Gpu) -> elbow::Result<()> {
    /// if !gpu.subnormals_async().await?.are_kept() {
    ///     println!("tiny results are 0 on this device");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn subnormals_async(&self) -> Result<Subnormals> {
        if let Some(known) = self.inner.subnormals.get() {
            return Ok(*known);
        }
        let numbers = self.upload_words(&GIVEN, &[NUMBERS])?;
        let answers = self.upload_words(&[0; ANSWERS], &[ANSWERS])?;
        let mut operands = Operands::default();
        operands.add(Operand::X, numbers.view()).add(Operand::Y, answers.view());
        let prepared = prepare(self, &plan::subnormals(), &operands)?;
        self.submit(|encoder| prepared.record(encoder))?;
        let measured = Subnormals::of(&self.download_words_async(&answers).await?);
        Ok(*self.inner.subnormals.get_or_init(|| measured))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's answers, computed on the CPU, with subnormals kept or flushed.
    fn answers(operand: impl Fn(usize, f32) -> f32, result: impl Fn(usize, f32) -> f32) -> Vec<u32> {
        let [tiny, least, above, up, down, four, quarter, zero] = GIVEN.map(f32::from_bits);
        let t = |i: usize| operand(i, tiny);
        let exact = [
            t(0) + least,
            t(1) * up,
            t(2) / down,
            t(3).mul_add(up, zero),
            t(4).sqrt(),
            if t(5) > zero { up } else { zero },
            t(6).max(zero),
            above - least,
            least * quarter,
            least / four,
            least.mul_add(quarter, zero),
        ];
        exact.iter().enumerate().map(|(i, &v)| result(i, v).to_bits()).collect()
    }

    #[test]
    fn habits_are_told_apart() {
        let keep = |_, v: f32| v;
        let flush = |_, v: f32| if v.is_subnormal() { 0.0 } else { v };
        let kept = Subnormals::of(&answers(keep, keep));
        assert!(kept.are_kept() && kept.to_string() == "kept", "{kept:?}");
        let flushed = Subnormals::of(&answers(flush, flush));
        assert!(flushed.flushed == [true; ANSWERS] && flushed.to_string() == "flushed to zero", "{flushed:?}");
        let operands = Subnormals::of(&answers(flush, keep));
        assert_eq!((operands.operands_flushed_by().count(), operands.results_flushed_by().count()), (OPERANDS, 0));
        // max of a subnormal and 0 is one, so that flushing results shows there too.
        let results = Subnormals::of(&answers(keep, flush));
        assert_eq!(results.operands_flushed_by().collect::<Vec<_>>(), ["max"]);
        assert_eq!(results.results_flushed_by().count(), ANSWERS - OPERANDS);
        let compare = Subnormals::of(&answers(|i, v| if i == 5 { 0.0 } else { v }, keep));
        assert_eq!(compare.to_string(), "flushed to zero by some operations (operands: compare; results: none)");
        // A quotient that is one unit off is kept.
        let off = |i: usize, v: f32| if i == 2 || i == 9 { v.next_up() } else { v };
        assert!(Subnormals::of(&answers(keep, off)).are_kept());
    }
}
