//! Updates of parameters by their gradient.

use elbow::{
    Operand,
    cpu::operands,
    error::Result,
    rates::{Rates, Rule},
};
use pulp::Arch;

use crate::{outputs, threads, vectors};

/// Elements that one thread takes at a time.
const BLOCK: usize = 64 * 1024;

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
/// and [`elbow::train::Update`] compute, without factors of runs. False if the norm is bounded and not finite: then nothing has changed.
///
/// ```
/// use elbow::rates::{Rates, Rule};
/// use elbow_cpu::{Updated, update};
/// let (mut parameter, mut first) = ([1.0], [0.0]);
/// let state = Updated { parameter: &mut parameter, first: &mut first, second: &mut [] };
/// assert!(update(Rule::Sgd, &Rates::sgd(0.5), 1, &[0.25], state)?);
/// assert_eq!(parameter, [0.875]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn update(rule: Rule, rates: &Rates, steps: u32, gradient: &[f32], state: Updated<'_>) -> Result<bool> {
    rates.state()?;
    let Updated { parameter, first, second } = state;
    let count = parameter.len();
    let gradient = operands::slice(Operand::ParameterGradient, gradient, &[count])?;
    let adamw = rule == Rule::AdamW;
    let first = outputs::slice_mut(if adamw { Operand::FirstMoment } else { Operand::Velocity }, first, &[count])?;
    let second = outputs::slice_mut(Operand::SecondMoment, second, &[if adamw { count } else { 0 }])?;
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
    let (step, root) = (rate / lacking(momentum) as f32, lacking(beta2) as f32);
    let (kept, shrink) = (1.0 - rate * weight_decay, rate * l1);
    let shrunk = |v: f32| if v.abs() <= shrink { 0.0 } else { v - shrink.copysign(v) };
    let blocks = parameter.chunks_mut(BLOCK).zip(first.chunks_mut(BLOCK)).zip(gradient.chunks(BLOCK));
    if adamw {
        threads::each(blocks.zip(second.chunks_mut(BLOCK)), |(((parameter, first), gradient), second)| {
            Arch::new().dispatch(|| {
                for (((theta, m), g), s) in parameter.iter_mut().zip(first).zip(gradient).zip(second) {
                    let g = g * clip;
                    *m = momentum * *m + (1.0 - momentum) * g;
                    *s = beta2 * *s + (1.0 - beta2) * g * g;
                    *theta = shrunk(*theta * kept - step * *m / ((*s / root).sqrt() + epsilon));
                }
            });
        });
    } else {
        let nesterov = rule == Rule::Nesterov;
        threads::each(blocks, |((parameter, first), gradient)| {
            Arch::new().dispatch(|| {
                for ((theta, v), g) in parameter.iter_mut().zip(first).zip(gradient) {
                    let g = g * clip + weight_decay * *theta;
                    *v = momentum * *v + g;
                    *theta = shrunk(*theta - rate * if nesterov { g + momentum * *v } else { *v });
                }
            });
        });
    }
    Ok(true)
}
