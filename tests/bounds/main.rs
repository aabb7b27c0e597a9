//! Loops and indices of every kernel: what the plan says of them, against what the kernel's own text does, for requests of
//! any size up to 2³² elements. Without a GPU; `tests/gpu/limits.rs` runs plans at the bound.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "modules of one test binary")]

mod interpret;

use std::collections::HashSet;

use elbow::{
    Activation, AlphaSource, Dropout, Error, Float, Gate, Jet, MatrixUnits, Norm, Operand, Saved, Strategy, Want,
    WeightLayout,
    criterion::{Criterion, Reduction},
    kernel::{KernelFile, MOST_TRIPS, Params},
    philox::Distribution,
    plan::{self, Caps, DeviceClass, Dispatch, Pin, Plan, TILES},
    rates::Rule,
    request::{
        AffineRequest, BackwardRequest, Below, DoubleBackwardRequest, Front, Gradients, Returning, SecondGradients,
        Statistics,
    },
    shader::{Binding, assemble},
    shape::Shape,
    storage::Storage,
};
use interpret::{Machine, V};
use proptest::{prelude::*, strategy::Strategy as _};

/// As much memory as a device may have: the bounds of loops and indices alone are left.
const fn roomy(class: DeviceClass, subgroup: u32) -> Caps {
    Caps::defaults(class).subgroup(subgroup).max_binding(1 << 40).max_scratch(1 << 40)
}

/// With matrix units, and every operand rounded to f16, or split.
const fn with_matrices(class: DeviceClass, subgroup: u32, size: u32, units: MatrixUnits) -> Caps {
    let caps = roomy(class, subgroup).workgroup_bytes(49_152).f16(true);
    caps.matrix_size(size).matrix_units(units)
}

const DEVICES: [Caps; 12] = [
    roomy(DeviceClass::Software, 8),
    roomy(DeviceClass::Software, 0),
    roomy(DeviceClass::Discrete, 32),
    roomy(DeviceClass::Integrated, 0),
    roomy(DeviceClass::Discrete, 0).subgroups(true),
    Caps::defaults(DeviceClass::Software).subgroup(8),
    Caps::defaults(DeviceClass::Discrete),
    with_matrices(DeviceClass::Software, 8, 8, MatrixUnits::Rounded),
    with_matrices(DeviceClass::Discrete, 32, 16, MatrixUnits::Rounded),
    with_matrices(DeviceClass::Integrated, 64, 16, MatrixUnits::Rounded),
    with_matrices(DeviceClass::Software, 8, 8, MatrixUnits::Split),
    with_matrices(DeviceClass::Discrete, 32, 16, MatrixUnits::Split),
];

fn full() -> bool {
    std::env::var("ELBOW_TEST_FULL").is_ok_and(|v| !v.is_empty() && v != "0")
}

fn params(p: &Params, uses: &[plan::Use]) -> V {
    let u = V::U;
    let mut block: Vec<V> = [p.rows, p.cols, p.k, p.chunk, p.tiles, p.tiles_cols, p.split_tiles].map(u).to_vec();
    // As a recorded dispatch has it.
    let number = (p.tiles - p.first) * p.batch;
    block.extend([number.min(65_535), p.channels, p.first, p.batch, p.zero].map(u));
    block.push(V::Many(vec![V::F; 4]));
    let fours = |all: [u32; 12]| V::Many(all.chunks(4).map(|c| V::Many(c.iter().map(|&v| u(v)).collect())).collect());
    assert!(uses.len() <= 12);
    block.extend([
        fours([0; 12]),
        fours(p.batch_stride),
        fours(p.row_stride),
        u(p.ignored),
        u(p.parts),
        u(p.splits),
        u(p.half),
        V::Many(p.seed.map(u).to_vec()),
    ]);
    V::Many(block)
}

/// Runs some invocations of a dispatch: the most loop iterations that one of them has gone through.
fn run(dispatch: &Dispatch, every_lane: bool) -> Result<u64, String> {
    let kernel = &dispatch.kernel;
    let text = assemble(kernel, Binding::Exclusive).map_err(|e| e.to_string())?;
    let module = naga::front::wgsl::parse_str(&text).map_err(|e| e.emit_to_string(&text))?;
    let windows = |name: &str| {
        let (_, part) = kernel.slots.iter().zip(&dispatch.uses).find(|(s, _)| s.role == name).expect("a slot");
        part.first..part.first + part.len
    };
    let block = params(&dispatch.params, &dispatch.uses);
    let entry = &module.entry_points[0];
    let [wx, wy, _] = entry.workgroup_size;
    let p = &dispatch.params;
    let count = (p.tiles - p.first) * p.batch;
    let width = count.min(65_535);
    // The last number of the grid lies behind the last tile, where the grid is folded.
    let mut numbers = vec![0, count - 1, count.div_ceil(width) * width - 1];
    numbers.dedup();
    let several = numbers.len() > 1;
    // A long loop takes this interpreter a second: then one lane alone, of the first workgroup where loops are counted (the last may have few columns), of the
    // last where indices are the question.
    let long = dispatch.trips() > 500;
    let skipped = |number: u32, lane: u32| match every_lane {
        true => number > 0 || lane > 0,
        false => (number == 0 && several) || lane > 0,
    };
    let mut most = 0;
    for number in numbers {
        for lane in 0..wx * wy {
            let edge = lane == 0 || lane == wx * wy - 1 || lane == wx - 1;
            if !(every_lane || edge) || (long && skipped(number, lane)) {
                continue;
            }
            let argument = |argument: &naga::FunctionArgument| {
                let Some(naga::Binding::BuiltIn(built_in)) = argument.binding else { panic!("{argument:?}") };
                let vector = |v: [u32; 3]| V::Many(v.map(V::U).to_vec());
                // The smallest subgroups that there are leave most to do.
                let span = if kernel.flag("SHUFFLES") == 1 { 4 } else { kernel.flag("SPAN").max(1) };
                match built_in {
                    naga::BuiltIn::WorkGroupId => vector([number % width, number / width, 0]),
                    naga::BuiltIn::LocalInvocationId => vector([lane % wx, lane / wx, 0]),
                    naga::BuiltIn::LocalInvocationIndex => V::U(lane),
                    naga::BuiltIn::SubgroupSize => V::U(span),
                    naga::BuiltIn::SubgroupId => V::U(lane / span),
                    naga::BuiltIn::SubgroupInvocationId => V::U(lane % span),
                    other => panic!("{other:?}"),
                }
            };
            let mut machine = Machine::new(&module, block.clone(), &windows);
            let arguments = entry.function.arguments.iter().map(argument).collect();
            machine.run(arguments).map_err(|e| format!("workgroup {number}, lane {lane}: {e}"))?;
            most = most.max(machine.trips);
        }
    }
    Ok(most)
}

/// Every dispatch stays within the bounds that the plan gives.
fn bounded(plan: &Plan) {
    for dispatch in &plan.dispatches {
        assert!(dispatch.trips() <= MOST_TRIPS, "{plan}");
        assert!(dispatch.reach() <= u64::from(u32::MAX), "{plan}");
        assert!(dispatch.uses.iter().all(|u| u.first + u.len <= u64::from(u32::MAX)), "{plan}");
    }
}

/// The text does what the plan says: no more iterations, and not far fewer (columns past the edge are left out of some loops).
fn checked(plan: &Plan, every_lane: bool) {
    bounded(plan);
    let mut seen = HashSet::new();
    for dispatch in &plan.dispatches {
        // Pieces of one dispatch: the first and the last.
        let last = plan.dispatches.iter().rev().find(|d| d.kernel == dispatch.kernel).is_some_and(|d| d == dispatch);
        if !seen.insert(&dispatch.kernel) && !last {
            continue;
        }
        let counted = run(dispatch, every_lane).unwrap_or_else(|e| panic!("{}: {e}\n{plan}", dispatch.kernel));
        let said = dispatch.trips();
        assert!(counted <= said, "{counted} iterations, said to be at most {said}: {}\n{plan}", dispatch.kernel);
        if every_lane {
            assert!(said <= 2 * counted + 64, "{counted} iterations, said to be {said}: {}\n{plan}", dispatch.kernel);
        }
    }
}

/// Sizes whose product is at most 2³², small ones and large ones, at powers of two and beside them.
fn sizes(small: bool) -> impl prop::strategy::Strategy<Value = [usize; 3]> {
    let exponents = if small { (0..7u32, 0..7u32, 0..7u32) } else { (0..33u32, 0..33u32, 0..33u32) };
    (exponents, any::<[u8; 3]>()).prop_map(|((a, b, c), near)| {
        let (a, b, c) = (a, b.min(33 - a.min(33)), c.min(33 - a.max(b).min(33)));
        let size = |exponent: u32, near: u8| (1usize << exponent).saturating_add(near as usize % 5).saturating_sub(2);
        [size(a, near[0]), size(b, near[1]), size(c, near[2])]
    })
}

fn want() -> impl prop::strategy::Strategy<Value = Want> {
    prop_oneof![Just(Want::No), Just(Want::Overwrite), Just(Want::Accumulate)]
}

fn alpha() -> impl prop::strategy::Strategy<Value = AlphaSource> {
    prop_oneof![Just(AlphaSource::Constant), Just(AlphaSource::PerLayer), Just(AlphaSource::PerChannel)]
}

fn saved() -> impl prop::strategy::Strategy<Value = Saved> {
    prop_oneof![Just(Saved::Auto), Just(Saved::Z), Just(Saved::Mask), Just(Saved::None)]
}

fn pin() -> impl prop::strategy::Strategy<Value = Pin> {
    let splits = prop_oneof![2 => Just(None), 2 => (0..5u32).prop_map(Some), 1 => any::<u32>().prop_map(Some)];
    (prop::option::of(0..TILES.len()), splits).prop_map(|(tile, splits)| Pin::default().tile(tile).splits(splits))
}

prop_compose! {
    fn any_plan(small: bool)(
        [m, n, k] in sizes(small), device in 0..DEVICES.len(), aligned: bool, pin in pin(), layers in 1..4usize,
        alpha in alpha(), saved in saved(), in_out: bool, gradients in [want(), want(), want(), want()],
        chain in prop::option::of((want(), want())), kind in 0..18u8, returning: [bool; 4], scaled: bool, prologue: bool, label in any::<u32>(),
        gap in prop_oneof![2 => Just(0usize), 1 => 1..9usize], shared: bool,
        fronts in prop_oneof![3 => Just(None), 1 => (0..5usize, any::<bool>()).prop_map(Some)], jets in prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)], gates in prop_oneof![3 => Just(None), 1 => (0..3usize).prop_map(Some)], leaves in any::<bool>(),
    ) -> elbow::Result<Plan> {
        let caps = &DEVICES[device];
        let activation: Activation = "leaky_relu(0.5)".parse().unwrap();
        let layout = if in_out { WeightLayout::InOut } else { WeightLayout::OutIn };
        let statistics = Statistics::default().channels(scaled).rows(prologue).firing(in_out).negative_mass(shared);
        let usual = AffineRequest::new(m, n, k, activation);
        let mut affine = usual.layout(layout).alpha(alpha).saved(saved).row_weight(scaled).statistics(statistics);
        let jet = jets.map(|six| if six { Jet::laplacian(6) } else { Jet::two([1.0, 0.5, 2.0]) }.unwrap().even_if_flat());
        if let Some(jet) = jet {
            affine = affine.row_weight(false).statistics(Statistics::default()).jet(jet).m(m.next_multiple_of(jet.members()));
        }
        if let (None, Some(order)) = (jet, gates) {
            let gate = [Gate::stacked(), Gate::interleaved(), Gate::apart()][order];
            affine = affine.statistics(Statistics::default()).gate(gate);
        }
        if jet.is_none() && leaves {
            affine = affine.dropout(Dropout::new(0.5).unwrap());
        }
        let (front, chain) = match fronts.filter(|_| jet.is_none()) {
            None => (None, chain),
            Some((norm, all)) => {
                let norm = [Norm::batch(), Norm::running(), Norm::layer(), Norm::rms()].get(norm).copied();
                let front = Front::new(activation).alpha(alpha).norm(norm).scale(all).shift(all);
                (Some(front.running(norm.is_some_and(|norm| !norm.of_rows()))), None)
            }
        };
        let affine = affine.front(front);
        let scaled_rows = affine.row_weight;
        let mut affine = affine;
        affine.storage = elbow_verify::with_gaps(&affine, gap);
        if shared {
            affine.storage = affine.storage.with_batch_stride(Operand::X, Some(0)).with_batch_stride(Operand::B, Some(0));
        }
        let [x, w, b, dalpha] = gradients;
        let storage = Storage::default();
        let inner = (shared && alpha == AlphaSource::PerChannel).then(|| k.max(1));
        let last = inner.unwrap_or(n);
        let lie = elbow_verify::with_gaps(&AffineRequest::new(0, last, last, activation), gap);
        let forward =
            plan::ElementwiseForward { rows: m, channels: n, inner, activation, alpha, in_place: false, storage: lie };
        match kind {
            0 | 1 => affine.resolve().and_then(|affine| plan::forward_batch(layers, &affine, aligned, false, caps, &pin)),
            2..=4 => {
                let below = chain.map(|(db, dalpha)| {
                    let dalpha = if alpha == AlphaSource::Constant { Want::No } else { dalpha };
                    let drow_weight = if scaled_rows { db } else { Want::No };
                    let below = Below::new(activation, Saved::Z).alpha(alpha).db(db).dalpha(dalpha).jet(jet);
                    below.row_weight(scaled_rows).drow_weight(drow_weight)
                });
                let dalpha = if alpha == AlphaSource::Constant { Want::No } else { dalpha };
                let x = if below.is_some() { Want::Overwrite } else { x };
                let (of_columns, of_alpha) = if front.is_some_and(|front| front.scale) { (b, dalpha) } else { (Want::No, Want::No) };
                let gradients = Gradients::default().scale(of_columns).shift(of_columns).front_alpha(of_alpha);
                let gradients = gradients.x(x).w(w).b(b).alpha(dalpha).row_weight(if scaled_rows { w } else { Want::No });
                let gradients = if affine.is_apart() { gradients.w_up(w).b_up(x) } else { gradients };
                let pin = pin.strategy(if prologue { Strategy::Prologue } else { Strategy::Auto });
                let request = BackwardRequest::new(affine, gradients).below(below);
                request.resolve().and_then(|request| plan::backward_batch(layers, &request, aligned, caps, &pin))
            }
            10 | 11 => {
                let dalpha = if alpha == AlphaSource::Constant { Want::No } else { dalpha };
                let [of_x, of_w, of_b, of_alpha] = returning;
                let returning = Returning::default().x(of_x).w(of_w).b(of_b).alpha(of_alpha && alpha != AlphaSource::Constant);
                let wants = SecondGradients::default().dy(x).x(w).w(b).b(x).alpha(dalpha);
                let layer = affine.jet(None).front(None).gate(None).dropout(None).row_weight(false).activation(if scaled { Activation::RELU_SQUARED } else { activation });
                let layer = layer.alpha(if scaled { AlphaSource::Constant } else { alpha });
                let returning = if scaled { returning.alpha(false) } else { returning };
                let wants = if scaled { wants.alpha(Want::No) } else { wants };
                let request = DoubleBackwardRequest::new(layer, returning, wants);
                request.resolve().and_then(|request| plan::double_backward_batch(layers, &request, aligned, caps, &pin))
            }
            16 | 17 => {
                let at_most = |size: usize| (size - 1) % elbow::network::Layers::MOST_COLUMNS + 1;
                let [inputs, hidden, outputs] = [k, n, k / 2].map(|size| at_most(size.max(1)));
                let sizes = [vec![inputs], vec![hidden; layers - 1], vec![outputs]].concat();
                let alpha = if layers == 1 { AlphaSource::Constant } else { alpha };
                let layers = elbow::network::Layers::new(&sizes, activation).unwrap().alpha(alpha);
                let layers = layers.jet(jet);
                let m = m.next_multiple_of(jet.map_or(1, |jet| jet.members()));
                let dtype = if scaled { Float::F16 } else { Float::F32 };
                let storage = Storage::default().with(Operand::Copy, dtype);
                let rows_apart = |size: usize| (gap > 0).then_some((size + gap) as u32);
                let storage = storage.with_row_stride(Operand::X, rows_apart(inputs)).with_row_stride(Operand::Y, rows_apart(outputs));
                let forward = plan::NetworkForward { rows: m, layers, copy: scaled, storage };
                if kind == 16 {
                    return plan::network_forward(&forward, aligned, caps);
                }
                let storage = storage.with_row_stride(Operand::Dy, rows_apart(outputs)).with_row_stride(Operand::Dx, rows_apart(inputs));
                let forward = plan::NetworkForward { storage, ..forward };
                plan::network_backward(&plan::NetworkBackward { forward, dx: x, parameters: w }, aligned, caps)
            }
            5 => match scaled {
                true => plan::elementwise_forward(&forward, aligned, caps),
                false => {
                    let dalpha = if alpha == AlphaSource::Constant { Want::No } else { dalpha };
                    plan::elementwise_backward(&plan::ElementwiseBackward { forward, dx: x, dalpha }, aligned, caps)
                }
            },
            6 => {
                let dalpha2 = if alpha == AlphaSource::Constant { Want::No } else { dalpha };
                match prologue {
                    true => plan::elementwise_double(&plan::ElementwiseDouble { forward, ddy: x, dx2: w, dalpha2 }, aligned, caps),
                    false if scaled => plan::gated_forward(&forward, aligned, caps),
                    false => plan::gated_backward(&plan::GatedBackward { forward, dgate: x, dup: w, dalpha: dalpha2 }, aligned, caps),
                }
            }
            13 => {
                let criterion = if in_out { Criterion::BinaryCrossEntropy } else { Criterion::SquaredError };
                let request = plan::LossRequest {
                    rows: m, columns: n, criterion, reduction: Reduction::Mean, row_weight: prologue, positive_weight: in_out, total: shared, scaled,
                    storage,
                };
                plan::elementwise_loss(&request, aligned, caps)
            }
            14 => {
                let rule = match (prologue, in_out) {
                    (true, _) => Rule::AdamW,
                    (_, true) => Rule::Nesterov,
                    _ => Rule::Sgd,
                };
                let elements = m.saturating_mul(n);
                let request = plan::UpdateRequest { elements, rule, velocity: in_out, factors: scaled, copy: shared, storage };
                plan::update(&request, aligned, caps)
            }
            15 => {
                let clipped = prologue.then(|| m.saturating_mul(n));
                plan::advance(&plan::AdvanceRequest { clipped, scaled }, aligned, caps)
            }
            7 => {
                let ignore_index = in_out.then_some(label);
                let request = plan::SoftmaxRequest { rows: m, classes: n, ignore_index, label_smoothing: if prologue { 0.1 } else { 0.0 }, class_weight: shared, reduction: if scaled { Reduction::Sum } else { Reduction::Mean }, total: aligned, scaled, storage };
                plan::softmax_cross_entropy(&request, aligned, caps)
            }
            8 => {
                let shape = Shape::new(&[m, n, k]);
                let (turned, rows) = ([1, m, m.saturating_mul(n), 0, 0, 0], [n.saturating_mul(k), k + gap, 1, 0, 0, 0]);
                let extent = |strides: [usize; 6]| {
                    let last = [m, n, k].into_iter().zip(strides).map(|(d, s): (usize, usize)| (d.saturating_sub(1) as u64).saturating_mul(s as u64));
                    last.fold(1, u64::saturating_add)
                };
                let storage = (!scaled).then_some(storage);
                let request = plan::CopyRequest { shape, strides: [turned, rows], extents: [extent(turned), extent(rows)], storage };
                plan::copy(&request, aligned, caps)
            }
            12 => {
                let distribution = match (in_out, scaled) {
                    (true, _) => None,
                    (_, true) => Some(Distribution::Normal { mean: 0.0, deviation: 1.0 }),
                    _ => Some(Distribution::Uniform { low: 0.0, high: 1.0 }),
                };
                let seed = u64::from(label) << 7;
                let request = plan::RandomRequest { elements: m.saturating_mul(n), distribution, seed, stream: label, storage };
                plan::random(&request, aligned, caps)
            }
            _ if scaled => {
                let request = plan::SgdRequest {
                    elements: m.saturating_mul(n), rate: 0.1, momentum: 0.5, scaled: in_out, copy: prologue, storage,
                };
                plan::sgd(&request, aligned, caps)
            }
            _ => {
                let elements = m.saturating_mul(n);
                let request = plan::LossScaleRequest { elements, growth: 2.0, backoff: 0.5, interval: 2000 };
                plan::loss_scale(&request, caps)
            }
        }
    }
}

/// Nothing but a named limit.
fn refused(error: &Error) {
    let named = matches!(
        error,
        Error::LimitExceeded { .. } | Error::OutOfMemory { .. } | Error::Unsupported { .. } | Error::Operand { .. }
    );
    assert!(named, "{error}");
}

fn cases(few: u32, many: u32) -> ProptestConfig {
    let cases = if full() { many } else { few };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(4_000, 200_000))]

    #[test]
    fn no_loop_is_long_and_no_index_wraps(plan in any_plan(false)) {
        match plan {
            Ok(plan) => bounded(&plan),
            Err(error) => refused(&error),
        }
    }
}

proptest! {
    #![proptest_config(cases(100, 5_000))]

    /// Every lane of the first and the last workgroup of small requests.
    #[test]
    fn loops_are_as_long_as_the_plan_says(plan in any_plan(true)) {
        match plan {
            Ok(plan) => checked(&plan, true),
            Err(error) => refused(&error),
        }
    }

    /// The edges of large ones.
    #[test]
    fn the_text_of_large_requests_stays_inside(plan in any_plan(false)) {
        match plan {
            Ok(plan) => checked(&plan, false),
            Err(error) => refused(&error),
        }
    }
}

fn dw(m: usize, n: usize, k: usize) -> BackwardRequest {
    BackwardRequest::new(
        AffineRequest::new(m, n, k, Activation::IDENTITY),
        Gradients::default().w(Want::Overwrite).b(Want::Overwrite),
    )
}

#[test]
fn what_was_cut_is_planned_in_more_parts() {
    for caps in &DEVICES {
        let plan = plan::backward(&dw(20_000_000, 1, 1), true, caps, &Pin::default()).unwrap();
        bounded(&plan);
        let pin = Pin::default().splits(1);
        let plan = plan::backward(&dw(65_536, 1, 1), true, caps, &pin).unwrap();
        bounded(&plan);
        assert!(plan.dispatches.iter().any(|d| d.kernel.file == KernelFile::SplitSum), "{plan}");
        assert!(plan.to_string().contains("loops of at most"), "{plan}");
        // Every tile, as long as a reduction may be.
        for tile in 0..TILES.len() {
            let pin = Pin::default().tile(tile).splits(1);
            for k in [131_000, 131_072, 1 << 20, (1 << 20) + 1, 1 << 28] {
                match plan::forward(&AffineRequest::new(3, 5, k, Activation::RELU), true, false, caps, &pin) {
                    Ok(plan) => bounded(&plan),
                    Err(error) => refused(&error),
                }
            }
        }
    }
}

/// As many elements as an operand may have, and one more.
#[test]
fn the_largest_tensors() {
    let most = (1usize << 32) - (1 << 16);
    let activation: Activation = "prelu".parse().unwrap();
    let alpha = AlphaSource::PerLayer;
    for caps in [&DEVICES[0], &DEVICES[2], &DEVICES[5]] {
        for (rows, channels) in [(most, 1), (1, most), (1 << 16, (1 << 16) - 1), (most / 3, 3)] {
            let storage = Storage::default();
            let forward =
                plan::ElementwiseForward { rows, channels, inner: None, activation, alpha, in_place: false, storage };
            let want = Want::Overwrite;
            let plans = [
                plan::elementwise_forward(&forward, true, caps),
                plan::elementwise_backward(&plan::ElementwiseBackward { forward, dx: want, dalpha: want }, true, caps),
                plan::elementwise_double(
                    &plan::ElementwiseDouble { forward, ddy: want, dx2: want, dalpha2: want },
                    true,
                    caps,
                ),
                plan::gated_forward(&forward, true, caps),
                plan::gated_backward(
                    &plan::GatedBackward { forward, dgate: want, dup: want, dalpha: want },
                    true,
                    caps,
                ),
            ];
            for plan in plans {
                checked(&plan.unwrap(), false);
            }
        }
        let too_many = plan::LossScaleRequest { elements: most + 1, growth: 2.0, backoff: 0.5, interval: 1 };
        assert!(matches!(plan::loss_scale(&too_many, caps), Err(Error::LimitExceeded { .. })));
        checked(&plan::loss_scale(&plan::LossScaleRequest { elements: most, ..too_many }, caps).unwrap(), false);
    }
}

/// The interpreter itself: it sees what wraps and what lies outside, and every kernel was before it.
#[test]
fn planted_wraps_are_found() {
    let request = plan::SgdRequest {
        elements: 1000,
        rate: 0.1,
        momentum: 0.0,
        scaled: false,
        copy: false,
        storage: Storage::default(),
    };
    let plan = plan::sgd(&request, false, &DEVICES[0]).unwrap();
    let good = &plan.dispatches[0];
    assert_eq!(run(good, true), Ok(0));
    let mut short = good.clone();
    short.uses[0].len = 999;
    assert!(run(&short, true).is_err_and(|e| e.contains("outside of")), "a binding that is too short");
    let mut long = good.clone();
    (long.params.rows, long.params.tiles) = (u32::MAX, u32::MAX / 64 + 10);
    assert!(run(&long, true).is_err_and(|e| e.contains("wraps")), "an index past 2³²");
}

/// The same for matrices in workgroup memory, and that the sizes above meet them at all.
#[test]
fn a_matrix_outside_of_its_tile_is_found() {
    let request = AffineRequest::new(70, 36, 45, Activation::RELU);
    for caps in DEVICES.iter().filter(|caps| caps.matrix_size > 0) {
        let plan = plan::forward(&request, true, false, caps, &Pin::default().splits(1)).unwrap();
        let product = plan.dispatches.iter().find(|dispatch| dispatch.kernel.file == KernelFile::ProductCoop);
        let good = product.unwrap_or_else(|| panic!("{plan}"));
        checked(&plan, true);
        for gate in [Gate::stacked(), Gate::interleaved(), Gate::apart()] {
            let gated = plan::forward(&request.n(18).gate(gate), true, false, caps, &Pin::default().splits(1)).unwrap();
            assert!(gated.dispatches.iter().any(|dispatch| dispatch.kernel.flag("PAIRED") == 1), "{gated}");
            checked(&gated, true);
        }
        // A workgroup that counts one subgroup fewer than it has, and a tile of fewer steps than are multiplied.
        for (flag, wrong) in [("SUBGROUPS", good.kernel.flag("SUBGROUPS") / 2), ("BN", 32), ("MATRICES_M", 9)] {
            let mut planted = good.clone();
            planted.kernel.flags.insert(flag, wrong);
            assert!(run(&planted, true).is_err(), "{flag}={wrong}: {}", planted.kernel);
        }
        let layers = elbow::network::Layers::new(&[36, 45, 45, 33], Activation::RELU).unwrap();
        let request = plan::NetworkForward { rows: 700, layers, copy: false, storage: Storage::default() };
        let plan = plan::network_forward(&request, true, caps).unwrap();
        let good = &plan.dispatches[0];
        assert_eq!(good.kernel.file, KernelFile::NetworkCoop, "{plan}");
        checked(&plan, true);
        let [columns, matrices] = ["MATRICES_N", "MATRICES_M"].map(|flag| good.kernel.flag(flag));
        for (flag, wrong) in [("MATRICES_N", 2 * columns), ("COLUMNS", 32), ("ROWS", matrices / 2)] {
            let mut planted = good.clone();
            planted.kernel.flags.insert(flag, wrong);
            assert!(run(&planted, true).is_err(), "{flag}={wrong}: {}", planted.kernel);
        }
        let request = plan::NetworkBackward {
            forward: plan::NetworkForward { layers: layers.alpha(AlphaSource::Constant), rows: 100, ..request },
            dx: Want::Overwrite,
            parameters: Want::Overwrite,
        };
        let plan = plan::network_backward(&request, true, caps).unwrap();
        checked(&plan, true);
        let good = &plan.dispatches[0];
        assert_eq!(good.kernel.file, KernelFile::NetworkBackwardCoop, "{plan}");
        for (flag, wrong) in [("DW_N", 2 * good.kernel.flag("DW_N")), ("DOWN", 4)] {
            let mut planted = good.clone();
            planted.kernel.flags.insert(flag, wrong);
            assert!(run(&planted, true).is_err(), "{flag}={wrong}: {}", planted.kernel);
        }
    }
}

/// One row is a workgroup of 32 lanes: a subgroup of 64 is longer, and its lanes would sum more columns than the tile has.
#[test]
fn subgroups_longer_than_a_workgroup() {
    for subgroup in [8, 16, 32, 64] {
        for class in [DeviceClass::Software, DeviceClass::Discrete] {
            let request = AffineRequest::new(1, 70, 300, Activation::RELU);
            let pin = Pin::default().tile(12).splits(1);
            let plan = plan::forward(&request, true, false, &roomy(class, subgroup), &pin).unwrap();
            assert_eq!(plan.dispatches[0].kernel.file, KernelFile::ProductSlicedK, "{plan}");
            checked(&plan, true);
        }
    }
}
