//! Whole networks on matrix units: every activation, depth, width and type within the bounds that products there have; integers to the last bit; what is
//! no number; jets. Where the driver has none these are networks on ordinary lanes, and their plans say why.

use std::sync::OnceLock;

use elbow::{
    Activation, AlphaSource, DeviceClass, Float, Gpu, Jet, MatrixUnits, Plan, affine,
    network::{Forward, Layers},
};
use elbow_verify::points;

use crate::{
    common::{Numbers, each},
    matrix_units::{opened, there},
    network::{Case, Ran, jets_by_reference, six},
    whole::{HostNetwork, SIZES},
};

/// The adapter with its matrix units, as the CPU that it is and as a GPU.
pub struct Device {
    pub gpu: Gpu,
    pub there: bool,
}

impl Device {
    pub fn all() -> &'static [Device] {
        static ALL: OnceLock<Vec<Device>> = OnceLock::new();
        ALL.get_or_init(|| {
            let classes = [None, Some(DeviceClass::Discrete)];
            let choices = [MatrixUnits::Rounded, MatrixUnits::Split].into_iter();
            let open = |(units, class)| {
                let gpu = opened(units, class);
                let there = there(&gpu).is_some();
                // Without them it is a network like any other, and a GPU's text of one is tested elsewhere: a software driver takes a gigabyte to compile it.
                Device { gpu: if there { gpu } else { opened(units, None) }, there }
            };
            choices.flat_map(|units| classes.map(|class| (units, class))).map(open).collect()
        })
    }

    fn check(&self, case: &Case<'_>, numbers: &mut Numbers) {
        let widest = case.sizes.iter().copied().max().unwrap();
        let on_matrix_units = case.check(&self.gpu, numbers);
        let suits = case.rows.min(widest) > 16 && widest <= self.widest();
        assert_eq!(on_matrix_units, self.there && suits, "{:?}, {} rows on {}", case.sizes, case.rows, self.gpu);
    }

    /// The most columns for which there is a block: matrices of 8 take twice the rows a lane, which have no room in its registers, or, in halves, in
    /// 32 KiB.
    fn widest(&self) -> usize {
        let caps = self.gpu.caps();
        let roomy = caps.class == DeviceClass::Software && caps.matrix_units == MatrixUnits::Rounded;
        if roomy || caps.matrix_size == 16 { 128 } else { 64 }
    }
}

fn plan(gpu: &Gpu, sizes: &[usize], rows: usize, dtype: Float) -> Plan {
    let layers = Layers::new(sizes, Activation::RELU).unwrap();
    let parameters = gpu.zeros(&[layers.elements()]).unwrap();
    let copy = gpu.zeros_of(dtype, &[layers.elements()]).unwrap();
    let [x, y] = [sizes[0], sizes[sizes.len() - 1]].map(|columns| gpu.zeros_of(dtype, &[rows, columns]).unwrap());
    Forward::new(layers, &x, &parameters, &y).copy(copy.view()).plan(gpu).unwrap()
}

#[test]
fn they_are_used_where_they_are_and_the_plan_says_so() {
    let off = plan(&opened(MatrixUnits::Off, None), &[3, 32, 4], 100, Float::F16).to_string();
    assert!(!off.contains("matrix units"), "{off}");
    let stored = opened(MatrixUnits::Stored, None);
    let computed = "an operand is not f16 in memory, or is computed";
    let mut cases = vec![
        (&stored, &[32, 32][..], 40, Float::F16, ""),
        (&stored, &[32, 32], 40, Float::Bf16, computed),
        (&stored, &[32, 32, 4], 40, Float::F16, computed),
    ];
    for Device { gpu, .. } in Device::all() {
        cases.push((gpu, &[3, 32, 32, 4], 40, Float::F32, ""));
        cases.push((gpu, &[64, 64], 40, Float::F16, ""));
        cases.push((gpu, &[3, 32, 4], 16, Float::F16, "16 rows or columns, or fewer"));
        cases.push((gpu, &[3, 16, 4], 40, Float::F16, "16 rows or columns, or fewer"));
    }
    for (gpu, sizes, rows, dtype, why) in cases {
        let there = there(gpu).is_some();
        let why = if there { why } else { "the device has none that can be used" };
        let plan = plan(gpu, sizes, rows, dtype);
        assert_eq!(plan.dispatches[0].kernel.on_matrix_units(), why.is_empty(), "{plan}");
        let said = plan
            .to_string()
            .lines()
            .next()
            .unwrap()
            .split_once(", not on matrix units: ")
            .map(|(_, why)| why.to_owned());
        assert_eq!(said.unwrap_or_default(), why, "{plan}");
    }
}

#[test]
fn every_activation() {
    let mut numbers = Numbers::new(51);
    for (i, activation) in each(points::defaults()) {
        let learnable = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][i % 3];
        let alpha = if activation.has_alpha() { learnable } else { AlphaSource::Constant };
        let sizes: &[usize] = if i % 2 == 0 { &[5, 18, 18, 3] } else { &[8, 20, 20, 20, 4] };
        Device::all()[i % 4].check(&Case { alpha, ..Case::new(sizes, activation, 37) }, &mut numbers);
    }
}

const ROWS: [usize; 7] = [17, 1, 31, 64, 129, 0, 515];

#[test]
fn every_width_depth_and_number_of_rows() {
    let mut numbers = Numbers::new(52);
    for (i, sizes) in SIZES.into_iter().enumerate() {
        for (j, rows) in [ROWS[i % 7], ROWS[(i + 3) % 7]].into_iter().enumerate() {
            let alpha = [AlphaSource::PerChannel, AlphaSource::PerLayer, AlphaSource::Constant][i % 3];
            let activation = if alpha == AlphaSource::Constant { "relu" } else { "prelu" };
            let case = Case { alpha, gap: i % 2 * 3, ..Case::new(sizes, activation.parse().unwrap(), rows) };
            Device::all()[(i + j) % 4].check(&case, &mut numbers);
        }
    }
}

#[test]
fn every_type() {
    let mut numbers = Numbers::new(53);
    let all = [Float::F32, Float::F16, Float::Bf16];
    for (i, sizes) in [&[8, 24, 24, 4][..], &[5, 33, 7], &[64, 64, 64]].into_iter().enumerate() {
        for (j, dtype) in all.into_iter().enumerate() {
            for (l, types) in [[dtype; 3], [all[(j + 1) % 3], dtype, all[(j + 2) % 3]]].into_iter().enumerate() {
                let case = Case { types, gap: (i + j) % 3 * 2, ..Case::new(sizes, Activation::SILU, 40) };
                Device::all()[(l * 2 + i + j) % 4].check(&case, &mut numbers);
            }
        }
    }
}

/// Integers, ReLU: the same bits as layer by layer, whose products are on matrix units too. Numbers between layers have more digits than one number of f16.
#[test]
fn exact_numbers_are_the_same_bits() {
    let mut numbers = Numbers::new(54);
    for sizes in [&[9, 24, 24, 24, 20][..], &[36, 64, 64, 17], &[40, 33]] {
        for Device { gpu, there } in Device::all() {
            let host = HostNetwork::random(sizes, Activation::RELU, AlphaSource::Constant, &mut numbers).integers(2.0);
            let Ran { host, x, y, on_matrix_units } =
                Case::new(sizes, Activation::RELU, 150).run(gpu, host, &mut numbers, |v| (v * 4.0).round());
            assert_eq!(on_matrix_units, *there);
            let mut below = gpu.upload(&x, &[150, sizes[0]]).unwrap();
            let mut most: f32 = 0.0;
            for layer in &host.0 {
                let w = gpu.upload(&layer.w, &[layer.n, layer.k]).unwrap();
                let (b, out) = (gpu.upload(&layer.b, &[layer.n]).unwrap(), gpu.zeros(&[150, layer.n]).unwrap());
                let call = affine::Forward::new(layer.activation, &below, &w, &out).b(b.view());
                gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
                below = out;
                most = gpu.download(&below).unwrap().into_iter().fold(most, |most, v| most.max(v.abs()));
            }
            assert!((2048.0..65504.0).contains(&most) || sizes.len() < 4, "{sizes:?}: {most}");
            assert_eq!(gpu.download(&below).unwrap(), y, "{sizes:?} on {gpu}");
        }
    }
}

/// Rows of one network whose numbers are 60 orders of magnitude apart, and weights too: each row and each output has a scale of its own.
#[test]
fn every_row_and_output_has_its_own_scale() {
    let mut numbers = Numbers::new(55);
    let sizes = [20, 36, 36, 17];
    for Device { gpu, there } in
        Device::all().iter().filter(|device| device.gpu.caps().matrix_units == MatrixUnits::Split)
    {
        let mut host = HostNetwork::random(&sizes, "leaky_relu".parse().unwrap(), AlphaSource::Constant, &mut numbers);
        let power = |i: usize| f64::powi(10.0, (i % 21) as i32 * 3 - 30) as f32;
        for layer in &mut host.0 {
            layer.b.fill(0.0);
        }
        // Outputs of the last layer.
        let last = &mut host.0[2];
        for (i, w) in last.w.iter_mut().enumerate() {
            *w *= power(i / last.k).sqrt();
        }
        let layers = host.layers(AlphaSource::Constant);
        let parameters = gpu.upload(&host.all(&layers), &[layers.elements()]).unwrap();
        let x: Vec<f32> = (0..50 * 20).map(|i| numbers.normal() * power(i / 20).sqrt()).collect();
        let (x_, y_) = (gpu.upload(&x, &[50, 20]).unwrap(), gpu.zeros(&[50, 17]).unwrap());
        let network = Forward::new(layers, &x_, &parameters, &y_);
        assert_eq!(network.plan(gpu).unwrap().dispatches[0].kernel.on_matrix_units(), *there);
        gpu.submit(|encoder| network.record(gpu, encoder)).unwrap();
        for (m, row) in gpu.download(&y_).unwrap().chunks(17).enumerate() {
            let (want, _) = host.reference(&x[m * 20..][..20], 0.0);
            // The size of the terms of each sum, layer by layer.
            for (n, (got, want)) in row.iter().zip(&want).enumerate() {
                let size = f64::from(power(m).sqrt() * power(n).sqrt());
                assert!((f64::from(*got) - want).abs() <= 1e-5 * size, "y[{m}, {n}] is {got}, expected {want}");
            }
        }
    }
}

/// NaN and infinities stay in their row; those of the parameters in their column; one that a layer does not have touches nothing. Where rows are split,
/// what meets an infinity is NaN.
#[test]
fn what_is_no_number_stays_in_its_row() {
    for Device { gpu, there } in Device::all() {
        let mut numbers = Numbers::new(56);
        let mut host = HostNetwork::random(&[30, 17, 17, 2], Activation::RELU, AlphaSource::Constant, &mut numbers);
        // Column 28 of x lies behind the columns of the layers, and an infinity there may leave nothing but zeros in them.
        (0..17).for_each(|n| host.0[0].w[n * 30 + 28] = 1.0);
        // Of the last input: what a load beyond it would find again.
        host.0[2].w[16] = f32::INFINITY;
        let layers = host.layers(AlphaSource::Constant);
        let parameters = gpu.upload(&host.all(&layers), &[layers.elements()]).unwrap();
        let mut x: Vec<f32> = (0..50 * 30).map(|_| numbers.normal()).collect();
        (x[31], x[9 * 30], x[20 * 30 + 28]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        let (x_, y_) = (gpu.upload(&x, &[50, 30]).unwrap(), gpu.zeros(&[50, 2]).unwrap());
        gpu.submit(|encoder| Forward::new(layers, &x_, &parameters, &y_).record(gpu, encoder)).unwrap();
        let y = gpu.download(&y_).unwrap();
        let rounding = gpu.caps().matrix_rounding();
        for (m, row) in y.chunks(2).enumerate() {
            let x = &x[m * 30..][..30];
            let (want, bounds) = host.reference(x, rounding);
            let spoilt = *there && gpu.caps().matrix_units == MatrixUnits::Split && !x.iter().all(|v| v.is_finite());
            for i in 0..2 {
                let right = match want[i].is_finite() {
                    _ if spoilt => row[i].is_nan(),
                    true => (f64::from(row[i]) - want[i]).abs() <= bounds[i],
                    false => !row[i].is_finite(),
                };
                assert!(right, "row {m}: {row:?}, {want:?} on {gpu}");
            }
        }
        assert!(y[2].is_nan() && y[3].is_nan() && y[5].is_finite(), "{y:?}");
        // -∞ through ReLU is 0.
        assert_eq!(y[41].is_finite(), gpu.caps().matrix_units == MatrixUnits::Rounded || !*there, "{y:?}");
    }
}

/// Jets of four rows and of eight: integers through ReLU², exactly where they are split, and every kind of activation within the bound of a factor's rounding.
#[test]
fn jets() {
    let mut numbers = Numbers::new(57);
    for (i, Device { gpu, there }) in Device::all().iter().enumerate() {
        for (j, jet) in
            [Jet::two([1.0, -2.0, 3.0]).unwrap(), six(), Jet::two([0.0; 3]).unwrap()].into_iter().enumerate()
        {
            for activation in [Activation::RELU_SQUARED, ["tanh", "silu", "softplus"][(i + j) % 3].parse().unwrap()] {
                let exact = activation == Activation::RELU_SQUARED;
                let sizes = if exact { [3, 20, 2] } else { [2, 32, 3] };
                let host = HostNetwork::random(&sizes, activation, AlphaSource::Constant, &mut numbers);
                let host = if exact { host.integers(1.0) } else { host };
                let layers = host.layers(AlphaSource::Constant).jet(jet);
                let (all, rows) = (host.all(&layers), 30 * jet.members());
                let number = |v: f32| if exact { v.round() } else { v };
                let x: Vec<f32> = (0..rows * sizes[0]).map(|_| number(numbers.normal())).collect();
                let parameters = gpu.upload(&all, &[all.len()]).unwrap();
                let x_ = gpu.upload(&x, &[rows, sizes[0]]).unwrap();
                let y_ = gpu.upload(&vec![f32::NAN; rows * sizes[2]], &[rows, sizes[2]]).unwrap();
                let network = Forward::new(layers, &x_, &parameters, &y_);
                assert_eq!(network.plan(gpu).unwrap().dispatches[0].kernel.on_matrix_units(), *there);
                gpu.submit(|encoder| network.record(gpu, encoder)).unwrap();
                let (want, largest) = jets_by_reference(&layers, &x, &all);
                let rounding = if exact { 0.0 } else { 2e-5 + 16.0 * gpu.caps().matrix_rounding() };
                for (at, (got, want)) in gpu.download(&y_).unwrap().iter().zip(&want).enumerate() {
                    let bound = rounding * largest[at / sizes[2] % jet.members()];
                    let close = (f64::from(*got) - want).abs() <= bound;
                    assert!(close, "{activation} {jet} on {gpu}: y[{at}] is {got}, expected {want} ± {bound:e}");
                }
            }
        }
    }
}
