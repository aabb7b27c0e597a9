//! The double backward of the reference against differences of its backward: of S = ⟨ddx, dx⟩ + ⟨ddW, dW⟩ + ⟨ddb, db⟩ + ⟨ddα, dα⟩ the
//! derivatives by x, W, b, α and dy.

use elbow::{
    Activation, AlphaSource, Error, Jet, ResidualAt, WeightLayout,
    cpu::reference::{self, BackwardInputs, ReturningInputs},
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest, Gradients, Returning, SecondGradients},
};
use proptest::prelude::*;

use crate::common::{Numbers, check, defaults};

/// x, W, b, α, the residual and dy, one behind the other.
struct Point {
    request: AffineRequest,
    parts: [Vec<f32>; 6],
}

impl Point {
    fn inputs(&self) -> BackwardInputs<'_> {
        let [x, w, b, alpha, residual, dy] = &self.parts;
        let AffineRequest { bias, alpha: source, residual: at, .. } = self.request;
        BackwardInputs::new(x, w, dy)
            .b(bias.then_some(&b[..]))
            .alpha((source != AlphaSource::Constant).then_some(&alpha[..]))
            .residual(at.map(|_| &residual[..]))
    }

    /// S, with part `part` moved by h along the direction.
    fn sum(&self, returning: &[Vec<f32>; 5], part: usize, direction: &[f32], h: f64) -> f64 {
        let mut parts = self.parts.clone();
        // Few bits on both sides: exact in f32.
        parts[part].iter_mut().zip(direction).for_each(|(v, d)| *v += (h * f64::from(*d)) as f32);
        let moved = Point { request: self.request, parts };
        let request = BackwardRequest::new(self.request, Gradients::default());
        let out = reference::backward(&request, moved.inputs()).unwrap();
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
        let residual =
            if self.request.residual == Some(ResidualAt::BeforeActivation) { &returning[4][..] } else { &[] };
        let alpha = if self.request.alpha == AlphaSource::Constant { &[][..] } else { &returning[3] };
        dot(&out.dx.value, &returning[0])
            + dot(&out.dw.value, &returning[1])
            + dot(&out.db.value, &returning[2])
            + dot(&out.dalpha.value, alpha)
            + dot(&out.dresidual.value, residual)
    }
}

/// ∂S/∂h at 0 by central differences at three steps, extrapolated.
fn derivative(f: impl Fn(f64) -> f64) -> f64 {
    let at = |h: f64| (f(h) - f(-h)) / (2.0 * h);
    let [a, b, c] = [1.0, 2.0, 4.0].map(|part| at(2f64.powi(-5) / part));
    let [d, e] = [(4.0 * b - a) / 3.0, (4.0 * c - b) / 3.0];
    (16.0 * e - d) / 15.0
}

#[test]
fn every_second_derivative_is_the_difference_of_first_ones() {
    let smooth: Vec<Activation> = defaults().filter(|a| a.kinks().is_empty() && !a.is_piecewise()).collect();
    let learnable = smooth.iter().filter(|a| a.has_alpha()).count();
    assert!(smooth.len() >= 8 && learnable >= 3, "{smooth:?}");
    let property = |(activation, [bias, in_out], alpha, residual, seed): (Activation, [bool; 2], usize, usize, u64)| {
        let mut numbers = Numbers(seed);
        let sources = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel];
        let alpha = if activation.has_alpha() { sources[alpha] } else { AlphaSource::Constant };
        let places = [None, Some(ResidualAt::AfterActivation), Some(ResidualAt::BeforeActivation)];
        let (m, n, k) = (3, 4, 2);
        let request = AffineRequest::new(m, n, k, activation)
            .bias(bias)
            .alpha(alpha)
            .layout(if in_out { WeightLayout::InOut } else { WeightLayout::OutIn })
            .residual(places[residual]);
        let alphas = if alpha == AlphaSource::PerChannel { n } else { 1 };
        let lengths = [m * k, n * k, n, alphas, m * n, m * n];
        let mut parts = lengths.map(|length| numbers.dyadic(length));
        parts[3].iter_mut().for_each(|alpha| *alpha = alpha.abs() + 0.5);
        let returning = [m * k, n * k, n, alphas, m * n].map(|length| numbers.dyadic(length));
        let point = Point { request, parts };

        let learns = alpha != AlphaSource::Constant;
        let before = residual == 2;
        let there = Returning::default().x(true).w(true).b(true).alpha(learns).residual(before);
        let second = DoubleBackwardRequest::new(request, there, SecondGradients::default());
        let inputs = ReturningInputs::default()
            .ddx(Some(&returning[0]))
            .ddw(Some(&returning[1]))
            .ddb(Some(&returning[2]))
            .ddalpha(learns.then_some(&returning[3][..]))
            .ddresidual(before.then_some(&returning[4][..]));
        let out = reference::double_backward(&second, point.inputs(), inputs).unwrap();
        let by_part = [
            (0, &out.dx2, true),
            (1, &out.dw2, true),
            (2, &out.db2, bias),
            (3, &out.dalpha2, learns),
            (4, &out.dz2, before),
            (5, &out.ddy, true),
        ];
        for (part, gradient, there) in by_part.into_iter().filter(|(.., there)| *there) {
            prop_assert_eq!(gradient.value.len(), lengths[part]);
            // Powers of two: a step along them is exact.
            let direction: Vec<f32> =
                numbers.dyadic(lengths[part]).iter().map(|v| if *v > 0.3 { 0.5 } else { -0.25 }).collect();
            let estimate = derivative(|h| point.sum(&returning, part, &direction, h));
            let dot: f64 = gradient.value.iter().zip(&direction).map(|(g, d)| g * f64::from(*d)).sum();
            let size: f64 = gradient.terms.iter().zip(&direction).map(|(g, d)| g * f64::from(d.abs())).sum();
            prop_assert!(
                there && (dot - estimate).abs() <= 2e-5 * (size + 1.0),
                "part {part} of {activation}: {dot}, by differences {estimate}, of terms {size}"
            );
        }
        Ok(())
    };
    let any = (prop::sample::select(smooth), any::<[bool; 2]>(), 0..3usize, 0..3usize, any::<u64>());
    check(400, &any, property).unwrap();
}

/// What a double backward does not have is refused, not computed as if it were not there.
#[test]
fn jets_and_row_weights_are_refused() {
    let layer = AffineRequest::new(4, 1, 2, Activation::TANH).bias(false);
    let (x, w, dy) = ([1.0; 8], [1.0; 2], [1.0; 4]);
    for layer in [layer.jet(Jet::laplacian(2).unwrap()), layer.row_weight(true)] {
        let request = DoubleBackwardRequest::new(layer, Returning::default(), SecondGradients::default());
        let inputs = BackwardInputs::new(&x, &w, &dy).row_weight(layer.row_weight.then_some(&[1.0; 4][..]));
        let result = reference::double_backward(&request, inputs, ReturningInputs::default());
        assert!(matches!(result, Err(Error::Unsupported { .. })), "{result:?}");
    }
}
