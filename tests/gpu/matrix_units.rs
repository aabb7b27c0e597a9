//! Products on matrix units: every form, epilogue and edge on integers, to the last bit; or, where the driver has none, that everything runs on the plain
//! tiles and says so. Today they run without a GPU on a recent Mesa's lavapipe.

use elbow::{
    Activation, Caps, DeviceClass, Error, Float, Gpu, MatrixUnits, Saved, Strategy, Want, WeightLayout,
    affine::Forward,
    kernel::KernelFile,
    plan::{Form, Pin, Plan, Stage, TILES},
    request::Gradients,
    wgpu,
};
use elbow_verify::{Data, Numbers, Spec, any_exact};

use crate::common::{full, options, passes};

pub fn opened(units: MatrixUnits, class: Option<DeviceClass>) -> Gpu {
    Gpu::with_options(options().matrix_units(units).class(class)).unwrap()
}

/// Whether the adapter has what elbow uses, asked of wgpu itself: else a driver that has it, and that elbow overlooks, would pass.
pub fn there(gpu: &Gpu) -> Option<u32> {
    let same = |adapter: &wgpu::Adapter| {
        let (a, b) = (adapter.get_info(), gpu.info());
        (&a.name, a.backend, &a.driver_info) == (&b.name, b.backend, &b.driver_info)
    };
    let adapter = elbow::native::adapters().unwrap().into_iter().find(same).unwrap();
    let wanted =
        wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
    let fixed = gpu.info().subgroup_min_size == gpu.info().subgroup_max_size;
    if !adapter.features().contains(wanted) || !fixed || options().default_limits {
        return None;
    }
    let (f16, f32) = (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
    let list = adapter.cooperative_matrix_properties();
    let square =
        list.iter().filter(|p| p.m_size == p.n_size && p.m_size == p.k_size && (p.ab_type, p.cr_type) == (f16, f32));
    square.map(|p| p.m_size).max()
}

/// The tiles on matrix units that the device can run: none where it has no matrix units.
pub fn tiles(caps: &Caps) -> Vec<usize> {
    (0..TILES.len()).filter(|&i| TILES[i].stage == Stage::Coop && TILES[i].fits(caps, Form::Nt)).collect()
}

fn layer(gpu: &Gpu, [m, n, k]: [usize; 3], dtype: Float, pin: Pin) -> elbow::Result<Plan> {
    let [x, w, y] = [[m, k], [n, k], [m, n]].map(|shape| gpu.zeros_of(dtype, &shape).unwrap());
    Forward::new(Activation::RELU, &x, &w, &y).pin(pin).plan(gpu)
}

fn on_matrices(plan: &Plan) -> bool {
    plan.dispatches.iter().any(|d| d.kernel.file == KernelFile::ProductCoop)
}

#[test]
fn they_are_used_where_they_are_and_the_plan_says_so() {
    let size = [65, 40, 24];
    let off = opened(MatrixUnits::Off, None);
    assert_eq!((off.matrix_units(), off.caps().matrix_size), ("off".into(), 0));
    let plan = layer(&off, size, Float::F16, Pin::default()).unwrap();
    assert!(!on_matrices(&plan) && !plan.to_string().contains("matrix units"), "{plan}");
    for units in [MatrixUnits::Stored, MatrixUnits::Rounded, MatrixUnits::Split] {
        let gpu = opened(units, None);
        println!("{gpu}");
        let text = |plan: &Plan| plan.to_string();
        let halves = layer(&gpu, size, Float::F16, Pin::default()).unwrap();
        let singles = layer(&gpu, size, Float::F32, Pin::default()).unwrap();
        match there(&gpu) {
            Some(size) => {
                assert_eq!(gpu.caps().matrix_size, size, "{gpu}");
                assert_eq!(gpu.matrix_units(), format!("{size}×{size}×{size}, {units}"));
                assert!(on_matrices(&halves) && !text(&halves).contains("not on matrix units"), "{halves}");
                assert_eq!(on_matrices(&singles), units != MatrixUnits::Stored, "{singles}");
                let few = layer(&gpu, [16, 40, 24], Float::F16, Pin::default()).unwrap();
                assert!(!on_matrices(&few) && text(&few).contains("16 rows or columns, or fewer"), "{few}");
                let plain = layer(&gpu, [65, 40, 24], Float::F16, Pin::default().tile(0)).unwrap();
                assert!(!on_matrices(&plain) && text(&plain).contains("another tile is pinned"), "{plain}");
                if units == MatrixUnits::Stored {
                    assert!(text(&singles).contains("an operand is not f16 in memory"), "{singles}");
                }
            }
            None => {
                assert_eq!(gpu.caps().matrix_size, 0, "{gpu}");
                assert!(gpu.matrix_units().starts_with("none, because "), "{gpu}");
                for plan in [&halves, &singles] {
                    assert!(!on_matrices(plan), "{plan}");
                    assert!(text(plan).contains("not on matrix units: the device has none"), "{plan}");
                }
                let pinned = layer(&gpu, size, Float::F16, Pin::default().tile(18));
                assert!(matches!(pinned, Err(Error::Unsupported { .. })), "{pinned:?}");
            }
        }
    }
}

/// Sizes around a matrix, a step of the reduction, and a tile: whole vec4, or odd. Each kind has kernels of its own, and a compiler for a CPU takes seconds for
/// one.
const SIZES: [[usize; 7]; 2] = [[4, 8, 32, 36, 64, 132, 200], [1, 7, 17, 31, 33, 65, 129]];

/// Layers of integers with every choice there is, on the smaller of the tiles (a compiler for a CPU takes half a minute for a kernel of the larger), or as
/// the plan chooses. Where the driver has no matrix units these are the plain tiles, which must be as right.
pub fn exact(units: MatrixUnits, class: Option<DeviceClass>, dtypes: &[Float], seed: u64) {
    let gpu = opened(units, class);
    let tile = tiles(&gpu.caps()).last().copied();
    assert_eq!(tile.is_none(), there(&gpu).is_none(), "{gpu}");
    let mut numbers = Numbers::new(seed);
    let mut specs = Vec::new();
    for i in 0..if full() { 40 } else { 4 } {
        let mut spec = Spec { dtype: dtypes[i % dtypes.len()], ..any_exact(&mut numbers, i, &[0]) };
        spec.pin.tile = tile.filter(|_| i % 4 != 3);
        for j in 0..8 {
            let [m, n, k] = std::array::from_fn(|_| numbers.pick(&SIZES[i % 2]));
            specs.push(Spec { misalign: if i % 2 == 0 { 0 } else { j % 4 }, shared: j == 7, ..spec.sized(m, n, k) });
        }
    }
    passes(&gpu, &specs);
}

/// What is computed at each load is scaled, rounded and split like what lies in memory, by the activation in front and not the layer's.
#[test]
fn what_is_in_front_of_a_layer() {
    let front = "front=gelu/constant/yes/yes/no/layer dscale=set dshift=set";
    for units in [MatrixUnits::Rounded, MatrixUnits::Split] {
        let gpu = opened(units, None);
        let tile = tiles(&gpu.caps()).last().map_or(String::new(), |tile| format!("tile={tile}"));
        for strategy in ["prologue", "two_pass"] {
            let text = format!("m=66 n=64 k=72 activation=leaky_relu(0.5) saved=z {front} strategy={strategy} {tile}");
            passes(&gpu, &[text.parse().unwrap()]);
        }
    }
}

#[test]
fn stored_halves_on_integers() {
    exact(MatrixUnits::Stored, None, &[Float::F16, Float::F16, Float::F32], 71);
}

#[test]
fn rounded_operands_on_integers() {
    exact(MatrixUnits::Rounded, None, &[Float::F32, Float::F16, Float::Bf16], 72);
}

#[test]
fn the_text_of_a_gpu_on_integers() {
    exact(MatrixUnits::Rounded, Some(DeviceClass::Discrete), &[Float::F32, Float::F16, Float::Bf16], 73);
}

/// NT, NN and TN on edges of each kind, with a prologue, a mask and sums; whole and split.
pub fn forms(
    units: MatrixUnits,
    class: Option<DeviceClass>,
    tile: Option<usize>,
    layout: WeightLayout,
    splits: u32,
    dtype: Float,
    odd: bool,
) {
    let gpu = opened(units, class);
    let mut spec = Spec::new(1, 1, 1, "leaky_relu(0.5)".parse().unwrap());
    (spec.forward.layout, spec.forward.saved) = (layout, Saved::Mask);
    spec.gradients = Gradients::default().x(Want::Overwrite).w(Want::Accumulate).b(Want::Overwrite);
    spec.pin = Pin::default().tile(tile).splits(splits).strategy(Strategy::Prologue);
    (spec.data, spec.dtype) = (Data::Integers, dtype);
    let sizes = match odd {
        true => [(1, 1, 1), (63, 65, 33), (129, 37, 31), (33, 3, 97)],
        false => [(64, 64, 32), (128, 128, 96), (20, 132, 100), (36, 64, 68)],
    };
    passes(&gpu, &sizes.map(|(m, n, k)| spec.sized(m, n, k)));
}

#[test]
fn every_form_and_edge() {
    let caps = opened(MatrixUnits::Rounded, None).caps();
    let (small, large) = (tiles(&caps).last().copied(), tiles(&caps).first().copied());
    let gpu = Some(DeviceClass::Discrete);
    let (out_in, in_out) = (WeightLayout::OutIn, WeightLayout::InOut);
    forms(MatrixUnits::Rounded, None, small, out_in, 3, Float::F32, true);
    forms(MatrixUnits::Rounded, None, small, in_out, 1, Float::F16, false);
    forms(MatrixUnits::Rounded, gpu, small, in_out, 3, Float::F16, false);
    forms(MatrixUnits::Rounded, gpu, small, out_in, 1, Float::F32, true);
    forms(MatrixUnits::Rounded, None, large, out_in, 1, Float::F16, false);
}

/// Several layers in a dispatch, and a dispatch that is too long and is cut into pieces: tiles are counted from other places.
#[test]
fn batches_and_pieces() {
    let gpu = opened(MatrixUnits::Rounded, None);
    let Some(&tile) = tiles(&gpu.caps()).last() else { return assert_eq!(there(&gpu), None, "{gpu}") };
    crate::batched::serves(&gpu, 0, tile);
    let [m, n, k] = [520, 516, 512];
    let plan = layer(&gpu, [m, n, k], Float::F16, Pin::default().splits(1)).unwrap();
    assert!(
        plan.dispatches.len() > 1 && plan.dispatches.iter().all(|d| d.kernel.file == KernelFile::ProductCoop),
        "{plan}"
    );
    if !full() {
        return;
    }
    let spec = Spec::new(m, n, k, Activation::RELU);
    let pin = Pin::default().splits(1);
    passes(&gpu, &[Spec { pin, data: Data::Integers, dtype: Float::F16, gradients: Gradients::default(), ..spec }]);
}

/// A sum of real numbers keeps its bound, and rounding is what `Rounded` says, neither more nor none.
#[test]
fn rounding_is_asked_for_by_name() {
    let [m, n, k] = [40, 48, 300];
    let mut numbers = Numbers::new(74);
    let [x, w] = [m * k, n * k].map(|len| (0..len).map(|_| numbers.normal()).collect::<Vec<f32>>());
    let half = |v: f32| f64::from(Float::F16.round(v));
    let sums = |number: &dyn Fn(f32) -> f64| -> Vec<[f64; 2]> {
        let terms =
            |i: usize| (0..k).map(move |r| (i / n * k + r, i % n * k + r)).map(|(a, b)| number(x[a]) * number(w[b]));
        (0..m * n).map(|i| [terms(i).sum(), terms(i).map(f64::abs).sum()]).collect()
    };
    let (exact, rounded) = (sums(&|v| f64::from(v)), sums(&half));
    for units in [MatrixUnits::Stored, MatrixUnits::Rounded] {
        let gpu = opened(units, None);
        let (x_, w_, y_) =
            (gpu.upload(&x, &[m, k]).unwrap(), gpu.upload(&w, &[n, k]).unwrap(), gpu.zeros(&[m, n]).unwrap());
        gpu.submit(|e| Forward::new(Activation::IDENTITY, &x_, &w_, &y_).record(&gpu, e)).unwrap();
        let expected = if units == MatrixUnits::Rounded && there(&gpu).is_some() { &rounded } else { &exact };
        for (i, (&got, [sum, terms])) in gpu.download(&y_).unwrap().iter().zip(expected).enumerate() {
            let error = (f64::from(got) - sum).abs();
            assert!(error <= 8.0 * f64::from(f32::EPSILON) / 2.0 * terms, "{units}: y[{i}] is {got}, expected {sum}");
        }
        let far = rounded.iter().zip(&exact).map(|(r, e)| (r[0] - e[0]).abs() / e[1]).fold(0.0, f64::max);
        assert!(far > 1e-5 && far < f64::powi(2.0, -10), "rounding moves a sum by {far} of its terms");
    }
}
