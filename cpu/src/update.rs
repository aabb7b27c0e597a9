//! Updates of parameters by their gradient.

use elbow::{
    Operand,
    cpu::operands,
    error::Result,
    rates::{Rates, Rule},
};
use pulp::Arch;

use crate::{outputs, threads, vectors};

/// Parameters that share four factors.
pub const RUN: usize = 128;
/// Elements that one thread takes at a time: whole runs.
const BLOCK: usize = 512 * RUN;

/// The parameters of an [`update`], and what it remembers from step to step.
#[derive(Debug)]
pub struct Updated<'a> {
    /// θ
    pub parameter: &'a mut [f32],
    /// The velocity, or AdamW's mean of the gradients; zeros before the first step.
    pub first: &'a mut [f32],
    /// AdamW's mean of the squares, alike; empty for the other rules.
    pub second: &'a mut [f32],
}

/// One step of a [`Rule`], the `steps`-th (from 1 on), with the gradient scaled down to [`Rates::max_norm`]: what [`elbow::train::Advance`]
/// and [`elbow::train::Update`] compute. `factors` has four numbers for each [`RUN`] neighbouring parameters, of the rate, of the weight decay and of the
/// ℓ1 penalty (the fourth is unused). False if the norm is bounded and not finite: then nothing has changed.
///
/// ```
/// use elbow::rates::{Rates, Rule};
/// use elbow_cpu::{Updated, update};
/// let (mut parameter, mut first) = ([1.0], [0.0]);
/// let state = Updated { parameter: &mut parameter, first: &mut first, second: &mut [] };
/// assert!(update(Rule::Sgd, &Rates::sgd(0.5), 1, &[0.25], None, state)?);
/// assert_eq!(parameter, [0.875]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn update(
    rule: Rule,
    rates: &Rates,
    steps: u32,
    gradient: &[f32],
    factors: Option<&[f32]>,
    state: Updated<'_>,
) -> Result<bool> {
    rates.state()?;
    let Updated { parameter, first, second } = state;
    let count = parameter.len();
    let gradient = operands::slice(Operand::ParameterGradient, gradient, &[count])?;
    let adamw = rule == Rule::AdamW;
    let first = outputs::slice_mut(if adamw { Operand::FirstMoment } else { Operand::Velocity }, first, &[count])?;
    let second = outputs::slice_mut(Operand::SecondMoment, second, &[if adamw { count } else { 0 }])?;
    let of_runs = &[count.div_ceil(RUN), 4];
    let factors = operands::optional(Operand::Factors, factors, factors.is_some(), of_runs)?;
    let Rates { rate, momentum, beta2, epsilon, weight_decay, l1, max_norm, .. } = *rates;
    let mut clip = 1.0;
    if max_norm.is_finite() {
        let norm = vectors::dot(gradient, gradient).sqrt() as f32;
        if !norm.is_finite() {
            return Ok(false);
        }
        clip = if norm > max_norm { max_norm / norm } else { 1.0 };
    }
    let lacking = |beta: f32| -(f64::from(steps) * f64::from(beta).ln()).exp_m1();
    let (of_first, root) = (lacking(momentum) as f32, lacking(beta2) as f32);
    // Without factors a block is one run.
    let run = if factors.is_some() { RUN } else { BLOCK };
    let of_run = |number: usize| {
        let [of_rate, of_decay, of_l1] = factors.map_or([1.0; 3], |factors| [0, 1, 2].map(|i| factors[4 * number + i]));
        (rate * of_rate, weight_decay * of_decay, l1 * of_l1)
    };
    let blocks = parameter.chunks_mut(BLOCK).zip(first.chunks_mut(BLOCK)).zip(gradient.chunks(BLOCK)).enumerate();
    if adamw {
        threads::each(blocks.zip(second.chunks_mut(BLOCK)), |((block, ((parameter, first), gradient)), second)| {
            let runs = parameter.chunks_mut(run).zip(first.chunks_mut(run)).zip(gradient.chunks(run));
            for (i, (((parameter, first), gradient), second)) in runs.zip(second.chunks_mut(run)).enumerate() {
                let (rate, decay, l1) = of_run(block * (BLOCK / run) + i);
                let (step, kept, shrink) = (rate / of_first, 1.0 - rate * decay, rate * l1);
                Arch::new().dispatch(|| {
                    for (((theta, m), g), s) in parameter.iter_mut().zip(first).zip(gradient).zip(second) {
                        let g = g * clip;
                        *m = momentum * *m + (1.0 - momentum) * g;
                        *s = beta2 * *s + (1.0 - beta2) * g * g;
                        *theta = shrunk(*theta * kept - step * *m / ((*s / root).sqrt() + epsilon), shrink);
                    }
                });
            }
        });
    } else {
        let nesterov = rule == Rule::Nesterov;
        threads::each(blocks, |(block, ((parameter, first), gradient))| {
            let runs = parameter.chunks_mut(run).zip(first.chunks_mut(run)).zip(gradient.chunks(run));
            for (i, ((parameter, first), gradient)) in runs.enumerate() {
                let (rate, decay, l1) = of_run(block * (BLOCK / run) + i);
                let shrink = rate * l1;
                Arch::new().dispatch(|| {
                    for ((theta, v), g) in parameter.iter_mut().zip(first).zip(gradient) {
                        let g = g * clip + decay * *theta;
                        *v = momentum * *v + g;
                        *theta = shrunk(*theta - rate * if nesterov { g + momentum * *v } else { *v }, shrink);
                    }
                });
            }
        });
    }
    Ok(true)
}

/// v less an ℓ1 penalty, and 0 where that would change its sign.
#[inline(always)]
fn shrunk(v: f32, shrink: f32) -> f32 {
    if v.abs() <= shrink { 0.0 } else { v - shrink.copysign(v) }
}
