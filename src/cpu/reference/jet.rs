//! Jets in f64, by the formulas of [`Jet`]: one row of a group at a time.

use crate::{
    activation::{Activation, Quantity},
    jet::Jet,
};

/// y of a row of the group; `z` is the pre-activation of a row.
pub(super) fn value(jet: &Jet, activation: &Activation, member: usize, z: impl Fn(usize) -> f64) -> f64 {
    if member == 0 {
        return activation.value(z(0));
    }
    let through = activation.passed(z(member), activation.slope(z(0)));
    if member <= jet.tangents() || jet.is_first_order() {
        return through;
    }
    through + activation.passed(form(jet, &z), activation.second_derivative(z(0)))
}

/// Σᵢⱼ cᵢⱼ zᵢ zⱼ
fn form(jet: &Jet, z: impl Fn(usize) -> f64) -> f64 {
    let tangents = 0..jet.tangents();
    let pairs = tangents.clone().flat_map(|i| tangents.clone().map(move |j| (i, j)));
    pairs.map(|(i, j)| f64::from(jet.coefficient(i, j)) * z(1 + i) * z(1 + j)).sum()
}

/// A number, and the sum of the absolute values of its terms.
pub(super) type WithTerms = (f64, f64);

/// dz of a row, and the row's term of dα, from dy of each row of its group.
pub(super) struct Local {
    pub(super) dz: WithTerms,
    pub(super) dalpha: WithTerms,
}

/// A layer without jets has groups of one row.
pub(super) fn gradient(
    jet: Option<&Jet>,
    activation: &Activation,
    member: usize,
    z: impl Fn(usize) -> f64,
    dy: impl Fn(usize) -> WithTerms,
) -> Local {
    let at = |quantity| activation.evaluate(quantity, z(0));
    // Σ upstream · derivative over the terms.
    let sum = |terms: &[(WithTerms, f64)]| {
        terms.iter().fold((0.0, 0.0), |(value, absolute), &((upstream, size), derivative)| {
            let (term, term_size) =
                (activation.passed(upstream, derivative), activation.passed(size, derivative.abs()));
            (value + term, absolute + term_size)
        })
    };
    let times = |(value, size): WithTerms, factor: f64| (value * factor, size * factor.abs());
    let Some(jet) = jet else {
        return Local { dz: sum(&[(dy(0), at(Quantity::Slope))]), dalpha: sum(&[(dy(0), at(Quantity::AlphaSlope))]) };
    };
    let operator = jet.members() - 1;
    if member > 0 {
        let mut terms = vec![(dy(member), at(Quantity::Slope))];
        if member < operator && !jet.is_first_order() {
            for j in 0..jet.tangents() {
                let twice = 2.0 * f64::from(jet.coefficient(member - 1, j));
                terms.push((times(dy(operator), twice * z(1 + j)), at(Quantity::SecondDerivative)));
            }
        }
        return Local { dz: sum(&terms), dalpha: (0.0, 0.0) };
    }
    // dy of each row meets the derivative of y of that row by z₀ (by α), one order above.
    let of = |[value, slope, second]: [Quantity; 3]| {
        let mut terms = vec![(dy(0), at(value))];
        terms.extend((1..=operator).map(|row| (times(dy(row), z(row)), at(slope))));
        if !jet.is_first_order() {
            terms.push((times(dy(operator), form(jet, &z)), at(second)));
        }
        sum(&terms)
    };
    Local {
        dz: of([Quantity::Slope, Quantity::SecondDerivative, Quantity::ThirdDerivative]),
        dalpha: of([Quantity::AlphaSlope, Quantity::MixedDerivative, Quantity::MixedThirdDerivative]),
    }
}
