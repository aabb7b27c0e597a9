//! Double backward: every kind of kernel by integers, every activation by its bounds, batches, what is read and what is refused.

use elbow::{
    Activation, Checks, Error, Float, Gpu, Jet, Operand, Saved, Tensor, View,
    affine::{DoubleBackward, Forward, Gradient},
    plan::{Form, TILES},
};
use elbow_verify::{Numbers, Spec, points};

use crate::{
    common::{as_a_gpu, checks, full, gpu, passes},
    large::narrow,
};

fn spec(text: &str) -> Spec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a double backward can have: ddx/ddw/ddb/ddalpha/ddresidual/ddy/dx2/dw2/db2/dalpha2/dresidual2.
const ASKED: [&str; 6] = [
    "activation=relu_squared saved=z second=yes/yes/yes/no/no/set/set/set/set/no/no",
    "activation=relu_squared saved=none layout=in_out residual=before second=yes/yes/no/no/yes/add/add/add/add/no/set",
    "activation=prelu alpha=channel saved=z second=yes/no/yes/yes/no/set/set/set/set/set/no dtype=bf16 gap=4",
    "activation=prelu alpha=layer saved=none bias=no second=no/yes/no/yes/no/add/set/add/add/add/no",
    "activation=relu saved=mask second=yes/yes/no/no/no/set/set/set/set/no/no layout=in_out",
    "activation=identity residual=before second=yes/yes/yes/no/yes/set/add/set/set/no/add gap=1",
];

/// One of them on a tile, by integers, at sizes around its edges.
fn exact(gpu: &Gpu, tile: usize, asked: usize) {
    if !TILES[tile].fits(&gpu.caps(), Form::Nt) {
        return;
    }
    let (splits, asked) = ([1, 3][asked % 2], ASKED[asked]);
    let text = format!("m=1 n=1 k=1 dx=no dw=no db=no {asked} tile={tile} splits={splits} data=integers seed={tile}");
    let spec = Spec { misalign: tile % 2, ..spec(&text) };
    let sizes = [[1, 1, 1], [2, 5, 3], [7, 33, 36], [36, 8, 16], [65, 64, 68]];
    passes(gpu, &sizes.map(|[m, n, k]| spec.sized(m, n, k)));
}

/// Of a software adapter: direct, broadcast, and few rows.
#[test]
fn integers_in_every_kind_of_product() {
    let tiles: &[usize] = if full() { &[0, 1, 2, 3, 4, 8, 9, 10, 11, 12] } else { &[0, 8, 3] };
    for (i, &tile) in tiles.iter().enumerate() {
        (0..ASKED.len()).filter(|j| full() || (i + j) % 3 == 0).for_each(|asked| exact(gpu(), tile, asked));
    }
}

/// Of a GPU: products that load ahead, in slices, and along the reduction.
#[test]
fn integers_in_the_products_of_a_gpu() {
    let gpu = as_a_gpu();
    if full() {
        [0, 1, 5, 6, 7, 11, 13, 14, 15, 16, 17]
            .iter()
            .for_each(|&tile| (0..ASKED.len()).for_each(|j| exact(gpu, tile, j)));
        return;
    }
    exact(gpu, 5, 0);
    if checks() == Checks::Trusted {
        exact(gpu, 11, 1);
        exact(gpu, 17, 2);
    }
}

#[test]
fn every_activation() {
    let mut specs = Vec::new();
    for (seed, activation) in (0..).zip(points::defaults()) {
        let [alpha, there, want] =
            if activation.has_alpha() { [" alpha=channel", "yes", "set"] } else { ["", "no", "no"] };
        for (i, (data, saved)) in [("normal", "z"), ("lognormal", "none")].into_iter().enumerate() {
            if !full() && i != seed as usize % 2 {
                continue;
            }
            let second = format!("second=yes/yes/yes/{there}/no/set/set/set/set/{want}/no");
            let text =
                format!("m=1 n=1 k=1 activation=relu saved={saved} dx=no dw=no db=no data={data}{alpha} {second}");
            let mut spec = Spec { seed, ..spec(&text.replace("activation=relu", "activation=prelu")) };
            spec.forward.activation = activation;
            specs.push(spec.sized(19, 12, 20));
        }
    }
    assert!(specs.iter().any(|spec| spec.forward.activation == Activation::TANH));
    passes(gpu(), &specs);
}

/// Two products that are one elsewhere are added one after the other, and the pass between them is cut by rows.
#[test]
fn operands_longer_than_a_binding() {
    let gpu = narrow(32 << 10);
    let specs = [[300, 40, 44], [200, 60, 50], [500, 20, 33]].map(|[m, n, k]| {
        let asked = ASKED[m % 7 % 4].replace(" gap=4", "");
        let text = format!("m=1 n=1 k=1 dx=no dw=no db=no {asked} tile=3 data=integers misalign=1");
        spec(&text).sized(m, n, k)
    });
    passes(&gpu, &specs);
}

/// Numbers in a tensor, the same for the same shape and seed.
fn some(shape: &[usize], seed: u64) -> Tensor {
    let mut numbers = Numbers::new(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_: usize| numbers.normal()).collect();
    gpu().upload(&values, shape).unwrap()
}

#[test]
fn a_batch_is_each_of_its_layers() {
    let (gpu, e, m, n, k) = (gpu(), 3, 5, 4, 8);
    let shapes: [&[usize]; 10] =
        [&[e, m, k], &[e, n, k], &[e, n], &[e, n], &[e, m, n], &[e, m, k], &[e, n, k], &[e, n], &[e, n], &[e, m, n]];
    let inputs: Vec<Tensor> = (0..).zip(shapes).map(|(seed, shape)| some(shape, seed)).collect();
    let outputs = || [4, 0, 1, 2, 3].map(|like| gpu.zeros(shapes[like]).unwrap());
    let run = |layer: Option<usize>, outputs: &[Tensor; 5]| {
        let shape = |shape: &[usize]| if layer.is_some() { shape[1..].to_vec() } else { shape.to_vec() };
        let layers = layer.map_or(0..e, |layer| layer..layer + 1);
        let shaped = |i: usize| inputs[i].view().slice(0, layers.clone()).unwrap().reshaped(&shape(shapes[i])).unwrap();
        let output = |i: usize, like: usize| {
            outputs[i].view().slice(0, layers.clone()).unwrap().reshaped(&shape(shapes[like])).unwrap()
        };
        let y = View::absent(&shape(shapes[4]), Float::F32);
        let forward =
            Forward::new(Activation::swish(1.0).unwrap(), shaped(0), shaped(1), y).b(shaped(2)).alpha(shaped(3));
        let second = forward.double_backward(shaped(4)).ddx(shaped(5)).ddw(shaped(6)).ddb(shaped(7)).ddalpha(shaped(8));
        let second =
            second.ddy(output(0, 4)).dx2(output(1, 0)).dw2(output(2, 1)).db2(output(3, 2)).dalpha2(output(4, 3));
        gpu.submit(|encoder| second.record(gpu, encoder)).unwrap();
    };
    let (together, alone) = (outputs(), outputs());
    run(None, &together);
    (0..e).for_each(|layer| run(Some(layer), &alone));
    for (together, alone) in together.iter().zip(&alone) {
        let together = gpu.download(together).unwrap();
        assert_eq!(together, gpu.download(alone).unwrap());
        assert!(together.iter().all(|v| *v != 0.0 && v.is_finite()), "{together:?}");
    }
}

/// What a call does not read may be gone, and changes no bit; what it reads is an error by name.
#[test]
fn what_it_does_not_read_may_be_gone() {
    let gpu = gpu();
    let like = |shape: &[usize]| gpu.zeros(shape).unwrap();
    let (x, w, b, y, dy) = (some(&[5, 3], 0), some(&[4, 3], 1), some(&[4], 2), like(&[5, 4]), some(&[5, 4], 3));
    let (z, alpha) = (some(&[5, 4], 4), some(&[4], 5));
    let (ddx, ddw, ddb, ddalpha) = (some(&[5, 3], 6), some(&[4, 3], 7), some(&[4], 8), some(&[4], 9));
    let held: [(Operand, &Tensor); 10] = [
        (Operand::X, &x),
        (Operand::W, &w),
        (Operand::B, &b),
        (Operand::Saved, &z),
        (Operand::Alpha, &alpha),
        (Operand::Dy, &dy),
        (Operand::Ddx, &ddx),
        (Operand::Ddw, &ddw),
        (Operand::Ddb, &ddb),
        (Operand::Ddalpha, &ddalpha),
    ];
    let results: [Tensor; 5] = [&[5, 4][..], &[5, 3], &[4, 3], &[4], &[4]].map(like);
    let (mut same, mut refused) = (0, 0);
    for (name, saved) in
        [("relu", Saved::Z), ("prelu", Saved::Z), ("tanh", Saved::Z), ("swish", Saved::None), ("identity", Saved::None)]
    {
        let activation: Activation = name.parse().unwrap();
        let learns = activation.has_alpha();
        for there in 0..16usize {
            for wanted in 0..5 {
                let has = |bit: usize| there >> bit & 1 == 1;
                if (wanted == 4 || has(3)) && !learns {
                    continue;
                }
                let call = |gone: &[Operand]| {
                    let view = |operand: Operand| {
                        let tensor = held.iter().find(|(held, _)| *held == operand).map(|(_, tensor)| *tensor).unwrap();
                        if gone.contains(&operand) {
                            View::absent(tensor.shape(), tensor.dtype())
                        } else {
                            tensor.view()
                        }
                    };
                    let layer = Forward::new(
                        activation,
                        view(Operand::X),
                        view(Operand::W),
                        View::absent(y.shape(), y.dtype()),
                    )
                    .b(view(Operand::B))
                    .alpha(learns.then(|| view(Operand::Alpha)))
                    .saved(saved)
                    .save_to((saved == Saved::Z).then(|| view(Operand::Saved)));
                    let gradient = |i: usize| (wanted == i).then(|| Gradient::overwrite(&results[i]));
                    let second = layer
                        .double_backward(view(Operand::Dy))
                        .ddx(has(0).then(|| view(Operand::Ddx)))
                        .ddw(has(1).then(|| view(Operand::Ddw)))
                        .ddb(has(2).then(|| view(Operand::Ddb)))
                        .ddalpha(has(3).then(|| view(Operand::Ddalpha)))
                        .ddy(gradient(0))
                        .dx2(gradient(1))
                        .dw2(gradient(2))
                        .db2(gradient(3))
                        .dalpha2(gradient(4));
                    gpu.write(&results[wanted], &vec![7.0f32; results[wanted].elements()]).unwrap();
                    gpu.submit(|encoder| second.record(gpu, encoder))?;
                    let reads = second.request()?.resolve()?;
                    Ok((gpu.download(&results[wanted])?, reads))
                };
                let result: elbow::Result<_> = call(&[]);
                let (expected, request) = result.unwrap();
                let (read, unread): (Vec<Operand>, Vec<Operand>) =
                    held.iter().map(|(operand, _)| *operand).partition(|operand| request.reads(*operand));
                assert_eq!(call(&unread).unwrap().0, expected, "{name} {there} {wanted}: without {unread:?}");
                same += unread.len();
                for operand in read {
                    let result = call(&[operand]);
                    let named = matches!(&result, Err(Error::Operand { operand: named, .. }) if *named == operand);
                    assert!(named, "{name} {there} {wanted}: without {operand}: {result:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(same > 500 && refused > 500, "{same} {refused}");
}

#[test]
fn mistakes_are_named() {
    let gpu = gpu();
    let (x, w, y, z) = (some(&[4, 3], 0), some(&[4, 3], 1), some(&[4, 4], 2), some(&[4, 4], 3));
    let (one, ddx, alpha) = (some(&[4], 4), some(&[4, 3], 5), some(&[4], 6));
    let layer = Forward::new(Activation::TANH, &x, &w, &y).saved(Saved::Z).save_to(&z);
    let prelu = layer.activation("prelu".parse().unwrap()).alpha(&alpha);
    let says = |call: DoubleBackward<'_>, words: &[&str]| {
        let error = gpu.submit(|encoder| call.record(gpu, encoder)).expect_err("a mistake").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: expected {words:?}");
    };
    fn of<'a>(layer: &Forward<'a>, dy: &'a Tensor, ddx: &'a Tensor) -> DoubleBackward<'a> {
        layer.double_backward(dy).ddx(ddx)
    }
    says(layer.double_backward(&one).ddx(&ddx), &["dy", "[.., 4] with 4 rows", "[4]"]);
    says(layer.double_backward(&y).ddx(&y), &["ddx", "[.., 3] with 4 rows", "[4, 4]"]);
    says(layer.double_backward(&y).ddw(&y), &["ddw", "[4, 3]", "[4, 4]"]);
    says(of(&layer, &y, &ddx).dw2(&y), &["dw2", "[4, 3]", "[4, 4]"]);
    says(of(&layer, &y, &ddx).ddalpha(&one), &["ddalpha", "no alpha operand"]);
    says(of(&layer, &y, &ddx).dalpha2(&one), &["dalpha2", "no alpha operand"]);
    says(of(&prelu, &y, &ddx).ddalpha(&y), &["ddalpha", "[4]", "[4, 4]"]);
    says(of(&layer, &y, &ddx).ddresidual(&y), &["ddresidual", "no residual before the activation"]);
    says(of(&layer.residual(&z), &y, &ddx).dresidual2(&y), &["dresidual2", "no residual before the activation", "ddy"]);
    says(of(&layer.row_weight(&one), &y, &ddx).dw2(&w), &["row weight", "multiply dy and ddy"]);
    says(of(&layer.jet(Jet::laplacian(2).unwrap()), &y, &ddx).dw2(&w), &["jets"]);
    says(of(&layer.saved(Saved::Y).save_to(None), &y, &ddx).dx2(&x), &["tanh", "y"]);
    says(of(&layer, &y, &ddx).dx2(&ddx), &["dx2", "ddx", "overlap"]);
    says(of(&layer, &y, &ddx).ddy(&z), &["ddy", "overlap"]);
    // ReLU does not bend: y is enough, and what is not read may be what it likes.
    let relu = layer.activation(Activation::RELU).saved(Saved::Y).save_to(None);
    gpu.submit(|encoder| of(&relu, &y, &ddx).dw2(&w).record(gpu, encoder)).unwrap();
}
