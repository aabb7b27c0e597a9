//! Layers on Burn's tensors, forward and every gradient, against the f64 reference: on wgpu (behind fusion) and on the CPU.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{Case, numbers, tensor, values, wgpu};
use elbow_burn::{
    Activation, Layer,
    elbow::{AlphaSource, activation::rows},
    linear_act,
};

/// Of rounding, for each term and for the activation: the reference's terms are sums of absolute values.
const BOUND: f64 = 4e-6;

fn cases() -> Vec<Case> {
    // Every row of the table; one has no numbers by default.
    let of = |kind| Activation::new(kind, &[]).or(Activation::new(kind, &[0.25, -0.5])).unwrap();
    let mut cases: Vec<Case> = rows().iter().map(|row| Case::new(5, 9, 7, of(row.kind))).collect();
    for (m, n, k) in [(1, 1, 1), (3, 2, 1), (1, 33, 65), (64, 64, 64), (65, 67, 33), (130, 3, 5), (2, 130, 9)] {
        cases.push(Case::new(m, n, k, Activation::GELU_ERF));
        cases.push(Case { bias: false, ..Case::new(m, n, k, Activation::RELU) });
        cases.push(Case { gated: true, ..Case::new(m, n, k, Activation::SILU) });
    }
    for activation in [Activation::prelu(0.25).unwrap(), Activation::swish(1.0).unwrap()] {
        for alpha in [AlphaSource::PerLayer, AlphaSource::PerChannel] {
            cases.push(Case { alpha, ..Case::new(33, 17, 12, activation) });
            cases.push(Case { alpha, bias: false, gated: true, ..Case::new(6, 17, 12, activation) });
        }
    }
    cases
}

fn all_are_right(device: &Device, bound: f64) {
    let wrong: Vec<String> = cases().iter().flat_map(|case| case.wrong(&case.run(device), bound)).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn wgpu_layers_and_gradients_are_those_of_the_reference() {
    all_are_right(&wgpu().autodiff(), BOUND);
}

#[test]
fn cpu_layers_and_gradients_are_those_of_the_reference() {
    all_are_right(&Device::flex().autodiff(), BOUND);
}

/// A backend on the CPU that elbow has no kernels for.
#[expect(deprecated, reason = "it is there as long as it is there")]
fn another_cpu() -> Device {
    Device::ndarray()
}

/// In Burn's operators, which subtract 1 from exp(z) and round every step.
#[test]
fn layers_in_burns_own_operators_are_those_of_the_reference() {
    all_are_right(&another_cpu().autodiff(), 2.0 * BOUND);
}

/// At kinks, far out, at ±∞ and NaN: values, and slopes where z is a number.
#[test]
fn activations_in_burns_own_operators_are_those_of_the_table() {
    let device = another_cpu().autodiff();
    let (mut wrong, inf) = (Vec::new(), f32::INFINITY);
    for Case { activation, .. } in cases().into_iter().take(rows().len()) {
        let mut at: Vec<f32> = activation.kinks().iter().map(|kink| kink.at as f32).collect();
        at.extend([
            0.0,
            -0.0,
            1e-3,
            -1e-3,
            2.5,
            -2.5,
            12.0,
            -12.0,
            60.0,
            -60.0,
            200.0,
            -200.0,
            1e6,
            -1e6,
            inf,
            -inf,
            f32::NAN,
        ]);
        let z = tensor(&at, [at.len(), 1], &device).require_grad();
        let y = linear_act(z.clone(), Tensor::ones([1, 1], &device), None, activation).unwrap();
        let slopes = values(z.grad(&y.clone().sum().backward()).unwrap());
        for ((z, y), slope) in at.into_iter().zip(values(y)).zip(slopes) {
            let (want, want_slope) = (activation.value(z.into()), activation.slope(z.into()));
            let near = |got: f32, want: f64| {
                let got = f64::from(got);
                got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= BOUND * (1.0 + want.abs())
            };
            if !near(y, want) || z.is_finite() && !near(slope, want_slope) {
                wrong.push(format!("{activation} at {z}: {y}, slope {slope}; not {want}, {want_slope}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_layer_has_the_same_bits_each_time_with_and_without_gradients() {
    for device in [wgpu(), Device::flex(), another_cpu()] {
        let case = Case::new(33, 65, 20, Activation::GELU_ERF);
        let on = |device: &Device| {
            let x = tensor(&case.x(), [33, 20], device);
            values(linear_act(x, tensor(&case.w(), [20, 65], device), None, case.activation).unwrap())
        };
        assert_eq!(on(&device), on(&device));
        assert_eq!(on(&device), on(&device.clone().autodiff()));
        assert_eq!(case.run(&device.clone().autodiff()), case.run(&device.clone().autodiff()));
    }
}

/// What Burn does before is done before, what it does after sees the result, and nothing is mixed up: many layers and operators in turn, none waited for.
#[test]
fn work_of_burn_and_layers_take_turns_in_order() {
    let device = wgpu();
    let (m, k) = (16, 24);
    let w = numbers(k * k, 9);
    let mut x: Vec<f64> = numbers(m * k, 8).iter().map(|v| f64::from(*v)).collect();
    let mut t = tensor(&numbers(m * k, 8), [m, k], &device);
    let on_device = tensor(&w, [k, k], &device);
    for _ in 0..12 {
        t = linear_act(t.mul_scalar(0.5).add_scalar(0.25), on_device.clone(), None, Activation::TANH).unwrap() * 0.9;
        let before: Vec<f64> = x.iter().map(|v| v * 0.5 + 0.25).collect();
        for (i, x) in x.iter_mut().enumerate() {
            let (row, column) = (i / k, i % k);
            let z: f64 = (0..k).map(|l| before[row * k + l] * f64::from(w[l * k + column])).sum();
            *x = z.tanh() * 0.9;
        }
    }
    let worst = values(t).iter().zip(&x).map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-4, "off by {worst:.1e}");
}

/// Each thread has its own stream of CubeCL's, whose work is sent when it pleases.
#[test]
fn operands_of_other_threads_are_complete() {
    let device = wgpu();
    for round in 0..8 {
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    let device = device.clone();
                    scope.spawn(move || {
                        let values = numbers(64 * 64, 20 + thread + 3 * round);
                        let made = tensor(&values, [64, 64], &device).mul_scalar(0.5).add_scalar(0.125);
                        (values.iter().map(|v| v * 0.5 + 0.125).collect::<Vec<f32>>(), made)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let y = linear_act(made[0].1.clone(), made[1].1.clone(), None, Activation::IDENTITY).unwrap();
        let y = values(y + made[2].1.clone());
        for (i, y) in y.iter().enumerate() {
            let (row, column) = (i / 64, i % 64);
            let product: f64 =
                (0..64).map(|l| f64::from(made[0].0[row * 64 + l]) * f64::from(made[1].0[l * 64 + column])).sum();
            let want = product + f64::from(made[2].0[i]);
            assert!((f64::from(*y) - want).abs() < 1e-4, "round {round}: y[{i}] is {y}, not {want}");
        }
    }
}

/// x that is a transposed view, and one that is a part of wider rows; w that is a transposed view, which the kernels take as it lies.
#[test]
fn views_are_taken() {
    for device in [wgpu().autodiff(), Device::flex().autodiff(), another_cpu().autodiff()] {
        for (gated, activation) in [(false, Activation::GELU_ERF), (true, Activation::SILU)] {
            let case = Case { gated, ..Case::new(20, 33, 17, activation) };
            let (m, n, k) = (case.m, case.n, case.k);
            let turned = |values: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..columns * rows).map(|i| values[i % rows * columns + i / rows]).collect()
            };
            let x_turned = tensor(&turned(&case.x(), m, k), [k, m], &device).require_grad();
            let w_turned = tensor(&turned(&case.w(), k, n), [n, k], &device).require_grad();
            let (x, w) = (x_turned.clone().transpose(), w_turned.clone().transpose());
            let results = case.run_with(x, w, |grads| {
                let dx = values(x_turned.grad(grads).unwrap().transpose());
                vec![("dx", dx), ("dw", values(w_turned.grad(grads).unwrap().transpose()))]
            });
            assert_eq!(case.wrong(&results, BOUND), Vec::<String>::new(), "transposed");

            let mut wide = numbers(m * (k + 6), 30);
            for (row, x) in case.x().chunks(k).enumerate() {
                wide[row * (k + 6) + 2..][..k].copy_from_slice(x);
            }
            let wide = tensor(&wide, [m, k + 6], &device).require_grad();
            let w = tensor(&case.w(), [k, n], &device).require_grad();
            let results = case.run_with(wide.clone().slice([0..m, 2..2 + k]), w.clone(), |grads| {
                let dx = values(wide.grad(grads).unwrap().slice([0..m, 2..2 + k]));
                vec![("dx", dx), ("dw", values(w.grad(grads).unwrap()))]
            });
            assert_eq!(case.wrong(&results, BOUND), Vec::<String>::new(), "a part");
        }
    }
}

/// dy of a sum is one number, seen as a matrix.
#[test]
fn a_gradient_that_is_one_number_is_taken() {
    let device = wgpu().autodiff();
    let x = tensor(&numbers(6 * 5, 1), [6, 5], &device);
    let w = tensor(&numbers(5 * 4, 2), [5, 4], &device).require_grad();
    let y = linear_act(x.clone(), w.clone(), None, Activation::IDENTITY).unwrap();
    let dw = values(w.grad(&y.sum().backward()).unwrap());
    let columns = values(x.sum_dim(0));
    for (i, dw) in dw.iter().enumerate() {
        assert!((dw - columns[i / 4]).abs() < 1e-5);
    }
}

/// dy of what Burn turned afterwards is a turned view.
#[test]
fn a_gradient_that_is_a_transposed_view_is_taken() {
    for device in [wgpu().autodiff(), Device::flex().autodiff(), another_cpu().autodiff()] {
        let case = Case { bias: false, ..Case::new(7, 11, 5, Activation::GELU_ERF) };
        let x = tensor(&case.x(), [7, 5], &device);
        let w = tensor(&case.w(), [5, 11], &device).require_grad();
        let y = linear_act(x, w.clone(), None, case.activation).unwrap();
        let dy: Vec<f32> = (0..7 * 11).map(|i| case.dy()[i % 7 * 11 + i / 7]).collect();
        let grads = (y.transpose() * tensor(&dy, [11, 7], &device)).sum().backward();
        let (_, want, terms) = case.judge().remove(2);
        for ((got, want), terms) in values(w.grad(&grads).unwrap()).iter().zip(want).zip(terms) {
            assert!((f64::from(*got) - want).abs() <= BOUND * (1.0 + terms));
        }
    }
}

#[test]
fn leading_dimensions_are_rows() {
    for device in [wgpu(), Device::flex(), another_cpu()] {
        let case = Case::new(2 * 3 * 4, 5, 6, Activation::TANH);
        let w = || tensor(&case.w(), [6, 5], &device);
        let flat = linear_act(tensor(&case.x(), [24, 6], &device), w(), None, case.activation).unwrap();
        let deep = linear_act(tensor(&case.x(), [2, 3, 4, 6], &device), w(), None, case.activation).unwrap();
        assert_eq!(deep.dims(), [2, 3, 4, 5]);
        assert_eq!(values(deep), values(flat));
        let one = linear_act(tensor(&numbers(6, 1), [6], &device), w(), None, case.activation).unwrap();
        assert_eq!(one.dims(), [5]);
    }
}

/// No rows, no inputs, no outputs: y of nothing, act(b), gradients of 0.
#[test]
fn empty_ones_are_layers_too() {
    for device in [wgpu().autodiff(), Device::flex().autodiff(), another_cpu().autodiff()] {
        for (m, n, k) in [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)] {
            let case = Case::new(m, n, k, Activation::SIGMOID);
            assert_eq!(case.wrong(&case.run(&device), BOUND), Vec::<String>::new());
        }
    }
}

/// Only what Burn asks for is a gradient.
#[test]
fn parameters_without_gradients_stay_without() {
    let device = wgpu().autodiff();
    let case = Case::new(8, 9, 10, Activation::GELU_ERF);
    let x = tensor(&case.x(), [8, 10], &device);
    let w = tensor(&case.w(), [10, 9], &device).require_grad();
    let b = tensor(&case.b(), [9], &device);
    let y = linear_act(x.clone(), w.clone(), Some(b.clone()), case.activation).unwrap();
    let grads = (y * tensor(&case.dy(), [8, 9], &device)).sum().backward();
    assert!(x.grad(&grads).is_none() && b.grad(&grads).is_none());
    let (_, want, terms) = case.judge().remove(2);
    for ((got, want), terms) in values(w.grad(&grads).unwrap()).iter().zip(want).zip(terms) {
        assert!((f64::from(*got) - want).abs() <= BOUND * (1.0 + terms));
    }
}

/// Data that was made without autodiff is a constant.
#[test]
fn x_may_come_from_the_device_without_gradients() {
    for device in [wgpu(), Device::flex(), another_cpu()] {
        let case = Case { bias: false, ..Case::new(8, 9, 10, Activation::SILU) };
        let (x, tracked) = (tensor(&case.x(), [8, 10], &device), device.clone().autodiff());
        let w = tensor(&case.w(), [10, 9], &tracked).require_grad();
        let y = linear_act(x, w.clone(), None, case.activation).unwrap();
        let grads = (y * tensor(&case.dy(), [8, 9], &tracked)).sum().backward();
        let (_, want, terms) = case.judge().remove(2);
        for ((got, want), terms) in values(w.grad(&grads).unwrap()).iter().zip(want).zip(terms) {
            assert!((f64::from(*got) - want).abs() <= BOUND * (1.0 + terms));
        }
    }
}

/// Numbers of two bytes, where the device computes them: each operand is rounded once, and so is each result.
#[test]
fn f16_is_taken() {
    let device = wgpu().autodiff();
    if !device.supports_dtype(DType::F16) {
        println!("NOT RUN: the device has no f16");
        return;
    }
    let case = Case { bias: false, ..Case::new(9, 17, 12, Activation::GELU_ERF) };
    let x = tensor(&case.x(), [9, 12], &device).cast(DType::F16).require_grad();
    let w = tensor(&case.w(), [12, 17], &device).cast(DType::F16).require_grad();
    let y = linear_act(x.clone(), w.clone(), None, case.activation).unwrap();
    assert_eq!(y.dtype(), DType::F16);
    let dy = tensor(&case.dy(), [9, 17], &device).cast(DType::F16);
    let grads = (y.clone() * dy).sum().backward();
    let (dx, dw) = (x.grad(&grads).unwrap(), w.grad(&grads).unwrap());
    assert_eq!((dx.dtype(), dw.dtype()), (DType::F16, DType::F16));
    let results = vec![("y", values(y)), ("dx", values(dx)), ("dw", values(dw))];
    assert_eq!(case.wrong(&results, 1e-3), Vec::<String>::new());
}

#[test]
fn types_without_a_kernel_are_errors_by_name() {
    let flex = Device::flex();
    let (x, w) = (Tensor::<2>::zeros([2, 3], &flex), Tensor::<2>::zeros([3, 4], &flex));
    let error = linear_act(x.cast(DType::F64), w.cast(DType::F64), None, Activation::RELU).unwrap_err();
    assert_eq!(error.to_string(), "x: expected f32 on the CPU, got F64");
}

/// Both uses of one tensor, as x and as w, and of one layer's y in two others: gradients add up.
#[test]
fn gradients_of_a_tensor_that_is_used_twice_add_up() {
    let device = wgpu().autodiff();
    let square = numbers(8 * 8, 3);
    let s = tensor(&square, [8, 8], &device).require_grad();
    let y = linear_act(s.clone(), s.clone(), None, Activation::IDENTITY).unwrap();
    let ours = values(s.grad(&y.sum().backward()).unwrap());
    let s = tensor(&square, [8, 8], &device).require_grad();
    let theirs = values(s.grad(&s.clone().matmul(s.clone()).sum().backward()).unwrap());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-4);
    }
}

#[test]
fn mistakes_are_errors_by_name() {
    let device = wgpu();
    let zeros = |shape: [usize; 2]| Tensor::<2>::zeros(shape, &device);
    let one = |n: usize| Tensor::<1>::zeros([n], &device);
    let error = |layer: Layer<2>| layer.forward().unwrap_err().to_string();
    let relu = |x, w| Layer::new(Activation::RELU, x, w);
    let prelu = Activation::prelu(0.25).unwrap();
    let flex = Tensor::<2>::zeros([4, 5], &Device::flex());
    let unknown = Device::wgpu(burn::tensor::DeviceKind::Cpu);
    let table = [
        (error(relu(zeros([2, 3]), zeros([4, 5]))), "w: expected [3, N]"),
        (error(relu(zeros([2, 4]), zeros([4, 5])).b(one(4))), "b: expected"),
        (error(Layer::new(prelu, zeros([2, 4]), zeros([4, 5])).alpha(one(3))), "alpha: expected"),
        (error(relu(zeros([2, 4]), zeros([4, 5])).alpha(one(5))), "alpha"),
        (error(relu(zeros([2, 4]), zeros([4, 5])).w_up(zeros([5, 4]))), "w_up: expected"),
        (error(relu(zeros([2, 4]), zeros([4, 5])).b(one(5)).w_up(zeros([4, 5]))), "b_up: expected"),
        (error(relu(zeros([2, 4]), zeros([4, 5])).b_up(one(5))), "b_up: expected"),
        (error(relu(zeros([2, 4]), flex)), "w: expected a tensor on"),
        (
            error(relu(Tensor::zeros([2, 4], &unknown), Tensor::zeros([4, 5], &unknown))),
            "begin the program with elbow_burn::open",
        ),
    ];
    for (error, part) in table {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}
