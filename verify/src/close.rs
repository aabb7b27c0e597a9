//! How far results are from the exact ones, as a share of what is allowed.

/// The largest error of many results as a share of its bound.
///
/// ```
/// use elbow_verify::Close;
/// let mut close = Close::default();
/// close.see(1.5, 1.0, 1.0, 0.0, || "loss[0]".into())?;
/// assert_eq!((close.fraction, close.place.as_str()), (0.5, "loss[0]"));
/// assert!(close.see(f32::NAN, 1.0, 1.0, 0.0, || "loss[1]".into()).is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Close {
    /// From 0 to 1, where 1 is the bound.
    pub fraction: f64,
    /// The result that it is the error of.
    pub place: String,
}

impl Close {
    /// One result more, which may be `allowed` away from the right one, and `rounding` for its storage. The error names its place, and says
    /// what it is and should be.
    ///
    /// NaN must be NaN, and what no f32 can hold infinite. A number that is no normal one may be any other of them: it may have been flushed.
    pub fn see(
        &mut self,
        got: f32,
        right: f64,
        allowed: f64,
        rounding: f64,
        place: impl FnOnce() -> String,
    ) -> Result<(), String> {
        let fraction = share(got, right, allowed, rounding);
        if fraction.is_nan() || fraction > 1.0 {
            return Err(format!("{} is {got:e}, expected {right:e} within {:.1e}", place(), allowed + rounding));
        }
        if fraction > self.fraction || self.place.is_empty() {
            *self = Close { fraction, place: place() };
        }
        Ok(())
    }

    /// The worse of the two.
    pub fn and(self, other: Close) -> Close {
        if other.fraction > self.fraction || self.place.is_empty() { other } else { self }
    }
}

fn share(got: f32, right: f64, allowed: f64, rounding: f64) -> f64 {
    let given = f64::from(got);
    if got.is_nan() || right.is_nan() {
        return if got.is_nan() == right.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if right.abs() > f64::from(f32::MAX) {
        return if given == right.signum() * f64::INFINITY { 0.0 } else { f64::INFINITY };
    }
    let tiny = 1.001 * f64::from(f32::MIN_POSITIVE);
    if right.abs() < tiny && given.abs() < tiny {
        return 0.0;
    }
    // An infinite bound would take anything.
    if (allowed + rounding).is_finite() { ((given - right).abs() - rounding).max(0.0) / allowed } else { f64::INFINITY }
}
