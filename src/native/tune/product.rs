//! A product to time: of integers, so that whatever tile multiplies it must give exactly what the host computes.

use crate::{
    activation::Activation,
    affine::Forward,
    dtype::{Dtype, Float},
    error::{Error, Result},
    gpu::{Gpu, record::Prepared, transfer::Tensor},
    plan::{Form, Pin},
    request::WeightLayout,
    view::View,
};

/// A product C = A·B of integers on the device, run as a layer without activation; C is f32.
///
/// ```no_run
/// use elbow::{Float, Gpu, native::tune::Product, plan::Form};
/// let gpu = Gpu::new()?;
/// let product = Product::new(&gpu, Form::Nt, [512, 1024, 1024], Float::F32)?;
/// let prepared = product.prepare(&gpu, Some(13))?;
/// assert_eq!(product.wrong(&gpu, &prepared)?, None);
/// assert_eq!((product.operations(), product.bytes()), (2 << 29, 4 * ((512 << 10) + (1 << 20) + (512 << 10))));
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug)]
pub struct Product {
    form: Form,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    /// What C must be when multiplied by [`weights`].
    expected: Vec<i64>,
}

/// Sums of more terms than this could leave the integers that f32 holds exactly: the factors are at most 2.
const MOST_TERMS: usize = 1 << 22;

/// Integers from −2 to 2 in an order without a short period along rows or columns, and so that a sum of them stays small.
fn integers(count: usize, seed: u64) -> Vec<i8> {
    (0..count as u64).map(|i| (scatter(i ^ seed << 40) % 5) as i8 - 2).collect()
}

/// Factors of up to ±2²⁰ for the columns of C: an element that is wrong changes the sum of its row, whatever the others are, and two
/// that are wrong together leave it by one chance in a million.
fn weights(columns: usize) -> Vec<i64> {
    (0..columns as u64).map(|i| (scatter(i ^ 7 << 40) % (1 << 21)) as i64 - (1 << 20)).collect()
}

/// The finalizer of SplitMix64: numbers without a pattern from numbers in a row.
const fn scatter(i: u64) -> u64 {
    let i = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let i = (i ^ (i >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let i = (i ^ (i >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    i ^ (i >> 31)
}

/// A matrix `[rows, columns]` times a vector; or its transpose times a vector.
fn times(matrix: &[i8], columns: usize, vector: &[i64], transposed: bool) -> Vec<i64> {
    let dot = |row: &[i8]| row.iter().zip(vector).map(|(&m, &v)| i64::from(m) * v).sum();
    if !transposed {
        return matrix.chunks(columns.max(1)).map(dot).collect();
    }
    let mut sums = vec![0; columns];
    for (row, &v) in matrix.chunks(columns.max(1)).zip(vector) {
        for (sum, &m) in sums.iter_mut().zip(row) {
            *sum += i64::from(m) * v;
        }
    }
    sums
}

impl Product {
    /// C[rows, cols] with a reduction over k, for `[rows, cols, k]`; A and B are stored as `dtype`.
    ///
    /// [`Error::LimitExceeded`] for a k whose sums f32 may not hold exactly.
    pub fn new(gpu: &Gpu, form: Form, [rows, cols, k]: [usize; 3], dtype: Float) -> Result<Self> {
        if k > MOST_TERMS {
            let (asked, limit) = (k as u64, MOST_TERMS as u64);
            return Err(Error::LimitExceeded { what: "terms of a sum of integers".into(), asked, limit });
        }
        let (a_shape, b_shape) = match form {
            Form::Nt => ([rows, k], [cols, k]),
            Form::Nn => ([rows, k], [k, cols]),
            Form::Tn => ([k, rows], [k, cols]),
        };
        // The device says what it cannot hold before the host spends time on it.
        let c = gpu.zeros(&[rows, cols])?;
        let (a, b) = (gpu.zeros_of(dtype, &a_shape)?, gpu.zeros_of(dtype, &b_shape)?);
        let (a_values, b_values) = (integers(rows * k, 1), integers(k * cols, 2));
        for (tensor, values) in [(&a, &a_values), (&b, &b_values)] {
            gpu.write(tensor, &values.iter().map(|&v| f32::from(v)).collect::<Vec<f32>>())?;
        }
        // C·v = A·(B·v) needs no product of matrices on the host, and every element of C is in it.
        let inner = times(&b_values, b_shape[1], &weights(cols), form == Form::Nt);
        let expected = times(&a_values, a_shape[1], &inner, form == Form::Tn);
        Ok(Product { form, a, b, c, expected })
    }

    /// The product on one tile, by its place in [`TILES`](crate::plan::TILES); for None on the one that plans take. A tile that cannot
    /// serve it ([`Tile::fits`](crate::plan::Tile::fits)) is replaced by another.
    pub fn prepare(&self, gpu: &Gpu, tile: Option<usize>) -> Result<Prepared> {
        self.prepare_pinned(gpu, Pin { tile, ..Pin::default() })
    }

    pub(super) fn prepare_pinned(&self, gpu: &Gpu, pin: Pin) -> Result<Prepared> {
        let Product { form, a, b, c, .. } = self;
        let layout = if *form == Form::Nt { WeightLayout::OutIn } else { WeightLayout::InOut };
        match form {
            Form::Nt | Form::Nn => Forward::new(Activation::IDENTITY, a, b, c).layout(layout).pin(pin).prepare(gpu),
            Form::Tn => {
                let (w, y) = (View::absent(c.shape(), Dtype::F32), View::absent(a.shape(), a.dtype()));
                let layer = Forward::new(Activation::IDENTITY, b, w, y).pin(pin);
                layer.backward(a).dw(c).prepare(gpu)
            }
        }
    }

    /// Runs it once and looks at every element of C: None if all are right, else the first row that is not.
    pub fn wrong(&self, gpu: &Gpu, prepared: &Prepared) -> Result<Option<usize>> {
        // What an earlier tile has left there must not pass for this one's result.
        gpu.write(&self.c, &vec![f32::NAN; self.c.elements()])?;
        gpu.submit(|encoder| prepared.record(encoder))?;
        let got = gpu.download(&self.c)?;
        let columns = self.c.shape()[1];
        let weights = weights(columns);
        let right = |(row, expected): (&[f32], &i64)| {
            let whole = row.iter().all(|v| v.fract() == 0.0 && v.abs() <= (4 * MOST_TERMS) as f32);
            whole && row.iter().zip(&weights).map(|(&v, w)| v as i64 * w).sum::<i64>() == *expected
        };
        Ok(got.chunks(columns.max(1)).zip(&self.expected).position(|pair| !right(pair)))
    }

    /// Bytes that must at least be moved: each operand once.
    pub fn bytes(&self) -> u64 {
        [&self.a, &self.b, &self.c].iter().map(|t| t.elements() as u64 * t.dtype().bytes()).sum()
    }

    /// Operations: two for each multiply-add.
    pub fn operations(&self) -> u64 {
        let reduction = if self.form.a_along_reduction() { self.a.shape()[1] } else { self.a.shape()[0] };
        2 * self.c.elements() as u64 * reduction as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_element_anywhere_is_seen() {
        // A·B of [3, 4]·[4, 5], B along the reduction: [5, 4].
        let (a, b) = (integers(12, 1), integers(20, 2));
        let weights = weights(5);
        let expected = times(&a, 4, &times(&b, 4, &weights, true), false);
        let element =
            |i: usize, j: usize| (0..4).map(|k| i64::from(a[4 * i + k]) * i64::from(b[4 * j + k])).sum::<i64>();
        for (row, &expected) in expected.iter().enumerate() {
            let c: Vec<i64> = (0..5).map(|j| element(row, j)).collect();
            let sum = |c: &[i64]| c.iter().zip(&weights).map(|(c, w)| c * w).sum::<i64>();
            assert_eq!(sum(&c), expected);
            for column in 0..5 {
                let mut other = c.clone();
                other[column] += 1;
                assert_ne!(sum(&other), expected);
            }
        }
    }

    #[test]
    fn integers_are_all_five_and_balanced() {
        let all = integers(100_000, 3);
        for value in -2..=2 {
            let count = all.iter().filter(|&&v| v == value).count();
            assert!((19_000..21_000).contains(&count), "{value}: {count}");
        }
    }
}
