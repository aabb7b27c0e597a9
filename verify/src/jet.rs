//! Bounds for layers with jets: the formulas of [`Jet`], on numbers that carry a bound of their error along.

use elbow::{Activation, Jet, activation::Quantity};

use crate::near::{Near, at, sum};

fn form(jet: &Jet, z: &[Near]) -> Near {
    let pairs = (0..jet.tangents()).flat_map(|i| (i..jet.tangents()).map(move |j| (i, j)));
    let factor = |(i, j)| if i == j { 1.0 } else { 2.0 } * f64::from(jet.coefficient(i, j));
    sum(pairs.filter(|&pair| factor(pair) != 0.0).map(|(i, j)| z[1 + i].times(z[1 + j]).scaled(factor((i, j)))))
}

/// y of each row of a group.
pub(crate) fn values(jet: &Jet, activation: &Activation, z: &[Near]) -> Vec<Near> {
    let [value, slope, second] =
        [Quantity::Value, Quantity::Slope, Quantity::SecondDerivative].map(|quantity| at(activation, quantity, z[0]));
    let mut y: Vec<Near> = z.iter().map(|z| z.times(slope)).collect();
    y[0] = value;
    if !jet.is_first_order() {
        let last = y.len() - 1;
        y[last] = y[last].plus(form(jet, z).times(second));
    }
    y
}

/// dz of each row of a group, and the group's term of dα.
pub(crate) fn gradients(jet: &Jet, activation: &Activation, z: &[Near], dy: &[Near]) -> (Vec<Near>, Near) {
    let at = |quantity| at(activation, quantity, z[0]);
    let last = dy.len() - 1;
    let [slope, second] = [Quantity::Slope, Quantity::SecondDerivative].map(at);
    let mut dz: Vec<Near> = dy.iter().map(|dy| dy.times(slope)).collect();
    for i in 0..jet.tangents() {
        let there = (0..jet.tangents()).filter(|&j| jet.coefficient(i, j) != 0.0);
        let turned = sum(there.map(|j| z[1 + j].scaled(2.0 * f64::from(jet.coefficient(i, j)))));
        dz[1 + i] = dz[1 + i].plus(turned.times(dy[last]).times(second));
    }
    let of_rows = sum(z.iter().zip(dy).skip(1).map(|(z, dy)| z.times(*dy)));
    let of_form = if jet.is_first_order() { Near::NOTHING } else { form(jet, z).times(dy[last]) };
    let met = |quantities: [Quantity; 3]| {
        sum([dy[0], of_rows, of_form].into_iter().zip(quantities).map(|(v, quantity)| v.times(at(quantity))))
    };
    dz[0] = met([Quantity::Slope, Quantity::SecondDerivative, Quantity::ThirdDerivative]);
    (dz, met([Quantity::AlphaSlope, Quantity::MixedDerivative, Quantity::MixedThirdDerivative]))
}
