//! The numbers of a case.

use elbow::{
    AlphaSource, Dropout, Saved, Want,
    cpu::{ForwardInputs, FrontInputs, reference::BackwardInputs},
    request::{AffineRequest, Below},
};

use crate::{
    Numbers,
    bound::at_channel,
    case::OUTPUTS,
    spec::{Data, Spec},
};

/// The numbers of the case's operands.
pub(crate) struct Operands {
    pub(crate) x: Vec<f32>,
    pub(crate) w: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) alpha: Vec<f32>,
    pub(crate) residual: Vec<f32>,
    pub(crate) row_weight: Vec<f32>,
    pub(crate) around: Vec<f32>,
    /// How often each channel has fired before, and its negative mass.
    pub(crate) over_calls: [Vec<f32>; 2],
    /// What makes the masks of the layer and of the one below.
    pub(crate) states: [[u32; 4]; 2],
    pub(crate) dy: Vec<f32>,
    pub(crate) z_below: Vec<f32>,
    pub(crate) alpha_below: Vec<f32>,
    pub(crate) row_weight_below: Vec<f32>,
    pub(crate) front: FrontNumbers,
    pub(crate) before: [Vec<f32>; 14],
}

/// Those of the front: empty where it has no such operand.
#[derive(Default)]
pub(crate) struct FrontNumbers {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) alpha: Vec<f32>,
    pub(crate) running_moments: Vec<f32>,
}

fn alphas(source: AlphaSource, n: usize) -> usize {
    match source {
        AlphaSource::Constant => 0,
        AlphaSource::PerLayer => 1,
        AlphaSource::PerChannel => n,
    }
}

/// Numbers of the moments of x.
pub(crate) fn moments(layer: &AffineRequest) -> usize {
    let norm = layer.front.and_then(|front| front.norm);
    norm.map_or(0, |norm| 2 * if norm.of_rows() { layer.m } else { layer.k })
}

impl Operands {
    pub(crate) fn new(spec: &Spec) -> Self {
        let (AffineRequest { m, n, k, .. }, outputs) = (spec.forward, spec.forward.outputs());
        let mut numbers = Numbers::new(spec.seed);
        let integers = spec.data == Data::Integers;
        let mut fill = |len: usize, reach: i32| -> Vec<f32> {
            let normal = |numbers: &mut Numbers| match spec.data {
                Data::Integers => numbers.integer(reach),
                Data::Lognormal => (3.0 * numbers.normal()).exp() * if numbers.below(2) == 0 { 1.0 } else { -1.0 },
                _ => numbers.normal(),
            };
            (0..len).map(|_| normal(&mut numbers)).collect()
        };
        let mut operands = Operands {
            x: fill(m * k, 4),
            w: fill(outputs * k, 4),
            b: fill(outputs, 8),
            alpha: fill(alphas(spec.forward.alpha, n), 2),
            residual: fill(m * n, 8),
            dy: fill(m * n, 4),
            z_below: fill(m * k, 4),
            alpha_below: fill(spec.below.map_or(0, |b| alphas(b.alpha, k)), 2),
            row_weight: fill(if spec.forward.row_weight { m } else { 0 }, 2),
            row_weight_below: fill(if spec.below.is_some_and(|b| b.row_weight) { m } else { 0 }, 2),
            around: fill(if spec.forward.statistics.around { 2 * n } else { 0 }, 2),
            over_calls: [spec.forward.statistics.firing, spec.forward.statistics.negative_mass]
                .map(|there| fill(if there { n } else { 0 }, 8).iter().map(|v| v.abs().floor()).collect()),
            states: [0, 1].map(|layer| Dropout::state(spec.seed, 5, layer)),
            front: spec.forward.front.map_or_else(FrontNumbers::default, |front| FrontNumbers {
                scale: fill(if front.scale { k } else { 0 }, 2),
                shift: fill(if front.shift { k } else { 0 }, 4),
                alpha: fill(alphas(front.alpha, k), 2),
                running_moments: fill(if front.running { 2 * k } else { 0 }, 4),
            }),
            before: Default::default(),
        };
        let stored = [&mut operands.x, &mut operands.w, &mut operands.b, &mut operands.residual, &mut operands.dy];
        let weights = [&mut operands.row_weight, &mut operands.row_weight_below, &mut operands.z_below];
        let of_front = [&mut operands.front.scale, &mut operands.front.shift];
        for v in stored.into_iter().chain(weights).chain(of_front).flatten() {
            *v = spec.dtype.round(*v);
        }
        // For exact data powers of two of either sign, and 0; otherwise numbers in the domain of every activation.
        let slope = |v: f32| if integers { v / 4.0 } else { (v.abs() * 0.5 + 0.25).min(4.0) };
        operands.alpha.iter_mut().for_each(|a| *a = slope(*a));
        operands.alpha_below.iter_mut().for_each(|a| *a = slope(*a));
        operands.front.alpha.iter_mut().for_each(|a| *a = slope(*a));
        // A variance is not negative.
        operands.front.running_moments.iter_mut().skip(k).for_each(|v| *v = v.abs());
        let (of_w, alphas_below) = (spec.forward.outputs_of_w(), operands.alpha_below.len());
        let lengths = [m * k, of_w * k, of_w, operands.alpha.len(), m * n, m, k, alphas_below, m];
        let lengths = lengths.into_iter().chain([k, k, operands.front.alpha.len(), of_w * k, of_w]);
        for (i, len) in lengths.enumerate() {
            operands.before[i] = if spec.wants()[i] == Want::Accumulate { fill(len, 8) } else { vec![0.0; len] };
            operands.before[i].iter_mut().for_each(|v| *v = spec.stored(OUTPUTS[i]).round(*v));
        }
        match spec.data {
            Data::Huge if m * k > 0 => {
                let at = m * k / 2;
                operands.x[at] = 1e30;
            }
            // x[2i + 1] is nearly −x[2i], with the same weight.
            Data::Alternating => {
                for pair in operands.x.chunks_mut(k.max(1)).flat_map(|row| row.chunks_exact_mut(2)) {
                    pair[1] = -pair[0] * (1.0 + 1e-6);
                }
                operands.w.iter_mut().for_each(|w| *w = w.signum());
            }
            _ => {}
        }
        // In a chain x is the output of the layer below.
        if let Some(below) = spec.below.filter(|below| below.saved == Saved::Y) {
            operands.x = operands.y_below(k, &below).map(|y| spec.dtype.round(y)).collect();
        }
        if spec.skip {
            operands.residual.clone_from(&operands.x);
        }
        operands
    }

    fn y_below(&self, k: usize, below: &Below) -> impl Iterator<Item = f32> {
        let at = move |i: usize| at_channel(below.activation, below.alpha, &self.alpha_below, i % k);
        self.z_below.iter().enumerate().map(move |(i, &z)| at(i).value(f64::from(z)) as f32)
    }

    /// What a dropout of the layer, or of the one below, leaves of an element.
    pub(crate) fn left(&self, spec: &Spec, below: bool, index: usize) -> f64 {
        let dropout = if below { spec.below.and_then(|below| below.dropout) } else { spec.forward.dropout };
        dropout.map_or(1.0, |dropout| dropout.factor(self.states[usize::from(below)], index as u32).into())
    }

    pub(crate) fn forward(&self, layer: &AffineRequest) -> ForwardInputs<'_> {
        ForwardInputs::new(&self.x, &self.w)
            .b(layer.bias.then_some(&self.b[..]))
            .alpha((layer.alpha != AlphaSource::Constant).then_some(&self.alpha[..]))
            .residual(layer.residual.map(|_| &self.residual[..]))
            .row_weight(layer.row_weight.then_some(&self.row_weight[..]))
            .dropout_state(layer.dropout.map(|_| self.states[0]))
            .front(self.front(layer))
    }

    fn front(&self, layer: &AffineRequest) -> FrontInputs<'_> {
        let Some(front) = &layer.front else { return FrontInputs::default() };
        FrontInputs::default()
            .scale(front.scale.then_some(&self.front.scale))
            .shift(front.shift.then_some(&self.front.shift))
            .alpha((front.alpha != AlphaSource::Constant).then_some(&self.front.alpha))
            .running_moments(front.running.then_some(&self.front.running_moments))
    }

    pub(crate) fn backward<'a>(&'a self, spec: &Spec, z: Option<&'a [f32]>) -> BackwardInputs<'a> {
        let ForwardInputs { x, w, b, alpha, residual, row_weight, .. } = self.forward(&spec.forward);
        let below = spec.below;
        BackwardInputs::new(x, w, &self.dy)
            .b(b)
            .alpha(alpha)
            .z(z)
            .z_below(below.map(|_| &self.z_below[..]))
            .alpha_below(below.filter(|b| b.alpha != AlphaSource::Constant).map(|_| &self.alpha_below[..]))
            .residual(residual)
            .row_weight(row_weight)
            .row_weight_below(below.filter(|b| b.row_weight).map(|_| &self.row_weight_below[..]))
            .dropout_state(spec.forward.dropout.map(|_| self.states[0]))
            .dropout_state_below(below.and_then(|below| below.dropout).map(|_| self.states[1]))
            .front(self.front(&spec.forward))
    }
}
