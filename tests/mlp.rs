//! A training step of an [`Mlp`] against the same step made of reference calls; and that training trains.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Activation, AlphaSource, Float, Gpu, Jet, Saved, Tensor, View, Want,
    cpu::{ForwardInputs, reference},
    elementwise,
    kernel::KernelFile,
    mlp::{Architecture, Mlp, Parameters, Step},
    request::{AffineRequest, BackwardRequest, Below, Gradients},
    train::Sgd,
};

/// Random enough, and the same everywhere: a linear congruential generator through Box and Muller.
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f32 {
        let (u, v) = (self.uniform(), self.uniform());
        ((-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()) as f32
    }
}

/// One layer's parameters on the host.
#[derive(Clone)]
struct HostLayer {
    request: AffineRequest,
    w: Vec<f32>,
    b: Vec<f32>,
    alpha: Option<Vec<f32>>,
}

fn host_layers(gpu: &Gpu, mlp: &Mlp, sizes: &[usize], rows: usize, alpha: AlphaSource) -> Vec<HostLayer> {
    let layer = |index: usize| {
        let p = mlp.parameters(index).unwrap();
        let hidden = index + 1 < mlp.layers();
        let mut request = AffineRequest::new(rows, sizes[index + 1], sizes[index], mlp.activation(index).unwrap());
        request.alpha = if hidden { alpha } else { AlphaSource::Constant };
        HostLayer {
            request,
            w: gpu.download(p.w).unwrap(),
            b: gpu.download(p.b).unwrap(),
            alpha: p.alpha.map(|a| gpu.download(a).unwrap()),
        }
    };
    (0..mlp.layers()).map(layer).collect()
}

/// Gradients of one layer.
struct HostGradients {
    dw: Vec<f64>,
    db: Vec<f64>,
    dalpha: Vec<f64>,
}

fn to_f32(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// A label that is no class: rows of it have no part in the loss.
const PADDING: u32 = 99;

/// The inputs of every layer, and the output of the last, and z of every layer, by the reference.
fn reference_forward(layers: &[HostLayer], x: &[f32]) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut inputs = vec![x.to_vec()];
    let mut zs = Vec::new();
    for layer in layers {
        let operands =
            ForwardInputs::new(inputs.last().unwrap(), &layer.w).b(Some(&layer.b)).alpha(layer.alpha.as_deref());
        let out = reference::forward(&layer.request, operands).unwrap();
        inputs.push(to_f32(&out.y));
        zs.push(to_f32(&out.z));
    }
    (inputs, zs)
}

/// The step by the reference: losses, and the gradients of every layer.
fn reference_step(layers: &[HostLayer], x: &[f32], labels: &[u32]) -> (Vec<f64>, Vec<HostGradients>) {
    let (inputs, zs) = reference_forward(layers, x);
    let top = layers.len() - 1;
    let loss = reference::softmax_cross_entropy(&zs[top], labels, layers[top].request.n, Some(PADDING)).unwrap();
    (loss.loss, reference_backward(layers, &inputs, &zs, to_f32(&loss.dlogits)))
}

/// The gradients of every layer from dz of the last.
fn reference_backward(
    layers: &[HostLayer],
    inputs: &[Vec<f32>],
    zs: &[Vec<f32>],
    mut dz: Vec<f32>,
) -> Vec<HostGradients> {
    let mut gradients = Vec::new();
    let mut dalpha = Vec::new();
    for index in (0..layers.len()).rev() {
        let layer = &layers[index];
        let below = index.checked_sub(1).map(|i| {
            let below = &layers[i].request;
            Below::new(below.activation, Saved::Z).alpha(below.alpha).jet(below.jet).db(Want::Overwrite)
        });
        let request = BackwardRequest::new(
            layer.request,
            Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite),
        )
        .upstream_is_dz(true)
        .below(below);
        let operands = reference::BackwardInputs::new(&inputs[index], &layer.w, &dz)
            .b(Some(&layer.b))
            .alpha(layer.alpha.as_deref())
            .z_below(index.checked_sub(1).map(|i| zs[i].as_slice()))
            .alpha_below(index.checked_sub(1).and_then(|i| layers[i].alpha.as_deref()));
        let out = reference::backward(&request, operands).unwrap();
        gradients.push(HostGradients { dw: out.dw.value, db: out.db.value, dalpha });
        dz = to_f32(&out.dz_below.value);
        dalpha = out.dalpha_below.value;
    }
    gradients.reverse();
    gradients
}

/// Largest error beside the largest value: each element of a gradient is a sum whose terms may cancel.
fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let scale = want.iter().fold(1e-3, |a: f64, v| a.max(v.abs()));
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(g) - w).abs() / scale;
        assert!(error <= tolerance, "{what}[{i}]: got {g}, the reference has {w}, scale {scale}");
    }
}

/// The f32 of the device against f64 sums over f32 inputs; a few roundings a layer, relative to the largest element.
const TOLERANCE: f64 = 1e-5;
const RATE: f32 = 0.3;
const MOMENTUM: f32 = 0.9;

#[test]
fn a_step_is_the_step_of_the_reference() {
    let gpu = Gpu::new().unwrap();
    let cases: &[(&str, AlphaSource, &[usize])] = &[
        ("relu", AlphaSource::Constant, &[7, 33, 5, 3]),
        ("leaky_relu(0.01)", AlphaSource::Constant, &[16, 8, 4]),
        ("prelu(0.25)", AlphaSource::PerChannel, &[13, 37, 65, 10]),
        ("prelu(0.25)", AlphaSource::PerLayer, &[13, 37, 65, 10]),
        ("gelu_erf", AlphaSource::Constant, &[9, 17, 11, 4]),
        ("silu", AlphaSource::Constant, &[32, 64, 32, 8]),
        ("swish(1)", AlphaSource::PerChannel, &[5, 19, 3]),
        ("elu(1)", AlphaSource::Constant, &[11, 31, 2]),
        ("elu(0.5)", AlphaSource::PerLayer, &[11, 31, 6, 2]),
        ("identity", AlphaSource::Constant, &[6, 5, 4]),
        ("tanh", AlphaSource::Constant, &[1, 1, 1, 1]),
        ("relu6", AlphaSource::Constant, &[6, 40, 3]),
        ("relu", AlphaSource::Constant, &[12, 5]),
    ];
    for &(spec, alpha, sizes) in cases {
        let mut rng = Normal(spec.len() as u64 + 17);
        let max_batch = 43;
        let activation: Activation = spec.parse().unwrap();
        let architecture = Architecture::new(sizes, activation, max_batch).alpha(alpha).ignore_index(PADDING);
        let mlp = Mlp::new(&gpu, &architecture, &mut || rng.next()).unwrap();
        let (features, classes) = (sizes[0], sizes[sizes.len() - 1]);
        let loss = gpu.zeros(&[max_batch]).unwrap();
        let mut velocities: Option<Vec<HostGradients>> = None;
        // Batches that change; the second step has a velocity.
        for rows in [43, 1, 30] {
            let name = format!("{spec} {alpha:?} {sizes:?} batch {rows}");
            let x: Vec<f32> = (0..rows * features).map(|_| rng.next()).collect();
            let labels: Vec<u32> =
                (0..rows).map(|m| if m % 6 == 1 { PADDING } else { (m * 7 % classes) as u32 }).collect();
            let before = host_layers(&gpu, &mlp, sizes, rows, alpha);
            let (losses, gradients) = reference_step(&before, &x, &labels);

            let (x, labels) = (gpu.upload(&x, &[rows, features]).unwrap(), gpu.upload_words(&labels, &[rows]).unwrap());
            let shape = [rows];
            let (x, labels) = (x.view(), labels.view());
            let step = Step::new(x, labels, loss.view_as(&shape), RATE).momentum(MOMENTUM);
            gpu.submit_pass(|pass| mlp.train(&gpu, pass, &step)).unwrap();

            assert_close(&format!("{name}: loss"), &gpu.download(step.loss).unwrap(), &losses, TOLERANCE);
            let after = host_layers(&gpu, &mlp, sizes, rows, alpha);
            let mut next = Vec::new();
            for (index, want) in gradients.iter().enumerate() {
                let got = mlp.gradients(index).unwrap();
                let (before, after) = (&before[index], &after[index]);
                let old = velocities.as_ref().map(|v| &v[index]);
                let check = |part: &str, got: View<'_>, want: &[f64], old: Option<&[f64]>, p: &[f32], q: &[f32]| {
                    let what = format!("{name}: layer {index}: {part}");
                    let got = gpu.download(got).unwrap();
                    assert_close(&what, &got, want, TOLERANCE);
                    let velocity: Vec<f64> = want
                        .iter()
                        .enumerate()
                        .map(|(i, g)| g + f64::from(MOMENTUM) * old.map_or(0.0, |v| v[i]))
                        .collect();
                    let moved = |(p, v): (&f32, &f64)| f64::from(*p) - f64::from(RATE) * v;
                    let updated: Vec<f64> = p.iter().zip(&velocity).map(moved).collect();
                    assert_close(&format!("{what} updated"), q, &updated, TOLERANCE);
                    velocity
                };
                next.push(HostGradients {
                    dw: check("w", got.w, &want.dw, old.map(|v| v.dw.as_slice()), &before.w, &after.w),
                    db: check("b", got.b, &want.db, old.map(|v| v.db.as_slice()), &before.b, &after.b),
                    dalpha: match (got.alpha, &before.alpha, &after.alpha) {
                        (Some(got), Some(p), Some(q)) => {
                            check("alpha", got, &want.dalpha, old.map(|v| v.dalpha.as_slice()), p, q)
                        }
                        _ => Vec::new(),
                    },
                });
            }
            velocities = Some(next);
        }
    }
}

#[test]
fn a_network_with_jets_has_the_gradients_of_the_reference() {
    let gpu = Gpu::new().unwrap();
    let cases: &[(&str, AlphaSource, &[usize], Jet)] = &[
        ("tanh", AlphaSource::Constant, &[2, 16, 9, 1], Jet::two([0.0, 0.0, 1.0]).unwrap()),
        ("swish(1)", AlphaSource::PerChannel, &[3, 12, 2], Jet::laplacian(2).unwrap()),
        ("gelu_erf", AlphaSource::Constant, &[6, 8, 8, 1], Jet::laplacian(6).unwrap()),
    ];
    for &(activation, alpha, sizes, jet) in cases {
        let mut rng = Normal(3);
        let points = 9;
        let rows = points * jet.members();
        let architecture =
            Architecture::new(sizes, activation.parse().unwrap(), 10 * jet.members()).alpha(alpha).jet(jet);
        let mlp = Mlp::new(&gpu, &architecture, &mut || rng.next()).unwrap();
        let (features, top) = (sizes[0], sizes.len() - 2);
        let x: Vec<f32> = (0..rows * features).map(|_| rng.next()).collect();
        let dy: Vec<f32> = (0..rows * sizes[top + 1]).map(|_| rng.next()).collect();
        let mut layers = host_layers(&gpu, &mlp, sizes, rows, alpha);
        layers.iter_mut().for_each(|layer| layer.request.jet = Some(jet));
        let (inputs, zs) = reference_forward(&layers, &x);
        let gradients = reference_backward(&layers, &inputs, &zs, dy.clone());

        let x = gpu.upload(&x, &[points, jet.members(), features]).unwrap();
        let shape = [rows, sizes[top + 1]];
        let (y, dz) = (mlp.output(top).unwrap().view_as(&shape), mlp.dz(top).unwrap().view_as(&shape));
        gpu.write(dz, &dy).unwrap();
        gpu.submit_pass(|pass| {
            mlp.forward(&gpu, &mut *pass, x.view())?;
            mlp.backward(&gpu, &mut *pass, x.view())
        })
        .unwrap();
        let y64: Vec<f64> = inputs[top + 1].iter().map(|&y| f64::from(y)).collect();
        assert_close(&format!("{activation}: y"), &gpu.download(y).unwrap(), &y64, TOLERANCE);
        for (index, want) in gradients.iter().enumerate() {
            let got = mlp.gradients(index).unwrap();
            let check = |part: &str, got: View<'_>, want: &[f64]| {
                assert_close(&format!("{activation}: {part} {index}"), &gpu.download(got).unwrap(), want, TOLERANCE);
            };
            check("dw", got.w, &want.dw);
            check("db", got.b, &want.db);
            if let Some(got) = got.alpha {
                check("dalpha", got, &want.dalpha);
            }
        }
        // Rows that are no whole groups, and a loss that knows nothing of groups.
        let part = gpu.zeros(&[rows - 1, features]).unwrap();
        let error = gpu.submit(|encoder| mlp.forward(&gpu, encoder, part.view())).unwrap_err().to_string();
        assert!(error.starts_with(&format!("x: expected groups of {} rows", jet.members())), "{error}");
        let (labels, loss) = (gpu.upload_words(&[0; 2], &[2]).unwrap(), gpu.zeros(&[2]).unwrap());
        let error = gpu.submit(|encoder| mlp.loss(&gpu, encoder, labels.view(), loss.view())).unwrap_err().to_string();
        assert!(error.contains("with jets"), "{error}");
    }
}

#[test]
fn the_chain_writes_dz_once_and_has_no_pass_of_its_own() {
    let gpu = Gpu::new().unwrap();
    for alpha in [AlphaSource::Constant, AlphaSource::PerChannel] {
        let activation = Activation::prelu(0.25).unwrap();
        let architecture = Architecture::new(&[20, 40, 30, 10], activation, 16).alpha(alpha);
        let mlp = Mlp::new(&gpu, &architecture, &mut || 0.1).unwrap();
        let x = gpu.zeros(&[16, 20]).unwrap();
        let plans = mlp.backward_plans(&gpu, x.view()).unwrap();
        assert_eq!(plans.len(), 3, "one call a layer");
        for (layer, plan) in plans.iter().rev().enumerate() {
            let passes = plan.dispatches.iter().filter(|d| d.kernel.file == KernelFile::Rows).collect::<Vec<_>>();
            // The bias of the top layer is summed from dlogits; below it the chain sums.
            assert_eq!(passes.len(), usize::from(layer == 2), "layer {layer}:\n{plan}");
            assert!(
                passes.iter().all(|d| !d.kernel.finish.uses(elbow::Operand::Dz)),
                "layer {layer} writes dz again:\n{plan}"
            );
            assert_eq!(plan.scratch(elbow::Operand::Dz), 0, "layer {layer}: dz in scratch:\n{plan}");
        }
    }
}

#[test]
fn training_reduces_the_loss() {
    let gpu = Gpu::new().unwrap();
    for (spec, alpha) in [("prelu(0.25)", AlphaSource::PerChannel), ("gelu_erf", AlphaSource::Constant)] {
        let mut rng = Normal(5);
        let architecture = Architecture::new(&[2, 32, 32, 2], spec.parse().unwrap(), 200).alpha(alpha);
        let mlp = Mlp::new(&gpu, &architecture, &mut || rng.next()).unwrap();
        let x: Vec<f32> = (0..400).map(|_| rng.next()).collect();
        // Inside a circle or not: no linear map can tell.
        let labels: Vec<u32> = x.chunks(2).map(|p| u32::from(p[0] * p[0] + p[1] * p[1] < 1.0)).collect();
        let (x, labels) = (gpu.upload(&x, &[200, 2]).unwrap(), gpu.upload_words(&labels, &[200]).unwrap());
        let loss = gpu.zeros(&[200]).unwrap();
        let mean = |loss: &Tensor| gpu.download(loss).unwrap().iter().sum::<f32>() / 200.0;
        let step = Step::new(x.view(), labels.view(), loss.view(), 0.1).momentum(0.9);
        gpu.submit_pass(|pass| mlp.train(&gpu, pass, &step)).unwrap();
        let first = mean(&loss);
        for _ in 0..150 {
            gpu.submit_pass(|pass| mlp.train(&gpu, pass, &step)).unwrap();
        }
        let last = mean(&loss);
        assert!(last < 0.1 * first, "{spec}: the loss went from {first} to {last}");
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_records_nothing() {
    let gpu = Gpu::new().unwrap();
    let architecture = Architecture::new(&[4, 3, 2], Activation::RELU, 8);
    let mlp = Mlp::new(&gpu, &architecture, &mut || 0.5).unwrap();
    let before = gpu.download(mlp.parameters(0).unwrap().w).unwrap();
    let (x, wide, long) = (gpu.zeros(&[8, 4]).unwrap(), gpu.zeros(&[8, 5]).unwrap(), gpu.zeros(&[9, 4]).unwrap());
    let (labels, few) = (gpu.upload_words(&[0; 8], &[8]).unwrap(), gpu.upload_words(&[0; 7], &[7]).unwrap());
    let loss = gpu.zeros(&[8]).unwrap();
    let mut failures = Vec::new();
    let (good, nan) = ((1.0, 0.0), f32::NAN);
    gpu.submit_pass(|pass| {
        for (x, labels, (rate, momentum)) in [
            (&wide, &labels, good),
            (&long, &labels, good),
            (&x, &few, good),
            (&x, &loss, good),
            (&x, &labels, (nan, 0.0)),
            (&x, &labels, (f32::INFINITY, 0.0)),
            (&x, &labels, (1.0, nan)),
            (&x, &labels, (1.0, -0.9)),
        ] {
            let step = Step::new(x.view(), labels.view(), loss.view(), rate).momentum(momentum);
            failures.push(mlp.train(&gpu, &mut *pass, &step).unwrap_err().to_string());
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(
        failures,
        [
            "x: expected [.., 4] with at most 8 rows, because of max_batch, got [8, 5]",
            "x: expected [.., 4] with at most 8 rows, because of max_batch, got [9, 4]",
            "labels: expected [8], a label for each row of x, got [7]",
            "labels: expected u32 words, got f32",
            "sgd: rate: expected a finite number, got NaN",
            "sgd: rate: expected a finite number, got inf",
            "sgd: momentum: expected a finite number >= 0, got NaN",
            "sgd: momentum: expected a finite number >= 0, got -0.9",
        ]
    );
    assert_eq!(gpu.download(mlp.parameters(0).unwrap().w).unwrap(), before, "an error updated the parameters");

    let none = |sizes, activation, alpha| {
        Mlp::new(&gpu, &Architecture::new(sizes, activation, 8).alpha(alpha), &mut || 0.5).unwrap_err().to_string()
    };
    assert!(none(&[4], Activation::RELU, AlphaSource::Constant).starts_with("mlp: sizes: expected at least two"));
    assert!(none(&[4, 3, 2], Activation::RELU, AlphaSource::PerLayer).starts_with("alpha: expected no alpha"));

    let sgd = Sgd::new(&x, &wide, &x, 1.0);
    let error = gpu.submit(|encoder| sgd.record(&gpu, encoder)).unwrap_err().to_string();
    assert_eq!(error, "gradient: expected [8, 4], the shape of the parameter, got [8, 5]");
}

/// A loaded model predicts with what was loaded, whatever its products read; and nothing else writes its parameters.
#[test]
fn parameters_that_are_set_are_those_that_predict() {
    let gpu = Gpu::new().unwrap();
    let sizes = [3, 5, 2];
    let prelu = Activation::prelu(0.25).unwrap();
    for storage in Float::ALL {
        let alpha = AlphaSource::PerChannel;
        let architecture = Architecture::new(&sizes, prelu, 4).alpha(alpha).storage(storage);
        let mut normal = Normal(9);
        let [source, loaded] = [(); 2].map(|()| Mlp::new(&gpu, &architecture, &mut || normal.next()).unwrap());
        let x = gpu.upload_as(storage, &(0..12).map(|i| i as f32 / 4.0 - 1.0).collect::<Vec<_>>(), &[4, 3]).unwrap();
        let predict = |mlp: &Mlp| {
            gpu.submit_pass(|pass| mlp.forward(&gpu, pass, x.view())).unwrap();
            gpu.download(mlp.output(1).unwrap()).unwrap()
        };
        let (before, expected) = (predict(&loaded), predict(&source));
        assert_ne!(before, expected);
        for layer in 0..2 {
            let values = source.parameters(layer).unwrap();
            // As from a file: in f32, in memory of its own.
            let upload = |view: View<'_>| gpu.upload(&gpu.download(view).unwrap(), view.shape()).unwrap();
            let (w, b, alpha) = (upload(values.w), upload(values.b), values.alpha.map(upload));
            let values = Parameters::new(w.view(), b.view()).alpha(alpha.as_ref().map(Tensor::view));
            gpu.submit(|encoder| loaded.set_parameters(&gpu, encoder, layer, &values)).unwrap();
            let set = loaded.parameters(layer).unwrap();
            assert_eq!(gpu.download(set.w).unwrap(), gpu.download(&w).unwrap());
        }
        assert_eq!(predict(&loaded), expected, "{storage}");

        let hidden = loaded.parameters(0).unwrap();
        let other = gpu.zeros(&[5, 3]).unwrap();
        let said = |result: elbow::Result<()>| result.unwrap_err().to_string();
        let write = elementwise::Forward::new(Activation::RELU, &other, hidden.w);
        assert_eq!(
            said(gpu.submit(|encoder| write.record(&gpu, encoder))),
            "y: expected an operand that may be written, got a read-only view (View::read_only)"
        );
        let set = |layer, values: &Parameters<'_>| {
            said(gpu.submit(|encoder| loaded.set_parameters(&gpu, encoder, layer, values)))
        };
        let mine = Parameters::new(other.view(), hidden.b).alpha(hidden.alpha);
        assert!(set(0, &mine.w(hidden.b)).starts_with("w: expected [5, 3], got [5]"));
        assert!(set(0, &mine.alpha(None)).starts_with("alpha: expected an alpha"));
        assert!(set(1, &source.parameters(0).unwrap()).starts_with("w: expected [2, 5], got [5, 3]"));
        assert!(set(2, &mine).contains("the limit is 2"));
        assert_eq!(predict(&loaded), expected, "an error wrote a parameter");
    }
}
