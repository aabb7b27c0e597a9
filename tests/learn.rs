//! Networks with a loss, an optimiser and an activation for each layer by choice: gradients beside f64, that they learn, and how they begin.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Activation, AlphaSource, Error, Float, Gpu, Operand,
    criterion::Criterion,
    initialisation::Initialisation,
    mlp::{Architecture, Batch, Mlp, Objective, Optimiser, Step},
    rates::{Place, Rates, Rule},
};

fn mean(gpu: &Gpu, loss: &elbow::Tensor) -> f32 {
    gpu.download(loss).unwrap().iter().sum::<f32>() / loss.elements() as f32
}

/// Numbers from -1 to 1, the same everywhere.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let spread = elbow::philox::Distribution::Uniform { low: -1.0, high: 1.0 };
    (0..count as u32).map(|i| spread.at(seed, 0, i)).collect()
}

/// A regression in ten lines, in every type.
#[test]
fn a_regression_learns() {
    let gpu = Gpu::new().unwrap();
    for (storage, most) in [(Float::F32, 1e-3), (Float::F16, 5e-3), (Float::Bf16, 2e-2)] {
        let architecture = Architecture::new(&[1, 32, 1], Activation::TANH, 64).objective(Criterion::SquaredError);
        let optimiser = Optimiser::new(Rule::AdamW, Rates::adamw(0.02).max_norm(10.0));
        let mlp = Mlp::seeded(&gpu, &architecture.storage(storage).optimiser(optimiser), 7).unwrap();
        let points: Vec<f32> = (0..64).map(|i| i as f32 / 10.0 - 3.2).collect();
        let x = gpu.upload_as(storage, &points, &[64, 1]).unwrap();
        let targets = gpu.upload(&points.iter().map(|v| v.sin()).collect::<Vec<f32>>(), &[64, 1]).unwrap();
        let loss = gpu.zeros(&[64]).unwrap();
        let step = mlp.prepare(&gpu, &Batch::new(&x, &targets, &loss)).unwrap();
        gpu.submit_pass(|pass| step.record(pass)).unwrap();
        let first = mean(&gpu, &loss);
        for i in 0..600 {
            mlp.set_rate(&gpu, 0.02 * (1.0 - i as f32 / 600.0)).unwrap();
            gpu.submit_pass(|pass| step.record(pass)).unwrap();
        }
        let last = mean(&gpu, &loss);
        println!("{storage}: the loss went from {first} to {last}");
        assert!(first > 0.1 && last < most, "{storage}: from {first} to {last}");
        let steps = gpu.download(mlp.rates().unwrap()).unwrap()[Place::Steps as usize];
        assert!((550.0..=601.0).contains(&steps), "{steps}");
        // What the layers read is what the optimiser has, rounded.
        for layer in 0..2 {
            let w = gpu.download(mlp.parameters(layer).unwrap().w).unwrap();
            let read = gpu.download(mlp.stored_weight(layer).unwrap()).unwrap();
            assert!(w.iter().zip(&read).all(|(w, read)| storage.round(*w) == *read), "the copy is not in step");
        }
    }
}

/// A classification in ten lines, by SGD and AdamW, with smoothed labels, and by one logit.
#[test]
fn a_classification_learns() {
    let gpu = Gpu::new().unwrap();
    let points = numbers(512, 3);
    let inside = |p: &[f32]| p[0] * p[0] + p[1] * p[1] < 0.6;
    let labels: Vec<u32> = points.chunks(2).map(|p| u32::from(inside(p))).collect();
    let x = gpu.upload(&points, &[256, 2]).unwrap();
    let loss = gpu.zeros(&[256]).unwrap();
    let each = [Activation::SILU, Activation::TANH, Activation::IDENTITY];
    for (objective, rule, rates, columns, least) in [
        (Objective::Classes { label_smoothing: 0.0 }, Rule::Nesterov, Rates::sgd(0.1).momentum(0.9), 2, 0.0),
        (Objective::Classes { label_smoothing: 0.1 }, Rule::AdamW, Rates::adamw(0.01), 2, 0.19),
        (Criterion::BinaryCrossEntropy.into(), Rule::AdamW, Rates::adamw(0.01), 1, 0.0),
    ] {
        let sizes = [2, 32, 32, columns];
        let architecture = Architecture::new(&sizes, Activation::RELU, 256).activations(&each[..]);
        let architecture = architecture.objective(objective).optimiser(Optimiser::new(rule, rates));
        let mlp = Mlp::seeded(&gpu, &architecture, 1).unwrap();
        let targets = match columns {
            1 => gpu.upload(&labels.iter().map(|&l| l as f32).collect::<Vec<f32>>(), &[256, 1]).unwrap(),
            _ => gpu.upload_words(&labels, &[256]).unwrap(),
        };
        let batch = Batch::new(&x, &targets, &loss);
        gpu.submit_pass(|pass| mlp.learn(&gpu, pass, &batch)).unwrap();
        let first = mean(&gpu, &loss);
        let step = mlp.prepare(&gpu, &batch).unwrap();
        for _ in 0..400 {
            gpu.submit_pass(|pass| step.record(pass)).unwrap();
        }
        let last = mean(&gpu, &loss);
        println!("{objective:?}: the loss went from {first} to {last}");
        assert!(first > 0.4 && last > least && last < least + 0.12, "{objective:?}: from {first} to {last}");
        let outputs = gpu.download(mlp.output(2).unwrap()).unwrap();
        let says = |row: &[f32]| if columns == 1 { row[0] > 0.0 } else { row[1] > row[0] };
        let right = outputs.chunks(columns).zip(&labels).filter(|(row, l)| says(row) == (**l == 1)).count();
        assert!(right >= 248, "{right} of 256");
    }
}

/// Loss and every gradient of a network whose last layer is not linear, beside the same network in f64.
#[test]
fn gradients_are_those_of_f64() {
    let gpu = Gpu::new().unwrap();
    let (rows, k, h, n) = (9, 5, 7, 3);
    for (last, criterion) in [
        (Activation::SIGMOID, Criterion::SquaredError),
        (Activation::TANH, Criterion::Huber { delta: 0.5 }),
        (Activation::IDENTITY, Criterion::BinaryCrossEntropy),
        ("prelu(0.25)".parse().unwrap(), Criterion::SquaredError),
    ] {
        let each = [Activation::GELU_ERF, last];
        let sizes = [k, h, n];
        let architecture = Architecture::new(&sizes, Activation::RELU, 16).activations(&each[..]).objective(criterion);
        let mlp = Mlp::seeded(&gpu, &architecture.alpha(AlphaSource::PerLayer), 5).unwrap();
        let (x, t) = (numbers(rows * k, 11), numbers(rows * n, 12).iter().map(|v| v.abs()).collect::<Vec<f32>>());
        let (dx, dt) = (gpu.upload(&x, &[rows, k]).unwrap(), gpu.upload(&t, &[rows, n]).unwrap());
        let loss = gpu.upload(&vec![f32::NAN; rows], &[rows]).unwrap();
        let [w, v] = [0, 1].map(|layer| gpu.download(mlp.parameters(layer).unwrap().w).unwrap());
        gpu.submit_pass(|pass| mlp.train(&gpu, pass, &Step::new(&dx, &dt, &loss, 0.0))).unwrap();
        // The same in f64: forward, then dz of both layers.
        let product = |x: &[f64], w: &[f32], k: usize| -> Vec<f64> {
            let row = |x: &[f64]| {
                w.chunks(k).map(|w| x.iter().zip(w).map(|(x, &w)| x * f64::from(w)).sum()).collect::<Vec<f64>>()
            };
            x.chunks(k).flat_map(row).collect()
        };
        let act = |a: Activation, z: &[f64]| z.iter().map(|&z| a.value(z)).collect::<Vec<f64>>();
        let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let z = product(&x, &w, k);
        let hidden = act(each[0], &z);
        let top = product(&hidden, &v, h);
        let y: Vec<f32> = act(last, &top).iter().map(|&v| v as f32).collect();
        let right =
            elbow::cpu::reference::elementwise_loss(criterion, Default::default(), n, [&y, &t], None, None).unwrap();
        let dtop: Vec<f64> = right.dy.iter().zip(&top).map(|(dy, &z)| dy * last.slope(z)).collect();
        let dz = |m: usize, j: usize| {
            (0..n).map(|c| dtop[m * n + c] * f64::from(v[c * h + j])).sum::<f64>() * each[0].slope(z[m * h + j])
        };
        let dv: Vec<f64> =
            (0..n * h).map(|i| (0..rows).map(|m| dtop[m * n + i / h] * hidden[m * h + i % h]).sum()).collect();
        let dw: Vec<f64> = (0..h * k).map(|i| (0..rows).map(|m| dz(m, i / k) * x[m * k + i % k]).sum()).collect();
        let db: Vec<f64> = (0..n).map(|c| (0..rows).map(|m| dtop[m * n + c]).sum()).collect();
        let close = |what: &str, got: &[f32], right: &[f64]| {
            let size = right.iter().fold(1e-3, |a: f64, v| a.max(v.abs()));
            for (i, (&got, &right)) in got.iter().zip(right).enumerate() {
                assert!(
                    (f64::from(got) - right).abs() <= 1e-5 * size,
                    "{last} {criterion:?}: {what}[{i}] {got}, right {right}"
                );
            }
        };
        let [first, second] = [0, 1].map(|layer| mlp.gradients(layer).unwrap());
        close("loss", &gpu.download(&loss).unwrap(), &right.loss);
        close("dw 1", &gpu.download(second.w).unwrap(), &dv);
        close("db 1", &gpu.download(second.b).unwrap(), &db);
        close("dw 0", &gpu.download(first.w).unwrap(), &dw);
        if let Some(alpha) = second.alpha {
            let pairs = right.dy.iter().zip(&top);
            let dalpha: f64 =
                pairs.map(|(dy, &z)| dy * last.evaluate(elbow::activation::Quantity::AlphaSlope, z)).sum();
            close("dalpha", &gpu.download(alpha).unwrap(), &[dalpha]);
        }
    }
}

/// Steps that are recorded and steps that are prepared once have the same bits, and so has another network of the same seed.
#[test]
fn a_prepared_schedule_is_the_recorded_one() {
    let gpu = Gpu::new().unwrap();
    let rates = Rates::adamw(0.01).max_norm(0.5);
    let architecture =
        Architecture::new(&[3, 17, 2], Activation::SILU, 20).optimiser(Optimiser::new(Rule::AdamW, rates));
    let [one, other] = [(); 2].map(|()| Mlp::seeded(&gpu, &architecture, 9).unwrap());
    let x = gpu.upload(&numbers(60, 1), &[20, 3]).unwrap();
    let labels = gpu.upload_words(&(0..20).map(|m| m % 2).collect::<Vec<u32>>(), &[20]).unwrap();
    let loss = gpu.zeros(&[20]).unwrap();
    let batch = Batch::new(&x, &labels, &loss);
    let step = one.prepare(&gpu, &batch).unwrap();
    for i in 0..10 {
        for mlp in [&one, &other] {
            mlp.set_rate(&gpu, 0.01 / (1 + i) as f32).unwrap();
        }
        gpu.submit_pass(|pass| step.record(pass)).unwrap();
        gpu.submit_pass(|pass| other.learn(&gpu, pass, &batch)).unwrap();
    }
    for layer in 0..2 {
        let [a, b] = [&one, &other].map(|mlp| gpu.download(mlp.parameters(layer).unwrap().w).unwrap());
        assert_eq!(a, b);
    }
}

/// The penalty reaches slopes alone: gates that are 0, weights that are not.
#[test]
fn slopes_become_gates() {
    let gpu = Gpu::new().unwrap();
    let rates = Rates::sgd(0.05).momentum(0.5).l1(0.2);
    let architecture =
        Architecture::new(&[4, 24, 2], Activation::prelu(0.25).unwrap(), 32).alpha(AlphaSource::PerChannel);
    let mlp = Mlp::seeded(&gpu, &architecture.optimiser(Optimiser::new(Rule::Sgd, rates)), 3).unwrap();
    let x = gpu.upload(&numbers(128, 4), &[32, 4]).unwrap();
    let labels = gpu.upload_words(&(0..32).map(|m| m % 2).collect::<Vec<u32>>(), &[32]).unwrap();
    let loss = gpu.zeros(&[32]).unwrap();
    let step = mlp.prepare(&gpu, &Batch::new(&x, &labels, &loss)).unwrap();
    for _ in 0..60 {
        gpu.submit_pass(|pass| step.record(pass)).unwrap();
    }
    let first = mlp.parameters(0).unwrap();
    let (w, alpha) = (gpu.download(first.w).unwrap(), gpu.download(first.alpha.unwrap()).unwrap());
    let closed = alpha.iter().filter(|&&a| a == 0.0).count();
    assert!(closed >= 12 && w.iter().all(|&w| w != 0.0), "{closed} of 24 slopes are 0; {alpha:?}");
}

/// Weights are those of the generator, and each layer keeps the variance of z whatever the activation below it.
#[test]
fn a_seeded_network_keeps_its_signal() {
    let gpu = Gpu::new().unwrap();
    let each =
        ["relu", "tanh", "gelu_erf", "silu", "elu(1)", "identity"].map(|spec| spec.parse::<Activation>().unwrap());
    let sizes = [256; 7];
    let architecture = Architecture::new(&sizes, Activation::RELU, 64).activations(&each[..]);
    let mlp = Mlp::seeded(&gpu, &architecture, 77).unwrap();
    let mut below = Activation::IDENTITY;
    for (layer, &activation) in each.iter().enumerate() {
        let w = gpu.download(mlp.parameters(layer).unwrap().w).unwrap();
        let spread = Initialisation::He.distribution(below, 256, 256);
        for i in [0usize, 1, 2, 3, 1000, 65_535] {
            let right = spread.at(77, layer as u32, i as u32);
            assert!((w[i] - right).abs() <= 2e-6 * right.abs(), "layer {layer}: w[{i}] is {}, right {right}", w[i]);
        }
        below = activation;
    }
    // A standard normal input: forward, the activation undone by asking for the layer's mean square.
    let x: Vec<f32> = {
        let normal = elbow::philox::Distribution::Normal { mean: 0.0, deviation: 1.0 };
        (0..64 * 256).map(|i| normal.at(1, 2, i)).collect()
    };
    let x = gpu.upload(&x, &[64, 256]).unwrap();
    gpu.submit(|encoder| mlp.forward(&gpu, encoder, x.view())).unwrap();
    for (layer, activation) in each.iter().enumerate() {
        let y = gpu.download(mlp.output(layer).unwrap()).unwrap();
        let square = y.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / y.len() as f64;
        let right = activation.gain().value_moment;
        assert!((square / right - 1.0).abs() < 0.2, "layer {layer}, {activation}: {square}, right {right}");
    }
    // Critical: the mean square of a change, through φ' and the weights, is kept.
    for activation in each {
        let elbow::philox::Distribution::Normal { deviation, .. } =
            Initialisation::Critical.distribution(activation, 100, 7)
        else {
            panic!("normal")
        };
        let kept = 100.0 * f64::from(deviation).powi(2) * activation.gain().slope_moment;
        assert!((kept - 1.0).abs() < 1e-5, "{activation}: {kept}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let gpu = Gpu::new().unwrap();
    let optimiser = Optimiser::new(Rule::AdamW, Rates::adamw(0.1));
    let architecture = Architecture::new(&[3, 4, 2], Activation::RELU, 8).objective(Criterion::SquaredError);
    let plain = Mlp::seeded(&gpu, &architecture, 1).unwrap();
    let mlp = Mlp::seeded(&gpu, &architecture.optimiser(optimiser), 1).unwrap();
    let before = gpu.download(mlp.parameters(0).unwrap().w).unwrap();
    let (x, t, loss) = (gpu.zeros(&[8, 3]).unwrap(), gpu.zeros(&[8, 2]).unwrap(), gpu.zeros(&[8]).unwrap());
    let words = gpu.upload_words(&[0; 8], &[8]).unwrap();
    let (few, wide) = (gpu.zeros(&[7, 2]).unwrap(), gpu.zeros(&[8, 3]).unwrap());
    let good = Batch::new(&x, &t, &loss);
    let refused = |mlp: &Mlp, batch: Batch<'_>| mlp.prepare(&gpu, &batch).unwrap_err();
    assert!(matches!(refused(&plain, good), Error::Unsupported { .. }));
    assert!(matches!(plain.set_rate(&gpu, 0.1), Err(Error::Unsupported { .. })));
    for (batch, operand) in [
        (good.targets(&few), Operand::Targets),
        (good.targets(&wide), Operand::Targets),
        (good.targets(&words), Operand::Targets),
        (good.x(&t), Operand::X),
        (good.loss(&t), Operand::Loss),
    ] {
        match refused(&mlp, batch) {
            Error::Shape { operand: o, .. } | Error::Operand { operand: o, .. } => assert_eq!(o, operand),
            error => panic!("{operand}: {error}"),
        }
    }
    assert!(matches!(mlp.set_rate(&gpu, f32::NAN), Err(Error::BadParameter { .. })));
    let new = |architecture: Architecture<'_>| Mlp::seeded(&gpu, &architecture, 1).unwrap_err().to_string();
    let two = [Activation::RELU; 2];
    assert!(
        new(Architecture::new(&[3, 4, 4, 2], Activation::RELU, 8).activations(&two[..]))
            .contains("activations: expected 3")
    );
    let bad = Optimiser::new(Rule::Sgd, Rates::sgd(f32::NAN));
    assert!(new(architecture.optimiser(bad)).contains("rate"));
    assert_eq!(gpu.download(mlp.parameters(0).unwrap().w).unwrap(), before);
}
