//! Plans run in f64, without a device: the programs of every kernel by [`Program::run`], the schedule by plain loops. What they give
//! is what the hand-written reference gives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;

use elbow::{
    Activation, AlphaSource, Dropout, Gate, Jet, MatrixUnits, Norm, Operand, ResidualAt, Saved, Strategy, Want,
    WeightLayout,
    cpu::{
        ForwardInputs, FrontInputs,
        reference::{self, BackwardInputs, Gradient, ReturningInputs},
    },
    kernel::KernelFile,
    plan::{self, Caps, DeviceClass, Dispatch, Pin, Plan},
    program::{By, Memory, Over},
    request::{
        AffineRequest, BackwardRequest, Below, DoubleBackwardRequest, Front, Gradients, Returning, SecondGradients,
        Statistics,
    },
};
use proptest::prelude::*;

/// Numbers by operand and place; those that were never written are NaN.
#[derive(Default)]
struct Numbers(HashMap<Operand, HashMap<usize, f64>>);

impl Numbers {
    fn put(&mut self, operand: Operand, values: &[f32]) {
        let values = values.iter().enumerate().map(|(i, &v)| (i, f64::from(v)));
        self.0.insert(operand, values.collect());
    }

    fn get(&self, operand: Operand, place: usize) -> f64 {
        self.0.get(&operand).and_then(|values| values.get(&place)).copied().unwrap_or(f64::NAN)
    }

    fn all(&self, operand: Operand, length: usize) -> Vec<f64> {
        (0..length).map(|i| self.get(operand, i)).collect()
    }
}

/// What a program sees from one dispatch: rows of `cols` numbers, and operands that begin where the plan says.
struct Seen<'a> {
    numbers: &'a mut Numbers,
    dispatch: &'a Dispatch,
    rows: usize,
    cols: usize,
    /// Of a flat pass: the length of the last dimension.
    channels: Option<usize>,
    /// Sums over rows by number and column, and over columns by number and row.
    sums: HashMap<(bool, usize, usize), f64>,
}

impl Seen<'_> {
    fn place(&self, operand: Operand, by: By, m: usize, n: usize) -> usize {
        let slots = self.dispatch.kernel.slots.iter().zip(&self.dispatch.uses);
        let mut origins = slots.filter(|(slot, _)| slot.role == operand.name()).map(|(_, part)| part.origin as usize);
        let n_channel = self.channels.map_or(n, |channels| n % channels);
        origins.next().unwrap()
            + match by {
                By::Element | By::Member(_) => m * self.cols + n,
                By::Row => m,
                By::Column => n_channel,
                By::Whole => 0,
                By::Plane(plane) => usize::from(plane) * self.cols + n,
                By::RowPlane(plane) => usize::from(plane) * self.rows + m,
                By::Stacked(side) => (2 * m + usize::from(side)) * self.cols + n,
                By::Interleaved(side) => 2 * (m * self.cols + n) + usize::from(side),
                By::State => 0,
                By::InterleavedColumn(side) => 2 * n + usize::from(side),
            }
    }
}

impl Memory for Seen<'_> {
    fn load(&self, operand: Operand, by: By, m: usize, n: usize) -> f64 {
        self.numbers.get(operand, self.place(operand, by, m, n))
    }

    fn store(&mut self, operand: Operand, by: By, m: usize, n: usize, value: f64) {
        let place = self.place(operand, by, m, n);
        self.numbers.0.entry(operand).or_default().insert(place, value);
    }

    fn load_joined(&self, operands: [Operand; 2], m: usize, n: usize) -> f64 {
        let (p, half) = (&self.dispatch.params, self.dispatch.params.half as usize);
        let kernel = &self.dispatch.kernel;
        let first = kernel.a.accesses()[0].operand == operands[0];
        let along = kernel.flag(if first { "A_ALONG_K" } else { "B_ALONG_K" }) == 1;
        let across = if first { p.rows } else { p.cols } as usize;
        let step = if along { n } else { m };
        let (operand, step) = if step < half { (operands[0], step) } else { (operands[1], step - half) };
        self.numbers.get(operand, if along { m * half + step } else { step * across + n })
    }

    fn load_apart(&self, operands: [Operand; 2], m: usize, n: usize) -> f64 {
        let [cols, k] = [self.dispatch.params.cols, self.dispatch.params.k].map(|size| size as usize);
        let (column, along) = if self.dispatch.kernel.flag("B_ALONG_K") == 1 { (m, true) } else { (n, false) };
        let (side, column) = (column / cols, column % cols);
        self.numbers.get(operands[side], if along { column * k + n } else { m * cols + column })
    }

    fn dropout(&self, state: Operand, dropout: Dropout, m: usize, n: usize) -> f64 {
        let state = std::array::from_fn(|i| self.numbers.get(state, i) as u32);
        f64::from(dropout.factor(state, (m * self.cols + n) as u32))
    }

    fn bit(&self, operand: Operand, m: usize, n: usize) -> bool {
        self.numbers.get(operand, m * self.cols + n) != 0.0
    }

    fn store_bit(&mut self, operand: Operand, m: usize, n: usize, bit: bool) {
        self.numbers.0.entry(operand).or_default().insert(m * self.cols + n, f64::from(u8::from(bit)));
    }

    fn reduce(&mut self, over: Over, number: usize, m: usize, n: usize, term: f64) {
        let of_rows = over == Over::Columns;
        *self.sums.entry((of_rows, number, if of_rows { m } else { n })).or_default() += term;
    }
}

/// Mean and 1 / √(variance + ε) of each row of x.
fn row_moments(dispatch: &Dispatch, numbers: &mut Numbers) {
    let (kernel, p) = (&dispatch.kernel, &dispatch.params);
    let [rows, cols] = [p.rows, p.cols].map(|size| size as usize);
    for m in 0..rows {
        let row: Vec<f64> = (0..cols).map(|n| numbers.get(Operand::X, m * cols + n)).collect();
        let average = |of: &dyn Fn(f64) -> f64| row.iter().map(|&x| of(x)).sum::<f64>() / cols as f64;
        let mean = if kernel.flag("CENTRED") == 1 { average(&|x| x) } else { 0.0 };
        let variance = average(&|x| (x - mean).powi(2));
        let moments = numbers.0.entry(Operand::Moments).or_default();
        moments.insert(m, mean);
        moments.insert(rows + m, (variance + f64::from(p.p[0])).sqrt().recip());
    }
}

/// One dispatch: each element once, its sum in f64, its partial sums all in the first part. Its activations are among the given ones, no two of one kind.
fn run(dispatch: &Dispatch, activations: &[Activation], numbers: &mut Numbers) {
    let (kernel, p) = (&dispatch.kernel, &dispatch.params);
    if kernel.file == KernelFile::RowMoments {
        return row_moments(dispatch, numbers);
    }
    let stages = kernel.stages.iter();
    let activations: Vec<Activation> =
        stages.map(|&kind| *activations.iter().find(|activation| activation.kind() == kind).unwrap()).collect();
    let activations = &activations[..];
    let [rows, cols, reduced] = [p.rows, p.cols, p.k].map(|size| size as usize);
    let parameters = p.p.map(f64::from);
    let origin = |role: &str| {
        let mut found = kernel.slots.iter().zip(&dispatch.uses).filter(|(slot, _)| slot.role == role);
        found.next().map_or(0, |(_, part)| part.origin as usize)
    };
    let (rows, cols, channels) = match kernel.file {
        KernelFile::Flat => (1, rows, Some(p.channels as usize)),
        KernelFile::ColumnSum => (1, cols, None),
        _ => (rows, cols, None),
    };
    let element = |numbers: &mut Numbers, program: &elbow::program::Program, along: bool, across: usize, r: usize| {
        let (place, inner) = if along {
            ([across, r], reduced)
        } else {
            ([r, across], if program == &kernel.a { rows } else { cols * (1 + kernel.flag("PAIRED") as usize) })
        };
        let outer = if !along {
            reduced
        } else if program == &kernel.a {
            rows
        } else {
            cols
        };
        let mut seen = Seen { numbers, dispatch, rows: outer, cols: inner, channels: None, sums: HashMap::new() };
        program.run(place, &[], &parameters, activations, &mut seen)
    };
    let mut all = HashMap::new();
    let members = kernel.finish.members() as usize;
    for m in (0..rows).step_by(members) {
        for n in 0..cols {
            let mut sums = Vec::new();
            if !kernel.a.is_empty() {
                // The columns of B that belong to this one of the output.
                let columns = match (kernel.flag("PAIRED"), kernel.flag("ALTERNATE")) {
                    (0, _) => vec![n],
                    (_, 0) => vec![n, cols + n],
                    _ => vec![2 * n, 2 * n + 1],
                };
                for (m, n) in (m..m + members).flat_map(|m| columns.iter().map(move |&n| (m, n))) {
                    let term = |r| {
                        let a = element(numbers, &kernel.a, kernel.flag("A_ALONG_K") == 1, m, r);
                        a * element(numbers, &kernel.b, kernel.flag("B_ALONG_K") == 1, n, r)
                    };
                    sums.push((0..reduced).map(term).sum());
                }
            } else if kernel.file == KernelFile::SplitSum {
                let products = dispatch.uses[0].operand;
                let at = |split| (split * rows + m) * cols + n;
                sums.push((0..p.splits as usize).map(|split| numbers.get(products, at(split))).sum());
            } else if kernel.file == KernelFile::ColumnSum {
                let terms = p.rows as usize;
                let sum = |k| {
                    (0..terms)
                        .map(|row| numbers.get(Operand::Partials, origin("terms") + (k * terms + row) * cols + n))
                        .sum()
                };
                sums.extend((0..kernel.finish.finished_sums() as usize).map(sum).collect::<Vec<f64>>());
            }
            let mut seen = Seen { numbers, dispatch, rows, cols, channels, sums: std::mem::take(&mut all) };
            kernel.finish.run([m, n], &sums, &parameters, activations, &mut seen);
            all = seen.sums;
        }
    }
    // A pass counts its parts, a product its tiles.
    let parts = if kernel.file == KernelFile::Rows { p.parts } else { p.split_tiles / p.tiles_cols.max(1) } as usize;
    let partials = numbers.0.entry(Operand::Partials).or_default();
    for ((of_rows, number, at), sum) in all {
        let (first, each, count) = match of_rows {
            true => (origin("row_partials"), rows, p.tiles_cols as usize),
            false => (origin("partials"), cols, parts),
        };
        for part in 0..count {
            partials.insert(first + (number * count + part) * each + at, if part == 0 { sum } else { 0.0 });
        }
    }
}

fn run_all(plan: &Plan, activations: &[Activation], numbers: &mut Numbers) {
    for dispatch in &plan.dispatches {
        run(dispatch, activations, numbers);
    }
}

fn close(what: &str, got: &[f64], want: &[f64], terms: &[f64]) -> Result<(), TestCaseError> {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        // Sums in another order; α and the parameters are f32.
        let allowed = 1e-6 * (terms.get(i).copied().unwrap_or(0.0) + want.abs() + 1.0);
        prop_assert!((got - want).abs() <= allowed, "{what}[{i}] is {got}, the reference has {want}");
    }
    Ok(())
}

fn values(seed: &mut u32, length: usize) -> Vec<f32> {
    let mut next = || {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed >> 16) as f32 / 16384.0 - 2.0
    };
    (0..length).map(|_| next()).collect()
}

fn want() -> impl prop::strategy::Strategy<Value = Want> {
    prop_oneof![Just(Want::No), Just(Want::Overwrite)]
}

/// A front, and which of its gradients are wanted; its activations are none of the layer's.
fn any_front(
    (which, alpha, norm, [scale, shift, running], wants): (usize, usize, usize, [bool; 3], [Want; 3]),
) -> (Front, [Want; 3]) {
    let activation: Activation = ["relu6", "gelu", "celu(0.75)", "prelu"][which].parse().unwrap();
    let alpha = match activation.has_alpha() {
        true => [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][alpha],
        false => AlphaSource::Constant,
    };
    let momentum = Norm::batch().epsilon(0.25).unwrap().momentum(0.5).unwrap();
    let norm = [None, Some(momentum), Some(Norm::running()), Some(Norm::layer()), Some(Norm::rms())][norm];
    let running = norm.is_some_and(|norm| norm.is_running() || (norm.is_batch() && running));
    let front = Front::new(activation).alpha(alpha).norm(norm).scale(scale).shift(shift).running(running);
    let there = [scale, shift, alpha != AlphaSource::Constant];
    (front, [0, 1, 2].map(|i| if there[i] { wants[i] } else { Want::No }))
}

prop_compose! {
    fn any_request()(
        sizes in [1..6usize, 1..6, 0..6], which in 0..4usize, saved in 0..4usize, alpha in 0..3usize, residual in 0..3usize,
        [bias, in_out, weight, statistics, prologue] in any::<[bool; 5]>(),
        [x, w, b, dalpha, dresidual, dweight] in [want(), want(), want(), want(), want(), want()],
        front in prop::option::of((0..4usize, 0..3usize, 0..5usize, any::<[bool; 3]>(), [want(), want(), want()])),
        below in prop::option::of((0..2usize, want(), any::<bool>())), jets in 0..4usize, gates in 0..8usize, tile in 0..3usize, [w_up, b_up] in [want(), want()], leaves in prop::option::of(0..4usize), skip: bool, bindings in 0..3usize,
    ) -> (BackwardRequest, Strategy, usize, u32) {
        let activation: Activation = ["leaky_relu(0.25)", "tanh", "elu(0.5)", "identity"][which].parse().unwrap();
        let alpha = if activation.has_alpha() {
            [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][alpha]
        } else {
            AlphaSource::Constant
        };
        let affine = AffineRequest::new(sizes[0], sizes[1], sizes[2], activation).layout(if in_out { WeightLayout::InOut } else { WeightLayout::OutIn }).alpha(alpha).bias(bias).residual([None, Some(ResidualAt::AfterActivation), Some(ResidualAt::BeforeActivation)][residual]).row_weight(weight).statistics(Statistics::default().channels(statistics).rows(statistics).firing(statistics != bias).negative_mass(in_out)).saved([Saved::Z, Saved::Y, Saved::Mask, Saved::None][saved]);
        let jet = [None, None, Some(Jet::two([1.0, -0.5, 2.0])), Some(Jet::laplacian(3))][jets].clone().map(|jet| jet.unwrap().even_if_flat());
        let (affine, weight, below) = match jet {
            None => (affine, weight, below),
            Some(jet) => {
                let affine = affine.row_weight(false).statistics(Statistics::default()).jet(jet);
                (affine.m(sizes[0].div_ceil(2) * jet.members()), false, below.map(|(which, want, _)| (which, want, false)))
            }
        };
        let gate = [Gate::stacked(), Gate::interleaved(), Gate::stacked().up_first(), Gate::interleaved().limited(1.5).unwrap(), Gate::apart(), Gate::apart().up_first().limited(1.5).unwrap()].get(gates).copied().filter(|_| jet.is_none());
        let affine = match gate {
            None => affine,
            gate => affine.gate(gate).residual(affine.residual.map(|_| ResidualAt::AfterActivation)).statistics(Statistics::default()),
        };
        let leaves = leaves.filter(|_| jet.is_none()).map(|p| Dropout::new([0.0, 0.25, 0.5, 1.0][p]).unwrap());
        let affine = affine.dropout(leaves);
        let only = |there: bool, want| if there { want } else { Want::No };
        let (front, wants_of_front) = front.filter(|_| jet.is_none()).map(any_front).unzip();
        let affine = affine.front(front);
        let below = below.filter(|_| front.is_none());
        let [dscale, dshift, dfront_alpha] = wants_of_front.unwrap_or([Want::No; 3]);
        let gradients = Gradients::default().scale(dscale).shift(dshift).front_alpha(dfront_alpha).x(if below.is_some() { Want::Overwrite } else { x }).w(w).b(b).alpha(only(alpha != AlphaSource::Constant, dalpha)).residual(only(affine.residual.is_some(), dresidual)).row_weight(only(weight, dweight));
        let gradients = if affine.is_apart() { gradients.w_up(w_up).b_up(b_up) } else { gradients };
        let below = below.map(|(which, db, row_weight)| Below::new(["relu", "silu"][which].parse().unwrap(), Saved::Z).row_weight(row_weight).jet(jet).dropout(leaves.filter(|_| row_weight)).db(db).drow_weight(only(row_weight, db)));
        // The residual is x itself.
        let skip = skip && affine.residual.is_some() && (below.is_none() || jet.is_none());
        let affine = if skip { affine.n(affine.k.max(1)).k(affine.k.max(1)) } else { affine };
        let gradients = if skip { gradients.x(Want::Overwrite) } else { gradients };
        (BackwardRequest::new(affine, gradients).below(below).skip(skip), if prologue { Strategy::Prologue } else { Strategy::TwoPass }, tile, [12, 8, 7][bindings])
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn programs_compute_what_the_reference_computes((request, strategy, tile, bindings) in any_request(), seed: u32) {
        let caps = Caps::defaults(DeviceClass::Discrete).max_bindings(if request.affine.is_apart() { bindings } else { bindings.max(9) });
        // Two sums for each element in one product, staged or on matrix units, or in a product and a pass; operands of two weights joined, or one after
        // the other.
        let tile = if request.affine.gate.is_some() { [0, 13, 20][tile] } else { 0 };
        let caps = if tile == 20 { caps.matrix_size(16).subgroup(32).matrix_units(MatrixUnits::Rounded).f16(true).workgroup_bytes(49_152) } else { caps };
        let pin = Pin::default().tile(tile).splits(1).strategy(strategy);
        let affine = request.affine;
        let AffineRequest { m, n, k, .. } = affine;
        // A saved choice that is not enough is refused, here as everywhere.
        let Ok(backward) = plan::backward(&request, true, &caps, &pin) else { return Ok(()) };
        let Ok(forward) = plan::forward(&affine, true, false, &caps, &pin) else { return Ok(()) };
        let mut seed = seed;
        let mut numbers = Numbers::default();
        let outputs = affine.outputs_of_w();
        let [x, w, b, residual, weight, dy] =
            [m * k, outputs * k, outputs, m * n, m, m * n].map(|length| values(&mut seed, length));
        let [z_below, weight_below] = [m * k, m].map(|length| values(&mut seed, length));
        let [w_up, b_up] = [n * k, n].map(|length| values(&mut seed, length));
        let alpha: Vec<f32> = values(&mut seed, n).iter().map(|v| v.abs() / 4.0 + 0.25).collect();
        for (operand, values) in [
            (Operand::X, &x), (Operand::W, &w), (Operand::B, &b), (Operand::Residual, &residual), (Operand::RowWeight, &weight),
            (Operand::Dy, &dy), (Operand::Alpha, &alpha), (Operand::SavedBelow, &z_below), (Operand::RowWeightBelow, &weight_below),
            (Operand::WUp, &w_up), (Operand::BUp, &b_up),
        ] {
            numbers.put(operand, values);
        }
        // The front in front of it, if there is one.
        let [scale, shift, mut running] = [k, k, 2 * k].map(|length| values(&mut seed, length));
        running[k..].iter_mut().for_each(|variance| *variance = variance.abs());
        let front_alpha: Vec<f32> = values(&mut seed, k.max(1)).iter().map(|v| v.abs() / 4.0 + 0.25).collect();
        for (operand, values) in [
            (Operand::Scale, &scale), (Operand::Shift, &shift), (Operand::FrontAlpha, &front_alpha),
            (Operand::RunningMoments, &running), (Operand::FirstRow, &x[..k].to_vec()),
        ] {
            numbers.put(operand, values);
        }
        let facts = affine.front;
        let alpha_of_front = match facts.map_or(AlphaSource::Constant, |front| front.alpha) {
            AlphaSource::Constant => None,
            AlphaSource::PerLayer => front_alpha.get(..1),
            AlphaSource::PerChannel => Some(&front_alpha[..]),
        };
        let there = |there: fn(&Front) -> bool| facts.as_ref().is_some_and(there);
        let front = FrontInputs::default()
            .scale(there(|front| front.scale).then_some(&scale))
            .shift(there(|front| front.shift).then_some(&shift))
            .running_moments(there(|front| front.running).then_some(&running))
            .alpha(alpha_of_front);
        let activations: Vec<Activation> = [Some(affine.activation), facts.map(|front| front.activation), request.below.map(|below| below.activation)].into_iter().flatten().collect();
        for operand in [Operand::Firing, Operand::NegativeMass] {
            numbers.put(operand, &vec![0.0; n]);
        }
        let [w_up, b_up] = [(&w_up, true), (&b_up, affine.bias)].map(|(v, there)| (affine.is_apart() && there).then_some(&v[..]));
        let state = Dropout::state(u64::from(seed), 1, 2);
        for operand in [Operand::DropoutState, Operand::DropoutStateBelow] {
            numbers.0.insert(operand, state.iter().enumerate().map(|(i, &word)| (i, f64::from(word))).collect());
        }
        let alpha = match affine.alpha {
            AlphaSource::Constant => None,
            AlphaSource::PerLayer => Some(&alpha[..1]),
            AlphaSource::PerChannel => Some(&alpha[..]),
        };
        let weight = affine.row_weight.then_some(&weight[..]);
        let inputs = ForwardInputs::new(&x, &w).b(affine.bias.then_some(&b)).alpha(alpha).residual(affine.residual.map(|_| &residual[..])).row_weight(weight).dropout_state(affine.dropout.map(|_| state)).w_up(w_up).b_up(b_up).front(front);
        let judge = reference::forward(&affine, inputs).unwrap();
        run_all(&forward, &activations, &mut numbers);
        close("y", &numbers.all(Operand::Y, m * n), &judge.y, &judge.z_terms)?;
        for (operand, judge) in [(Operand::Moments, &judge.moments), (Operand::RunningMoments, &judge.running_moments)] {
            // Of rows without elements there are none.
            close(operand.name(), &numbers.all(operand, if k > 0 { judge.len() } else { 0 }), judge, &[])?;
        }
        if affine.statistics.any() {
            let fires: Vec<f64> = (0..n).map(|n| (0..m).filter(|m| judge.z[m * affine.outputs() + n] > 0.0).count() as f64).collect();
            if affine.statistics.firing {
                close("firing", &numbers.all(Operand::Firing, n), &fires, &[])?;
            }
            if affine.statistics.negative_mass {
                let of = |n: usize| (0..m).map(|m| (-judge.z[m * affine.outputs() + n]).max(0.0)).sum();
                let mass: Vec<f64> = (0..n).map(of).collect();
                close("negative mass", &numbers.all(Operand::NegativeMass, n), &mass, &[])?;
            }
            let of = |operand, rows, length| {
                close("statistics", &numbers.all(operand, 5 * length), &reference::statistics(&affine, &judge, rows), &[1e3; 30])
            };
            if affine.statistics.channels {
                of(Operand::ChannelStatistics, false, n)?;
                of(Operand::RowStatistics, true, m)?;
            }
        }
        if affine.saved == Saved::Y {
            let y = numbers.0.get(&Operand::Y).cloned().unwrap_or_default();
            numbers.0.insert(Operand::Saved, y);
        }
        let inputs = BackwardInputs::new(&x, &w, &dy)
            .b(affine.bias.then_some(&b))
            .alpha(alpha)
            .residual(affine.residual.map(|_| &residual[..]))
            .row_weight(weight)
            .w_up(w_up)
            .b_up(b_up)
            .dropout_state(affine.dropout.map(|_| state))
            .front(front)
            .dropout_state_below(request.below.and_then(|below| below.dropout).map(|_| state))
            .z_below(request.below.map(|_| &z_below[..]))
            .row_weight_below(request.below.filter(|below| below.row_weight).map(|_| &weight_below[..]));
        let judge = reference::backward(&request, inputs).unwrap();
        run_all(&backward, &activations, &mut numbers);
        let below = request.below;
        let (db, dweight) = below.map_or((Want::No, Want::No), |below| (below.db, below.drow_weight));
        let wants = request.gradients;
        let list: [(Operand, Want, &Gradient); 13] = [
            (Operand::Dscale, wants.scale, &judge.dscale),
            (Operand::Dshift, wants.shift, &judge.dshift),
            (Operand::DfrontAlpha, wants.front_alpha, &judge.dfront_alpha),
            (Operand::Dx, wants.x, if below.is_some() { &judge.dz_below } else { &judge.dx }),
            (Operand::Dw, wants.w, &judge.dw),
            (Operand::Db, wants.b, &judge.db),
            (Operand::Dalpha, wants.alpha, &judge.dalpha),
            (Operand::Dresidual, wants.residual, &judge.dresidual),
            (Operand::DrowWeight, wants.row_weight, &judge.drow_weight),
            (Operand::DwUp, wants.w_up, &judge.dw_up),
            (Operand::DbUp, wants.b_up, &judge.db_up),
            (Operand::DbBelow, db, &judge.db_below),
            (Operand::DrowWeightBelow, dweight, &judge.drow_weight_below),
        ];
        for (operand, _, judge) in list.into_iter().filter(|(_, want, _)| want.wanted()) {
            close(operand.name(), &numbers.all(operand, judge.value.len()), &judge.value, &judge.terms)?;
        }
    }
    #[test]
    fn double_backward_computes_what_the_reference_computes(
        sizes in [1..6usize, 1..6, 0..6], which in 0..5usize, keeps in any::<bool>(), alpha in 0..3usize, before: bool,
        [bias, in_out, joined] in any::<[bool; 3]>(), there in any::<[bool; 5]>(),
        wants in [want(), want(), want(), want(), want(), want()], seed: u32,
    ) {
        let activation: Activation = ["leaky_relu(0.25)", "swish", "celu", "identity", "relu_squared"][which].parse().unwrap();
        let [m, n, k] = sizes;
        let alpha = match activation.has_alpha() {
            true => [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][alpha],
            false => AlphaSource::Constant,
        };
        let learns = alpha != AlphaSource::Constant;
        let layer = AffineRequest::new(m, n, k, activation)
            .layout(if in_out { WeightLayout::InOut } else { WeightLayout::OutIn })
            .alpha(alpha)
            .bias(bias)
            .residual(before.then_some(ResidualAt::BeforeActivation))
            .saved(if keeps { Saved::Z } else { Saved::None });
        let only = |there: bool, want| if there { want } else { Want::No };
        let returning = Returning::default().x(there[0]).w(there[1]).b(there[2]).alpha(there[3] && learns).residual(there[4] && before);
        let [dy, x, w, b, of_alpha, residual] = wants;
        let wants = SecondGradients::default().dy(dy).x(x).w(w).b(b).alpha(only(learns, of_alpha)).residual(only(before, residual));
        let request = DoubleBackwardRequest::new(layer, returning, wants);
        // Two products in one sum, or one of joined operands.
        let pin = Pin::default().tile(if joined { 5 } else { 0 }).splits(1);
        let plan = plan::double_backward(&request, true, &Caps::defaults(DeviceClass::Discrete), &pin).unwrap();
        let mut seed = seed;
        let mut numbers = Numbers::default();
        let [x, w, b, residual, dy] = [m * k, n * k, n, m * n, m * n].map(|length| values(&mut seed, length));
        let [ddx, ddw, ddb, ddalpha, ddresidual] = [m * k, n * k, n, n, m * n].map(|length| values(&mut seed, length));
        let alphas: Vec<f32> = values(&mut seed, n).iter().map(|v| v.abs() / 4.0 + 0.5).collect();
        for (operand, values) in [
            (Operand::X, &x), (Operand::W, &w), (Operand::B, &b), (Operand::Residual, &residual), (Operand::Dy, &dy),
            (Operand::Alpha, &alphas), (Operand::Ddx, &ddx), (Operand::Ddw, &ddw), (Operand::Ddb, &ddb),
            (Operand::Ddalpha, &ddalpha), (Operand::Ddresidual, &ddresidual),
        ] {
            numbers.put(operand, values);
        }
        let given = match alpha {
            AlphaSource::Constant => None,
            AlphaSource::PerLayer => Some(&alphas[..1]),
            AlphaSource::PerChannel => Some(&alphas[..]),
        };
        let inputs = BackwardInputs::new(&x, &w, &dy).b(bias.then_some(&b)).alpha(given).residual(before.then_some(&residual));
        let forward_inputs = ForwardInputs::new(&x, &w).b(bias.then_some(&b)).alpha(given).residual(before.then_some(&residual));
        let z = reference::forward(&layer, forward_inputs).unwrap().z;
        numbers.0.insert(Operand::Saved, z.into_iter().enumerate().collect());
        let is = |there: bool, values: &[f32]| -> Option<Vec<f32>> { there.then(|| values.to_vec()) };
        let back = [is(returning.x, &ddx), is(returning.w, &ddw), is(returning.b, &ddb), is(returning.alpha, &ddalpha), is(returning.residual, &ddresidual)];
        let [of_x, of_w, of_b, of_alpha, of_residual] = back.each_ref().map(|values| values.as_deref());
        let returned = ReturningInputs::default().ddx(of_x).ddw(of_w).ddb(of_b).ddalpha(of_alpha).ddresidual(of_residual);
        let judge = reference::double_backward(&request, inputs, returned).unwrap();
        run_all(&plan, &[activation], &mut numbers);
        let list: [(Operand, Want, &Gradient); 6] = [
            (Operand::Ddy, wants.dy, &judge.ddy),
            (Operand::Dx2, wants.x, &judge.dx2),
            (Operand::Dw2, wants.w, &judge.dw2),
            (Operand::Db2, wants.b, &judge.db2),
            (Operand::Dalpha2, wants.alpha, &judge.dalpha2),
            (Operand::Dresidual2, wants.residual, &judge.dz2),
        ];
        for (operand, _, judge) in list.into_iter().filter(|(_, want, _)| want.wanted()) {
            close(operand.name(), &numbers.all(operand, judge.value.len()), &judge.value, &judge.terms)?;
        }
    }
}
