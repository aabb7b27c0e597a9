//! Arithmetic of samples and of the normal distribution.

/// The mean, and its standard error: of independent samples.
pub(crate) fn mean(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0) / count).sqrt())
}

/// Mean and deviation of each of so many columns.
pub(crate) fn columns(rows: &[f32], columns: usize) -> Vec<(f64, f64)> {
    let of = |column: usize| rows.iter().skip(column).step_by(columns).map(|value| f64::from(*value));
    let both = |column: usize| {
        let mean = mean(&of(column).collect::<Vec<_>>()).0;
        let square = |value: f64| (value - mean).powi(2);
        (mean, self::mean(&of(column).map(square).collect::<Vec<_>>()).0.sqrt())
    };
    (0..columns).map(both).collect()
}

/// The middle one of an odd number of values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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

/// E[f(X)] of each normal X of this mean and deviation, by the midpoint rule in steps of 1/8 of the deviation: exact to rounding where f
/// is analytic and no narrower than some of these.
pub(crate) fn normal_expectations(normals: &[(f64, f64)], f: impl Fn(f64) -> f64) -> Vec<f64> {
    let nodes: Vec<f64> = (-80..80).map(|i| (f64::from(i) + 0.5) / 8.0).collect();
    let weights: Vec<f64> = nodes.iter().map(|z| normal_density(*z) / 8.0).collect();
    let of = |&(mean, deviation): &(f64, f64)| {
        nodes.iter().zip(&weights).map(|(z, weight)| f(mean + deviation * z) * weight).sum()
    };
    normals.iter().map(of).collect()
}
