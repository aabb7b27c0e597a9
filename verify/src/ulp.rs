//! Distances in units in the last place (ulp).

/// The unit in the last place of f32 at this magnitude, but at least that of the smallest normal number.
///
/// ```
/// assert_eq!(elbow_verify::ulp_of(1.5), f64::from(f32::EPSILON));
/// ```
pub fn ulp_of(magnitude: f64) -> f64 {
    let exponent = magnitude.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (exponent - 23.0).exp2()
}

/// The distance of `got` from `expected` in ulp of the larger of |expected| and `terms`: 0 if `got` is the correctly rounded result or both
/// are NaN, infinite if only one of the two is NaN.
pub(crate) fn ulps(got: f32, expected: f64, terms: f64) -> f64 {
    if got == expected as f32 || (got.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    if got.is_nan() || expected.is_nan() {
        return f64::INFINITY;
    }
    let largest = f64::from(f32::MAX);
    // Near the largest f32 a result within its tolerance may round to infinity: it counts as the largest number.
    let got = f64::from(got);
    let got = if got.is_infinite() && expected.is_finite() { largest.copysign(got) } else { got };
    let scale = expected.abs().max(terms);
    let error = (got - expected).abs() / ulp_of(if scale.is_finite() { scale } else { largest });
    if error.is_nan() { f64::INFINITY } else { error }
}
