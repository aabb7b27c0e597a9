//! The double backward of the CPU baseline against that of the reference on random requests: any activation at its defaults, α, layout, bias,
//! residual, saved choice that is enough, what comes back, and gradients wanted, overwritten or accumulated each by itself.
//!
//! What is allowed is computed for each element: the tolerances of the row and the rounding of ż, carried through the formulas.

use elbow::{
    Activation, AlphaSource, Operand, ResidualAt, Saved, Want, WeightLayout,
    activation::Quantity,
    cpu::reference::{self, BackwardInputs, ReturningInputs},
    request::{AffineRequest, DoubleBackwardRequest, Returning, SecondGradients},
};
use elbow_cpu::{
    DoubleBackwardInputs, DoubleBackwardOutputs, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace,
};
use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::TestCaseResult,
};

use crate::common::{Numbers, check, defaults, size, ulp};

const EPS: f64 = 1.0 / (1u64 << 24) as f64;
/// What a gradient that is accumulated starts from.
const START: f32 = 3.0;

#[derive(Debug, Clone)]
struct Given {
    shape: [usize; 3],
    activation: Activation,
    source: AlphaSource,
    in_out: bool,
    bias: bool,
    residual: Option<ResidualAt>,
    /// To dx, dW, db, dα and the residual's gradient.
    returning: [bool; 5],
    /// For dy, x, W, b, α and the residual.
    wants: [Want; 6],
    /// Which of the choices that are enough.
    saved: Index,
    /// Whether operands that are not read are empty.
    bare: bool,
    seed: u64,
}

fn requests() -> impl Strategy<Value = Given> {
    let size = || prop_oneof![1 => Just(0usize), 6 => 1..9usize, 3 => 9..70usize];
    let source = select(vec![AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel]);
    let want = select(vec![Want::No, Want::Overwrite, Want::Accumulate]);
    let residual = select(vec![None, Some(ResidualAt::AfterActivation), Some(ResidualAt::BeforeActivation)]);
    let layer = (select(defaults().collect::<Vec<_>>()), source, residual);
    let choices = (any::<[bool; 3]>(), any::<[bool; 5]>(), proptest::array::uniform6(want), any::<Index>());
    ((size(), size(), size()), layer, choices, any::<u64>()).prop_map(
        |((m, n, k), (activation, source, residual), ([in_out, bias, bare], returning, wants, saved), seed)| {
            let shape = [m, n, k];
            let source = if activation.has_alpha() { source } else { AlphaSource::Constant };
            Given { shape, activation, source, in_out, bias, residual, returning, wants, saved, bare, seed }
        },
    )
}

/// A request that the layer can be asked, with its operands.
struct Case {
    request: DoubleBackwardRequest,
    saved: Saved,
    bare: bool,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    alpha: Vec<f32>,
    residual: Vec<f32>,
    dy: Vec<f32>,
    returning: [Vec<f32>; 5],
}

/// z, y and the mask.
struct Kept {
    z: Vec<f32>,
    y: Vec<f32>,
    mask: Vec<u32>,
}

impl Case {
    fn new(given: Given) -> Self {
        let Given { shape: [m, n, k], activation, source, .. } = given;
        let affine = AffineRequest::new(m, n, k, activation)
            .layout(if given.in_out { WeightLayout::InOut } else { WeightLayout::OutIn })
            .alpha(source)
            .bias(given.bias)
            .residual(given.residual);
        let learns = source != AlphaSource::Constant;
        let before = given.residual == Some(ResidualAt::BeforeActivation);
        let [to_x, to_w, to_b, to_alpha, to_residual] = given.returning;
        let returning = Returning::default().x(to_x).w(to_w).b(to_b);
        let returning = returning.alpha(to_alpha && learns).residual(to_residual && before);
        let [dy, x, w, b, alpha, residual] = given.wants;
        let only_if = |possible: bool, want: Want| if possible { want } else { Want::No };
        let gradients = SecondGradients::default().dy(dy).x(x).w(w).b(b);
        let gradients = gradients.alpha(only_if(learns, alpha)).residual(only_if(before, residual));
        let request = DoubleBackwardRequest::new(affine, returning, gradients);
        let enough = |saved: &Saved| request.affine(affine.saved(*saved)).resolve().is_ok();
        let enough: Vec<Saved> = [Saved::Z, Saved::Y, Saved::Mask, Saved::None].into_iter().filter(enough).collect();
        let mut numbers = Numbers(given.seed);
        let alphas = if source == AlphaSource::PerChannel { n } else { 1 };
        let alpha = (0..alphas).map(|i| activation.params()[0] * (1.0 + (i % 5) as f32 / 8.0)).collect();
        let [x, w, b, residual, dy] = [m * k, n * k, n, m * n, m * n].map(|length| numbers.vec(length));
        let returning = [m * k, n * k, n, alphas, m * n].map(|length| numbers.vec(length));
        let saved = *given.saved.get(&enough);
        Case { request, saved, bare: given.bare, x, w, b, alpha, residual, dy, returning }
    }

    fn bias(&self) -> Option<&[f32]> {
        self.request.affine.bias.then_some(&self.b)
    }

    fn alpha(&self) -> Option<&[f32]> {
        (self.request.affine.alpha != AlphaSource::Constant).then_some(&self.alpha)
    }

    fn residual(&self) -> Option<&[f32]> {
        self.request.affine.residual.map(|_| &self.residual[..])
    }

    fn returning(&self) -> [Option<&[f32]>; 5] {
        let Returning { x, w, b, alpha, residual, .. } = self.request.returning;
        let there = [x, w, b, alpha, residual];
        std::array::from_fn(|i| there[i].then_some(&self.returning[i][..]))
    }

    /// The activation with the α of one channel.
    fn at(&self, channel: usize) -> Activation {
        let activation = self.request.affine.activation;
        match self.request.affine.alpha {
            AlphaSource::Constant => activation,
            AlphaSource::PerLayer => activation.with_alpha(self.alpha[0]),
            AlphaSource::PerChannel => activation.with_alpha(self.alpha[channel]),
        }
    }

    fn forward(&self) -> Kept {
        let AffineRequest { m, n, activation, .. } = self.request.affine;
        let inputs = ForwardInputs::new(&self.x, &self.w).b(self.bias()).alpha(self.alpha()).residual(self.residual());
        let [mut z, mut y] = [(); 2].map(|()| vec![f32::NAN; m * n]);
        let mut mask = vec![0; m * n.div_ceil(32)];
        if activation.row().from_bit {
            let outputs = ForwardOutputs { y: &mut y, saved: SavedOut::Mask(&mut mask), ..Default::default() };
            elbow_cpu::forward(&self.request.affine, inputs, outputs).unwrap();
        }
        let outputs = ForwardOutputs { y: &mut y, saved: SavedOut::Z(&mut z), ..Default::default() };
        elbow_cpu::forward(&self.request.affine, inputs, outputs).unwrap();
        Kept { z, y, mask }
    }

    fn by_reference(&self, kept: &Kept) -> reference::DoubleBackwardOutputs {
        let inputs =
            BackwardInputs::new(&self.x, &self.w, &self.dy).b(self.bias()).alpha(self.alpha()).z(Some(&kept.z));
        let [ddx, ddw, ddb, ddalpha, ddresidual] = self.returning();
        let returning = ReturningInputs::default().ddx(ddx).ddw(ddw).ddb(ddb).ddalpha(ddalpha).ddresidual(ddresidual);
        reference::double_backward(&self.request, inputs, returning).unwrap()
    }

    /// What the baseline writes for dy, x, W, b, α and the residual, or leaves alone.
    fn by_baseline(&self, kept: &Kept) -> [Vec<f32>; 6] {
        let AffineRequest { m, n, k, .. } = self.request.affine;
        let lengths = [m * n, m * k, n * k, n, self.alpha.len(), m * n];
        let wants = self.wants();
        let mut results: [Vec<f32>; 6] =
            std::array::from_fn(|i| vec![if wants[i] == Want::Accumulate { START } else { f32::NAN }; lengths[i]]);
        let reads = self.request.affine(self.request.affine.saved(self.saved)).resolve().unwrap();
        let given =
            |operand, values: &'_ [f32]| -> usize { if self.bare && !reads.reads(operand) { 0 } else { values.len() } };
        let [ddx, ddw, ddb, ddalpha, ddresidual] = self.returning();
        let inputs = DoubleBackwardInputs {
            x: &self.x[..given(Operand::X, &self.x)],
            w: &self.w[..given(Operand::W, &self.w)],
            b: self.bias(),
            alpha: self.alpha(),
            residual: self.residual(),
            dy: &self.dy[..given(Operand::Dy, &self.dy)],
            saved: match self.saved {
                Saved::Z => SavedIn::Z(&kept.z[..given(Operand::Saved, &kept.z)]),
                Saved::Y => SavedIn::Y(&kept.y[..given(Operand::Saved, &kept.y)]),
                Saved::Mask => SavedIn::Mask(&kept.mask),
                Saved::Auto | Saved::None => SavedIn::None,
            },
            ddx,
            ddw,
            ddb,
            ddalpha,
            ddresidual,
        };
        let [ddy, dx2, dw2, db2, dalpha2, dresidual2] = results.each_mut().map(|result| Some(&mut result[..]));
        let outputs = DoubleBackwardOutputs { ddy, dx2, dw2, db2, dalpha2, dresidual2 };
        elbow_cpu::double_backward(&self.request, inputs, outputs, &mut Workspace::new()).unwrap();
        results
    }

    fn wants(&self) -> [Want; 6] {
        let SecondGradients { dy, x, w, b, alpha, residual, .. } = self.request.gradients;
        [dy, x, w, b, alpha, residual]
    }

    /// How far each element of each result may be off but for the rounding of its last sum.
    fn allowed(&self, kept: &Kept, exact: &reference::DoubleBackwardOutputs) -> [Vec<f64>; 6] {
        let AffineRequest { m, n, k, layout, .. } = self.request.affine;
        let [ddx, ddw, _, ddalpha, _] = self.returning();
        let number = |of: Option<&[f32]>, i: usize| of.map_or(0.0, |of| f64::from(of[i].abs()));
        let of_alphas = self.alpha.len();
        let mut off = [m * n, m * k, n * k, n, of_alphas, m * n].map(|length| vec![0.0; length]);
        for i in 0..m * n {
            let (row, channel) = (i / n, i % n);
            let activation = self.at(channel);
            let (z, dy) = (f64::from(kept.z[i]), f64::from(self.dy[i].abs()));
            let at = |quantity| {
                let tolerance = activation.row().tolerance(quantity) + 1.0;
                let value = activation.evaluate(quantity, z).abs();
                // From y the slope is found with the f64 mathematics of y, which is rounded.
                let of_y = if self.saved == Saved::Y { 64.0 * EPS * value } else { 0.0 };
                (value, tolerance * ulp(size(&activation, quantity, z)) + of_y)
            };
            let moved = (exact.tangent.value[i].abs(), 8.0 * EPS * exact.tangent.terms[i] + 1e-44);
            let of_alpha = (number(ddalpha, if of_alphas == 1 { 0 } else { channel }), 0.0);
            let times = |a: (f64, f64), b: (f64, f64)| a.0 * b.1 + a.1 * b.0 + a.1 * b.1;
            // Quantities by α are there only where α is learnable.
            let by_alpha = |a, quantity| if self.alpha().is_some() { times(a, at(quantity)) } else { 0.0 };
            let ddy = times(moved, at(Quantity::Slope)) + by_alpha(of_alpha, Quantity::AlphaSlope);
            let bent = times(moved, at(Quantity::SecondDerivative)) + by_alpha(of_alpha, Quantity::MixedDerivative);
            let dz2 = dy * bent + 4.0 * EPS * exact.dz2.terms[i];
            let dz = dy * at(Quantity::Slope).1;
            off[0][i] = ddy;
            off[5][i] = dz2;
            off[3][channel] += dz2;
            off[4][i % of_alphas] +=
                dy * (by_alpha(moved, Quantity::MixedDerivative) + by_alpha(of_alpha, Quantity::SecondAlphaDerivative));
            for feature in 0..k {
                let of_x = row * k + feature;
                let of_w = if layout == WeightLayout::OutIn { channel * k + feature } else { feature * n + channel };
                off[1][of_x] += dz2 * f64::from(self.w[of_w].abs()) + dz * number(ddw, of_w);
                off[2][of_w] += dz2 * f64::from(self.x[of_x].abs()) + dz * number(ddx, of_x);
            }
        }
        off
    }
}

/// One gradient: what is allowed is `off`, and the rounding of a sum of its terms.
fn agrees(name: &str, got: &[f32], want: Want, exact: &reference::Gradient, off: &[f64]) -> TestCaseResult {
    for (i, &got) in got.iter().enumerate() {
        let start = match want {
            Want::No => {
                prop_assert!(got.is_nan(), "{name}[{i}] was not wanted, and is {got}");
                continue;
            }
            Want::Overwrite => 0.0,
            Want::Accumulate => f64::from(START),
        };
        let allowed = off[i] + EPS * 8.0 * (exact.terms[i] + start) + 1e-44;
        let expected = exact.value[i] + start;
        let wrong = (f64::from(got) - expected).abs();
        prop_assert!(wrong <= allowed, "{name}[{i}] is {got:e}, not {expected:e} ± {allowed:e}");
    }
    Ok(())
}

#[test]
fn random_requests() {
    let property = |given| {
        let case = Case::new(given);
        let kept = case.forward();
        let (got, exact) = (case.by_baseline(&kept), case.by_reference(&kept));
        let off = case.allowed(&kept, &exact);
        let exact = [&exact.ddy, &exact.dx2, &exact.dw2, &exact.db2, &exact.dalpha2, &exact.dz2];
        let names = ["ddy", "dx2", "dw2", "db2", "dalpha2", "dresidual2"];
        for (i, want) in case.wants().into_iter().enumerate() {
            agrees(names[i], &got[i], want, exact[i], &off[i])?;
        }
        Ok(())
    };
    check(6_000, &requests(), property).unwrap();
}

/// Where a derivative of an activation made of pieces is 0, it stops what is infinite, and not what is NaN: as in the reference.
#[test]
fn an_infinite_gradient_is_stopped() {
    const Z: [f32; 4] = [-7.0, -0.25, 0.25, 7.0];
    let upstream = [0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for activation in defaults().filter(Activation::is_piecewise) {
        let learns = activation.has_alpha();
        let source = if learns { AlphaSource::PerLayer } else { AlphaSource::Constant };
        let layer = AffineRequest::new(1, Z.len(), 1, activation).alpha(source).residual(ResidualAt::BeforeActivation);
        let wants = SecondGradients::default().dy(Want::Overwrite).b(Want::Overwrite).residual(Want::Overwrite);
        let request = DoubleBackwardRequest::new(layer, Returning::default().b(true), wants);
        let alpha = [activation.params()[0]];
        let alpha = learns.then_some(&alpha[..]);
        for dy in upstream.map(|dy| [dy; Z.len()]) {
            for ddb in upstream.map(|ddb| [ddb; Z.len()]) {
                let judge =
                    BackwardInputs::new(&[0.0], &[0.0; Z.len()], &dy).b(Some(&[0.0; Z.len()])).alpha(alpha).z(Some(&Z));
                let returning = ReturningInputs::default().ddb(Some(&ddb));
                let exact = reference::double_backward(&request, judge, returning).unwrap();
                let [mut ddy, mut db2, mut dresidual2] = [[7.0; Z.len()]; 3];
                let inputs = DoubleBackwardInputs {
                    alpha,
                    dy: &dy,
                    saved: SavedIn::Z(&Z),
                    ddb: Some(&ddb),
                    ..Default::default()
                };
                let outputs = DoubleBackwardOutputs {
                    ddy: Some(&mut ddy),
                    db2: Some(&mut db2),
                    dresidual2: Some(&mut dresidual2),
                    ..Default::default()
                };
                elbow_cpu::double_backward(&request, inputs, outputs, &mut Workspace::new()).unwrap();
                // Without a second derivative there is nothing that could be NaN.
                let curved = |v: f64| if activation.is_flat() || activation.needs_nothing() { 0.0 } else { v };
                for i in 0..Z.len() {
                    let same = |got: f32, exact: f64| {
                        let close = (f64::from(got) - exact).abs() <= 1e-6 * exact.abs();
                        close || got == exact as f32 || (got.is_nan() && exact.is_nan())
                    };
                    assert!(same(ddy[i], exact.ddy.value[i]), "{activation} at {}: ddy {}", Z[i], ddy[i]);
                    let dz2 = curved(exact.dz2.value[i]);
                    assert!(same(db2[i], dz2) && same(dresidual2[i], dz2), "{activation} at {}: not {dz2}", Z[i]);
                }
            }
        }
    }
}
