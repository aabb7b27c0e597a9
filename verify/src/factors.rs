//! What matrix units make of the factors of a product, and what the product loses by it. The bounds are proved in docs/numerics.md.

use elbow::{Caps, MatrixUnits, WeightLayout, request::AffineRequest};

use crate::operands::Operands;

/// The products of a case on matrix units: what its device makes of their factors.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    used: MatrixUnits,
    /// The largest relative error of a factor, or its share of a product's.
    rounding: f64,
}

impl Units {
    pub(crate) fn of(caps: &Caps) -> Self {
        let used = if caps.matrix_size > 0 { caps.matrix_units } else { MatrixUnits::Off };
        Units { used, rounding: caps.matrix_rounding() }
    }
}

/// The factors of a product C = A·B: of each row of A and each column of B the largest magnitude, and the sum of all.
pub(crate) struct Factors {
    rows: Vec<[f64; 2]>,
    cols: Vec<[f64; 2]>,
    pub(crate) count: usize,
}

impl Factors {
    /// `a(i, r)` is the element of row i of A, and `b(j, r)` that of column j of B, in step r of the reduction.
    pub(crate) fn new(
        [rows, cols, count]: [usize; 3],
        a: impl Fn(usize, usize) -> f64,
        b: impl Fn(usize, usize) -> f64,
    ) -> Self {
        let of = |line: &dyn Fn(usize) -> f64| {
            (0..count).map(|r| line(r).abs()).fold([0.0, 0.0], |[largest, sum], v| [f64::max(largest, v), sum + v])
        };
        let rows = (0..rows).map(|i| of(&|r| a(i, r))).collect();
        let cols = (0..cols).map(|j| of(&|r| b(j, r))).collect();
        Factors { rows, cols, count }
    }

    /// Those of z = x·Wᵀ, with what is multiplied for x.
    pub(crate) fn of_z(layer: &AffineRequest, operands: &Operands, entering: &[f64]) -> Self {
        let AffineRequest { m, k, .. } = *layer;
        let x = |i: usize, r: usize| entering[i * k + r];
        Factors::new([m, layer.outputs(), k], x, |j, r| f64::from(operands.w[weight_at(layer, j, r)]))
    }

    /// The error of element `at` of C because of what became of the factors on their way to matrix units, for a sum of these absolute values.
    pub(crate) fn error(&self, operands: &Operands, at: usize, terms: f64, units: Units) -> f64 {
        let relative = 2.01 * units.rounding * terms;
        match units.used {
            MatrixUnits::Off | MatrixUnits::Stored => 0.0,
            // For factors below 2⁻¹⁴ a step of 2⁻²⁵, times the other factor.
            MatrixUnits::Rounded => {
                let all = operands.x.iter().chain(&operands.w).chain(&operands.dy);
                // Slopes and row weights make dz larger than dy, but not by this much.
                let largest = 16.0 * all.fold(0.0f32, |largest, v| largest.max(v.abs()));
                relative + self.count as f64 * f64::powi(2.0, -24) * f64::from(largest)
            }
            // For factors that are small beside the largest of their row or column 2⁻³⁷ of it, times the other factor.
            MatrixUnits::Split => {
                let ([a, sum_a], [b, sum_b]) = (self.rows[at / self.cols.len()], self.cols[at % self.cols.len()]);
                relative + 1.01 * f64::powi(2.0, -37) * (a * sum_b + b * sum_a)
            }
        }
    }
}

/// The place of the weight of output n and input k.
pub(crate) fn weight_at(layer: &AffineRequest, n: usize, k: usize) -> usize {
    match layer.layout {
        WeightLayout::OutIn => n * layer.k + k,
        WeightLayout::InOut => k * layer.outputs() + n,
    }
}
