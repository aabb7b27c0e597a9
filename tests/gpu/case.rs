//! One fused layer, forward and backward, with everything that can be asked of it: data, operands, and the judge.

use elbow::{
    Activation, AlphaSource, Gpu, Operand, Road, Saved, Want, WeightLayout,
    affine::{Backward, ChainBelow, Forward, Gradient},
    cpu::{
        ForwardInputs,
        reference::{self, BackwardInputs},
    },
    plan::Pin,
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};

use crate::{
    batch::{Arena, Batch, Buffers, Results, Span, UNWRITTEN},
    common::{Numbers, ulp_of},
};

#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub forward: AffineRequest,
    pub gradients: Gradients,
    pub below: Option<Below>,
    pub pin: Pin,
    /// Added to every operand's offset, in words.
    pub misalign: usize,
    /// Integers: every partial sum is exact, so results must be equal. Otherwise normal data and bounds.
    pub exact: bool,
}

/// The data of one case and where it lies.
pub struct Case {
    spec: Spec,
    data: Data,
    spans: Spans,
}

struct Data {
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    alpha: Vec<f32>,
    residual: Vec<f32>,
    dy: Vec<f32>,
    z_below: Vec<f32>,
    alpha_below: Vec<f32>,
    before: [Vec<f32>; 7],
}

struct Spans {
    x: Span,
    w: Span,
    b: Span,
    alpha: Span,
    residual: Span,
    dy: Span,
    saved_below: Span,
    alpha_below: Span,
    y: Span,
    saved: Span,
    gradients: [Span; 7],
}

const OUTPUTS: [Operand; 7] = [
    Operand::Dx,
    Operand::Dw,
    Operand::Db,
    Operand::Dalpha,
    Operand::Dresidual,
    Operand::DbBelow,
    Operand::DalphaBelow,
];

impl Case {
    pub fn new(spec: Spec, numbers: &mut Numbers, batch: &mut Batch) -> Self {
        let AffineRequest { m, n, k, .. } = spec.forward;
        let mut fill = |len: usize, reach: i64| -> Vec<f32> {
            (0..len).map(|_| if spec.exact { numbers.integer(reach) } else { numbers.normal() }).collect()
        };
        let alphas = |source, n| match source {
            AlphaSource::Constant => 0,
            AlphaSource::PerLayer => 1,
            AlphaSource::PerChannel => n,
        };
        let mut data = Data {
            x: fill(m * k, 4),
            w: fill(n * k, 4),
            b: fill(n, 8),
            alpha: fill(alphas(spec.forward.alpha, n), 2),
            residual: fill(m * n, 8),
            dy: fill(m * n, 4),
            z_below: fill(m * k, 4),
            alpha_below: fill(spec.below.map_or(0, |b| alphas(b.alpha, k)), 2),
            before: Default::default(),
        };
        // Powers of two, either sign, and zero, where the data is exact; otherwise parameters that every row accepts.
        let slope = |v: f32| if spec.exact { v / 4.0 } else { v.abs() * 0.5 + 0.25 };
        data.alpha.iter_mut().for_each(|a| *a = slope(*a));
        data.alpha_below.iter_mut().for_each(|a| *a = slope(*a));
        let lengths = [m * k, n * k, n, data.alpha.len(), m * n, k, data.alpha_below.len()];
        let wants = spec.wants();
        for (i, len) in lengths.into_iter().enumerate() {
            data.before[i] = if wants[i] == Want::Accumulate { fill(len, 8) } else { Vec::new() };
        }
        let s = spec.misalign;
        let saved_below = match spec.below {
            None => batch.input(&[], s),
            Some(below) => saved_of(&data.z_below, &data.alpha_below, m, k, &below, s, batch),
        };
        let spans = Spans {
            x: batch.input(&data.x, s),
            w: batch.input(&data.w, s),
            b: batch.input(&data.b, s),
            alpha: batch.input(&data.alpha, s),
            residual: batch.input(&data.residual, s),
            dy: batch.input(&data.dy, s),
            saved_below,
            alpha_below: batch.input(&data.alpha_below, s),
            y: batch.output(Arena::Mid, m * n, s),
            saved: batch.output(
                Arena::Mid,
                match spec.saved() {
                    Saved::Z => m * n,
                    Saved::Mask => m * n.div_ceil(32),
                    _ => 0,
                },
                s,
            ),
            gradients: std::array::from_fn(|i| match wants[i] {
                Want::No => batch.output(Arena::Out, 0, s),
                Want::Overwrite => batch.output(Arena::Out, lengths[i], s),
                Want::Accumulate => batch.accumulated(&data.before[i], s),
            }),
        };
        Case { spec, data, spans }
    }

    pub fn record(&self, gpu: &Gpu, buffers: &Buffers, pass: &mut elbow::wgpu::ComputePass<'_>) {
        let Spec { forward, below, pin, .. } = self.spec;
        let AffineRequest { m, n, k, .. } = forward;
        let (xs, ys, ns, ks) = ([m, k], [m, n], [n], [k]);
        let ws = if forward.layout == WeightLayout::OutIn { [n, k] } else { [k, n] };
        let (alphas, alphas_below) = ([self.data.alpha.len()], [self.data.alpha_below.len()]);
        let masks = [m, n.div_ceil(32)];
        let s = &self.spans;
        let saved = self.spec.saved();
        let view = |span, shape| buffers.view(span, shape);
        let alpha = (forward.alpha != AlphaSource::Constant).then(|| view(s.alpha, &alphas));
        let call = Forward {
            layout: forward.layout,
            saved: if saved == Saved::Auto { Saved::None } else { saved },
            b: forward.bias.then(|| view(s.b, &ns)),
            alpha,
            residual: forward.residual.then(|| view(s.residual, &ys)),
            save_to: match saved {
                Saved::Z => Some(view(s.saved, &ys)),
                Saved::Mask => Some(view(s.saved, &masks)),
                _ => None,
            },
            pin,
            ..Forward::new(forward.activation, view(s.x, &xs), view(s.w, &ws), view(s.y, &ys))
        };
        call.record(gpu, &mut *pass).unwrap_or_else(|e| panic!("{:?}: {e}", self.spec));

        let wants = self.spec.wants();
        let gradient = |i: usize, shape| match wants[i] {
            Want::No => None,
            Want::Overwrite => Gradient::overwrite(view(s.gradients[i], shape)),
            Want::Accumulate => Gradient::accumulate(view(s.gradients[i], shape)),
        };
        let masks_below = [m, k.div_ceil(32)];
        let below = below.map(|below| ChainBelow {
            activation: below.activation,
            saved: below.saved,
            saved_from: Some(view(s.saved_below, if below.saved == Saved::Mask { &masks_below } else { &xs })),
            alpha: (below.alpha != AlphaSource::Constant).then(|| view(s.alpha_below, &alphas_below)),
            db: gradient(5, &ks),
            dalpha: gradient(6, &alphas_below),
        });
        let call = Backward {
            layout: forward.layout,
            residual: forward.residual,
            x: Some(view(s.x, &xs)),
            w: Some(view(s.w, &ws)),
            b: forward.bias.then(|| view(s.b, &ns)),
            alpha,
            saved_from: match saved {
                Saved::Z => Some(view(s.saved, &ys)),
                Saved::Mask => Some(view(s.saved, &masks)),
                Saved::Y => Some(view(s.y, &ys)),
                _ => None,
            },
            dx: gradient(0, &xs),
            dw: gradient(1, &ws),
            db: gradient(2, &ns),
            dalpha: gradient(3, &alphas),
            dresidual: gradient(4, &ys),
            below,
            pin,
            ..Backward::new(forward.activation, saved, view(s.dy, &ys))
        };
        call.record(gpu, &mut *pass).unwrap_or_else(|e| panic!("{:?}: {e}", self.spec));
    }

    /// Every output against the reference; the text of the first difference.
    pub fn check(&self, results: &Results) -> Result<(), String> {
        let Spec { forward, gradients, below, .. } = self.spec;
        let d = &self.data;
        let alpha = (forward.alpha != AlphaSource::Constant).then_some(&d.alpha[..]);
        let b = forward.bias.then_some(&d.b[..]);
        let inputs =
            ForwardInputs { x: &d.x, w: &d.w, b, alpha, residual: forward.residual.then_some(&d.residual[..]) };
        let judge = reference::forward(&forward, inputs).unwrap();
        let lipschitz = forward.activation.lipschitz().max(1.0) * 4.0;
        let y: Vec<(f64, f64)> = judge
            .y
            .iter()
            .zip(&judge.z_terms)
            .map(|(&y, &terms)| (y, lipschitz * 8.0 * f64::powi(2.0, -24) * (terms + 1.0) + 16.0 * ulp_of(y)))
            .collect();
        self.compare("y", results.values(self.spans.y), &y, &[])?;
        match self.spec.saved() {
            Saved::Z => {
                let z: Vec<(f64, f64)> =
                    judge.z.iter().zip(&judge.z_terms).map(|(&z, &t)| (z, 8.0 * f64::powi(2.0, -24) * t)).collect();
                self.compare("z", results.values(self.spans.saved), &z, &[])?;
            }
            Saved::Mask if self.spec.exact => {
                let words = forward.n.div_ceil(32);
                let mut mask = vec![0u32; forward.m * words];
                for (i, &z) in judge.z.iter().enumerate() {
                    let (row, col) = (i / forward.n, i % forward.n);
                    let a = channel_activation(forward.activation, forward.alpha, &d.alpha, col);
                    mask[row * words + col / 32] |= u32::from(a.bit(z)) << (col % 32);
                }
                if results.words(self.spans.saved) != mask {
                    return Err(format!("{:?}: mask differs", self.spec));
                }
            }
            _ => {}
        }
        let request = BackwardRequest { affine: forward, gradients, road: Road::Auto, upstream_is_dz: false, below };
        let below_given = below.is_some();
        let judge = reference::backward(
            &request,
            BackwardInputs {
                x: &d.x,
                w: &d.w,
                b,
                alpha,
                dy: &d.dy,
                z: (self.spec.saved() == Saved::Z).then(|| results.values(self.spans.saved)),
                z_below: below_given.then_some(&d.z_below[..]),
                alpha_below: below.filter(|b| b.alpha != AlphaSource::Constant).map(|_| &d.alpha_below[..]),
            },
        )
        .unwrap();
        let dx = if below_given { &judge.dz_below } else { &judge.dx };
        let expected =
            [dx, &judge.dw, &judge.db, &judge.dalpha, &judge.dresidual, &judge.db_below, &judge.dalpha_below];
        // Near a root of the slope below, the error is that of the slope's terms, which are below 4.
        let slope_error = if below_given { 16.0 * f64::powi(2.0, -24) } else { 0.0 };
        for (i, gradient) in expected.into_iter().enumerate() {
            if self.spec.wants()[i] == Want::No {
                continue;
            }
            let bounded: Vec<(f64, f64)> = gradient
                .value
                .iter()
                .zip(&gradient.terms)
                .enumerate()
                .map(|(at, (&v, &t))| {
                    let below = if i == 0 { slope_error * judge.dx.terms[at] } else { 0.0 };
                    (v, 64.0 * f64::powi(2.0, -24) * (t + 1e-3) + below)
                })
                .collect();
            self.compare(OUTPUTS[i].name(), results.values(self.spans.gradients[i]), &bounded, &d.before[i])?;
        }
        Ok(())
    }

    fn compare(&self, name: &str, got: &[f32], expected: &[(f64, f64)], before: &[f32]) -> Result<(), String> {
        if got.len() != expected.len() {
            return Err(format!("{:?}: {name} has {} elements, expected {}", self.spec, got.len(), expected.len()));
        }
        for (i, (&got, &(value, bound))) in got.iter().zip(expected).enumerate() {
            let start = before.get(i).copied().unwrap_or(0.0);
            let expected = value + f64::from(start);
            let bound = if self.spec.exact { 0.0 } else { bound + ulp_of(expected) };
            // A NaN is never within a bound.
            let wrong = (f64::from(got) - expected).abs() > bound || f64::from(got).is_nan() != expected.is_nan();
            if wrong || got.to_bits() == UNWRITTEN {
                let kept = if got.to_bits() == UNWRITTEN { " (never written)" } else { "" };
                return Err(format!("{:?}: {name}[{i}] is {got}{kept}, expected {expected} ± {bound:e}", self.spec));
            }
        }
        Ok(())
    }
}

impl Spec {
    pub fn saved(&self) -> Saved {
        self.forward.resolve_saved(self.gradients.alpha.wanted()).unwrap()
    }

    fn wants(&self) -> [Want; 7] {
        let g = self.gradients;
        let (db, dalpha) = self.below.map_or((Want::No, Want::No), |b| (b.db, b.dalpha));
        [g.x, g.w, g.b, g.alpha, g.residual, db, dalpha]
    }
}

fn channel_activation(activation: Activation, source: AlphaSource, alpha: &[f32], channel: usize) -> Activation {
    match source {
        AlphaSource::Constant => activation,
        AlphaSource::PerLayer => activation.with_alpha(alpha[0]),
        AlphaSource::PerChannel => activation.with_alpha(alpha[channel]),
    }
}

/// What the layer below would have saved.
fn saved_of(z: &[f32], alpha: &[f32], m: usize, k: usize, below: &Below, misalign: usize, batch: &mut Batch) -> Span {
    let at = |i: usize| channel_activation(below.activation, below.alpha, alpha, i % k);
    match below.saved {
        Saved::Y => {
            let y: Vec<f32> = z.iter().enumerate().map(|(i, &z)| at(i).value(f64::from(z)) as f32).collect();
            batch.input(&y, misalign)
        }
        Saved::Mask => {
            let words = k.div_ceil(32);
            let mut mask = vec![0u32; m * words];
            for (i, &z) in z.iter().enumerate() {
                mask[i / k * words + i % k / 32] |= u32::from(at(i).bit(f64::from(z))) << (i % k % 32);
            }
            batch.input_words(&mask, misalign)
        }
        _ => batch.input(z, misalign),
    }
}

/// Runs cases in batches of one submit each, and panics with the first failures.
pub fn run(gpu: &Gpu, specs: &[Spec], shared: bool, seed: u64) {
    let mut failures = Vec::new();
    for (number, specs) in specs.chunks(256).enumerate() {
        let mut numbers = Numbers(seed + number as u64);
        let mut batch = Batch::new(shared);
        let cases: Vec<Case> = specs.iter().map(|spec| Case::new(*spec, &mut numbers, &mut batch)).collect();
        let buffers = batch.buffers(gpu);
        gpu.submit_pass(|pass| {
            for case in &cases {
                case.record(gpu, &buffers, pass);
            }
            Ok(())
        })
        .unwrap();
        let results = batch.results(gpu, &buffers);
        failures.extend(cases.iter().filter_map(|case| case.check(&results).err()));
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases failed; the first: {:#?}",
        failures.len(),
        specs.len(),
        &failures[..failures.len().min(3)]
    );
}
