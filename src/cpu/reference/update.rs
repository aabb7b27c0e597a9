//! Updates of parameters, in f64.

use crate::{
    error::{Error, Result},
    operand::Operand,
    rates::{Rates, Rule},
};

/// The parameters of an update and what it remembers from step to step.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Updated {
    /// θ
    pub parameter: Vec<f64>,
    /// The velocity of SGD, or AdamW's mean of the gradients.
    pub first: Vec<f64>,
    /// AdamW's mean of the squares.
    pub second: Vec<f64>,
    /// Steps taken.
    pub steps: i32,
}

impl Updated {
    /// Before the first step.
    ///
    /// ```
    /// use elbow::cpu::reference::Updated;
    /// assert_eq!(Updated::new(&[1.0, 2.0]).first, [0.0, 0.0]);
    /// ```
    pub fn new(parameter: &[f32]) -> Self {
        let zeros = vec![0.0; parameter.len()];
        let parameter = parameter.iter().map(|&v| f64::from(v)).collect();
        Updated { parameter, first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// One step. `factors` multiply rate, decay and ℓ1 of each parameter. A gradient whose norm is not finite changes nothing, if the norm
    /// is bounded.
    ///
    /// ```
    /// use elbow::{cpu::reference::Updated, rates::{Rates, Rule}};
    /// let mut state = Updated::new(&[1.0]);
    /// state.step(Rule::Sgd, &Rates::sgd(0.5), &[0.25], |_| [1.0; 3])?;
    /// assert_eq!(state.parameter, [0.875]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn step(
        &mut self,
        rule: Rule,
        rates: &Rates,
        gradient: &[f32],
        factors: impl Fn(usize) -> [f32; 3],
    ) -> Result<()> {
        rates.state()?;
        if gradient.len() != self.parameter.len() {
            return Err(Error::Shape {
                operand: Operand::ParameterGradient,
                expected: format!("{} elements, as many as parameters", self.parameter.len()),
                got: gradient.len().to_string(),
            });
        }
        let Rates { rate, momentum, beta2, epsilon, weight_decay, l1, max_norm } = *rates;
        let [rate, momentum, beta2, epsilon, weight_decay, l1, max_norm] =
            [rate, momentum, beta2, epsilon, weight_decay, l1, max_norm].map(f64::from);
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        if max_norm.is_finite() && !norm.is_finite() {
            return Ok(());
        }
        let clip = if norm > max_norm { max_norm / norm } else { 1.0 };
        self.steps += 1;
        let lacking = |beta: f64| 1.0 - beta.powi(self.steps);
        for (i, &g) in gradient.iter().enumerate() {
            let [of_rate, of_decay, of_l1] = factors(i).map(f64::from);
            let (rate, decay, l1) = (rate * of_rate, weight_decay * of_decay, l1 * of_l1);
            let (theta, first, second) = (&mut self.parameter[i], &mut self.first[i], &mut self.second[i]);
            let g = f64::from(g) * clip;
            match rule {
                Rule::AdamW => {
                    *theta -= rate * decay * *theta;
                    *first = momentum * *first + (1.0 - momentum) * g;
                    *second = beta2 * *second + (1.0 - beta2) * g * g;
                    let root = (*second / lacking(beta2)).sqrt();
                    *theta -= rate * *first / lacking(momentum) / (root + epsilon);
                }
                Rule::Sgd | Rule::Nesterov => {
                    let g = g + decay * *theta;
                    *first = momentum * *first + g;
                    *theta -= rate * if rule == Rule::Nesterov { g + momentum * *first } else { *first };
                }
            }
            if rate * l1 > 0.0 {
                *theta = theta.signum() * (theta.abs() - rate * l1).max(0.0);
            }
        }
        Ok(())
    }
}
