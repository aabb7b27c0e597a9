//! The plan as data, without a GPU: which kernels for which shape and device, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Activation, AlphaSource, Error, Float, Gate, Jet, MatrixUnits, Operand, ResidualAt, Saved, Strategy, Want,
    WeightLayout,
    kernel::KernelFile,
    plan::{self, Caps, DeviceClass, Pin, Plan},
    request::{AffineRequest, BackwardRequest, Below, Gradients, Statistics},
    storage::Storage,
};

const LAPTOP: Caps = Caps::defaults(DeviceClass::Discrete);
const SOFTWARE: Caps = Caps::defaults(DeviceClass::Software).subgroup(8);

fn files(plan: &Plan) -> Vec<KernelFile> {
    plan.dispatches.iter().map(|d| d.kernel.file).collect()
}

fn forward(m: usize, n: usize, k: usize, caps: &Caps) -> Plan {
    plan::forward(&AffineRequest::new(m, n, k, Activation::GELU_ERF), true, false, caps, &Pin::default()).unwrap()
}

fn all() -> Gradients {
    Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite)
}

fn backward(activation: Activation, m: usize, n: usize, k: usize) -> BackwardRequest {
    BackwardRequest::new(AffineRequest::new(m, n, k, activation), all())
}

fn planned(request: &BackwardRequest, caps: &Caps) -> Plan {
    plan::backward(request, true, caps, &Pin::default()).unwrap()
}

#[test]
fn forward_is_one_dispatch() {
    for caps in [LAPTOP, SOFTWARE] {
        // Larger products are cut into pieces: tests/pieces.rs.
        for (m, n, k) in [(512, 512, 256), (128, 1024, 256), (1000, 257, 33)] {
            assert_eq!(forward(m, n, k, &caps).dispatches.len(), 1, "({m}, {n}, {k})");
        }
    }
}

#[test]
fn the_device_decides_how_tiles_are_filled() {
    assert_eq!(files(&forward(512, 512, 256, &LAPTOP)), [KernelFile::ProductStaged]);
    assert_eq!(files(&forward(512, 512, 256, &SOFTWARE)), [KernelFile::ProductBroadcast]);
    let no_subgroups = SOFTWARE.subgroup(0);
    assert_eq!(files(&forward(512, 512, 256, &no_subgroups)), [KernelFile::ProductDirect]);
    assert_eq!(files(&forward(1, 1024, 64, &SOFTWARE)), [KernelFile::ProductSlicedK]);
    // The tile that leaves the least idle, where none fills the device.
    assert_eq!(forward(1, 64, 64, &SOFTWARE).dispatches[0].params.tiles, 2);
}

#[test]
fn few_rows_read_the_weight_along_the_reduction() {
    let across = |plan: &Plan| plan.dispatches[0].kernel.file == KernelFile::ProductSlicedK;
    for rows in 1..=16 {
        let plan = forward(rows, 4096, 4096, &LAPTOP);
        assert!(across(&plan), "{plan}");
        // A power of two of rows is computed, no more than there are lanes that store.
        assert_eq!(plan.dispatches[0].kernel.flag("ROWS") as usize, rows.next_power_of_two().min(8));
        let wide = LAPTOP.subgroup(32);
        assert_eq!(forward(rows, 4096, 4096, &wide).dispatches[0].kernel.flag("SUBGROUP"), 1);
        assert_eq!(plan.dispatches[0].kernel.flag("SUBGROUP"), 0);
        // [in, out] weights have their neighbours across the reduction, and dx theirs along it.
        let request = AffineRequest::new(rows, 256, 256, Activation::RELU).layout(WeightLayout::InOut);
        assert!(!across(&plan::forward(&request, true, false, &LAPTOP, &Pin::default()).unwrap()));
        let backward = backward(Activation::RELU, rows, 256, 256).affine(request);
        let files = files(&planned(&backward, &LAPTOP));
        assert_eq!(files.iter().filter(|f| **f == KernelFile::ProductSlicedK).count(), 1, "{files:?}");
    }
    assert!(!across(&forward(17, 4096, 4096, &LAPTOP)));
}

#[test]
fn a_small_output_with_a_long_reduction_is_split() {
    let plan = forward(1, 64, 65_536, &LAPTOP);
    assert_eq!(files(&plan), [KernelFile::ProductSlicedK, KernelFile::SplitSum]);
    assert!(plan.scratch(Operand::Partials) > 0);
    // The splits cover the reduction, each a whole number of vec4.
    let first = &plan.dispatches[0].params;
    let splits = first.tiles / first.split_tiles;
    assert!(first.chunk.is_multiple_of(4) && splits * first.chunk >= 65_536 && (splits - 1) * first.chunk < 65_536);
}

/// What an H100 was fastest with: as many tiles as they come, or the large tile split until the device is full.
#[test]
fn products_of_few_tiles_fill_a_discrete_gpu() {
    let caps = Caps::defaults(DeviceClass::Discrete);
    for (m, n, k) in [(1024, 1024, 1024), (512, 1024, 1024), (64, 1024, 1024), (256, 256, 8192), (8192, 1024, 256)] {
        let plan = forward(m, n, k, &caps);
        let tiles = plan.dispatches[0].params.tiles;
        assert!((128..=512).contains(&tiles), "{m} {n} {k}: {tiles} workgroups\n{plan}");
    }
}

/// A chain of 64 rows: 16 tiles of 64×64, each with sums for db of the layer below.
#[test]
fn a_chain_of_few_tiles_is_split_on_a_gpu() {
    let below = Below::new(Activation::GELU_ERF, Saved::Z).db(Want::Overwrite);
    let gradients = Gradients::default().x(Want::Overwrite);
    let request = backward(Activation::IDENTITY, 64, 1024, 1024).gradients(gradients).upstream_is_dz(true).below(below);
    let plan = planned(&request, &LAPTOP);
    assert_eq!(files(&plan), [KernelFile::ProductStaged, KernelFile::SplitSum, KernelFile::ColumnSum], "{plan}");
    assert!(plan.dispatches[0].params.tiles >= 128, "{plan}");
    assert_eq!(
        planned(&request, &SOFTWARE).dispatches[0].params.tiles,
        planned(&request, &SOFTWARE).dispatches[0].params.split_tiles
    );
}

/// 16 tiles of 32×32 can't be split (a second stage costs more than the reduction is long): four slices of a workgroup share each.
/// A GPU that a browser gives is planned for as an integrated one, at WebGPU's own limits: it is filled with half of the workgroups of a
/// discrete one, and no tile takes more lanes or memory than WebGPU promises.
#[test]
fn a_browser_gets_the_plans_of_a_laptop() {
    let [web, discrete] = [DeviceClass::Integrated, DeviceClass::Discrete].map(Caps::defaults);
    assert_eq!((web.max_invocations, web.workgroup_bytes, web.subgroup), (256, 16_384, 0));
    assert_eq!(web.choices.workgroups() * 2, discrete.choices.workgroups());
    let workgroups = |caps: &Caps, m, n, k| -> u32 {
        let plan = planned(&backward(Activation::GELU_ERF, m, n, k), caps);
        let all = forward(m, n, k, caps).dispatches.into_iter().chain(plan.dispatches);
        let products = all.filter(|d| d.kernel.file == KernelFile::ProductStaged);
        products
            .map(|d| {
                assert!(d.kernel.flag("WX") * d.kernel.flag("WY") <= 256, "{}", d.kernel);
                d.params.tiles
            })
            .sum()
    };
    let mut fewer = 0;
    for (m, n, k) in [(64, 256, 256), (256, 512, 512), (512, 512, 512), (1024, 1024, 1024), (64, 1024, 4096)] {
        let [web, discrete] = [&web, &discrete].map(|caps| workgroups(caps, m, n, k));
        assert!(web > 0 && web <= discrete, "({m}, {n}, {k}): {web} workgroups, {discrete} on a discrete GPU");
        fewer += usize::from(web < discrete);
    }
    assert!(fewer >= 3, "a laptop's plans are those of a discrete GPU but for {fewer}");
}

#[test]
fn the_reduction_of_a_small_output_is_sliced_on_a_gpu() {
    let gpu = LAPTOP.workgroup_bytes(32 << 10);
    let slices = |m, n, k, caps: &Caps| forward(m, n, k, caps).dispatches[0].kernel.flag("SLICES");
    assert_eq!(slices(64, 256, 256, &gpu), 4);
    assert_eq!(slices(64, 256, 127, &gpu), 1, "too short");
    assert_eq!(slices(512, 1024, 1024, &gpu), 1, "enough tiles");
    assert_eq!(slices(64, 256, 256, &LAPTOP), 1, "too little workgroup memory");
    assert_eq!(slices(64, 256, 256, &SOFTWARE), 0);
}

#[test]
fn how_far_a_product_is_split_follows_the_device() {
    let mut previous = 0;
    for workgroups in [16, 64, 256] {
        let mut caps = LAPTOP;
        caps.choices.set_workgroups(workgroups);
        let tiles = forward(64, 512, 65_536, &caps).dispatches[0].params.tiles;
        assert!(tiles > previous && tiles <= 2 * workgroups, "{workgroups}: {tiles} after {previous}");
        previous = tiles;
    }
}

#[test]
fn vectors_only_where_every_row_is_a_whole_number_of_them() {
    let vec = |m, n, k, layout, aligned| {
        let request = AffineRequest::new(m, n, k, Activation::RELU).layout(layout);
        plan::forward(&request, aligned, false, &LAPTOP, &Pin::default()).unwrap().dispatches[0].kernel.flag("VEC") == 1
    };
    assert!(vec(33, 33, 64, WeightLayout::OutIn, true));
    assert!(!vec(33, 33, 64, WeightLayout::OutIn, false));
    assert!(!vec(33, 33, 63, WeightLayout::OutIn, true));
    assert!(!vec(33, 33, 64, WeightLayout::InOut, true), "rows of w are 33 long");
}

#[test]
fn two_strategies_of_backward() {
    let relu = backward(Activation::RELU, 256, 256, 64);
    let plan = planned(&relu, &LAPTOP);
    assert_eq!(plan.strategy, Strategy::Prologue);
    assert!(plan.dispatches.iter().any(|d| d.kernel.a.uses(Operand::Dy) && d.kernel.a.acts()));
    assert_eq!(plan.scratch(Operand::Dz), 0);
    let gelu = backward(Activation::GELU_ERF, 256, 256, 256);
    let plan = planned(&gelu, &LAPTOP);
    assert_eq!(plan.strategy, Strategy::TwoPass);
    assert_eq!(files(&plan)[0], KernelFile::Rows, "dz is written once, and db reduced on the way");
    assert_eq!(plan.scratch(Operand::Dz), 256 * 256);
    let pinned = Pin::default().strategy(Strategy::Prologue);
    assert_eq!(plan::backward(&gelu, true, &LAPTOP, &pinned).unwrap().strategy, Strategy::Prologue);
}

#[test]
fn a_linear_layer_needs_no_dz_and_nothing_saved() {
    let plan = planned(&backward(Activation::IDENTITY, 64, 64, 64), &LAPTOP);
    assert_eq!((plan.saved, plan.scratch(Operand::Dz)), (Saved::None, 0));
}

#[test]
fn only_what_is_wanted_is_computed() {
    let mut request = backward(Activation::GELU_ERF, 64, 64, 64);
    request.gradients = Gradients::default().b(Want::Overwrite);
    assert_eq!(files(&planned(&request, &LAPTOP)), [KernelFile::Rows, KernelFile::ColumnSum]);
    request.gradients = Gradients::default();
    assert!(planned(&request, &LAPTOP).dispatches.is_empty());
    request.gradients.residual = Want::Accumulate;
    request.affine.residual = Some(ResidualAt::AfterActivation);
    let plan = planned(&request, &LAPTOP);
    assert_eq!(files(&plan), [KernelFile::Rows]);
    assert!(
        plan.dispatches[0].uses.iter().all(|u| u.operand != Operand::Saved),
        "d(residual) is dy: nothing saved is read"
    );
}

#[test]
fn a_chain_applies_the_slope_below_in_its_epilogue() {
    let activation = "prelu".parse().unwrap();
    let below =
        Below::new(activation, Saved::Z).alpha(AlphaSource::PerChannel).db(Want::Overwrite).dalpha(Want::Overwrite);
    let mut request = backward(Activation::IDENTITY, 64, 32, 48);
    (request.upstream_is_dz, request.below) = (true, Some(below));
    let plan = planned(&request, &LAPTOP);
    let dx = plan.dispatches.iter().find(|d| d.kernel.finish.uses(Operand::SavedBelow)).unwrap();
    assert!(dx.uses.iter().any(|u| u.operand == Operand::SavedBelow));
    assert_eq!(files(&plan).iter().filter(|f| **f == KernelFile::ColumnSum).count(), 3, "db here, db and dα below");
    request.gradients.x = Want::Accumulate;
    assert!(matches!(plan::backward(&request, true, &LAPTOP, &Pin::default()), Err(Error::Unsupported { .. })));
}

#[test]
fn recomputation_costs_a_product_and_keeps_nothing() {
    let mut request = backward(Activation::GELU_ERF, 64, 64, 64);
    request.affine.saved = Saved::None;
    let plan = planned(&request, &LAPTOP);
    assert_eq!(plan.scratch(Operand::Z), 64 * 64);
    let again = &plan.dispatches[0].kernel.finish;
    assert!(again.uses(Operand::Z) && !again.uses(Operand::Y), "{again}");
}

#[test]
fn memory_and_bindings_are_bounded() {
    let tight = LAPTOP.max_scratch(1 << 10);
    let error = plan::backward(&backward(Activation::GELU_ERF, 64, 64, 64), true, &tight, &Pin::default()).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { limit: 1024, .. }), "{error}");
    let wide = AffineRequest::new(1, 1, 40 << 20, Activation::RELU);
    let error = plan::forward(&wide, true, false, &LAPTOP, &Pin::default()).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { .. }), "{error}");
    for request in [backward(Activation::GELU_ERF, 64, 64, 64), backward(Activation::RELU, 1, 1, 1)] {
        for dispatch in planned(&request, &LAPTOP).dispatches {
            assert!(dispatch.kernel.slots.len() <= 7);
        }
    }
}

#[test]
fn equal_requests_make_equal_plans_and_plans_print() {
    let request = backward(Activation::SILU, 100, 30, 70);
    let plan = planned(&request, &LAPTOP);
    assert_eq!(plan, planned(&request, &LAPTOP));
    let text = plan.to_string();
    assert!(text.contains("product_staged") && text.contains("scratch:"), "{text}");
}

#[test]
fn a_batch_is_the_plan_of_one_layer_with_more_workgroups() {
    let request = backward(Activation::GELU_ERF, 8, 40, 24);
    let pin = Pin::default();
    let one = planned(&request, &LAPTOP);
    let batch =
        |layers, caps: &Caps| plan::backward_batch(layers, &request.resolve().unwrap(), true, caps, &pin).unwrap();
    assert_eq!(batch(1, &LAPTOP), one);
    assert!(batch(0, &LAPTOP).dispatches.is_empty());
    let many = batch(65, &LAPTOP);
    assert_eq!(files(&many), files(&one));
    for (many, one) in many.dispatches.iter().zip(&one.dispatches) {
        assert_eq!((many.params.batch, many.params.tiles), (65, one.params.tiles));
        assert_eq!(many.kernel.flag("BATCHED"), 1);
        for (many, one) in many.uses.iter().zip(&one.uses) {
            assert!(
                many.len >= 64 * one.len && many.len <= 65 * one.len.max(one.origin + one.len) * 2,
                "{many:?} {one:?}"
            );
        }
    }
    assert_eq!(many.scratch(Operand::Dz), 65 * 8 * 40);
    // Less scratch, a shorter binding, less time: fewer layers to a dispatch, all of them somewhere.
    let tight = LAPTOP.max_scratch(one.scratch_bytes() * 10);
    let narrow = LAPTOP.max_binding(40 * 24 * 4 * 20);
    let slow = LAPTOP.max_work(65 * 8 * 40 * 24);
    for caps in [tight, narrow, slow] {
        let plan = batch(65, &caps);
        assert!(plan.dispatches.len() > many.dispatches.len(), "{plan}");
        assert!(plan.scratch_bytes() <= 3 * caps.max_scratch);
        let of = |file| plan.dispatches.iter().filter(move |d| d.kernel.file == file);
        assert_eq!(of(KernelFile::Rows).map(|d| d.params.batch).sum::<u32>(), 65, "{plan}");
    }
    let error = plan::backward_batch(1 << 20, &request.resolve().unwrap(), true, &LAPTOP.max_binding(1 << 13), &pin)
        .unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { .. }), "{error}");
}

/// Anything that can be asked for is planned or refused, never a panic; and what is planned stays within bounds.
mod any_request {
    use super::*;
    use elbow::Strategy;
    use proptest::{prelude::*, strategy::Strategy as _};

    /// 100,000 with `ELBOW_TEST_FULL`.
    fn cases() -> u32 {
        if std::env::var("ELBOW_TEST_FULL").is_ok_and(|v| !v.is_empty() && v != "0") { 100_000 } else { 2_000 }
    }

    fn size() -> impl prop::strategy::Strategy<Value = usize> {
        prop_oneof![
            16 => 0..70usize,
            4 => 1000..1030usize,
            1 => Just(65_536),
            1 => Just(u32::MAX as usize),
            1 => Just(usize::MAX),
            1 => any::<usize>(),
        ]
    }

    fn want() -> impl prop::strategy::Strategy<Value = Want> {
        prop_oneof![Just(Want::No), Just(Want::Overwrite), Just(Want::Accumulate)]
    }

    fn residual() -> impl prop::strategy::Strategy<Value = Option<ResidualAt>> {
        prop_oneof![Just(None), Just(Some(ResidualAt::AfterActivation)), Just(Some(ResidualAt::BeforeActivation))]
    }

    fn alpha() -> impl prop::strategy::Strategy<Value = AlphaSource> {
        prop_oneof![Just(AlphaSource::Constant), Just(AlphaSource::PerLayer), Just(AlphaSource::PerChannel)]
    }

    fn saved() -> impl prop::strategy::Strategy<Value = Saved> {
        prop_oneof![Just(Saved::Auto), Just(Saved::Z), Just(Saved::Y), Just(Saved::Mask), Just(Saved::None)]
    }

    prop_compose! {
        fn affine()(
            m in size(), n in size(), k in size(), alpha in alpha(), saved in saved(), bias: bool, residual in residual(),
            [in_out, row_weight, channels, rows] in any::<[bool; 4]>(), row in 0..elbow::activation::rows().len(),
        ) -> AffineRequest {
            let row = &elbow::activation::rows()[row];
            let required = row.parameters.iter().filter(|p| p.default.is_none()).count();
            let activation = Activation::new(row.kind, &vec![0.5; required]).unwrap();
            let layout = if in_out { WeightLayout::InOut } else { WeightLayout::OutIn };
            let statistics = Statistics::default().channels(channels).rows(rows).around(channels && rows);
            let usual = AffineRequest::new(m, n, k, activation);
            usual.layout(layout).alpha(alpha).saved(saved).bias(bias).residual(residual).row_weight(row_weight).statistics(statistics)
        }
    }

    prop_compose! {
        fn any_backward()(
            affine in affine(), x in want(), w in want(), b in want(), alpha in want(), residual in want(),
            upstream_is_dz: bool, chain in prop::option::of((alpha(), saved(), want(), want())),
        ) -> BackwardRequest {
            let below = chain.map(|(alpha, saved, db, dalpha)| {
                Below::new(Activation::leaky_relu(0.1).unwrap(), saved).alpha(alpha).db(db).dalpha(dalpha)
            });
            let gradients = Gradients::default().x(x).w(w).b(b).alpha(alpha).residual(residual);
            BackwardRequest::new(affine, gradients).upstream_is_dz(upstream_is_dz).below(below)
        }
    }

    fn pin() -> impl prop::strategy::Strategy<Value = Pin> {
        (prop::option::of(0..14usize), prop::option::of(0..9u32), any::<bool>()).prop_map(|(tile, splits, prologue)| {
            Pin::default().tile(tile).splits(splits).strategy(if prologue {
                Strategy::Prologue
            } else {
                Strategy::Auto
            })
        })
    }

    fn layers() -> impl prop::strategy::Strategy<Value = usize> {
        prop_oneof![4 => Just(1usize), 4 => 0..70usize, 1 => Just(1 << 20), 1 => Just(usize::MAX)]
    }

    fn within_bounds(plan: &Plan, caps: &Caps) {
        assert!(plan.scratch_bytes() <= 3 * caps.max_scratch);
        for dispatch in &plan.dispatches {
            assert_eq!(dispatch.kernel.slots.len(), dispatch.uses.len());
            assert!(dispatch.kernel.bindings() <= caps.max_bindings && dispatch.params.tiles > 0, "{plan}");
            assert!(dispatch.params.split_tiles > 0 && dispatch.params.tiles_cols > 0, "{plan}");
            assert!(dispatch.uses.iter().all(|u| u.len * 4 <= caps.max_binding), "{plan}");
            let (each, entries) = (dispatch.params.tiles - dispatch.params.first, dispatch.params.batch);
            assert!(entries > 0 && each.checked_mul(entries).is_some(), "{plan}");
        }
        // Many layers are many dispatches of a few kernels.
        let kernels: std::collections::HashSet<_> = plan.dispatches.iter().map(|d| &d.kernel).collect();
        for kernel in kernels {
            assert!(elbow::shader::assemble(kernel, elbow::shader::Binding::Shared).is_ok());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn forward_is_planned_or_refused(request in affine(), aligned: bool, software: bool, pin in pin(), layers in layers()) {
            let caps = if software { SOFTWARE } else { LAPTOP };
            if let Ok(plan) = request.resolve().and_then(|request| plan::forward_batch(layers, &request, aligned, false, &caps, &pin)) {
                within_bounds(&plan, &caps);
            }
        }

        #[test]
        fn backward_is_planned_or_refused(request in any_backward(), aligned: bool, software: bool, pin in pin(), layers in layers()) {
            let caps = if software { SOFTWARE } else { LAPTOP };
            if let Ok(plan) = request.resolve().and_then(|request| plan::backward_batch(layers, &request, aligned, &caps, &pin)) {
                within_bounds(&plan, &caps);
            }
        }
    }
}

/// What a backward request says that it reads of its forward is what its plan binds: every row, choice, source of α, want and
/// strategy.
#[test]
fn a_plan_binds_what_its_request_reads() {
    let operands = [Operand::X, Operand::W, Operand::B, Operand::Alpha, Operand::Saved, Operand::Dy];
    let mut read = [0; 6];
    for row in elbow::activation::rows() {
        let activation = Activation::new(row.kind, &vec![0.5; row.parameters.len()]).unwrap();
        for alpha in [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel] {
            for saved in [Saved::Z, Saved::Y, Saved::Mask, Saved::None] {
                for bits in 1..128u32 {
                    let on = |bit: u32| bits >> bit & 1 != 0;
                    let want = |bit| if on(bit) { Want::Overwrite } else { Want::No };
                    let affine = AffineRequest::new(5, 7, 3, activation).alpha(alpha).saved(saved).bias(on(6));
                    let gradients =
                        Gradients::default().x(want(0)).w(want(1)).b(want(2)).alpha(want(3)).residual(want(4));
                    let request = BackwardRequest::new(affine, gradients).upstream_is_dz(on(5));
                    // What the row cannot do is refused.
                    let strategy = [Strategy::Prologue, Strategy::TwoPass][bits as usize % 2];
                    let pin = Pin::default().strategy(strategy);
                    let Ok(plan) = plan::backward(&request, true, &LAPTOP, &pin) else { continue };
                    let bound = |operand| plan.dispatches.iter().flat_map(|d| &d.uses).any(|u| u.operand == operand);
                    for (i, operand) in operands.into_iter().enumerate() {
                        // A slope from a bit or from y may do without α; dy is always an operand.
                        let may_do_without = matches!(operand, Operand::Alpha | Operand::Dy);
                        let reads = request.resolve().unwrap().reads(operand);
                        assert!(
                            bound(operand) == reads || (may_do_without && reads),
                            "{operand} of {request:?}\n{plan}"
                        );
                        read[i] += u32::from(bound(operand));
                    }
                }
            }
        }
    }
    assert!(read.iter().all(|&times| times > 0), "{read:?}");
}

/// An H100's.
const MATRICES: Caps =
    Caps::defaults(DeviceClass::Discrete).subgroup(32).f16(true).workgroup_bytes(49_152).matrix_size(16);

#[test]
fn operands_are_scaled_before_they_are_split() {
    let caps = MATRICES.matrix_units(MatrixUnits::Split);
    let [sums, coop] = [[KernelFile::Rows, KernelFile::ColumnSum], [KernelFile::ProductCoop; 2]];
    let product = |plan: &Plan| plan.dispatches.iter().rfind(|d| d.kernel.file == coop[0]).unwrap().kernel.clone();
    let flags = |plan: &Plan, names: &[&'static str]| names.iter().map(|f| product(plan).flag(f)).collect::<Vec<_>>();
    let of = ["LANES", "BK", "SCALE_A", "SCALE_B", "SPLIT_A", "SPLIT_B", "ROUND_A"];
    let singles = forward(2048, 2048, 256, &caps);
    assert_eq!(files(&singles), [&sums[..], &sums[..], &coop[..1]].concat());
    assert_eq!(flags(&singles, &of), [256, 16, 1, 1, 1, 1, 0]);
    assert_eq!(singles.scratch(Operand::Scales), 4096);
    // What is stored in two bytes needs no second number, and f16 no scale.
    let stored = |x, w| {
        let storage = Storage::default().with(Operand::X, x).with(Operand::W, w);
        let request = AffineRequest::new(2048, 2048, 256, Activation::GELU_ERF).storage(storage);
        plan::forward(&request, true, false, &caps, &Pin::default()).unwrap()
    };
    let halves = stored(Float::F16, Float::F16);
    assert_eq!((files(&halves).len(), flags(&halves, &of)), (1, vec![128, 32, 0, 0, 0, 0, 0]));
    let mixed = stored(Float::Bf16, Float::F16);
    assert_eq!((files(&mixed).len(), flags(&mixed, &of)), (3, vec![256, 16, 1, 0, 0, 0, 1]));
    let half = stored(Float::F16, Float::F32);
    assert_eq!((files(&half).len(), flags(&half, &of)), (3, vec![256, 16, 0, 1, 0, 1, 0]));
    // A dz that is computed on the way is computed for its magnitudes too.
    let pin = Pin::default().strategy(Strategy::Prologue);
    let plan = plan::backward(&backward(Activation::RELU, 512, 512, 256), true, &caps, &pin).unwrap();
    let of_dz = |d: &plan::Dispatch| d.kernel.flag("MAGNITUDE") == 1 && d.kernel.finish.acts();
    assert_eq!(plan.dispatches.iter().filter(|d| of_dz(d)).count(), 2, "its rows for dx, its columns for dw: {plan}");
}

#[test]
fn what_cannot_be_split_is_plain_and_says_why() {
    let caps = MATRICES.matrix_units(MatrixUnits::Split);
    let request = AffineRequest::new(512, 512, 256, Activation::GELU_ERF);
    let says = |request: &AffineRequest, caps: &Caps, why: &str| {
        let plan = plan::forward(request, true, false, caps, &Pin::default()).unwrap();
        let plain = plan.dispatches.iter().all(|d| d.kernel.file != KernelFile::ProductCoop);
        assert!(plain && plan.scratch(Operand::Scales) == 0 && plan.to_string().contains(why), "{plan}");
    };
    says(&request, &caps.max_bindings(5), "with its scales it has more operands than the device binds");
    says(&request, &caps.workgroup_bytes(16_384), "no tile suits the device's subgroups, or its workgroup memory");
    says(&request.m(16), &caps, "16 rows or columns, or fewer");
    says(&request.jet(Jet::laplacian(2).unwrap()), &caps, "what it finishes are groups of rows");
    says(&request, &caps.matrix_size(0), "the device has none that can be used");
}

/// Gate and up on matrix units: one product with the tile of a layer of as many outputs, in the types and layouts that it takes; and why not.
#[test]
fn gate_and_up_are_one_product_on_matrix_units() {
    let caps = MATRICES.matrix_units(MatrixUnits::Rounded);
    let layer = AffineRequest::new(2048, 1024, 256, Activation::SILU).saved(Saved::None);
    let plan = |layer: &AffineRequest, caps: &Caps, pin: Pin| plan::forward(layer, true, false, caps, &pin).unwrap();
    let [product, pass] = [KernelFile::ProductCoop, KernelFile::Rows];
    let plain = plan(&layer.n(2048), &caps, Pin::default());
    let tile =
        |plan: &Plan| ["BM", "BN", "LANES", "MATRICES_M", "MATRICES_N"].map(|f| plan.dispatches[0].kernel.flag(f));
    let [stacked, interleaved, apart] = [Gate::stacked(), Gate::interleaved(), Gate::apart()];
    for (gate, layout) in [
        (stacked, WeightLayout::OutIn),
        (stacked.up_first(), WeightLayout::InOut),
        (interleaved, WeightLayout::OutIn),
        (apart, WeightLayout::OutIn),
        (apart.up_first(), WeightLayout::InOut),
    ] {
        let gated = plan(&layer.gate(gate).layout(layout), &caps, Pin::default());
        assert_eq!(files(&gated), [product], "{gated}");
        assert_eq!((gated.dispatches[0].kernel.flag("PAIRED"), gated.scratch_bytes()), (1, 0), "{gated}");
        assert_eq!(tile(&gated), tile(&plain), "{gated}");
        assert_eq!(gated.dispatches[0].params.tiles, plain.dispatches[0].params.tiles, "{gated}");
        // As many workgroups as the same weights have without a gate, and half of what they store.
        let units = 4 * 2048 * 1024;
        assert_eq!(gated.bytes(), plain.bytes() - units, "{gated}");
        // z in scratch memory, written and read: what a product and a pass move besides.
        let parts = plan(&layer.gate(interleaved).layout(WeightLayout::InOut), &caps, Pin::default());
        assert_eq!((files(&parts), parts.bytes()), (vec![product, pass], gated.bytes() + 4 * units), "{parts}");
        // Split operands have a scale for each row of x and of both weights.
        let split = plan(&layer.gate(gate).layout(layout), &caps.matrix_units(MatrixUnits::Split), Pin::default());
        let products: Vec<_> = split.dispatches.iter().filter(|d| d.kernel.file == product).collect();
        assert_eq!((products.len(), split.scratch(Operand::Scales)), (1, 4096), "{split}");
        let flags = ["PAIRED", "SPLIT_B", "LANES"].map(|flag| products[0].kernel.flag(flag));
        assert_eq!(flags, [1, 1, 256], "{split}");
    }
    let apart = layer.gate(apart);
    let (of_two, of_three) =
        (plan(&apart, &caps.max_bindings(5), Pin::default()), plan(&apart, &caps, Pin::default().splits(2)));
    assert_eq!(files(&of_two), [product; 2], "as many operands as both products have: {of_two}");
    assert_eq!(of_three.dispatches.iter().filter(|d| d.kernel.file == product).count(), 2, "{of_three}");
    let stacked = layer.gate(stacked);
    let halved = plan(&stacked, &caps.subgroup(8), Pin::default().tile(20));
    assert_eq!(files(&halved), [product, pass], "one matrix a subgroup is one of gates or of ups: {halved}");
    let says = |layer: &AffineRequest, caps: &Caps, pin: Pin, why: &str| {
        let plan = plan(layer, caps, pin);
        let staged = plan.dispatches.iter().all(|d| d.kernel.file == KernelFile::ProductStaged);
        assert!(staged && plan.dispatches.len() == 1 && plan.to_string().contains(why), "{plan}");
    };
    says(&stacked, &caps, Pin::default().tile(13), "another tile is pinned");
    says(&stacked, &caps.matrix_units(MatrixUnits::Stored), Pin::default(), "an operand is not f16 in memory");
    says(&stacked, &caps.matrix_size(0), Pin::default(), "the device has none that can be used");
}

/// Weights apart: what is read is what is bound, of every choice of gradients, kept or not; and dx is one product where a tile joins both weights, two
/// where none does, and a stage more where the second has no binding left for what the first has left.
#[test]
fn weights_apart_are_bound_where_they_are_read() {
    let operands = [Operand::X, Operand::W, Operand::WUp, Operand::B, Operand::BUp, Operand::Saved];
    for saved in [Saved::Z, Saved::None] {
        for bits in 1..64u32 {
            let want = |bit: u32| if bits >> bit & 1 != 0 { Want::Overwrite } else { Want::No };
            let affine = AffineRequest::new(40, 7, 36, Activation::SILU).gate(Gate::apart()).saved(saved);
            let gradients = Gradients::default().x(want(0)).w(want(1)).b(want(2)).w_up(want(3)).b_up(want(4));
            let request = BackwardRequest::new(affine.bias(bits & 32 != 0), gradients);
            let plan = plan::backward(&request, true, &LAPTOP, &Pin::default()).unwrap();
            let bound = |operand| plan.dispatches.iter().flat_map(|d| &d.uses).any(|u| u.operand == operand);
            for operand in operands {
                assert_eq!(
                    bound(operand),
                    request.resolve().unwrap().reads(operand),
                    "{operand} of {request:?}\n{plan}"
                );
            }
            for (operand, want) in [(Operand::DwUp, want(3)), (Operand::DbUp, want(4)), (Operand::Db, want(2))] {
                assert_eq!(bound(operand), want.wanted(), "{operand} of {request:?}\n{plan}");
            }
        }
    }
    let layer = AffineRequest::new(64, 64, 64, Activation::SILU).gate(Gate::apart()).saved(Saved::Z);
    let dx = BackwardRequest::new(layer, Gradients::default().x(Want::Overwrite));
    let below = Below::new(Activation::RELU, Saved::Z).row_weight(true).db(Want::Overwrite);
    let crowded = dx.below(below.drow_weight(Want::Overwrite));
    let crowded = crowded.affine(layer.residual(ResidualAt::AfterActivation)).skip(true);
    let joined = |plan: &Plan| plan.dispatches.iter().filter(|d| d.kernel.b.joins()).count();
    let dispatches = |request: &BackwardRequest, tile: usize| {
        let pin = Pin::default().tile(tile).splits(1);
        let plan = plan::backward(request, true, &Caps::defaults(DeviceClass::Discrete), &pin).unwrap();
        (plan.dispatches.len(), joined(&plan))
    };
    assert_eq!([dispatches(&dx, 5), dispatches(&dx, 0)], [(2, 1), (3, 0)]);
    // The pass, two products, what finishes them, and the later stages of two sums.
    assert_eq!(dispatches(&crowded, 5), (6, 0));
    let few = Caps::defaults(DeviceClass::Discrete).max_bindings(4);
    let forward = |caps: &Caps| plan::forward(&layer, true, false, caps, &Pin::default()).unwrap().dispatches.len();
    assert_eq!([forward(&Caps::defaults(DeviceClass::Discrete)), forward(&few)], [2, 3]);
}
