//! Runs a program in f64 for one element: the reference for its WGSL.

use super::{By, Function, Over, Program, Step, Value, Write};
use crate::{activation::Activation, dropout::Dropout, operand::Operand};

/// The operands that a program reads and writes.
pub trait Memory {
    /// Reads the number of an operand that the element in row m and column n uses.
    fn load(&self, operand: Operand, by: By, m: usize, n: usize) -> f64;
    /// Writes that number.
    fn store(&mut self, operand: Operand, by: By, m: usize, n: usize, value: f64);
    /// Reads an element of two operands that lie one behind the other along the reduction.
    fn load_joined(&self, operands: [Operand; 2], m: usize, n: usize) -> f64;
    /// Reads an element of two operands that lie one behind the other along the output, those of the two sides.
    fn load_apart(&self, operands: [Operand; 2], m: usize, n: usize) -> f64;
    /// What the element in row m and column n is multiplied by in a dropout with this state.
    fn dropout(&self, state: Operand, dropout: Dropout, m: usize, n: usize) -> f64;
    /// Reads the bit of a mask for the element in row m and column n.
    fn bit(&self, operand: Operand, m: usize, n: usize) -> bool;
    /// Writes that bit.
    fn store_bit(&mut self, operand: Operand, m: usize, n: usize, bit: bool);
    /// Adds a term to the sum with this number: over rows, for column n, or over columns, for row m.
    fn reduce(&mut self, over: Over, number: usize, m: usize, n: usize, term: f64);
}

impl Program {
    /// Runs the steps for the element in row m and column n, or for the group of rows from m on. The program must have passed [`Program::check`]. `sums`, `parameters` and
    /// `activations` are the kernel's. Returns the last value, which is the element in a program that loads one.
    pub fn run(
        &self,
        [m, n]: [usize; 2],
        sums: &[f64],
        parameters: &[f64],
        activations: &[Activation],
        memory: &mut impl Memory,
    ) -> f64 {
        let mut values = Vec::with_capacity(self.steps().len());
        let mut number = [0; 2];
        for step in self.steps() {
            let v = |value: Value| -> f64 { values[usize::from(value.0)] };
            // An element of a group is an element of its row.
            let element = |by| match by {
                By::Member(member) => (By::Element, m + usize::from(member)),
                by => (by, m),
            };
            let made = match *step {
                Step::Sum(plane) => sums[usize::from(plane)],
                Step::Constant(bits) => f64::from(f32::from_bits(bits)),
                Step::Parameter(place) => parameters[usize::from(place)],
                Step::Load(operand, by) => {
                    let (by, m) = element(by);
                    memory.load(operand, by, m, n)
                }
                Step::LoadJoined(first, second) => memory.load_joined([first, second], m, n),
                Step::LoadApart(first, second) => memory.load_apart([first, second], m, n),
                Step::LoadBit(operand) => f64::from(memory.bit(operand, m, n)),
                Step::Dropout(state, dropout) => memory.dropout(state, dropout, m, n),
                Step::Add(a, b) => v(a) + v(b),
                Step::Subtract(a, b) => v(a) - v(b),
                Step::Multiply(a, b) => v(a) * v(b),
                Step::Pass(a, by) => passed(&[v(a)], v(by)),
                Step::PassBoth(a, b, by) => passed(&[v(a), v(b)], v(by)),
                Step::NotPositive(a) => f64::from(v(a) <= 0.0),
                Step::InverseSqrt(a) => v(a).sqrt().recip(),
                Step::Capped(a, limit) if v(a) > v(limit) => v(limit),
                Step::Capped(a, _) => v(a),
                Step::Within(a, _) if v(a).is_nan() => v(a),
                Step::Within(a, limit) => f64::from(v(a) <= v(limit)),
                Step::Act(stage, function, a, alpha) => {
                    let constant = activations[usize::from(stage)];
                    let activation = alpha.map_or(constant, |alpha| constant.with_alpha(v(alpha) as f32));
                    match function {
                        Function::Of(quantity) => activation.evaluate(quantity, v(a)),
                        Function::SlopeOfY => activation.slope_of_y(v(a)),
                        Function::SlopeOfBit => activation.slope_of_bit(v(a) != 0.0),
                        Function::Bit => f64::from(activation.bit(v(a))),
                    }
                }
                Step::Store(operand, by, write, a) => {
                    let (by, m) = element(by);
                    let before = if write == Write::Accumulate { memory.load(operand, by, m, n) } else { 0.0 };
                    memory.store(operand, by, m, n, before + v(a));
                    f64::NAN
                }
                Step::StoreBit(operand, a) => {
                    memory.store_bit(operand, m, n, v(a) != 0.0);
                    f64::NAN
                }
                Step::Reduce(over, a) => {
                    let number = &mut number[over as usize];
                    memory.reduce(over, *number, m, n, v(a));
                    *number += 1;
                    f64::NAN
                }
            };
            values.push(made);
        }
        values.last().copied().unwrap_or(f64::NAN)
    }
}

fn passed(factors: &[f64], derivative: f64) -> f64 {
    let product: f64 = factors.iter().product();
    match factors.iter().find(|factor| factor.is_nan()) {
        Some(&nan) => nan,
        None if derivative == 0.0 => 0.0,
        None => product * derivative,
    }
}
