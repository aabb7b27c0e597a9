//! One case as plain data: a fused layer, forward and backward, with all of its choices.

use elbow::{
    Activation, AlphaSource, Dropout, Float, Gate, Jet, Norm, Operand, ResidualAt, Saved, Strategy, Want, WeightLayout,
    activation::rows,
    plan::Pin,
    request::{AffineRequest, Below, Front, Gradients, Statistics},
    storage::Storage,
};

use crate::{Numbers, gate, second::Second};

/// The numbers in the operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Data {
    /// Small integers: every partial sum is exact in f32, so that results must be right to the last bit.
    Integers,
    /// Standard normal.
    Normal,
    /// ± exp(3 n) for a normal n: about fifteen orders of magnitude.
    Lognormal,
    /// Standard normal, but one element of x is 1e30.
    Huge,
    /// Pairs of terms that nearly cancel.
    Alternating,
}

impl Data {
    /// Every kind.
    pub const ALL: [Data; 5] = [Data::Integers, Data::Normal, Data::Lognormal, Data::Huge, Data::Alternating];
}

/// One case. It prints as text that [`str::parse`] reads, so that a failure can be replayed.
///
/// ```
/// use elbow::Activation;
/// use elbow_verify::Spec;
/// let spec = Spec::new(3, 5, 7, Activation::SILU);
/// assert_eq!(spec.to_string().parse(), Ok(spec));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// The layer.
    pub forward: AffineRequest,
    /// The wanted gradients.
    pub gradients: Gradients,
    /// The layer below, in a chain.
    pub below: Option<Below>,
    /// Whether the residual is x itself, whose gradient is then a part of dx; the layer has as many outputs as inputs.
    pub skip: bool,
    /// A double backward.
    pub second: Option<Second>,
    /// Choices that the plan must follow.
    pub pin: Pin,
    /// Added to the offset of every operand, in words of 4 bytes.
    pub misalign: usize,
    /// The numbers in the operands.
    pub data: Data,
    /// The type of x, w, b, the residual, y, z, dy, dx and d(residual).
    pub dtype: Float,
    /// Elements of the gap after each row of x, w, the residual, y, z, dy and their gradients.
    pub gap: usize,
    /// Whether all operands are in one buffer.
    pub shared: bool,
    /// The seed of the numbers.
    pub seed: u64,
}

impl Spec {
    /// A layer with a bias, normal data, z saved, and dx, dW and db wanted.
    pub fn new(m: usize, n: usize, k: usize, activation: Activation) -> Self {
        let want = Want::Overwrite;
        Spec {
            forward: AffineRequest::new(m, n, k, activation).saved(Saved::Z),
            gradients: Gradients::default().x(want).w(want).b(want),
            below: None,
            skip: false,
            second: None,
            pin: Pin::default(),
            misalign: 0,
            data: Data::Normal,
            dtype: Float::F32,
            gap: 0,
            shared: false,
            seed: 0,
        }
    }

    /// The same case at another size; with jets m is the number of groups.
    pub fn sized(mut self, m: usize, n: usize, k: usize) -> Self {
        let m = m * self.forward.jet.map_or(1, |jet| jet.members());
        (self.forward.m, self.forward.n, self.forward.k) = (m, if self.skip { k } else { n }, k);
        self
    }

    /// The same case with one weight, if its gate has one for each side: what it is judged as.
    pub(crate) fn judged(&self) -> Spec {
        Spec { forward: self.forward.gate(self.forward.gate.map(gate::whole)), ..*self }
    }

    /// What forward keeps; z if the choice is not enough for the gradients.
    pub fn saved(&self) -> Saved {
        self.stored_forward().resolve_saved(self.gradients.need_z()).unwrap_or(Saved::Z)
    }

    /// Which gradients are wanted, in the order of `case::OUTPUTS`.
    pub(crate) fn wants(&self) -> [Want; 14] {
        let g = self.gradients;
        let [db, dalpha, drow_weight] = self.below.map_or([Want::No; 3], |b| [b.db, b.dalpha, b.drow_weight]);
        let of_layer = [g.x, g.w, g.b, g.alpha, g.residual, g.row_weight];
        let others = [db, dalpha, drow_weight, g.scale, g.shift, g.front_alpha, g.w_up, g.b_up];
        std::array::from_fn(|i| of_layer.into_iter().chain(others).nth(i).unwrap_or_default())
    }

    /// The type of an operand.
    pub(crate) fn stored(&self, operand: Operand) -> Float {
        Storage::all(self.dtype).of(operand)
    }

    fn is_legal(&self) -> bool {
        // The other numbers overflow f16, or cancel until only its rounding errors are left.
        let fits = self.dtype == Float::F32 || matches!(self.data, Data::Integers | Data::Normal);
        // A square of integers may be too large for f16.
        let squares = self.forward.activation == Activation::RELU_SQUARED || self.forward.gate.is_some();
        let square = squares && self.data == Data::Integers;
        fits && !(square && self.dtype == Float::F16) && self.keeps_enough() && self.bindings() <= 8
    }

    /// Number of storage bindings of forward; WebGPU guarantees only eight, and a plan with more is refused.
    fn bindings(&self) -> usize {
        let AffineRequest { bias, alpha, residual, row_weight, statistics, dropout, .. } = self.forward;
        let optional = [
            dropout.is_some(),
            bias,
            alpha != AlphaSource::Constant,
            residual.is_some(),
            row_weight,
            matches!(self.saved(), Saved::Z | Saved::Mask),
            statistics.channels || statistics.firing || statistics.negative_mass,
            statistics.rows,
            statistics.around,
        ];
        3 + optional.into_iter().filter(|&there| there).count()
    }

    /// Whether what forward keeps is enough for the gradients.
    pub(crate) fn keeps_enough(&self) -> bool {
        let forward = self.stored_forward();
        let second = self.second.is_none_or(|second| second.request(&forward.saved(self.saved())).resolve().is_ok());
        second && forward.resolve_saved(self.gradients.need_z()).is_ok() && forward.check_sizes().is_ok()
    }

    fn stored_forward(&self) -> AffineRequest {
        self.forward.storage(Storage::all(self.dtype))
    }
}

/// The storage of a layer whose matrices have a gap of so many elements after each row.
pub fn with_gaps(layer: &AffineRequest, gap: usize) -> Storage {
    let AffineRequest { n, k, layout, storage, .. } = *layer;
    let outputs = layer.outputs();
    let in_row = if layout == WeightLayout::OutIn { k } else { layer.outputs_of_w() };
    let matrices = [
        (k, &[Operand::X, Operand::Dx, Operand::SavedBelow, Operand::Ddx, Operand::Dx2][..]),
        (outputs, &[Operand::Saved]),
        (n, &[Operand::Y, Operand::Dy, Operand::Residual, Operand::Dresidual]),
        (n, &[Operand::Ddy, Operand::Ddresidual, Operand::Dresidual2]),
        (in_row, &[Operand::W, Operand::Dw, Operand::Ddw, Operand::Dw2]),
        (in_row, &[Operand::WUp, Operand::DwUp]),
    ];
    let strides =
        matrices.iter().flat_map(|(length, operands)| operands.iter().map(move |operand| (*operand, *length)));
    strides.fold(storage, |storage, (operand, length)| match gap {
        0 => storage,
        gap => storage.with_row_stride(operand, u32::try_from(length.saturating_add(gap)).ok()),
    })
}

/// Activations whose values, slopes and derivatives by α are exact for small integers.
pub const EXACT: [&str; 12] = [
    "identity",
    "relu",
    "leaky_relu(0.5)",
    "leaky_relu(-0.25)",
    "prelu",
    "clipped_relu(16)",
    "relu6",
    "hardtanh(-8,8)",
    "thresholded_relu(3)",
    "threshold(2,5)",
    "softshrink(2)",
    "hardshrink(3)",
];

/// Those of layers with jets, where derivatives up to the third must be exact too.
const EXACT_WITH_JETS: [&str; 5] = ["relu_squared", "relu_squared", "relu_squared", "identity", "prelu"];

const RESIDUAL: [Option<ResidualAt>; 4] =
    [None, None, Some(ResidualAt::AfterActivation), Some(ResidualAt::BeforeActivation)];
const STATISTICS: [Statistics; 8] = {
    const NONE: Statistics = Statistics::NONE;
    let channels = NONE.channels(true);
    [
        NONE,
        NONE,
        NONE,
        NONE.firing(true),
        NONE.negative_mass(true),
        channels.rows(true),
        channels.around(true),
        channels.around(true).firing(true).negative_mass(true),
    ]
};
pub(crate) const WANTS: [Want; 3] = [Want::Overwrite, Want::Accumulate, Want::No];
const SAVED: [Saved; 5] = [Saved::Auto, Saved::Z, Saved::Y, Saved::Mask, Saved::None];
const ALPHA: [AlphaSource; 3] = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel];

fn parsed(text: &str) -> Activation {
    text.parse().unwrap_or(Activation::IDENTITY)
}

/// A random combination of all choices that select a kernel, with integers, at size 1, 1, 1. `tiles` are those that fit the device; `index`
/// walks through them, with and without splits, with both strategies.
pub fn any_exact(numbers: &mut Numbers, index: usize, tiles: &[usize]) -> Spec {
    let activation = |numbers: &mut Numbers| parsed(numbers.pick(&EXACT));
    any(numbers, index, tiles, Data::Integers, activation)
}

/// [`any_exact`] with real numbers and any activation at its default parameters.
pub fn any_real(numbers: &mut Numbers, index: usize, tiles: &[usize]) -> Spec {
    let data = numbers.pick(&Data::ALL[1..]);
    let activation = |numbers: &mut Numbers| default_of(numbers.below(rows().len()));
    any(numbers, index, tiles, data, activation)
}

/// The activation of a row at its defaults; a parameter without a default is 0.5.
pub(crate) fn default_of(row: usize) -> Activation {
    let row = &rows()[row];
    let required = row.parameters.iter().filter(|p| p.default.is_none()).count();
    Activation::new(row.kind, &vec![0.5; required]).unwrap_or(Activation::IDENTITY)
}

fn any(
    numbers: &mut Numbers,
    index: usize,
    tiles: &[usize],
    data: Data,
    activation: impl Fn(&mut Numbers) -> Activation,
) -> Spec {
    loop {
        let jet = any_jet(numbers);
        let gate = any_gate(numbers).filter(|_| jet.is_none());
        let front = any_front(numbers, data).filter(|_| jet.is_none());
        let activation = match jet {
            // Among them one whose second derivative is not 0.
            Some(_) if data == Data::Integers => parsed(numbers.pick(&EXACT_WITH_JETS)),
            // A second derivative that is not 0, for a double backward.
            _ if data == Data::Integers && numbers.below(6) == 0 => Activation::RELU_SQUARED,
            _ => activation(numbers),
        };
        let alpha = if activation.has_alpha() { numbers.pick(&ALPHA) } else { AlphaSource::Constant };
        let learnable = alpha != AlphaSource::Constant;
        let forward = AffineRequest::new(jet.map_or(1, |jet| jet.members()), 1, 1, activation)
            .saved(numbers.pick(&SAVED))
            .bias(numbers.below(3) != 0)
            .residual(numbers.pick(if gate.is_none() { &RESIDUAL } else { &RESIDUAL[..3] }))
            .row_weight(jet.is_none() && numbers.below(4) == 0)
            .jet(jet)
            .gate(gate)
            .front(front)
            .dropout(any_dropout(numbers, data).filter(|_| jet.is_none()))
            .statistics(if jet.is_none() && gate.is_none() { numbers.pick(&STATISTICS) } else { Statistics::NONE })
            .layout(numbers.pick(&[WeightLayout::OutIn, WeightLayout::InOut]))
            .alpha(alpha);
        let gradients = Gradients::default()
            .x(numbers.pick(&WANTS))
            .w(numbers.pick(&WANTS))
            .b(numbers.pick(&WANTS))
            .alpha(if learnable { numbers.pick(&WANTS) } else { Want::No })
            .residual(numbers.pick(&WANTS))
            .row_weight(if forward.row_weight { numbers.pick(&WANTS) } else { Want::No });
        let gradients = match forward.is_apart() {
            true => gradients.w_up(numbers.pick(&WANTS)).b_up(numbers.pick(&WANTS)),
            false => gradients,
        };
        let gradients = front.map_or(gradients, |front| of_front(numbers, gradients, &front));
        let below = (front.is_none() && numbers.below(3) == 0).then(|| match jet {
            None => any_below(numbers),
            Some(_) => Below::new(Activation::RELU_SQUARED, Saved::Z).db(numbers.pick(&WANTS)).jet(jet),
        });
        let skip = forward.residual.is_some() && (jet.is_none() || below.is_none()) && numbers.below(3) == 0;
        let plain =
            !skip && front.is_none() && jet.is_none() && gate.is_none() && forward.dropout.is_none() && below.is_none();
        let second = (plain && numbers.below(6) == 0).then(|| Second::any(numbers, &forward));
        let spec = Spec {
            forward,
            skip: skip && (gradients.x.wanted() || below.is_some()),
            second,
            gradients: if below.is_some() { gradients.x(Want::Overwrite) } else { gradients },
            below,
            pin: Pin::default()
                .tile(tiles[index % tiles.len()])
                .splits([1, 3][index / tiles.len() % 2])
                .strategy([Strategy::Prologue, Strategy::TwoPass][(index + index / tiles.len()) % 2]),
            misalign: 0,
            data,
            dtype: numbers.pick(&[Float::F32, Float::F32, Float::F16, Float::Bf16]),
            gap: numbers.pick(&[0, 0, 0, 1, 4]),
            shared: false,
            seed: numbers.seed(),
        };
        if spec.is_legal() {
            return spec;
        }
    }
}

/// None most of the time.
fn any_jet(numbers: &mut Numbers) -> Option<Jet> {
    let six = std::array::from_fn(|i| std::array::from_fn(|j| [1.0, 0.0, -1.0, 0.0][(i + j) % 4]));
    let two = [[1.0, 0.0, 1.0], [0.0, 0.5, 0.0], [2.0, -1.0, 0.0], [0.0; 3]];
    let jet = match numbers.below(12) {
        0 => Jet::two(numbers.pick(&two)),
        1 => Jet::six(six),
        _ => return None,
    };
    jet.ok().map(|jet| jet.even_if_flat())
}

/// None most of the time; of integers without a norm.
fn any_front(numbers: &mut Numbers, data: Data) -> Option<Front> {
    if numbers.below(6) != 0 {
        return None;
    }
    let activation = match data {
        Data::Integers => parsed(numbers.pick(&EXACT)),
        _ => default_of(numbers.below(rows().len())),
    };
    let alpha = if activation.has_alpha() { numbers.pick(&ALPHA) } else { AlphaSource::Constant };
    let norms = [Norm::batch(), Norm::running(), Norm::layer(), Norm::rms()];
    let norm = (data != Data::Integers && numbers.below(5) != 0).then(|| numbers.pick(&norms));
    let running = norm.is_some_and(|norm| norm.is_running() || (norm.is_batch() && numbers.below(2) == 0));
    let [scale, shift] = [0, 1].map(|_| numbers.below(2) == 0);
    Some(Front::new(activation).alpha(alpha).norm(norm).scale(scale).shift(shift).running(running))
}

/// With those of the front.
fn of_front(numbers: &mut Numbers, gradients: Gradients, front: &Front) -> Gradients {
    let mut want = |there: bool| if there { numbers.pick(&WANTS) } else { Want::No };
    let gradients = gradients.scale(want(front.scale)).shift(want(front.shift));
    gradients.front_alpha(want(front.alpha != AlphaSource::Constant))
}

/// None most of the time; of integers half of the elements, which doubles the others.
fn any_dropout(numbers: &mut Numbers, data: Data) -> Option<Dropout> {
    let p = match numbers.below(8) {
        0 if data == Data::Integers => 0.5,
        0 => numbers.pick(&[0.0, 0.1, 0.5, 0.75, 1.0]),
        _ => return None,
    };
    Dropout::new(p).ok()
}

/// None most of the time.
fn any_gate(numbers: &mut Numbers) -> Option<Gate> {
    let order = match numbers.below(12) {
        0 => Gate::stacked(),
        1 => Gate::interleaved(),
        2 => Gate::apart(),
        _ => return None,
    };
    let order = if numbers.below(2) == 0 { order } else { order.up_first() };
    if numbers.below(2) == 0 { order.limited(16.0).ok() } else { Some(order) }
}

fn any_below(numbers: &mut Numbers) -> Below {
    let below = Below::new(
        parsed(numbers.pick(&["relu", "leaky_relu(0.5)", "prelu"])),
        numbers.pick(&[Saved::Z, Saved::Y, Saved::Mask]),
    )
    .db(numbers.pick(&WANTS));
    match numbers.below(4) {
        0 => below,
        3 => below.saved(Saved::Z).dropout(Dropout::new(0.5).ok()),
        1 => below.row_weight(true).saved(Saved::Z).drow_weight(numbers.pick(&WANTS)),
        _ => below
            .alpha(numbers.pick(&ALPHA[1..]))
            .activation(parsed("prelu"))
            .saved(Saved::Z)
            .dalpha(numbers.pick(&WANTS)),
    }
}
