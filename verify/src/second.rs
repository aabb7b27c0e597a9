//! The double backward of a case: its operands on the device, and the expected gradients with their bounds.

use elbow::{
    AlphaSource, Float, Gpu, Operand, Result, View, Want, WeightLayout,
    activation::Quantity,
    affine::{Forward, Gradient},
    cpu::reference::{self, ReturningInputs},
    request::{AffineRequest, DoubleBackwardRequest, ResidualAt, Returning, SecondGradients},
    wgpu,
};

use crate::{
    Numbers,
    batch::{Arena, Batch, Buffers, Rows, Span},
    bound::{self, Expected, FLUSHED, at_channel, sum_error, weight_shape},
    factors::{Factors, Units, weight_at},
    near::{Near, at},
    operands::Operands,
    spec::{Data, Spec, WANTS},
};

/// Which gradients come back to those of the layer, and which are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Second {
    /// What comes back.
    pub returning: Returning,
    /// What is wanted.
    pub gradients: SecondGradients,
}

/// The outputs of a double backward.
pub(crate) const OUTPUTS: [Operand; 6] =
    [Operand::Ddy, Operand::Dx2, Operand::Dw2, Operand::Db2, Operand::Dalpha2, Operand::Dresidual2];
const RETURNING: [Operand; 5] = [Operand::Ddx, Operand::Ddw, Operand::Ddb, Operand::Ddalpha, Operand::Ddresidual];

impl Second {
    /// A random one that fits the layer.
    pub(crate) fn any(numbers: &mut Numbers, layer: &AffineRequest) -> Self {
        let learnable = layer.alpha != AlphaSource::Constant;
        let residual = layer.residual == Some(ResidualAt::BeforeActivation);
        let mut there = |possible: bool| numbers.below(3) != 0 && possible;
        let returning = Returning::default().x(there(true)).w(there(true)).b(there(true));
        let returning = returning.alpha(there(learnable)).residual(there(residual));
        let mut want = |possible: bool| if possible { numbers.pick(&WANTS) } else { Want::No };
        let gradients = SecondGradients::default().dy(want(true)).x(want(true)).w(want(true)).b(want(true));
        Second { returning, gradients: gradients.alpha(want(learnable)).residual(want(residual)) }
    }

    pub(crate) fn request(&self, layer: &AffineRequest) -> DoubleBackwardRequest {
        DoubleBackwardRequest::new(*layer, self.returning, self.gradients)
    }

    /// Which gradients come back, in the order of [`RETURNING`].
    pub(crate) fn there(&self) -> [bool; 5] {
        let Returning { x, w, b, alpha, residual, .. } = self.returning;
        [x, w, b, alpha, residual]
    }

    /// Which gradients are wanted, in the order of [`OUTPUTS`].
    pub(crate) fn wants(&self) -> [Want; 6] {
        let SecondGradients { dy, x, w, b, alpha, residual, .. } = self.gradients;
        [dy, x, w, b, alpha, residual]
    }
}

/// The operands of the double backward of a case, and their places.
pub(crate) struct Call {
    second: Second,
    returning: [Vec<f32>; 5],
    pub(crate) before: [Vec<f32>; 6],
    returning_at: [Span; 5],
    pub(crate) outputs_at: [Span; 6],
}

impl Call {
    pub(crate) fn new(spec: &Spec, second: Second, batch: &mut Batch) -> Self {
        let AffineRequest { m, n, k, alpha, .. } = spec.forward;
        let alphas = if alpha == AlphaSource::PerChannel { n } else { 1 };
        let mut numbers = Numbers::new(spec.seed ^ 0x2d);
        let mut fill = |len: usize, reach: i32, dtype: Float| -> Vec<f32> {
            let one = |numbers: &mut Numbers| match spec.data {
                Data::Integers => numbers.integer(reach),
                _ => numbers.normal(),
            };
            (0..len).map(|_| dtype.round(one(&mut numbers))).collect()
        };
        let rows = |length| Rows { length, gap: spec.gap };
        let (of_x, of_y, of_w) = (rows(k), rows(n), rows(weight_shape(&spec.forward)[1]));
        let s = spec.misalign;
        let returning_like = [(m * k, of_x), (n * k, of_w), (n, Rows::ONE), (alphas, Rows::ONE), (m * n, of_y)];
        let mut given = |i: usize| {
            let length = if second.there()[i] { returning_like[i].0 } else { 0 };
            fill(length, 2, spec.stored(RETURNING[i]))
        };
        let returning: [Vec<f32>; 5] = std::array::from_fn(&mut given);
        let outputs_like =
            [(m * n, of_y), (m * k, of_x), (n * k, of_w), (n, Rows::ONE), (alphas, Rows::ONE), (m * n, of_y)];
        let before: [Vec<f32>; 6] = std::array::from_fn(|i| match second.wants()[i] {
            Want::Accumulate => fill(outputs_like[i].0, 8, spec.stored(OUTPUTS[i])),
            Want::Overwrite => vec![0.0; outputs_like[i].0],
            Want::No => Vec::new(),
        });
        let returning_at =
            std::array::from_fn(|i| batch.input(&returning[i], s, spec.stored(RETURNING[i]), returning_like[i].1));
        let outputs_at = std::array::from_fn(|i| {
            let (dtype, rows) = (spec.stored(OUTPUTS[i]), outputs_like[i].1);
            match second.wants()[i] {
                Want::Accumulate => batch.accumulated(&before[i], s, dtype, rows),
                _ => batch.output(Arena::Out, before[i].len(), s, dtype, rows),
            }
        });
        Call { second, returning, before, returning_at, outputs_at }
    }

    /// Records the double backward of the layer for dy.
    pub(crate) fn record(
        &self,
        gpu: &Gpu,
        layer: &Forward<'_>,
        dy: View<'_>,
        buffers: &Buffers,
        pass: &mut wgpu::ComputePass<'_>,
    ) -> Result<()> {
        let request = layer.request()?;
        let (xs, ys, ws) = ([request.m, request.k], [request.m, request.n], weight_shape(&request));
        let ns = [request.n];
        let alphas = [if request.alpha == AlphaSource::PerChannel { request.n } else { 1 }];
        let view = |i: usize, shape| self.second.there()[i].then(|| buffers.view(self.returning_at[i], shape));
        let gradient = |i: usize, shape| match self.second.wants()[i] {
            Want::No => None,
            Want::Overwrite => Some(Gradient::overwrite(buffers.view(self.outputs_at[i], shape))),
            Want::Accumulate => Some(Gradient::accumulate(buffers.view(self.outputs_at[i], shape))),
        };
        layer
            .double_backward(dy)
            .ddx(view(0, &xs))
            .ddw(view(1, &ws))
            .ddb(view(2, &ns))
            .ddalpha(view(3, &alphas))
            .ddresidual(view(4, &ys))
            .ddy(gradient(0, &ys))
            .dx2(gradient(1, &xs))
            .dw2(gradient(2, &ws))
            .db2(gradient(3, &ns))
            .dalpha2(gradient(4, &alphas))
            .dresidual2(gradient(5, &ys))
            .record(gpu, &mut *pass)
    }

    /// The expected outputs, in the order of [`OUTPUTS`]. `z` is the device's own, if it kept z.
    pub(crate) fn expected(
        &self,
        spec: &Spec,
        operands: &Operands,
        z: Option<&[f32]>,
        units: Units,
    ) -> Result<[Expected; 6]> {
        let layer = spec.forward;
        let AffineRequest { m, n, k, .. } = layer;
        let there = self.second.there();
        let given = |i: usize| there[i].then_some(&self.returning[i][..]);
        let returning =
            ReturningInputs::default().ddx(given(0)).ddw(given(1)).ddb(given(2)).ddalpha(given(3)).ddresidual(given(4));
        let judge = reference::double_backward(&self.second.request(&layer), operands.backward(spec, z), returning)?;
        let exact = reference::forward(&layer, operands.forward(&layer))?;
        let number = |i: usize, at: usize| self.returning[i].get(at).map_or(0.0, |&v| f64::from(v));
        let (x, w) = (|i: usize| f64::from(operands.x[i]), |i: usize| f64::from(operands.w[i]));
        let at_w = |n: usize, k: usize| weight_at(&layer, n, k);
        let of_z = Factors::of_z(&layer, operands, &exact.fronted);
        // Both products of a sum are one of twice the length.
        let of_tangent = Factors::new(
            [m, n, 2 * k],
            |m, r| if r < k { number(0, m * k + r) } else { x(m * k + r - k) },
            |n, r| if r < k { w(at_w(n, r)) } else { number(1, at_w(n, r - k)) },
        );
        let mut errors = Errors::default();
        for (i, (&tangent, &terms)) in judge.tangent.value.iter().zip(&judge.tangent.terms).enumerate() {
            let channel = i % n;
            let activation = at_channel(layer.activation, layer.alpha, &operands.alpha, channel);
            let z = match z {
                Some(z) => Near::exact(f64::from(z[i])),
                None => {
                    let lost = of_z.error(operands, i, exact.z_terms[i], units);
                    let off = sum_error(spec.data, k) * exact.z_terms[i] + FLUSHED + lost;
                    Near { value: exact.z[i], off }
                }
            };
            let off = sum_error(spec.data, 2 * k) * terms + FLUSHED + of_tangent.error(operands, i, terms, units);
            let tangent = Near { value: tangent, off };
            let of_alpha = if layer.alpha == AlphaSource::PerChannel { channel } else { 0 };
            let of_alpha = there[3].then(|| Near::exact(number(3, of_alpha)));
            let dy = Near::exact(f64::from(operands.dy[i]));
            let at = |quantity| at(&activation, quantity, z);
            let mut slope = at(Quantity::Slope);
            slope.off += bound::lost_with_y(spec, &activation, z.value);
            let by_alpha = |quantity| of_alpha.map_or(Near::NOTHING, |moved| moved.times(at(quantity)));
            errors.ddy.push(tangent.times(slope).plus(by_alpha(Quantity::AlphaSlope)).off);
            let bent = tangent.times(at(Quantity::SecondDerivative)).plus(by_alpha(Quantity::MixedDerivative));
            errors.dz2.push(dy.times(bent).scaled(2.0).off);
            errors.dz.push(dy.times(slope).off);
            errors.dalpha2.push(match layer.alpha {
                AlphaSource::Constant => 0.0,
                _ => {
                    let moved = tangent.times(at(Quantity::MixedDerivative));
                    dy.times(moved.plus(by_alpha(Quantity::SecondAlphaDerivative))).scaled(2.0).off
                }
            });
        }
        let mut all: [Expected; 6] = Default::default();
        all[0] = expected(&judge.ddy, |i| errors.ddy[i]);
        all[5] = expected(&judge.dz2, |i| errors.dz2[i]);
        // The errors of dz2 and dz go through the products with absolute values.
        let (dz2, dz) = (&judge.dz2.value, &judge.dz.value);
        let of_dx = Factors::new(
            [m, k, 2 * n],
            |m, r| if r < n { dz2[m * n + r] } else { dz[m * n + r - n] },
            |k, r| if r < n { w(at_w(r, k)) } else { number(1, at_w(r - n, k)) },
        );
        all[1] = expected(&judge.dx2, |i| {
            let (row, col) = (i / k, i % k);
            let carried = (0..n).map(|r| {
                let at = row * n + r;
                errors.dz2[at] * w(at_w(r, col)).abs() + errors.dz[at] * number(1, at_w(r, col)).abs()
            });
            let terms = judge.dx2.terms[i];
            carried.sum::<f64>() + sum_error(spec.data, 2 * n) * terms + of_dx.error(operands, i, terms, units)
        });
        let of_dw = Factors::new(
            [n, k, 2 * m],
            |n_of, r| if r < m { dz2[r * n + n_of] } else { dz[(r - m) * n + n_of] },
            |k_of, r| if r < m { x(r * k + k_of) } else { number(0, (r - m) * k + k_of) },
        );
        all[2] = expected(&judge.dw2, |i| {
            let [of_n, of_k] = match layer.layout {
                WeightLayout::OutIn => [i / k, i % k],
                WeightLayout::InOut => [i % n, i / n],
            };
            let carried = (0..m).map(|r| {
                let at = r * n + of_n;
                errors.dz2[at] * x(r * k + of_k).abs() + errors.dz[at] * number(0, r * k + of_k).abs()
            });
            let terms = judge.dw2.terms[i];
            carried.sum::<f64>()
                + sum_error(spec.data, 2 * m) * terms
                + of_dw.error(operands, of_n * k + of_k, terms, units)
        });
        all[3] = expected(&judge.db2, |i| {
            let carried: f64 = (0..m).map(|r| errors.dz2[r * n + i]).sum();
            carried + sum_error(spec.data, m) * judge.db2.terms[i]
        });
        all[4] = expected(&judge.dalpha2, |i| {
            let own = |at: usize| layer.alpha != AlphaSource::PerChannel || at % n == i;
            let carried: f64 = (0..m * n).filter(|&at| own(at)).map(|at| errors.dalpha2[at]).sum();
            carried + sum_error(spec.data, m * n) * judge.dalpha2.terms[i]
        });
        let overflows = |v: &f64| v.is_nan() || v.abs() > f64::from(f32::MAX) / 16.0;
        let sums = [&judge.tangent, &judge.dz, &judge.dz2, &judge.dx2, &judge.dw2, &judge.dalpha2];
        let beyond = sums.iter().any(|sum| sum.terms.iter().any(overflows)) || exact.z_terms.iter().any(overflows);
        for expected in &mut all {
            match spec.data {
                Data::Integers => expected.bound.fill(0.0),
                // Results after an overflow of f32 are not judged.
                _ if beyond => expected.bound.fill(f64::INFINITY),
                _ => {}
            }
        }
        Ok(all)
    }
}

/// Bounds of the errors of what is made of each element of z.
#[derive(Default)]
struct Errors {
    ddy: Vec<f64>,
    dz2: Vec<f64>,
    dz: Vec<f64>,
    dalpha2: Vec<f64>,
}

fn expected(judge: &reference::Gradient, bound: impl Fn(usize) -> f64) -> Expected {
    let bound = (0..judge.value.len()).map(|i| bound(i) + FLUSHED).collect();
    Expected { value: judge.value.clone(), bound }
}
