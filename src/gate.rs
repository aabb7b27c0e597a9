//! Gated layers: one product makes two numbers for each unit, a gate, which goes through the activation, and what it lets through.
//!
//! ```text
//! z = x·Wᵀ + b, [.., 2N]: gate and up of each unit        y = act(gate; α) ⊙ up
//! ```
//!
//! ```no_run
//! use elbow::{Activation, Gate, Gpu, Saved, affine::Forward};
//! let gpu = Gpu::new()?;
//! // SwiGLU, 64 -> 256: gate and up of each unit are two of 512 outputs.
//! let (x, w, b) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[512, 64])?, gpu.zeros(&[512])?);
//! let (z, y, dy) = (gpu.zeros(&[32, 512])?, gpu.zeros(&[32, 256])?, gpu.zeros(&[32, 256])?);
//! let (dx, dw, db) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[512, 64])?, gpu.zeros(&[512])?);
//! let unit = Activation::of_gated_unit("swiglu")?;
//! let layer = Forward::new(unit, &x, &w, &y).b(&b).gate(Gate::stacked()).saved(Saved::Z).save_to(&z);
//! gpu.submit_pass(|pass| {
//!     layer.record(&gpu, &mut *pass)?;
//!     layer.backward(&dy).dx(&dx).dw(&dw).db(&db).record(&gpu, pass)
//! })?;
//! # Ok::<(), elbow::Error>(())
//! ```
//!
//! Two weights apart, as most checkpoints have them, are [`Gate::apart`]'s:
//!
//! ```no_run
//! use elbow::{Activation, Gate, Gpu, affine::Forward};
//! let gpu = Gpu::new()?;
//! let (x, gate_proj, up_proj) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[256, 64])?, gpu.zeros(&[256, 64])?);
//! let (y, dy, dgate, dup) = (gpu.zeros(&[32, 256])?, gpu.zeros(&[32, 256])?, gpu.zeros(&[256, 64])?, gpu.zeros(&[256, 64])?);
//! let layer = Forward::new(Activation::SILU, &x, &gate_proj, &y).gate(Gate::apart()).w_up(&up_proj);
//! gpu.submit_pass(|pass| {
//!     layer.record(&gpu, &mut *pass)?;
//!     layer.backward(&dy).dw(&dgate).dw_up(&dup).record(&gpu, pass)
//! })?;
//! # Ok::<(), elbow::Error>(())
//! ```
//!
//! Gate and up that are there already are [`elementwise::Gated`](crate::elementwise::Gated)'s. Source: Shazeer 2020, GLU Variants Improve
//! Transformer.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// How gate and up lie in w, b and z of a gated layer, and whether they are limited.
///
/// ```
/// use elbow::Gate;
/// let usual = Gate::stacked(); // rows 0..N of w `[2N, K]` are the gate's, N..2N those of up
/// assert_eq!((usual.gate_at(3, 10), usual.up_at(3, 10)), (3, 13));
/// let halves = Gate::stacked().up_first(); // as torch.nn.functional.glu has them
/// assert_eq!((halves.gate_at(3, 10), halves.up_at(3, 10)), (13, 3));
/// let limited = Gate::interleaved().limited(7.0)?;
/// assert_eq!((limited.gate_at(3, 10), limited.up_at(3, 10)), (6, 7));
/// assert_eq!((limited.limit(), limited.is_interleaved(), limited.is_apart()), (Some(7.0), true, false));
/// assert_eq!("interleaved,limit=7".parse(), Ok(limited));
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gate {
    order: Order,
    up_first: bool,
    /// The bits of the limit, so that gates compare and hash.
    limit: Option<u32>,
}

/// How the two numbers of each unit lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Order {
    Stacked,
    Interleaved,
    Apart,
}

impl Gate {
    /// All gates first, then all of up: `[gate; up]`.
    pub const fn stacked() -> Self {
        Gate { order: Order::Stacked, up_first: false, limit: None }
    }

    /// Gate and up of a unit side by side: gate, up, gate, up, ..
    pub const fn interleaved() -> Self {
        Gate { order: Order::Interleaved, ..Self::stacked() }
    }

    /// Weight and bias of each side are tensors of their own, as checkpoints with `gate_proj` and `up_proj` have them: w `[N, K]` and b `[N]` are
    /// the gate's, [`Forward::w_up`](crate::affine::Forward::w_up) and [`Forward::b_up`](crate::affine::Forward::b_up) those of up. z, where it
    /// is kept, is stacked.
    pub const fn apart() -> Self {
        Gate { order: Order::Apart, ..Self::stacked() }
    }

    /// The other way round: up before gate.
    #[must_use]
    pub const fn up_first(self) -> Self {
        Gate { up_first: true, ..self }
    }

    /// y = act(min(gate, limit)) ⊙ (clamp(up, −limit, limit) + 1): with [`Activation::QUICK_GELU`](crate::Activation::QUICK_GELU),
    /// z σ(1.702 z), the unit of OpenAI's gpt-oss (limit 7). The slope at a limit itself is that of the inside, as torch.clamp has it.
    /// [`Error::BadParameter`] unless the limit is finite and above 0.
    pub fn limited(self, limit: f32) -> Result<Self> {
        match limit.is_finite() && limit > 0.0 {
            true => Ok(Gate { limit: Some(limit.to_bits()), ..self }),
            false => Err(Error::BadParameter {
                of: "gate".into(),
                parameter: "limit".into(),
                expected: "a finite number > 0".into(),
                got: limit.to_string(),
            }),
        }
    }

    /// Another order with the limit of this gate.
    pub(crate) const fn limited_as(&self, order: Self) -> Self {
        Gate { limit: self.limit, ..order }
    }

    /// The limit, if there is one.
    pub fn limit(&self) -> Option<f32> {
        self.limit.map(f32::from_bits)
    }

    /// The place of a unit's gate among the 2N numbers of so many units.
    pub const fn gate_at(&self, unit: usize, units: usize) -> usize {
        self.place(self.side_of_gate(), unit, units)
    }

    /// The place of what the gate of a unit lets through.
    pub const fn up_at(&self, unit: usize, units: usize) -> usize {
        self.place(1 - self.side_of_gate(), unit, units)
    }

    const fn place(&self, side: u8, unit: usize, units: usize) -> usize {
        if self.is_interleaved() { 2 * unit + side as usize } else { side as usize * units + unit }
    }

    /// Whether gate and up lie side by side.
    pub const fn is_interleaved(&self) -> bool {
        matches!(self.order, Order::Interleaved)
    }

    /// Whether each side has a weight of its own.
    pub const fn is_apart(&self) -> bool {
        matches!(self.order, Order::Apart)
    }

    /// 0 if the gate comes first, else 1.
    pub(crate) const fn side_of_gate(&self) -> u8 {
        self.up_first as u8
    }

    /// act's argument and the factor from z in f64, each with its derivative.
    pub(crate) fn inside(&self, gate: f64, up: f64) -> [(f64, f64); 2] {
        let Some(limit) = self.limit().map(f64::from) else { return [(gate, 1.0), (up, 1.0)] };
        let within = |v: f64, inside: bool| if v.is_nan() { v } else { f64::from(u8::from(inside)) };
        let capped = if gate > limit { limit } else { gate };
        let clamped = if up.is_nan() { up } else { up.clamp(-limit, limit) };
        [(capped, within(gate, gate <= limit)), (clamped + 1.0, within(up, up.abs() <= limit))]
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.order {
            Order::Stacked => "stacked",
            Order::Interleaved => "interleaved",
            Order::Apart => "apart",
        })?;
        f.write_str(if self.up_first { ",up_first" } else { "" })?;
        self.limit().map_or(Ok(()), |limit| write!(f, ",limit={limit}"))
    }
}

impl FromStr for Gate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split(',').map(str::trim);
        let refused = || Error::Unsupported {
            what: format!("gate {text:?}"),
            why: "it is stacked, interleaved or apart, then, if so, up_first and limit=NUMBER".into(),
        };
        let order = match words.next() {
            Some("stacked") => Gate::stacked(),
            Some("interleaved") => Gate::interleaved(),
            Some("apart") => Gate::apart(),
            _ => return Err(refused()),
        };
        words.try_fold(order, |gate, word| match (word, word.strip_prefix("limit=")) {
            ("up_first", _) => Ok(gate.up_first()),
            (_, Some(limit)) => gate.limited(limit.parse().map_err(|_| refused())?),
            _ => Err(refused()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_gate_prints_and_reads_back() {
        for order in [Gate::stacked(), Gate::interleaved(), Gate::apart()] {
            for gate in [order, order.up_first()] {
                for gate in [gate, gate.limited(0.1).unwrap()] {
                    assert_eq!(gate.to_string().parse(), Ok(gate));
                    let mut places: Vec<usize> =
                        (0..5).flat_map(|unit| [gate.gate_at(unit, 5), gate.up_at(unit, 5)]).collect();
                    places.sort_unstable();
                    assert_eq!(places, (0..10).collect::<Vec<_>>(), "{gate}");
                }
            }
        }
        for wrong in ["", "side", "stacked,limit=x", "stacked,limit=0", "stacked,limit=inf", "stacked,up"] {
            assert!(wrong.parse::<Gate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_at_a_limit_is_inside() {
        let gate = Gate::stacked().limited(7.0).unwrap();
        assert_eq!(gate.inside(7.0, -7.0), [(7.0, 1.0), (-6.0, 1.0)]);
        assert_eq!(gate.inside(8.0, 9.0), [(7.0, 0.0), (8.0, 0.0)]);
        assert_eq!(gate.inside(-100.0, f64::NEG_INFINITY), [(-100.0, 1.0), (-6.0, 0.0)]);
        assert!(gate.inside(f64::NAN, f64::NAN).iter().all(|(v, slope)| v.is_nan() && slope.is_nan()));
    }
}
