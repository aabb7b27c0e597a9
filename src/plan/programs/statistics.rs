//! The programs of statistics of z and y: their terms, and what is made of the sums.

use crate::{
    operand::Operand,
    program::{By, Over, Program, Value, Write},
    request::Statistics,
};

/// The terms of the wanted statistics.
pub(super) fn terms(p: &mut Program, wanted: &Statistics, z: Value, y: Value) {
    let Statistics { channels, rows, around, firing, negative_mass } = *wanted;
    if channels {
        of_direction(p, Over::Rows, z, y, around.then_some(Operand::Around));
    } else if firing {
        let not_positive = p.not_positive(z);
        p.reduce(Over::Rows, not_positive);
    }
    if negative_mass {
        let not_positive = p.not_positive(z);
        let negative = p.pass(z, not_positive);
        p.reduce(Over::Rows, negative);
    }
    if rows {
        of_direction(p, Over::Columns, z, y, None);
    }
}

/// The terms of the five statistics: z ≤ 0, z − c, (z − c)², y − c and (y − c)², with a c for z and one for y in each column.
fn of_direction(p: &mut Program, over: Over, z: Value, y: Value, around: Option<Operand>) {
    let not_positive = p.not_positive(z);
    p.reduce(over, not_positive);
    for (plane, value) in [z, y].into_iter().enumerate() {
        let moved = match around {
            None => value,
            Some(around) => {
                let c = p.load(around, By::Plane(plane as u8));
                p.subtract(value, c)
            }
        };
        let square = p.multiply(moved, moved);
        p.reduce(over, moved);
        p.reduce(over, square);
    }
}

/// The statistics from their sums; p is 1 / count, 1, count.
pub(in super::super) fn statistics(wanted: &Statistics) -> Program {
    let mut p = Program::default();
    let mut sums = 0;
    if wanted.channels {
        of_sums(&mut p, Operand::ChannelStatistics, wanted.around.then_some(Operand::Around));
        sums = 5;
    }
    if wanted.firing {
        let (count, sum) = (p.parameter(2), p.sum_of(0));
        let fires = p.subtract(count, sum);
        p.store(Operand::Firing, By::Plane(0), Write::Accumulate, fires);
        sums = sums.max(1);
    }
    if wanted.negative_mass {
        let (sum, zero) = (p.sum_of(sums), p.constant(0.0));
        let mass = p.subtract(zero, sum);
        p.store(Operand::NegativeMass, By::Plane(0), Write::Accumulate, mass);
    }
    p
}

/// The five statistics of each row from their sums.
pub(in super::super) fn of_rows() -> Program {
    let mut p = Program::default();
    of_sums(&mut p, Operand::RowStatistics, None);
    p
}

/// The five statistics from the first five sums. A variance that rounding brings below 0 becomes 0.
fn of_sums(p: &mut Program, operand: Operand, around: Option<Operand>) {
    let sum = p.sum_of(0);
    let [each, one] = [0, 1].map(|place| p.parameter(place));
    let put = |p: &mut Program, plane, value| p.store(operand, By::Plane(plane), Write::Overwrite, value);
    let share = p.multiply(sum, each);
    put(p, 0, share);
    for plane in [0, 1] {
        let c = around.map(|around| p.load(around, By::Plane(plane)));
        let sums = [1, 2].map(|i| 2 * plane + i);
        let [mean, variance] = mean_and_variance(p, sums, [each, one], c);
        put(p, 2 * plane + 1, mean);
        put(p, 2 * plane + 2, variance);
    }
}

/// Mean and variance from the finished sums of v − c and of its square, with these numbers, and 1 / count and 1. A variance that rounding brings below 0
/// becomes 0.
pub(super) fn mean_and_variance(
    p: &mut Program,
    sums: [u8; 2],
    [each, one]: [Value; 2],
    c: Option<Value>,
) -> [Value; 2] {
    let [sum, squares] = sums.map(|plane| p.sum_of(plane));
    let moved = p.multiply(sum, each);
    let mean = c.map_or(moved, |c| p.add(c, moved));
    let [squares, square] = [p.multiply(squares, each), p.multiply(moved, moved)];
    let variance = p.subtract(squares, square);
    let negative = p.not_positive(variance);
    let kept = p.subtract(one, negative);
    [mean, p.multiply(variance, kept)]
}
