//! The program of a double backward: what it computes for an element of z.

use super::{Local, Program, Quantity, alpha, finished, store};
use crate::{
    operand::Operand,
    program::{By, Over, Value, Write},
    request::{Returning, SecondGradients, Want},
};

/// Adds what comes back to db and to the gradient of a residual before the activation: a part of the change of z.
fn added(p: &mut Program, products: Option<Value>, returning: &Returning) -> Option<Value> {
    let b = returning.b.then(|| p.load(Operand::Ddb, By::Column));
    let residual = returning.residual.then(|| p.load(Operand::Ddresidual, By::Element));
    [products, b, residual].into_iter().flatten().reduce(|sum, term| p.add(sum, term))
}

/// The change of z: ddx·Wᵀ + x·ddWᵀ (+ ddb) (+ ddresidual).
pub(in super::super) fn tangent(returning: &Returning, around: Option<Operand>) -> Program {
    let mut p = Program::default();
    let products = finished(&mut p, around.as_slice());
    let tangent = added(&mut p, Some(products), returning).unwrap_or(products);
    store(&mut p, Operand::Dz2, Want::Overwrite, tangent);
    p
}

/// The change of z without products: ddb + ddresidual.
pub(in super::super) fn tangent_of_sums(returning: &Returning) -> Program {
    let mut p = Program::default();
    if let Some(tangent) = added(&mut p, None, returning) {
        store(&mut p, Operand::Dz2, Want::Overwrite, tangent);
    }
    p
}

/// Of a double backward the part between its products.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Second {
    pub(in super::super) local: Local,
    pub(in super::super) returning: Returning,
    pub(in super::super) gradients: SecondGradients,
    /// Whether the change of z is in memory; else it is ddb or ddresidual alone, if it is `needed`.
    pub(in super::super) tangent_in_memory: bool,
    pub(in super::super) tangent_needed: bool,
    /// Whether the gradient for z may be other than 0.
    pub(in super::super) bends: bool,
    /// Whether the gradient for z, and dz, are written to scratch memory.
    pub(in super::super) writes_dz2: bool,
    pub(in super::super) writes_dz: bool,
}

impl Second {
    /// With ż, the change of z, and α̇, what comes back to dα:
    ///
    /// ddy = ż ⊙ act'(z) + α̇ ∂act/∂α, dz2 = dy ⊙ (ż ⊙ act''(z) + α̇ ∂²act/∂z∂α), dz = dy ⊙ act'(z), and the terms of db2 = Σ dz2 and
    /// dα2 = Σ dy ⊙ (ż ⊙ ∂²act/∂z∂α + α̇ ∂²act/∂α²).
    pub(in super::super) fn program(&self) -> Program {
        let Second { local, returning, gradients: wants, .. } = *self;
        let mut p = Program::default();
        let tangent = match (self.tangent_needed, self.tangent_in_memory) {
            (false, _) => None,
            (true, true) => Some(p.load(Operand::Dz2, By::Element)),
            (true, false) => added(&mut p, None, &returning),
        };
        let alpha_moves = returning.alpha && (wants.dy.wanted() || wants.alpha.wanted() || wants.need_dz2());
        let of_alpha = if alpha_moves { alpha(&mut p, local.alpha, Operand::Ddalpha, local.channel) } else { None };
        let loaded = local.load(&mut p);
        // dy · Σ moved · derivative
        let sum = |p: &mut Program, dy: Value, terms: [(Option<Value>, Option<Value>); 2]| {
            let both = terms.into_iter().filter_map(|(moved, derivative)| moved.zip(derivative));
            let products: Vec<Value> =
                both.map(|(moved, derivative)| local.times_both(p, [moved, dy], derivative)).collect();
            match products.into_iter().reduce(|sum, term| p.add(sum, term)) {
                Some(sum) => sum,
                None => p.constant(0.0),
            }
        };
        if wants.dy.wanted() {
            let along_z = tangent.map(|tangent| loaded.dz(&mut p, tangent));
            let along_alpha = of_alpha.and_then(|moved| {
                let slope = loaded.quantity(&mut p, Quantity::AlphaSlope)?;
                Some(local.times(&mut p, moved, slope))
            });
            let ddy = [along_z, along_alpha].into_iter().flatten().reduce(|sum, term| p.add(sum, term));
            let ddy = ddy.unwrap_or_else(|| p.constant(0.0));
            store(&mut p, Operand::Ddy, wants.dy, ddy);
        }
        let moves = tangent.is_some() || of_alpha.is_some();
        let of_dz2 = self.writes_dz2 || wants.b.wanted();
        let dy_needed = self.writes_dz || (of_dz2 && self.bends) || (wants.alpha.wanted() && moves);
        let dy = dy_needed.then(|| p.load(Operand::Dy, By::Element));
        let mixed = |p: &mut Program, of: Option<Value>| of.and_then(|_| loaded.quantity(p, Quantity::MixedDerivative));
        if let (true, Some(dy)) = (self.writes_dz, dy) {
            let dz = loaded.dz(&mut p, dy);
            p.store(Operand::Dz, By::Element, Write::Overwrite, dz);
        }
        if of_dz2 {
            let dz2 = match dy.filter(|_| self.bends) {
                None => p.constant(0.0),
                Some(dy) => {
                    let curved = tangent.filter(|_| !local.activation.is_flat());
                    let second = curved.and_then(|_| loaded.quantity(&mut p, Quantity::SecondDerivative));
                    let by_alpha = mixed(&mut p, of_alpha);
                    sum(&mut p, dy, [(curved, second), (of_alpha, by_alpha)])
                }
            };
            if self.writes_dz2 {
                p.store(Operand::Dz2, By::Element, Write::Overwrite, dz2);
            }
            if wants.b.wanted() {
                p.reduce(Over::Rows, dz2);
            }
        }
        if wants.alpha.wanted() {
            let term = match dy.filter(|_| moves) {
                None => p.constant(0.0),
                Some(dy) => {
                    let by_z = mixed(&mut p, tangent);
                    let by_alpha = of_alpha.and_then(|_| loaded.quantity(&mut p, Quantity::SecondAlphaDerivative));
                    sum(&mut p, dy, [(tangent, by_z), (of_alpha, by_alpha)])
                }
            };
            p.reduce(Over::Rows, term);
        }
        p
    }
}

/// Stores the gradient for z as that of the residual, or 0.
pub(in super::super) fn dresidual2(bends: bool, want: Want) -> Program {
    let mut p = Program::default();
    let dz2 = if bends { p.load(Operand::Dz2, By::Element) } else { p.constant(0.0) };
    store(&mut p, Operand::Dresidual2, want, dz2);
    p
}

/// Stores 0.
pub(in super::super) fn zero(operand: Operand) -> Program {
    let mut p = Program::default();
    let zero = p.constant(0.0);
    store(&mut p, operand, Want::Overwrite, zero);
    p
}

/// Loads an element of two operands, one behind the other along the reduction.
pub(in super::super) fn joined(first: Operand, second: Operand) -> Program {
    let mut p = Program::default();
    p.load_joined(first, second);
    p
}
