//! Gradients of whole networks on matrix units: every activation, depth, width and type within the bounds that products there have; integers to the last bit;
//! gradients of any size beside each other; what is no number. Where the driver has none these run on ordinary lanes, and their plans say why.

use std::{cell::Cell, sync::OnceLock};

use elbow::{
    Activation, AlphaSource, Choices, DeviceClass, Float, Gpu, Gradient, Jet, MatrixUnits, Plan, View, cpu,
    criterion::Criterion,
    mlp::{Architecture, Optimiser},
    network::{Forward, Layers},
    rates::{Rates, Rule},
};
use elbow_verify::points;

use crate::{
    common::{Numbers, each, options},
    matrix_units::{opened, there},
    network::six,
    network_backward::{Case, Ran},
    network_jets::{self, by_reference},
    network_matrices::Device,
    whole::{HostNetwork, SIZES},
};

fn check(device: &Device, case: &Case<'_>, numbers: &mut Numbers) {
    let widest = case.sizes.iter().copied().max().unwrap();
    let on_matrix_units = case.check(&device.gpu, numbers);
    let suits = case.rows.min(widest) > 16 && widest <= most_columns(&device.gpu);
    assert_eq!(on_matrix_units, device.there && suits, "{:?}, {} rows on {}", case.sizes, case.rows, device.gpu);
}

/// The most columns for which there is a block: where matrices of 8 are split, one of as few lanes as fit into 32 KiB has more sums than a GPU's lane.
fn most_columns(gpu: &Gpu) -> usize {
    let caps = gpu.caps();
    let narrow =
        caps.class != DeviceClass::Software && caps.matrix_units == MatrixUnits::Split && caps.matrix_size == 8;
    if narrow { 32 } else { 64 }
}

fn plan(gpu: &Gpu, layers: Layers, rows: usize, dtype: Float) -> Plan {
    let all = View::absent(&[layers.elements()], Float::F32);
    let [x, dy] = [layers.inputs, layers.outputs].map(|columns| View::absent(&[rows, columns], dtype));
    let network = Forward::new(layers, x, all, dy).copy(View::absent(&[layers.elements()], dtype));
    network.backward(dy).dx(Gradient::overwrite(x)).gradient(Gradient::overwrite(all)).plan(gpu).unwrap()
}

#[test]
fn they_are_used_where_they_are_and_the_plan_says_so() {
    let of = |sizes: &[usize]| Layers::new(sizes, Activation::TANH).unwrap();
    let off = plan(&opened(MatrixUnits::Off, None), of(&[3, 32, 4]), 100, Float::F16).to_string();
    assert!(!off.contains("matrix units"), "{off}");
    let computed = "an operand is not f16 in memory, or is computed";
    let jet = of(&[3, 32, 4]).jet(Jet::two([1.0, 0.0, 1.0]).unwrap());
    let no_block = "no block of rows suits the device's subgroups, its workgroup memory, or a lane's registers";
    let stored = opened(MatrixUnits::Stored, None);
    let mut cases = vec![(&stored, of(&[32, 32]), 40, computed)];
    for Device { gpu, .. } in Device::all() {
        cases.push((gpu, of(&[3, 32, 32, 4]), 40, ""));
        cases.push((gpu, of(&[64, 64]), 40, if most_columns(gpu) == 64 { "" } else { no_block }));
        cases.push((gpu, of(&[3, 32, 4]), 16, "16 rows or columns, or fewer"));
        cases.push((gpu, of(&[3, 65, 4]), 40, no_block));
        cases.push((gpu, jet, 40, ""));
    }
    for (gpu, layers, rows, why) in cases {
        let why = if there(gpu).is_some() { why } else { "the device has none that can be used" };
        let plan = plan(gpu, layers, rows, Float::F16);
        assert_eq!(plan.dispatches.len(), 2, "{plan}");
        assert_eq!(plan.dispatches[0].kernel.on_matrix_units(), why.is_empty(), "{plan}");
        let text = plan.to_string();
        let said = text.lines().next().unwrap().split_once(", not on matrix units: ").map_or("", |(_, why)| why);
        assert_eq!(said, why, "{plan}");
    }
}

/// Each between the layers or, where it has no α, at the end of another's network.
#[test]
fn every_activation() {
    let mut numbers = Numbers::new(151);
    let (learn, constant): (Vec<Activation>, Vec<Activation>) =
        points::defaults().into_iter().partition(|act| act.has_alpha());
    let (hidden, last) = constant.split_at(constant.len() / 2);
    for (i, activation) in each([&learn, hidden].concat()) {
        let learnable = [AlphaSource::PerChannel, AlphaSource::PerLayer, AlphaSource::Constant][i % 3];
        let alpha = if activation.has_alpha() { learnable } else { AlphaSource::Constant };
        let sizes: &[usize] = if i % 2 == 0 { &[5, 18, 18, 3] } else { &[8, 20, 20, 20, 4] };
        let output = last.get(i).copied().unwrap_or(Activation::IDENTITY);
        let case = Case { alpha, output, ..Case::new(sizes, activation, 37) };
        check(&Device::all()[i % 4], &case, &mut numbers);
    }
    assert!(last.len() <= learn.len() + hidden.len());
}

/// Around a block of 32 or 64 rows, and many of them.
const ROWS: [usize; 9] = [17, 1, 31, 32, 33, 64, 129, 0, 300];

#[test]
fn every_width_depth_and_number_of_rows() {
    let mut numbers = Numbers::new(152);
    for (i, sizes) in SIZES.into_iter().enumerate() {
        for (j, rows) in [ROWS[i % 9], ROWS[(i * 3 + 4) % 9]].into_iter().enumerate() {
            let alpha = [AlphaSource::PerChannel, AlphaSource::PerLayer, AlphaSource::Constant][i % 3];
            let activation = if alpha == AlphaSource::Constant { "tanh" } else { "prelu" };
            let case = Case { alpha, gap: i % 2 * 3, ..Case::new(sizes, activation.parse().unwrap(), rows) };
            check(&Device::all()[(i + j) % 4], &case, &mut numbers);
        }
    }
}

#[test]
fn every_type() {
    let mut numbers = Numbers::new(153);
    let all = [Float::F32, Float::F16, Float::Bf16];
    for (i, sizes) in [&[8, 24, 24, 4][..], &[5, 33, 7], &[64, 64, 64]].into_iter().enumerate() {
        for (j, dtype) in all.into_iter().enumerate() {
            let types = [[dtype; 4], [all[(j + 1) % 3], dtype, all[(j + 2) % 3], all[i]]][(i + j) % 2];
            let case = Case { types, gap: (i + j) % 3 * 2, ..Case::new(sizes, Activation::SILU, 40) };
            for device in &Device::all()[i % 2 * 2..][..2] {
                check(device, &case, &mut numbers);
            }
        }
    }
}

/// The same adapter with so little room for scratch that a few workgroups go at a time, each with a few blocks of rows.
fn with_little_memory(units: MatrixUnits, class: DeviceClass) -> Gpu {
    let gpu = Gpu::with_options(options().matrix_units(units).class(class)).unwrap();
    let mut choices = Choices::of(class);
    choices.set_workgroups(4);
    gpu.set_choices(choices);
    gpu.set_memory_limit(2 << 20);
    gpu
}

/// Small integers: the reference's bits, whatever blocks, rounds and workgroups add up. Where dz is split, it has more digits than one number of f16, and sums
/// that may be more than 2²⁴ have their bound.
#[test]
fn integers_without_tolerance() {
    static LITTLE: OnceLock<[Gpu; 2]> = OnceLock::new();
    let little = LITTLE.get_or_init(|| {
        [(MatrixUnits::Rounded, DeviceClass::Software), (MatrixUnits::Split, DeviceClass::Discrete)]
            .map(|(units, class)| with_little_memory(units, class))
    });
    let mut numbers = Numbers::new(154);
    let all: Vec<&Gpu> = Device::all().iter().map(|device| &device.gpu).collect();
    let some: Vec<&Gpu> = little.iter().collect();
    for (sizes, rows, gpus) in [
        (&[9, 24, 24, 20][..], 70, &all),
        (&[36, 64, 3], 70, &all),
        (&[40, 33], 50, &all),
        (&[4, 32, 32, 3], 4000, &some),
    ] {
        for gpu in gpus {
            let host = HostNetwork::random(sizes, Activation::RELU, AlphaSource::Constant, &mut numbers).integers(1.0);
            let large = gpu.caps().matrix_units == MatrixUnits::Split && rows < 200;
            // The first numbers are x, the others dy.
            let made = Cell::new(0);
            let number = |v: f32| {
                made.set(made.get() + 1);
                let most = if large && made.get() > rows * sizes[0] { 4095.0 } else { 2.0 };
                (v * most * 0.5).round().clamp(-most, most)
            };
            let case = Case::new(sizes, Activation::RELU, rows);
            let Ran { host, layers, x, dy, dx, gradient, on_matrix_units } = case.run(gpu, host, &mut numbers, number);
            assert_eq!(on_matrix_units, there(gpu).is_some() && sizes[1].max(sizes[0]) <= most_columns(gpu));
            let want = cpu::reference::network_backward(&layers, rows, &x, &host.all(&layers), &dy).unwrap();
            for (name, got, want) in [("dx", &dx, &want.dx), ("gradient", &gradient, &want.parameters)] {
                let exact = |terms: f64| terms < 16_777_216.0;
                assert!(large || want.terms.iter().all(|&terms| exact(terms)));
                let near = |got: f32, want: f64, terms: f64| {
                    f64::from(got) == want || (!exact(terms) && (f64::from(got) - want).abs() <= 4e-6 * terms)
                };
                let all = got.iter().zip(&want.value).zip(&want.terms);
                let wrong = all.enumerate().find(|&(_, ((&got, &want), &terms))| !near(got, want, terms));
                assert_eq!(wrong, None, "{sizes:?}, {rows} rows: {name} on {gpu}");
            }
        }
    }
    let layers = Layers::new(&[4, 32, 32, 3], Activation::RELU).unwrap();
    for gpu in some.into_iter().filter(|gpu| there(gpu).is_some()) {
        let plan = plan(gpu, layers, 4000, Float::F32);
        assert!(plan.dispatches.len() > 2, "several rounds of scratch memory: {plan}");
    }
}

/// Points of four rows and of eight, operators of every kind, α of every kind, around a block of rows. A product rounds both of its factors, and there are six of
/// them in a row: three layers there and back.
#[test]
fn jets() {
    let mut numbers = Numbers::new(159);
    let activations = [Activation::TANH, "swish".parse().unwrap(), "prelu".parse().unwrap(), Activation::GELU_ERF];
    for (i, jet) in network_jets::jets().into_iter().enumerate() {
        for j in [i % 2, 2 + i / 3] {
            let (activation, Device { gpu, there }) = (activations[j], &Device::all()[(i + j) % 4]);
            let alpha = if activation.has_alpha() {
                [AlphaSource::PerChannel, AlphaSource::PerLayer][i / 2 % 2]
            } else {
                AlphaSource::Constant
            };
            let sizes: &[usize] = [&[3, 20, 20, 20, 5][..], &[4, 32, 3], &[20, 17, 17, 20]][(i + j) % 3];
            let rows = [3, 8, 11, 21][(i + 2 * j) % 4] * jet.members() + 8;
            let (jet, gap) = (Some(jet.even_if_flat()), i % 2 * 3);
            let output = if i == 0 { Activation::SILU } else { Activation::IDENTITY };
            let case = Case { alpha, jet, gap, output, ..Case::new(sizes, activation, rows) };
            let host = HostNetwork::random(sizes, activation, alpha, &mut numbers);
            let ran = case.run(gpu, host, &mut numbers, |v| v);
            assert_eq!(ran.on_matrix_units, *there, "{sizes:?}, {rows} rows on {gpu}");
            let what = format!("{sizes:?} {activation} {alpha:?} {output} {jet:?} {rows} rows on {gpu}");
            network_jets::judge(&what, &ran, rows, 2e-5 + 32.0 * gpu.caps().matrix_rounding());
        }
    }
}

/// Small integers through ReLU²: the reference's numbers.
#[test]
fn integers_of_jets_without_tolerance() {
    let mut numbers = Numbers::new(160);
    for (i, Device { gpu, there }) in Device::all().iter().enumerate() {
        let jet = [Jet::two([1.0, -2.0, 3.0]).unwrap(), six()][i % 2];
        let sizes = [3 + i, 17, 2];
        let (activation, rows) = (Activation::RELU_SQUARED, 9 * jet.members());
        let host = HostNetwork::random(&sizes, activation, AlphaSource::Constant, &mut numbers).integers(1.0);
        let case = Case { jet: Some(jet.even_if_flat()), ..Case::new(&sizes, activation, rows) };
        let ran = case.run(gpu, host, &mut numbers, |v| v.round().clamp(-1.0, 1.0));
        assert_eq!(ran.on_matrix_units, *there, "{rows} rows on {gpu}");
        let want = by_reference(&ran, rows);
        for (name, got, want) in [("dx", &ran.dx, &want.dx), ("gradient", &ran.gradient, &want.parameters)] {
            let wrong = got.iter().zip(&want.value).position(|(&got, &want)| f64::from(got) != want);
            assert_eq!(wrong, None, "{jet}: {name} on {gpu}");
        }
    }
}

/// Each gradient alone, added to what is there, and the same bits twice.
#[test]
fn each_gradient_alone_and_added() {
    let mut numbers = Numbers::new(155);
    let sizes = [3, 32, 32, 2];
    for Device { gpu, there } in &Device::all()[1..3] {
        let host = HostNetwork::random(&sizes, "prelu".parse().unwrap(), AlphaSource::PerLayer, &mut numbers);
        let case = Case { alpha: AlphaSource::PerLayer, ..Case::new(&sizes, "prelu".parse().unwrap(), 53) };
        let Ran { host, layers, x, dy, dx, gradient, .. } = case.run(gpu, host, &mut numbers, |v| v);
        let (x_, dy_) = (gpu.upload(&x, &[53, 3]).unwrap(), gpu.upload(&dy, &[53, 2]).unwrap());
        let all = gpu.upload(&host.all(&layers), &[layers.elements()]).unwrap();
        let network = Forward::new(layers, &x_, &all, View::absent(&[53, 2], Float::F32));
        for (of_x, want) in [(true, &dx), (false, &gradient)] {
            for old in [0.0, 0.5] {
                let shape = if of_x { vec![53, 3] } else { vec![want.len()] };
                let to = gpu.upload(&vec![old; want.len()], &shape).unwrap();
                let into = if old == 0.0 { Gradient::overwrite(&to) } else { Gradient::accumulate(&to) };
                let backward = network.backward(&dy_);
                let backward = if of_x { backward.dx(into) } else { backward.gradient(into) };
                let plan = backward.plan(gpu).unwrap();
                assert_eq!(plan.dispatches.len(), if of_x { 1 } else { 2 });
                assert_eq!(plan.dispatches[0].kernel.on_matrix_units(), *there);
                gpu.submit(|encoder| backward.record(gpu, encoder)).unwrap();
                assert!(gpu.download(&to).unwrap().iter().zip(want).all(|(&got, &v)| got == old + v));
            }
        }
    }
}

/// Rows of dy, and columns, whose numbers are 36 orders of magnitude apart, far below what f16 holds: each row of dx and each column of dW is right beside its own size.
#[test]
fn gradients_of_any_size() {
    let mut numbers = Numbers::new(156);
    let sizes = [20, 36, 36, 17];
    let power = |i: usize| f64::powi(10.0, (i % 13) as i32 * 3 - 34) as f32;
    for Device { gpu, .. } in Device::all() {
        let host = HostNetwork::random(&sizes, "leaky_relu".parse().unwrap(), AlphaSource::Constant, &mut numbers);
        let layers = host.layers(AlphaSource::Constant);
        let all = gpu.upload(&host.all(&layers), &[layers.elements()]).unwrap();
        let x: Vec<f32> = (0..50 * 20).map(|_| numbers.normal()).collect();
        let x_ = gpu.upload(&x, &[50, 20]).unwrap();
        let network = Forward::new(layers, &x_, &all, View::absent(&[50, 17], Float::F32));
        let tolerance = 1e-5 + 64.0 * gpu.caps().matrix_rounding();
        for by_row in [true, false] {
            let size = |m: usize, n: usize| power(if by_row { m } else { n });
            let dy: Vec<f32> = (0..50 * 17).map(|i| numbers.normal() * size(i / 17, i % 17)).collect();
            let dy_ = gpu.upload(&dy, &[50, 17]).unwrap();
            let (dx, gradient) = (gpu.zeros(&[50, 20]).unwrap(), gpu.zeros(&[layers.elements()]).unwrap());
            let backward = network.backward(&dy_).dx(&dx).gradient(&gradient);
            gpu.submit(|encoder| backward.record(gpu, encoder)).unwrap();
            let want = cpu::reference::network_backward(&layers, 50, &x, &host.all(&layers), &dy).unwrap();
            let (dx, gradient) = (gpu.download(&dx).unwrap(), gpu.download(&gradient).unwrap());
            let close = |what: &str, got: f32, want: f64, size: f64| {
                let right = (f64::from(got) - want).abs() <= tolerance * size + 1e-37;
                assert!(right, "{what} is {got:e}, expected {want:e}, of the size {size:e} on {gpu}");
            };
            if by_row {
                for (i, (&got, &want)) in dx.iter().zip(&want.dx.value).enumerate() {
                    close(&format!("dx[{}, {}]", i / 20, i % 20), got, want, 10.0 * f64::from(power(i / 20)));
                }
            } else {
                let place = layers.place(2);
                for n in 0..17 {
                    for k in 0..36 {
                        let at = place.w + n * 36 + k;
                        let size = want.parameters.terms[at] + 10.0 * f64::from(power(n));
                        close(&format!("dW[{n}, {k}]"), gradient[at], want.parameters.value[at], size);
                    }
                }
            }
        }
    }
}

/// NaN and infinities stay in their rows of dx and in their columns of the last gradients; where ReLU is flat nothing passes but NaN; what is beside a layer
/// and past the last row touches nothing. Where rows are split, what meets an infinity is NaN.
#[test]
fn what_is_no_number_goes_where_it_should() {
    let mut numbers = Numbers::new(157);
    for Device { gpu, there } in Device::all() {
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
        let split = *there && gpu.caps().matrix_units == MatrixUnits::Split;
        let rounding = 1e-4 + 32.0 * gpu.caps().matrix_rounding();
        let (dx, gradient) = (gpu.download(&dx).unwrap(), gpu.download(&gradient).unwrap());
        for (m, row) in dx.chunks(3).enumerate() {
            // ∞ in x makes NaN of every z where it is split.
            let spoilt = split && !x[m * 3..][..3].iter().chain(&dy[m * 2..][..2]).all(|v| v.is_finite());
            for (k, &got) in row.iter().enumerate() {
                let (want, terms) = (want.dx.value[m * 3 + k], want.dx.terms[m * 3 + k]);
                let right = match want.is_finite() {
                    _ if spoilt => got.is_nan(),
                    true => (f64::from(got) - want).abs() <= rounding * (terms + 1.0),
                    false => got.is_nan() == want.is_nan() && (want.is_nan() || f64::from(got) == want),
                };
                assert!(right, "dx[{m}, {k}] is {got}, expected {want} on {gpu}");
            }
        }
        for (at, &got) in gradient.iter().enumerate() {
            let (want, terms) = (want.parameters.value[at], want.parameters.terms[at]);
            let right = match want.is_finite() {
                true if split => !got.is_finite() || (f64::from(got) - want).abs() <= rounding * (terms + 1.0),
                true => (f64::from(got) - want).abs() <= rounding * (terms + 1.0),
                false if split => !got.is_finite(),
                false => got.is_nan() == want.is_nan() && (want.is_nan() || f64::from(got) == want),
            };
            assert!(right, "gradient[{at}] is {got}, expected {want} on {gpu}");
        }
        assert!(dx.iter().filter(|v| !v.is_finite()).count() <= 15, "{dx:?}");
    }
}

/// An infinite last row, which stands for those past the edge, is counted once: 0 times infinity would be NaN.
#[test]
fn rows_past_the_last_add_nothing() {
    for Device { gpu, .. } in Device::all().iter().filter(|d| d.gpu.caps().matrix_units == MatrixUnits::Rounded) {
        let layers = Layers::new(&[17, 1], Activation::RELU).unwrap();
        let mut x = vec![1.0; 18 * 17];
        x[17 * 17..].fill(f32::INFINITY);
        let x = gpu.upload(&x, &[18, 17]).unwrap();
        let (dy, ones) = (gpu.upload(&[1.0; 18], &[18, 1]).unwrap(), vec![1.0; layers.elements()]);
        let parameters = gpu.upload(&ones, &[ones.len()]).unwrap();
        let gradient = gpu.zeros(&[layers.elements()]).unwrap();
        let network = Forward::new(layers, &x, &parameters, View::absent(&[18, 1], Float::F32));
        gpu.submit(|encoder| network.backward(&dy).gradient(&gradient).record(gpu, encoder)).unwrap();
        let gradient = gpu.download(&gradient).unwrap();
        assert_eq!((gradient[0], gradient[layers.place(0).b]), (f32::INFINITY, 18.0));
    }
}

/// A training step of an [`Mlp`](elbow::Mlp) of 64 columns takes the two dispatches on matrix units where a GPU has them, and goes layer by layer where it has none.
#[test]
fn training_of_an_mlp() {
    let mut numbers = Numbers::new(158);
    for units in [MatrixUnits::Off, MatrixUnits::Rounded, MatrixUnits::Split] {
        let gpu = opened(units, Some(DeviceClass::Discrete));
        let mut choices = gpu.choices();
        choices.set_workgroups(1);
        gpu.set_choices(choices);
        // Wide for ordinary lanes.
        let hidden = if units == MatrixUnits::Off { 64 } else { most_columns(&gpu) };
        let sizes = [3, hidden, hidden, 2];
        let host = HostNetwork::random(&sizes, Activation::TANH, AlphaSource::Constant, &mut numbers);
        let architecture = Architecture::new(&sizes, Activation::TANH, 600);
        let optimiser = Optimiser::new(Rule::Sgd, Rates::sgd(0.0));
        let architecture = architecture.objective(Criterion::SquaredError).optimiser(optimiser);
        let mlp = host.on_the_device(&gpu, &architecture);
        let x = gpu.zeros(&[600, 3]).unwrap();
        let plans = mlp.backward_plans(&gpu, x.view()).unwrap();
        let whole = units != MatrixUnits::Off && there(&gpu).is_some();
        assert_eq!(plans.len(), if whole { 1 } else { 3 }, "{plans:?}");
        assert!(!whole || plans[0].dispatches[0].kernel.on_matrix_units());
    }
}
