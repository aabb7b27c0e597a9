//! Covariances of neighbouring units in LeNet-5, layer by layer, by quadrature.

use super::statistics::{expectation, normal_density};

/// A covariance, by distance.
type Kernel<'a> = &'a dyn Fn(i32, i32) -> f64;

/// E[tanh'²] of both convolutions and the two full layers, for white images of ±1.
pub(crate) fn tanh_slopes() -> [f64; 4] {
    let slope = |q: f64| expectation(|z| (1.0 - (q.sqrt() * z).tanh().powi(2)).powi(2));
    // E[tanh u tanh v] of normal u, v of variance q and covariance c.
    let both = |q: f64, c: f64| {
        let (along, across) = (c / q.sqrt(), (q - c * c / q).max(0.0).sqrt());
        let grid = || (-40..=40).map(|i| f64::from(i) * 0.15);
        let inner = |z: f64| grid().map(|r| normal_density(r) * 0.15 * (along * z + across * r).tanh()).sum::<f64>();
        grid().map(|z| normal_density(z) * 0.15 * (q.sqrt() * z).tanh() * inner(z)).sum::<f64>()
    };
    // Covariances at distance (y, x), up to what a window of the next layer spans.
    let table = |reach: i32, f: Kernel<'_>| -> Vec<f64> {
        (0..=reach).flat_map(|y| (0..=reach).map(move |x| (y, x))).map(|(y, x)| f(y, x)).collect()
    };
    let look = |table: &[f64], reach: i32, y: i32, x: i32| match y.abs().max(x.abs()) > reach {
        true => 0.0,
        false => table[(y.abs() * (reach + 1) + x.abs()) as usize],
    };
    let mean = |side: i32, f: Kernel<'_>| {
        let pairs = (1 - side..side).flat_map(|y| (1 - side..side).map(move |x| (y, x)));
        pairs.map(|(y, x)| f64::from((side - y.abs()) * (side - x.abs())) * f(y, x)).sum::<f64>()
            / f64::from(side.pow(4))
    };
    let share = |d: i32| f64::from((5 - d.abs()).max(0)) / 5.0;
    let first = table(5, &|y, x| both(1.0, share(y) * share(x)));
    let maps = table(6, &|y, x| mean(2, &|a, b| look(&first, 5, 2 * y + a, 2 * x + b)));
    let z = table(1, &|y, x| mean(5, &|a, b| look(&maps, 6, y + a, x + b)));
    let third = mean(2, &|a, b| both(z[0], look(&z, 1, a, b)));
    let fourth = expectation(|x| (third.sqrt() * x).tanh().powi(2));
    [slope(1.0), slope(z[0]), slope(third), slope(fourth)]
}
