//! The rules that every program of a kernel must keep.

use super::{By, Function, Over, Program, Step, Value};
use crate::operand::Operand;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Makes {
    Number,
    Bit,
}

impl Step {
    /// The type of the value that it makes; None if it only writes.
    pub(crate) const fn makes(&self) -> Option<Makes> {
        match self {
            Step::LoadBit(_) | Step::Act(_, Function::Bit, ..) => Some(Makes::Bit),
            Step::Store(..) | Step::StoreBit(..) | Step::Reduce(..) => None,
            _ => Some(Makes::Number),
        }
    }

    /// The type that a value must have for this step to use it.
    fn wants(&self, value: Value) -> Makes {
        match *self {
            Step::StoreBit(..) => Makes::Bit,
            Step::Act(_, Function::SlopeOfBit, of, _) if of == value => Makes::Bit,
            _ => Makes::Number,
        }
    }
}

/// The most steps: a value's number is a byte.
const MOST_STEPS: usize = 256;

impl Program {
    /// Checks that every value is made before it is used, and of the right type; that every operand is indexed in one way, read before it
    /// is written, and written once; that nothing is written by row, by column or for all, where many elements would write one number; and
    /// that a program for a group of rows uses what each of its rows has. The error names the step.
    pub fn check(&self) -> Result<(), String> {
        if self.steps.len() > MOST_STEPS {
            return Err(format!("{} steps; at most {MOST_STEPS}", self.steps.len()));
        }
        let members = self.members() as u8;
        if !matches!(members, 1 | 4 | 8) {
            return Err(format!("for {members} rows; expected 1, 4 or 8"));
        }
        // Operand, how it is indexed, whether it has been written.
        let mut seen: Vec<(Operand, Option<By>, bool)> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            let fail = |why: String| Err(format!("step {i}, {step}: {why}"));
            for value in step.takes() {
                match self.steps[..i].get(usize::from(value.0)).map(Step::makes) {
                    None => return fail(format!("{value} is not made yet")),
                    Some(made) if made != Some(step.wants(value)) => return fail(format!("{value} is {made:?}")),
                    Some(_) => {}
                }
            }
            match *step {
                Step::Constant(bits) if !f32::from_bits(bits).is_finite() => return fail("not a finite number".into()),
                Step::Sum(member) if members > 1 && member >= members => return fail(format!("for {members} rows")),
                Step::LoadJoined(..) | Step::LoadApart(..) if self.steps.len() > 1 => {
                    return fail("more than the load of an operand of a product".into());
                }
                Step::LoadBit(_) | Step::StoreBit(..) | Step::Reduce(Over::Columns, _) | Step::Dropout(..)
                    if members > 1 =>
                {
                    return fail(format!("one number for {members} rows"));
                }
                _ => {}
            }
            let (operand, by, write) = match *step {
                Step::Load(operand, by) => (operand, Some(by), false),
                Step::LoadBit(operand) => (operand, None, false),
                Step::Dropout(state, _) => (state, Some(By::State), false),
                Step::Store(operand, by, ..) => (operand, Some(by), true),
                Step::StoreBit(operand, _) => (operand, None, true),
                _ => continue,
            };
            match by {
                Some(By::Member(member)) if member >= members || members == 1 => {
                    return fail(format!("for {members} rows"));
                }
                Some(By::Stacked(side) | By::Interleaved(side) | By::InterleavedColumn(side)) if side > 1 => {
                    return fail("of two numbers".into());
                }
                Some(By::Element | By::Row | By::RowPlane(_) | By::Stacked(_) | By::Interleaved(_)) if members > 1 => {
                    return fail(format!("one number for {members} rows"));
                }
                _ => {}
            }
            if write
                && matches!(by, Some(By::Row | By::RowPlane(_) | By::Column | By::Whole | By::InterleavedColumn(_)))
            {
                return fail(format!("many elements would write one {operand}: use a sum"));
            }
            let same_kind = |one: Option<By>| match (one, by) {
                (Some(By::Plane(_)), Some(By::Plane(_)))
                | (Some(By::RowPlane(_)), Some(By::RowPlane(_)))
                | (Some(By::Member(_)), Some(By::Member(_))) => true,
                (Some(By::Stacked(_)), Some(By::Stacked(_))) | (Some(By::Interleaved(_)), Some(By::Interleaved(_))) => {
                    true
                }
                (Some(By::InterleavedColumn(_)), Some(By::InterleavedColumn(_))) => true,
                (one, by) => one == by,
            };
            match seen.iter().rfind(|(o, ..)| *o == operand) {
                Some((_, other, _)) if !same_kind(*other) => return fail(format!("{operand} is indexed in two ways")),
                _ => {}
            }
            let written = seen.iter().any(|&(o, b, written)| o == operand && b == by && written);
            if written {
                return fail(format!("{operand} has been written already"));
            }
            seen.push((operand, by, write));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Write;
    use super::*;
    use crate::activation::Quantity;

    fn refused(write: impl Fn(&mut Program), why: &str) {
        let mut p = Program::default();
        write(&mut p);
        let message = p.check().expect_err("a wrong program");
        assert!(message.contains(why), "{message}");
    }

    #[test]
    fn planted_mistakes_are_found() {
        let value = Function::Of(Quantity::Value);
        refused(
            |p| {
                p.add(Value(0), Value(1));
            },
            "not made yet",
        );
        refused(|p| p.store(Operand::Y, By::Element, Write::Overwrite, Value(3)), "not made yet");
        refused(
            |p| {
                let bit = p.load_bit(Operand::Saved);
                p.act(0, value, bit, None);
            },
            "is Some(Bit)",
        );
        refused(
            |p| {
                let sum = p.sum_of(0);
                p.store_bit(Operand::Saved, sum);
            },
            "is Some(Number)",
        );
        refused(
            |p| {
                let sum = p.sum_of(0);
                p.reduce(Over::Rows, sum);
                p.add(sum, Value(1));
            },
            "is None",
        );
        refused(
            |p| {
                p.load(Operand::Alpha, By::Column);
                p.load(Operand::Alpha, By::Whole);
            },
            "in two ways",
        );
        for by in [By::Row, By::Column, By::Whole] {
            refused(
                |p| {
                    let sum = p.sum_of(0);
                    p.store(Operand::Y, by, Write::Overwrite, sum);
                },
                "many elements",
            );
        }
        refused(
            |p| {
                let sum = p.sum_of(0);
                p.store(Operand::Y, By::Element, Write::Overwrite, sum);
                p.load(Operand::Y, By::Element);
            },
            "written already",
        );
        refused(
            |p| {
                p.load_joined(Operand::X, Operand::Ddx);
                p.sum_of(0);
            },
            "more than the load",
        );
        refused(
            |p| {
                p.load_apart(Operand::W, Operand::WUp);
                p.sum_of(0);
            },
            "more than the load",
        );
        refused(
            |p| {
                for _ in 0..257 {
                    p.sum_of(0);
                }
            },
            "at most 256",
        );
    }
}
