//! Every kernel variant that a plan can ask for, without a GPU: parsed, validated, written out for Vulkan, Metal and DX12,
//! its bindings and its parameter block compared with the Rust side.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};

use elbow::{
    Activation, AlphaSource, Dropout, Float, Gate, Jet, MatrixUnits, Norm, Operand, ResidualAt, Saved, Strategy, Want,
    WeightLayout,
    activation::{Quantity, rows},
    criterion::{Criterion, Reduction},
    kernel::{Kernel, KernelFile, Params},
    philox::Distribution,
    plan::{self, Caps, DeviceClass, Pin, Plan, Stage, TILES},
    program::{self, Step},
    rates::Rule,
    request::{
        AffineRequest, BackwardRequest, Below, DoubleBackwardRequest, Front, Gradients, Returning, SecondGradients,
        Statistics,
    },
    shader::{Binding, assemble},
    shape::Shape,
    storage::Storage,
};
use naga::{
    AddressSpace, Expression, Function, Handle, Statement, TypeInner,
    back::{hlsl, msl, spv},
    front::wgsl,
    proc::Layouter,
    valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator},
};

/// One of each row, with its default parameters (or 0.5 where there is no default).
fn activations() -> Vec<Activation> {
    rows()
        .iter()
        .map(|row| {
            Activation::new(row.kind, &vec![0.5; row.parameters.iter().filter(|p| p.default.is_none()).count()])
                .unwrap()
        })
        .collect()
}

fn caps() -> Caps {
    Caps::defaults(DeviceClass::Discrete).subgroup(8)
}

/// Subgroups that reduce in other ways: none, and those of most GPUs.
const SUBGROUPS: [u32; 4] = [0, 16, 32, 64];

/// Lanes of a subgroup, and rows of a matrix.
const MATRICES: [(u32, u32); 5] = [(8, 8), (16, 8), (8, 16), (32, 16), (64, 16)];

const NARROW: [(Float, bool); 3] = [(Float::F16, false), (Float::F16, true), (Float::Bf16, false)];
const ALPHAS: [AlphaSource; 3] = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel];
const LAYOUTS: [WeightLayout; 2] = [WeightLayout::OutIn, WeightLayout::InOut];
const SAVED: [Saved; 4] = [Saved::Z, Saved::Y, Saved::Mask, Saved::None];

/// The kernels of every plan for one activation and tile.
fn collect(
    kernels: &mut HashSet<Kernel>,
    activation: Activation,
    tile: usize,
    size: usize,
    [bias, residual, more]: [bool; 3],
    (dtype, f16): (Float, bool),
    gap: usize,
) {
    let caps = || caps().f16(f16);
    let storage = Storage::all(dtype);
    let mut add = |plan: elbow::Result<Plan>| {
        if let Ok(plan) = plan {
            kernels.extend(plan.dispatches.into_iter().map(|d| d.kernel));
        }
    };
    for layout in LAYOUTS {
        for alpha in ALPHAS {
            for saved in SAVED {
                for splits in [1, 2] {
                    let request = AffineRequest::new(size, size, size, activation)
                        .layout(layout)
                        .alpha(alpha)
                        .bias(bias)
                        .residual(residual.then_some(if more {
                            ResidualAt::BeforeActivation
                        } else {
                            ResidualAt::AfterActivation
                        }))
                        .row_weight(more)
                        .statistics(
                            Statistics::default()
                                .channels(more)
                                .rows(more)
                                .around(more && !residual)
                                .firing(more != residual)
                                .negative_mass(more && residual),
                        )
                        .saved(saved)
                        .storage(storage);
                    let request = request.storage(elbow_verify::with_gaps(&request, gap));
                    let pin = Pin::default().tile(tile).splits(splits);
                    add(plan::forward(&request, true, residual, &caps(), &pin));
                    if bias && !residual && gap == 0 && matches!(saved, Saved::Z | Saved::None) {
                        add_jets(&request, activation, &caps(), &pin, &mut add);
                    }
                    // What they add to a text is the same with splits, and with one α for a layer.
                    let once = splits == 1 && alpha != AlphaSource::PerLayer;
                    if once && !residual && matches!(saved, Saved::Z | Saved::None) {
                        add_gates(&request.row_weight(more), gap, &caps(), &pin, &mut add);
                    }
                    if once && bias && !residual && gap == 0 && matches!(saved, Saved::Z | Saved::Mask) {
                        add_dropout(&request.row_weight(more), &caps(), &pin, &mut add);
                    }
                    if once && bias && !more && matches!(saved, Saved::Z | Saved::None) {
                        add_fronts(&request, &caps(), &pin, &mut add);
                    }
                    if bias && matches!(saved, Saved::Z | Saved::Mask) {
                        add_double(&request.row_weight(false), &caps(), &pin, &mut add);
                    }
                    for strategy in [Strategy::Prologue, Strategy::TwoPass] {
                        let pin = pin.strategy(strategy);
                        for dalpha in [Want::No, Want::Overwrite] {
                            let gradients = Gradients::default()
                                .x(Want::Overwrite)
                                .w(Want::Overwrite)
                                .b(if bias { Want::Overwrite } else { Want::No })
                                .alpha(dalpha)
                                .residual(if residual { Want::Overwrite } else { Want::No })
                                .row_weight(if more { Want::Overwrite } else { Want::No });
                            let below = Below::new(activation, saved)
                                .alpha(alpha)
                                .db(gradients.b)
                                .dalpha(dalpha)
                                .row_weight(more)
                                .drow_weight(gradients.row_weight);
                            for below in [None, Some(below)] {
                                let skip = residual && saved != Saved::None;
                                let request = BackwardRequest::new(request, gradients).below(below).skip(skip);
                                add(plan::backward(&request, true, &caps(), &pin));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The same layer with jets: forward, backward and a chain.
fn add_jets(
    layer: &AffineRequest,
    activation: Activation,
    caps: &Caps,
    pin: &Pin,
    add: &mut impl FnMut(elbow::Result<Plan>),
) {
    // The activation's part of the text is the same in groups of eight.
    let six = (activation == Activation::TANH).then(|| Jet::laplacian(6));
    for jet in [Jet::two([1.0, -0.5, 2.0])].into_iter().chain(six) {
        let jet = jet.unwrap().even_if_flat();
        let usual = layer.row_weight(false).statistics(Statistics::default()).jet(jet);
        let request = usual.m(layer.m * jet.members());
        add(plan::forward(&request, true, false, caps, pin));
        let want = Want::Overwrite;
        let dalpha = if layer.alpha == AlphaSource::Constant { Want::No } else { want };
        let gradients = Gradients::default().x(want).w(want).b(want).alpha(dalpha);
        let below = Below::new(activation, Saved::Z).alpha(layer.alpha).db(want).dalpha(dalpha).jet(jet);
        for below in [None, Some(below)] {
            add(plan::backward(&BackwardRequest::new(request, gradients).below(below), true, caps, pin));
        }
    }
}

/// The same layer with a gate.
fn add_gates(layer: &AffineRequest, gap: usize, caps: &Caps, pin: &Pin, add: &mut impl FnMut(elbow::Result<Plan>)) {
    let want = Want::Overwrite;
    let dalpha = if layer.alpha == AlphaSource::Constant { Want::No } else { want };
    let gradients = Gradients::default().x(want).w(want).b(want).alpha(dalpha);
    let gradients = gradients.row_weight(if layer.row_weight { want } else { Want::No });
    for gate in [Gate::stacked(), Gate::interleaved().limited(2.0).unwrap(), Gate::apart()] {
        let gradients = if gate.is_apart() { gradients.w_up(want).b_up(want) } else { gradients };
        let request = layer.statistics(Statistics::default()).gate(gate);
        let request = request.storage(elbow_verify::with_gaps(&request, gap));
        add(plan::forward(&request, true, false, caps, pin));
        add(plan::backward(&BackwardRequest::new(request, gradients), true, caps, pin));
    }
}

/// The same layer with dropout, above one with it.
fn add_dropout(layer: &AffineRequest, caps: &Caps, pin: &Pin, add: &mut impl FnMut(elbow::Result<Plan>)) {
    let (want, dropout) = (Want::Overwrite, Dropout::new(0.1).unwrap());
    let request = layer.dropout(dropout);
    add(plan::forward(&request, true, false, caps, pin));
    let gradients = Gradients::default().x(want).w(want).b(want);
    let gradients = gradients.row_weight(if layer.row_weight { want } else { Want::No });
    let below = Below::new(layer.activation, Saved::Z).dropout(dropout);
    for (below, strategy) in [(None, Strategy::Prologue), (None, Strategy::TwoPass), (Some(below), Strategy::TwoPass)] {
        let request = BackwardRequest::new(request, gradients).below(below);
        add(plan::backward(&request, true, caps, &pin.strategy(strategy)));
    }
}

/// The same layer with a front, computed at each load and by a pass.
fn add_fronts(layer: &AffineRequest, caps: &Caps, pin: &Pin, add: &mut impl FnMut(elbow::Result<Plan>)) {
    let want = Want::Overwrite;
    let activation = layer.activation;
    let alone = Front::new(activation).alpha(layer.alpha).scale(true).shift(true);
    // The activation's part of the text is the same behind a norm.
    let norms = [Norm::batch(), Norm::running(), Norm::layer(), Norm::rms()];
    let behind = (activation == Activation::GELU_ERF).then_some(norms).into_iter().flatten();
    let fronts = behind.map(|norm| alone.norm(norm).running(!norm.of_rows())).chain([alone]);
    for front in fronts {
        let request = layer.row_weight(false).statistics(Statistics::default()).front(front);
        let dalpha = if front.alpha == AlphaSource::Constant { Want::No } else { want };
        let gradients = Gradients::default().x(want).w(want).b(want).scale(want).shift(want).front_alpha(dalpha);
        for strategy in [Strategy::Prologue, Strategy::TwoPass] {
            let pin = pin.strategy(strategy);
            add(plan::forward(&request, true, false, caps, &pin));
            // All of it behind the product, or in a pass.
            for caps in [*caps, caps.max_bindings(8)] {
                add(plan::backward(&BackwardRequest::new(request, gradients), true, &caps, &pin));
            }
        }
    }
}

/// The double backward of the same layer: of all that may come back, and of ddx alone.
fn add_double(layer: &AffineRequest, caps: &Caps, pin: &Pin, add: &mut impl FnMut(elbow::Result<Plan>)) {
    let want = Want::Overwrite;
    let before = layer.residual == Some(ResidualAt::BeforeActivation);
    let (learns, residual) = (layer.alpha != AlphaSource::Constant, if before { want } else { Want::No });
    let all = Returning::default().x(true).w(true).b(true).alpha(learns).residual(before);
    let wants = SecondGradients::default().dy(want).x(want).w(want).b(want).residual(residual);
    let wants = wants.alpha(if learns { want } else { Want::No });
    for returning in [all, Returning::default().x(true)] {
        add(plan::double_backward(&DoubleBackwardRequest::new(*layer, returning, wants), true, caps, pin));
    }
}

fn every_kernel() -> Vec<Kernel> {
    let mut kernels = HashSet::new();
    // Every activation with every strategy, saved choice and α on one tile of each kind; every tile with a few activations.
    for activation in activations() {
        collect(&mut kernels, activation, 0, 32, [true, true, false], (Float::F32, false), 0);
    }
    for tile in 0..TILES.len() {
        for spec in ["identity", "leaky_relu", "gelu"] {
            for parts in [[true, false, false], [false, true, false], [false, true, true]] {
                for size in [32, 33] {
                    collect(
                        &mut kernels,
                        spec.parse().unwrap(),
                        tile,
                        size,
                        parts,
                        (Float::F32, false),
                        if parts[2] { 4 } else { 0 },
                    );
                }
            }
        }
    }
    // Software adapters get other texts of the staged products.
    for (tile, size) in
        (0..TILES.len()).filter(|&t| matches!(TILES[t].stage, Stage::Staged { .. })).flat_map(|t| [(t, 32), (t, 33)])
    {
        let caps = Caps::defaults(DeviceClass::Software).subgroup(8);
        for layout in LAYOUTS {
            let affine = AffineRequest::new(size, size, size, Activation::RELU).layout(layout);
            let gradients = Gradients::default().x(Want::Overwrite).w(Want::Overwrite);
            let backward = BackwardRequest::new(affine, gradients);
            let pin = Pin::default().tile(tile).splits(1).strategy(Strategy::Prologue);
            let plans =
                [plan::forward(&affine, true, false, &caps, &pin), plan::backward(&backward, true, &caps, &pin)];
            kernels.extend(plans.into_iter().flatten().flat_map(|p| p.dispatches).map(|d| d.kernel));
        }
    }
    for rows in [1, 2, 3, 8, 33] {
        for (subgroup, layout, k) in SUBGROUPS.iter().flat_map(|s| LAYOUTS.map(|l| (*s, l, 32 + rows % 2))) {
            let caps = caps().subgroup(subgroup);
            let tile = TILES.iter().position(|t| t.stage == Stage::SlicedK);
            let affine = AffineRequest::new(rows, 33, k, Activation::RELU).layout(layout).saved(Saved::Mask);
            let pin = Pin::default().tile(tile).splits(1).strategy(Strategy::Prologue);
            let gradients = Gradients::default().x(Want::Overwrite);
            let backward = BackwardRequest::new(affine, gradients);
            let plans =
                [plan::forward(&affine, true, false, &caps, &pin), plan::backward(&backward, true, &caps, &pin)];
            kernels.extend(plans.into_iter().flatten().flat_map(|p| p.dispatches).map(|d| d.kernel));
        }
    }
    kernels.extend(on_matrix_units());
    kernels.extend(whole_networks());
    kernels.extend(networks_on_matrix_units());
    // The narrow types, packed and native, on a tile of each kind.
    for stored in NARROW {
        for (tile, size) in [(0, 32), (0, 33), (3, 33), (5, 32), (8, 32)] {
            collect(&mut kernels, "leaky_relu".parse().unwrap(), tile, size, [true, true, false], stored, size % 2);
        }
    }
    for activation in activations() {
        for alpha in ALPHAS {
            for channels in [5, 64] {
                for in_place in [false, true] {
                    for want in [Want::No, Want::Overwrite] {
                        let storage = Storage::default();
                        let forward = plan::ElementwiseForward {
                            rows: 8,
                            channels,
                            inner: (channels == 5).then_some(7),
                            activation,
                            alpha,
                            in_place,
                            storage,
                        };
                        let backward = plan::ElementwiseBackward { forward, dx: Want::Overwrite, dalpha: want };
                        let double = plan::ElementwiseDouble {
                            forward,
                            ddy: Want::Overwrite,
                            dx2: Want::Overwrite,
                            dalpha2: want,
                        };
                        let gated =
                            plan::GatedBackward { forward, dgate: Want::Overwrite, dup: Want::Overwrite, dalpha: want };
                        let plans = [
                            plan::elementwise_forward(&forward, true, &caps()),
                            plan::elementwise_backward(&backward, true, &caps()),
                            plan::elementwise_double(&double, true, &caps()),
                            plan::gated_forward(&forward, true, &caps()),
                            plan::gated_backward(&gated, true, &caps()),
                        ];
                        kernels.extend(plans.into_iter().flatten().flat_map(|p| p.dispatches).map(|d| d.kernel));
                    }
                }
            }
            let (rows, channels, inner, in_place, storage) = (8, 64, None, false, Storage::default());
            let forward = plan::ElementwiseForward { rows, channels, inner, activation, alpha, in_place, storage };
            let each = Quantity::ALL.map(|quantity| plan::elementwise_quantity(&forward, quantity, true, &caps()));
            kernels.extend(each.into_iter().flatten().flat_map(|p| p.dispatches).map(|d| d.kernel));
        }
    }
    let mut training = Vec::new();
    for (scaled, dtype) in [(false, Float::F32), (true, Float::F16), (true, Float::Bf16)] {
        let storage = Storage::all(dtype);
        for classes in [3, 4, 33, 128] {
            let ignore_index = (classes > 4).then_some(7);
            let request = plan::SoftmaxRequest {
                rows: 4,
                classes,
                ignore_index,
                label_smoothing: if classes % 2 == 0 { 0.1 } else { 0.0 },
                class_weight: false,
                reduction: if scaled { Reduction::Sum } else { Reduction::Mean },
                total: true,
                scaled,
                storage,
            };
            training.push(plan::softmax_cross_entropy(&request, true, &caps()));
            let request = plan::SoftmaxRequest { class_weight: true, ..request };
            training.push(plan::softmax_cross_entropy(&request, true, &caps()));
        }
        for columns in [1, 8, 33] {
            for criterion in [Criterion::SquaredError, Criterion::Huber { delta: 1.0 }, Criterion::BinaryCrossEntropy] {
                let request = plan::LossRequest {
                    rows: 8,
                    columns,
                    criterion,
                    reduction: Reduction::Mean,
                    row_weight: scaled,
                    positive_weight: columns > 1 && criterion == Criterion::BinaryCrossEntropy,
                    total: true,
                    scaled,
                    storage,
                };
                training.push(plan::elementwise_loss(&request, true, &caps()));
            }
        }
        for elements in [4, 5] {
            let request = plan::SgdRequest { elements, rate: 0.1, momentum: 0.9, scaled, copy: scaled, storage };
            let storage = Storage::default().with(Operand::Copy, dtype);
            training.push(plan::sgd(&plan::SgdRequest { storage, ..request }, true, &caps()));
        }
    }
    for (rule, velocity) in [(Rule::Sgd, false), (Rule::Sgd, true), (Rule::Nesterov, true), (Rule::AdamW, false)] {
        for (elements, factors, dtype) in [(4, false, Float::F32), (5, true, Float::F16), (8, true, Float::Bf16)] {
            let storage = Storage::default().with(Operand::Copy, dtype);
            let copy = dtype != Float::F32;
            let request = plan::UpdateRequest { elements, rule, velocity, factors, copy, storage };
            training.push(plan::update(&request, true, &caps()));
        }
    }
    for (clipped, scaled) in [(None, false), (Some(5), true), (Some(4096), false)] {
        training.push(plan::advance(&plan::AdvanceRequest { clipped, scaled }, true, &caps()));
    }
    let request = plan::LossScaleRequest { elements: 5, growth: 2.0, backoff: 0.5, interval: 3 };
    training.push(plan::loss_scale(&request, &caps()));
    for (storage, strides) in
        [(None, [1, 8]), (Some(Storage::default()), [1, 8]), (Some(Storage::all(Float::F16)), [12, 1])]
    {
        let strides = [[strides[0], strides[1], 0, 0, 0, 0], [16, 1, 0, 0, 0, 0]];
        let request = plan::CopyRequest { shape: Shape::new(&[8, 8]), strides, extents: [128, 128], storage };
        training.push(plan::copy(&request, true, &caps()));
    }
    for (elements, dtype) in [(4, Float::F32), (5, Float::F32), (8, Float::F16), (7, Float::F16), (7, Float::Bf16)] {
        let [uniform, normal] =
            [Distribution::Uniform { low: 0.0, high: 1.0 }, Distribution::Normal { mean: 0.0, deviation: 1.0 }];
        for distribution in [None, Some(uniform), Some(normal)] {
            let storage = Storage::all(dtype);
            let request = plan::RandomRequest { elements, distribution, seed: 1, stream: 2, storage };
            training.push(plan::random(&request, true, &caps()));
        }
    }
    training.push(Ok(plan::subnormals()));
    kernels.extend(training.into_iter().flatten().flat_map(|p| p.dispatches).map(|d| d.kernel));
    let mut kernels: Vec<Kernel> = kernels.into_iter().collect();
    kernels.sort_by_key(Kernel::to_string);
    // Batches differ in the accessors and the number of the workgroup alone: a sample of every kernel that has one.
    let single = |kernel: &&Kernel| kernel.file == KernelFile::Subnormals;
    let batched = kernels.iter().filter(|kernel| !single(kernel)).step_by(7).cloned().map(|mut kernel| {
        kernel.flags.insert("BATCHED", 1);
        kernel
    });
    let batched: Vec<Kernel> = batched.collect();
    kernels.extend(batched);
    kernels
}

/// Whole networks: every activation, every width, and types and rows that are whole vec4 and are not, as GPUs and as CPUs run them.
fn whole_networks() -> HashSet<Kernel> {
    let mut kernels = HashSet::new();
    let mut add = |sizes: &[usize], rows: usize, activation: Activation, i: usize, class: DeviceClass| {
        let alpha = if activation.has_alpha() { ALPHAS[i % 3] } else { AlphaSource::Constant };
        let layers = elbow::network::Layers::new(sizes, activation).unwrap().alpha(alpha).output(Activation::SIGMOID);
        let dtype = Float::ALL[i % 3];
        let gap = |size: usize| (i % 2 == 1).then_some(size as u32 + 4);
        let storage = Storage::all(dtype).with_row_stride(Operand::X, gap(sizes[0]));
        let storage = storage.with_row_stride(Operand::Y, gap(sizes[sizes.len() - 1]));
        let jets = [
            None,
            Some(Jet::two([1.0, 0.0, -0.5])),
            Some(Jet::two([0.0; 3])),
            Some(Jet::laplacian(5)),
            Some(Jet::six([[1.0; 6]; 6])),
        ];
        let layers = layers.jet(jets[i % 5].clone().map(|jet| jet.unwrap().even_if_flat()));
        let rows = rows.next_multiple_of(8);
        let request = plan::NetworkForward { rows, layers, copy: !i.is_multiple_of(3), storage };
        let caps = Caps::defaults(class).workgroup_bytes(32_768).f16(i.is_multiple_of(2));
        kernels.extend(plan::network_forward(&request, true, &caps).unwrap().dispatches.into_iter().map(|d| d.kernel));
        // Backward: each gradient alone and both, in one round of scratch memory and in several.
        let storage = request.storage.with_row_stride(Operand::Dy, gap(sizes[sizes.len() - 1]));
        let forward = plan::NetworkForward { storage: storage.with_row_stride(Operand::Dx, gap(sizes[0])), ..request };
        let wants = [Want::Overwrite, Want::Accumulate, Want::No];
        let request = plan::NetworkBackward { forward, dx: wants[i % 3], parameters: wants[i / 2 % 2 * 2] };
        let caps = Caps::defaults(class).max_scratch(if i.is_multiple_of(2) { 1 << 30 } else { 1 << 20 });
        let plan = plan::network_backward(&request, true, &caps.f16(i.is_multiple_of(2))).unwrap();
        kernels.extend(plan.dispatches.into_iter().map(|d| d.kernel));
    };
    for (i, activation) in activations().into_iter().enumerate() {
        add(&[4, 64, 64, 8], 100, activation, i, [DeviceClass::Software, DeviceClass::Discrete][i % 2]);
    }
    for (i, width) in [3, 16, 32, 33, 64, 65, 128].into_iter().enumerate() {
        for (j, class) in [DeviceClass::Software, DeviceClass::Discrete].into_iter().enumerate() {
            add(&[width, width, 2], 1, Activation::RELU, i + j, class);
            add(&[width, width, width], 1 << 20, Activation::RELU, i, class);
        }
    }
    kernels
}

/// The products on matrix units of every device that has an arrangement of its own: matrices of 8 and of 16, subgroups of 8 to 64 lanes.
fn on_matrix_units() -> HashSet<Kernel> {
    let mut kernels = HashSet::new();
    let mut add = |plan: elbow::Result<Plan>| {
        let of_plan = plan.unwrap().dispatches.into_iter().map(|d| d.kernel);
        kernels
            .extend(of_plan.filter(|kernel| kernel.file == KernelFile::ProductCoop || kernel.flag("MAGNITUDE") == 1));
    };
    let coop: Vec<usize> = (0..TILES.len()).filter(|&i| TILES[i].stage == Stage::Coop).collect();
    let classes = [DeviceClass::Software, DeviceClass::Discrete];
    let devices = classes.into_iter().flat_map(|class| MATRICES.map(|matrix| (class, matrix)));
    for ((class, (subgroup, size)), units) in
        devices.flat_map(|device| [MatrixUnits::Rounded, MatrixUnits::Split].map(|units| (device, units)))
    {
        let caps = Caps::defaults(class).f16(true).subgroup(subgroup).matrix_size(size);
        let caps = caps.matrix_units(units).workgroup_bytes(65_536);
        // The tiles that plans choose.
        let (tiles, sizes): (_, &[_]) = match units {
            MatrixUnits::Split => ([coop[0], coop[2]], &[(32, 1), (33, 2)]),
            _ => ([coop[1], coop[2]], &[(32, 1), (33, 1), (32, 2), (33, 2)]),
        };
        for (i, tile) in tiles.into_iter().enumerate() {
            for (j, (dtype, layout)) in Float::ALL.into_iter().flat_map(|d| LAYOUTS.map(|l| (d, l))).enumerate() {
                for &(m, splits) in sizes {
                    let more = (i + j) % 2 == 0;
                    let affine = AffineRequest::new(m, m, m, "leaky_relu".parse().unwrap())
                        .layout(layout)
                        .saved(if more { Saved::Mask } else { Saved::Z })
                        .residual((!more).then_some(ResidualAt::AfterActivation))
                        .statistics(Statistics::default().channels(more).rows(!more))
                        .storage(Storage::all(dtype));
                    let affine = affine.storage(elbow_verify::with_gaps(&affine, j % 3));
                    let pin = Pin::default().tile(tile).splits(splits);
                    add(plan::forward(&affine, true, false, &caps, &pin));
                    let gates = [
                        Gate::stacked(),
                        Gate::interleaved().limited(2.0).unwrap(),
                        Gate::apart(),
                        Gate::apart().up_first(),
                    ];
                    for gate in gates.into_iter().filter(|_| splits == 1) {
                        let saved = if more { Saved::Z } else { Saved::None };
                        let gated = affine.statistics(Statistics::default()).residual(None).saved(saved).gate(gate);
                        let gated = gated.storage(elbow_verify::with_gaps(&gated, j % 3));
                        add(plan::forward(&gated, true, false, &caps, &pin));
                    }
                    let gradients = Gradients::default().x(Want::Overwrite).w(Want::Accumulate).b(Want::Overwrite);
                    for strategy in [Strategy::Prologue, Strategy::TwoPass] {
                        let affine = affine.statistics(Statistics::default()).residual(None);
                        let below = more.then(|| Below::new(Activation::RELU, Saved::Mask).db(Want::Overwrite));
                        let request = BackwardRequest::new(affine, gradients).below(below);
                        add(plan::backward(&request, true, &caps, &pin.strategy(strategy)));
                        // What each load computes is scaled, where it is, by the front's activation and not the layer's.
                        let front = Front::new(Activation::GELU_ERF).norm(Norm::layer()).scale(more);
                        let affine = affine.front(front);
                        add(plan::forward(&affine, true, false, &caps, &pin.strategy(strategy)));
                        let request = BackwardRequest::new(affine, gradients);
                        add(plan::backward(&request, true, &caps, &pin.strategy(strategy)));
                    }
                }
            }
        }
    }
    kernels
}

/// Whole networks on the matrix units of every such device: each width, way to f16, type, α and jet.
fn networks_on_matrix_units() -> HashSet<Kernel> {
    let mut kernels = HashSet::new();
    let devices =
        [DeviceClass::Software, DeviceClass::Discrete].into_iter().flat_map(|class| MATRICES.map(|m| (class, m)));
    let devices = devices.flat_map(|device| [MatrixUnits::Rounded, MatrixUnits::Split].map(|units| (device, units)));
    let jets = [None, Some(Jet::two([1.0, 0.0, -0.5])), Some(Jet::laplacian(5)), Some(Jet::two([0.0; 3]))];
    for (i, ((class, (subgroup, size)), units)) in devices.enumerate() {
        let caps = Caps::defaults(class).f16(true).subgroup(subgroup).matrix_size(size);
        let caps = caps.matrix_units(units).workgroup_bytes(49_152);
        for (j, (width, dtype)) in [20, 64, 128].into_iter().flat_map(|n| Float::ALL.map(|d| (n, d))).enumerate() {
            let i = i + j;
            let activation: Activation = if i.is_multiple_of(2) { "prelu" } else { "swish" }.parse().unwrap();
            let inputs = [width, 3][i / 3 % 2];
            let layers = elbow::network::Layers::new(&[inputs, width, width, 5], activation).unwrap();
            let layers = layers.alpha(ALPHAS[j % 3]).output(Activation::SIGMOID);
            let layers = layers.jet(jets[i % 4].clone().map(|jet| jet.unwrap().even_if_flat()));
            let gap = (i % 2 == 1).then_some(inputs as u32 + 4);
            let storage = Storage::all(dtype).with_row_stride(Operand::X, gap);
            let request =
                plan::NetworkForward { rows: 1 << (8 + i % 3 * 5), layers, copy: dtype != Float::F32, storage };
            let plan = plan::network_forward(&request, true, &caps).unwrap();
            kernels.extend(plan.dispatches.into_iter().map(|d| d.kernel).filter(Kernel::on_matrix_units));
            let storage = request.storage.with_row_stride(Operand::Dx, gap);
            let forward = plan::NetworkForward { layers: layers.jet(None), storage, ..request };
            let wants = [Want::Overwrite, Want::Accumulate, Want::No];
            let request = plan::NetworkBackward { forward, dx: wants[i % 3], parameters: wants[i / 3 % 2 * 2] };
            let plan = plan::network_backward(&request, true, &caps).unwrap();
            kernels.extend(plan.dispatches.into_iter().map(|d| d.kernel).filter(Kernel::on_matrix_units));
        }
    }
    assert!(kernels.len() > 100, "{}", kernels.len());
    kernels
}

fn check(kernel: &Kernel, binding: Binding) -> Result<(), String> {
    let text = assemble(kernel, binding).map_err(|e| e.to_string())?;
    let module = wgsl::parse_str(&text).map_err(|e| format!("{}\n{text}", e.emit_to_string(&text)))?;
    let coop = kernel.on_matrix_units();
    let units = if coop { Capabilities::COOPERATIVE_MATRIX } else { Capabilities::empty() };
    let info = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | units)
        .validate(&module)
        .map_err(|e| format!("{}\n{text}", e.emit_to_string(&text)))?;

    let mut storage = 0;
    for (_, variable) in module.global_variables.iter() {
        let Some(bound) = variable.binding else { continue };
        if bound.binding == 0 {
            let mut layouter = Layouter::default();
            layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;
            let size = layouter[variable.ty].size as usize;
            if size != size_of::<Params>() {
                return Err(format!("the parameter block has {size} bytes in WGSL, {} in Rust", size_of::<Params>()));
            }
            let TypeInner::Struct { members, .. } = &module.types[variable.ty].inner else {
                return Err("the parameter block is no struct".into());
            };
            let offsets: Vec<(String, u32)> =
                members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset)).collect();
            let expected = PARAMS.map(|(name, offset)| (name.to_owned(), offset as u32));
            if offsets != expected {
                return Err(format!("the parameter block is {offsets:?} in WGSL, {expected:?} in Rust"));
            }
            continue;
        }
        storage += 1;
        let slot = kernel.slots.get(bound.binding as usize - 1).ok_or("a binding without a slot")?;
        let writable =
            matches!(variable.space, AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE));
        if variable.name.as_deref() != Some(slot.role) || writable != (slot.written || binding == Binding::Shared) {
            return Err(format!(
                "binding {} is {:?} (writable: {writable}), the slot {slot:?}",
                bound.binding, variable.name
            ));
        }
    }
    if storage != kernel.slots.iter().filter(|s| s.within.is_none()).count() || storage > 8 {
        return Err(format!("{storage} storage bindings for {} slots; at most 8", kernel.slots.len()));
    }

    let bytes = workgroup_bytes(&module)?;
    // Tiles on matrix units, and whole networks of eight rows a lane, take what the device has, not what is promised.
    if bytes > caps().workgroup_bytes && !coop && kernel.flag("LANE_ROWS") != 8 {
        return Err(format!("{bytes} bytes of workgroup memory, {} are promised", caps().workgroup_bytes));
    }
    if let Some(name) = shared_vector_written_by_component(&module, &info) {
        return Err(format!(
            "a vector of {name:?} is written by component: a race where another lane writes its neighbour"
        ));
    }

    spv::write_vec(&module, &info, &spv::Options { lang_version: (1, 3), ..Default::default() }, None)
        .map_err(|e| format!("SPIR-V: {e}"))?;
    if coop && kernel.flag("MATRIX") != 8 {
        // Metal has matrices of 8×8 alone, and reports no others; naga would write types that don't exist.
        return Ok(());
    }
    let mut resources = msl::BindingMap::default();
    for (_, variable) in module.global_variables.iter() {
        if let Some(bound) = variable.binding {
            let target = msl::BindTarget { buffer: Some(bound.binding as u8), mutable: true, ..Default::default() };
            resources.insert(bound, target);
        }
    }
    let entry = msl::EntryPointResources { resources, sizes_buffer: Some(30), ..Default::default() };
    let options = msl::Options {
        lang_version: if coop { (2, 3) } else { (2, 1) },
        per_entry_point_map: [("main".to_owned(), entry)].into(),
        ..Default::default()
    };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).map_err(|e| format!("MSL: {e}"))?;
    if coop {
        // naga writes no cooperative matrix for DX12, and wgpu does not offer the feature there.
        return Ok(());
    }
    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
    let mut out = String::new();
    hlsl::Writer::new(&mut out, &options, &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}

/// Bytes of all workgroup variables together.
fn workgroup_bytes(module: &naga::Module) -> Result<u32, String> {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;
    let shared = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    Ok(shared.map(|(_, variable)| layouter[variable.ty].size).sum())
}

/// A variable that lanes share, one of whose vectors is stored a component at a time. To WGSL's memory model a vector is one
/// place: two lanes that write two components of it race. Functions that nobody calls don't count.
fn shared_vector_written_by_component(module: &naga::Module, info: &ModuleInfo) -> Option<String> {
    let mut calls: Vec<(&Function, &FunctionInfo)> = Vec::new();
    calls.extend(module.entry_points.iter().enumerate().map(|(i, entry)| (&entry.function, info.get_entry_point(i))));
    let mut seen = HashSet::new();
    while let Some((function, of)) = calls.pop() {
        let mut blocks = vec![&function.body];
        while let Some(block) = blocks.pop() {
            for statement in block {
                match statement {
                    Statement::Store { pointer, .. } => {
                        let inner = of[*pointer].ty.inner_with(&module.types);
                        // A pointer into a vector has no type of its own in naga: this is what it looks like.
                        if let TypeInner::ValuePointer { size: None, space, .. } = inner
                            && matches!(space, AddressSpace::WorkGroup | AddressSpace::Storage { .. })
                        {
                            return Some(variable_of(module, function, *pointer));
                        }
                    }
                    Statement::Call { function, .. } if seen.insert(*function) => {
                        calls.push((&module.functions[*function], &info[*function]));
                    }
                    Statement::Block(inner) => blocks.push(inner),
                    Statement::If { accept, reject, .. } => blocks.extend([accept, reject]),
                    Statement::Switch { cases, .. } => blocks.extend(cases.iter().map(|case| &case.body)),
                    Statement::Loop { body, continuing, .. } => blocks.extend([body, continuing]),
                    _ => {}
                }
            }
        }
    }
    None
}

/// The name of the variable that a pointer leads into.
fn variable_of(module: &naga::Module, function: &Function, mut pointer: Handle<Expression>) -> String {
    loop {
        match function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => pointer = base,
            Expression::GlobalVariable(variable) => {
                return module.global_variables[variable].name.clone().unwrap_or_default();
            }
            ref other => return format!("{other:?}"),
        }
    }
}

const PARAMS: [(&str, usize); 21] = [
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("k", std::mem::offset_of!(Params, k)),
    ("chunk", std::mem::offset_of!(Params, chunk)),
    ("tiles", std::mem::offset_of!(Params, tiles)),
    ("tiles_cols", std::mem::offset_of!(Params, tiles_cols)),
    ("split_tiles", std::mem::offset_of!(Params, split_tiles)),
    ("grid_x", std::mem::offset_of!(Params, grid_x)),
    ("channels", std::mem::offset_of!(Params, channels)),
    ("first", std::mem::offset_of!(Params, first)),
    ("batch", std::mem::offset_of!(Params, batch)),
    ("zero", std::mem::offset_of!(Params, zero)),
    ("p", std::mem::offset_of!(Params, p)),
    ("at", std::mem::offset_of!(Params, at)),
    ("batch_stride", std::mem::offset_of!(Params, batch_stride)),
    ("row_stride", std::mem::offset_of!(Params, row_stride)),
    ("ignored", std::mem::offset_of!(Params, ignored)),
    ("parts", std::mem::offset_of!(Params, parts)),
    ("splits", std::mem::offset_of!(Params, splits)),
    ("half", std::mem::offset_of!(Params, half)),
    ("seed", std::mem::offset_of!(Params, seed)),
];

#[test]
fn every_permutation_is_valid_on_every_backend() {
    let mut kernels = every_kernel();
    for file in KernelFile::ALL {
        assert!(kernels.iter().any(|k| k.file == file), "no plan asks for {}", file.name());
    }
    let set = |name: &str| std::env::var(name).is_ok_and(|v| v == "1");
    if set("ELBOW_TEST_QUICK") {
        kernels = kernels.into_iter().step_by(8).collect();
    }
    // The other binding flavour differs in the declarations of the slots alone: a sample of every kernel.
    let shared = if set("ELBOW_TEST_FULL") { 1 } else { 5 };
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    let chunks: Vec<&[Kernel]> = kernels.chunks(kernels.len().div_ceil(threads)).collect();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let handles: Vec<_> = chunks
            .into_iter()
            .map(|chunk| {
                scope.spawn(move || {
                    let mut failures = Vec::new();
                    for (i, kernel) in chunk.iter().enumerate() {
                        let flavours = [Binding::Exclusive, Binding::Shared];
                        for binding in flavours.into_iter().take(if i % shared == 0 { 2 } else { 1 }) {
                            if let Err(message) = check(kernel, binding) {
                                failures.push(format!("{kernel} ({binding:?}): {message}"));
                            }
                        }
                    }
                    failures
                })
            })
            .collect();
        handles.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    println!("{} kernel variants, one in {shared} of them in two binding flavours", kernels.len());
    assert!(failures.is_empty(), "{} of {}: {}", failures.len(), kernels.len(), failures[0]);
}

/// A device may have less than WebGPU's 16 KiB (wgpu's downlevel limits are 16,352 bytes), or more: the plan chooses tiles
/// by what the device has, so no product may take more, whatever its tile and its epilogue.
#[test]
fn no_product_takes_more_workgroup_memory_than_the_device_has() {
    let requests = |workgroup_bytes: u32, subgroup: u32, matrix: u32, units: MatrixUnits| {
        let caps = caps().workgroup_bytes(workgroup_bytes).subgroup(subgroup);
        let caps = caps.f16(matrix > 0).matrix_size(matrix).matrix_units(units);
        let mut kernels = HashSet::new();
        let mut add =
            |plan: elbow::Result<Plan>| kernels.extend(plan.into_iter().flat_map(|p| p.dispatches).map(|d| d.kernel));
        for tile in (0..TILES.len()).map(Some).chain([None]) {
            for (m, size) in [(1, 128), (8, 128), (8, 129), (256, 256), (257, 257)] {
                for saved in [Saved::Z, Saved::Mask] {
                    let pin = Pin::default().tile(tile).splits(1).strategy(Strategy::Prologue);
                    let affine = AffineRequest::new(m, size, size, Activation::RELU).saved(saved);
                    add(plan::forward(&affine, true, false, &caps, &pin));
                    for gate in [Gate::stacked(), Gate::apart()] {
                        add(plan::forward(&affine.gate(gate).saved(Saved::Z), true, false, &caps, &pin));
                    }
                    let below = Below::new(Activation::RELU, saved).alpha(AlphaSource::Constant).db(Want::Overwrite);
                    let gradients = Gradients::default().x(Want::Overwrite);
                    let backward = BackwardRequest::new(affine, gradients).upstream_is_dz(true).below(below);
                    add(plan::backward(&backward, true, &caps, &pin));
                }
            }
        }
        for width in [32, 64, 128] {
            let layers = elbow::network::Layers::new(&[3, width, width, 2], Activation::RELU).unwrap();
            let request = plan::NetworkForward { rows: 1 << 20, layers, copy: false, storage: Storage::default() };
            add(plan::network_forward(&request, true, &caps));
        }
        kernels
    };
    let products = [
        KernelFile::ProductDirect,
        KernelFile::ProductStaged,
        KernelFile::ProductBroadcast,
        KernelFile::ProductSlicedK,
        KernelFile::ProductCoop,
        KernelFile::Network,
        KernelFile::NetworkCoop,
    ];
    let mut failures = Vec::new();
    let mut taken: HashMap<Kernel, u32> = HashMap::new();
    for limit in [512, 2048, 4096, 6144, 8192, 10_240, 16_352, 16_384, 32_768, 49_152] {
        let plain = [0, 8, 16, 32, 64].map(|subgroup| (subgroup, 0, MatrixUnits::Off));
        let units = [MatrixUnits::Rounded, MatrixUnits::Split];
        let coop = units.into_iter().flat_map(|units| MATRICES.map(|(subgroup, matrix)| (subgroup, matrix, units)));
        for (subgroup, matrix, units) in plain.into_iter().chain(coop) {
            for kernel in requests(limit, subgroup, matrix, units).into_iter().filter(|k| products.contains(&k.file)) {
                let bytes = *taken.entry(kernel.clone()).or_insert_with(|| {
                    let text = assemble(&kernel, Binding::Exclusive).unwrap();
                    workgroup_bytes(&wgsl::parse_str(&text).unwrap()).unwrap()
                });
                if bytes > limit {
                    failures.push(format!("{bytes} bytes where {limit} are there: {kernel}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}: {}", failures.len(), failures.join("\n"));
    assert!(
        products.iter().all(|file| taken.keys().any(|kernel| kernel.file == *file)),
        "a product that was not asked for"
    );
}

#[test]
fn a_missing_function_is_an_error_without_a_gpu() {
    // identity has no alpha: a kernel that asks for ∂act/∂α must not pass.
    let alpha_slope = |step: &Step| matches!(step, Step::Act(_, program::Function::Of(Quantity::AlphaSlope), ..));
    let mut kernel = every_kernel().into_iter().find(|k| k.finish.steps().iter().any(alpha_slope)).unwrap();
    kernel.stages = vec![Activation::IDENTITY.kind()];
    assert!(check(&kernel, Binding::Exclusive).is_err());
}

/// The browsers' compiler as a second opinion, where its command line tool is installed: it is stricter about uniform
/// control flow and about constants. Every eighth variant, all of them with `ELBOW_TEST_FULL=1`. Subgroup operations are
/// left out: naga and Tint disagree on how a module asks for them.
#[test]
fn tint_accepts_what_naga_accepts() {
    let tint = |file: &std::path::Path| {
        std::process::Command::new("tint")
            .args(["--format", "wgsl"])
            .arg(file)
            .output()
            .map(|o| (o.status.success(), o.stderr))
    };
    let folder = std::env::temp_dir().join(format!("elbow-tint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let step = if std::env::var("ELBOW_TEST_FULL").is_ok_and(|v| v == "1") { 1 } else { 8 };
    let (mut seen, mut failures) = (0, Vec::new());
    // Cooperative matrix is wgpu's own extension of WGSL.
    let naga_only = |k: &Kernel| k.file == KernelFile::ProductBroadcast || k.on_matrix_units();
    let subgroups = |k: &Kernel| naga_only(k) || k.flag("SUBGROUP") == 1;
    for kernel in every_kernel().iter().filter(|k| !subgroups(k)).step_by(step) {
        let file = folder.join("kernel.wgsl");
        std::fs::write(&file, assemble(kernel, Binding::Exclusive).unwrap()).unwrap();
        match tint(&file) {
            Err(_) => {
                println!("tint is not installed: nothing was asked of it");
                break;
            }
            Ok((true, _)) => seen += 1,
            Ok((false, message)) => failures.push(format!("{kernel}: {}", String::from_utf8_lossy(&message))),
        }
    }
    println!("{seen} variants accepted by tint");
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(failures.is_empty(), "{}: {}", failures.len(), failures[0]);
}

/// `&&` and `||` become branches, dozens in a register tile whose prologue has a slope: no GPU profits from them, and one driver's
/// compiler never came back. `&` and `|` of booleans are selections.
#[test]
fn activations_never_branch() {
    for row in elbow::activation::rows() {
        for (number, line) in row.wgsl.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in ["&&", "||", "if (", "for (", "while"] {
                assert!(!line.contains(word), "{}.wgsl, line {}: {line}", row.name, number + 1);
            }
        }
    }
}
