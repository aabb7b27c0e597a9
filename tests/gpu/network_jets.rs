//! Gradients of whole networks of jets in two dispatches against the f64 reference: every activation, groups of four rows and of eight, operators of
//! every kind, α of every kind; integers without tolerance, beside layer by layer; the texts of GPUs too; training of an `Mlp`.

use std::sync::OnceLock;

use elbow::{
    Activation, AlphaSource, DeviceClass, Float, Gpu, Gradient, Jet, View,
    cpu::{self, reference::NetworkGradients},
    mlp::{Architecture, Mlp},
    network::{Forward, Layers},
};
use elbow_verify::points;

use crate::{
    common::{Numbers, as_a_gpu, each, gpu},
    network::six,
    network_backward::{Case, Ran, with_little_memory},
    whole::HostNetwork,
};

fn two(coefficients: [f32; 3]) -> Jet {
    Jet::two(coefficients).unwrap()
}

/// Of sums in f32.
const SHARE: f64 = 2e-5;

/// With a mixed term and without, of all tangents and of few, of first order.
pub fn jets() -> [Jet; 6] {
    let first_order = Jet::six([[0.0; 6]; 6]).unwrap();
    [two([1.0, 0.5, -2.0]), six(), two([0.0, 0.0, 1.0]), first_order, two([0.0; 3]), Jet::laplacian(3).unwrap()]
}

pub fn by_reference(ran: &Ran, rows: usize) -> NetworkGradients {
    cpu::reference::network_backward(&ran.layers, rows, &ran.x, &ran.host.all(&ran.layers), &ran.dy).unwrap()
}

/// Where each w, b and α begins and ends.
fn parts(layers: &Layers) -> Vec<std::ops::Range<usize>> {
    let of_layer = |l: usize| {
        let (place, [n, k]) = (layers.place(l), layers.shape(l));
        let alphas = if layers.alpha == AlphaSource::PerLayer { 1 } else { n };
        [Some((place.w, n * k)), Some((place.b, n)), place.alpha.map(|at| (at, alphas))]
    };
    (0..layers.count).flat_map(of_layer).flatten().map(|(at, length)| at..at + length).collect()
}

/// dx by what its row is of a point and the gradients by parts: within a share of the largest sum of terms there. 0 between two parts.
pub fn judge(what: &str, ran: &Ran, rows: usize, share: f64) {
    let Ran { layers, dx, gradient, .. } = ran;
    let want = by_reference(ran, rows);
    let members = layers.jet.unwrap().members();
    let close = |what: &str, got: f32, want: f64, largest: f64| {
        let bound = share * largest.max(1e-3);
        assert!((f64::from(got) - want).abs() <= bound, "{what} is {got}, expected {want} ± {bound:e}");
    };
    for member in 0..members {
        let of_member = (0..dx.len()).filter(|i| i / layers.inputs % members == member);
        let largest = of_member.clone().map(|i| want.dx.terms[i]).fold(0.0, f64::max);
        of_member.for_each(|i| close(&format!("{what}: dx[{i}], row {member}"), dx[i], want.dx.value[i], largest));
    }
    let mut beside = vec![true; gradient.len()];
    for part in parts(layers) {
        let largest = want.parameters.terms[part.clone()].iter().copied().fold(0.0, f64::max);
        for i in part {
            close(&format!("{what}: gradient[{i}]"), gradient[i], want.parameters.value[i], largest);
            beside[i] = false;
        }
    }
    assert!(beside.iter().zip(gradient).all(|(beside, &v)| !beside || v == 0.0), "{what}: between two parts");
}

/// Each between the layers or, where it has no α, at the end of another's network.
#[test]
fn every_activation() {
    let mut numbers = Numbers::new(141);
    let (learn, constant): (Vec<_>, Vec<_>) = points::defaults().into_iter().partition(|act| act.has_alpha());
    let (hidden, last) = constant.split_at(constant.len() / 2);
    // Those with α with each kind of jets.
    let cases: Vec<(Activation, usize)> =
        learn.iter().flat_map(|&act| [(act, 0), (act, 1)]).chain(hidden.iter().map(|&act| (act, 0))).collect();
    for (i, (activation, more)) in each(cases) {
        let gpu = if i % 8 == 5 { as_a_gpu() } else { gpu() };
        let learnable = [AlphaSource::PerLayer, AlphaSource::PerChannel, AlphaSource::Constant][(i / 2 + more) % 3];
        let alpha = if activation.has_alpha() { learnable } else { AlphaSource::Constant };
        let jet = jets()[(i / 2 * 2 + i) % 6].even_if_flat();
        let output = last.get(i).copied().unwrap_or(Activation::IDENTITY);
        let sizes: &[usize] = if i % 3 == 0 { &[5, 18, 18, 3] } else { &[4, 12, 12, 4] };
        let rows = 11 * jet.members();
        let case = Case { alpha, output, jet: Some(jet), gap: i % 2 * 3, ..Case::new(sizes, activation, rows) };
        let host = HostNetwork::random(sizes, activation, alpha, &mut numbers);
        let ran = case.run(gpu, host, &mut numbers, |v| v);
        judge(&format!("{sizes:?} {activation} {alpha:?} {output} jet {jet}"), &ran, rows, SHARE);
    }
    assert!(last.len() <= 2 * learn.len() + hidden.len());
}

/// An exact network on the device with gradients for w and b, layer by layer or not; the other α, if there is one.
fn gradients_of_an_mlp(gpu: &Gpu, mlp: &Mlp, ran: &Ran, rows: usize) -> Vec<f32> {
    let layers = &ran.layers;
    let x = gpu.upload(&ran.x, &[rows, layers.inputs]).unwrap();
    gpu.write(mlp.dz(layers.count - 1).unwrap(), &ran.dy).unwrap();
    gpu.submit_pass(|pass| {
        mlp.forward_for_backward(gpu, &mut *pass, x.view())?;
        mlp.backward(gpu, pass, x.view())
    })
    .unwrap();
    let mut all = vec![0.0; layers.elements()];
    for l in 0..layers.count {
        let (place, gradients) = (layers.place(l), mlp.gradients(l).unwrap());
        let of_alpha = place.alpha.zip(gradients.alpha);
        for (at, view) in [(place.w, gradients.w), (place.b, gradients.b)].into_iter().chain(of_alpha) {
            let part = gpu.download(view).unwrap();
            all[at..at + part.len()].copy_from_slice(&part);
        }
    }
    all
}

/// Small integers through ReLU² and ReLU: the reference's numbers and those of layer by layer, whatever rounds and workgroups add up.
#[test]
fn integers_without_tolerance() {
    static LITTLE: OnceLock<[Gpu; 2]> = OnceLock::new();
    let little = LITTLE.get_or_init(|| [DeviceClass::Software, DeviceClass::Discrete].map(with_little_memory));
    let mut numbers = Numbers::new(142);
    let (four, relu, squared) = (two([1.0, -2.0, 3.0]), Activation::RELU, Activation::RELU_SQUARED);
    let cases: [(&Gpu, &[usize], Activation, Jet, usize); 10] = [
        (gpu(), &[2, 9, 3], squared, four, 70),
        (as_a_gpu(), &[4, 20, 8], squared, four, 21),
        (gpu(), &[3, 9, 3], squared, six(), 33),
        (as_a_gpu(), &[4, 20, 8], squared, six(), 35),
        // Four parts of dW, with 8 inputs at a time; one layer alone.
        (gpu(), &[3, 65, 5], squared, six(), 9),
        (gpu(), &[2, 100, 2], squared, four, 9),
        (gpu(), &[7, 5], squared, six(), 19),
        // Several layers, and several rounds of scratch memory.
        (&little[0], &[3, 24, 24, 2], relu, six(), 700),
        (&little[1], &[3, 32, 32, 2], relu, four, 1400),
        (as_a_gpu(), &[3, 17, 17, 17, 2], relu, six(), 13),
    ];
    for (gpu, sizes, activation, jet, count) in cases {
        let host = HostNetwork::random(sizes, activation, AlphaSource::Constant, &mut numbers).integers(1.0);
        let rows = count * jet.members();
        let case = Case { jet: Some(jet.even_if_flat()), ..Case::new(sizes, activation, rows) };
        let ran = case.run(gpu, host, &mut numbers, |v| v.round().clamp(-2.0, 2.0));
        let want = by_reference(&ran, rows);
        assert!(want.parameters.terms.iter().chain(&want.dx.terms).all(|&terms| terms < 16_777_216.0), "{sizes:?}");
        for (name, got, want) in [("dx", &ran.dx, &want.dx), ("gradient", &ran.gradient, &want.parameters)] {
            let wrong = got.iter().zip(&want.value).position(|(&got, &want)| f64::from(got) != want);
            assert_eq!(wrong, None, "{sizes:?}, {jet}: {name}");
        }
        if rows < 1000 {
            let mlp = ran.host.on_the_device(gpu, &Architecture::new(sizes, activation, rows).jet(case.jet));
            let x = View::absent(&[rows, sizes[0]], Float::F32);
            let at_once = gpu.caps().class != DeviceClass::Software;
            let plans = if at_once { 1 } else { sizes.len() - 1 };
            assert_eq!(mlp.backward_plans(gpu, x).unwrap().len(), plans, "{sizes:?}");
            assert!(gradients_of_an_mlp(gpu, &mlp, &ran, rows) == ran.gradient, "{sizes:?}, {jet}: an Mlp");
        }
    }
}

/// Each gradient alone, added to what is there: the same bits.
#[test]
fn each_gradient_alone_and_added() {
    let mut numbers = Numbers::new(143);
    for (gpu, jet) in [(gpu(), six()), (as_a_gpu(), two([1.0, 0.0, 0.0]))] {
        let (sizes, activation, rows) = ([3, 32, 32, 2], "swish".parse().unwrap(), 13 * jet.members());
        let alpha = AlphaSource::PerLayer;
        let host = HostNetwork::random(&sizes, activation, alpha, &mut numbers);
        let case = Case { alpha, jet: Some(jet), ..Case::new(&sizes, activation, rows) };
        let ran = case.run(gpu, host, &mut numbers, |v| v);
        let (x, dy) = (gpu.upload(&ran.x, &[rows, 3]).unwrap(), gpu.upload(&ran.dy, &[rows, 2]).unwrap());
        let all = gpu.upload(&ran.host.all(&ran.layers), &[ran.layers.elements()]).unwrap();
        let backward = Forward::new(ran.layers, &x, &all, View::absent(&[rows, 2], Float::F32)).backward(&dy);
        let dx = gpu.upload(&vec![0.5; rows * 3], &[rows, 3]).unwrap();
        let gradient = gpu.upload(&vec![0.5; ran.gradient.len()], &[ran.gradient.len()]).unwrap();
        let alone = [backward.dx(Gradient::accumulate(&dx)), backward.gradient(Gradient::accumulate(&gradient))];
        for (backward, dispatches) in alone.into_iter().zip([1, 2]) {
            assert_eq!(backward.plan(gpu).unwrap().dispatches.len(), dispatches);
            gpu.submit(|encoder| backward.record(gpu, encoder)).unwrap();
        }
        for (name, to, want) in [("dx", &dx, &ran.dx), ("gradient", &gradient, &ran.gradient)] {
            let wrong = gpu.download(to).unwrap().iter().zip(want).position(|(&got, &v)| got != 0.5 + v);
            assert_eq!(wrong, None, "{name} {jet}");
        }
    }
}

/// An infinite last point, whose rows stand for those past the edge, is counted once: 0 times infinity would be NaN.
#[test]
fn rows_past_the_last_add_nothing() {
    for gpu in [gpu(), as_a_gpu()] {
        for jet in [two([0.0; 3]), Jet::six([[0.0; 6]; 6]).unwrap()] {
            let layers = Layers::new(&[1, 1], Activation::IDENTITY).unwrap().output(Activation::RELU);
            let layers = layers.jet(jet.even_if_flat());
            let rows = 3 * jet.members();
            let mut x = vec![1.0; rows];
            (x[rows - jet.members()], x[rows - 1]) = (f32::INFINITY, f32::INFINITY);
            let (x_, dy) = (gpu.upload(&x, &[rows, 1]).unwrap(), gpu.upload(&vec![1.0; rows], &[rows, 1]).unwrap());
            let parameters = gpu.upload(&vec![1.0; layers.elements()], &[layers.elements()]).unwrap();
            let gradient = gpu.zeros(&[layers.elements()]).unwrap();
            let network = Forward::new(layers, &x_, &parameters, View::absent(&[rows, 1], Float::F32));
            gpu.submit(|encoder| network.backward(&dy).gradient(&gradient).record(gpu, encoder)).unwrap();
            let gradient = gpu.download(&gradient).unwrap();
            assert_eq!((gradient[0], gradient[layers.place(0).b]), (f32::INFINITY, 3.0), "{jet}");
            // y of the rows past the edge is infinite here by a bias, which they have too.
            let layers = Layers::new(&[1, 1, 1], Activation::RELU).unwrap().jet(layers.jet);
            let (mut all, x) = (vec![1.0; layers.elements()], vec![1.0; rows]);
            all[layers.place(0).b] = f32::INFINITY;
            let parameters = gpu.upload(&all, &[all.len()]).unwrap();
            let (x, gradient) = (gpu.upload(&x, &[rows, 1]).unwrap(), gpu.zeros(&[all.len()]).unwrap());
            let network = Forward::new(layers, &x, &parameters, View::absent(&[rows, 1], Float::F32));
            gpu.submit(|encoder| network.backward(&dy).gradient(&gradient).record(gpu, encoder)).unwrap();
            let gradient = gpu.download(&gradient).unwrap();
            let [hidden, last] = [0, 1].map(|l| layers.place(l));
            let got = [gradient[hidden.w], gradient[hidden.b], gradient[last.w], gradient[last.b]];
            assert_eq!(got, [rows as f32, 3.0, f32::INFINITY, 3.0], "{jet}");
        }
    }
}
