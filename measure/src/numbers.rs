//! Random operands, and the largest error of a result.

use elbow::{Activation, AlphaSource};
use rand::{RngExt, SeedableRng};

use crate::error::{Error, Result};

/// Normal random numbers of this standard deviation. Constant operands would hide wrong indices and make branches look faster.
pub fn normals(seed: u64, length: usize, scale: f32) -> Vec<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..length).map(|_| scale * rng.sample::<f32, _>(rand_distr::StandardNormal)).collect()
}

/// How many α a layer of N columns has that are learnable.
pub(crate) fn alphas(source: AlphaSource, n: usize) -> usize {
    match source {
        AlphaSource::Constant => 0,
        AlphaSource::PerLayer => 1,
        AlphaSource::PerChannel => n,
    }
}

/// So many α around the activation's own, each another, so that one in the place of another is found.
pub(crate) fn around(activation: Activation, seed: u64, count: usize) -> Vec<f32> {
    let own = activation.params()[0];
    normals(seed, count, 0.1 * own.abs().max(0.1)).into_iter().map(|by| own + by).collect()
}

/// The largest |got − want| / scale; an error if it is beyond the tolerance or NaN.
pub(crate) fn worst(what: &str, tolerance: f64, got: &[f32], want: &[f64], scale: &[f64]) -> Result<f64> {
    let mut worst = 0.0f64;
    for (index, ((&got, &expected), scale)) in got.iter().zip(want).zip(scale).enumerate() {
        let error = (f64::from(got) - expected).abs() / scale.max(1e-30);
        // Negated, so that NaN fails too.
        if error.is_nan() || error > tolerance {
            return Err(Error::Wrong { what: what.to_owned(), index, got, expected });
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::worst;

    #[test]
    fn a_wrong_result_is_an_error_and_so_is_nan() {
        let judge = |got: f32| worst("y", 1e-6, &[1.0, got], &[1.0, 2.0], &[1.0, 2.0]);
        assert!(judge(2.0).is_ok_and(|error| error == 0.0));
        assert!(judge(2.1).is_err_and(|error| error.to_string().contains("element 1 is 2.1")));
        assert!(judge(f32::NAN).is_err());
    }
}
