//! The programs of layers with jets, for a group of rows at once.

use super::{Gradient, Loaded, Local, ONLY, alpha};
use crate::{
    activation::Quantity,
    jet::Jet,
    operand::Operand,
    program::{By, Function, Over, Program, Value, Write},
    request::{AffineRequest, ResidualAt, Saved, Want},
};

/// z of each row: a bias moves the value, and no derivative of it.
fn pre_activations(p: &mut Program, request: &AffineRequest, jet: &Jet) -> Vec<Value> {
    let mut z: Vec<Value> = members(jet).map(|member| p.sum_of(member)).collect();
    if request.bias {
        let b = p.load(Operand::B, By::Column);
        z[0] = p.add(z[0], b);
    }
    if request.residual == Some(ResidualAt::BeforeActivation) {
        add_each(p, &mut z, Operand::Residual);
    }
    z
}

fn members(jet: &Jet) -> impl Iterator<Item = u8> + use<> {
    0..jet.members() as u8
}

fn load_each(p: &mut Program, jet: &Jet, operand: Operand) -> Vec<Value> {
    members(jet).map(|member| p.load(operand, By::Member(member))).collect()
}

fn add_each(p: &mut Program, values: &mut [Value], operand: Operand) {
    for (member, value) in (0..).zip(values) {
        let term = p.load(operand, By::Member(member));
        *value = p.add(*value, term);
    }
}

fn store_each(p: &mut Program, operand: Operand, want: Want, values: &[Value]) {
    let write = match want {
        Want::No => return,
        Want::Overwrite => Write::Overwrite,
        Want::Accumulate => Write::Accumulate,
    };
    for (member, &value) in (0..).zip(values) {
        p.store(operand, By::Member(member), write, value);
    }
}

/// The sum of the values; None without any.
fn sum(p: &mut Program, values: impl IntoIterator<Item = Value>) -> Option<Value> {
    values.into_iter().reduce(|sum, value| p.add(sum, value))
}

/// factor · v
fn scaled(p: &mut Program, factor: f32, v: Value) -> Value {
    if factor == 1.0 {
        return v;
    }
    let factor = p.constant(factor);
    p.multiply(factor, v)
}

/// 2 Σⱼ cᵢⱼ zⱼ for each tangent i: the derivatives of the operator's quadratic form Σᵢⱼ cᵢⱼ zᵢ zⱼ. None where all of them are 0.
fn form_slopes(p: &mut Program, jet: &Jet, z: &[Value]) -> Vec<Option<Value>> {
    let slope = |p: &mut Program, i| {
        let there = (0..jet.tangents()).filter(|&j| jet.coefficient(i, j) != 0.0);
        let terms: Vec<Value> = there.map(|j| scaled(p, 2.0 * jet.coefficient(i, j), z[1 + j])).collect();
        sum(p, terms)
    };
    (0..jet.tangents()).map(|i| slope(p, i)).collect()
}

/// The operator's quadratic form: each pair once.
fn form(p: &mut Program, jet: &Jet, z: &[Value]) -> Option<Value> {
    let mut terms = Vec::new();
    for i in 0..jet.tangents() {
        for j in i..jet.tangents() {
            let factor = if i == j { 1.0 } else { 2.0 } * jet.coefficient(i, j);
            if factor != 0.0 {
                let product = p.multiply(z[1 + i], z[1 + j]);
                terms.push(scaled(p, factor, product));
            }
        }
    }
    sum(p, terms)
}

/// z = sums (+ b) (+ residual), kept as the request says; y₀ = act(z₀), yᵢ = act'(z₀) zᵢ, and for the operator's row also
/// act''(z₀) Σᵢⱼ cᵢⱼ zᵢ zⱼ (+ residual).
pub(super) fn forward(request: &AffineRequest, jet: &Jet) -> Program {
    let mut p = Program::of_group(jet.members() as u8);
    let z = pre_activations(&mut p, request, jet);
    if request.saved == Saved::Z {
        store_each(&mut p, Operand::Saved, Want::Overwrite, &z);
    }
    let alpha = alpha(&mut p, request.alpha, Operand::Alpha, By::Column);
    let local = Local::of(request, Saved::Z, Operand::Z);
    let of = |p: &mut Program, quantity| p.act(ONLY, Function::Of(quantity), z[0], alpha);
    let mut y = vec![of(&mut p, Quantity::Value)];
    let slope = of(&mut p, Quantity::Slope);
    for &z in &z[1..] {
        y.push(local.times(&mut p, z, slope));
    }
    if let Some(form) = form(&mut p, jet, &z) {
        let curvature = of(&mut p, Quantity::SecondDerivative);
        let bent = local.times(&mut p, form, curvature);
        let last = y.len() - 1;
        y[last] = p.add(y[last], bent);
    }
    if request.residual == Some(ResidualAt::AfterActivation) {
        add_each(&mut p, &mut y, Operand::Residual);
    }
    store_each(&mut p, Operand::Y, Want::Overwrite, &y);
    p
}

/// z of each row into scratch memory, for a backward that computes z again.
pub(super) fn forward_z(request: &AffineRequest, jet: &Jet) -> Program {
    let mut p = Program::of_group(jet.members() as u8);
    let z = pre_activations(&mut p, request, jet);
    store_each(&mut p, Operand::Z, Want::Overwrite, &z);
    p
}

/// The gradients of a group from dy of its rows, the finished sums of a product or an operand:
///
/// ```text
/// dz_L = act' dy_L    dzᵢ = act' dyᵢ + 2 act'' Σⱼ cᵢⱼ zⱼ dy_L
/// dz₀  = act' dy₀ + act'' (Σᵢ zᵢ dyᵢ + z_L dy_L) + act''' Σᵢⱼ cᵢⱼ zᵢ zⱼ dy_L
/// ```
///
/// with the derivatives at z₀; the terms of db = Σ dz₀, and those of dα: dz₀ with ∂/∂α of the function one order below. d(residual) is dy or dz.
pub(super) fn gradient(gradient: &Gradient, jet: &Jet, of_a_product: bool) -> Program {
    let Gradient { local, dz, dresidual, residual_before, db, dalpha, .. } = *gradient;
    let mut p = Program::of_group(jet.members() as u8);
    let dy: Vec<Value> = match of_a_product {
        true => members(jet).map(|member| p.sum_of(member)).collect(),
        false => load_each(&mut p, jet, Operand::Dy),
    };
    let dz_needed = dz.is_some() || db || (dresidual.wanted() && residual_before);
    let mut of_residual = dy.clone();
    if (dz_needed || dalpha) && !local.is_one() {
        let alpha = alpha(&mut p, local.alpha, local.alpha_operand, local.channel);
        let z = load_each(&mut p, jet, local.from);
        let last = dy.len() - 1;
        // Σᵢ zᵢ dyᵢ + z_L dy_L, and the form times dy_L.
        let products: Vec<Value> = z.iter().zip(&dy).skip(1).map(|(&z, &dy)| p.multiply(z, dy)).collect();
        let first = sum(&mut p, products);
        let second = form(&mut p, jet, &z).map(|form| p.multiply(form, dy[last]));
        let upstream = [Some(dy[0]), first, second];
        let loaded = Loaded { local, alpha, kept: Some(z[0]), row_weight: None };
        // The derivatives that meet them, and the sum of the products.
        let met = |p: &mut Program, quantities: [Quantity; 3]| {
            upstream.iter().zip(quantities).map(|(v, q)| v.and_then(|_| loaded.quantity(p, q))).collect::<Vec<_>>()
        };
        let through = |p: &mut Program, derivatives: &[Option<Value>]| {
            let pairs = upstream.iter().zip(derivatives);
            let terms: Vec<Value> = pairs.filter_map(|(&v, &by)| Some(local.times(p, v?, by?))).collect();
            sum(p, terms)
        };
        if dz_needed {
            let derivatives = met(&mut p, [Quantity::Slope, Quantity::SecondDerivative, Quantity::ThirdDerivative]);
            let mut values = dy.clone();
            if let [Some(slope), Some(curvature), _] = derivatives[..] {
                for value in &mut values[1..] {
                    *value = local.times(&mut p, *value, slope);
                }
                let slopes = form_slopes(&mut p, jet, &z);
                let bent = local.times(&mut p, dy[last], curvature);
                for (value, slope) in values[1..].iter_mut().zip(slopes) {
                    if let Some(slope) = slope {
                        let term = p.multiply(slope, bent);
                        *value = p.add(*value, term);
                    }
                }
            }
            if let Some(value) = through(&mut p, &derivatives) {
                values[0] = value;
            }
            if residual_before {
                of_residual.clone_from(&values);
            }
            if let Some((operand, want)) = dz {
                store_each(&mut p, operand, want, &values);
            }
            if db {
                p.reduce(Over::Rows, values[0]);
            }
        }
        if dalpha {
            let of_alpha = [Quantity::AlphaSlope, Quantity::MixedDerivative, Quantity::MixedThirdDerivative];
            let derivatives = met(&mut p, of_alpha);
            if let Some(term) = through(&mut p, &derivatives) {
                p.reduce(Over::Rows, term);
            }
        }
    } else {
        // dz is dy.
        if let Some((operand, want)) = dz {
            store_each(&mut p, operand, want, &dy);
        }
        if db {
            p.reduce(Over::Rows, dy[0]);
        }
    }
    store_each(&mut p, Operand::Dresidual, dresidual, &of_residual);
    p
}
