//! Mean and variance of the columns or rows of x, in f64, in one sweep: sums of x − c and of its square, with a number of the line itself for c. So nothing
//! cancels but what f64 has digits for: the line's squares around any of its n numbers are at most n times its variance.

use elbow::Norm;

use crate::{
    columns::Columns,
    pass::{SPAN, Span, block_rows, in_blocks},
    vectors::{add_moved, dot, moved},
};

/// A number for each column, or for each row, of a matrix.
pub(super) enum Lines<'a> {
    Columns(Columns<'a>),
    Rows(&'a [f32]),
}

impl Lines<'_> {
    /// One for each element of a span of the block that starts at `row`; `room` holds them if they are those of rows.
    pub(super) fn of<'r>(&'r self, row: usize, span: &Span, room: &'r mut [f32; SPAN]) -> &'r [f32] {
        match self {
            Lines::Columns(columns) => columns.of(span),
            Lines::Rows(rows) => {
                let room = &mut room[..span.range.len()];
                room.chunks_mut(span.columns)
                    .zip(&rows[row + span.row..])
                    .for_each(|(room, of_row)| room.fill(*of_row));
                room
            }
        }
    }
}

/// The means, if they are taken off, and 1 / √(variance + ε).
pub(super) struct Statistics<'a> {
    pub(super) mean: Option<Lines<'a>>,
    pub(super) inverse: Lines<'a>,
}

impl<'a> Statistics<'a> {
    /// Of two planes of moments, of as many columns or rows each.
    pub(super) fn new(norm: &Norm, [mean, inverse]: [&'a [f32]; 2]) -> Self {
        let lines = |values| if norm.of_rows() { Lines::Rows(values) } else { Lines::Columns(Columns::new(values)) };
        Statistics { mean: norm.has_mean().then(|| lines(mean)), inverse: lines(inverse) }
    }
}

/// Mean and variance.
type Moments = [f64; 2];

fn inverse(norm: &Norm, variance: f64) -> f32 {
    (variance + f64::from(norm.get_epsilon())).sqrt().recip() as f32
}

/// Where the sums start from: a number of the line, so that an infinite one has an infinite mean.
fn start(first: f32) -> f32 {
    if first.is_finite() { first } else { 0.0 }
}

fn mean_and_variance(c: f32, [sum, square]: [f64; 2], count: usize) -> Moments {
    let count = count as f64;
    let variance = (square - sum * sum / count) / count;
    // Rounding may bring it below 0; NaN stays.
    [f64::from(c) + sum / count, if variance < 0.0 { 0.0 } else { variance }]
}

/// Those of each column of x, of k columns.
pub(super) fn of_columns(x: &[f32], k: usize) -> Vec<Moments> {
    let m = x.len() / k;
    let c: Vec<f32> = x[..k].iter().map(|&first| start(first)).collect();
    let blocks = x.chunks(block_rows(m, k) * k).collect();
    let mut partials = Vec::new();
    let sums = in_blocks(blocks, 2 * k, &mut partials, |_, rows: &[f32], sums| {
        let (sums, squares) = sums.split_at_mut(k);
        add_moved(rows, &c, sums, squares);
    });
    (0..k).map(|j| mean_and_variance(c[j], [sums[j], sums[k + j]], m)).collect()
}

/// Writes mean and 1 / √(variance + ε) of each of some whole rows.
pub(super) fn of_rows(norm: &Norm, x: &[f32], k: usize, [means, inverses]: [&mut [f32]; 2]) {
    for ((x, mean), of_row) in x.chunks(k).zip(means).zip(inverses) {
        let [centre, variance] = match norm.has_mean() {
            true => mean_and_variance(start(x[0]), moved(x, start(x[0])), k),
            false => [0.0, dot(x, x) / k as f64],
        };
        (*mean, *of_row) = (centre as f32, inverse(norm, variance));
    }
}

/// Writes two planes, the mean and 1 / √(variance + ε) of each column.
pub(super) fn put(norm: &Norm, moments: &[Moments], out: &mut [f32]) {
    let (means, inverses) = out.split_at_mut(moments.len());
    for (([mean, variance], to), of_column) in moments.iter().zip(means).zip(inverses) {
        (*to, *of_column) = (*mean as f32, inverse(norm, *variance));
    }
}

/// The running mean and variance of each column, two planes.
pub(super) fn of_running(running: &[f32]) -> Vec<Moments> {
    let (means, variances) = running.split_at(running.len() / 2);
    means.iter().zip(variances).map(|(mean, variance)| [f64::from(*mean), f64::from(*variance)]).collect()
}

/// Moves running ones towards those of m rows, of which the variance is divided by m − 1.
pub(super) fn follow(norm: &Norm, moments: &[Moments], m: usize, running: &mut [f32]) {
    let momentum = f64::from(norm.get_momentum());
    let unbiased = m as f64 / (m as f64 - 1.0).max(1.0);
    let (means, variances) = running.split_at_mut(moments.len());
    for (([mean, variance], to), of_column) in moments.iter().zip(means).zip(variances) {
        for (to, new) in [(to, *mean), (of_column, variance * unbiased)] {
            let old = f64::from(*to);
            *to = (old + momentum * (new - old)) as f32;
        }
    }
}
