//! The pass between the products of a double backward: from ż, the change of z, and dy it makes ddy, dz2 and dz, with the sums of db2 and dα2.
//! Every span of it stays in the first-level cache.

use elbow::{activation::Quantity, request::Want};

use crate::{
    pass::{Channels, SPAN, Span, block_rows, in_blocks, spans},
    slopes::Slopes,
    vectors::{add, add_passed, add_passed_both, add_to_sums, multiply_passed, total},
};

/// What the pass reads.
pub(super) struct Second<'a> {
    pub(super) channels: Channels<'a>,
    pub(super) slopes: Slopes<'a>,
    /// Rows of z.
    pub(super) rows: usize,
    /// The upstream gradient, if dz, dz2 or dα2 is made.
    pub(super) dy: Option<&'a [f32]>,
    /// Whether z changes, so that the other parts of ż count.
    pub(super) moves_z: bool,
    /// Whether the memory of dz2 holds ddx·Wᵀ + x·ddWᵀ, a part of ż.
    pub(super) products: bool,
    /// ddb, another part of it.
    pub(super) ddb: Option<&'a [f32]>,
    /// That of the residual.
    pub(super) ddresidual: Option<&'a [f32]>,
    /// What comes back to dα.
    pub(super) ddalpha: Option<&'a [f32]>,
    /// Whether act'' is 0 everywhere.
    pub(super) flat: bool,
    /// Whether db2 and dα2 are summed.
    pub(super) sums: [bool; 2],
}

/// What the pass writes; empty or None where it is not wanted.
pub(super) struct Results<'o> {
    /// Where z is made again it holds x·Wᵀ.
    pub(super) dz: &'o mut [f32],
    /// Whether it becomes dz.
    pub(super) writes_dz: bool,
    pub(super) dz2: &'o mut [f32],
    /// Whether it becomes dz2.
    pub(super) writes_dz2: bool,
    pub(super) ddy: Option<(&'o mut [f32], Want)>,
    pub(super) dresidual2: Option<(&'o mut [f32], Want)>,
}

impl<'o> Results<'o> {
    /// Those of each block of so many elements.
    fn blocks(self, elements: usize, count: usize) -> Vec<Results<'o>> {
        let Results { dz, dz2, ddy, dresidual2, writes_dz, writes_dz2 } = self;
        let (mut dz, mut dz2) = (dz.chunks_mut(elements), dz2.chunks_mut(elements));
        let cut = |out: Option<(&'o mut [f32], Want)>| out.map(|(out, want)| (out.chunks_mut(elements), want));
        let (mut ddy, mut dresidual2) = (cut(ddy), cut(dresidual2));
        let block = |_| Results {
            dz: dz.next().unwrap_or_default(),
            writes_dz,
            dz2: dz2.next().unwrap_or_default(),
            writes_dz2,
            ddy: ddy.as_mut().and_then(|(parts, want)| parts.next().map(|part| (part, *want))),
            dresidual2: dresidual2.as_mut().and_then(|(parts, want)| parts.next().map(|part| (part, *want))),
        };
        (0..count).map(block).collect()
    }
}

/// A row of numbers for the columns, or one number for all, at every element of a span.
fn spread(of_columns: &[f32], span: &Span, out: &mut [f32]) {
    match of_columns {
        [one] => out.fill(*one),
        _ => {
            let row = &of_columns[span.column..span.column + span.columns];
            out.chunks_mut(span.columns).for_each(|out| out.copy_from_slice(row));
        }
    }
}

/// Adds every row of a span to the sums of its columns.
fn add_to_columns(sums: &mut [f64], span: &Span, values: &[f32]) {
    let sums = &mut sums[span.column..span.column + span.columns];
    values.chunks(span.columns).for_each(|row| add_to_sums(sums, row));
}

impl<'a> Second<'a> {
    /// The number of sums for db2 and for dα2.
    fn widths(&self) -> [usize; 2] {
        let n = self.channels.n();
        let [db2, dalpha2] = self.sums;
        let alphas = if self.channels.alpha_of_all().is_some() { 1 } else { n };
        [if db2 { n } else { 0 }, if dalpha2 { alphas } else { 0 }]
    }

    /// Writes all results, on all threads, and returns the sums for db2 and dα2, empty where they are not wanted.
    pub(super) fn all<'p>(&self, results: Results<'_>, partials: &'p mut Vec<f64>) -> (&'p [f64], &'p [f64]) {
        let n = self.channels.n();
        let rows = block_rows(self.rows, n);
        let count = if n > 0 { self.rows.div_ceil(rows) } else { 0 };
        let blocks = results.blocks((rows * n).max(1), count);
        let [db2, dalpha2] = self.widths();
        let work = |i, block: Results<'_>, sums: &mut [f64]| {
            let first = i * rows;
            self.block(first, rows.min(self.rows - first), block, sums);
        };
        in_blocks(blocks, db2 + dalpha2, partials, work).split_at(db2)
    }

    /// ż of a span, the sum of its parts.
    fn change(&self, span: &Span, products: Option<&[f32]>, ddresidual: Option<&[f32]>, out: &mut [f32]) {
        match products {
            Some(products) => out.copy_from_slice(products),
            None => out.fill(0.0),
        }
        if let Some(ddb) = self.ddb {
            out.chunks_mut(span.columns).for_each(|out| add(out, &ddb[span.column..span.column + span.columns]));
        }
        if let Some(ddresidual) = ddresidual {
            add(out, &ddresidual[span.range.clone()]);
        }
    }

    /// The rows of a block, the first of them `row`.
    fn block(&self, row: usize, rows: usize, block: Results<'_>, sums: &mut [f64]) {
        let Results { dz, writes_dz, dz2, writes_dz2, mut ddy, mut dresidual2 } = block;
        let n = self.channels.n();
        let stops = self.channels.stops();
        let slopes = self.slopes.block(row, rows, n);
        let of_block = |whole: Option<&'a [f32]>| whole.map(|whole| &whole[row * n..(row + rows) * n]);
        let [dy, ddresidual] = [self.dy, self.ddresidual].map(of_block);
        let (db2, dalpha2) = sums.split_at_mut(self.widths()[0]);
        let [mut pre, mut tangent, mut of_alpha, mut derivative, mut mixed, mut sum] = [[0.0; SPAN]; 6];
        for span in spans(rows * n, n) {
            let length = span.range.len();
            let [derivative, mixed, sum] = [&mut derivative, &mut mixed, &mut sum].map(|room| &mut room[..length]);
            let z = slopes.z(&span, dz.get(span.range.clone()).unwrap_or_default(), &mut pre);
            let dy = dy.map(|dy| &dy[span.range.clone()]);
            let products = dz2.get(span.range.clone()).filter(|_| self.products);
            let moved = self.moves_z.then(|| {
                self.change(&span, products, ddresidual, &mut tangent[..length]);
                &tangent[..length]
            });
            let of_alpha = self.ddalpha.map(|ddalpha| {
                spread(ddalpha, &span, &mut of_alpha[..length]);
                &of_alpha[..length]
            });

            if writes_dz || (ddy.is_some() && moved.is_some()) {
                slopes.fill(&self.channels, &span, z, derivative);
            }
            if let (true, Some(dy)) = (writes_dz, dy) {
                multiply_passed(stops, dy, derivative, &mut dz[span.range.clone()]);
            }
            if let Some((ddy, want)) = &mut ddy {
                let ddy = &mut ddy[span.range.clone()];
                match (moved, *want) {
                    (Some(moved), Want::Accumulate) => add_passed(stops, moved, derivative, ddy),
                    (Some(moved), _) => multiply_passed(stops, moved, derivative, ddy),
                    (None, Want::Accumulate) => {}
                    (None, _) => ddy.fill(0.0),
                }
                if let (Some(of_alpha), Some(z)) = (of_alpha, z) {
                    self.channels.evaluate(Quantity::AlphaSlope, &span, z, derivative);
                    add_passed(stops, of_alpha, derivative, ddy);
                }
            }

            // The rest is made from dy and from z itself.
            let (Some(dy), Some(z)) = (dy, z) else { continue };
            let of_dz2 = writes_dz2 || dresidual2.is_some() || self.sums[0];
            if (of_dz2 && of_alpha.is_some()) || (self.sums[1] && moved.is_some()) {
                self.channels.evaluate(Quantity::MixedDerivative, &span, z, mixed);
            }
            if of_dz2 {
                sum.fill(0.0);
                if let (Some(moved), false) = (moved, self.flat) {
                    self.channels.evaluate(Quantity::SecondDerivative, &span, z, derivative);
                    add_passed_both(stops, [moved, dy], derivative, sum);
                }
                if let Some(of_alpha) = of_alpha {
                    add_passed_both(stops, [of_alpha, dy], mixed, sum);
                }
                if writes_dz2 {
                    dz2[span.range.clone()].copy_from_slice(sum);
                }
                match &mut dresidual2 {
                    Some((out, Want::Accumulate)) => add(&mut out[span.range.clone()], sum),
                    Some((out, _)) => out[span.range.clone()].copy_from_slice(sum),
                    None => {}
                }
                if self.sums[0] {
                    add_to_columns(db2, &span, sum);
                }
            }
            if self.sums[1] {
                sum.fill(0.0);
                if let Some(moved) = moved {
                    add_passed_both(stops, [moved, dy], mixed, sum);
                }
                if let Some(of_alpha) = of_alpha {
                    self.channels.evaluate(Quantity::SecondAlphaDerivative, &span, z, derivative);
                    add_passed_both(stops, [of_alpha, dy], derivative, sum);
                }
                match &mut *dalpha2 {
                    [one] => *one += total(sum),
                    of_columns => add_to_columns(of_columns, &span, sum),
                }
            }
        }
    }
}
