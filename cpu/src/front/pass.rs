//! What x goes through, span by span, and back.

use elbow::{
    Norm,
    activation::Quantity,
    request::{Front, Want},
};

use super::statistics::{Lines, Statistics, of_rows};
use crate::{
    columns::Columns,
    pass::{Channels, SPAN, Span, block_rows, in_blocks, spans},
    threads,
    vectors::{add, add_products, add_to_sums, dot, normalise, off_statistics, pass_one, scale, total},
};

/// u = (x − mean) / √(variance + ε), or x; v = scale ⊙ u + shift; the product's x = act(v; α).
pub(super) struct Way<'a> {
    pub(super) scale: Option<Columns<'a>>,
    pub(super) shift: Option<Columns<'a>>,
    pub(super) channels: Channels<'a>,
    /// Whether the activation is not the identity.
    pub(super) bends: bool,
}

impl Way<'_> {
    /// u of a span of the block that starts at `row`.
    fn u(statistics: Option<&Statistics<'_>>, row: usize, span: &Span, x: &[f32], out: &mut [f32]) {
        let Some(Statistics { mean, inverse }) = statistics else { return out.copy_from_slice(x) };
        let [mut of_mean, mut of_inverse] = [[0.0; SPAN]; 2];
        let mean = mean.as_ref().map(|mean| mean.of(row, span, &mut of_mean));
        normalise(x, mean, inverse.of(row, span, &mut of_inverse), out);
    }

    /// u becomes v.
    fn v(&self, span: &Span, u: &mut [f32]) {
        if let Some(by) = &self.scale {
            scale(u, by.of(span));
        }
        if let Some(shift) = &self.shift {
            add(u, shift.of(span));
        }
    }

    /// Some whole rows, of which the statistics are those from `row` on.
    fn rows(&self, statistics: Option<&Statistics<'_>>, row: usize, x: &[f32], out: &mut [f32]) {
        let mut room = [0.0; SPAN];
        for span in spans(out.len(), self.channels.n()) {
            let (x, out) = (&x[span.range.clone()], &mut out[span.range.clone()]);
            if !self.bends {
                Self::u(statistics, row, &span, x, out);
                self.v(&span, out);
                continue;
            }
            let v = &mut room[..out.len()];
            Self::u(statistics, row, &span, x, v);
            self.v(&span, v);
            self.channels.evaluate(Quantity::Value, &span, v, out);
        }
    }

    /// All rows, on all threads.
    pub(super) fn all(&self, statistics: Option<&Statistics<'_>>, x: &[f32], out: &mut [f32]) {
        let k = self.channels.n();
        let rows = block_rows(out.len() / k.max(1), k);
        let size = (rows * k).max(1);
        threads::each(out.chunks_mut(size).zip(x.chunks(size)).enumerate(), |(i, (out, x))| {
            self.rows(statistics, i * rows, x, out);
        });
    }

    /// [`Way::all`] with the statistics of each row, which are written too, in two planes.
    pub(super) fn all_by_rows(&self, norm: &Norm, moments: &mut [f32], x: &[f32], out: &mut [f32]) {
        let k = self.channels.n();
        let m = moments.len() / 2;
        let rows = block_rows(m, k);
        let (means, inverses) = moments.split_at_mut(m);
        let planes = means.chunks_mut(rows).zip(inverses.chunks_mut(rows));
        threads::each(out.chunks_mut(rows * k).zip(x.chunks(rows * k)).zip(planes), |((out, x), (means, inverses))| {
            of_rows(norm, x, k, [&mut *means, &mut *inverses]);
            self.rows(Some(&Statistics::new(norm, [means, inverses])), 0, x, out);
        });
    }
}

/// The way back, from dx', the gradient of what the front makes of x.
pub(super) struct Back<'a> {
    pub(super) way: &'a Way<'a>,
    pub(super) front: &'a Front,
    pub(super) statistics: Option<Statistics<'a>>,
    /// May be empty where [`Back::needs_x`] is false.
    pub(super) x: &'a [f32],
    pub(super) dscale: bool,
    pub(super) dshift: bool,
    pub(super) dalpha: bool,
    /// What is added to dx: the gradient that goes around the layer.
    pub(super) around: Option<&'a [f32]>,
}

/// Sums of dv and of dv ⊙ u of each column, and the terms of dα; empty if nothing needs them.
pub(super) struct Sums<'p> {
    pub(super) dshift: &'p [f64],
    pub(super) dscale: &'p [f64],
    pub(super) dalpha: &'p [f64],
}

/// The means of g and of g ⊙ u, which come off g where the statistics depend on x.
struct Means<'a> {
    mean: Lines<'a>,
    along: Lines<'a>,
}

impl Back<'_> {
    fn moving(&self) -> Option<Norm> {
        self.front.norm.filter(|norm| !norm.is_running())
    }

    /// Whether u is needed, with dx or without.
    fn needs_x(&self, dx: bool) -> bool {
        self.way.bends || self.dscale || self.dalpha || (dx && self.moving().is_some())
    }

    /// Leaves dv (or, of a norm of rows, scale ⊙ dv) where dx' was, and adds to dx, or replaces it.
    pub(super) fn all<'p>(
        &self,
        dfronted: &mut [f32],
        mut dx: Option<(&mut [f32], Want)>,
        partials: &'p mut Vec<f64>,
    ) -> Sums<'p> {
        let k = self.way.channels.n();
        let m = dfronted.len() / k.max(1);
        let rows = block_rows(m, k);
        let size = (rows * k).max(1);
        let moving = self.moving().filter(|_| dx.is_some());
        let waits = moving.is_some_and(|norm| !norm.of_rows());
        let needs_x = self.needs_x(dx.is_some());
        let of_columns = |wanted: bool| if wanted { k } else { 0 };
        let dalphas = match self.dalpha {
            true => self.way.channels.alphas(),
            false => 0,
        };
        let (dshifts, dscales) = (of_columns(self.dshift || waits), of_columns(self.dscale || waits));
        let want = dx.as_ref().map_or(Want::No, |(_, want)| *want);
        let mut outputs = dx.as_mut().map(|(dx, _)| dx.chunks_mut(size));
        let blocks: Vec<_> = dfronted
            .chunks_mut(size)
            .map(|g| (g, outputs.as_mut().filter(|_| !waits).and_then(|outputs| outputs.next())))
            .collect();
        let width = dshifts + dscales + dalphas;
        // Of a norm of columns 1 / √(variance + ε) comes with the scale.
        let factors = self.factors();
        let sums = in_blocks(blocks, width, partials, |i, (g, dx), sums| {
            let row = i * rows;
            let of_rows = g.len() / k.max(1);
            let mut by_row = vec![0.0; if moving.is_some() && !waits { 2 * of_rows } else { 0 }];
            let (dshift, others) = sums.split_at_mut(dshifts);
            let (dscale, dalpha) = others.split_at_mut(dscales);
            self.through(needs_x, row, g, [dshift, dscale, dalpha], &mut by_row);
            let Some(dx) = dx else { return };
            match &moving {
                None => self.leave(row, g, None, factors.as_ref(), dx, want),
                Some(norm) => {
                    let mean = |sum: &f64| (sum / k as f64) as f32;
                    let (means, along) = by_row.split_at(of_rows);
                    let means: Vec<f32> =
                        means.iter().map(|sum| if norm.has_mean() { mean(sum) } else { 0.0 }).collect();
                    let along: Vec<f32> = along.iter().map(mean).collect();
                    let means = Means { mean: Lines::Rows(&means), along: Lines::Rows(&along) };
                    let inverse = self.statistics.as_ref().map(|statistics| &statistics.inverse);
                    self.leave(row, g, Some(&means), inverse, dx, want);
                }
            }
        });
        let (dshift, others) = sums.split_at(dshifts);
        let (dscale, dalpha) = others.split_at(dscales);
        if let (true, Some((dx, _))) = (waits, dx) {
            let mean = |sums: &[f64]| {
                let means: Vec<f32> = sums.iter().map(|sum| (sum / m as f64) as f32).collect();
                Lines::Columns(Columns::new(means))
            };
            let means = Means { mean: mean(dshift), along: mean(dscale) };
            threads::each(dx.chunks_mut(size).zip(dfronted.chunks(size)).enumerate(), |(i, (dx, g))| {
                self.leave(i * rows, g, Some(&means), factors.as_ref(), dx, want);
            });
        }
        Sums { dshift, dscale, dalpha }
    }

    /// scale / √(variance + ε) of each column, as far as there are both.
    fn factors(&self) -> Option<Lines<'static>> {
        let inverses = match &self.statistics {
            Some(Statistics { inverse: Lines::Columns(inverses), .. }) => Some(inverses),
            _ => None,
        };
        let both = self.way.scale.iter().chain(inverses).map(|columns| columns.all().to_vec());
        let product = |mut a: Vec<f32>, b: Vec<f32>| {
            scale(&mut a, &b);
            a
        };
        both.reduce(product).map(|factors| Lines::Columns(Columns::new(factors)))
    }

    /// dx' of a block becomes dv, or scale ⊙ dv where `by_row` receives its sums and those of its products with u.
    fn through(&self, needs_x: bool, row: usize, g: &mut [f32], sums: [&mut [f64]; 3], by_row: &mut [f64]) {
        let Way { channels, bends, .. } = self.way;
        let (k, stops, [dshift, dscale, dalpha]) = (channels.n(), channels.stops(), sums);
        let (means, along) = by_row.split_at_mut(by_row.len() / 2);
        let [mut u, mut v, mut derivatives, mut stopped] = [[0.0; SPAN]; 4];
        for span in spans(g.len(), k) {
            let g = &mut g[span.range.clone()];
            let [u, v, derivatives] = [&mut u, &mut v, &mut derivatives].map(|room| &mut room[..g.len()]);
            if needs_x {
                Way::u(self.statistics.as_ref(), row, &span, &self.x[row * k..][span.range.clone()], u);
            }
            if *bends || self.dalpha {
                v.copy_from_slice(u);
                self.way.v(&span, v);
            }
            if self.dalpha {
                channels.evaluate(Quantity::AlphaSlope, &span, v, derivatives);
                channels.add_to_alphas(&span, channels.unstopped(g, derivatives, &mut stopped), derivatives, dalpha);
            }
            if *bends {
                channels.evaluate(Quantity::Slope, &span, v, derivatives);
                pass_one(stops, derivatives, g);
                g.copy_from_slice(derivatives);
            }
            let columns = span.column..span.column + span.columns;
            if !dshift.is_empty() {
                g.chunks(span.columns).for_each(|g| add_to_sums(&mut dshift[columns.clone()], g));
            }
            if !dscale.is_empty() {
                for (g, u) in g.chunks(span.columns).zip(u.chunks(span.columns)) {
                    add_products(&mut dscale[columns.clone()], g, u);
                }
            }
            if along.is_empty() {
                continue;
            }
            if let Some(by) = &self.way.scale {
                scale(g, by.of(&span));
            }
            let rows = g.chunks(span.columns).zip(u.chunks(span.columns));
            for ((g, u), (mean, along)) in rows.zip(means[span.row..].iter_mut().zip(&mut along[span.row..])) {
                *mean += total(g);
                *along += dot(g, u);
            }
        }
    }

    /// dx = factor ⊙ (g − mean − u ⊙ along), or factor ⊙ g, of a block that starts at `row`; means of rows are the block's own.
    fn leave(
        &self,
        row: usize,
        g: &[f32],
        means: Option<&Means<'_>>,
        factor: Option<&Lines<'_>>,
        dx: &mut [f32],
        want: Want,
    ) {
        let k = self.way.channels.n();
        let [mut value, mut u, mut of_mean, mut of_along, mut of_factor] = [[0.0; SPAN]; 5];
        for span in spans(g.len(), k) {
            let (g, dx) = (&g[span.range.clone()], &mut dx[span.range.clone()]);
            let [value, u] = [&mut value, &mut u].map(|room| &mut room[..g.len()]);
            match means {
                None => value.copy_from_slice(g),
                Some(Means { mean, along }) => {
                    Way::u(self.statistics.as_ref(), row, &span, &self.x[row * k..][span.range.clone()], u);
                    let means = [mean.of(0, &span, &mut of_mean), along.of(0, &span, &mut of_along)];
                    off_statistics(g, u, means, value);
                }
            }
            if let Some(factor) = factor {
                scale(value, factor.of(row, &span, &mut of_factor));
            }
            if let Some(around) = self.around {
                add(value, &around[row * k..][span.range.clone()]);
            }
            match want {
                Want::Accumulate => add(dx, value),
                _ => dx.copy_from_slice(value),
            }
        }
    }
}
