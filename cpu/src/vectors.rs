//! Arithmetic on slices, compiled to vector code: sums, and products in which a derivative of 0 may stop the upstream gradient
//! (`Activation::passed`).

use pulp::Arch;

/// out += other.
pub(crate) fn add(out: &mut [f32], other: &[f32]) {
    Arch::new().dispatch(|| {
        for (out, other) in out.iter_mut().zip(other) {
            *out += other;
        }
    });
}

/// out = by ⊙ out.
pub(crate) fn scale(out: &mut [f32], by: &[f32]) {
    Arch::new().dispatch(|| {
        for (out, by) in out.iter_mut().zip(by) {
            *out *= by;
        }
    });
}

/// out = (x − mean) ⊙ inverse, of a mean of 0 if there is none.
pub(crate) fn normalise(x: &[f32], mean: Option<&[f32]>, inverse: &[f32], out: &mut [f32]) {
    let Some(mean) = mean else { return multiply(x, inverse, out) };
    Arch::new().dispatch(|| {
        for (((out, x), mean), inverse) in out.iter_mut().zip(x).zip(mean).zip(inverse) {
            *out = (x - mean) * inverse;
        }
    });
}

/// out = g − mean − u ⊙ along.
pub(crate) fn off_statistics(g: &[f32], u: &[f32], [mean, along]: [&[f32]; 2], out: &mut [f32]) {
    Arch::new().dispatch(|| {
        for ((((out, g), u), mean), along) in out.iter_mut().zip(g).zip(u).zip(mean).zip(along) {
            *out = g - mean - u * along;
        }
    });
}

/// out = a ⊙ b.
pub(crate) fn multiply(a: &[f32], b: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(|| {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = a * b;
        }
    });
}

/// Whether a derivative of 0 stops the upstream gradient, in an activation that is made of pieces.
#[inline(always)]
fn is_stopped(upstream: f32, by: f32) -> bool {
    (by == 0.0) & !upstream.is_nan()
}

/// out = upstream, or 0 where the derivative stops it.
pub(crate) fn stop(upstream: &[f32], by: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(|| {
        for ((out, &upstream), &by) in out.iter_mut().zip(upstream).zip(by) {
            *out = if is_stopped(upstream, by) { 0.0 } else { upstream };
        }
    });
}

/// out = a ⊙ b; with `stops`, a factor b of 0 gives 0 also for an infinite a.
pub(crate) fn multiply_passed(stops: bool, a: &[f32], b: &[f32], out: &mut [f32]) {
    if !stops {
        return multiply(a, b, out);
    }
    Arch::new().dispatch(|| {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = if is_stopped(a, b) { 0.0 } else { a * b };
        }
    });
}

/// out += a ⊙ b; with `stops`, a factor b of 0 adds nothing also for an infinite a.
pub(crate) fn add_passed(stops: bool, a: &[f32], b: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(|| {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out += if stops & is_stopped(a, b) { 0.0 } else { a * b };
        }
    });
}

/// out += a ⊙ b ⊙ by; with `stops`, a derivative of 0 stops both factors.
pub(crate) fn add_passed_both(stops: bool, [a, b]: [&[f32]; 2], by: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(|| {
        for (((out, &a), &b), &by) in out.iter_mut().zip(a).zip(b).zip(by) {
            let stopped = stops & is_stopped(a, by) & is_stopped(b, by);
            *out += if stopped { 0.0 } else { a * b * by };
        }
    });
}

/// by = ddx ⊙ by.
pub(crate) fn pass_one(stops: bool, by: &mut [f32], ddx: &[f32]) {
    Arch::new().dispatch(|| {
        for (by, &ddx) in by.iter_mut().zip(ddx) {
            *by = if stops & is_stopped(ddx, *by) { 0.0 } else { ddx * *by };
        }
    });
}

/// by = ddx ⊙ dy ⊙ by; with `stops`, a derivative of 0 stops both factors.
pub(crate) fn pass_both(stops: bool, by: &mut [f32], ddx: &[f32], dy: &[f32]) {
    Arch::new().dispatch(|| {
        for ((by, &ddx), &dy) in by.iter_mut().zip(ddx).zip(dy) {
            let stopped = stops & is_stopped(ddx, *by) & is_stopped(dy, *by);
            *by = if stopped { 0.0 } else { ddx * dy * *by };
        }
    });
}

/// sums += values. In f64, so that a sum of 2²⁰ terms loses no digits of f32.
pub(crate) fn add_to_sums(sums: &mut [f64], values: &[f32]) {
    Arch::new().dispatch(|| {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += f64::from(*value);
        }
    });
}

/// sums += a ⊙ b.
pub(crate) fn add_products(sums: &mut [f64], a: &[f32], b: &[f32]) {
    Arch::new().dispatch(|| {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    });
}

/// Σ values in f64, in 16 independent partial sums.
pub(crate) fn total(values: &[f32]) -> f64 {
    Arch::new().dispatch(|| {
        let mut lanes = [0.0; 16];
        let (values, rest) = values.as_chunks::<16>();
        for values in values {
            lanes.iter_mut().zip(values).for_each(|(lane, &value)| *lane += f64::from(value));
        }
        lanes.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value)).sum::<f64>()
    })
}

/// The largest of them; NaN is left out.
pub(crate) fn largest(values: &[f32]) -> f32 {
    Arch::new().dispatch(|| {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let (values, rest) = values.as_chunks::<16>();
        for values in values {
            lanes.iter_mut().zip(values).for_each(|(lane, &value)| *lane = if value > *lane { value } else { *lane });
        }
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |largest, &value| largest.max(value))
    })
}

/// values *= factor.
pub(crate) fn scale_all(values: &mut [f32], factor: f32) {
    Arch::new().dispatch(|| values.iter_mut().for_each(|value| *value *= factor));
}

/// Σ a ⊙ b in f64, in 16 independent partial sums.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    Arch::new().dispatch(|| {
        let mut lanes = [0.0; LANES];
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        for (a, b) in a.iter().zip(b) {
            for l in 0..LANES {
                lanes[l] += f64::from(a[l]) * f64::from(b[l]);
            }
        }
        let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        lanes.iter().sum::<f64>() + rest
    })
}

/// Adds Σ (x − c) and Σ (x − c)² of each column of whole rows; c is about as large as the numbers of its column.
pub(crate) fn add_moved(rows: &[f32], c: &[f32], sums: &mut [f64], squares: &mut [f64]) {
    /// Columns whose sums stay in registers.
    const STRIP: usize = 16;
    Arch::new().dispatch(|| {
        let n = c.len();
        for first in (0..n).step_by(STRIP) {
            let width = STRIP.min(n - first);
            let mut of_strip = [[0.0; STRIP]; 3];
            let [c_of, sum, square] = &mut of_strip;
            c_of.iter_mut().zip(&c[first..]).for_each(|(to, c)| *to = f64::from(*c));
            for row in rows.chunks_exact(n) {
                // A whole strip has a length that the compiler knows.
                let strip: &[f32] = row[first..].first_chunk::<STRIP>().map_or(&row[first..], |strip| strip);
                for (((x, c), sum), square) in strip.iter().zip(&*c_of).zip(&mut *sum).zip(&mut *square) {
                    let moved = f64::from(*x) - c;
                    *sum += moved;
                    *square += moved * moved;
                }
            }
            for i in 0..width {
                sums[first + i] += sum[i];
                squares[first + i] += square[i];
            }
        }
    });
}

/// Σ (x − c) and Σ (x − c)² in f64, in 16 independent partial sums each.
pub(crate) fn moved(x: &[f32], c: f32) -> [f64; 2] {
    const LANES: usize = 16;
    Arch::new().dispatch(|| {
        let c = f64::from(c);
        let [mut sums, mut squares] = [[0.0; LANES]; 2];
        let (x, rest) = x.as_chunks::<LANES>();
        for x in x {
            for l in 0..LANES {
                let moved = f64::from(x[l]) - c;
                sums[l] += moved;
                squares[l] += moved * moved;
            }
        }
        let (mut sum, mut square) = (sums.iter().sum::<f64>(), squares.iter().sum::<f64>());
        for x in rest {
            let moved = f64::from(*x) - c;
            sum += moved;
            square += moved * moved;
        }
        [sum, square]
    })
}
