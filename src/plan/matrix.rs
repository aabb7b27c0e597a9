//! Products on matrix units: which of them may run there, and how a workgroup's matrices lie in its tile.

use crate::{dtype::Float, words::words};

/// Why what matrix units are asked for is computed elsewhere.
pub(super) const ABSENT: &str = "the device has none that can be used";
pub(super) const NOT_STORED: &str = "an operand is not f16 in memory, or is computed";
pub(super) const FEW: &str = "16 rows or columns, or fewer";
/// Products of fewer rows or columns stay elsewhere: most of a matrix would be padding, and they wait for memory anyway.
pub(super) const FEWEST: u64 = 17;

/// Which products may run on the device's matrix units. They multiply numbers of f16 and add in f32, many times faster than
/// the arithmetic units that every other product uses.
///
/// What the device can't do, or what this does not allow, runs as without matrix units, and the plan says why.
///
/// ```
/// use elbow::MatrixUnits;
/// assert_eq!("stored".parse(), Ok(MatrixUnits::Stored));
/// assert_eq!(MatrixUnits::default(), MatrixUnits::Off);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MatrixUnits {
    /// None.
    #[default]
    Off,
    /// Those whose two operands are f16 in memory and go into the product as they are (x and w in forward; dy, and x or w, in backward of a layer
    /// without activation). Nothing is rounded: products of f16 are exact in f32, only the order of the sum is another.
    Stored,
    /// All. An operand that is f32 or bf16 in memory, or computed (dz = dy ⊙ act'(z)), is rounded to f16 before it is multiplied: an error of at
    /// most 2⁻¹¹ of each factor, so of 2⁻¹⁰ Σ|a||b| of each sum. Factors beyond 65,504 become infinite, those below 2⁻¹⁴ lose digits, and below 2⁻²⁵
    /// become 0: gradients that small want a loss scale.
    Rounded,
    /// All, at nearly the accuracy of f32. An operand that is not f16 in memory is scaled, row by row, by a power of two, and split into a sum of two
    /// numbers of f16; of their four products the three largest are added: an error of at most 2⁻²¹ Σ|a||b| of each sum, and of 2⁻³⁷ of the largest
    /// magnitude of a row or column for what is small beside it. Where a row of a factor holds an infinity or a NaN, the row of the product is NaN.
    Split,
}

words! {
    MatrixUnits, "choice of matrix units": Off = "off", Stored = "stored", Rounded = "rounded", Split = "split";
}

/// How an operand of a product becomes f16 on its way to matrix units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    /// It is f16 in memory.
    Stored,
    /// Rounded.
    Rounded,
    /// Scaled; then it has no more digits than f16, because it is bf16 in memory.
    Scaled,
    /// Scaled, and then a sum of two.
    Split,
}

impl Half {
    /// Of an operand that goes into the product as it lies in memory, in this type, or is computed.
    pub(super) const fn of(stored: Option<Float>, units: MatrixUnits) -> Self {
        match (stored, units) {
            (Some(Float::F16), _) => Half::Stored,
            (Some(Float::Bf16), MatrixUnits::Split) => Half::Scaled,
            (_, MatrixUnits::Split) => Half::Split,
            _ => Half::Rounded,
        }
    }

    pub(super) fn rounded(self) -> bool {
        matches!(self, Half::Rounded | Half::Scaled)
    }

    pub(super) fn scaled(self) -> bool {
        matches!(self, Half::Scaled | Half::Split)
    }
}

/// How the subgroups of a workgroup, the matrices of a subgroup and the lanes over a matrix lie; each is rows, then columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrangement {
    /// Subgroups of the workgroup.
    pub(super) subgroups: [u32; 2],
    /// Matrices of a subgroup: it keeps their sums in registers.
    pub(super) matrices: [u32; 2],
    /// Lanes of a subgroup over a matrix that has gone to workgroup memory: each takes `run` rows of four columns.
    pub(super) lanes: [u32; 2],
    pub(super) run: u32,
}

impl Arrangement {
    /// For a tile of `bm` rows and `bn` columns and a workgroup of so many invocations, on a device with matrices of `size` and subgroups of `span` lanes;
    /// `None` if they don't divide the tile.
    pub(super) const fn of([bm, bn]: [u32; 2], invocations: u32, size: u32, span: u32) -> Option<Self> {
        if !matches!(size, 8 | 16) || !span.is_power_of_two() || span > invocations {
            return None;
        }
        let count = invocations / span;
        let down = 1 << count.ilog2().div_ceil(2);
        let subgroups = [down, count / down];
        let part = [bm / subgroups[0], bn / subgroups[1]];
        let lanes = [span / (size / 4), size / 4];
        if lanes[0] == 0 || lanes[0] > size || part[0] < size || part[1] < size {
            return None;
        }
        Some(Arrangement { subgroups, matrices: [part[0] / size, part[1] / size], lanes, run: size / lanes[0] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every lane has a part of the tile of its own, whatever the device's subgroups and matrices.
    #[test]
    fn arrangements_cover_the_tile() {
        let mut seen = 0;
        for (side, lanes) in [(64, 128), (128, 128), (128, 256)] {
            for (span, size) in
                [0, 4, 8, 16, 24, 32, 64, 128, 256].into_iter().flat_map(|span| [0, 8, 16].map(|size| (span, size)))
            {
                let Some(a) = Arrangement::of([side, side], lanes, size, span) else { continue };
                seen += 1;
                for (i, of_matrix) in a.lanes.iter().enumerate() {
                    assert_eq!(a.subgroups[i] * a.matrices[i] * size, side, "{span} lanes, {size}: {a:?}");
                    assert_eq!(of_matrix * [a.run, 4][i], size, "{span} lanes, {size}: {a:?}");
                }
                assert_eq!(a.subgroups[0] * a.subgroups[1] * span, lanes, "{a:?}");
                assert_eq!(a.lanes[0] * a.lanes[1], span, "{a:?}");
            }
        }
        assert_eq!(
            seen,
            3 + 4 + 3 + 5 + 3 + 5,
            "8 × 8 with 4 to 16 lanes, 16 × 16 with 8 to 64, and with 4 on the larger tiles"
        );
    }

    #[test]
    fn what_an_h100_had() {
        let of = |side| Arrangement::of([side, side], 128, 16, 32);
        let two_by_two = |n| Some(Arrangement { subgroups: [2, 2], matrices: [n, n], lanes: [8, 4], run: 2 });
        assert_eq!((of(128), of(64)), (two_by_two(4), two_by_two(2)));
    }
}
