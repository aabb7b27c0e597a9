//! Products with the `gemm` crate (its f32 part alone), which packs its operands: large products, and those whose operands are not rows
//! along the reduction. Each thread computes one block of C and waits for no other. gemm takes pointers, so this is one of the three files
//! with unsafe code; [`call_gemm`] says why it is sound.

use std::ops::Range;

use crate::threads;

/// A matrix with strides: element (i, j) is `data[i·row + j·column]`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix with `columns` columns.
    pub(crate) fn rows(data: &'a [f32], columns: usize) -> Self {
        View { data, row: columns, column: 1 }
    }

    /// The transposed matrix, in the same memory.
    pub(crate) fn transposed(self) -> Self {
        View { row: self.column, column: self.row, ..self }
    }

    /// Whether an m×n matrix of these strides lies within the data; m and n are not 0.
    fn holds(&self, m: usize, n: usize) -> bool {
        let last = || (m - 1).checked_mul(self.row)?.checked_add((n - 1).checked_mul(self.column)?);
        last().is_some_and(|last| last < self.data.len())
    }
}

/// C (+)= A·B with C m×n row-major, A m×k, B k×n, on all threads of the pool.
pub(crate) fn product(c: &mut [f32], a: View<'_>, b: View<'_>, (m, n, k): (usize, usize, usize), accumulate: bool) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.fill(0.0);
        }
        return;
    }
    let within = m.checked_mul(n).is_some_and(|elements| elements <= c.len()) && a.holds(m, k) && b.holds(k, n);
    assert!(within, "a product's operands are as long as its shape says");
    let (down, across) = grid(m, n, if m.saturating_mul(n).saturating_mul(k) > SERIAL { threads::count() } else { 1 });
    let (rows, columns) = (m.div_ceil(down), n.div_ceil(across).next_multiple_of(STRIP));
    let target = Target { c: c.as_mut_ptr(), columns: n };
    let blocks = (0..m.div_ceil(rows) * n.div_ceil(columns)).map(|i| (i % m.div_ceil(rows), i / m.div_ceil(rows)));
    threads::each(blocks, |(i, j)| {
        let rows = i * rows..((i + 1) * rows).min(m);
        let columns = j * columns..((j + 1) * columns).min(n);
        call_gemm(&target, rows, columns, a, b, k, accumulate);
    });
}

/// Multiplications up to which one thread works alone: a second one would cost more than it saves.
const SERIAL: usize = 64 * 1024;
/// Columns of a block are a multiple of this, two cache lines, so that threads seldom write to the same line.
const STRIP: usize = 32;

/// The number of blocks of C down and across, one for each thread, for which all threads together pack the fewest elements of A and B.
fn grid(m: usize, n: usize, threads: usize) -> (usize, usize) {
    let cuts = (1..=threads).filter(|down| threads.is_multiple_of(*down)).map(|down| (down, threads / down));
    cuts.min_by_key(|(down, across)| m.saturating_mul(*across).saturating_add(n.saturating_mul(*down)))
        .unwrap_or((1, 1))
}

/// C: each thread writes a block of its own.
struct Target {
    c: *mut f32,
    columns: usize,
}

// SAFETY: the pointer is that of a borrow that outlives the threads, and blocks do not overlap.
#[expect(unsafe_code, reason = "threads share a pointer")]
unsafe impl Sync for Target {}

/// Computes one block, on one thread.
#[expect(unsafe_code, reason = "the gemm crate takes pointers")]
fn call_gemm(
    target: &Target,
    rows: Range<usize>,
    columns: Range<usize>,
    a: View<'_>,
    b: View<'_>,
    k: usize,
    accumulate: bool,
) {
    let scale = if accumulate { 1.0 } else { 0.0 };
    // gemm wants the second stride of C to be the smaller one: it is asked for Cᵀ = Bᵀ·Aᵀ.
    // SAFETY: `product` has checked that every element of the m×n, m×k and k×n matrices lies within its slice, and the
    // block lies within m×n; no other block has its elements; C is borrowed mutably, so it overlaps neither A nor B; a
    // stride that is used at all, for a second row or column, is below isize::MAX because it indexes a slice of f32.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            columns.len(),
            rows.len(),
            k,
            target.c.add(rows.start * target.columns + columns.start),
            target.columns as isize,
            1,
            accumulate,
            b.data.as_ptr().add(columns.start * b.column),
            b.row as isize,
            b.column as isize,
            a.data.as_ptr().add(rows.start * a.row),
            a.row as isize,
            a.column as isize,
            scale,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these would read or write outside of its slice.
    #[test]
    fn operands_that_are_too_short_are_refused() {
        let six = [1.0f32; 6];
        let view = |row, column| View { data: &six, row, column };
        let refused = |length: usize, a: View<'_>, b: View<'_>, size: (usize, usize, usize)| {
            let mut c = vec![0.0; length];
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| product(&mut c, a, b, size, false))).is_err()
        };
        let good = view(3, 1);
        assert!(!refused(4, good, view(2, 1), (2, 2, 3)), "2×3 by 3×2");
        for (what, length, a, b, size) in [
            ("C", 3, good, view(2, 1), (2, 2, 3)),
            ("rows of A", 6, good, view(2, 1), (3, 2, 3)),
            ("columns of A and rows of B", 4, good, view(2, 1), (2, 2, 4)),
            ("columns of B", 6, good, view(2, 1), (2, 3, 3)),
            ("a stride that wraps", 4, view(usize::MAX / 2 + 1, 1), view(2, 1), (3, 1, 3)),
            ("strides whose sum wraps", 4, view(usize::MAX, 1), view(2, 1), (2, 2, 3)),
        ] {
            assert!(refused(length, a, b, size), "{what} too short");
        }
    }
}
