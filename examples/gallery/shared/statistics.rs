//! Arithmetic of samples and of the normal distribution.

/// The mean, and its standard error: of independent samples.
pub(crate) fn mean(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0) / count).sqrt())
}

/// The standard error of a share that was counted in so many independent cases.
pub(crate) fn share_error(share: f64, cases: usize) -> f64 {
    (share * (1.0 - share) / cases as f64).sqrt()
}

/// Pearson's correlation of pairs.
pub(crate) fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let count = pairs.len() as f64;
    let (x, y) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0 / count, sum.1 + pair.1 / count));
    let product = |f: fn(f64, f64) -> f64| pairs.iter().map(|pair| f(pair.0 - x, pair.1 - y)).sum::<f64>();
    product(|x, y| x * y) / (product(|x, _| x * x) * product(|_, y| y * y)).sqrt()
}

/// Φ(x), the distribution of a standard normal number.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// φ(x), its density.
pub(crate) fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// E[f(Z)] of a standard normal Z, by the trapezoidal rule on [-12, 12], which for analytic f is exact to rounding, and whose
/// error at a kink is below 1e-6.
pub(crate) fn expectation(f: impl Fn(f64) -> f64) -> f64 {
    const STEP: f64 = 1.0 / 1024.0;
    (-12 * 1024..=12 * 1024).map(|i| f64::from(i) * STEP).map(|z| f(z) * normal_density(z) * STEP).sum()
}
