//! The double backward: wrong operands are named and nothing is written; the same bits on any number of threads; shapes beyond one block.
//! Random requests: tests/cpu_properties of elbow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Activation, AlphaSource, Operand, ResidualAt, Saved, Want, WeightLayout,
    cpu::reference::{self, BackwardInputs, ReturningInputs},
    error::Error,
    request::{AffineRequest, DoubleBackwardRequest, Returning, SecondGradients},
};
use elbow_cpu::{DoubleBackwardInputs, DoubleBackwardOutputs, SavedIn, Workspace};

/// Deterministic numbers in [-1, 1).
fn numbers(seed: usize, length: usize) -> Vec<f32> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32) / (1u32 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

/// A layer with a residual before the activation, everything that can come back, and all operands.
struct Case {
    request: DoubleBackwardRequest,
    operands: [Vec<f32>; 11],
    z: Vec<f32>,
}

/// What is written for dy, x, W, b, α and the residual.
type Results = [Vec<f32>; 6];

impl Case {
    fn new([m, n, k]: [usize; 3], activation: Activation, alpha: AlphaSource, layout: WeightLayout) -> Self {
        let learns = alpha != AlphaSource::Constant;
        let layer = AffineRequest::new(m, n, k, activation).alpha(alpha).layout(layout).saved(Saved::Z);
        let layer = layer.residual(ResidualAt::BeforeActivation);
        let returning = Returning::default().x(true).w(true).b(true).alpha(learns).residual(true);
        let (all, of_alpha) = (Want::Overwrite, if learns { Want::Overwrite } else { Want::No });
        let wants = SecondGradients::default().dy(all).x(all).w(all).b(all).alpha(of_alpha).residual(all);
        let alphas = if alpha == AlphaSource::PerChannel { n } else { 1 };
        let lengths = [m * k, n * k, n, alphas, m * n, m * n, m * k, n * k, n, alphas, m * n];
        let mut operands: [Vec<f32>; 11] = std::array::from_fn(|i| numbers(i, lengths[i]));
        operands[3].iter_mut().for_each(|alpha| *alpha = alpha.abs() + 0.5);
        Case { request: DoubleBackwardRequest::new(layer, returning, wants), operands, z: numbers(99, m * n) }
    }

    fn inputs(&self) -> DoubleBackwardInputs<'_> {
        let [x, w, b, alpha, residual, dy, ddx, ddw, ddb, ddalpha, ddresidual] = self.operands.each_ref();
        let learns = self.request.returning.alpha;
        DoubleBackwardInputs {
            x,
            w,
            b: Some(b),
            alpha: learns.then_some(alpha),
            residual: Some(residual),
            dy,
            saved: SavedIn::Z(&self.z),
            ddx: Some(ddx),
            ddw: Some(ddw),
            ddb: Some(ddb),
            ddalpha: learns.then_some(ddalpha),
            ddresidual: Some(ddresidual),
        }
    }

    fn start(&self) -> Results {
        let AffineRequest { m, n, k, .. } = self.request.affine;
        [m * n, m * k, n * k, n, self.operands[3].len(), m * n].map(|length| vec![7.0; length])
    }

    fn exact(&self) -> [reference::Gradient; 6] {
        let DoubleBackwardInputs { x, w, b, alpha, residual, dy, ddx, ddw, ddb, ddalpha, ddresidual, .. } =
            self.inputs();
        let inputs = BackwardInputs::new(x, w, dy).b(b).alpha(alpha).residual(residual).z(Some(&self.z));
        let returning = ReturningInputs::default().ddx(ddx).ddw(ddw).ddb(ddb).ddalpha(ddalpha).ddresidual(ddresidual);
        let out = reference::double_backward(&self.request, inputs, returning).unwrap();
        [out.ddy, out.dx2, out.dw2, out.db2, out.dalpha2, out.dz2]
    }
}

fn outputs(results: &mut Results) -> DoubleBackwardOutputs<'_> {
    let [ddy, dx2, dw2, db2, dalpha2, dresidual2] = results.each_mut().map(|result| Some(&mut result[..]));
    DoubleBackwardOutputs { ddy, dx2, dw2, db2, dalpha2, dresidual2 }
}

fn swish() -> Activation {
    Activation::swish(1.5).unwrap()
}

#[test]
fn beyond_one_span_and_one_block() {
    let mut workspace = Workspace::new();
    for [m, n, k] in [[3, 1500, 70], [70, 1030, 65], [300, 65, 129], [1025, 3, 33], [5000, 1, 2], [4096, 40, 1]] {
        for (activation, alpha) in [
            (Activation::GELU_TANH, AlphaSource::Constant),
            (swish(), AlphaSource::PerLayer),
            (swish(), AlphaSource::PerChannel),
        ] {
            for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
                let case = Case::new([m, n, k], activation, alpha, layout);
                let mut got = case.start();
                elbow_cpu::double_backward(&case.request, case.inputs(), outputs(&mut got), &mut workspace).unwrap();
                let exact = case.exact();
                let wanted = if case.request.returning.alpha { 6 } else { 4 };
                for i in [0, 1, 2, 3, 5, 4].into_iter().take(wanted) {
                    for (j, &got) in got[i].iter().enumerate() {
                        // ż is rounded, and has up to a hundred terms below 2.
                        let bound = 4e-6 * (exact[i].terms[j] + 4.0 * (k as f64).sqrt());
                        let error = (f64::from(got) - exact[i].value[j]).abs();
                        assert!(error <= bound, "{activation} {alpha:?} {m}×{n}×{k}, result {i}[{j}]: off by {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn same_bits_again_and_on_one_thread() {
    let case = Case::new([150, 70, 90], swish(), AlphaSource::PerChannel, WeightLayout::OutIn);
    let run = || {
        let mut got = case.start();
        elbow_cpu::double_backward(&case.request, case.inputs(), outputs(&mut got), &mut Workspace::new()).unwrap();
        let [ddy, _, _, db2, dalpha2, dresidual2] = got;
        [ddy, db2, dalpha2, dresidual2].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first, run());
    for threads in [1, 3, 16] {
        let pool = elbow_cpu::rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(first, pool.install(run), "{threads} threads");
    }
}

/// Every operand that is too short, missing, or one too many.
#[test]
fn wrong_operands_are_named() {
    let case = Case::new([2, 3, 4], swish(), AlphaSource::PerChannel, WeightLayout::OutIn);
    let named = |request: &DoubleBackwardRequest, inputs: DoubleBackwardInputs<'_>| {
        let mut got = case.start();
        let result = elbow_cpu::double_backward(request, inputs, outputs(&mut got), &mut Workspace::new());
        assert_eq!(got, case.start(), "something was written");
        match result {
            Err(Error::Shape { operand, .. } | Error::Operand { operand, .. }) => operand,
            other => panic!("{other:?}"),
        }
    };
    let right = case.inputs();
    let again = DoubleBackwardInputs { saved: SavedIn::None, ..right };
    fn cut(values: Option<&[f32]>) -> Option<&[f32]> {
        values.map(|values| &values[1..])
    }
    for (operand, wrong) in [
        (Operand::X, DoubleBackwardInputs { x: &right.x[1..], ..right }),
        (Operand::W, DoubleBackwardInputs { w: &right.w[1..], ..right }),
        (Operand::Dy, DoubleBackwardInputs { dy: &right.dy[1..], ..right }),
        (Operand::Saved, DoubleBackwardInputs { saved: SavedIn::Z(&case.z[1..]), ..right }),
        (Operand::Alpha, DoubleBackwardInputs { alpha: cut(right.alpha), ..right }),
        (Operand::Alpha, DoubleBackwardInputs { alpha: None, ..right }),
        (Operand::B, DoubleBackwardInputs { b: cut(right.b), ..again }),
        (Operand::B, DoubleBackwardInputs { b: None, ..again }),
        (Operand::Residual, DoubleBackwardInputs { residual: cut(right.residual), ..again }),
        (Operand::Residual, DoubleBackwardInputs { residual: None, ..again }),
        (Operand::Ddx, DoubleBackwardInputs { ddx: cut(right.ddx), ..right }),
        (Operand::Ddx, DoubleBackwardInputs { ddx: None, ..right }),
        (Operand::Ddw, DoubleBackwardInputs { ddw: cut(right.ddw), ..right }),
        (Operand::Ddw, DoubleBackwardInputs { ddw: None, ..right }),
        (Operand::Ddb, DoubleBackwardInputs { ddb: cut(right.ddb), ..right }),
        (Operand::Ddb, DoubleBackwardInputs { ddb: None, ..right }),
        (Operand::Ddalpha, DoubleBackwardInputs { ddalpha: cut(right.ddalpha), ..right }),
        (Operand::Ddalpha, DoubleBackwardInputs { ddalpha: None, ..right }),
        (Operand::Ddresidual, DoubleBackwardInputs { ddresidual: cut(right.ddresidual), ..right }),
        (Operand::Ddresidual, DoubleBackwardInputs { ddresidual: None, ..right }),
    ] {
        assert_eq!(named(&case.request, wrong), operand, "{wrong:?}");
    }

    let layer = case.request.affine;
    let without = |returning| case.request.returning(returning);
    let returning = case.request.returning;
    assert_eq!(named(&without(returning.x(false)), right), Operand::Ddx);
    assert_eq!(named(&without(returning.residual(false)), right), Operand::Ddresidual);
    assert_eq!(named(&case.request.affine(layer.alpha(AlphaSource::Constant)), right), Operand::Dalpha2);
    assert_eq!(named(&case.request.affine(layer.residual(None)), right), Operand::Ddresidual);

    let operands = [Operand::Ddy, Operand::Dx2, Operand::Dw2, Operand::Db2, Operand::Dalpha2, Operand::Dresidual2];
    for (i, expected) in operands.into_iter().enumerate() {
        for missing in [false, true] {
            let mut got = case.start();
            got[i].pop();
            let before = got.clone();
            let mut outputs = outputs(&mut got);
            let fields = [
                &mut outputs.ddy,
                &mut outputs.dx2,
                &mut outputs.dw2,
                &mut outputs.db2,
                &mut outputs.dalpha2,
                &mut outputs.dresidual2,
            ];
            if missing {
                fields.into_iter().nth(i).unwrap().take();
            }
            match elbow_cpu::double_backward(&case.request, right, outputs, &mut Workspace::new()) {
                Err(Error::Shape { operand, .. } | Error::Operand { operand, .. }) => assert_eq!(operand, expected),
                other => panic!("{other:?}"),
            }
            assert_eq!(got, before, "something was written");
        }
    }
}

/// y and the mask do not tell the second derivative of a curve.
#[test]
fn what_was_kept_must_be_enough() {
    let case = Case::new([2, 3, 4], Activation::GELU_TANH, AlphaSource::Constant, WeightLayout::OutIn);
    for saved in [SavedIn::Y(&case.z), SavedIn::Mask(&[0; 2])] {
        let mut got = case.start();
        let inputs = DoubleBackwardInputs { saved, ..case.inputs() };
        assert!(elbow_cpu::double_backward(&case.request, inputs, outputs(&mut got), &mut Workspace::new()).is_err());
        assert_eq!(got, case.start(), "something was written");
    }
}
