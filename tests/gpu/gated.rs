//! Gated units on tensors: every activation, α kind, type and shape against the reference; halves of one tensor; in place; mistakes.

use elbow::{
    Activation, AlphaSource, Dtype, Float, Operand, Tensor, View,
    activation::Quantity,
    affine::Gradient,
    cpu::{Elementwise, reference::elementwise as reference},
    elementwise::Gated,
};
use elbow_verify::points;

use crate::common::{Numbers, gpu, ulp_of};

/// One unit, forward and backward, in these types; the halves of one tensor where `halves`.
struct Case {
    activation: Activation,
    rows: usize,
    channels: usize,
    alpha: AlphaSource,
    dtype: Float,
    halves: bool,
    accumulate: bool,
}

impl Case {
    fn run(&self, numbers: &mut Numbers) {
        let &Case { activation, rows, channels, alpha, dtype, halves, accumulate } = self;
        let (gpu, total, shape) = (gpu(), rows * channels, [rows, channels]);
        let mut normal = |n: usize| -> Vec<f32> { (0..n).map(|_| dtype.round(numbers.normal() * 2.0)).collect() };
        let (gate, up, dy) = (normal(total), normal(total), normal(total));
        let alphas = if alpha == AlphaSource::PerChannel { channels } else { 1 };
        let alpha_values: Vec<f32> = normal(alphas).iter().map(|a| a.abs() + 0.3).collect();
        let learns = alpha != AlphaSource::Constant;
        let request = Elementwise::new(rows, channels, activation).alpha(alpha);
        let given = learns.then_some(&alpha_values[..]);
        let y = reference::gated_forward(&request, &gate, &up, given).unwrap();
        let back = reference::gated_backward(&request, &gate, &up, given, &dy).unwrap();

        // Side by side in one tensor of twice the columns, or each by itself.
        let before = if accumulate { 3.0 } else { f32::NAN };
        let both = |first: &[f32], second: &[f32]| -> Vec<Tensor> {
            match halves {
                true => {
                    let rows = first.chunks(channels).zip(second.chunks(channels));
                    let joined: Vec<f32> = rows.flat_map(|(a, b)| [a, b].concat()).collect();
                    vec![gpu.upload_as(dtype, &joined, &[rows_of(&joined, 2 * channels), 2 * channels]).unwrap()]
                }
                false => [first, second].map(|values| gpu.upload_as(dtype, values, &shape).unwrap()).into(),
            }
        };
        let views = |tensors: &'static [Tensor]| -> [View<'static>; 2] {
            match tensors {
                [one] => [0, channels].map(|at| one.view().slice(1, at..at + channels).unwrap()),
                [first, second] => [first.view(), second.view()],
                _ => unreachable!(),
            }
        };
        let inputs: &'static [Tensor] = both(&gate, &up).leak();
        let outputs: &'static [Tensor] = both(&vec![before; total], &vec![before; total]).leak();
        let ([gate_, up_], [dgate, dup]) = (views(inputs), views(outputs));
        let dy_ = gpu.upload_as(dtype, &dy, &shape).unwrap();
        let y_ = gpu.zeros_of(dtype, &shape).unwrap();
        let alpha_ = gpu.upload(&alpha_values, &[alphas]).unwrap();
        let dalpha = gpu.upload(&vec![before; alphas], &[alphas]).unwrap();
        let into =
            |view: View<'static>| if accumulate { Gradient::accumulate(view) } else { Gradient::overwrite(view) };
        gpu.submit_pass(|pass| {
            let unit = Gated::new(activation, gate_, up_, &y_).alpha(learns.then(|| alpha_.view()));
            unit.record(gpu, &mut *pass)?;
            let sum = if accumulate { Gradient::accumulate(&dalpha) } else { Gradient::overwrite(&dalpha) };
            let backward = unit.backward(&dy_).dgate(into(dgate)).dup(into(dup));
            backward.dalpha(learns.then_some(sum)).record(gpu, &mut *pass)
        })
        .unwrap();

        let start = if accumulate { 3.0 } else { 0.0 };
        let what = format!("{activation} {rows}x{channels} {dtype} {alpha:?}");
        let tolerance = |quantity, i: usize, factors: f64| -> f64 {
            let at = i % channels;
            let activation = given.map_or(activation, |alpha| activation.with_alpha(alpha[at % alphas]));
            let (z, row) = (f64::from(gate[i]), activation.row());
            let size = activation.evaluate(quantity, z).abs().max(activation.terms(quantity, z));
            factors * (row.tolerance(quantity) + 2.0) * ulp_of(size)
        };
        let close = |name: &str, got: &[f32], want: &[f64], bound: &dyn Fn(usize) -> f64, start: f64, narrow: bool| {
            assert_eq!(got.len(), want.len());
            for (i, (&got, want)) in got.iter().zip(want).enumerate() {
                let want = want + start;
                let rounded = if narrow && dtype != Float::F32 { dtype.rounding(want.abs() + bound(i)) } else { 0.0 };
                let bound = bound(i) + 2.0 * ulp_of(want.abs().max(start)) + rounded + 1e-37;
                assert!(
                    (f64::from(got) - want).abs() <= bound,
                    "{what}: {name}[{i}] is {got}, expected {want} ± {bound:e}"
                );
            }
        };
        let factor = |i: usize, with_up: bool| {
            let up = if with_up { f64::from(up[i]).abs() } else { 1.0 };
            f64::from(dy[i]).abs() * up
        };
        let download = |view: View<'static>| {
            let packed = gpu.zeros_of(dtype, &shape).unwrap();
            gpu.submit(|encoder| elbow::elementwise::copy(view, &packed).record(gpu, encoder)).unwrap();
            gpu.download(&packed).unwrap()
        };
        let of_y = |i: usize| tolerance(Quantity::Value, i, f64::from(up[i]).abs());
        close("y", &gpu.download(&y_).unwrap(), &y, &of_y, 0.0, true);
        let of_gate = |i: usize| tolerance(Quantity::Slope, i, factor(i, true));
        close("dgate", &download(dgate), &back.dgate, &of_gate, start, true);
        let of_up = |i: usize| tolerance(Quantity::Value, i, factor(i, false));
        close("dup", &download(dup), &back.dup, &of_up, start, true);
        if learns {
            let of_alpha = |i: usize| -> f64 {
                let own = (0..total).filter(|at| alphas == 1 || at % channels == i);
                own.map(|at| tolerance(Quantity::AlphaSlope, at, factor(at, true))).sum::<f64>()
                    + back.dalpha.terms[i] * 1e-6
            };
            close("dalpha", &gpu.download(&dalpha).unwrap(), &back.dalpha.value, &of_alpha, start, false);
        }
    }
}

fn rows_of(values: &[f32], columns: usize) -> usize {
    values.len() / columns.max(1)
}

#[test]
fn every_activation() {
    let mut numbers = Numbers::new(5);
    for (i, activation) in points::defaults().into_iter().enumerate() {
        let learnable = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][i % 3];
        let alpha = if activation.has_alpha() { learnable } else { AlphaSource::Constant };
        Case { activation, rows: 5, channels: 12, alpha, dtype: Float::F32, halves: i % 2 == 0, accumulate: i % 4 < 2 }
            .run(&mut numbers);
    }
}

#[test]
fn every_type_on_odd_shapes() {
    let mut numbers = Numbers::new(6);
    let shapes = [(1, 1), (3, 5), (17, 64), (130, 33), (1, 4096), (4096, 1)];
    for (i, (rows, channels)) in shapes.into_iter().enumerate() {
        for (name, alpha) in
            [("silu", AlphaSource::Constant), ("swish", AlphaSource::PerChannel), ("prelu", AlphaSource::PerLayer)]
        {
            let dtype = [Float::F32, Float::F16, Float::Bf16][i % 3];
            let activation = name.parse().unwrap();
            Case { activation, rows, channels, alpha, dtype, halves: i % 2 == 1, accumulate: false }.run(&mut numbers);
        }
    }
}

#[test]
fn in_the_memory_of_the_gate() {
    let gpu = gpu();
    let (gate, up) = (gpu.upload(&[-1.0, 0.5, 2.0], &[3]).unwrap(), gpu.upload(&[4.0, 4.0, 3.0], &[3]).unwrap());
    let unit = Gated::new(Activation::RELU, &gate, &up, &gate);
    gpu.submit(|encoder| unit.record(gpu, encoder)).unwrap();
    assert_eq!(gpu.download(&gate).unwrap(), [0.0, 2.0, 6.0]);
    let error = gpu.submit(|encoder| unit.backward(&up).dup(&gate).record(gpu, encoder)).unwrap_err().to_string();
    assert!(error.contains("gate") && error.contains("has not overwritten"), "{error}");
}

/// A ReLU that is shut stops what is infinite, and lets NaN through.
#[test]
fn infinity_and_nan() {
    let gpu = gpu();
    let gate = gpu.upload(&[-1.0, -1.0, 1.0, f32::NAN], &[4]).unwrap();
    let up = gpu.upload(&[f32::INFINITY, f32::NAN, 2.0, 1.0], &[4]).unwrap();
    let dy = gpu.upload(&[1.0, 1.0, f32::INFINITY, 1.0], &[4]).unwrap();
    let (y, dgate, dup) = (gpu.zeros(&[4]).unwrap(), gpu.zeros(&[4]).unwrap(), gpu.zeros(&[4]).unwrap());
    gpu.submit_pass(|pass| {
        let unit = Gated::new(Activation::RELU, &gate, &up, &y);
        unit.record(gpu, &mut *pass)?;
        unit.backward(&dy).dgate(&dgate).dup(&dup).record(gpu, &mut *pass)
    })
    .unwrap();
    let [y, dgate, dup] = [y, dgate, dup].map(|tensor| gpu.download(&tensor).unwrap());
    // 0·∞ in forward is NaN, as everywhere.
    assert!(y[0].is_nan() && y[1].is_nan() && y[2] == 2.0 && y[3].is_nan(), "{y:?}");
    assert!(dgate[0] == 0.0 && dgate[1].is_nan() && dgate[2] == f32::INFINITY && dgate[3].is_nan(), "{dgate:?}");
    assert!(dup[0] == 0.0 && dup[1] == 0.0 && dup[2] == f32::INFINITY && dup[3].is_nan(), "{dup:?}");
}

#[test]
fn mistakes_are_named() {
    let gpu = gpu();
    let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
    let (gate, up, y, wide, alpha) = (zeros(&[4, 3]), zeros(&[4, 3]), zeros(&[4, 3]), zeros(&[4, 6]), zeros(&[3]));
    let unit = Gated::new(Activation::SILU, &gate, &up, &y);
    let gone = View::absent(&[4, 3], Dtype::F32);
    for (result, words) in [
        (unit.up(&wide).plan(gpu).map(drop), ["up", "the shape of gate"]),
        (unit.y(&wide).plan(gpu).map(drop), ["y", "the shape of gate"]),
        (unit.alpha(alpha.view()).plan(gpu).map(drop), ["alpha", "no learnable parameter"]),
        (unit.backward(&wide).dup(&y).plan(gpu).map(drop), ["dy", "the shape of gate"]),
        (unit.backward(&y).dgate(&wide).plan(gpu).map(drop), ["dgate", "the shape of gate"]),
        (unit.backward(&y).dalpha(&alpha).plan(gpu).map(drop), ["dalpha", "no alpha operand"]),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: expected {words:?}");
    }
    let error = gpu.submit(|encoder| unit.backward(&y).dgate(&up).record(gpu, encoder)).unwrap_err();
    assert!(matches!(error, elbow::Error::Alias { .. }), "{error}");
    // dup does not read up.
    let (dy, dup) = (zeros(&[4, 3]), zeros(&[4, 3]));
    gpu.submit(|encoder| unit.up(gone).backward(&dy).dup(&dup).record(gpu, encoder)).unwrap();
    let error = gpu.submit(|encoder| unit.up(gone).backward(&dy).dgate(&dup).record(gpu, encoder)).unwrap_err();
    assert!(matches!(error, elbow::Error::Operand { operand: Operand::Up, .. }), "{error}");
}
