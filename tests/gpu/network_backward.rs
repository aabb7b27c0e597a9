//! Gradients of whole networks in two dispatches against the f64 reference: every activation, depth, width and type; integers without
//! tolerance; the texts of GPUs too; rows whose z need several rounds of scratch memory; what lies beside the operands; what is no number; mistakes.

use std::sync::OnceLock;

use elbow::{
    Activation, AlphaSource, Choices, DeviceClass, Error, Float, Gpu, Gradient, Jet, Tensor, View, cpu,
    criterion::Criterion,
    mlp::{Architecture, Batch, Optimiser, Step},
    network::{Forward, Layers},
    rates::{Rates, Rule},
};
use elbow_verify::points;

use crate::{
    common::{Numbers, as_a_gpu, each, gpu, options},
    whole::{HostNetwork, SIZES},
};

/// A network, its input and dy, and the types of x, weights and dx, and of dy.
pub struct Case<'a> {
    pub sizes: &'a [usize],
    pub activation: Activation,
    pub alpha: AlphaSource,
    pub output: Activation,
    pub jet: Option<Jet>,
    pub rows: usize,
    pub types: [Float; 4],
    /// Elements between rows of x, dy and dx, and before the first.
    pub gap: usize,
}

/// Operands on the host, and what came back for dx and for the gradient of all parameters.
pub struct Ran {
    pub host: HostNetwork,
    pub layers: Layers,
    pub x: Vec<f32>,
    pub dy: Vec<f32>,
    pub dx: Vec<f32>,
    pub gradient: Vec<f32>,
    pub on_matrix_units: bool,
}

impl<'a> Case<'a> {
    pub fn new(sizes: &'a [usize], activation: Activation, rows: usize) -> Self {
        let (alpha, output) = (AlphaSource::Constant, Activation::IDENTITY);
        Case { sizes, activation, alpha, output, jet: None, rows, types: [Float::F32; 4], gap: 0 }
    }

    /// Both gradients. What lies between and around the rows of dx must not change, and between two parts of the parameters there is 0.
    pub fn run(&self, gpu: &Gpu, mut host: HostNetwork, numbers: &mut Numbers, number: impl Fn(f32) -> f32) -> Ran {
        let &Case { sizes, alpha, output, jet, rows, types: [of_x, of_w, of_dx, of_dy], gap, .. } = self;
        let (k, n) = (sizes[0], sizes[sizes.len() - 1]);
        host.0.last_mut().unwrap().activation = output;
        let layers = Layers::new(sizes, self.activation).unwrap().alpha(alpha).output(output).jet(jet);
        let all = host.all(&layers);
        let parameters = gpu.upload(&all, &[all.len()]).unwrap();
        let copy = (of_w != Float::F32).then(|| gpu.upload_as(of_w, &all, &[all.len()]).unwrap());
        let mut random = |count: usize, dtype: Float| -> Vec<f32> {
            (0..count).map(|_| dtype.round(number(numbers.normal()))).collect()
        };
        let (x, dy) = (random(rows * k, of_x), random(rows * n, of_dy));
        let wide = |rows: &[f32], columns: usize| -> Vec<f32> {
            // A number between rows would be seen: NaN.
            let wide = |row: &[f32]| [vec![f32::NAN; gap], row.to_vec(), vec![f32::NAN; gap]].concat();
            rows.chunks(columns).flat_map(wide).collect()
        };
        let x_ = gpu.upload_as(of_x, &wide(&x, k), &[rows, k + 2 * gap]).unwrap();
        let dy_ = gpu.upload_as(of_dy, &wide(&dy, n), &[rows, n + 2 * gap]).unwrap();
        let dx_ = gpu.upload_as(of_dx, &vec![7.0; rows * (k + 2 * gap)], &[rows, k + 2 * gap]).unwrap();
        let gradient = gpu.upload(&vec![f32::NAN; all.len()], &[all.len()]).unwrap();
        let part = |tensor: &'static Tensor, columns: usize| tensor.view().slice(1, gap..gap + columns).unwrap();
        let [x_, dy_, dx_] = [x_, dy_, dx_].map(|tensor| -> &'static Tensor { Box::leak(tensor.into()) });
        // Backward does not read y.
        let network = Forward::new(layers, part(x_, k), &parameters, View::absent(&[rows, n], Float::F32));
        let network = network.copy(copy.as_ref().map(|copy| copy.view()));
        let backward = network.backward(part(dy_, n)).dx(part(dx_, k)).gradient(&gradient);
        let plan = backward.plan(gpu).unwrap();
        let on_matrix_units = plan.dispatches.iter().any(|dispatch| dispatch.kernel.on_matrix_units());
        gpu.submit(|encoder| backward.record(gpu, encoder)).unwrap();
        let mut dx = Vec::with_capacity(rows * k);
        for row in gpu.download(dx_).unwrap().chunks(k + 2 * gap) {
            assert!(row[..gap].iter().chain(&row[gap + k..]).all(|&v| v == 7.0), "{sizes:?}: a gap was written");
            dx.extend(&row[gap..gap + k]);
        }
        Ran { host, layers, x, dy, dx, gradient: gpu.download(&gradient).unwrap(), on_matrix_units }
    }

    /// Whether it ran on matrix units; both gradients are within their bounds.
    pub fn check(&self, gpu: &Gpu, numbers: &mut Numbers) -> bool {
        let [_, of_w, of_dx, _] = self.types;
        let host = HostNetwork::random(self.sizes, self.activation, self.alpha, numbers);
        let Ran { host, layers, x, dy, dx, gradient, on_matrix_units } = self.run(gpu, host, numbers, |v| v);
        let rounding = of_w.rounding(1.0).max(of_dx.rounding(1.0));
        let rounding = if [of_w, of_dx] == [Float::F32; 2] { 0.0 } else { rounding };
        let factor = if on_matrix_units { gpu.caps().matrix_rounding() } else { 0.0 };
        let [want_dx, want] = host.gradients(&layers, &x, &dy, rounding.max(factor), factor);
        let Case { sizes, activation, alpha, output, rows, types, .. } = self;
        let what = format!("{sizes:?} {activation} {alpha:?} {output} {types:?} {rows} rows");
        want_dx.judge(&format!("{what}: dx"), &dx);
        want.judge(&format!("{what}: gradient"), &gradient);
        // The judge's own sums beside the reference's.
        let reference = cpu::reference::network_backward(&layers, self.rows, &x, &host.all(&layers), &dy).unwrap();
        for (own, reference) in [(&want_dx, &reference.dx), (&want, &reference.parameters)] {
            for (((a, b), terms), error) in
                own.values.iter().zip(&reference.value).zip(&reference.terms).zip(&own.errors)
            {
                assert!((a - b).abs() <= 1e-6 * error + 1e-12 * terms, "{what}: {a} and {b}");
            }
        }
        on_matrix_units
    }
}

/// Each between the layers or, where it has no α, at the end of another's network.
#[test]
fn every_activation() {
    let mut numbers = Numbers::new(131);
    let all = points::defaults();
    let (learn, constant): (Vec<Activation>, Vec<Activation>) = all.into_iter().partition(|act| act.has_alpha());
    let (hidden, last) = constant.split_at(constant.len() / 2);
    for (i, activation) in each([&learn, hidden].concat()) {
        let learnable = [AlphaSource::PerChannel, AlphaSource::PerLayer][i % 2];
        let alpha = if activation.has_alpha() { learnable } else { AlphaSource::Constant };
        let sizes: &[usize] = if i % 6 == 0 { &[5, 18, 18, 3] } else { &[8, 12, 12, 12, 4] };
        let output = last.get(i).copied().unwrap_or(Activation::IDENTITY);
        Case { alpha, output, ..Case::new(sizes, activation, 37) }.check(gpu(), &mut numbers);
    }
    assert!(last.len() <= learn.len() + hidden.len());
}

/// Around a block of 8, 16, 32 or 64 rows, and many of them.
const ROWS: [usize; 11] = [1, 7, 8, 9, 15, 17, 33, 63, 65, 0, 300];

#[test]
fn every_width_depth_and_number_of_rows() {
    let mut numbers = Numbers::new(132);
    for (i, sizes) in SIZES.into_iter().enumerate().filter(|(i, _)| i % 2 == 0 || *i == 11) {
        for rows in [ROWS[i % 11], ROWS[(i * 3 + 4) % 11]] {
            let alpha = [AlphaSource::PerChannel, AlphaSource::PerLayer, AlphaSource::Constant][i % 3];
            let activation = if alpha == AlphaSource::Constant { "tanh" } else { "prelu" };
            Case { alpha, gap: i % 2 * 3, ..Case::new(sizes, activation.parse().unwrap(), rows) }
                .check(gpu(), &mut numbers);
        }
    }
}

#[test]
fn texts_of_gpus() {
    let mut numbers = Numbers::new(133);
    for (i, sizes) in SIZES.into_iter().enumerate().filter(|(i, _)| i % 4 == 1 || *i == 7) {
        let alpha = [AlphaSource::Constant, AlphaSource::PerLayer][i % 2];
        let case = Case { alpha, gap: i % 4, ..Case::new(sizes, "leaky_relu".parse().unwrap(), ROWS[i % 11] + 33) };
        case.check(as_a_gpu(), &mut numbers);
    }
}

#[test]
fn every_type() {
    let mut numbers = Numbers::new(134);
    let all = [Float::F32, Float::F16, Float::Bf16];
    for (i, sizes) in [&[8, 16, 16, 4][..], &[5, 13, 7], &[64, 64, 64]].into_iter().enumerate() {
        for (j, dtype) in all.into_iter().enumerate().filter(|(j, _)| *j != i) {
            let types = [[dtype; 4], [all[(j + 1) % 3], dtype, all[(j + 2) % 3], all[i]]][(i + j) % 2];
            Case { types, gap: (i + j) % 3 * 2, ..Case::new(sizes, Activation::SILU, 40) }.check(gpu(), &mut numbers);
        }
    }
}

/// The same adapter with so little room for scratch that a few workgroups go at a time, each with a few rows.
pub fn with_little_memory(class: DeviceClass) -> Gpu {
    let gpu = Gpu::with_options(options().class(class).self_test(false)).expect("an adapter");
    let mut choices = Choices::of(class);
    choices.set_workgroups(16);
    gpu.set_choices(choices);
    gpu.set_memory_limit(2 << 20);
    gpu
}

/// Small integers: no tolerance, whatever rounds and workgroups add up; twice the same bits.
#[test]
fn integers_without_tolerance() {
    static LITTLE: OnceLock<[Gpu; 2]> = OnceLock::new();
    let little = LITTLE.get_or_init(|| [DeviceClass::Software, DeviceClass::Discrete].map(with_little_memory));
    let mut numbers = Numbers::new(135);
    for (i, (sizes, rows)) in
        [(&[9, 24, 24, 5][..], 70), (&[4, 64, 64, 3], 2500), (&[12, 7], 2000), (&[100, 128, 3], 40), (&NARROW, 5000)]
            .into_iter()
            .enumerate()
    {
        let [of_cpu, of_gpu] = [[gpu(), &little[0]], [as_a_gpu(), &little[1]]];
        for gpu in [&of_cpu[..1], &of_cpu, &of_gpu[..1], &of_cpu[..1], &of_gpu][i] {
            let host = HostNetwork::random(sizes, Activation::RELU, AlphaSource::Constant, &mut numbers).integers(1.0);
            let number = |v: f32| v.round().clamp(-2.0, 2.0);
            let case = Case::new(sizes, Activation::RELU, rows);
            let Ran { host, layers, x, dy, dx, gradient, .. } = case.run(gpu, host, &mut numbers, number);
            let want = cpu::reference::network_backward(&layers, rows, &x, &host.all(&layers), &dy).unwrap();
            assert!(want.parameters.terms.iter().chain(&want.dx.terms).all(|&terms| terms < 16_777_216.0));
            for (name, got, want) in [("dx", &dx, &want.dx), ("gradient", &gradient, &want.parameters)] {
                let wrong = got.iter().zip(&want.value).position(|(&got, &want)| f64::from(got) != want);
                assert_eq!(wrong, None, "{sizes:?}, {rows} rows: {name}");
            }
        }
    }
    // The rounds were there.
    for (of_class, sizes, rows) in
        [([gpu(), &little[0]], [4, 64, 64, 3], 2500), ([as_a_gpu(), &little[1]], NARROW, 5000)]
    {
        let layers = Layers::new(&sizes, Activation::RELU).unwrap();
        let [x, dy, all] =
            [&[rows, 4][..], &[rows, 3], &[layers.elements()]].map(|shape| View::absent(shape, Float::F32));
        let backward = Forward::new(layers, x, all, dy).backward(dy).gradient(Gradient::overwrite(all));
        for (gpu, two) in of_class.into_iter().zip([true, false]) {
            let plan = backward.plan(gpu).unwrap();
            assert_eq!(plan.dispatches.len() == 2, two, "{plan}");
        }
    }
}

/// A network whose text for GPUs a CPU's compiler takes seconds for; of 64 columns and more it is one test alone that asks for it (`texts_of_gpus`).
const NARROW: [usize; 4] = [4, 32, 32, 3];

/// Each gradient alone, added to what is there, and the same bits twice.
#[test]
fn each_gradient_alone_and_added() {
    let mut numbers = Numbers::new(136);
    for (gpu, sizes) in [(gpu(), [3, 128, 128, 2]), (as_a_gpu(), [3, 32, 32, 2])] {
        let host = HostNetwork::random(&sizes, "prelu".parse().unwrap(), AlphaSource::PerLayer, &mut numbers);
        let case = Case { alpha: AlphaSource::PerLayer, ..Case::new(&sizes, "prelu".parse().unwrap(), 53) };
        let Ran { host, layers, x, dy, dx, gradient, .. } = case.run(gpu, host, &mut numbers, |v| v);
        let (x_, dy_) = (gpu.upload(&x, &[53, 3]).unwrap(), gpu.upload(&dy, &[53, 2]).unwrap());
        let all = gpu.upload(&host.all(&layers), &[layers.elements()]).unwrap();
        let network = Forward::new(layers, &x_, &all, View::absent(&[53, 2], Float::F32));
        for (want, old) in [(&dx, 0.0), (&dx, 0.5)] {
            let to = gpu.upload(&vec![old; want.len()], &[53, 3]).unwrap();
            let into = if old == 0.0 { Gradient::overwrite(&to) } else { Gradient::accumulate(&to) };
            let backward = network.backward(&dy_).dx(into);
            assert_eq!(backward.plan(gpu).unwrap().dispatches.len(), 1);
            gpu.submit(|encoder| backward.record(gpu, encoder)).unwrap();
            assert!(gpu.download(&to).unwrap().iter().zip(want).all(|(&got, &v)| got == old + v));
        }
        for (want, old) in [(&gradient, 0.0), (&gradient, 0.5)] {
            let to = gpu.upload(&vec![old; want.len()], &[want.len()]).unwrap();
            let into = if old == 0.0 { Gradient::overwrite(&to) } else { Gradient::accumulate(&to) };
            let backward = network.backward(&dy_).gradient(into);
            assert_eq!(backward.plan(gpu).unwrap().dispatches.len(), 2);
            gpu.submit(|encoder| backward.record(gpu, encoder)).unwrap();
            assert!(gpu.download(&to).unwrap().iter().zip(want).all(|(&got, &v)| got == old + v));
        }
        assert!(network.backward(&dy_).plan(gpu).unwrap().dispatches.is_empty());
    }
}

/// NaN and infinities stay in their rows of dx and in their columns of the last gradients; where ReLU is flat nothing passes but NaN; what is
/// beside a layer and past the last row touches nothing.
#[test]
fn what_is_no_number_goes_where_it_should() {
    let mut numbers = Numbers::new(137);
    for gpu in [gpu(), as_a_gpu()] {
        let sizes = [3, 17, 17, 2];
        let host = HostNetwork::random(&sizes, Activation::RELU, AlphaSource::Constant, &mut numbers);
        let layers = host.layers(AlphaSource::Constant);
        let all = host.all(&layers);
        let mut x: Vec<f32> = (0..150).map(|_| numbers.normal()).collect();
        let mut dy: Vec<f32> = (0..100).map(|_| numbers.normal()).collect();
        // The last row too, which stands for those past the edge.
        (x[4], x[9 * 3], x[49 * 3 + 1]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        (dy[40], dy[61]) = (f32::INFINITY, f32::NAN);
        let (x_, dy_) = (gpu.upload(&x, &[50, 3]).unwrap(), gpu.upload(&dy, &[50, 2]).unwrap());
        let parameters = gpu.upload(&all, &[all.len()]).unwrap();
        let (dx, gradient) = (gpu.zeros(&[50, 3]).unwrap(), gpu.zeros(&[all.len()]).unwrap());
        let network = Forward::new(layers, &x_, &parameters, View::absent(&[50, 2], Float::F32));
        let backward = network.backward(&dy_).dx(&dx).gradient(&gradient);
        gpu.submit(|encoder| backward.record(gpu, encoder)).unwrap();
        let want = cpu::reference::network_backward(&layers, 50, &x, &all, &dy).unwrap();
        for (name, got, want) in [
            ("dx", gpu.download(&dx).unwrap(), want.dx),
            ("gradient", gpu.download(&gradient).unwrap(), want.parameters),
        ] {
            for (i, (&got, (&want, &terms))) in got.iter().zip(want.value.iter().zip(&want.terms)).enumerate() {
                match want.is_finite() {
                    true => {
                        assert!((f64::from(got) - want).abs() <= 1e-4 * (terms + 1.0), "{name}[{i}]: {got}, {want}")
                    }
                    false if want.is_nan() => assert!(got.is_nan(), "{name}[{i}]: {got}, {want}"),
                    false => assert_eq!(f64::from(got), want, "{name}[{i}]"),
                }
            }
            assert!(got.iter().any(|v| v.is_nan()) && got.iter().any(|v| v.is_finite()), "{name}: {got:?}");
        }
    }
}

/// An infinite last row, which stands for those past the edge, is counted once: 0 times infinity would be NaN.
#[test]
fn rows_past_the_last_add_nothing() {
    for gpu in [gpu(), as_a_gpu()] {
        let layers = Layers::new(&[1, 1], Activation::RELU).unwrap();
        let x = gpu.upload(&[1.0, 2.0, f32::INFINITY], &[3, 1]).unwrap();
        let (dy, ones) = (gpu.upload(&[1.0; 3], &[3, 1]).unwrap(), vec![1.0; layers.elements()]);
        let parameters = gpu.upload(&ones, &[ones.len()]).unwrap();
        let gradient = gpu.zeros(&[layers.elements()]).unwrap();
        let network = Forward::new(layers, &x, &parameters, View::absent(&[3, 1], Float::F32));
        gpu.submit(|encoder| network.backward(&dy).gradient(&gradient).record(gpu, encoder)).unwrap();
        let gradient = gpu.download(&gradient).unwrap();
        assert_eq!((gradient[0], gradient[layers.place(0).b]), (f32::INFINITY, 3.0));
    }
}

/// A training step of an [`Mlp`]: two dispatches for the gradients where the plan says so, else layer by layer; right both ways.
#[test]
fn training_of_an_mlp() {
    let mut numbers = Numbers::new(138);
    let rows = 33;
    let cases: [(&Gpu, &[usize], AlphaSource, Float, usize); 4] = [
        (gpu(), &[3, 16, 16, 2], AlphaSource::PerChannel, Float::F32, 3),
        (as_a_gpu(), &[3, 16, 16, 2], AlphaSource::PerChannel, Float::F32, 1),
        (as_a_gpu(), &[4, 32, 4], AlphaSource::PerLayer, Float::Bf16, 1),
        (as_a_gpu(), &[3, 129, 2], AlphaSource::Constant, Float::F32, 2),
    ];
    for (gpu, sizes, alpha, dtype, plans) in cases {
        let activation: Activation = "prelu".parse().unwrap();
        let (k, n) = (sizes[0], sizes[sizes.len() - 1]);
        let host = HostNetwork::random(sizes, activation, alpha, &mut numbers);
        let architecture = Architecture::new(sizes, activation, 40).alpha(alpha).storage(dtype);
        let optimiser = Optimiser::new(Rule::Sgd, Rates::sgd(0.0));
        let architecture = architecture.objective(Criterion::SquaredError).optimiser(optimiser);
        let mlp = host.on_the_device(gpu, &architecture);
        let x: Vec<f32> = (0..rows * k).map(|_| dtype.round(numbers.normal())).collect();
        let targets: Vec<f32> = (0..rows * n).map(|_| numbers.normal()).collect();
        let x_ = gpu.upload_as(dtype, &x, &[rows, k]).unwrap();
        let (targets_, loss) = (gpu.upload(&targets, &[rows, n]).unwrap(), gpu.zeros(&[rows]).unwrap());
        assert_eq!(mlp.backward_plans(gpu, x_.view()).unwrap().len(), plans, "{sizes:?}");
        let layers = host.layers(alpha);
        for learns in [false, true] {
            gpu.submit_pass(|pass| match learns {
                true => mlp.learn(gpu, pass, &Batch::new(&x_, &targets_, &loss)),
                false => mlp.train(gpu, pass, &Step::new(&x_, &targets_, &loss, 0.0)),
            })
            .unwrap();
            let dy = gpu.download(mlp.dz(sizes.len() - 2).unwrap()).unwrap();
            let dy = &dy[..rows * n];
            assert!(dy.iter().all(|v| v.is_finite()) && dy.iter().any(|&v| v != 0.0));
            let rounding = if dtype == Float::F32 { 0.0 } else { dtype.rounding(1.0) };
            let [_, want] = host.gradients(&layers, &x, dy, rounding, 0.0);
            let mut got = vec![0.0; layers.elements()];
            for l in 0..layers.count {
                let (place, gradients) = (layers.place(l), mlp.gradients(l).unwrap());
                let mut put = |at: usize, view: View<'_>| {
                    let part = gpu.download(view).unwrap();
                    got[at..at + part.len()].copy_from_slice(&part);
                };
                put(place.w, gradients.w);
                put(place.b, gradients.b);
                if let (Some(at), Some(alpha)) = (place.alpha, gradients.alpha) {
                    put(at, alpha);
                }
            }
            want.judge(&format!("{sizes:?} {dtype}"), &got);
        }
    }
}

#[test]
fn mistakes_are_named() {
    let gpu = gpu();
    let layers = Layers::new(&[3, 16, 2], Activation::RELU).unwrap();
    let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
    let (x, dy, parameters, gradient) =
        (zeros(&[4, 3]), zeros(&[4, 2]), zeros(&[layers.elements()]), zeros(&[layers.elements()]));
    let y = View::absent(&[4, 2], Float::F32);
    let network = Forward::new(layers, &x, &parameters, y);
    let backward = network.backward(&dy);
    let (wide, short, half) = (zeros(&[4, 4]), zeros(&[7]), gpu.zeros_of(Float::F16, &[layers.elements()]).unwrap());
    for (result, words) in [
        (network.x(&wide).backward(&dy).plan(gpu), ["x", "[.., 3], the inputs"]),
        (network.parameters(&short).backward(&dy).plan(gpu), ["parameter", "[512]"]),
        (network.copy(short.view()).backward(&dy).plan(gpu), ["copy", "[512]"]),
        (network.backward(&wide).plan(gpu), ["dy", "[.., 2]"]),
        (backward.dx(&wide).plan(gpu), ["dx", "[.., 3]"]),
        (backward.gradient(&short).plan(gpu), ["gradient", "[512]"]),
        (backward.gradient(&half).plan(gpu), ["gradient", "f32"]),
        (network.layers(layers.alpha(AlphaSource::PerLayer)).backward(&dy).plan(gpu), ["parameter", "640"]),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: expected {words:?}");
    }
    let jets = network.layers(layers.activation(Activation::TANH).jet(Jet::laplacian(3).unwrap()));
    let error = jets.backward(&dy).gradient(&gradient).plan(gpu).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }) && error.to_string().contains("groups of 8"), "{error}");
    let deep = Layers::new(&[16; 4000], Activation::RELU).unwrap();
    let (many, x16) = (zeros(&[deep.elements()]), zeros(&[4, 16]));
    let network = Forward::new(deep, &x16, &many, View::absent(&[4, 16], Float::F32));
    let error = network.backward(&x16).gradient(&many).plan(gpu).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { .. }) && error.to_string().contains("loop"), "{error}");
    let error = gpu.submit(|encoder| backward.gradient(&parameters).record(gpu, encoder)).unwrap_err();
    assert!(matches!(error, Error::Alias { .. }), "{error}");
}
