//! Whole networks in one dispatch: every activation, depth, width and type against the f64 reference; the texts of GPUs too; what lies beside
//! the operands; what is no number; mistakes.

use std::sync::OnceLock;

use elbow::{
    Activation, AlphaSource, Choices, DeviceClass, Error, Float, Gpu, Jet, Tensor, View, affine, cpu,
    mlp::Architecture,
    network::{Forward, Layers},
};
use elbow_verify::points;

use crate::{
    common::{Numbers, as_a_gpu, each, gpu, options},
    whole::{HostNetwork, SIZES},
};

/// The same adapter, taken for a GPU that one workgroup fills: lanes have eight rows.
fn as_a_small_gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let gpu = Gpu::with_options(options().class(DeviceClass::Discrete).self_test(false)).expect("an adapter");
        let mut choices = Choices::of(DeviceClass::Discrete);
        choices.set_workgroups(1);
        gpu.set_choices(choices);
        gpu
    })
}

/// A network and its input, in these types, and the types of x, of the weights and of y.
pub struct Case<'a> {
    pub sizes: &'a [usize],
    pub activation: Activation,
    pub alpha: AlphaSource,
    pub rows: usize,
    pub types: [Float; 3],
    /// Elements between rows of x and of y, and before the first.
    pub gap: usize,
}

impl<'a> Case<'a> {
    pub fn new(sizes: &'a [usize], activation: Activation, rows: usize) -> Self {
        Case { sizes, activation, alpha: AlphaSource::Constant, rows, types: [Float::F32; 3], gap: 0 }
    }

    /// y, and the host's network and x. What lies between and around the rows of y must not change.
    pub fn run(&self, gpu: &Gpu, host: HostNetwork, numbers: &mut Numbers, number: impl Fn(f32) -> f32) -> Ran {
        let &Case { sizes, alpha, rows, types: [of_x, of_w, of_y], gap, .. } = self;
        let (k, n) = (sizes[0], sizes[sizes.len() - 1]);
        let layers = host.layers(alpha);
        let all = host.all(&layers);
        let parameters = gpu.upload(&all, &[all.len()]).unwrap();
        let copy = (of_w != Float::F32).then(|| gpu.upload_as(of_w, &all, &[all.len()]).unwrap());
        let x: Vec<f32> = (0..rows * k).map(|_| of_x.round(number(numbers.normal()))).collect();
        // A number between rows would be seen: NaN.
        let wide = |row: &[f32]| [vec![f32::NAN; gap], row.to_vec(), vec![f32::NAN; gap]].concat();
        let x_wide: Vec<f32> = x.chunks(k).flat_map(wide).collect();
        let x_ = gpu.upload_as(of_x, &x_wide, &[rows, k + 2 * gap]).unwrap();
        let y_ = gpu.upload_as(of_y, &vec![7.0; rows * (n + 2 * gap)], &[rows, n + 2 * gap]).unwrap();
        let part = |tensor: &'static Tensor, columns: usize| tensor.view().slice(1, gap..gap + columns).unwrap();
        let (x_, y_): (&'static Tensor, &'static Tensor) = (Box::leak(x_.into()), Box::leak(y_.into()));
        let network = Forward::new(layers, part(x_, k), &parameters, part(y_, n));
        let network = network.copy(copy.as_ref().map(|copy| copy.view()));
        let plan = network.plan(gpu).unwrap();
        assert_eq!(plan.dispatches.len(), usize::from(rows > 0));
        let on_matrix_units = plan.dispatches.iter().any(|dispatch| dispatch.kernel.on_matrix_units());
        gpu.submit(|encoder| network.record(gpu, encoder)).unwrap();
        let got = gpu.download(y_).unwrap();
        let mut y = Vec::with_capacity(rows * n);
        for row in got.chunks(n + 2 * gap) {
            assert!(row[..gap].iter().chain(&row[gap + n..]).all(|&v| v == 7.0), "{sizes:?}: a gap was written");
            y.extend(&row[gap..gap + n]);
        }
        Ran { host, x, y, on_matrix_units }
    }

    /// Whether it ran on matrix units; y is within its bound.
    pub fn check(&self, gpu: &Gpu, numbers: &mut Numbers) -> bool {
        let [_, of_w, of_y] = self.types;
        let host = HostNetwork::random(self.sizes, self.activation, self.alpha, numbers);
        let Ran { host, x, y, on_matrix_units } = self.run(gpu, host, numbers, |v| v);
        // The judge's own sums beside the reference's.
        let layers = host.layers(self.alpha);
        let reference = cpu::reference::network(&layers, self.rows, &x, &host.all(&layers)).unwrap();
        for (m, row) in reference.chunks(layers.outputs).enumerate() {
            let (own, bounds) = host.reference(&x[m * layers.inputs..][..layers.inputs], 0.0);
            let near = |((a, b), bound): ((&f64, &f64), &f64)| (a - b).abs() <= 1e-6 * bound;
            assert!(row.iter().zip(&own).zip(&bounds).all(near), "{row:?} and {own:?}");
        }
        let rounding = of_w.rounding(1.0).max(of_y.rounding(1.0));
        let rounding = if [of_w, of_y] == [Float::F32; 2] { 0.0 } else { rounding };
        let rounding = if on_matrix_units { rounding.max(gpu.caps().matrix_rounding()) } else { rounding };
        let Case { sizes, activation, alpha, rows, types, .. } = self;
        assert_eq!(y.len(), rows * sizes[sizes.len() - 1]);
        host.judge(&format!("{sizes:?} {activation} {alpha:?} {types:?} {rows} rows"), &x, &y, rounding);
        on_matrix_units
    }
}

pub struct Ran {
    pub host: HostNetwork,
    pub x: Vec<f32>,
    pub y: Vec<f32>,
    pub on_matrix_units: bool,
}

#[test]
fn every_activation() {
    let mut numbers = Numbers::new(31);
    for (i, activation) in each(points::defaults()) {
        let learnable = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][i % 3];
        let alpha = if activation.has_alpha() { learnable } else { AlphaSource::Constant };
        let sizes: &[usize] = if i % 2 == 0 { &[5, 18, 18, 3] } else { &[8, 20, 20, 20, 4] };
        Case { alpha, ..Case::new(sizes, activation, 37) }.check(gpu(), &mut numbers);
    }
}

const ROWS: [usize; 7] = [1, 2, 31, 64, 129, 0, 515];

#[test]
fn every_width_depth_and_number_of_rows() {
    let mut numbers = Numbers::new(32);
    for (i, sizes) in SIZES.into_iter().enumerate() {
        for rows in [ROWS[i % 7], ROWS[(i + 3) % 7]] {
            let alpha = [AlphaSource::PerChannel, AlphaSource::PerLayer, AlphaSource::Constant][i % 3];
            let activation = if alpha == AlphaSource::Constant { "relu" } else { "prelu" };
            Case { alpha, gap: i % 2 * 3, ..Case::new(sizes, activation.parse().unwrap(), rows) }
                .check(gpu(), &mut numbers);
        }
    }
}

/// What a GPU runs, of four rows a lane and of eight.
#[test]
fn texts_of_gpus() {
    let mut numbers = Numbers::new(33);
    for (i, sizes) in SIZES.into_iter().enumerate().filter(|(i, _)| i % 3 == 1) {
        for (gpu, rows) in [(as_a_gpu(), ROWS[i % 5]), (as_a_small_gpu(), 515)] {
            Case { gap: i % 4, ..Case::new(sizes, "leaky_relu".parse().unwrap(), rows) }.check(gpu, &mut numbers);
        }
    }
}

#[test]
fn every_type() {
    let mut numbers = Numbers::new(34);
    let all = [Float::F32, Float::F16, Float::Bf16];
    for (i, sizes) in [&[8, 16, 16, 4][..], &[5, 33, 7], &[64, 64, 64]].into_iter().enumerate() {
        for (j, dtype) in all.into_iter().enumerate() {
            for types in [[dtype; 3], [all[(j + 1) % 3], dtype, all[(j + 2) % 3]]] {
                Case { types, gap: (i + j) % 3 * 2, ..Case::new(sizes, Activation::SILU, 40) }
                    .check(gpu(), &mut numbers);
            }
        }
    }
}

/// Integers, ReLU: the same bits as layer by layer.
#[test]
fn exact_numbers_are_the_same_bits() {
    let mut numbers = Numbers::new(35);
    for sizes in [&[9, 24, 24, 24, 5][..], &[4, 64, 64, 3], &[12, 7]] {
        for gpu in [gpu(), as_a_gpu()] {
            let host = HostNetwork::random(sizes, Activation::RELU, AlphaSource::Constant, &mut numbers).integers(2.0);
            let case = Case::new(sizes, Activation::RELU, 70);
            let Ran { host, x, y, .. } = case.run(gpu, host, &mut numbers, |v| (v * 2.0).round());
            let mut below = gpu.upload(&x, &[70, sizes[0]]).unwrap();
            for layer in &host.0 {
                let w = gpu.upload(&layer.w, &[layer.n, layer.k]).unwrap();
                let (b, out) = (gpu.upload(&layer.b, &[layer.n]).unwrap(), gpu.zeros(&[70, layer.n]).unwrap());
                let call = affine::Forward::new(layer.activation, &below, &w, &out).b(b.view());
                gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
                below = out;
            }
            assert_eq!(gpu.download(&below).unwrap(), y, "{sizes:?}");
        }
    }
}

/// More rows than one dispatch may have on a slow device: the same kernel over parts of x and y.
#[test]
fn many_rows_are_cut_into_pieces() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(42));
    let (sizes, rows) = ([4, 16, 16, 3], 70_001);
    let host = HostNetwork::random(&sizes, Activation::RELU, AlphaSource::Constant, &mut numbers);
    let layers = host.layers(AlphaSource::Constant);
    let parameters = gpu.upload(&host.all(&layers), &[layers.elements()]).unwrap();
    let x: Vec<f32> = (0..rows * 4).map(|_| numbers.normal()).collect();
    let x_ = gpu.upload(&x, &[rows, 4]).unwrap();
    let y_ = gpu.upload(&vec![f32::NAN; rows * 3], &[rows, 3]).unwrap();
    let network = Forward::new(layers, &x_, &parameters, &y_);
    let pieces = network.plan(gpu).unwrap().dispatches.len();
    assert_eq!(pieces > 1, gpu.caps().class == DeviceClass::Software);
    gpu.submit(|encoder| network.record(gpu, encoder)).unwrap();
    host.judge("pieces", &x, &gpu.download(&y_).unwrap(), 0.0);
}

/// An activation at the end, and the same bits twice.
#[test]
fn an_output_activation() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(36));
    let mut host = HostNetwork::random(&[3, 16, 2], Activation::GELU_ERF, AlphaSource::Constant, &mut numbers);
    host.0[1].activation = Activation::SIGMOID;
    let layers = Layers::new(&[3, 16, 2], Activation::GELU_ERF).unwrap().output(Activation::SIGMOID);
    let parameters = gpu.upload(&host.all(&layers), &[layers.elements()]).unwrap();
    let x: Vec<f32> = (0..30).map(|_| numbers.normal()).collect();
    let x_ = gpu.upload(&x, &[10, 3]).unwrap();
    let run = || {
        let y = gpu.upload(&[f32::NAN; 20], &[10, 2]).unwrap();
        gpu.submit(|encoder| Forward::new(layers, &x_, &parameters, &y).record(gpu, encoder)).unwrap();
        gpu.download(&y).unwrap()
    };
    let y = run();
    host.judge("sigmoid at the end", &x, &y, 0.0);
    assert_eq!(y, run());
}

/// NaN and infinities stay in their row; those of the parameters in their column; one that a layer does not have touches nothing.
#[test]
fn what_is_no_number_stays_in_its_row() {
    for gpu in [gpu(), as_a_gpu()] {
        let mut numbers = Numbers::new(37);
        let mut host = HostNetwork::random(&[3, 17, 17, 2], Activation::RELU, AlphaSource::Constant, &mut numbers);
        // Of the last input: what a load beyond it would find again.
        host.0[2].w[16] = f32::INFINITY;
        let layers = host.layers(AlphaSource::Constant);
        let parameters = gpu.upload(&host.all(&layers), &[layers.elements()]).unwrap();
        let mut x: Vec<f32> = (0..150).map(|_| numbers.normal()).collect();
        (x[4], x[9 * 3], x[20 * 3 + 1]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        let (x_, y_) = (gpu.upload(&x, &[50, 3]).unwrap(), gpu.zeros(&[50, 2]).unwrap());
        gpu.submit(|encoder| Forward::new(layers, &x_, &parameters, &y_).record(gpu, encoder)).unwrap();
        let y = gpu.download(&y_).unwrap();
        let host_y = |m: usize| host.reference(&x[m * 3..(m + 1) * 3], 0.0);
        for (m, row) in y.chunks(2).enumerate() {
            let (want, bounds) = host_y(m);
            for i in 0..2 {
                match want[i].is_finite() {
                    true => assert!((f64::from(row[i]) - want[i]).abs() <= bounds[i], "row {m}: {row:?}, {want:?}"),
                    false if want[i].is_nan() => assert!(row[i].is_nan(), "row {m}: {row:?}, {want:?}"),
                    false => assert_eq!(f64::from(row[i]), want[i], "row {m}"),
                }
            }
        }
        assert!(y[2].is_nan() && y[3].is_nan() && y[5].is_finite(), "{y:?}");
    }
}

/// A network of an [`Mlp`]: its parameters lie as one dispatch reads them.
#[test]
fn parameters_of_an_mlp() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(38));
    for alpha in [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel] {
        let sizes = [6, 20, 20, 20, 3];
        let activation: Activation = "prelu".parse().unwrap();
        let host = HostNetwork::random(&sizes, activation, alpha, &mut numbers);
        let mlp = host.on_the_device(gpu, &Architecture::new(&sizes, activation, 40).alpha(alpha));
        let x: Vec<f32> = (0..240).map(|_| numbers.normal()).collect();
        let x_ = gpu.upload(&x, &[40, 6]).unwrap();
        let y = gpu.upload(&[f32::NAN; 120], &[40, 3]).unwrap();
        let network = Forward::new(host.layers(alpha), &x_, mlp.all_parameters(), &y);
        gpu.submit(|encoder| network.record(gpu, encoder)).unwrap();
        host.judge("one dispatch", &x, &gpu.download(&y).unwrap(), 0.0);
    }
}

/// y of groups of rows by the reference, and the largest magnitude of each row of a group.
pub fn jets_by_reference(layers: &Layers, x: &[f32], all: &[f32]) -> (Vec<f64>, [f64; 8]) {
    let y = cpu::reference::network(layers, x.len() / layers.inputs, x, all).unwrap();
    let members = layers.jet.unwrap().members();
    let mut largest = [1e-3; 8];
    for (row, numbers) in y.chunks(layers.outputs).enumerate() {
        let of_member = &mut largest[row % members];
        *of_member = numbers.iter().fold(*of_member, |a: f64, v| a.max(v.abs()));
    }
    (y, largest)
}

/// A jet of eight rows whose operator has terms of every kind: of one tangent, of two neighbours, of the first group of four rows and of the second.
pub fn six() -> Jet {
    let mut c = [[0.0; 6]; 6];
    (c[0][0], c[3][3], c[5][5]) = (1.0, -2.0, 3.0);
    for (i, j, v) in [(0, 1, 0.5), (1, 4, -1.0), (2, 3, 2.0), (4, 5, 1.5)] {
        (c[i][j], c[j][i]) = (v, v);
    }
    Jet::six(c).unwrap()
}

/// Every activation with its derivatives, by the texts of a CPU and of a GPU.
#[test]
fn jets_of_every_activation() {
    let mut numbers = Numbers::new(40);
    for (i, activation) in each(points::defaults()) {
        let gpu = if i % 12 == 5 { as_a_gpu() } else { gpu() };
        let learnable = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][i % 3];
        let alpha = if activation.has_alpha() { learnable } else { AlphaSource::Constant };
        let two = |c| Jet::two(c).unwrap();
        let jets =
            [two([1.0, 0.5, -2.0]), six(), two([0.0, 0.0, 1.0]), Jet::six([[0.0; 6]; 6]).unwrap(), two([0.0; 3])];
        let jet = jets[i % 5].even_if_flat();
        let host = HostNetwork::random(&[3, 18, 18, 2], activation, alpha, &mut numbers);
        let layers = host.layers(alpha).jet(jet);
        let all = host.all(&layers);
        let rows = 11 * jet.members();
        let x: Vec<f32> = (0..rows * 3).map(|_| numbers.normal()).collect();
        let parameters = gpu.upload(&all, &[all.len()]).unwrap();
        let (x_, y_) =
            (gpu.upload(&x, &[rows, 3]).unwrap(), gpu.upload(&vec![f32::NAN; rows * 2], &[rows, 2]).unwrap());
        gpu.submit(|encoder| Forward::new(layers, &x_, &parameters, &y_).record(gpu, encoder)).unwrap();
        let (want, largest) = jets_by_reference(&layers, &x, &all);
        for (at, (got, want)) in gpu.download(&y_).unwrap().iter().zip(&want).enumerate() {
            let bound = 2e-5 * largest[at / 2 % jet.members()];
            let close = (f64::from(*got) - want).abs() <= bound;
            assert!(close, "{activation} {jet}: y[{}, {}] is {got}, expected {want} ± {bound:e}", at / 2, at % 2);
        }
    }
}

/// Integers through ReLU²: the same bits as layer by layer with jets.
#[test]
fn exact_jets_are_the_same_bits() {
    let mut numbers = Numbers::new(41);
    let four = Jet::two([1.0, -2.0, 3.0]).unwrap();
    let cases: [(&Gpu, [usize; 3], Jet); 8] = [
        (gpu(), [2, 9, 3], four),
        (as_a_gpu(), [4, 20, 8], four),
        (as_a_small_gpu(), [3, 32, 1], four),
        // Half of the lanes, with 16 inputs at a time and with 8, and all of them.
        (gpu(), [3, 9, 3], six()),
        (as_a_gpu(), [4, 20, 8], six()),
        (gpu(), [2, 65, 5], six()),
        (as_a_gpu(), [6, 128, 3], six()),
        (as_a_small_gpu(), [3, 32, 1], six()),
    ];
    for (gpu, sizes, jet) in cases {
        let activation = Activation::RELU_SQUARED;
        let host = HostNetwork::random(&sizes, activation, AlphaSource::Constant, &mut numbers).integers(2.0);
        let layers = host.layers(AlphaSource::Constant).jet(jet);
        let all = host.all(&layers);
        let rows = jet.members() * 70;
        let x: Vec<f32> = (0..rows * sizes[0]).map(|_| (numbers.normal() * 1.5).round()).collect();
        let parameters = gpu.upload(&all, &[all.len()]).unwrap();
        let x_ = gpu.upload(&x, &[rows, sizes[0]]).unwrap();
        let y_ = gpu.upload(&vec![f32::NAN; rows * sizes[2]], &[rows, sizes[2]]).unwrap();
        gpu.submit(|encoder| Forward::new(layers, &x_, &parameters, &y_).record(gpu, encoder)).unwrap();
        let y = gpu.download(&y_).unwrap();
        let mlp = host.on_the_device(gpu, &Architecture::new(&sizes, activation, rows).jet(jet));
        gpu.submit(|encoder| mlp.forward(gpu, encoder, x_.view())).unwrap();
        let top = mlp.output(1).unwrap();
        assert_eq!(gpu.download(top).unwrap(), y, "{sizes:?}");
        let (want, _) = jets_by_reference(&layers, &x, &all);
        assert!(y.iter().zip(want).all(|(y, want)| f64::from(*y) == want), "{sizes:?}");
        gpu.write(top, &vec![f32::NAN; y.len()]).unwrap();
        gpu.submit(|encoder| mlp.infer(gpu, encoder, x_.view())).unwrap();
        assert_eq!(gpu.download(top).unwrap(), y, "infer {sizes:?}");
    }
}

/// The last y of an [`Mlp`]: in one dispatch where the plan says so, else layer by layer; right both ways.
#[test]
fn inference_of_an_mlp() {
    let mut numbers = Numbers::new(39);
    let (slow, small) = (gpu(), as_a_small_gpu());
    let cases: [(&Gpu, &[usize], usize, Float, usize); 8] = [
        (slow, &[3, 16, 16, 2], 33, Float::F32, 3),
        (as_a_gpu(), &[3, 16, 16, 2], 33, Float::F32, 1),
        (as_a_gpu(), &[6, 64, 64, 3], 70, Float::F16, 1),
        (as_a_gpu(), &[6, 48, 48, 3], 70, Float::Bf16, 1),
        (as_a_gpu(), &[8, 128, 4], 5, Float::F32, 1),
        // Many rows of wide layers; layers of two sizes; one that is too wide.
        (small, &[8, 128, 4], 70, Float::F32, 2),
        (as_a_gpu(), &[3, 16, 17, 2], 9, Float::F32, 3),
        (as_a_gpu(), &[3, 129, 129, 2], 9, Float::F32, 3),
    ];
    for (i, (gpu, sizes, rows, dtype, dispatches)) in cases.into_iter().enumerate() {
        let alpha = [AlphaSource::PerLayer, AlphaSource::Constant, AlphaSource::PerChannel][i % 3];
        let activation: Activation = "prelu".parse().unwrap();
        let host = HostNetwork::random(sizes, activation, alpha, &mut numbers);
        let mlp = host.on_the_device(gpu, &Architecture::new(sizes, activation, 80).alpha(alpha).storage(dtype));
        let (k, n) = (sizes[0], sizes[sizes.len() - 1]);
        let x: Vec<f32> = (0..rows * k).map(|_| dtype.round(numbers.normal())).collect();
        let x_ = gpu.upload_as(dtype, &x, &[rows, k]).unwrap();
        let plans = mlp.infer_plans(gpu, x_.view()).unwrap();
        assert_eq!(plans.iter().map(|plan| plan.dispatches.len()).sum::<usize>(), dispatches, "{sizes:?}: {plans:?}");
        let top = mlp.output(sizes.len() - 2).unwrap();
        gpu.write(top, &vec![f32::NAN; 80 * n]).unwrap();
        gpu.submit(|encoder| mlp.infer(gpu, encoder, x_.view())).unwrap();
        let y = gpu.download(top).unwrap();
        assert!(y[rows * n..].iter().all(|y| y.is_nan()), "{sizes:?}: rows past the batch");
        let rounding = if dtype == Float::F32 { 0.0 } else { dtype.rounding(1.0) };
        host.judge(&format!("{sizes:?} {dtype}"), &x, &y[..rows * n], rounding);
        let error = gpu.submit(|encoder| mlp.infer(gpu, encoder, top.view())).unwrap_err().to_string();
        assert!(k == n || error.contains("max_batch"), "{error}");
    }
}

#[test]
fn mistakes_are_named() {
    let gpu = gpu();
    let layers = Layers::new(&[3, 16, 2], Activation::RELU).unwrap();
    let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
    let (x, y, parameters) = (zeros(&[4, 3]), zeros(&[4, 2]), zeros(&[layers.elements()]));
    let network = Forward::new(layers, &x, &parameters, &y);
    let learns = layers.alpha(AlphaSource::PerLayer);
    let with_alpha = zeros(&[learns.elements()]);
    let (wide, short, half) = (zeros(&[4, 4]), zeros(&[7]), gpu.zeros_of(Float::F16, &[layers.elements()]).unwrap());
    for (result, words) in [
        (network.x(&wide).plan(gpu).map(drop), ["x", "[.., 3], the inputs"]),
        (network.y(&wide).plan(gpu).map(drop), ["y", "[.., 2]"]),
        (network.parameters(&short).plan(gpu).map(drop), ["parameter", "[512]"]),
        (network.parameters(&half).plan(gpu).map(drop), ["parameter", "f32"]),
        (network.copy(short.view()).plan(gpu).map(drop), ["copy", "[512]"]),
        (network.layers(learns).parameters(&with_alpha).plan(gpu).map(drop), ["alpha", "no learnable"]),
        (Layers::new(&[3], Activation::RELU).map(drop), ["sizes", "at least two"]),
        (Layers::new(&[3, 0, 2], Activation::RELU).map(drop), ["sizes", "at least 1"]),
        (Layers::new(&[3, 4, 5, 2], Activation::RELU).map(drop), ["sizes", "of one size"]),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: expected {words:?}");
    }
    let jets =
        |jet: elbow::Result<Jet>| network.layers(layers.activation(Activation::TANH).jet(jet.unwrap())).plan(gpu);
    let three = zeros(&[3, 3]);
    let flat = network.layers(layers.jet(Jet::laplacian(2).unwrap()));
    for (result, words) in [
        (jets(Jet::laplacian(2)).map(drop), ["", ""]),
        (jets(Jet::laplacian(3)).map(drop), ["x", "groups of 8"]),
        (flat.plan(gpu).map(drop), ["relu", "second"]),
        (flat.x(&three).y(View::absent(&[3, 2], Float::F32)).plan(gpu).map(drop), ["x", "groups of 4"]),
    ] {
        let error = result.err().map_or(String::new(), |error| error.to_string());
        assert!(words.iter().all(|word| error.contains(word)), "{error}: expected {words:?}");
    }
    let wide = Layers::new(&[3, 129, 2], Activation::RELU).unwrap();
    let more = zeros(&[wide.elements()]);
    let error = network.layers(wide).parameters(&more).plan(gpu).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { asked: 129, limit: 128, .. }), "{error}");
    let error = gpu.submit(|encoder| network.y(View::new(x.buffer(), 0, &[4, 2], Float::F32)).record(gpu, encoder));
    assert!(matches!(error.unwrap_err(), Error::Alias { .. }));
}
