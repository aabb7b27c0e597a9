//! The products of a layer: of each the way that is fastest for its shape, packed or not, on all threads.

use crate::{
    packed::{self, View},
    product, threads,
};

/// Multiplications up to which one thread works alone: a second one would cost more than it saves.
pub(crate) const SERIAL: usize = 64 * 1024;

/// C (+)= A·Bᵀ with B n×k (`across`), or A·B with B k×n; A is m×k. All are row-major.
pub(crate) fn times_transposed(
    c: &mut [f32],
    a: &[f32],
    b: &[f32],
    (m, n, k): (usize, usize, usize),
    across: bool,
    accumulate: bool,
) {
    if c.is_empty() {
        return;
    }
    if !across {
        return packed::product(c, View::rows(a, k), View::rows(b, n), (m, n, k), accumulate);
    }
    if product::pays_to_pack(m, n, k) {
        return packed::product(c, View::rows(a, k), View::rows(b, k).transposed(), (m, n, k), accumulate);
    }
    let workers = threads::count();
    if m.saturating_mul(n).saturating_mul(k) <= SERIAL || workers == 1 {
        let mut rows: Vec<_> = c.chunks_mut(n).collect();
        product::rows_times_rows(&mut rows, a, b, k, accumulate);
    } else if product::is_flat(m, workers) {
        // More parts than threads: a thread that has to be woken up first does fewer of them.
        let columns = n.div_ceil(4 * workers).max(32);
        let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
        parts.resize_with(n.div_ceil(columns), Vec::new);
        for row in c.chunks_mut(n) {
            for (part, piece) in parts.iter_mut().zip(row.chunks_mut(columns)) {
                part.push(piece);
            }
        }
        threads::each(parts.iter_mut().enumerate(), |(i, rows)| {
            product::rows_times_rows(rows, a, &b[i * columns * k..], k, accumulate);
        });
    } else {
        let block = product::block_rows(m, k, workers);
        threads::each(c.chunks_mut(block * n).enumerate(), |(i, c)| {
            let mut rows: Vec<_> = c.chunks_mut(n).collect();
            product::rows_times_rows(&mut rows, &a[i * block * k..], b, k, accumulate);
        });
    }
}

/// dW (+)= dzᵀ·x with dz m×n and x m×k: n×k (`across`), or k×n.
pub(crate) fn transposed_times(
    dw: &mut [f32],
    dz: &[f32],
    x: &[f32],
    (m, n, k): (usize, usize, usize),
    across: bool,
    accumulate: bool,
) {
    let (dz, x) = (View::rows(dz, n), View::rows(x, k));
    if across {
        packed::product(dw, dz.transposed(), x, (n, k, m), accumulate);
    } else {
        packed::product(dw, x.transposed(), dz, (k, n, m), accumulate);
    }
}
