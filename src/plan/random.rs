//! The plan that fills a tensor with random numbers.

use super::{
    Along, Builder, Caps, Plan,
    builder::workgroups,
    pieces::{self, ELEMENT},
};
use crate::{
    error::{Error, Result},
    kernel::{Elem, KernelFile},
    operand::Operand,
    philox::Distribution,
    shape,
    storage::Storage,
};

const LANES: u32 = 64;

/// Random numbers, without buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomRequest {
    /// Number of elements.
    pub elements: usize,
    /// How they are spread; None for the words themselves.
    pub distribution: Option<Distribution>,
    /// The key.
    pub seed: u64,
    /// Streams of one seed are independent.
    pub stream: u32,
    /// The type of the elements.
    pub storage: Storage,
}

/// The plan of `to[i]` = a random number of seed, stream and i.
pub fn random(request: &RandomRequest, aligned: bool, caps: &Caps) -> Result<Plan> {
    let RandomRequest { elements, distribution, seed, stream, storage } = *request;
    storage.check()?;
    let numbers = match distribution {
        None => [0.0; 2],
        Some(Distribution::Uniform { low, high }) => {
            finite("low", low)?;
            finite("high", high)?;
            finite("high - low", high - low)?;
            [low, high - low]
        }
        Some(Distribution::Normal { mean, deviation }) => {
            finite("mean", mean)?;
            finite("deviation", deviation)?;
            [mean, deviation]
        }
    };
    let total = shape::elements(Operand::To, &[elements])?;
    let mut plan = Plan::default();
    if total == 0 {
        return Ok(plan);
    }
    let wide = aligned && total.is_multiple_of(4) && distribution.is_some();
    let elem = match distribution {
        None => Elem::Word,
        Some(_) if wide => Elem::Four,
        Some(_) => Elem::Scalar,
    };
    let mut k = Builder::storing(KernelFile::Random, storage, caps);
    k.flag("LANES", LANES).on("WIDE", wide).on("WORDS", distribution.is_none());
    k.on("NORMAL", matches!(distribution, Some(Distribution::Normal { .. })));
    k.write("to", elem, Operand::To, total).along(Along::Rows(1));
    k.cut.rows = u64::from(LANES) * 4;
    k.cut.work = k.cut.rows * ELEMENT;
    k.params.rows = total as u32;
    k.params.p[..2].copy_from_slice(&numbers);
    k.params.seed = [seed as u32, (seed >> 32) as u32, stream, 0];
    k.params.tiles = workgroups(total.div_ceil(k.cut.rows))?;
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

fn finite(parameter: &str, got: f32) -> Result<()> {
    match got.is_finite() {
        true => Ok(()),
        false => Err(Error::BadParameter {
            of: "random".into(),
            parameter: parameter.into(),
            expected: "a finite number".into(),
            got: got.to_string(),
        }),
    }
}
