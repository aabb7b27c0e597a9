//! One case on the device: forward and backward, and the comparison with the reference.

use elbow::{
    AlphaSource, Dtype, Error, Float, Gpu, Operand, Saved, View, Want,
    affine::{self, Forward, Gradient},
    request::{AffineRequest, Below, Statistics},
    wgpu,
};

use crate::{
    batch::{Arena, Batch, Buffers, Results, Rows, Span},
    bound::{self, Expected, at_channel, weight_shape},
    factors::Units,
    front, gate,
    operands::{Operands, moments},
    second,
    spec::{Data, Spec},
    ulp::ulp_of,
};

/// A case with its operands and their places in the arenas.
pub(crate) struct Case {
    pub(crate) spec: Spec,
    operands: Operands,
    spans: Spans,
    second: Option<second::Call>,
}

struct Spans {
    x: Span,
    w: Span,
    b: Span,
    alpha: Span,
    residual: Span,
    row_weight: Span,
    around: Span,
    states: [Span; 2],
    dy: Span,
    saved_below: Span,
    alpha_below: Span,
    row_weight_below: Span,
    y: Span,
    saved: Span,
    statistics: [Span; 2],
    over_calls: [Span; 2],
    scale: Span,
    shift: Span,
    front_alpha: Span,
    moments: Span,
    running_moments: Span,
    gradients: [Span; 14],
    /// w_up and b_up.
    of_up: [Span; 2],
}

pub(crate) const OUTPUTS: [Operand; 14] = [
    Operand::Dx,
    Operand::Dw,
    Operand::Db,
    Operand::Dalpha,
    Operand::Dresidual,
    Operand::DrowWeight,
    Operand::DbBelow,
    Operand::DalphaBelow,
    Operand::DrowWeightBelow,
    Operand::Dscale,
    Operand::Dshift,
    Operand::DfrontAlpha,
    Operand::DwUp,
    Operand::DbUp,
];
const OVER_CALLS: [Operand; 2] = [Operand::Firing, Operand::NegativeMass];
const STATISTICS: [Operand; 2] = [Operand::ChannelStatistics, Operand::RowStatistics];

/// The largest error of a case as a fraction of its bound, and the element that has it.
pub(crate) type Fraction = (f64, String);

impl Case {
    pub(crate) fn new(spec: Spec, batch: &mut Batch) -> Self {
        let (AffineRequest { m, n, k, .. }, outputs) = (spec.forward, spec.forward.outputs());
        let operands = Operands::new(&spec);
        let s = spec.misalign;
        let dtype = spec.dtype;
        let rows = |length| Rows { length, gap: spec.gap };
        let (of_x, of_y, of_w) = (rows(k), rows(n), rows(weight_shape(&spec.forward)[1]));
        let none = Rows::ONE;
        let of_output = [of_x, of_w, none, none, of_y, none, none, none, none, none, none, none, of_w, none];
        let apart = spec.forward.gate.filter(|gate| gate.is_apart());
        let [[w, w_up], [b, b_up]] = match apart {
            None => [&operands.w, &operands.b].map(|all| [all.clone(), Vec::new()]),
            Some(gate) => {
                [(&operands.w, false), (&operands.b, true)].map(|(all, b)| gate::parts(gate, &spec.forward, all, b))
            }
        };
        let moments = moments(&spec.forward);
        let saved_below = match spec.below {
            None => batch.input(&[], s, dtype, none),
            Some(below) => saved_of(&operands, of_x, &below, s, dtype, batch),
        };
        let saved_len = match spec.saved() {
            Saved::Z => m * outputs,
            Saved::Mask => m * n.div_ceil(32),
            _ => 0,
        };
        let spans = Spans {
            x: batch.input(&operands.x, s, dtype, of_x),
            w: batch.input(&w, s, dtype, of_w),
            b: batch.input(&b, s, dtype, none),
            alpha: batch.input(&operands.alpha, s, Float::F32, none),
            residual: batch.input(&operands.residual, s, dtype, of_y),
            row_weight: batch.input(&operands.row_weight, s, dtype, none),
            around: batch.input(&operands.around, s, Float::F32, none),
            states: [0, 1].map(|i| batch.input_words(&operands.states[i], s)),
            dy: batch.input(&operands.dy, s, dtype, of_y),
            saved_below,
            alpha_below: batch.input(&operands.alpha_below, s, Float::F32, none),
            row_weight_below: batch.input(&operands.row_weight_below, s, dtype, none),
            y: batch.output(Arena::Mid, m * n, s, dtype, of_y),
            saved: match spec.saved() {
                Saved::Mask => batch.output(Arena::Mid, saved_len, s, Dtype::U32, none),
                _ => batch.output(Arena::Mid, saved_len, s, dtype, rows(outputs)),
            },
            statistics: {
                let Statistics { channels, rows, .. } = spec.forward.statistics;
                let lengths = [if channels { 5 * n } else { 0 }, if rows { 5 * m } else { 0 }];
                lengths.map(|length| batch.output(Arena::Out, length, s, Float::F32, none))
            },
            over_calls: [0, 1].map(|i| batch.accumulated(&operands.over_calls[i], s, Float::F32, none)),
            scale: batch.input(&operands.front.scale, s, dtype, none),
            shift: batch.input(&operands.front.shift, s, dtype, none),
            front_alpha: batch.input(&operands.front.alpha, s, Float::F32, none),
            moments: batch.output(Arena::Mid, moments, s, Float::F32, none),
            running_moments: batch.accumulated(&operands.front.running_moments, s, Float::F32, none),
            gradients: std::array::from_fn(|i| match spec.wants()[i] {
                Want::No => batch.output(Arena::Out, 0, s, Float::F32, none),
                Want::Overwrite => {
                    batch.output(Arena::Out, operands.before[i].len(), s, spec.stored(OUTPUTS[i]), of_output[i])
                }
                Want::Accumulate => batch.accumulated(&operands.before[i], s, spec.stored(OUTPUTS[i]), of_output[i]),
            }),
            of_up: [batch.input(&w_up, s, dtype, of_w), batch.input(&b_up, s, dtype, none)],
        };
        let second = spec.second.map(|second| second::Call::new(&spec, second, batch));
        Case { spec, operands, spans, second }
    }

    /// Forward, then backward with every wanted gradient.
    pub(crate) fn record(&self, gpu: &Gpu, buffers: &Buffers, pass: &mut wgpu::ComputePass<'_>) -> Result<(), Error> {
        let Spec { forward, below, pin, .. } = self.spec;
        let AffineRequest { m, n, k, .. } = forward;
        let outputs = forward.outputs();
        let (xs, ys, zs, ns, ks) = ([m, k], [m, n], [m, outputs], [forward.outputs_of_w()], [k]);
        let (ws, apart) = (weight_shape(&forward), forward.is_apart());
        let (alphas, alphas_below) = ([self.operands.alpha.len()], [self.operands.alpha_below.len()]);
        let ms = [m];
        let of_firing = [n];
        let (of_channels, of_rows, around) = ([5, n], [5, m], [2, n]);
        let (masks, masks_below) = ([m, n.div_ceil(32)], [m, k.div_ceil(32)]);
        let s = &self.spans;
        let saved = self.spec.saved();
        let view = |span, shape| buffers.view(span, shape);
        let alpha = (forward.alpha != AlphaSource::Constant).then(|| view(s.alpha, &alphas));
        let (fronts, of_moments) = ([self.operands.front.alpha.len()], [2, moments(&forward) / 2]);
        let of_running = [2, k];
        let front = forward.front.map(|front| {
            affine::Front::new(front.activation)
                .norm(front.norm)
                .moments(front.norm.map(|_| view(s.moments, &of_moments)))
                .running_moments(front.running.then(|| view(s.running_moments, &of_running)))
                .scale(front.scale.then(|| view(s.scale, &ks)))
                .shift(front.shift.then(|| view(s.shift, &ks)))
                .alpha((front.alpha != AlphaSource::Constant).then(|| view(s.front_alpha, &fronts)))
        });
        let saved_z_or_mask = match saved {
            Saved::Z => Some(view(s.saved, &zs)),
            Saved::Mask => Some(view(s.saved, &masks)),
            _ => None,
        };
        let call = Forward::new(forward.activation, view(s.x, &xs), view(s.w, &ws), view(s.y, &ys))
            .layout(forward.layout)
            .saved(saved)
            .b(forward.bias.then(|| view(s.b, &ns)))
            .alpha(alpha)
            .residual(forward.residual.map(|_| view(if self.spec.skip { s.x } else { s.residual }, &ys)))
            .residual_at(forward.residual.unwrap_or_default())
            .row_weight(forward.row_weight.then(|| view(s.row_weight, &ms)))
            .front(front)
            .jet(forward.jet)
            .gate(forward.gate)
            .w_up(apart.then(|| view(s.of_up[0], &ws)))
            .b_up((apart && forward.bias).then(|| view(s.of_up[1], &ns)))
            .dropout(forward.dropout)
            .dropout_state(forward.dropout.map(|_| view(s.states[0], &[4])))
            .statistics(
                affine::Statistics::default()
                    .channels(forward.statistics.channels.then(|| view(s.statistics[0], &of_channels)))
                    .rows(forward.statistics.rows.then(|| view(s.statistics[1], &of_rows)))
                    .around(forward.statistics.around.then(|| view(s.around, &around)))
                    .firing(forward.statistics.firing.then(|| view(s.over_calls[0], &of_firing)))
                    .negative_mass(forward.statistics.negative_mass.then(|| view(s.over_calls[1], &of_firing))),
            )
            .save_to(saved_z_or_mask)
            .pin(pin);
        call.record(gpu, &mut *pass)?;
        let wants = self.spec.wants();
        let gradient = |i: usize, shape| match wants[i] {
            Want::No => None,
            Want::Overwrite => Some(Gradient::overwrite(view(s.gradients[i], shape))),
            Want::Accumulate => Some(Gradient::accumulate(view(s.gradients[i], shape))),
        };
        let mut backward = call
            .backward(view(s.dy, &ys))
            .dx(gradient(0, &xs))
            .dw(gradient(1, &ws))
            .db(gradient(2, &ns))
            .dalpha(gradient(3, &alphas))
            .dresidual(gradient(4, &ys))
            .drow_weight(gradient(5, &ms))
            .dscale(gradient(9, &ks))
            .dshift(gradient(10, &ks))
            .dfront_alpha(gradient(11, &fronts))
            .dw_up(gradient(12, &ws))
            .db_up(gradient(13, &ns));
        if self.spec.skip {
            backward = backward.skip();
        }
        let (no_x, no_w) = ([m, 0], [k, 0]);
        if let Some(below) = below {
            // Of the layer below only what it kept is in memory.
            let kept = (below.saved != Saved::Y)
                .then(|| view(s.saved_below, if below.saved == Saved::Mask { &masks_below } else { &xs }));
            let gone = |shape| View::absent(shape, self.spec.dtype);
            let layer = Forward::new(below.activation, gone(&no_x), gone(&no_w), view(s.x, &xs))
                .saved(below.saved)
                .jet(below.jet)
                .dropout(below.dropout)
                .dropout_state(below.dropout.map(|_| view(s.states[1], &[4])))
                .alpha((below.alpha != AlphaSource::Constant).then(|| view(s.alpha_below, &alphas_below)))
                .save_to(kept)
                .row_weight(below.row_weight.then(|| view(s.row_weight_below, &ms)));
            backward = backward
                .below(&layer)
                .db_below(gradient(6, &ks))
                .dalpha_below(gradient(7, &alphas_below))
                .drow_weight_below(gradient(8, &ms));
        }
        backward.record(gpu, &mut *pass)?;
        match &self.second {
            Some(second) => second.record(gpu, &call, view(s.dy, &ys), buffers, pass),
            None => Ok(()),
        }
    }

    /// Compares every output with the reference: the largest error as a fraction of its bound, or an error with the first beyond it.
    /// `units` is what becomes of the factors of its products.
    pub(crate) fn check(&self, results: &Results, units: Units) -> Result<Fraction, String> {
        let spec = &self.spec.judged();
        let forward = bound::forward(spec, &self.operands, units).map_err(|e| e.to_string())?;
        let mut worst = self.compare("y", results, self.spans.y, &forward.y, None)?;
        let mut z = None;
        match spec.saved() {
            Saved::Z => {
                worst = larger(worst, self.compare("z", results, self.spans.saved, &forward.z, None)?);
                z = Some(results.values(self.spans.saved));
            }
            Saved::Mask if spec.data == Data::Integers => {
                self.check_mask(results.words(self.spans.saved), &forward.z)?
            }
            _ => {}
        }
        for (i, expected) in bound::statistics(spec, &self.operands, &forward).iter().enumerate() {
            let (name, span) = (STATISTICS[i].name(), self.spans.statistics[i]);
            worst = larger(worst, self.compare(name, results, span, expected, None)?);
        }
        let Statistics { firing, negative_mass, .. } = spec.forward.statistics;
        for (i, expected) in bound::over_calls(spec, &forward).iter().enumerate() {
            let (name, before) = (OVER_CALLS[i].name(), &self.operands.over_calls[i][..]);
            if [firing, negative_mass][i] {
                let span = self.spans.over_calls[i];
                worst = larger(worst, self.compare(name, results, span, expected, Some(before))?);
            }
        }
        if let Some(fronted) = front::forward(spec, &self.operands) {
            let s = &self.spans;
            for (operand, span, near) in [
                (Operand::Moments, s.moments, &fronted.moments),
                (Operand::RunningMoments, s.running_moments, &fronted.running_moments),
            ] {
                // Running statistics that are only read stay what they were, and of nothing there are none.
                if !near.is_empty() && !self.operands.x.is_empty() {
                    let expected = Expected::of(near, spec.data == Data::Integers);
                    worst = larger(worst, self.compare(operand.name(), results, span, &expected, None)?);
                }
            }
        }
        let gradients = bound::backward(spec, &self.operands, z.as_deref(), units).map_err(|e| e.to_string())?;
        for (i, expected) in self.of_sides(gradients).iter().enumerate().filter(|(i, _)| spec.wants()[*i].wanted()) {
            let (name, span) = (OUTPUTS[i].name(), self.spans.gradients[i]);
            worst = larger(worst, self.compare(name, results, span, expected, Some(&self.operands.before[i]))?);
        }
        if let Some(second) = &self.second {
            let gradients = second.expected(spec, &self.operands, z.as_deref(), units).map_err(|e| e.to_string())?;
            let wanted = |i: &usize| spec.second.is_some_and(|second| second.wants()[*i].wanted());
            for i in (0..gradients.len()).filter(wanted) {
                let (name, span) = (second::OUTPUTS[i].name(), second.outputs_at[i]);
                worst = larger(worst, self.compare(name, results, span, &gradients[i], Some(&second.before[i]))?);
            }
        }
        Ok(worst)
    }

    /// Of weights apart dw and db of both as those of each side.
    fn of_sides(&self, mut all: [Expected; 12]) -> Vec<Expected> {
        let [dw, db] = [1, 2].map(|i| std::mem::take(&mut all[i]));
        let layer = &self.spec.forward;
        let [[dw, dw_up], [db, db_up]] = [(dw, false), (db, true)].map(|(both, bias)| match layer.gate {
            Some(gate) if gate.is_apart() => {
                let [value, bound] = [both.value, both.bound].map(|all| gate::parts(gate, layer, &all, bias));
                let [[value, value_of_up], [bound, bound_of_up]] = [value, bound];
                [Expected { value, bound }, Expected { value: value_of_up, bound: bound_of_up }]
            }
            _ => [both, Expected::default()],
        });
        (all[1], all[2]) = (dw, db);
        all.into_iter().chain([dw_up, db_up]).collect()
    }

    fn check_mask(&self, got: &[u32], z: &Expected) -> Result<(), String> {
        let layer = &self.spec.forward;
        let words = layer.n.div_ceil(32);
        let mut mask = vec![0u32; layer.m * words];
        for (i, &z) in z.value.iter().enumerate() {
            let (row, col) = (i / layer.n, i % layer.n);
            let activation = at_channel(layer.activation, layer.alpha, &self.operands.alpha, col);
            mask[row * words + col / 32] |= u32::from(activation.bit(z)) << (col % 32);
        }
        if got == mask { Ok(()) } else { Err("the mask differs".into()) }
    }

    fn compare(
        &self,
        name: &str,
        results: &Results,
        span: Span,
        expected: &Expected,
        before: Option<&[f32]>,
    ) -> Result<Fraction, String> {
        let got = results.values(span);
        if got.len() != expected.value.len() {
            return Err(format!("{name} has {} elements, expected {}", got.len(), expected.value.len()));
        }
        let mut worst = (0.0, String::new());
        for (i, &value) in got.iter().enumerate() {
            let start = before.map_or(0.0, |before| f64::from(before[i]));
            let exact = expected.value[i] + start;
            // What is exact is rounded once, when it is stored.
            let right = if expected.bound[i] == 0.0 { f64::from(span.dtype().round(exact as f32)) } else { exact };
            if results.is_unwritten(span, i) {
                return Err(format!("{name}[{i}] was never written, expected {right}"));
            }
            let bound = match expected.bound[i] {
                0.0 => 0.0,
                bound => bound + ulp_of(right) + rounding(span.dtype(), right.abs() + bound),
            };
            // An infinity that is right is no distance from itself.
            let error = if f64::from(value) == right { 0.0 } else { (f64::from(value) - right).abs() };
            // A NaN is never within a finite bound.
            if bound.is_finite() && (error > bound || error.is_nan()) {
                return Err(format!("{name}[{i}] is {value}, expected {right} ± {bound:e}"));
            }
            if bound.is_finite() && error > worst.0 * bound {
                worst = (error / bound, format!("{name}[{i}]"));
            }
        }
        Ok(worst)
    }
}

fn rounding(dtype: Float, v: f64) -> f64 {
    if dtype == Float::F32 { 0.0 } else { dtype.rounding(v) }
}

fn larger(a: Fraction, b: Fraction) -> Fraction {
    if b.0 > a.0 { b } else { a }
}

/// What the layer below would have kept: z or the mask.
fn saved_of(operands: &Operands, rows: Rows, below: &Below, misalign: usize, dtype: Float, batch: &mut Batch) -> Span {
    let (z, k) = (&operands.z_below, rows.length);
    let at = |i: usize| at_channel(below.activation, below.alpha, &operands.alpha_below, i % k);
    match below.saved {
        Saved::Mask => {
            let words = k.div_ceil(32);
            let mut mask = vec![0u32; z.len().checked_div(k).unwrap_or(0) * words];
            for (i, &z) in z.iter().enumerate() {
                mask[i / k * words + i % k / 32] |= u32::from(at(i).bit(f64::from(z))) << (i % k % 32);
            }
            batch.input_words(&mask, misalign)
        }
        _ => batch.input(z, misalign, dtype, rows),
    }
}
