//! The plans of whole networks: where parameters lie, which block of rows a workgroup takes, and what moves in comparison with layer by layer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Activation, AlphaSource, Caps, DeviceClass, Error, Float, Jet, MatrixUnits, Operand, Pin, Plan,
    cpu::reference,
    kernel::KernelFile,
    network::Layers,
    plan::{self, NetworkBackward, NetworkForward, layer_by_layer_because, step_by_step_because},
    request::{AffineRequest, BackwardRequest, Below, Gradients, Saved, Want},
    storage::Storage,
};

/// A discrete GPU with the workgroup memory that most have.
fn caps() -> Caps {
    Caps::defaults(DeviceClass::Discrete).workgroup_bytes(32_768).max_binding(1 << 31).max_work(u64::MAX)
}

fn whole(sizes: &[usize], rows: usize, caps: &Caps) -> elbow::Result<Plan> {
    let layers = Layers::new(sizes, Activation::SILU).unwrap();
    let request = NetworkForward { rows, layers, copy: false, storage: Storage::default() };
    plan::network_forward(&request, true, caps)
}

/// Dispatches and bytes.
fn layer_by_layer(sizes: &[usize], rows: usize, caps: &Caps) -> (usize, u64) {
    let layer = |pair: &[usize]| {
        let request = AffineRequest::new(rows, pair[1], pair[0], Activation::SILU).saved(Saved::None);
        plan::forward(&request, true, false, caps, &Pin::default()).unwrap()
    };
    let plans: Vec<Plan> = sizes.windows(2).map(layer).collect();
    (plans.iter().map(|plan| plan.dispatches.len()).sum(), plans.iter().map(Plan::bytes).sum())
}

/// The figures of docs/performance.md.
#[test]
fn few_bytes_and_one_dispatch() {
    for (sizes, bytes, share) in [
        (&[3, 64, 64, 64, 64, 4][..], [2_176_895_760, 29_413_888], 74),
        (&[32, 64, 64, 16], [1_275_097_664, 201_356_800], 6),
        (&[16, 16, 16, 16, 16, 16], [671_094_080, 134_225_408], 4),
        (&[128, 128, 128, 128], [3_221_423_616, 1_073_939_968], 2),
    ] {
        let rows = 1 << 20;
        let one = whole(sizes, rows, &caps()).unwrap();
        let (dispatches, all) = layer_by_layer(sizes, rows, &caps());
        assert_eq!((one.dispatches.len(), dispatches), (1, sizes.len() - 1), "{one}");
        assert_eq!([all, one.bytes()], bytes, "{sizes:?}");
        assert!(all / one.bytes() >= share, "{sizes:?}: {all} and {}", one.bytes());
    }
}

fn whole_step(sizes: &[usize], rows: usize, caps: &Caps) -> elbow::Result<Plan> {
    gradients_of(Layers::new(sizes, Activation::SILU).unwrap(), rows, caps)
}

fn gradients_of(layers: Layers, rows: usize, caps: &Caps) -> elbow::Result<Plan> {
    let forward = NetworkForward { rows, layers, copy: false, storage: Storage::default() };
    let request = NetworkBackward { forward, dx: Want::No, parameters: Want::Overwrite };
    plan::network_backward(&request, true, caps)
}

/// Dispatches and bytes of forward and backward as an `Mlp` does them.
fn step_by_step(sizes: &[usize], rows: usize, caps: &Caps) -> (usize, u64) {
    layers_step_by_step(sizes, rows, Activation::SILU, None, caps)
}

fn layers_step_by_step(
    sizes: &[usize],
    rows: usize,
    hidden: Activation,
    jet: Option<Jet>,
    caps: &Caps,
) -> (usize, u64) {
    let count = sizes.len() - 1;
    let layer = |l: usize| {
        let activation = if l + 1 < count { hidden } else { Activation::IDENTITY };
        AffineRequest::new(rows, sizes[l + 1], sizes[l], activation).jet(jet)
    };
    let mut plans: Vec<Plan> = Vec::new();
    for l in 0..count {
        plans.push(plan::forward(&layer(l), true, false, caps, &Pin::default()).unwrap());
        let top = if l + 1 == count { Want::Overwrite } else { Want::No };
        let gradients = Gradients::default().w(Want::Overwrite).b(top);
        let backward = BackwardRequest::new(layer(l), gradients).upstream_is_dz(true);
        let backward = match l.checked_sub(1).map(layer) {
            None => backward,
            Some(below) => {
                let saved = below.resolve().unwrap().saved;
                let below = Below::new(below.activation, saved).db(Want::Overwrite).jet(jet);
                backward.gradients(gradients.x(Want::Overwrite)).below(below)
            }
        };
        plans.push(plan::backward(&backward, true, caps, &Pin::default()).unwrap());
    }
    (plans.iter().map(|plan| plan.dispatches.len()).sum(), plans.iter().map(Plan::bytes).sum())
}

/// The figures of docs/performance.md: a step's y in one dispatch and gradients in two. z goes to scratch memory and comes back, and so does dz
/// in its place: four times what `Plan::bytes` counts once.
#[test]
fn few_dispatches_and_bytes_of_a_training_step() {
    let caps = caps();
    for (sizes, rows, figures) in [
        (&[3, 32, 32, 32, 32, 4][..], 65_536, [3, 174_635_520, 25, 273_130_784]),
        (&[3, 64, 64, 64, 64, 4], 4096, [3, 44_955_136, 25, 36_543_136]),
        (&[16, 16, 16, 16, 16, 16], 65_536, [3, 116_414_976, 25, 158_120_576]),
        (&[128, 128, 128, 128], 4096, [3, 84_873_728, 15, 57_543_680]),
    ] {
        let (y, gradients) = (whole(sizes, rows, &caps).unwrap(), whole_step(sizes, rows, &caps).unwrap());
        let (dispatches, bytes) = step_by_step(sizes, rows, &caps);
        let columns = sizes[1..].iter().map(|n| n.next_multiple_of(4)).sum::<usize>();
        let kept = (rows * columns * 4) as u64;
        let own = y.bytes() + gradients.bytes() - gradients.scratch(Operand::Z) * 4 + 4 * kept;
        let got = [1 + gradients.dispatches.len() as u64, own, dispatches as u64, bytes];
        assert_eq!(got, figures, "{sizes:?}, {kept} of them z\n{gradients}");
    }
}

/// The step of a physics-informed network, 4 hidden layers of 64 (docs/performance.md): points of 2 inputs in rows of four, of 3 in rows of eight.
#[test]
fn few_dispatches_of_a_step_with_jets() {
    let caps = caps();
    for (inputs, jet, points, hidden, figures) in [
        (2, Jet::two([0.0, 0.0, 1.0]), 4096, 64, [3, 176_712_192, 25, 143_740_712]),
        (3, Jet::laplacian(3), 2048, 64, [3, 177_893_376, 25, 144_199_960]),
        (2, Jet::two([0.0, 0.0, 1.0]), 65_536, 32, [5, 746_200_576, 25, 1_057_200_520]),
    ] {
        let jet = jet.unwrap();
        let sizes = [inputs, hidden, hidden, hidden, hidden, 1];
        let rows = points * jet.members();
        let layers = Layers::new(&sizes, Activation::TANH).unwrap().jet(jet);
        assert_eq!(step_by_step_because(&layers, rows, &caps), None);
        let forward = NetworkForward { rows, layers, copy: false, storage: Storage::default() };
        let (y, gradients) =
            (plan::network_forward(&forward, true, &caps).unwrap(), gradients_of(layers, rows, &caps).unwrap());
        let (dispatches, bytes) = layers_step_by_step(&sizes, rows, Activation::TANH, Some(jet), &caps);
        let kept = (rows * (4 * hidden + 4) * 4) as u64;
        let own = y.bytes() + gradients.bytes() - gradients.scratch(Operand::Z) * 4 + 4 * kept;
        let got = [1 + gradients.dispatches.len() as u64, own, dispatches as u64, bytes];
        assert_eq!(got, figures, "{sizes:?}\n{gradients}");
    }
}

/// What does not fit is named; rows that need more scratch memory than there is come in rounds, each workgroup of which adds to the same sums.
#[test]
fn rounds_of_scratch_memory() {
    let sizes = [64; 5];
    let first = whole_step(&sizes, 1 << 20, &caps().max_scratch(1 << 30)).unwrap();
    let [rounds, sums] = [KernelFile::NetworkBackward, KernelFile::ColumnSum]
        .map(|file| first.dispatches.iter().filter(|dispatch| dispatch.kernel.file == file).count());
    assert_eq!((rounds, sums), (8, 1), "{first}");
    assert!(first.scratch(Operand::Z) * 4 <= 128 << 20, "{first}");
    let tiles: Vec<(u32, u32, u32)> =
        first.dispatches[..rounds].iter().map(|d| (d.params.first, d.params.tiles, d.kernel.flag("ADDS"))).collect();
    for pair in tiles.windows(2) {
        assert_eq!((pair[0].1, pair[1].2), (pair[1].0, 1), "{tiles:?}");
    }
    assert_eq!((tiles[0].0, tiles[0].2), (0, 0));
    let little = Caps::defaults(DeviceClass::Discrete).workgroup_bytes(14_335);
    let error = whole_step(&sizes, 100, &little).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { asked: 14_336, limit: 14_335, .. }), "{error}");
    // 128 columns take all that WebGPU promises.
    let promised = Caps::defaults(DeviceClass::Discrete);
    assert!(whole_step(&[128, 128], 100, &promised).is_ok());
    assert!(whole_step(&[128, 128], 100, &promised.workgroup_bytes(16_383)).is_err());
}

#[test]
fn parts_lie_one_behind_the_other() {
    for alpha in [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel] {
        for sizes in [&[3, 5][..], &[3, 70, 5], &[3, 70, 70, 70, 70, 5]] {
            let layers = Layers::new(sizes, Activation::prelu(0.25).unwrap()).unwrap().alpha(alpha);
            let mut at = 0;
            for l in 0..layers.count {
                let (place, [n, k]) = (layers.place(l), layers.shape(l));
                assert_eq!([n, k], [sizes[l + 1], sizes[l]]);
                assert_eq!(place.w, at);
                assert_eq!(place.b, at + (n * k).next_multiple_of(Layers::ALIGN));
                at = place.b + n.next_multiple_of(Layers::ALIGN);
                let learns = alpha != AlphaSource::Constant && l + 1 < layers.count;
                assert_eq!(place.alpha, learns.then_some(at));
                at += if learns { n.next_multiple_of(Layers::ALIGN).min(Layers::ALIGN) } else { 0 };
                assert_eq!(place.end, at);
            }
            assert_eq!(layers.elements(), at);
        }
    }
}

/// Eight rows a lane where the device is full and has the memory for it, four elsewhere; what does not fit is named.
#[test]
fn blocks_of_rows() {
    let rows_of = |plan: Plan| plan.dispatches[0].kernel.flag("LANE_ROWS");
    assert_eq!(rows_of(whole(&[64, 64, 64], 1 << 20, &caps()).unwrap()), 8);
    assert_eq!(rows_of(whole(&[64, 64, 64], 4096, &caps()).unwrap()), 4);
    assert_eq!(rows_of(whole(&[64, 64, 64], 1 << 20, &Caps::defaults(DeviceClass::Discrete)).unwrap()), 4);
    assert_eq!(rows_of(whole(&[64, 64, 64], 1 << 20, &Caps::defaults(DeviceClass::Software)).unwrap()), 4);
    // 128 columns take all that WebGPU promises.
    assert_eq!(rows_of(whole(&[128, 128], 100, &Caps::defaults(DeviceClass::Discrete)).unwrap()), 4);
    let small = Caps::defaults(DeviceClass::Discrete).workgroup_bytes(16_383);
    let error = whole(&[128, 128], 100, &small).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { asked: 16_384, limit: 16_383, .. }), "{error}");
    let error = whole(&[128, 128], 100, &Caps::defaults(DeviceClass::Discrete).max_invocations(64)).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { asked: 128, limit: 64, .. }), "{error}");
}

/// As an H100's are.
const MATRICES: Caps =
    Caps::defaults(DeviceClass::Discrete).subgroup(32).f16(true).workgroup_bytes(49_152).matrix_size(16);

/// The same dispatch and bytes on matrix units; rows of a workgroup and how numbers become f16. What can't be there says why.
#[test]
fn blocks_of_matrices() {
    let request = |sizes: &[usize], rows| {
        let layers = Layers::new(sizes, Activation::SILU).unwrap();
        NetworkForward { rows, layers, copy: false, storage: Storage::default() }
    };
    let plan = |request: &NetworkForward, caps: &Caps| plan::network_forward(request, true, caps).unwrap();
    let of =
        ["COLUMNS", "BK", "LANES", "MATRICES_M", "MATRICES_N", "ROUND_A", "ROUND_B", "SPLIT_A", "SPLIT_B", "SCALE_B"];
    let flags = |request: &NetworkForward, units: MatrixUnits| {
        let plan = plan(request, &MATRICES.matrix_units(units).max_work(u64::MAX).max_binding(1 << 31));
        let [dispatch] = &plan.dispatches[..] else { panic!("{plan}") };
        assert_eq!(dispatch.kernel.file, KernelFile::NetworkCoop, "{plan}");
        // 32 rows for each subgroup of four, of eight where rows are groups of eight.
        let rows = dispatch.kernel.flag("LANES") * dispatch.kernel.flag("ROWS") / 4;
        assert_eq!(dispatch.params.tiles, (request.rows as u32).div_ceil(rows), "{plan}");
        (plan.bytes(), of.map(|flag| dispatch.kernel.flag(flag)))
    };
    let many = request(&[3, 64, 64, 64, 64, 4], 1 << 20);
    let bytes = plan(&many, &caps()).bytes();
    assert_eq!(flags(&many, MatrixUnits::Rounded), (bytes, [64, 32, 128, 2, 4, 1, 1, 0, 0, 0]));
    assert_eq!(flags(&many, MatrixUnits::Split), (bytes, [64, 16, 64, 2, 4, 0, 0, 1, 1, 1]));
    // Fewer rows make smaller workgroups, and so do more columns.
    assert_eq!(flags(&request(&[3, 64, 64, 4], 20_000), MatrixUnits::Rounded).1[2], 64);
    let wide = request(&[128, 128, 128], 1 << 20);
    assert_eq!(flags(&wide, MatrixUnits::Rounded).1[..5], [128, 32, 64, 2, 8]);
    assert_eq!(flags(&wide, MatrixUnits::Split).1[..5], [128, 16, 32, 2, 8]);
    // Weights in two bytes.
    let copied = |dtype| NetworkForward { copy: true, storage: Storage::default().with(Operand::Copy, dtype), ..many };
    assert_eq!(flags(&copied(Float::F16), MatrixUnits::Rounded).1[5..], [1, 0, 0, 0, 0]);
    assert_eq!(flags(&copied(Float::F16), MatrixUnits::Split).1[5..], [0, 0, 1, 0, 0]);
    assert_eq!(flags(&copied(Float::Bf16), MatrixUnits::Split).1[5..], [0, 1, 1, 0, 1]);
    let jet = NetworkForward { layers: many.layers.jet(Jet::laplacian(5).unwrap()), ..many };
    assert_eq!(flags(&jet, MatrixUnits::Rounded).1[..5], [64, 32, 64, 4, 4]);
    let says = |request: &NetworkForward, caps: &Caps, why: Option<&str>| {
        let plan = plan(request, caps);
        let plain = plan.dispatches.iter().all(|d| d.kernel.file == KernelFile::Network && d.plain_because == why);
        assert!(plain, "{plan}");
    };
    let rounded = MATRICES.matrix_units(MatrixUnits::Rounded);
    let no_block = "no block of rows suits the device's subgroups, its workgroup memory, or a lane's registers";
    says(&many, &MATRICES, None);
    says(&many, &rounded.matrix_size(0), Some("the device has none that can be used"));
    says(
        &copied(Float::F16),
        &MATRICES.matrix_units(MatrixUnits::Stored),
        Some("an operand is not f16 in memory, or is computed"),
    );
    says(&request(&[3, 64, 4], 16), &rounded, Some("16 rows or columns, or fewer"));
    says(&request(&[16, 16, 16], 100), &rounded, Some("16 rows or columns, or fewer"));
    says(&wide, &rounded.workgroup_bytes(16_384), Some(no_block));
    says(&wide, &rounded.subgroup(0), Some(no_block));
    says(&NetworkForward { layers: wide.layers.jet(Jet::laplacian(5).unwrap()), ..wide }, &rounded, Some(no_block));
    // At 128 columns lanes have not enough registers for their sums: only for few rows.
    assert_eq!(layer_by_layer_because(&many.layers, many.rows, &rounded), None);
    assert!(layer_by_layer_because(&wide.layers, wide.rows, &rounded).is_some());
    assert_eq!(layer_by_layer_because(&wide.layers, 4096, &rounded), None);
}

/// Gradients: the same two dispatches on matrix units, the same scratch memory for each row, half the rounds; chosen up to 64 columns.
#[test]
fn blocks_of_matrices_for_gradients() {
    let layers = |width| Layers::new(&[3, width, width, width, 4], Activation::SILU).unwrap();
    let request = |layers, rows| NetworkForward { rows, layers, copy: false, storage: Storage::default() };
    let of = |layers, rows, caps: &Caps| {
        let request =
            NetworkBackward { forward: request(layers, rows), dx: Want::Overwrite, parameters: Want::Overwrite };
        plan::network_backward(&request, true, caps).unwrap()
    };
    let names = ["COLUMNS", "LANES", "DOWN", "ACROSS", "TURNS", "DW_M", "DW_N", "ROUND_A", "SPLIT_A", "SCALE_A"];
    for (units, width, want) in [
        (MatrixUnits::Rounded, 32, [32, 128, 1, 2, 1, 1, 1, 1, 0, 1]),
        (MatrixUnits::Rounded, 64, [64, 128, 1, 2, 2, 2, 2, 1, 0, 1]),
        (MatrixUnits::Split, 32, [32, 128, 1, 2, 1, 1, 1, 0, 1, 1]),
        (MatrixUnits::Split, 64, [64, 64, 1, 2, 2, 2, 4, 0, 1, 1]),
    ] {
        let caps = MATRICES.matrix_units(units);
        let plan = of(layers(width), 16_384, &caps);
        let [whole, sums] = &plan.dispatches[..] else { panic!("{plan}") };
        let files = [whole.kernel.file, sums.kernel.file];
        assert_eq!(files, [KernelFile::NetworkBackwardCoop, KernelFile::ColumnSum], "{plan}");
        assert_eq!(names.map(|name| whole.kernel.flag(name)), want, "{plan}");
        assert_eq!(step_by_step_because(&layers(width), 1 << 20, &caps), None);
    }
    let rounded = MATRICES.matrix_units(MatrixUnits::Rounded);
    let says = |layers, rows, caps: &Caps, why: &str| {
        let plan = of(layers, rows, caps);
        assert_eq!(plan.dispatches[0].kernel.file, KernelFile::NetworkBackward, "{plan}");
        assert_eq!(plan.dispatches[0].plain_because, Some(why), "{plan}");
    };
    let no_block = "no block of rows suits the device's subgroups, its workgroup memory, or a lane's registers";
    says(layers(128), 4096, &rounded, no_block);
    says(layers(64), 4096, &rounded.workgroup_bytes(16_384), no_block);
    says(layers(64), 4096, &rounded.matrix_size(0), "the device has none that can be used");
    says(layers(64), 16, &rounded, "16 rows or columns, or fewer");
    for (inputs, eight) in [(2, 0), (3, 1)] {
        let plan = of(layers(64).jet(Jet::laplacian(inputs).unwrap()), 4096, &rounded);
        let kernel = &plan.dispatches[0].kernel;
        assert_eq!((kernel.file, kernel.flag("EIGHT")), (KernelFile::NetworkBackwardCoop, eight), "{plan}");
    }
    let stored = MATRICES.matrix_units(MatrixUnits::Stored);
    says(layers(64), 4096, &stored, "an operand is not f16 in memory, or is computed");
    assert!(step_by_step_because(&layers(64), 1 << 20, &stored).is_some());
    assert!(step_by_step_because(&layers(128), 1 << 20, &rounded).is_some());
    assert_eq!(of(layers(64), 4096, &MATRICES).dispatches[0].plain_because, None);
}

#[test]
fn where_one_dispatch_is_chosen() {
    let because = |sizes: &[usize], rows, class| {
        layer_by_layer_because(&Layers::new(sizes, Activation::SILU).unwrap(), rows, &Caps::defaults(class))
    };
    for rows in [1, 100, 1 << 20] {
        assert_eq!(because(&[3, 64, 64, 1], rows, DeviceClass::Discrete), None);
        assert_eq!(because(&[3, 64, 64, 1], rows, DeviceClass::Integrated), None);
        assert!(because(&[3, 64, 64, 1], rows, DeviceClass::Software).is_some_and(|why| why.contains("CPU")));
        assert!(because(&[3, 129, 1], rows, DeviceClass::Discrete).is_some_and(|why| why.contains("columns")));
    }
    let gradients = |sizes: &[usize], rows, class| {
        step_by_step_because(&Layers::new(sizes, Activation::SILU).unwrap(), rows, &Caps::defaults(class))
    };
    for rows in [1, 100, 1 << 20] {
        assert_eq!(gradients(&[3, 32, 32, 1], rows, DeviceClass::Discrete), None);
        assert!(gradients(&[3, 32, 32, 1], rows, DeviceClass::Software).is_some_and(|why| why.contains("CPU")));
        assert!(gradients(&[3, 129, 1], rows, DeviceClass::Discrete).is_some_and(|why| why.contains("columns")));
    }
    assert_eq!(gradients(&[3, 64, 64, 1], 16_384, DeviceClass::Discrete), None);
    assert!(gradients(&[3, 64, 64, 1], 16_385, DeviceClass::Discrete).is_some_and(|why| why.contains("arithmetic")));
    assert_eq!(because(&[3, 128, 1], 4096, DeviceClass::Discrete), None);
    assert!(because(&[3, 128, 1], 1 << 20, DeviceClass::Discrete).is_some_and(|why| why.contains("arithmetic")));
}

/// Two layers by hand, and operands that are too short.
#[test]
fn the_reference_by_hand() {
    let layers = Layers::new(&[2, 2, 1], Activation::prelu(0.25).unwrap()).unwrap().alpha(AlphaSource::PerChannel);
    let layers = layers.output(Activation::RELU_SQUARED);
    let mut parameters = vec![f32::NAN; layers.elements()];
    let (hidden, last) = (layers.place(0), layers.place(1));
    parameters[hidden.w..][..4].copy_from_slice(&[1.0, 2.0, -1.0, 0.5]);
    parameters[hidden.b..][..2].copy_from_slice(&[0.5, -1.0]);
    parameters[hidden.alpha.unwrap()..][..2].copy_from_slice(&[0.25, -2.0]);
    parameters[last.w..][..2].copy_from_slice(&[1.0, 0.5]);
    parameters[last.b] = -1.0;
    // z = [3.5, -1.5], y = [3.5, 3], and ((3.5 + 1.5) - 1)^2; z = [-1.5, -1], y = [-0.375, 2], and below 0.
    let x = [1.0, 1.0, -1.0, -0.5];
    assert_eq!(reference::network(&layers, 2, &x, &parameters).unwrap(), [16.0, 0.0]);
    let error = reference::network(&layers, 2, &x[..3], &parameters).unwrap_err().to_string();
    assert!(error.contains("x"), "{error}");
    let error = reference::network(&layers, 2, &x, &parameters[1..]).unwrap_err().to_string();
    assert!(error.contains("parameter"), "{error}");
    // dy = [1, 2]: dz of the last layer is 2·4 and 0; dz of the hidden one 8·[1, 0.5 · -2 at z = -1.5].
    let gradients = reference::network_backward(&layers, 2, &x, &parameters, &[1.0, 2.0]).unwrap();
    let of = |at: usize, count: usize| gradients.parameters.value[at..at + count].to_vec();
    assert_eq!((of(last.w, 2), of(last.b, 1)), (vec![28.0, 24.0], vec![8.0]));
    assert_eq!((of(hidden.w, 4), of(hidden.b, 2)), (vec![8.0, 8.0, -8.0, -8.0], vec![8.0, -8.0]));
    assert_eq!(of(hidden.alpha.unwrap(), 2), [0.0, -6.0]);
    assert_eq!(gradients.dx.value, [16.0, 12.0, 0.0, 0.0]);
    assert_eq!(gradients.dx.terms[0], 16.0);
    let error = reference::network_backward(&layers, 2, &x, &parameters, &[1.0]).unwrap_err().to_string();
    assert!(error.contains("dy"), "{error}");
}
