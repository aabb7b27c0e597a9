//! Passes over the rows of a matrix `[M, N]`, in spans that stay in the first-level cache: after a forward product bias, activation,
//! residual and what is saved; before a backward product dz = dy ⊙ act'(z) and the sums of db and dα.

use elbow::{
    Jet,
    activation::{Activation, Quantity},
    request::{AlphaSource, ResidualAt},
};

use crate::{
    activation::{Alpha, evaluate},
    columns::Columns,
    jet::{self, Source},
    left::Left,
    mask::{choose, pack, unpack, word, words},
    saved::{SavedIn, SavedOut},
    slopes::Slopes,
    threads,
    vectors::{add, add_products, add_to_sums, dot, multiply, multiply_passed, stop},
};

/// Elements of a span: 4 KiB, so that a few arrays of this size fit into the first-level cache.
pub(crate) const SPAN: usize = 1024;
/// Elements of a block, about: one thread takes a block at a time, a multiple of 8 rows.
const BLOCK: usize = 32 * 1024;
/// The fewest elements that are worth the hand-over to another thread.
const SHARE: usize = 4 * 1024;
/// The most blocks: each has partial sums of its own, which are added up by one thread.
const MAX_BLOCKS: usize = 64;

/// Rows in a block. It depends on the shape alone, so that sums are added in the same order on any number of threads.
pub(crate) fn block_rows(m: usize, n: usize) -> usize {
    (BLOCK / n.max(1)).max(m.div_ceil(MAX_BLOCKS)).max(1).next_multiple_of(8)
}

/// A piece of a block: some whole rows, or a part of one row.
#[derive(Clone)]
pub(crate) struct Span {
    /// Its elements, counted from the start of the block.
    pub(crate) range: std::ops::Range<usize>,
    /// Its first row, counted from the start of the block.
    pub(crate) row: usize,
    /// Its first column, and the number of its columns.
    pub(crate) column: usize,
    pub(crate) columns: usize,
}

pub(crate) fn rows_in_span(n: usize) -> usize {
    (SPAN / n.max(1)).max(1)
}

/// The spans of `elements` = rows·n elements, in order.
pub(crate) fn spans(elements: usize, n: usize) -> impl Iterator<Item = Span> {
    let columns = n.min(SPAN);
    let (step, parts) = if n > SPAN { (n, n.div_ceil(SPAN)) } else { (rows_in_span(n) * n.max(1), 1) };
    (0..elements).step_by(step.max(1)).flat_map(move |start| {
        (0..parts).map(move |part| {
            if parts == 1 {
                let range = start..(start + step).min(elements);
                Span { range, row: start / n.max(1), column: 0, columns }
            } else {
                let column = part * SPAN;
                let columns = SPAN.min(n - column);
                Span { range: start + column..start + column + columns, row: start / n, column, columns }
            }
        })
    })
}

/// Runs `work` on every block, on all threads, each with its number and `width` sums of its own that begin at 0. Returns the totals, added
/// in the order of the blocks.
pub(crate) fn in_blocks<B: Send>(
    blocks: Vec<B>,
    width: usize,
    partials: &mut Vec<f64>,
    work: impl Fn(usize, B, &mut [f64]) + Sync,
) -> &[f64] {
    let count = blocks.len().max(1);
    let partials = crate::scratch(partials, count * width);
    partials.fill(0.0);
    let mut sums: Vec<&mut [f64]> = partials.chunks_mut(width.max(1)).collect();
    sums.resize_with(count, Default::default);
    threads::each(blocks.into_iter().enumerate().zip(sums), |((i, block), sums)| work(i, block, sums));
    let (first, others) = partials.split_at_mut(width);
    for other in others.chunks(width.max(1)) {
        for (sum, part) in first.iter_mut().zip(other) {
            *sum += part;
        }
    }
    first
}

/// An activation with its α for each column.
pub(crate) struct Channels<'a> {
    activation: Activation,
    n: usize,
    alpha: Option<Columns<'a>>,
}

impl<'a> Channels<'a> {
    /// `alpha` is the operand, of the length that `source` says.
    pub(crate) fn new(activation: Activation, source: AlphaSource, alpha: Option<&'a [f32]>, n: usize) -> Self {
        match (source, alpha) {
            (AlphaSource::PerChannel, Some(alpha)) => {
                Channels { activation, n, alpha: Some(Columns::new(&alpha[..n])) }
            }
            (AlphaSource::PerLayer, Some(&[alpha, ..])) => {
                Channels { activation: activation.with_alpha(alpha), n, alpha: None }
            }
            _ => Channels { activation, n, alpha: None },
        }
    }

    /// The activation, if its α is the same in all columns.
    pub(crate) fn alpha_of_all(&self) -> Option<Activation> {
        self.alpha.is_none().then_some(self.activation)
    }

    /// A quantity of whole rows.
    pub(crate) fn map(&self, quantity: Quantity, z: &[f32], out: &mut [f32]) {
        for span in spans(out.len(), self.n) {
            self.evaluate(quantity, &span, &z[span.range.clone()], &mut out[span.range.clone()]);
        }
    }

    /// Σ ddx ⊙ dy ⊙ a derivative by α into one sum, or one for each column.
    pub(crate) fn sum_derivative(&self, by: Quantity, z: &[f32], dy: &[f32], ddx: &[f32], sums: &mut [f64]) {
        let mut derivatives = [0.0; SPAN];
        let mut both = [0.0; SPAN];
        let mut stopped = [[0.0; SPAN]; 2];
        for span in spans(z.len(), self.n) {
            let derivatives = &mut derivatives[..span.range.len()];
            let both = &mut both[..span.range.len()];
            self.evaluate(by, &span, &z[span.range.clone()], derivatives);
            let dy = self.unstopped(&dy[span.range.clone()], derivatives, &mut stopped[0]);
            multiply(derivatives, dy, both);
            let ddx = self.unstopped(&ddx[span.range.clone()], derivatives, &mut stopped[1]);
            self.add_to_alphas(&span, ddx, both, sums);
        }
    }

    /// Numbers of a sum over all that has the same α.
    pub(crate) fn alphas(&self) -> usize {
        if self.alpha.is_some() { self.n } else { 1 }
    }

    /// Adds the products of a span to one sum, or to one for each column.
    pub(crate) fn add_to_alphas(&self, span: &Span, a: &[f32], b: &[f32], sums: &mut [f64]) {
        if self.alpha.is_some() {
            for (a, b) in a.chunks(span.columns).zip(b.chunks(span.columns)) {
                add_products(&mut sums[span.column..span.column + span.columns], a, b);
            }
        } else if let [sum] = sums {
            *sum += dot(a, b);
        }
    }

    /// The number of columns.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Whether a derivative of 0 stops an infinite upstream gradient.
    pub(crate) fn stops(&self) -> bool {
        self.activation.is_piecewise()
    }

    /// A quantity of the elements of one row from a column on.
    pub(crate) fn evaluate_from(&self, quantity: Quantity, column: usize, z: &[f32], out: &mut [f32]) {
        let alpha = match &self.alpha {
            None => Alpha::One(self.activation.params()[0]),
            Some(alpha) => Alpha::Each(alpha.part(column, z.len())),
        };
        evaluate(&self.activation, quantity, alpha, z, out);
    }

    fn of(&self, span: &Span) -> Alpha<'_> {
        match &self.alpha {
            None => Alpha::One(self.activation.params()[0]),
            Some(alpha) => Alpha::Each(alpha.of(span)),
        }
    }

    pub(crate) fn evaluate(&self, quantity: Quantity, span: &Span, z: &[f32], out: &mut [f32]) {
        evaluate(&self.activation, quantity, self.of(span), z, out);
    }

    /// The activation with the α of one column.
    fn at(&self, column: usize) -> Activation {
        match &self.alpha {
            None => self.activation,
            Some(alpha) => self.activation.with_alpha(alpha.at(column)),
        }
    }

    /// `upstream`, with 0 where a derivative of 0 stops it ([`Activation::passed`]); `room` holds the result if it differs.
    pub(crate) fn unstopped<'u>(&self, upstream: &'u [f32], by: &[f32], room: &'u mut [f32; SPAN]) -> &'u [f32] {
        if !self.activation.is_piecewise() {
            return upstream;
        }
        let room = &mut room[..upstream.len()];
        stop(upstream, by, room);
        room
    }

    /// act'(z) from y = act(z), with the f64 mathematics. Activations of two slopes, the most common ones, are faster: y is on the same
    /// side of a kink as z, so the slope at y is that at z.
    pub(crate) fn slopes_of_y(&self, span: &Span, y: &[f32], slopes: &mut [f32]) {
        let row = self.activation.row();
        if row.from_y && row.from_bit {
            return self.evaluate(Quantity::Slope, span, y, slopes);
        }
        for (y, slopes) in y.chunks(span.columns).zip(slopes.chunks_mut(span.columns)) {
            for (j, (&y, slope)) in y.iter().zip(slopes).enumerate() {
                *slope = self.at(span.column + j).slope_of_y(f64::from(y)) as f32;
            }
        }
    }

    pub(crate) fn slopes_of_bits(&self, span: &Span, mask: &[u32], slopes: &mut [f32]) {
        let width = words(self.n);
        let same = self.of_bits(0);
        for (i, slopes) in slopes.chunks_mut(span.columns).enumerate() {
            let words = &mask[(span.row + i) * width + span.column / 32..];
            match &self.alpha {
                None => unpack(words, same, slopes),
                Some(_) => {
                    for (w, slopes) in slopes.chunks_mut(32).enumerate() {
                        let bits = |j| self.of_bits(span.column + w * 32 + j);
                        choose(words[w], bits, slopes);
                    }
                }
            }
        }
    }

    /// The slopes that the bits 0 and 1 of the mask stand for.
    fn of_bits(&self, column: usize) -> [f32; 2] {
        let activation = self.at(column);
        [activation.slope_of_bit(false) as f32, activation.slope_of_bit(true) as f32]
    }
}

/// The end of forward, after the product.
pub(crate) struct Finish<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) channels: Channels<'a>,
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) residual_at: ResidualAt,
    pub(crate) row_weight: Option<&'a [f32]>,
    pub(crate) dropout: Option<Left>,
    pub(crate) jet: Option<Jet>,
}

/// Multiplies each row of a span by its factor; `row` is the first row of the span's block.
fn weigh(weights: &[f32], row: usize, span: &Span, values: &mut [f32]) {
    for (values, weight) in values.chunks_mut(span.columns).zip(&weights[row + span.row..]) {
        values.iter_mut().for_each(|v| *v *= weight);
    }
}

impl Finish<'_> {
    /// Replaces x·Wᵀ in y by row_weight ⊙ act(x·Wᵀ + b) (+ residual). The block starts at `row` of the matrix.
    pub(crate) fn block(&self, row: usize, y: &mut [f32], saved: &mut SavedOut<'_>) {
        if let Some(jet) = &self.jet {
            return jet::finish(jet, self, row, y, saved);
        }
        let n = self.channels.n;
        let mut buffer = [0.0; SPAN];
        let mut slopes = [0.0; SPAN];
        for span in spans(y.len(), n) {
            let y = &mut y[span.range.clone()];
            let z = &mut buffer[..y.len()];
            z.copy_from_slice(y);
            if let Some(bias) = self.bias {
                for z in z.chunks_mut(span.columns) {
                    add(z, &bias[span.column..span.column + span.columns]);
                }
            }
            let residual = self.residual.map(|residual| &residual[row * n..][span.range.clone()]);
            let (before, after) = match self.residual_at {
                ResidualAt::BeforeActivation => (residual, None),
                ResidualAt::AfterActivation => (None, residual),
            };
            if let Some(residual) = before {
                add(z, residual);
            }
            match saved {
                SavedOut::None => {}
                SavedOut::Z(kept) => kept[span.range.clone()].copy_from_slice(z),
                SavedOut::Mask(mask) => {
                    let slopes = &mut slopes[..z.len()];
                    self.channels.evaluate(Quantity::Slope, &span, z, slopes);
                    self.bits(&span, slopes, mask);
                }
            }
            self.channels.evaluate(Quantity::Value, &span, z, y);
            if let Some(weights) = self.row_weight {
                weigh(weights, row, &span, y);
            }
            if let Some(dropout) = &self.dropout {
                dropout.of(row * n + span.range.start, y);
            }
            if let Some(residual) = after {
                add(y, residual);
            }
        }
    }

    /// Sets the bit of every element whose slope is not that of a clear bit; so for NaN too.
    fn bits(&self, span: &Span, slopes: &[f32], mask: &mut [u32]) {
        let width = words(self.channels.n);
        let same = self.channels.of_bits(0)[0];
        for (i, slopes) in slopes.chunks(span.columns).enumerate() {
            let words = &mut mask[(span.row + i) * width + span.column / 32..];
            match &self.channels.alpha {
                None => pack(slopes, same, words),
                Some(_) => {
                    for (w, slopes) in slopes.chunks(32).enumerate() {
                        let clear = |j| self.channels.of_bits(span.column + w * 32 + j)[0];
                        words[w] = word(slopes, clear);
                    }
                }
            }
        }
    }

    /// Finishes all of y, on all threads.
    pub(crate) fn all(&self, y: &mut [f32], saved: SavedOut<'_>) {
        let n = self.channels.n;
        let m = y.len() / n.max(1);
        if y.is_empty() {
            return;
        }
        let share = (y.len() / (2 * threads::count())).clamp(SHARE, BLOCK);
        let rows = (share / n).max(1).next_multiple_of(8);
        let mut blocks: Vec<_> = y.chunks_mut(rows * n).zip(saved.blocks(rows, n, m.div_ceil(rows))).collect();
        if let [(y, saved)] = blocks.as_mut_slice() {
            return self.block(0, y, saved);
        }
        threads::each(blocks.into_iter().enumerate(), |(i, (y, mut saved))| self.block(i * rows, y, &mut saved));
    }
}

/// dz = dy ⊙ act'(z) with the sums of db and dα.
pub(crate) struct Descend<'a> {
    pub(crate) channels: Channels<'a>,
    pub(crate) slopes: Slopes<'a>,
    /// The upstream gradient; None if dz holds it.
    pub(crate) dy: Option<&'a [f32]>,
    /// Whether db = Σ_rows dz is wanted.
    pub(crate) db: bool,
    /// Whether dα = Σ dy ⊙ ∂act/∂α is wanted, which needs z.
    pub(crate) dalpha: bool,
    /// A factor for each row of dy.
    pub(crate) row_weight: Option<&'a [f32]>,
    /// What dy goes through first.
    pub(crate) dropout: Option<Left>,
    pub(crate) jet: Option<Jet>,
}

impl Descend<'_> {
    /// Number of sums for db and for dα.
    fn sums(&self) -> (usize, usize) {
        let n = self.channels.n;
        (if self.db { n } else { 0 }, if self.dalpha { self.channels.alphas() } else { 0 })
    }

    /// Computes all of dz, on all threads. Returns the sums for db and dα, empty if not wanted; if `row_sums` is not empty, it receives
    /// Σ_columns dy ⊙ act(z), which needs z.
    pub(crate) fn all<'p>(
        &self,
        dz: &mut [f32],
        partials: &'p mut Vec<f64>,
        row_sums: &mut [f64],
    ) -> (&'p [f64], &'p [f64]) {
        let n = self.channels.n;
        let rows = block_rows(dz.len() / n.max(1), n);
        let (db, dalpha) = self.sums();
        let blocks = dz.chunks_mut((rows * n).max(1));
        let mut of_rows: Vec<&mut [f64]> = row_sums.chunks_mut(rows).collect();
        of_rows.resize_with(blocks.len(), Default::default);
        let blocks = blocks.zip(of_rows).collect();
        let work =
            |i, (dz, of_rows): (&mut [f32], &mut [f64]), sums: &mut [f64]| self.block(i * rows, dz, sums, of_rows);
        in_blocks(blocks, db + dalpha, partials, work).split_at(db)
    }

    fn block(&self, row: usize, dz: &mut [f32], sums: &mut [f64], row_sums: &mut [f64]) {
        let n = self.channels.n;
        let (db, dalpha) = sums.split_at_mut(self.sums().0);
        let rows = dz.len() / n;
        let slopes_of = self.slopes.block(row, rows, n);
        if let Some(jet) = &self.jet {
            let source = match slopes_of {
                Slopes::ProductInPlace(bias, residual) => Source::Product(bias, residual),
                Slopes::Saved(SavedIn::Z(z)) => Source::Kept(z),
                _ => Source::Unit,
            };
            let dy = self.dy.map(|dy| &dy[row * n..row * n + dz.len()]);
            return jet::descend(jet, &self.channels, &source, dy, dz, (db, dalpha));
        }
        let mut upstream = [0.0; SPAN];
        let mut slopes = [0.0; SPAN];
        let mut pre = [0.0; SPAN];
        let mut stopped = [0.0; SPAN];
        let mut weighed = [0.0; SPAN];
        for span in spans(dz.len(), n) {
            let dz = &mut dz[span.range.clone()];
            let given = match (self.dy, &self.dropout) {
                (Some(dy), None) => &dy[row * n..][span.range.clone()],
                (dy, dropout) => {
                    let upstream = &mut upstream[..dz.len()];
                    upstream.copy_from_slice(dy.map_or(&*dz, |dy| &dy[row * n..][span.range.clone()]));
                    if let Some(dropout) = dropout {
                        dropout.of(row * n + span.range.start, upstream);
                    }
                    &*upstream
                }
            };
            let dy = match self.row_weight {
                None => given,
                Some(weights) => {
                    let weighed = &mut weighed[..dz.len()];
                    weighed.copy_from_slice(given);
                    weigh(weights, row, &span, weighed);
                    weighed
                }
            };
            let slopes = &mut slopes[..dz.len()];
            let z = slopes_of.z(&span, dz, &mut pre);
            slopes_of.fill(&self.channels, &span, z, slopes);
            multiply_passed(self.channels.activation.is_piecewise(), dy, slopes, dz);
            if self.db {
                for dz in dz.chunks(span.columns) {
                    add_to_sums(&mut db[span.column..span.column + span.columns], dz);
                }
            }
            if let (false, Some(z)) = (row_sums.is_empty(), z) {
                self.channels.evaluate(Quantity::Value, &span, z, slopes);
                let rows = given.chunks(span.columns).zip(slopes.chunks(span.columns));
                for ((dy, values), sum) in rows.zip(&mut row_sums[span.row..]) {
                    *sum += dot(dy, values);
                }
            }
            if let (true, Some(z)) = (self.dalpha, z) {
                self.channels.evaluate(Quantity::AlphaSlope, &span, z, slopes);
                let dy = self.channels.unstopped(dy, slopes, &mut stopped);
                self.channels.add_to_alphas(&span, dy, slopes, dalpha);
            }
        }
    }
}
