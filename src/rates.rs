//! The numbers of an update: rates, what they mean to each rule, and where each lies in the memory of the device.

use crate::{
    error::{Error, Result},
    setters::setters,
};

/// How a parameter θ follows its gradient g.
///
/// ```text
/// Sgd       g += decay θ;  v = momentum v + g;  θ −= rate v
/// Nesterov  g += decay θ;  v = momentum v + g;  θ −= rate (g + momentum v)
/// AdamW     θ −= rate decay θ;  m = β₁ m + (1 − β₁) g;  s = β₂ s + (1 − β₂) g²
///           θ −= rate m / (1 − β₁ᵗ) / (√(s / (1 − β₂ᵗ)) + ε)
/// then, of an ℓ1 penalty:  θ = sign(θ) max(|θ| − rate ℓ1, 0)
/// ```
///
/// The forms of PyTorch's SGD and AdamW (Loshchilov and Hutter 2019); the last line is the proximal step of ℓ1 |θ|, after which a
/// parameter can be exactly 0.
///
/// ```
/// use elbow::rates::Rule;
/// assert_ne!(Rule::Sgd, Rule::AdamW);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// The same with Nesterov's momentum.
    Nesterov,
    /// Adam with a decay of its own: β₁ is the momentum.
    AdamW,
}

/// Numbers of the state of an update on the device.
pub const STATE: usize = 12;

/// Where each number lies in the state: `rates_at(..)` in `shaders/kernel/update.wgsl` and `advance.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// The learning rate.
    Rate,
    /// Momentum, β₁ of AdamW.
    Momentum,
    /// β₂ of AdamW.
    Beta2,
    /// ε of AdamW.
    Epsilon,
    /// Weight decay.
    WeightDecay,
    /// The ℓ1 penalty.
    L1,
    /// The largest norm of all gradients together.
    MaxNorm,
    /// Steps taken so far, counted on the device.
    Steps,
    /// What this step's gradient is multiplied by; 0 if the step is left out.
    Factor,
    /// The norm of this step's gradients before clipping, if it was asked for.
    Norm,
    /// 1 − β₁ᵗ.
    Lacking1,
    /// 1 − β₂ᵗ.
    Lacking2,
}

/// The rates of an update before its first step; [`Rates::state`] is what the device keeps. A schedule writes one number there
/// ([`Place::Rate`]) and allocates nothing.
///
/// ```no_run
/// use elbow::{Gpu, rates::{Place, Rates}};
/// let gpu = Gpu::new()?;
/// let rates = gpu.upload(&Rates::adamw(1e-3).weight_decay(0.1).max_norm(1.0).state()?, &[12])?;
/// // Half the rate from the next submission on.
/// let rate = Place::Rate as usize;
/// gpu.write(rates.view().slice(0, rate..rate + 1)?, &[5e-4])?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// Learning rate, finite.
    pub rate: f32,
    /// Momentum, from 0 to below 1; β₁ of AdamW.
    pub momentum: f32,
    /// β₂ of AdamW, from 0 to below 1.
    pub beta2: f32,
    /// ε of AdamW, finite and above 0.
    pub epsilon: f32,
    /// Weight decay, finite and not negative.
    pub weight_decay: f32,
    /// ℓ1 penalty, finite and not negative.
    pub l1: f32,
    /// The largest norm of all gradients together: larger ones are scaled down to it. Above 0; ∞ for none.
    pub max_norm: f32,
}

setters!(const Rates {
    rate: f32,
    momentum: f32,
    beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    l1: f32,
    max_norm: f32,
});

impl Rates {
    /// For [`Rule::Sgd`] and [`Rule::Nesterov`]: no momentum, no decay, no penalty, no clipping.
    pub const fn sgd(rate: f32) -> Self {
        let (momentum, beta2, epsilon, weight_decay, l1) = (0.0, 0.999, 1e-8, 0.0, 0.0);
        Rates { rate, momentum, beta2, epsilon, weight_decay, l1, max_norm: f32::INFINITY }
    }

    /// For [`Rule::AdamW`], with PyTorch's β (0.9, 0.999), ε (1e-8) and decay (0.01).
    pub const fn adamw(rate: f32) -> Self {
        Rates { momentum: 0.9, weight_decay: 0.01, ..Rates::sgd(rate) }
    }

    /// The state before the first step, in the order of [`Place`]; [`Error::BadParameter`] if a number is out of its domain.
    ///
    /// ```
    /// use elbow::rates::{Place, Rates};
    /// let state = Rates::sgd(0.1).momentum(0.9).state()?;
    /// assert_eq!((state[Place::Momentum as usize], state[Place::Steps as usize]), (0.9, 0.0));
    /// assert!(Rates::sgd(f32::NAN).state().is_err());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn state(&self) -> Result<[f32; STATE]> {
        let Rates { rate, momentum, beta2, epsilon, weight_decay, l1, max_norm } = *self;
        let below_one = |v: f32| (0.0..1.0).contains(&v);
        let not_negative = |v: f32| v.is_finite() && v >= 0.0;
        for (parameter, got, expected, holds) in [
            ("rate", rate, "a finite number", rate.is_finite()),
            ("momentum", momentum, "a number >= 0 and < 1", below_one(momentum)),
            ("beta2", beta2, "a number >= 0 and < 1", below_one(beta2)),
            ("epsilon", epsilon, "a finite number > 0", epsilon.is_finite() && epsilon > 0.0),
            ("weight_decay", weight_decay, "a finite number >= 0", not_negative(weight_decay)),
            ("l1", l1, "a finite number >= 0", not_negative(l1)),
            ("max_norm", max_norm, "a number > 0", max_norm > 0.0),
        ] {
            if !holds {
                return Err(Error::BadParameter {
                    of: "rates".into(),
                    parameter: parameter.into(),
                    expected: expected.into(),
                    got: got.to_string(),
                });
            }
        }
        Ok([rate, momentum, beta2, epsilon, weight_decay, l1, max_norm, 0.0, 1.0, 0.0, 1.0, 1.0])
    }
}
