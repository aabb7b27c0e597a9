//! Compares both sides with the reference: a sample of the rows of y and dx, and of the columns of dW and db.

use elbow::{
    AlphaSource, Float, MatrixUnits, Saved,
    cpu::{Elementwise, ForwardInputs, reference},
    request::AffineRequest,
};
use serde::{Deserialize, Serialize};

use super::{Layer, Part, backward_request, on_cpu::OnCpu};
use crate::{
    error::{Error, Result},
    numbers::worst,
};

/// The largest error, relative to the sum of the absolute values of the terms. Coarse: f32 rounding of long sums stays far below.
const TOLERANCE: f64 = 1e-5;

/// The tolerance with the rounding of results in a narrow type: without fusion they are rounded twice, and slopes are at most 1.2. It is
/// also enough where both factors of each product were rounded to it.
fn tolerance(dtype: Float) -> f64 {
    if dtype == Float::F32 { TOLERANCE } else { TOLERANCE + 2.5 * dtype.unit_roundoff() }
}

/// The most multiply-adds of the slow reference for a sample.
const MOST_WORK: usize = 1 << 23;

/// The largest errors of a sample, relative to the sum of the absolute values of the terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// The error of y; on the device the larger of fused and unfused.
    pub y: f64,
    /// The error of dx.
    pub dx: f64,
    /// The error of dW.
    pub dw: f64,
    /// The error of db.
    pub db: f64,
    /// The error of dα; 0 if it is a constant.
    pub dalpha: f64,
}

impl Errors {
    /// The largest of all, in ulp of the sum of |terms| in the type in which the result is stored: for f32 multiples of 2⁻²³ Σ|terms|.
    pub fn ulp(&self, dtype: Float) -> f64 {
        [self.y, self.dx, self.dw, self.db, self.dalpha].into_iter().fold(0.0, f64::max) / (2.0 * dtype.unit_roundoff())
    }

    /// The largest of all as a share of the tolerance, for results stored as `dtype` of products whose factors were rounded to `products`
    /// ([`Layer::products`]).
    pub fn of_bound(&self, dtype: Float, products: Float) -> f64 {
        let stored = self.y.max(self.dx) / tolerance(dtype).max(tolerance(products));
        stored.max(self.dw.max(self.db).max(self.dalpha) / tolerance(products))
    }
}

/// The results of one side.
struct Outputs<'a> {
    y: &'a [f32],
    /// The z that backward used, which is kept for a learnable α. If y was kept it is y, which has the same sign: only that matters there.
    z: Option<&'a [f32]>,
    dx: &'a [f32],
    dw: &'a [f32],
    db: &'a [f32],
    /// Empty if α is a constant.
    dalpha: &'a [f32],
}

impl Layer<'_> {
    /// The type to which the device rounds the factors of products: f16 if it was asked to use its matrix units for all products, and has
    /// some; else f32, not at all. (Two numbers of f16 lose less than f32 is allowed to.)
    pub fn products(&self) -> Float {
        let caps = self.device.gpu.caps();
        match caps.matrix_units {
            MatrixUnits::Rounded if caps.matrix_size > 0 => Float::F16,
            _ => Float::F32,
        }
    }

    pub(super) fn verify_gpu(&self) -> Result<Errors> {
        let (gpu, g) = (&self.device.gpu, &self.on_gpu);
        let run = |part| gpu.submit_pass(|pass| self.record(part, pass));
        let mut y_error = 0.0f64;
        for part in [Part::Inference, Part::Unfused] {
            run(part)?;
            y_error = y_error.max(self.judge_y(part.name(), &gpu.download(&g.y)?)?);
        }
        run(Part::Step)?;
        let (y, dx, dw, db) = (gpu.download(&g.y)?, gpu.download(&g.dx)?, gpu.download(&g.dw)?, gpu.download(&g.db)?);
        let dalpha = match &g.alpha {
            Some(learned) => gpu.download(&learned.dalpha)?,
            None => Vec::new(),
        };
        let z = match (self.request.saved, &g.kept) {
            (Saved::Z, Some(z)) => Some(gpu.download(z)?),
            _ => None,
        };
        // After the first step from zero velocity, the velocity is the gradient.
        let velocity = gpu.download(&g.velocity_w)?;
        if let Some(index) = (0..dw.len()).find(|&i| velocity[i] != dw[i]) {
            let what = format!("{} {}: velocity", self.shape(), self.activation());
            return Err(Error::Wrong { what, index, got: velocity[index], expected: f64::from(dw[index]) });
        }
        let errors = self.judge(
            "GPU",
            [self.dtype, self.products()],
            &Outputs { y: &y, z: z.as_deref(), dx: &dx, dw: &dw, db: &db, dalpha: &dalpha },
        )?;
        Ok(Errors { y: errors.y.max(y_error), ..errors })
    }

    pub(super) fn verify_cpu(&self) -> Result<Errors> {
        let mut cpu = OnCpu::new(self);
        cpu.run(Part::Step)?;
        let z = (!cpu.z.is_empty()).then_some(&cpu.z[..]);
        self.judge(
            "CPU",
            [Float::F32; 2],
            &Outputs { y: &cpu.y, z, dx: &cpu.dx, dw: &cpu.dw, db: &cpu.db, dalpha: &cpu.dalpha },
        )
    }

    fn named(&self, side: &str, operand: &str) -> String {
        format!("{} {} on the {side}: {operand}", self.shape(), self.activation())
    }

    /// The sampled rows of a matrix.
    fn rows(&self) -> Rows {
        let AffineRequest { m, n, k, .. } = self.request;
        Rows(sample(m, MOST_WORK / (n * k).max(1)))
    }

    fn judge_y(&self, what: &str, y: &[f32]) -> Result<f64> {
        let AffineRequest { n, k, .. } = self.request;
        let rows = self.rows();
        let x = rows.of(&self.host.x, k);
        let request = self.request.m(rows.0.len());
        let inputs = ForwardInputs::new(&x, &self.host.w).b(Some(&self.host.b)).alpha(self.host.alpha());
        let want = reference::forward(&request, inputs)?;
        let bound = tolerance(self.dtype).max(tolerance(self.products()));
        judge(&self.named("GPU", what), bound, &rows.of(y, n), &want.y, &want.z_terms)
    }

    fn judge(&self, side: &str, [dtype, products]: [Float; 2], got: &Outputs<'_>) -> Result<Errors> {
        let (stored, sums) = (tolerance(dtype).max(tolerance(products)), tolerance(products));
        let AffineRequest { m, n, k, .. } = self.request;
        let host = &self.host;
        let z = got.z.or((self.request.saved == Saved::Y).then_some(got.y));

        let rows = self.rows();
        let (x, dy, z_rows) = (rows.of(&host.x, k), rows.of(&host.dy, n), z.map(|z| rows.of(z, n)));
        let request = self.request.m(rows.0.len());
        let inputs = ForwardInputs::new(&x, &host.w).b(Some(&host.b)).alpha(host.alpha());
        let want = reference::forward(&request, inputs)?;
        let y = judge(&self.named(side, "y"), stored, &rows.of(got.y, n), &want.y, &want.z_terms)?;
        let inputs = reference::BackwardInputs::new(&x, &host.w, &dy).b(Some(&host.b)).alpha(host.alpha());
        let inputs = inputs.z(z_rows.as_deref());
        let want = reference::backward(&backward_request(request), inputs)?.dx;
        let dx = judge(&self.named(side, "dx"), stored, &rows.of(got.dx, k), &want.value, &want.terms)?;

        let columns = Columns { picked: sample(n, MOST_WORK / (m * k).max(1)), n };
        let neurons = Rows(columns.picked.clone());
        let (w, b) = (neurons.of(&host.w, k), columns.of(&host.b));
        let (dy, z_columns) = (columns.of(&host.dy), z.map(|z| columns.of(z)));
        let alpha = host.alpha().map(|alpha| if alpha.len() == n { columns.of(alpha) } else { alpha.to_vec() });
        let request = self.request.n(columns.picked.len());
        let inputs = reference::BackwardInputs::new(&host.x, &w, &dy).b(Some(&b)).alpha(alpha.as_deref());
        let inputs = inputs.z(z_columns.as_deref());
        let want = reference::backward(&backward_request(request), inputs)?;
        let dw = judge(&self.named(side, "dw"), sums, &neurons.of(got.dw, k), &want.dw.value, &want.dw.terms)?;
        let db = judge(&self.named(side, "db"), sums, &columns.of(got.db), &want.db.value, &want.db.terms)?;
        let dalpha = match z.filter(|_| self.request.alpha != AlphaSource::Constant) {
            None => 0.0,
            Some(z) => {
                let request = Elementwise::new(m, n, self.request.activation).alpha(self.request.alpha);
                let want = reference::elementwise::backward(&request, z, host.alpha(), &host.dy)?.dalpha;
                judge(&self.named(side, "dalpha"), sums, got.dalpha, &want.value, &want.terms)?
            }
        };
        Ok(Errors { y, dx, dw, db, dalpha })
    }
}

fn judge(what: &str, tolerance: f64, got: &[f32], want: &[f64], terms: &[f64]) -> Result<f64> {
    // Near a root of the slope its error is absolute, so a sum of few such terms gets an absolute tolerance too.
    let floor = 0.05 * terms.iter().fold(0.0, |a: f64, &b| a.max(b));
    let scale: Vec<f64> = terms.iter().map(|&t| t.max(floor)).collect();
    worst(what, tolerance, got, want, &scale)
}

struct Rows(Vec<usize>);

impl Rows {
    fn of(&self, matrix: &[f32], width: usize) -> Vec<f32> {
        self.0.iter().flat_map(|&row| &matrix[row * width..(row + 1) * width]).copied().collect()
    }
}

struct Columns {
    picked: Vec<usize>,
    n: usize,
}

impl Columns {
    fn of(&self, matrix: &[f32]) -> Vec<f32> {
        matrix.chunks(self.n.max(1)).flat_map(|row| self.picked.iter().map(|&c| row[c])).collect()
    }
}

/// Up to `most` indices, at least four, spread over the whole range including both ends.
fn sample(length: usize, most: usize) -> Vec<usize> {
    let count = most.max(4).min(length);
    (0..count).map(|i| if count == 1 { 0 } else { i * (length - 1) / (count - 1) }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_sample_has_both_ends() {
        assert_eq!(super::sample(1, 100), [0]);
        assert_eq!(super::sample(3, 1), [0, 1, 2]);
        assert_eq!(super::sample(100, 4), [0, 33, 66, 99]);
    }
}
