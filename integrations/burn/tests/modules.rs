//! Modules: parameters, records, what Burn's own layers compute from the same ones, and memory that is Burn's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::any::Any;

use burn::{
    backend::Cube,
    config::Config,
    module::{Module, Param},
    nn::{LinearConfig, LinearLayout, PReluConfig},
    store::ModuleRecord,
    tensor::{Device, Tensor, activation},
};
use burn_cubecl::{
    CubeBackend,
    cubecl::wgpu::{AutoCompiler, WgpuServer},
};
use common::{Case, numbers, tensor, values, wgpu};
use elbow_burn::{Activation, Alpha, LinearAct, LinearActConfig, MlpConfig, linear_act};

/// An activation of Burn's.
type Function = fn(Tensor<2>) -> Tensor<2>;

fn near(ours: &[f32], theirs: &[f32], bound: f32) {
    assert_eq!(ours.len(), theirs.len());
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert!((ours - theirs).abs() <= bound * theirs.abs().max(1.0), "[{at}]: {ours}, not {theirs}");
    }
}

/// y, dx, dw, db of a module.
fn step(
    x: &Tensor<2>,
    dy: &Tensor<2>,
    weight: &Param<Tensor<2>>,
    bias: &Param<Tensor<1>>,
    forward: impl Fn(Tensor<2>) -> Tensor<2>,
) -> [Vec<f32>; 4] {
    let x = x.clone().require_grad();
    let y = forward(x.clone());
    let grads = (y.clone() * dy.clone()).sum().backward();
    let (dw, db) = (weight.val().grad(&grads).unwrap(), bias.val().grad(&grads).unwrap());
    [values(y), values(x.grad(&grads).unwrap()), values(dw), values(db)]
}

/// With the record of a `Linear`, or with its very parameters, which are transposed views where it is laid out in columns (such a record has them as they lie): what
/// it and an activation of Burn's compute, and its gradients.
#[test]
fn a_layer_with_the_parameters_of_a_linear_computes_the_same() {
    for device in [wgpu().autodiff(), Device::flex().autodiff()] {
        for (layout, of_record) in [(LinearLayout::Row, true), (LinearLayout::Row, false), (LinearLayout::Col, false)] {
            let linear = LinearConfig::new(20, 33).with_layout(layout).init(&device);
            let (x, dy) = (numbers(7 * 20, 1), numbers(7 * 33, 2));
            let (x, dy) = (tensor(&x, [7, 20], &device), tensor(&dy, [7, 33], &device));
            let table: [(Activation, Function); 4] = [
                (Activation::RELU, activation::relu),
                (Activation::SILU, activation::silu),
                (Activation::TANH, activation::tanh),
                (Activation::IDENTITY, |z| z),
            ];
            for (act, own) in table {
                let layer = LinearActConfig::new(20, 33, act).init(&device).unwrap();
                let layer = match of_record {
                    true => layer.load_record(linear.clone().into_record()),
                    false => LinearAct { weight: linear.weight.clone(), bias: linear.bias.clone(), ..layer },
                };
                let ours = step(&x, &dy, &layer.weight, layer.bias.as_ref().unwrap(), |x| layer.forward(x).unwrap());
                let theirs = step(&x, &dy, &linear.weight, linear.bias.as_ref().unwrap(), |x| own(linear.forward(x)));
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    near(ours, theirs, 2e-5);
                }
            }
        }
    }
}

#[test]
fn a_learnable_prelu_is_that_of_burn() {
    let device = wgpu().autodiff();
    let config = LinearActConfig::new(20, 33, Activation::prelu(0.25).unwrap()).with_alpha(Alpha::Channel);
    let layer = config.init(&device).unwrap();
    let x = tensor(&numbers(7 * 20, 1), [7, 20], &device);
    let ours = layer.forward(x.clone()).unwrap();
    let own = PReluConfig::new().with_num_parameters(33).init(&device);
    let z = x.matmul(layer.weight.val()) + layer.bias.as_ref().unwrap().val().unsqueeze();
    let theirs = own.forward(z);
    near(&values(ours.clone()), &values(theirs.clone()), 1e-5);
    let (of_ours, of_theirs) = (ours.sum().backward(), theirs.sum().backward());
    let dalpha = layer.alpha.as_ref().unwrap().val().grad(&of_ours).unwrap();
    near(&values(dalpha), &values(own.alpha.val().grad(&of_theirs).unwrap()), 1e-5);
}

/// Burn's GELU is the exact one, its gradient that of the approximation by tanh. Judged by the derivative in f64, ours is that of the function.
#[test]
fn the_gradient_of_gelu_is_that_of_gelu() {
    let device = wgpu().autodiff();
    let grid: Vec<f32> = (0..=800).map(|i| (i as f32 - 400.0) / 100.0).collect();
    let worst = |of: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        let x = tensor(&grid, [grid.len(), 1], &device).require_grad();
        let dx = values(x.grad(&of(x.clone()).sum().backward()).unwrap());
        let errors =
            dx.iter().zip(&grid).map(|(got, z)| (f64::from(*got) - Activation::GELU_ERF.slope(f64::from(*z))).abs());
        errors.fold(0.0, f64::max)
    };
    let one = Tensor::<2>::ones([1, 1], &device);
    let ours = worst(&|x| linear_act(x, one.clone(), None, Activation::GELU_ERF).unwrap());
    let theirs = worst(&|x| activation::gelu(x));
    println!("worst error of the slope: elbow {ours:.1e}, Burn {theirs:.1e}");
    assert!(ours < 1e-6, "{ours:.1e}");
    assert!(theirs < 1e-3, "{theirs:.1e}");
}

#[test]
fn records_come_back_as_they_went() {
    let device = wgpu();
    let config = MlpConfig::new(vec![6, 9, 4], Activation::swish(1.0).unwrap()).with_alpha(Alpha::Layer);
    let (mlp, other) = (config.init(&device).unwrap(), config.init(&device).unwrap());
    let x = tensor(&numbers(3 * 6, 1), [3, 6], &device);
    let y = values(mlp.forward(x.clone()).unwrap());
    assert_ne!(y, values(other.forward(x.clone()).unwrap()));
    let bytes = mlp.into_record().into_bytes().unwrap();
    let other = other.load_record(ModuleRecord::from_bytes(bytes).unwrap());
    assert_eq!(y, values(other.forward(x).unwrap()));
    assert_eq!(other.layers[0].alpha.as_ref().unwrap().val().dims(), [1]);
}

#[test]
fn configs_are_text_and_back() {
    let prelu = Activation::prelu(0.125).unwrap();
    let config = LinearActConfig::new(6, 9, prelu).with_alpha(Alpha::Channel).with_gated(true).with_bias(false);
    let text = config.to_string();
    let back = LinearActConfig::load_binary(text.as_bytes()).unwrap();
    assert_eq!(back.to_string(), text);
    assert_eq!((back.activation, back.alpha, back.gated, back.bias), (prelu, Alpha::Channel, true, false));
}

#[test]
fn what_no_layer_can_be_is_an_error() {
    let device = wgpu();
    let error = LinearActConfig::new(3, 4, Activation::RELU).with_alpha(Alpha::Layer).init(&device).unwrap_err();
    assert_eq!(error.to_string(), "alpha: expected an activation whose α can be learned, got relu");
    assert!(MlpConfig::new(vec![3], Activation::RELU).init(&device).is_err());
    let layer = LinearActConfig::new(3, 4, Activation::RELU).init(&device).unwrap();
    let error = layer.forward(Tensor::<2>::zeros([2, 5], &device)).unwrap_err();
    assert!(error.to_string().starts_with("w: expected [5, N]"), "{error}");
}

/// CubeCL gives small tensors parts of one buffer, where a dispatch may write only what it reads as well: elbow's kernels for that are chosen by themselves.
#[test]
fn operands_and_results_may_share_one_buffer() {
    let device = wgpu();
    let case = Case::new(8, 8, 8, Activation::GELU_ERF);
    let (x, w) = (tensor(&case.x(), [8, 8], &device), tensor(&case.w(), [8, 8], &device));
    let y = linear_act(x.clone(), w.clone(), None, case.activation).unwrap();
    let mut keep: Vec<Box<dyn Any>> = Vec::new();
    let mut place = |tensor: Tensor<2>| {
        let lazy = tensor.try_into_primitive::<Cube>().unwrap();
        let tensor = lazy.client.clone().resolve_tensor_float::<CubeBackend>(lazy);
        let resource = tensor.client.get_resource::<WgpuServer<AutoCompiler>>(tensor.handle.clone()).unwrap();
        let place = (resource.resource().buffer.clone(), resource.resource().offset);
        keep.push(Box::new((tensor, resource)));
        place
    };
    let places = [place(x), place(w), place(y.clone())];
    assert!(places.iter().all(|(buffer, _)| *buffer == places[0].0), "{places:?}");
    let want = Case { bias: false, ..case }.judge();
    for (got, want) in values(y).iter().zip(&want[0].1) {
        assert!((f64::from(*got) - want).abs() < 1e-5);
    }
}

/// A graph of CubeCL's has what its client launched, and nothing else.
#[test]
fn a_layer_is_refused_while_a_graph_is_recorded() {
    let device = wgpu();
    let (x, w) = (tensor(&numbers(6, 1), [2, 3], &device), tensor(&numbers(12, 2), [3, 4], &device));
    let lazy = x.clone().try_into_primitive::<Cube>().unwrap();
    let client = lazy.client.clone().resolve_tensor_float::<CubeBackend>(lazy).client;
    client.graph_prepare().unwrap();
    let y = linear_act(x, w, None, Activation::RELU).unwrap();
    let run = device.flush();
    let _ = client.stop_capture();
    let error = y.try_into_data().unwrap_err();
    assert!(format!("{error:?}{run:?}").contains("records a graph"), "{error:?}, {run:?}");
}
