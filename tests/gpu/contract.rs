//! What no peer writes down: NaN, infinities, kinks, determinism, sums that keep their digits.

use elbow::{
    Activation, Error, Float, Gpu, Saved, Tensor, View, activation::rows, affine::Forward, elementwise,
    gpu::AdapterChoice,
};

use crate::common::{Numbers, gpu, options};

/// A layer at its operands: forward with z saved, then every gradient.
struct Run {
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
}

fn layer(gpu: &Gpu, activation: Activation, x: &Tensor, w: &Tensor, dy: &Tensor) -> Run {
    let (m, k, n) = (x.shape()[0], x.shape()[1], w.shape()[0]);
    let [y, z] = std::array::from_fn(|_| gpu.zeros(&[m, n]).unwrap());
    let (dx, dw, db) = (gpu.zeros(&[m, k]).unwrap(), gpu.zeros(&[n, k]).unwrap(), gpu.zeros(&[n]).unwrap());
    gpu.submit_pass(|pass| {
        let forward = Forward::new(activation, x, w, &y).saved(Saved::Z).save_to(z.view());
        forward.record(gpu, &mut *pass)?;
        forward.backward(dy).dx(&dx).dw(&dw).db(&db).record(gpu, &mut *pass)
    })
    .unwrap();
    let get = |t| gpu.download(t).unwrap();
    Run { y: get(&y), dx: get(&dx), dw: get(&dw), db: get(&db) }
}

fn normal(gpu: &Gpu, numbers: &mut Numbers, rows: usize, cols: usize) -> (Vec<f32>, Tensor) {
    let values: Vec<f32> = (0..rows * cols).map(|_| numbers.normal()).collect();
    let tensor = gpu.upload(&values, &[rows, cols]).unwrap();
    (values, tensor)
}

#[test]
fn one_nan_spoils_its_row_or_its_column_and_nothing_else() {
    let gpu = gpu();
    let (m, n, k) = (37, 41, 19);
    for spec in ["relu", "leaky_relu", "relu6", "gelu", "silu", "elu", "hardshrink"] {
        let activation: Activation = spec.parse().unwrap();
        let mut numbers = Numbers::new(1);
        let (mut x, _) = normal(gpu, &mut numbers, m, k);
        let (_, w) = normal(gpu, &mut numbers, n, k);
        let (_, dy) = normal(gpu, &mut numbers, m, n);
        x[20 * k + 3] = f32::NAN;
        let run = layer(gpu, activation, &gpu.upload(&x, &[m, k]).unwrap(), &w, &dy);
        for row in 0..m {
            let nan = |v: &[f32]| v.iter().all(|v| v.is_nan());
            let finite = |v: &[f32]| v.iter().all(|v| v.is_finite());
            let (y, dx) = (&run.y[row * n..][..n], &run.dx[row * k..][..k]);
            assert!(if row == 20 { nan(y) && nan(dx) } else { finite(y) && finite(dx) }, "{spec}: row {row}");
        }
        assert!(run.db.iter().all(|v| v.is_nan()), "{spec}: db sums over the spoiled row");
        assert!(run.dw.iter().all(|v| v.is_nan()), "{spec}: dw sums over the spoiled row");

        let (_, x) = normal(gpu, &mut numbers, m, k);
        let (mut w, _) = normal(gpu, &mut numbers, n, k);
        w[7 * k + 2] = f32::NAN;
        let run = layer(gpu, activation, &x, &gpu.upload(&w, &[n, k]).unwrap(), &dy);
        for (i, y) in run.y.iter().enumerate() {
            assert_eq!(y.is_nan(), i % n == 7, "{spec}: y[{i}]");
        }
        for (i, db) in run.db.iter().enumerate() {
            assert_eq!(db.is_nan(), i == 7, "{spec}: db[{i}]");
        }
    }
}

#[test]
fn the_same_bits_every_time() {
    let gpu = gpu();
    let mut numbers = Numbers::new(2);
    let (_, x) = normal(gpu, &mut numbers, 130, 77);
    let (_, w) = normal(gpu, &mut numbers, 65, 77);
    let (_, dy) = normal(gpu, &mut numbers, 130, 65);
    let bits = |run: &Run| -> Vec<u32> {
        [&run.y, &run.dx, &run.dw, &run.db].into_iter().flatten().map(|v| v.to_bits()).collect()
    };
    let first = bits(&layer(gpu, Activation::GELU_ERF, &x, &w, &dy));
    for _ in 0..20 {
        assert_eq!(bits(&layer(gpu, Activation::GELU_ERF, &x, &w, &dy)), first);
    }
}

/// db and dα of 2²⁰ rows, lognormal terms of one sign: within 8·2⁻²⁴ of the sum.
#[test]
fn long_sums_keep_their_digits() {
    let gpu = gpu();
    let rows = 1 << 20;
    let mut numbers = Numbers::new(5);
    let dy: Vec<f32> = (0..rows).map(|_| numbers.normal().exp()).collect();
    let exact: f64 = dy.iter().map(|&v| f64::from(v)).sum();
    let dy = gpu.upload(&dy, &[rows, 1]).unwrap();
    let x = gpu.upload(&vec![-1.0; rows], &[rows, 1]).unwrap();
    let (db, dalpha) = (gpu.zeros(&[1]).unwrap(), gpu.zeros(&[1]).unwrap());
    let alpha = gpu.upload(&[1.0], &[1]).unwrap();
    let gone = |shape| View::absent(shape, Float::F32);
    let (no_x, no_w, ys) = ([rows, 0], [1, 0], [rows, 1]);
    let layer = Forward::new("prelu".parse().unwrap(), gone(&no_x), gone(&no_w), gone(&ys))
        .alpha(alpha.view())
        .saved(Saved::Z)
        .save_to(x.view());
    let call = layer.backward(&dy).db(&db).dalpha(&dalpha);
    gpu.submit(|e| call.record(gpu, e)).unwrap();
    for (name, sum, sign) in [("db", db, 1.0), ("dalpha", dalpha, -1.0)] {
        let got = f64::from(gpu.download(&sum).unwrap()[0]);
        let error = (got - sign * exact).abs() / (exact * f64::powi(2.0, -24));
        println!("{name}: {error:.2} × 2⁻²⁴ of the sum");
        assert!(error <= 8.0, "{name}: {error}");
    }
}

/// More than 65,535 tiles in a product.
#[test]
fn a_product_of_more_workgroups_than_one_dimension_holds() {
    let gpu = gpu();
    let m = 70_001;
    let values: Vec<f32> = (0..m).map(|i| (i % 9) as f32 - 4.0).collect();
    let x = gpu.upload(&values, &[m, 1]).unwrap();
    let w = gpu.upload(&[2.0], &[1, 1]).unwrap();
    let y = gpu.zeros(&[m, 1]).unwrap();
    let call = Forward::new(Activation::RELU, &x, &w, &y).pin(elbow::plan::Pin::default().tile(3).splits(1));
    assert!(call.plan(gpu).unwrap().dispatches[0].params.tiles > 65_535);
    gpu.submit(|e| call.record(gpu, e)).unwrap();
    let expected: Vec<f32> = values.iter().map(|v| (2.0 * v).max(0.0)).collect();
    assert_eq!(gpu.download(&y).unwrap(), expected);
}

/// A mask cannot say NaN: documented, and this is what it does.
#[test]
fn a_mask_lets_the_gradient_pass_where_z_was_nan() {
    for row in rows().iter().filter(|r| r.from_bit && r.parameters.iter().all(|p| p.default.is_some())) {
        let activation = Activation::new(row.kind, &[]).unwrap();
        assert!(activation.bit(f64::NAN), "{activation}");
    }
}

/// Measured once; where subnormals are said to be kept, a kernel of another shape keeps them too.
#[test]
fn what_becomes_of_subnormals_is_measured_once() {
    let gpu = Gpu::with_options(options()).unwrap();
    let (before, start) = (gpu.pipelines(), std::time::Instant::now());
    let subnormals = gpu.subnormals().unwrap();
    println!("subnormals: {subnormals}; measured in {:?}", start.elapsed());
    assert_eq!((gpu.subnormals(), gpu.pipelines()), (Ok(subnormals), before + 1));
    let values = [-1e-40f32, -3e-39, -1e-45];
    let x = gpu.upload(&values, &[3]).unwrap();
    let y = gpu.zeros(&[3]).unwrap();
    let double: Activation = "leaky_relu(2)".parse().unwrap();
    gpu.submit_pass(|pass| elementwise::Forward::new(double, &x, &y).record(&gpu, pass)).unwrap();
    for (got, kept) in gpu.download(&y).unwrap().into_iter().zip(values.map(|x| 2.0 * x)) {
        assert!(got == kept || (got == 0.0 && !subnormals.are_kept()), "{got:e}, not {kept:e}: {subnormals}");
    }
}

/// However its name is written; another name is an error that lists what there is.
#[test]
fn an_adapter_is_found_by_any_case_of_its_name() {
    let name = gpu().info().name.clone();
    let open = |name: String| {
        let backend = gpu().info().backend.to_str().to_owned();
        let choice = AdapterChoice::default().name(name).backend(backend);
        pollster::block_on(Gpu::open(&choice, options().self_test(false)))
    };
    for written in [name.to_uppercase(), name.to_lowercase()] {
        assert_eq!(open(written).unwrap().info().name, name);
    }
    let Error::NoAdapter { found, .. } = open("no such adapter".into()).unwrap_err() else { panic!() };
    assert!(found.iter().any(|found| found.contains(&name)), "{found:?}");
}
