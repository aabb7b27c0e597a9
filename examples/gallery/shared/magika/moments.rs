//! The norm of Magika's channels over their positions: as its graph has it, and as it is meant.

use super::{CHANNELS, EPSILON, POSITIONS};

/// Mean and 1 / √(variance + ε) of each channel of x `[512, 256]`.
pub(crate) type Moments = fn(&[f64]) -> Vec<(f64, f64)>;

/// In f32, position after position, a variance as mean of squares less square of mean: what onnxruntime makes of the graph.
pub(crate) fn as_the_graph(x: &[f64]) -> Vec<(f64, f64)> {
    let mut sums = [(0.0f32, 0.0f32); CHANNELS];
    for row in x.chunks(CHANNELS) {
        for ((sum, squares), x) in sums.iter_mut().zip(row) {
            let x = *x as f32;
            *sum += x;
            *squares += x * x;
        }
    }
    let channel = |(sum, squares): (f32, f32)| {
        let mean = sum / POSITIONS as f32;
        let variance = (squares / POSITIONS as f32 - mean * mean).max(0.0);
        (f64::from(mean), f64::from(1.0 / (variance + EPSILON).sqrt()))
    };
    sums.into_iter().map(channel).collect()
}

/// In f64, the variance around the mean.
pub(crate) fn in_two_sweeps(x: &[f64]) -> Vec<(f64, f64)> {
    let (mut means, mut variances) = ([0.0; CHANNELS], [0.0; CHANNELS]);
    for row in x.chunks(CHANNELS) {
        means.iter_mut().zip(row).for_each(|(mean, x)| *mean += x / POSITIONS as f64);
    }
    for row in x.chunks(CHANNELS) {
        let off = row.iter().zip(&means).map(|(x, mean)| (x - mean).powi(2) / POSITIONS as f64);
        variances.iter_mut().zip(off).for_each(|(variance, off)| *variance += off);
    }
    means.into_iter().zip(variances).map(|(mean, v)| (mean, 1.0 / (v + f64::from(EPSILON)).sqrt())).collect()
}
