//! Updates whose rates lie on the device: one prepared step serves a whole schedule.

use super::{expect, expect_state, in_f32};
use crate::{
    error::{Error, Result},
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    plan::{self, AdvanceRequest, Plan, RUN, UpdateRequest},
    rates::{Rule, STATE},
    setters::setters,
    shape,
    view::View,
};

/// Parameters follow their gradient by a [`Rule`], with the [`Rates`](crate::rates::Rates) of a state on the device.
///
/// All parameters of a model may lie in one tensor: then this is one dispatch. Order of a step: the loss, backward, a
/// [`LossScale`](super::LossScale) if the gradient is scaled, [`Advance`] once, an update for each tensor. Nothing happens where `Advance`
/// has left the step out.
///
/// ```no_run
/// use elbow::rates::Rates;
/// use elbow::{Gpu, train::{Advance, Update}};
/// let gpu = Gpu::new()?;
/// let [w, dw, m, s] = [(); 4].map(|()| gpu.zeros(&[10, 64]));
/// let (w, dw, m, s) = (w?, dw?, m?, s?);
/// let rates = gpu.upload(&Rates::adamw(1e-3).max_norm(1.0).state()?, &[12])?;
/// let advance = Advance::new(&rates).clipped(dw.view()).prepare(&gpu)?;
/// let update = Update::adamw(&w, &dw, &rates, &m, &s).prepare(&gpu)?;
/// for step in 0..1000 {
///     let rate = 1e-3 * (1.0 - step as f32 / 1000.0);
///     gpu.write(rates.view().slice(0, 0..1)?, &[rate])?;
///     gpu.submit_pass(|pass| {
///         advance.record(&mut *pass)?; // after backward
///         update.record(&mut *pass)
///     })?;
/// }
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Update<'a> {
    /// How the parameters follow.
    pub rule: Rule,
    /// The parameters, f32, updated in place.
    pub parameter: View<'a>,
    /// Their gradient, f32, of the same shape.
    pub gradient: View<'a>,
    /// The state of the rates, f32 `[12]` ([`Rates::state`](crate::rates::Rates::state)).
    pub rates: View<'a>,
    /// SGD: the velocity, f32, of the same shape, updated in place, zeros before the first step; without it there is no momentum.
    pub velocity: Option<View<'a>>,
    /// AdamW: the mean of the gradients, alike.
    pub first_moment: Option<View<'a>>,
    /// AdamW: the mean of their squares, alike.
    pub second_moment: Option<View<'a>>,
    /// Rows of four factors, one for each 128 neighbouring parameters: of the rate, of the weight decay and of the ℓ1 penalty (the fourth
    /// is not used), f32 `[ceil(elements / 128), 4]`. So that biases do not decay, and slopes of activations alone have a penalty.
    pub factors: Option<View<'a>>,
    /// Mixed precision: receives the updated parameters, rounded to the type that the layers read; of the same shape.
    pub copy: Option<View<'a>>,
}

setters!(Update<'a> {
    rule: Rule,
    parameter: impl Into<View<'a>>,
    gradient: impl Into<View<'a>>,
    rates: impl Into<View<'a>>,
    velocity: impl Into<Option<View<'a>>>,
    first_moment: impl Into<Option<View<'a>>>,
    second_moment: impl Into<Option<View<'a>>>,
    factors: impl Into<Option<View<'a>>>,
    copy: impl Into<Option<View<'a>>>,
});

impl<'a> Update<'a> {
    /// Gradient descent, without a velocity. With [`Rule::Nesterov`] set it needs one.
    ///
    /// ```no_run
    /// use elbow::{Gpu, rates::Rates, train::{Advance, Update}};
    /// let gpu = Gpu::new()?;
    /// let (w, dw, rates) = (gpu.upload(&[1.0], &[1])?, gpu.upload(&[2.0], &[1])?, gpu.upload(&Rates::sgd(0.25).state()?, &[12])?);
    /// gpu.submit_pass(|pass| {
    ///     Advance::new(&rates).record(&gpu, &mut *pass)?;
    ///     Update::sgd(&w, &dw, &rates).record(&gpu, pass)
    /// })?;
    /// assert_eq!(gpu.download(&w)?, [0.5]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn sgd(parameter: impl Into<View<'a>>, gradient: impl Into<View<'a>>, rates: impl Into<View<'a>>) -> Self {
        let (parameter, gradient, rates) = (parameter.into(), gradient.into(), rates.into());
        let (velocity, first_moment, second_moment, factors, copy) = (None, None, None, None, None);
        let rule = Rule::Sgd;
        Update { rule, parameter, gradient, rates, velocity, first_moment, second_moment, factors, copy }
    }

    /// AdamW with its two moments.
    pub fn adamw(
        parameter: impl Into<View<'a>>,
        gradient: impl Into<View<'a>>,
        rates: impl Into<View<'a>>,
        first_moment: impl Into<View<'a>>,
        second_moment: impl Into<View<'a>>,
    ) -> Self {
        let (first_moment, second_moment) = (Some(first_moment.into()), Some(second_moment.into()));
        Update { rule: Rule::AdamW, first_moment, second_moment, ..Update::sgd(parameter, gradient, rates) }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::Parameter, self.parameter).add(Operand::ParameterGradient, self.gradient);
        operands.add(Operand::Rates, self.rates).add(Operand::Velocity, self.velocity);
        operands.add(Operand::FirstMoment, self.first_moment).add(Operand::SecondMoment, self.second_moment);
        operands.add(Operand::Factors, self.factors).add(Operand::Copy, self.copy);
        operands
    }

    pub(super) fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let Update { rule, parameter, gradient, velocity, first_moment, second_moment, factors, copy, .. } = *self;
        let operands = self.operands();
        let elements = shape::elements(Operand::Parameter, &parameter.shape)? as usize;
        let adamw = rule == Rule::AdamW;
        there(Operand::Velocity, velocity, rule == Rule::Nesterov, !adamw, rule)?;
        there(Operand::FirstMoment, first_moment, adamw, adamw, rule)?;
        there(Operand::SecondMoment, second_moment, adamw, adamw, rule)?;
        let state = [
            (Operand::ParameterGradient, Some(gradient)),
            (Operand::Velocity, velocity),
            (Operand::FirstMoment, first_moment),
            (Operand::SecondMoment, second_moment),
        ];
        for (operand, view) in state.into_iter().filter_map(|(operand, view)| Some((operand, view?))) {
            expect(operand, view, &parameter.shape, "the shape of the parameter")?;
            in_f32(operand, view)?;
        }
        in_f32(Operand::Parameter, parameter)?;
        if let Some(copy) = copy {
            expect(Operand::Copy, copy, &parameter.shape, "the shape of the parameter")?;
        }
        if let Some(factors) = factors {
            expect(Operand::Factors, factors, &[elements.div_ceil(RUN), 4], "four for each 128 parameters")?;
            in_f32(Operand::Factors, factors)?;
        }
        expect_rates(self.rates)?;
        let (velocity, factors, copy) = (velocity.is_some(), factors.is_some(), copy.is_some());
        let request = UpdateRequest { elements, rule, velocity, factors, copy, storage: operands.contiguous()? };
        Ok((plan::update(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

/// An error for an operand that the rule needs and has not, or has not and is given.
fn there(operand: Operand, view: Option<View<'_>>, needed: bool, allowed: bool, rule: Rule) -> Result<()> {
    let expected = match view {
        None if needed => format!("an operand, because {rule:?} has one"),
        Some(_) if !allowed => format!("none, because {rule:?} has none"),
        _ => return Ok(()),
    };
    let got = if view.is_some() { "an operand" } else { "none" };
    Err(Error::Operand { operand, expected, got: got.into() })
}

fn expect_rates(rates: View<'_>) -> Result<()> {
    expect(Operand::Rates, rates, &[STATE], "the state of rates")?;
    in_f32(Operand::Rates, rates)
}

/// The next step of a state of rates, on the device: it counts the step, and says what the gradient is multiplied by.
///
/// ```text
/// norm = √Σ (gradient / loss scale)²        factor = 1 / loss scale · min(1, max_norm / norm)
/// ```
///
/// With [`clipped`](Advance::clipped) the norm is that of all gradients together (PyTorch's `clip_grad_norm_`); a norm that is infinite or
/// NaN leaves the step out, and so does the loss scale: then `factor` is 0, no parameter changes, and the step is not counted. The squares
/// are summed in f32: a gradient beyond 1.8·10¹⁹ counts as infinite. The state then holds the norm before clipping
/// ([`Place::Norm`](crate::rates::Place::Norm)), to be looked at.
///
/// ```no_run
/// use elbow::rates::{Place, Rates};
/// use elbow::{Gpu, train::Advance};
/// let gpu = Gpu::new()?;
/// let gradient = gpu.upload(&[3.0, 4.0], &[2])?;
/// let rates = gpu.upload(&Rates::sgd(0.1).max_norm(1.0).state()?, &[12])?;
/// gpu.submit(|encoder| Advance::new(&rates).clipped(gradient.view()).record(&gpu, encoder))?;
/// let state = gpu.download(&rates)?;
/// assert_eq!((state[Place::Norm as usize], state[Place::Steps as usize]), (5.0, 1.0));
/// assert!((state[Place::Factor as usize] - 0.2).abs() < 1e-6);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Advance<'a> {
    /// The state of the rates, f32 `[12]`, updated in place.
    pub rates: View<'a>,
    /// The gradients of all parameters, f32, of any shape, whose norm is held below `max_norm`; None for no clipping.
    pub clipped: Option<View<'a>>,
    /// State of a [`LossScale`](super::LossScale) that was recorded for these gradients before.
    pub loss_scale: Option<View<'a>>,
}

setters!(Advance<'a> {
    rates: impl Into<View<'a>>,
    clipped: impl Into<Option<View<'a>>>,
    loss_scale: impl Into<Option<View<'a>>>,
});

impl<'a> Advance<'a> {
    /// Counts a step, without clipping or a loss scale.
    pub fn new(rates: impl Into<View<'a>>) -> Self {
        Advance { rates: rates.into(), clipped: None, loss_scale: None }
    }

    pub(super) fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let mut operands = Operands::default();
        operands.add(Operand::Rates, self.rates).add(Operand::ParameterGradient, self.clipped);
        operands.add(Operand::LossScale, self.loss_scale);
        expect_rates(self.rates)?;
        expect_state(self.loss_scale)?;
        let elements = |view: View<'_>| {
            in_f32(Operand::ParameterGradient, view)?;
            shape::elements(Operand::ParameterGradient, &view.shape)
        };
        let clipped = self.clipped.map(elements).transpose()?.map(|elements| elements as usize);
        operands.contiguous()?;
        let request = AdvanceRequest { clipped, scaled: self.loss_scale.is_some() };
        Ok((plan::advance(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}
