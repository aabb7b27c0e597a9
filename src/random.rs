//! Random numbers on the device, the same as on the CPU: [`philox`](crate::philox).
//!
//! ```no_run
//! use elbow::{Gpu, philox::Distribution, random};
//! let gpu = Gpu::new()?;
//! let w = gpu.zeros(&[10, 64])?;
//! let numbers = Distribution::Normal { mean: 0.0, deviation: 0.1 };
//! gpu.submit(|encoder| random::fill(&w, numbers, 7).record(&gpu, encoder))?;
//! # Ok::<(), elbow::Error>(())
//! ```

use crate::{
    dtype::Dtype,
    error::{Error, Result},
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::recorded,
    philox::Distribution,
    plan::{self, Plan, RandomRequest},
    setters::setters,
    shape,
    view::View,
};

/// Random numbers for every element of a tensor, made by [`fill`] and [`words`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Fill<'a> {
    /// Where they go, without gaps: f32, f16 or bf16; u32 for words.
    pub to: View<'a>,
    /// How they are spread; None for the words themselves.
    pub distribution: Option<Distribution>,
    /// Another seed gives other numbers.
    pub seed: u64,
    /// So does another stream of the same seed; 0 after [`fill`]. For the tensors of one model, for instance.
    pub stream: u32,
}

setters!(Fill<'a> {
    to: impl Into<View<'a>>,
    distribution: impl Into<Option<Distribution>>,
    seed: u64,
    stream: u32,
});

/// `to[i]` = [`Distribution::at`] of seed, stream and i, whatever the device; f16 and bf16 are rounded from the f32.
///
/// [`Error::BadParameter`] if a number of the distribution is not finite, [`Error::Operand`] for words or gaps.
///
/// ```no_run
/// use elbow::{Gpu, philox::Distribution, random};
/// let gpu = Gpu::new()?;
/// let noise = gpu.zeros(&[1000])?;
/// let numbers = Distribution::Uniform { low: -1.0, high: 1.0 };
/// gpu.submit(|encoder| random::fill(&noise, numbers, 7).stream(3).record(&gpu, encoder))?;
/// assert!((gpu.download(&noise)?[5] - numbers.at(7, 3, 5)).abs() < 1e-6);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn fill<'a>(to: impl Into<View<'a>>, distribution: Distribution, seed: u64) -> Fill<'a> {
    Fill { to: to.into(), distribution: Some(distribution), seed, stream: 0 }
}

/// The random words themselves, of a u32 tensor: word i is number i % 4 of [`philox::words`](crate::philox::words) of block i / 4.
///
/// ```no_run
/// use elbow::{Dtype, Gpu, philox, random};
/// let gpu = Gpu::new()?;
/// let words = gpu.zeros_of(Dtype::U32, &[8])?;
/// gpu.submit(|encoder| random::words(&words, 7).record(&gpu, encoder))?;
/// assert_eq!(gpu.download_words(&words)?[4..], philox::words(7, 0, 1));
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn words<'a>(to: impl Into<View<'a>>, seed: u64) -> Fill<'a> {
    Fill { to: to.into(), distribution: None, seed, stream: 0 }
}

impl<'a> Fill<'a> {
    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let Fill { to, distribution, seed, stream } = *self;
        let mut operands = Operands::default();
        operands.add(Operand::To, to);
        match (distribution, to.dtype) {
            (None, _) => to.words(Operand::To)?,
            (Some(_), Dtype::U32) => {
                let expected = "f32, f16 or bf16 for random numbers; `words` for words".into();
                return Err(Error::Operand { operand: Operand::To, expected, got: to.dtype.name().into() });
            }
            _ => {}
        }
        let elements = shape::elements(Operand::To, &to.shape)? as usize;
        let request = RandomRequest { elements, distribution, seed, stream, storage: operands.contiguous()? };
        Ok((plan::random(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

recorded!(Fill);
