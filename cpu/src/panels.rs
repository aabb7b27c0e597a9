//! Products of a few rows with a matrix that all of them share, for one thread: W is turned once, into panels of columns, and vectors run along the columns.
//! So it takes no sums across a vector, and layers of 3 inputs or of 60 columns lose little.

use pulp::{Arch, Simd, WithSimd};

/// Columns of a panel: two vectors of 512 bits.
const PANEL: usize = 32;
/// Rows of a register tile, two vectors wide: 12 sums, two vectors of W and one number of A are 15 of the 16 registers of AVX2.
const TILE_ROWS: usize = 6;
/// Vectors of a register tile.
const TILE_VECTORS: usize = 2;

/// W `[N, K]`, turned.
pub(crate) struct Panels {
    /// Panel by panel, of each input the weights of so many columns; 0 beyond the last.
    values: Vec<f32>,
    n: usize,
    k: usize,
}

impl Panels {
    pub(crate) fn new(w: &[f32], n: usize, k: usize) -> Self {
        let mut values = vec![0.0; n.div_ceil(PANEL) * PANEL * k];
        for (j, row) in w.chunks(k).enumerate() {
            let first = j / PANEL * PANEL * k + j % PANEL;
            for (value, &w) in values[first..].iter_mut().step_by(PANEL).zip(row) {
                *value = w;
            }
        }
        Panels { values, n, k }
    }

    /// c `[M, N]` = a·Wᵀ of a `[M, K]`. Each row has the same bits whichever rows it comes with.
    pub(crate) fn times(&self, a: &[f32], c: &mut [f32]) {
        Arch::new().dispatch(Rows { panels: self, a, c });
    }
}

struct Rows<'a, 'c> {
    panels: &'a Panels,
    a: &'a [f32],
    c: &'c mut [f32],
}

impl WithSimd for Rows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Rows { panels: Panels { values, n, k }, a, c } = self;
        let (n, k) = (*n, *k);
        for (a, c) in a.chunks(TILE_ROWS * k).zip(c.chunks_mut(TILE_ROWS * n)) {
            for (panel, column) in values.chunks(PANEL * k).zip((0..n).step_by(PANEL)) {
                if c.len() == TILE_ROWS * n {
                    across::<S, TILE_ROWS>(simd, a, panel, c, [n, k, column]);
                } else {
                    for (a, c) in a.chunks(k).zip(c.chunks_mut(n)) {
                        across::<S, 1>(simd, a, panel, c, [n, k, column]);
                    }
                }
            }
        }
    }
}

/// R rows of a panel, as many vectors as have columns of it.
#[inline(always)]
fn across<S: Simd, const R: usize>(simd: S, a: &[f32], panel: &[f32], c: &mut [f32], [n, k, column]: [usize; 3]) {
    let vectors = PANEL.min(n - column).div_ceil(S::F32_LANES);
    let panel = S::as_simd_f32s(panel).0;
    for first in (0..vectors).step_by(TILE_VECTORS) {
        match vectors - first {
            1 => tile::<S, R, 1>(simd, a, panel, c, [n, k, column, first]),
            _ => tile::<S, R, TILE_VECTORS>(simd, a, panel, c, [n, k, column, first]),
        }
    }
}

/// R rows of C vectors.
#[inline(always)]
fn tile<S: Simd, const R: usize, const C: usize>(
    simd: S,
    a: &[f32],
    panel: &[S::f32s],
    c: &mut [f32],
    [n, k, column, first]: [usize; 4],
) {
    // Cut to one length, so that the loop has no bounds to check.
    let a: [_; R] = std::array::from_fn(|i| &a[i * k..][..k]);
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for (l, w) in panel.chunks_exact(PANEL / S::F32_LANES).take(k).enumerate() {
        let w: [_; C] = std::array::from_fn(|j| w[first + j]);
        for i in 0..R {
            let a = simd.splat_f32s(a[i][l]);
            for j in 0..C {
                sums[i][j] = simd.mul_add_f32s(a, w[j], sums[i][j]);
            }
        }
    }
    for (i, sums) in sums.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate() {
            let column = column + (first + j) * S::F32_LANES;
            let columns = S::F32_LANES.min(n - column);
            simd.partial_store_f32s(&mut c[i * n + column..][..columns], sum);
        }
    }
}
