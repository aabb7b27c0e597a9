//! A layer is stated once: what forward decided is what backward reads. A type is always named, and a call that reads
//! another refuses it.

use elbow::{
    Activation, Dtype, Error, Float, Gpu, Gradient, Operand, Saved, Tensor, View, WeightLayout,
    activation::rows,
    affine::{Backward, Forward},
    elementwise,
    plan::Pin,
    train::SoftmaxCrossEntropy,
    wgpu,
};

use crate::common::{Numbers, gpu};

fn pin() -> Pin {
    Pin::default().strategy(elbow::Strategy::TwoPass).tile(3).splits(1)
}

fn one(value: f32) -> Tensor {
    gpu().upload(&[value], &[1, 1]).unwrap()
}

/// y of a layer of one element each, and its dx for dy = 1.
fn y_and_dx(layer: &Forward<'_>, y: &Tensor) -> (f32, f32) {
    let gpu = gpu();
    let (dx, dy) = (one(f32::NAN), one(1.0));
    let kept = layer.saved_shape().unwrap().map(|(shape, dtype)| gpu.zeros_of(dtype, &shape).unwrap());
    let layer = layer.save_to(kept.as_ref().map(Tensor::view)).pin(pin());
    gpu.submit_pass(|pass| {
        layer.record(gpu, &mut *pass)?;
        layer.backward(&dy).dx(&dx).record(gpu, &mut *pass)
    })
    .unwrap();
    (gpu.download(y).unwrap()[0], gpu.download(&dx).unwrap()[0])
}

/// Softplus saves y where nothing is added to it: with a residual left out of backward the slope would be that of y + r.
#[test]
fn a_residual_is_not_forgotten() {
    let (x, w, residual, y) = (one(0.425), one(1.5), one(0.08), one(f32::NAN));
    let softplus: Activation = "softplus".parse().unwrap();
    let layer = Forward::new(softplus, &x, &w, &y).saved(Saved::Auto);
    assert_eq!(layer.saved_shape().unwrap(), None, "y is enough");
    let added = layer.residual(residual.view());
    assert_eq!(added.saved_shape().unwrap(), Some((vec![1, 1], Dtype::F32)), "z is needed");
    let z = f64::from(0.425f32 * 1.5);
    let right = (1.5 * softplus.slope(z)) as f32;
    for layer in [layer, added] {
        let (_, dx) = y_and_dx(&layer, &y);
        assert!((dx - right).abs() < 1e-6 && (right - 0.981).abs() < 5e-4, "{dx}, expected {right}");
    }
}

/// PReLU with α = 0.9 on z = -1: with the operand left out the slope would be the activation's own 0.25.
#[test]
fn an_alpha_is_not_forgotten() {
    let (x, w, y) = (one(1.0), one(-1.0), one(f32::NAN));
    let alpha = gpu().upload(&[0.9], &[1]).unwrap();
    for saved in [Saved::Auto, Saved::Z, Saved::None] {
        let layer = Forward::new(Activation::prelu(0.25).unwrap(), &x, &w, &y).alpha(alpha.view()).saved(saved);
        assert_eq!(y_and_dx(&layer, &y), (-0.9, -0.9), "{saved}");
    }
}

/// relu of -1 + 2: with b left out z would be -1 when it is computed again, and its slope 0.
#[test]
fn a_bias_is_not_forgotten() {
    let (x, w, y) = (one(1.0), one(-1.0), one(f32::NAN));
    let b = gpu().upload(&[2.0], &[1]).unwrap();
    for saved in [Saved::None, Saved::Auto, Saved::Mask] {
        let layer = Forward::new(Activation::RELU, &x, &w, &y).b(b.view()).saved(saved);
        assert_eq!(y_and_dx(&layer, &y), (1.0, -1.0), "{saved}");
    }
}

/// 1 in f16 read as f32 would be 0.0078: a buffer has no type until it is named, and a tensor says its own.
#[test]
fn a_view_says_its_type() {
    let gpu = gpu();
    let x = gpu.upload_as(Float::F16, &[1.0, 1.0], &[1, 2]).unwrap();
    let (w, y) = (gpu.upload(&[1.0, 0.0], &[1, 2]).unwrap(), one(f32::NAN));
    for view in [x.view(), x.view_as(&[1, 2]), View::new(x.buffer(), 0, &[1, 2], Dtype::F16)] {
        gpu.submit(|e| Forward::new(Activation::IDENTITY, view, &w, &y).pin(pin()).record(gpu, e)).unwrap();
        assert_eq!(gpu.download(&y).unwrap(), [1.0]);
    }
}

/// Every row, source of α, residual, type and choice: `Auto` is decided once, and `saved_shape` is what `save_to` must be.
#[test]
fn what_forward_decided_is_what_backward_reads() {
    let gpu = gpu();
    let (m, n, k) = (3, 40, 2);
    let dy = gpu.zeros(&[m, n]).unwrap();
    let (dx, w) = (gpu.zeros(&[m, k]).unwrap(), gpu.zeros(&[n, k]).unwrap());
    let (one, each) = (gpu.zeros(&[1]).unwrap(), gpu.zeros(&[n]).unwrap());
    let mut decided = [0; 4];
    for row in rows() {
        let activation = Activation::new(row.kind, &vec![0.5; row.parameters.len()]).unwrap();
        for alpha in [None, Some(&one), Some(&each)] {
            if alpha.is_some() && !activation.has_alpha() {
                continue;
            }
            for (residual, dtype, saved) in [Saved::Auto, Saved::Z, Saved::Y, Saved::Mask, Saved::None]
                .into_iter()
                .flat_map(|saved| Float::ALL.map(|dtype| (dtype, saved)))
                .flat_map(|(dtype, saved)| [false, true].map(|residual| (residual, dtype, saved)))
            {
                let (x, y) = (View::absent(&[3, 2], dtype), View::absent(&[3, 40], dtype));
                let layer = Forward::new(activation, x, &w, y)
                    .saved(saved)
                    .alpha(alpha.map(Tensor::view))
                    .residual(residual.then_some(y));
                let Ok(kept) = layer.saved_shape() else {
                    assert_ne!(saved, Saved::Auto, "{activation} has a choice that is right");
                    continue;
                };
                let layer = layer.save_to(kept.as_ref().map(|(shape, dtype)| View::absent(shape, *dtype)));
                let request = layer.request().unwrap();
                assert!(request.saved == saved || saved == Saved::Auto, "{activation}: {saved}");
                assert_eq!(layer.plan(gpu).unwrap().saved, request.saved);
                let backward = layer.backward(&dy).dx(&dx);
                assert_eq!(backward.request().unwrap().affine.saved, request.saved);
                if !activation.needs_nothing() {
                    assert_eq!(backward.plan(gpu).unwrap().saved, request.saved, "{activation}: {saved}");
                }
                match (request.saved, kept) {
                    (Saved::Z, Some((shape, kept))) => assert_eq!((&shape[..], kept), (&[m, n][..], dtype.into())),
                    (Saved::Mask, Some((shape, kept))) => assert_eq!((&shape[..], kept), (&[m, 2][..], Dtype::U32)),
                    (Saved::Y | Saved::None, None) => {}
                    other => panic!("{activation}: {other:?}"),
                }
                decided[request.saved as usize - 1] += 1;
            }
        }
    }
    assert!(decided.iter().all(|&times| times > 0), "{decided:?}");
}

/// A layer with every operand, and gradients of each.
struct Layer {
    held: Vec<(Operand, Tensor)>,
    gradients: Vec<Tensor>,
}

const HELD: [Operand; 7] =
    [Operand::X, Operand::W, Operand::B, Operand::Alpha, Operand::Residual, Operand::Y, Operand::Saved];
const SHAPES: [&[usize]; 5] = [&[5, 3], &[4, 3], &[4], &[4], &[5, 4]];

impl Layer {
    fn new(saved: Saved) -> Self {
        let mut numbers = Numbers::new(11);
        let mut normal = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| numbers.normal()).collect();
            gpu().upload(&values, shape).unwrap()
        };
        let mut held: Vec<(Operand, Tensor)> = HELD.into_iter().zip(SHAPES).map(|(o, s)| (o, normal(s))).collect();
        held.push((Operand::Y, gpu().zeros(&[5, 4]).unwrap()));
        held.push((
            Operand::Saved,
            match saved {
                Saved::Mask => gpu().zeros_of(Dtype::U32, &[5, 1]).unwrap(),
                _ => gpu().zeros(&[5, 4]).unwrap(),
            },
        ));
        Layer { held, gradients: SHAPES.map(|shape| gpu().zeros(shape).unwrap()).into() }
    }

    /// The layer, of which the operands in `gone` are no longer there.
    fn call(&self, activation: Activation, saved: Saved, gone: &[Operand]) -> Forward<'_> {
        let view = |operand: Operand| {
            let tensor = self.held.iter().find(|(o, _)| *o == operand).map(|(_, tensor)| tensor).unwrap();
            if gone.contains(&operand) { View::absent(tensor.shape(), tensor.dtype()) } else { tensor.view() }
        };
        Forward::new(activation, view(Operand::X), view(Operand::W), view(Operand::Y))
            .saved(saved)
            .b(view(Operand::B))
            .alpha(activation.has_alpha().then(|| view(Operand::Alpha)))
            .residual((saved != Saved::Y).then(|| view(Operand::Residual)))
            .save_to(matches!(saved, Saved::Z | Saved::Mask).then(|| view(Operand::Saved)))
            .pin(pin())
    }

    fn backward<'a>(&'a self, layer: &Forward<'a>, dy: &'a Tensor, wanted: [bool; 5]) -> Backward<'a> {
        let gradient = |i: usize| wanted[i].then(|| Gradient::overwrite(&self.gradients[i]));
        let backward = layer.backward(dy).dx(gradient(0)).dw(gradient(1)).db(gradient(2));
        backward.dalpha(gradient(3)).dresidual(gradient(4))
    }
}

/// A host that runs backward later has kept some operands and not others. What backward does not read may be gone, and
/// changes no bit; what it reads is an error by name. Each choice, each gradient.
#[test]
fn an_operand_that_backward_does_not_read_may_be_gone() {
    let gpu = gpu();
    let dy = gpu.upload(&(0..20).map(|i| i as f32 / 4.0 - 2.0).collect::<Vec<_>>(), &[5, 4]).unwrap();
    let prelu: Activation = "prelu".parse().unwrap();
    let (mut same, mut refused) = (0, 0);
    for (activation, saved) in [
        (Activation::RELU, Saved::Z),
        (Activation::RELU, Saved::Y),
        (Activation::RELU, Saved::Mask),
        (Activation::RELU, Saved::None),
        (Activation::IDENTITY, Saved::None),
        (prelu, Saved::Z),
        (prelu, Saved::None),
    ] {
        let layer = Layer::new(saved);
        let whole = layer.call(activation, saved, &[]);
        gpu.submit(|e| whole.record(gpu, e)).unwrap();
        let residual = whole.residual.is_some();
        let one_alone = (0..5).map(|i| std::array::from_fn(|j| i == j));
        for wanted in one_alone.chain([[true, true, true, activation.has_alpha(), residual]]) {
            let wanted: [bool; 5] = wanted;
            if wanted[3] && !activation.has_alpha() {
                continue;
            }
            let run = |backward: &Backward<'_>| -> Result<Vec<Vec<f32>>, Error> {
                for gradient in &layer.gradients {
                    gpu.write(gradient, &vec![7.0; gradient.elements()])?;
                }
                gpu.submit(|e| backward.record(gpu, e))?;
                layer.gradients.iter().map(|gradient| gpu.download(gradient)).collect()
            };
            let backward = layer.backward(&whole, &dy, wanted);
            let expected = run(&backward).unwrap();
            let request = backward.request().unwrap();
            let read_as = |operand| match operand {
                Operand::Y if saved == Saved::Y => Operand::Saved,
                operand => operand,
            };
            let (read, unread): (Vec<Operand>, Vec<Operand>) =
                HELD.into_iter().partition(|operand| request.resolve().unwrap().reads(read_as(*operand)));
            let poorer = layer.call(activation, saved, &unread);
            assert_eq!(run(&layer.backward(&poorer, &dy, wanted)).unwrap(), expected, "{activation} {saved}");
            same += unread.len();
            for operand in read {
                if saved == Saved::Y && operand == Operand::Saved {
                    continue;
                }
                let poorer = layer.call(activation, saved, &[operand]);
                match run(&layer.backward(&poorer, &dy, wanted)) {
                    Err(Error::Operand { operand: named, got, .. }) => {
                        assert_eq!(named, read_as(operand));
                        assert!(got.contains("absent"), "{got}");
                    }
                    other => panic!("{activation} {saved} {wanted:?} without {operand}: {other:?}"),
                }
                refused += 1;
            }
        }
        // Forward needs them all.
        for operand in [Operand::X, Operand::W, Operand::B, Operand::Y] {
            let result = gpu.submit(|e| layer.call(activation, saved, &[operand]).record(gpu, e));
            assert!(matches!(&result, Err(Error::Operand { operand: o, .. }) if *o == operand), "{result:?}");
        }
    }
    assert!(same > 50 && refused > 50, "{same} {refused}");
}

/// dz of a layer with a residual, in a chain: from z, with its own α, as its own backward has it.
#[test]
fn a_chain_knows_the_layer_below() {
    let gpu = gpu();
    let (softplus, relu): (Activation, _) = ("softplus".parse().unwrap(), Activation::RELU);
    let (x, w0, residual, y0, z0) = (one(0.425), one(1.5), one(0.08), one(0.0), one(0.0));
    let (w1, y1, dy) = (one(3.0), one(0.0), one(1.0));
    let (dz, db, dx) = (one(f32::NAN), gpu.zeros(&[1]).unwrap(), one(f32::NAN));
    let below =
        Forward::new(softplus, &x, &w0, &y0).saved(Saved::Auto).residual(residual.view()).save_to(z0.view()).pin(pin());
    let top = Forward::new(relu, &y0, &w1, &y1).saved(Saved::Y).pin(pin());
    let chain = top.backward(&dy).dx(&dz).below(&below).db_below(&db);
    gpu.submit_pass(|pass| {
        below.record(gpu, &mut *pass)?;
        top.record(gpu, &mut *pass)?;
        chain.record(gpu, &mut *pass)?;
        below.backward_from_dz(&dz).dx(&dx).record(gpu, &mut *pass)
    })
    .unwrap();
    let right = (3.0 * softplus.slope(f64::from(0.425f32 * 1.5))) as f32;
    for (tensor, right) in [(&dz, right), (&db, right), (&dx, 1.5 * right)] {
        let got = gpu.download(tensor).unwrap()[0];
        assert!((got - right).abs() < 1e-5, "{got}, expected {right}");
    }
    // Another layer than the one whose y this x is.
    let said = |below: &Forward<'_>| match top.backward(&dy).dx(&dz).below(below).plan(gpu) {
        Err(Error::Operand { operand, .. } | Error::Shape { operand, .. }) => operand,
        other => panic!("{other:?}"),
    };
    let wide = gpu.zeros(&[1, 2]).unwrap();
    let (wide_w, half) = (gpu.zeros(&[2, 1]).unwrap(), gpu.zeros_of(Float::F16, &[1, 1]).unwrap());
    let bare = below.residual(None).save_to(None);
    assert_eq!(said(&below.y(y1.view())), Operand::X);
    assert_eq!(said(&below.y(half.view())), Operand::X);
    assert_eq!(said(&bare.saved(Saved::Y).y(wide.view()).w(wide_w.view())), Operand::X);
    assert_eq!(said(&below.save_to(None)), Operand::SavedBelow);
    let nothing = top.backward(&dy).dx(&dz).below(&bare.saved(Saved::None)).plan(gpu);
    assert!(matches!(nothing, Err(Error::Unsupported { .. })), "{nothing:?}");
    let from_y = top.backward(&dy).dx(&dz).below(&below.saved(Saved::Y).save_to(None)).plan(gpu);
    assert!(matches!(from_y, Err(Error::Unsupported { .. })), "{from_y:?}");
}

/// The error that the call fails with, before anything is recorded.
fn refused(record: impl FnOnce(&Gpu, &mut wgpu::CommandEncoder) -> elbow::Result<()>) -> (Operand, String, String) {
    match gpu().submit(|encoder| record(gpu(), encoder)) {
        Err(Error::Operand { operand, expected, got }) => (operand, expected, got),
        other => panic!("{other:?}"),
    }
}

/// Words where numbers are read, numbers where words are read: every operand of every call, by name.
#[test]
fn words_and_numbers_are_not_taken_for_each_other() {
    let gpu = gpu();
    let words = |o: Operand| (o, "f32, f16 or bf16".to_owned(), "u32".to_owned());
    let numbers = |o: Operand, got: Float| (o, "u32 words".to_owned(), got.name().to_owned());
    let prelu: Activation = "prelu".parse().unwrap();
    let layer = Layer::new(Saved::Z);
    let call = layer.call(prelu, Saved::Z, &[]);
    let as_words = |view: View<'_>| gpu.zeros_of(Dtype::U32, view.shape()).unwrap();
    let [x, w, y, z] = [call.x, call.w, call.y, call.save_to.unwrap()].map(as_words);
    let [b, alpha, residual] = [call.b, call.alpha, call.residual].map(|view| as_words(view.unwrap()));
    for (operand, call) in [
        (Operand::X, call.x(x.view())),
        (Operand::W, call.w(w.view())),
        (Operand::B, call.b(b.view())),
        (Operand::Alpha, call.alpha(alpha.view())),
        (Operand::Residual, call.residual(residual.view())),
        (Operand::Y, call.y(y.view())),
        (Operand::Saved, call.save_to(z.view())),
    ] {
        assert_eq!(refused(|gpu, e| call.record(gpu, e)), words(operand));
    }
    let dy = gpu.zeros(&[5, 4]).unwrap();
    for (operand, call) in [
        (Operand::Dy, call.backward(&y).dx(&layer.gradients[0])),
        (Operand::Dx, call.backward(&dy).dx(&x)),
        (Operand::Dw, call.backward(&dy).dw(&w)),
        (Operand::Db, call.backward(&dy).db(&b)),
        (Operand::Dalpha, call.backward(&dy).dalpha(&alpha)),
        (Operand::Dresidual, call.backward(&dy).dresidual(&residual)),
        (Operand::Saved, call.save_to(z.view()).backward(&dy).dw(&layer.gradients[1])),
    ] {
        assert_eq!(refused(|gpu, e| call.record(gpu, e)), words(operand));
    }
    // A mask that is viewed as numbers, by forward and by backward.
    for dtype in Float::ALL {
        let kept = gpu.zeros_of(dtype, &[5, 1]).unwrap();
        let mut masked = layer.call(Activation::RELU, Saved::None, &[]);
        (masked.saved, masked.save_to) = (Saved::Mask, Some(kept.view()));
        assert_eq!(refused(|gpu, e| masked.record(gpu, e)), numbers(Operand::Saved, dtype));
        let backward = masked.backward(&dy).dx(&layer.gradients[0]);
        assert_eq!(refused(|gpu, e| backward.record(gpu, e)), numbers(Operand::Saved, dtype));
    }
    // Labels: 3 as an f32 is no class at all.
    let (logits, loss, dlogits) = (gpu.zeros(&[2, 5]).unwrap(), gpu.zeros(&[2]).unwrap(), gpu.zeros(&[2, 5]).unwrap());
    for dtype in Float::ALL {
        let labels = gpu.upload_as(dtype, &[3.0, 0.0], &[2]).unwrap();
        let call = SoftmaxCrossEntropy::new(&logits, &labels, &loss, &dlogits);
        assert_eq!(refused(|gpu, e| call.record(gpu, e)), numbers(Operand::Labels, dtype));
    }
    let labels = gpu.upload_words(&[3, 0], &[2]).unwrap();
    assert_eq!(labels.dtype(), Dtype::U32);
    gpu.submit(|e| SoftmaxCrossEntropy::new(&logits, &labels, &loss, &dlogits).record(gpu, e)).unwrap();
    let call = elementwise::Forward::new(Activation::RELU, &labels, &loss);
    assert_eq!(refused(|gpu, e| call.record(gpu, e)), words(Operand::X));
    // Transfers.
    let tensor = |result: elbow::Result<()>| match result {
        Err(Error::Operand { operand: Operand::Tensor, got, .. }) => got,
        other => panic!("{other:?}"),
    };
    assert_eq!(tensor(gpu.write(&labels, &[1.0])), "u32");
    assert_eq!(tensor(gpu.write(&loss, &[1u32])), "f32");
    assert_eq!(tensor(gpu.download(&labels).map(drop)), "u32");
    assert_eq!(tensor(pollster::block_on(gpu.download_async(&labels)).map(drop)), "u32");
    assert_eq!(gpu.download_words(&labels).unwrap(), [3, 0]);
}

/// The two layouts and a batch have the same shapes of what is kept.
#[test]
fn what_is_kept_is_shaped_as_y() {
    let (m, n, k) = (3, 33, 2);
    let kept = |x: &[usize], w: &[usize], y: &[usize], layout, saved| {
        let view = |shape| View::absent(shape, Dtype::BF16);
        let layer = Forward::new(Activation::RELU, view(x), view(w), view(y)).layout(layout).saved(saved);
        layer.saved_shape().unwrap()
    };
    for (layout, w) in [(WeightLayout::OutIn, [n, k]), (WeightLayout::InOut, [k, n])] {
        let (x, y) = ([m, k], [m, n]);
        assert_eq!(kept(&x, &w, &y, layout, Saved::Z), Some((vec![m, n], Dtype::BF16)));
        assert_eq!(kept(&x, &w, &y, layout, Saved::Mask), Some((vec![m, 2], Dtype::U32)));
        assert_eq!(kept(&x, &w, &y, layout, Saved::Auto), None);
        let (x, w, y) = ([7, 1, m, k], [7, w[0], w[1]], [7, 1, m, n]);
        assert_eq!(kept(&x, &w, &y, layout, Saved::Mask), Some((vec![7, 1, m, 2], Dtype::U32)));
    }
}
