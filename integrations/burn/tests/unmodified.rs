//! Unmodified models: Burn's own `Linear` and activations on a device that elbow knows, beside the same on one that it does not, in one process. What comes out must
//! agree, and the layers that ran on elbow's kernels are counted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use burn::{
    module::{Module, Param},
    nn::{Gelu, Linear, LinearConfig, LinearLayout, Relu, loss::CrossEntropyLossConfig},
    optim::{GradientsParams, SgdConfig},
    tensor::{DType, Device, Int, Tensor, TensorData, activation},
};
use common::{burns_own, numbers, tensor, values, wgpu};
use elbow_burn::{fused, register};

/// Relative to the value, or to 1: two orders of summing up to 100 products of numbers below 1.
const BOUND: f32 = 2e-5;
/// f16 keeps eleven bits; Burn rounds every operator's result, elbow only the last.
const BOUND_F16: f32 = 6e-3;

/// The device that elbow knows, and one of the same adapter that it does not.
struct Devices {
    ours: Device,
    burns: Device,
    /// Counts are of the whole process: one test after the other.
    _alone: MutexGuard<'static, ()>,
}

fn devices() -> Devices {
    static REGISTERED: Once = Once::new();
    static ALONE: Mutex<()> = Mutex::new(());
    REGISTERED.call_once(|| register().unwrap());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Devices { ours: wgpu(), burns: burns_own(), _alone }
}

/// The layers that ran meanwhile, and those that were left.
fn counted<T>(run: impl FnOnce() -> T) -> (T, [u64; 2]) {
    let before = fused();
    let made = run();
    let after = fused();
    (made, [after.layers - before.layers, after.left - before.left])
}

impl Devices {
    /// Runs the same on both devices and compares; says how many layers elbow ran and left.
    fn agree(&self, what: &str, bound: f32, run: impl Fn(&Device) -> Vec<Vec<f32>>) -> [u64; 2] {
        let (theirs, none) = counted(|| run(&self.burns));
        assert_eq!(none, [0, 0], "{what}: Burn's own device");
        let (ours, count) = counted(|| run(&self.ours));
        assert_eq!(ours.len(), theirs.len());
        for (which, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours.len(), theirs.len(), "{what}");
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                let near = (ours - theirs).abs() <= bound * theirs.abs().max(1.0);
                assert!(near, "{what}: result {which} [{at}] is {ours}, Burn's is {theirs}");
            }
        }
        count
    }
}

fn layer(k: usize, n: usize, seed: u32, device: &Device) -> Linear {
    let weight = Param::from_tensor(tensor(&numbers(k * n, seed), [k, n], device));
    Linear { weight, bias: Some(Param::from_tensor(tensor(&numbers(n, seed + 1), [n], device))) }
}

#[derive(Module, Debug)]
struct Digits {
    first: Linear,
    relu: Relu,
    middle: Linear,
    gelu: Gelu,
    last: Linear,
}

impl Digits {
    fn new(device: &Device) -> Self {
        Digits {
            first: layer(64, 48, 1, device),
            relu: Relu::new(),
            middle: layer(48, 32, 3, device),
            gelu: Gelu::new(),
            last: layer(32, 10, 5, device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.relu.forward(self.first.forward(x));
        let x = self.gelu.forward(self.middle.forward(x * 0.1));
        self.last.forward(x)
    }
}

/// Two layers a forward; the third has no activation. Shapes alternate, so that what Burn learnt of the first is used again, also where the sizes of two dimensions are
/// one.
#[test]
fn a_model_computes_the_same_without_gradients() {
    let both = devices();
    let run = |device: &Device| {
        let model = Digits::new(device);
        [32, 7, 32, 1, 48, 64].map(|m| values(model.forward(tensor(&numbers(m * 64, 9), [m, 64], device)))).to_vec()
    };
    assert_eq!(both.agree("digits", BOUND, run), [2 * 6, 0]);
}

/// z is read again by backward, which is Burn's: losses of a few steps, the gradients of the last, and the parameters after it.
#[test]
fn a_model_learns_the_same() {
    let both = devices();
    let learn = |device: &Device, waits: bool| {
        let device = device.clone().autodiff();
        let mut model = Digits::new(&device);
        let mut sgd = SgdConfig::new().init();
        let cross_entropy = CrossEntropyLossConfig::new().init(&device);
        let labels: Vec<i32> = (0..32).map(|i| i * 7 % 10).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [32]), &device);
        let mut results = Vec::new();
        for step in 0..4 {
            let y = model.forward(tensor(&numbers(32 * 64, 20 + step), [32, 64], &device));
            let loss = cross_entropy.forward(y, labels.clone());
            let grads = loss.backward();
            results.push(values(loss));
            let of = |linear: &Linear| linear.weight.val().grad(&grads).unwrap();
            results.extend([&model.first, &model.middle, &model.last].map(|linear| values(of(linear))));
            let grads = GradientsParams::from_grads(grads, &model);
            model = sgd.step(0.01, model, grads);
            if waits {
                device.sync().unwrap();
            }
        }
        results.push(values(model.first.weight.val()));
        results
    };
    let waiting = both.agree("digits learn", 10.0 * BOUND, |device| learn(device, true));
    assert_eq!(waiting, [2 * 4, 0]);
    // In one stream with the steps of the optimiser Burn looks for fusions in fewer places.
    let [layers, left] = both.agree("digits learn", 10.0 * BOUND, |device| learn(device, false));
    assert!((4..=8).contains(&layers) && left == 0, "{layers} layers, {left} left");
}

type Function = fn(Tensor<3>) -> Tensor<3>;

/// Burn's activations, and whether a layer with it is fused where Burn keeps what its backward will read. Of silu the sigmoid is.
const ACTIVATIONS: [(&str, Function, u64); 9] = [
    ("relu", activation::relu, 1),
    ("gelu", activation::gelu, 1),
    ("sigmoid", activation::sigmoid, 1),
    ("tanh", activation::tanh, 1),
    ("silu", activation::silu, 1),
    ("gelu_approximate", activation::gelu_approximate, 0),
    ("leaky_relu", |z| activation::leaky_relu(z, 0.2), 0),
    ("relu6", activation::relu6, 0),
    ("hardtanh", |z| activation::hardtanh(z, -0.4, 0.7), 0),
];

/// Every activation, two and three dimensions (of 4 × 5 rows, which Burn folds into one matrix, and of 3 × 32, which it does not), with and without a bias; with one
/// weight in columns.
#[test]
fn every_activation_is_found() {
    let both = devices();
    for (name, act, _) in ACTIVATIONS {
        for (batch, rows, n) in [(1, 9, 33), (4, 5, 70), (3, 32, 20), (1, 1, 1), (20, 1, 20)] {
            for bias in [true, false] {
                let what = format!("{name} of {batch} x {rows} x {n}, bias: {bias}");
                let run = |device: &Device| {
                    let mut linear = layer(20, n, 3, device);
                    linear.bias = linear.bias.filter(|_| bias);
                    let x = tensor(&numbers(batch * rows * 20, 9), [batch, rows, 20], device);
                    vec![values(act(linear.forward(x)))]
                };
                assert_eq!(both.agree(&what, BOUND, run), [1, 0], "{what}");
            }
        }
    }
}

#[test]
fn every_activation_has_its_gradients() {
    let both = devices();
    for (name, act, fused) in ACTIVATIONS {
        for (batch, rows) in [(1, 9), (4, 5), (3, 32)] {
            let what = format!("{name} of {batch} x {rows}");
            let run = |device: &Device| {
                let device = device.clone().autodiff();
                let linear = layer(20, 33, 3, &device);
                let x = tensor(&numbers(batch * rows * 20, 9), [batch, rows, 20], &device).require_grad();
                let dy = tensor(&numbers(batch * rows * 33, 8), [batch, rows, 33], &device);
                let y = act(linear.forward(x.clone()));
                let grads = (y.clone() * dy).sum().backward();
                let (weight, bias) = (linear.weight.val(), linear.bias.as_ref().unwrap().val());
                let (dw, db) = (weight.grad(&grads).unwrap(), bias.grad(&grads).unwrap());
                vec![values(y), values(x.grad(&grads).unwrap()), values(dw), values(db)]
            };
            assert_eq!(both.agree(&what, 5.0 * BOUND, run), [fused, 0], "{what}");
        }
    }
}

#[test]
fn f16_is_found() {
    let both = devices();
    if !both.ours.supports_dtype(DType::F16) {
        println!("NOT RUN: the device has no f16");
        return;
    }
    for (name, act, _) in ACTIVATIONS {
        let run = |device: &Device| {
            let half = |values: Vec<f32>, shape: [usize; 3]| tensor(&values, shape, device).cast(DType::F16);
            let (x, w) = (half(numbers(3 * 7 * 20, 9), [3, 7, 20]), half(numbers(20 * 33, 3), [1, 20, 33]));
            let b = half(numbers(33, 4), [1, 1, 33]);
            device.sync().unwrap();
            vec![values(act(x.matmul(w) + b))]
        };
        assert_eq!(both.agree(name, BOUND_F16, run), [1, 0], "{name} in f16");
    }
}

/// A weight that lies in columns is a transposed view.
#[test]
fn a_weight_in_columns_is_found() {
    let both = devices();
    let run = |device: &Device| {
        let linear = LinearConfig::new(20, 33).with_layout(LinearLayout::Col).init(device);
        let weight = linear.weight.map(|w| tensor(&numbers(20 * 33, 3), [20, 33], &w.device()));
        let linear = Linear { weight, bias: layer(20, 33, 3, device).bias };
        let x = tensor(&numbers(9 * 20, 9), [9, 20], device);
        let w = tensor(&numbers(33 * 20, 5), [33, 20], device).transpose();
        vec![values(activation::relu(linear.forward(x.clone()))), values(activation::gelu(x.matmul(w)))]
    };
    assert_eq!(both.agree("columns", BOUND, run), [2, 0]);
}

type Stream = fn(Operands) -> Vec<Tensor<2>>;

struct Operands {
    x: Tensor<2>,
    w: Tensor<2>,
    b: Tensor<2>,
    square: Tensor<2>,
    linear: Linear,
}

/// What a stream may hold besides: results that are read again, tensors that end or are used twice, operators ahead, in between and behind, and what is no layer. How
/// many layers are found in each, and left.
#[test]
fn streams_with_other_things_in_them_agree() {
    let both = devices();
    use activation::{gelu, relu, sigmoid, silu, tanh};
    let table: [(&str, Stream, [u64; 2]); 25] = [
        (
            "z is read again",
            |o| {
                let z = o.linear.forward(o.x);
                vec![relu(z.clone()) + z]
            },
            [1, 0],
        ),
        (
            "z is read much later",
            |o| {
                let z = o.linear.forward(o.x);
                let y = relu(z.clone());
                vec![y * 2.0 + 1.0, z * 3.0]
            },
            [1, 0],
        ),
        (
            "z is a result",
            |o| {
                let z = o.linear.forward(o.x);
                vec![gelu(z.clone()), z]
            },
            [1, 0],
        ),
        (
            "z is read by two activations",
            |o| {
                let z = o.linear.forward(o.x);
                vec![gelu(z.clone()), tanh(z)]
            },
            [1, 0],
        ),
        (
            "the product is read again",
            |o| {
                let p = o.x.matmul(o.w);
                vec![relu(p.clone() + o.b), p]
            },
            [0, 0],
        ),
        (
            "an inner result is read again",
            |o| {
                let s = sigmoid(o.x.clone().matmul(o.w.clone()));
                vec![s.clone() * o.x.matmul(o.w), s]
            },
            [1, 0],
        ),
        (
            "z ends unread",
            |o| {
                let z = o.linear.forward(o.x);
                let y = relu(z.clone());
                drop(z);
                vec![y]
            },
            [1, 0],
        ),
        (
            "y is read twice",
            |o| {
                let y = relu(o.linear.forward(o.x));
                vec![y.clone() * y.clone(), y]
            },
            [1, 0],
        ),
        ("x twice", |o| vec![relu(o.linear.forward(o.x.clone())) + o.x.matmul(o.w)], [1, 0]),
        ("x and w are one", |o| vec![relu(o.square.clone().matmul(o.square))], [1, 0]),
        ("b is x", |o| vec![tanh(o.b.clone().matmul(o.square) + o.b)], [1, 0]),
        (
            "b is x, as a view",
            |o| {
                let row = o.b.reshape([33]);
                vec![tanh(row.clone().unsqueeze::<2>().matmul(o.square) + row.unsqueeze())]
            },
            [1, 0],
        ),
        ("one operator ahead", |o| vec![silu(o.linear.forward(o.x * 0.5))], [1, 0]),
        ("operators ahead", |o| vec![silu(o.linear.forward((o.x * 0.5 + 0.25).exp() * 0.1))], [1, 0]),
        ("turned", |o| vec![relu(o.x.transpose().transpose().matmul(o.w))], [1, 0]),
        (
            "the same layer three times",
            |o| {
                let x = relu(o.square.clone().matmul(o.square.clone())) * 0.01;
                let x = relu(x.matmul(o.square.clone()));
                vec![relu(x.matmul(o.square) * 0.1)]
            },
            [2, 0],
        ),
        ("the sum is turned round", |o| vec![relu(o.b + o.x.matmul(o.w))], [1, 0]),
        (
            "by hand",
            |o| {
                let z = o.x.matmul(o.w) + o.b;
                vec![sigmoid(z.clone()) * z]
            },
            [1, 0],
        ),
        (
            "another function of GELU's form",
            |o| {
                let z = o.linear.forward(o.x);
                vec![z.clone() * ((z / 3.0).erf() + 1.0) / 2.0]
            },
            [0, 1],
        ),
        ("another sum", |o| vec![relu(o.x.clone().matmul(o.w.clone()) + o.x.matmul(o.w) * 0.5)], [0, 0]),
        (
            "a column is no bias",
            |o| {
                let column = o.x.clone().slice([0..9, 0..1]);
                vec![relu(o.x.matmul(o.w) + column)]
            },
            [0, 0],
        ),
        ("a scale in between", |o| vec![relu(o.linear.forward(o.x) * 0.5)], [0, 0]),
        (
            "a square in the place of z times",
            |o| {
                let y = sigmoid(o.linear.forward(o.x));
                vec![y.clone() * y]
            },
            [1, 0],
        ),
        (
            "a weight for each batch",
            |o| {
                let two = |of: Tensor<2>| Tensor::stack::<3>(vec![of.clone(), of * 0.5], 0);
                let (x, w) = (two(o.x), two(o.w));
                vec![relu(x.matmul(w)).reshape([18, 33])]
            },
            [0, 0],
        ),
        ("no activation", |o| vec![o.linear.forward(o.x).sum_dim(1)], [0, 0]),
    ];
    for (what, stream, count) in table {
        let run = |device: &Device| {
            let (x, w) = (tensor(&numbers(9 * 20, 9), [9, 20], device), tensor(&numbers(20 * 33, 3), [20, 33], device));
            let (b, square) =
                (tensor(&numbers(33, 4), [1, 33], device), tensor(&numbers(33 * 33, 5), [33, 33], device));
            let made = stream(Operands { x, w, b, square, linear: layer(20, 33, 3, device) });
            made.into_iter().map(values).collect()
        };
        for again in 0..2 {
            assert_eq!(both.agree(what, BOUND, run), count, "{what}, time {again}");
        }
    }
}

/// Streams of several threads, each with its own model.
#[test]
fn threads_have_their_layers() {
    let both = devices();
    let run = |device: &Device| {
        std::thread::scope(|scope| {
            let one = |seed| {
                let device = device.clone();
                scope.spawn(move || {
                    values(Digits::new(&device).forward(tensor(&numbers(9 * 64, seed), [9, 64], &device)))
                })
            };
            let threads: Vec<_> = [31, 32, 33].map(one).into();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    assert_eq!(both.agree("threads", BOUND, run), [2 * 3, 0]);
}

#[test]
fn it_is_registered_once_and_before_the_first_tensor() {
    let both = devices();
    values(Tensor::<1>::ones([1], &both.ours) + 1.0);
    let error = register().unwrap_err().to_string();
    assert!(error.contains("elbow's layers in Burn's streams") && error.contains("already running"), "{error}");
}
