//! Matrix products without packing, for small A·Bᵀ where both have rows along the reduction, like x and w `[N, K]`: a tile of dot products
//! runs along the rows, and each block of rows is finished (bias, activation) while it is in the cache. All other products are packed
//! ([`crate::packed`]).

use pulp::{Arch, Simd, WithSimd};

/// Rows of A in a register tile: 4×3 accumulators, 3 registers for B and one for A are the 16 of AVX2.
const TILE_ROWS: usize = 4;
/// Rows of B in a register tile.
const TILE_COLUMNS: usize = 3;
/// Elements of a row that are multiplied at a time: 3 rows of B of this length stay in the first-level cache.
const PANEL: usize = 1024;
/// Elements of A in a block of rows: few enough to stay in the second-level cache while all of B is read.
const BLOCK: usize = 64 * 1024;

/// Rows of A (and of C) in a block, for `threads` threads: a multiple of the tile.
pub(crate) fn block_rows(m: usize, k: usize, threads: usize) -> usize {
    let by_cache = (BLOCK / k.clamp(1, PANEL)).clamp(TILE_ROWS, 256);
    let by_threads = m.div_ceil(threads.max(1));
    by_cache.min(by_threads.max(1)).next_multiple_of(TILE_ROWS)
}

/// Whether A·Bᵀ is large enough for [`crate::packed`] to be faster: the longer the dot products, the more rows it takes to pay for packing
/// B. Measured with K = 64 to 4096 on a Zen 3, activation included: within 10 % of each other where this changes over; at K = 64 and 512
/// rows packing takes two thirds of the time, at K = 1024 and 32 rows twice as long.
pub(crate) fn pays_to_pack(m: usize, n: usize, k: usize) -> bool {
    m >= (3 * (k / 8)).clamp(24, 128) && n >= 16 && m.saturating_mul(n).saturating_mul(k) > 1 << 20
}

/// Whether C has too few rows for a block for each thread, so that its columns are divided instead.
pub(crate) fn is_flat(m: usize, threads: usize) -> bool {
    m < TILE_ROWS * threads
}

/// c[i][j] (+)= Σ a[i·k + l]·b[j·k + l], on one thread. `rows` are the rows of C, each with as many elements as B has rows.
pub(crate) fn rows_times_rows(rows: &mut [&mut [f32]], a: &[f32], b: &[f32], k: usize, accumulate: bool) {
    if k == 0 {
        if !accumulate {
            rows.iter_mut().for_each(|row| row.fill(0.0));
        }
        return;
    }
    for start in (0..k).step_by(PANEL) {
        let panel = start..(start + PANEL).min(k);
        Arch::new().dispatch(Panel { rows: &mut *rows, a, b, k, panel, accumulate: accumulate || start > 0 });
    }
}

struct Panel<'c, 'r, 'a> {
    rows: &'c mut [&'r mut [f32]],
    a: &'a [f32],
    b: &'a [f32],
    k: usize,
    panel: std::ops::Range<usize>,
    accumulate: bool,
}

impl WithSimd for Panel<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Panel { rows, a, b, k, panel, accumulate } = self;
        let columns = rows.first().map_or(0, |row| row.len());
        for column in (0..columns).step_by(TILE_COLUMNS) {
            for (tile, rows) in rows.chunks_mut(TILE_ROWS).enumerate() {
                let a = &a[tile * TILE_ROWS * k..];
                let b = &b[column * k..];
                let shape = Strip { k, panel: &panel, column, accumulate };
                match columns - column {
                    1 => strip::<S, 1>(simd, rows, a, b, shape),
                    2 => strip::<S, 2>(simd, rows, a, b, shape),
                    _ => strip::<S, TILE_COLUMNS>(simd, rows, a, b, shape),
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Strip<'a> {
    k: usize,
    panel: &'a std::ops::Range<usize>,
    column: usize,
    accumulate: bool,
}

#[inline(always)]
fn strip<S: Simd, const C: usize>(simd: S, rows: &mut [&mut [f32]], a: &[f32], b: &[f32], strip: Strip<'_>) {
    match rows.len() {
        1 => tile::<S, 1, C>(simd, rows, a, b, strip),
        2 => tile::<S, 2, C>(simd, rows, a, b, strip),
        3 => tile::<S, 3, C>(simd, rows, a, b, strip),
        _ => tile::<S, TILE_ROWS, C>(simd, rows, a, b, strip),
    }
}

/// R×C dot products together.
#[inline(always)]
fn tile<S: Simd, const R: usize, const C: usize>(
    simd: S,
    rows: &mut [&mut [f32]],
    a: &[f32],
    b: &[f32],
    strip: Strip<'_>,
) {
    let row = |matrix, index: usize| -> (&[S::f32s], &[f32]) { part::<S>(matrix, index * strip.k, strip.panel) };
    let a: [_; R] = std::array::from_fn(|i| row(a, i));
    let b: [_; C] = std::array::from_fn(|j| row(b, j));
    let length = a[0].0.len();
    // Cut to one length, so that the loop has no bounds to check.
    let av: [_; R] = std::array::from_fn(|i| &a[i].0[..length]);
    let bv: [_; C] = std::array::from_fn(|j| &b[j].0[..length]);
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for l in 0..length {
        let b: [_; C] = std::array::from_fn(|j| bv[j][l]);
        for i in 0..R {
            let a = av[i][l];
            for j in 0..C {
                sums[i][j] = simd.mul_add_f32s(a, b[j], sums[i][j]);
            }
        }
    }
    for (i, row) in rows.iter_mut().enumerate().take(R) {
        for j in 0..C {
            let mut sum = simd.reduce_sum_f32s(sums[i][j]);
            for (a, b) in a[i].1.iter().zip(b[j].1) {
                sum = a.mul_add(*b, sum);
            }
            let c = &mut row[strip.column + j];
            *c = if strip.accumulate { *c + sum } else { sum };
        }
    }
}

/// A panel of one row: whole vectors, and the rest.
#[inline(always)]
fn part<'a, S: Simd>(matrix: &'a [f32], start: usize, panel: &std::ops::Range<usize>) -> (&'a [S::f32s], &'a [f32]) {
    S::as_simd_f32s(&matrix[start + panel.start..start + panel.end])
}
