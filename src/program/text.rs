//! A program as text, one line a step.

use std::fmt;

use super::{By, Over, Program, Step, Value, Write};

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Element => f.write_str("[m,n]"),
            By::Member(member) => write!(f, "[m+{member},n]"),
            By::Row => f.write_str("[m]"),
            By::Column => f.write_str("[n]"),
            By::Whole => f.write_str("[0]"),
            By::Plane(plane) => write!(f, "[{plane},n]"),
            By::RowPlane(plane) => write!(f, "[{plane},m]"),
            By::Stacked(side) => write!(f, "[m,{side},n]"),
            By::Interleaved(side) => write!(f, "[m,n,{side}]"),
            By::State => f.write_str("[0..4]"),
            By::InterleavedColumn(side) => write!(f, "[n,{side}]"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Sum(plane) => write!(f, "sum {plane}"),
            Step::Constant(bits) => write!(f, "{:?}", f32::from_bits(*bits)),
            Step::Parameter(place) => write!(f, "p[{place}]"),
            Step::Load(operand, by) => write!(f, "{operand}{by}"),
            Step::LoadJoined(first, second) => write!(f, "{first}[m,n], then {second}[m,n]"),
            Step::LoadApart(first, second) => write!(f, "{first}[m,n], or {second}[m,n]"),
            Step::LoadBit(operand) => write!(f, "bit {operand}[m,n]"),
            Step::Add(v, w) => write!(f, "{v} + {w}"),
            Step::Subtract(v, w) => write!(f, "{v} - {w}"),
            Step::Multiply(v, w) => write!(f, "{v} * {w}"),
            Step::Pass(v, w) => write!(f, "{v} through {w}"),
            Step::PassBoth(v, u, w) => write!(f, "{v} * {u} through {w}"),
            Step::NotPositive(v) => write!(f, "{v} <= 0"),
            Step::Dropout(state, dropout) => write!(f, "dropout {} of {state}", dropout.p()),
            Step::InverseSqrt(v) => write!(f, "1 / sqrt({v})"),
            Step::Capped(v, w) => write!(f, "min({v}, {w})"),
            Step::Within(v, w) => write!(f, "{v} <= {w}"),
            Step::Act(stage, function, v, alpha) => {
                write!(f, "{}#{stage}({v}", function.wgsl_name())?;
                alpha.iter().try_for_each(|alpha| write!(f, "; {alpha}"))?;
                f.write_str(")")
            }
            Step::Store(operand, by, Write::Overwrite, v) => write!(f, "{operand}{by} = {v}"),
            Step::Store(operand, by, Write::Accumulate, v) => write!(f, "{operand}{by} += {v}"),
            Step::StoreBit(operand, v) => write!(f, "bit {operand}[m,n] = {v}"),
            Step::Reduce(Over::Rows, v) => write!(f, "sum over m of {v}"),
            Step::Reduce(Over::Columns, v) => write!(f, "sum over n of {v}"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.members > 1 {
            writeln!(f, "for {} rows", self.members)?;
        }
        for (i, step) in self.steps.iter().enumerate() {
            match step.makes() {
                Some(_) => writeln!(f, "v{i} = {step}")?,
                None => writeln!(f, "{step}")?,
            }
        }
        Ok(())
    }
}
