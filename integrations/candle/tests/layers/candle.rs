//! Every activation of candle, and every one of elbow's: y, dx, dW, db and dα, beside candle's own layers.

use candle_core::{Module, Tensor, Var};
use candle_nn::{Linear, PReLU};
use elbow::{
    Activation, Saved,
    request::{AffineRequest, AlphaSource},
};
use elbow_candle::{LinearAct, activation, activation_alpha, linear_act, linear_act_alpha, of_candle};
use elbow_verify::points::defaults;

use crate::{
    begin,
    case::{BOUND, Case, numbers},
};

fn of_candles() -> [candle_nn::Activation; 15] {
    use candle_nn::Activation as A;
    [
        A::Gelu,
        A::NewGelu,
        A::GeluPytorchTanh,
        A::Relu,
        A::Relu2,
        A::Relu6,
        A::Silu,
        A::Swish,
        A::Sigmoid,
        A::HardSigmoid,
        A::HardSwish,
        A::Mish,
        A::Elu(1.0),
        A::Elu(0.3),
        A::LeakyRelu(0.01),
    ]
}

#[test]
fn every_activation_of_candle_gives_the_gradients_of_candles_own_layer() {
    begin();
    let mut wrong = Vec::new();
    for theirs in of_candles() {
        let case = Case::plain(of_candle(theirs).unwrap());
        let linear = Linear::new(case.w.as_tensor().clone(), case.bias().cloned());
        let own = case.distance(&theirs.forward(&linear.forward(&case.x).unwrap()).unwrap());
        let ours = LinearAct::new(linear, case.request.activation).forward(&case.x).unwrap();
        let ours = case.distance(&ours);
        println!("{theirs:?}: from the reference, ours {ours:.1e}, candle's own {own:.1e}");
        if ours > BOUND || own > BOUND {
            wrong.push(format!("{theirs:?}: ours {ours:.1e}, candle's own {own:.1e}, of {BOUND:.1e}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_activation_of_elbow_is_within_bounds_of_the_reference_in_a_layer_and_alone() {
    begin();
    let mut wrong = Vec::new();
    for act in defaults() {
        let case = Case::plain(act);
        let layer = case.distance(&linear_act(&case.x, &case.w, case.bias(), act).unwrap());
        let z = case.x.matmul(&case.w.t().unwrap()).unwrap().broadcast_add(&case.b).unwrap();
        let alone = case.distance(&activation(&z, act).unwrap());
        if layer > BOUND || alone > BOUND {
            wrong.push(format!("{act}: {layer:.1e} in a layer, {alone:.1e} alone, of {BOUND:.1e}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn alpha_is_learnt_with_and_without_a_bias_by_layer_and_by_channel() {
    begin();
    let mut wrong = Vec::new();
    for act in defaults().into_iter().filter(|act| act.row().learnable) {
        for source in [AlphaSource::PerLayer, AlphaSource::PerChannel] {
            for bias in [true, false] {
                let case = Case::new(AffineRequest::new(13, 6, 21, act).alpha(source).bias(bias));
                let y = linear_act_alpha(&case.x, &case.w, case.bias(), act, &case.alpha).unwrap();
                let mut z = case.x.matmul(&case.w.t().unwrap()).unwrap();
                if let Some(b) = case.bias() {
                    z = z.broadcast_add(b).unwrap();
                }
                let alone = activation_alpha(&z, act, &case.alpha).unwrap();
                for (what, y) in [("layer", y), ("alone", alone)] {
                    let off = case.distance(&y);
                    if off > BOUND {
                        wrong.push(format!("{act}, {source:?}, bias {bias}, {what}: {off:.1e} of {BOUND:.1e}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_prelu_of_candle_is_a_learnable_alpha() {
    begin();
    for source in [AlphaSource::PerLayer, AlphaSource::PerChannel] {
        let act = Activation::prelu(0.25).unwrap();
        let case = Case::new(AffineRequest::new(13, 6, 21, act).alpha(source));
        let prelu = PReLU::new(case.alpha.as_tensor().clone(), source == AlphaSource::PerLayer);
        let linear = Linear::new(case.w.as_tensor().clone(), case.bias().cloned());
        let own = case.distance(&prelu.forward(&linear.forward(&case.x).unwrap()).unwrap());
        let layer = LinearAct::new(linear, act).alpha(prelu.weight().clone());
        let ours = case.distance(&layer.forward(&case.x).unwrap());
        assert!(own <= BOUND && ours <= BOUND, "{source:?}: ours {ours:.1e}, candle's own {own:.1e}");
    }
}

/// At a kink the slope is PyTorch's, which candle's own is not always.
#[test]
fn at_a_kink_the_slope_is_that_of_pytorch_and_not_that_of_candle() {
    begin();
    let slope = |y: &dyn Fn(&Tensor) -> Tensor, at: f32| {
        let x = Var::new(&[at], &candle_core::Device::Cpu).unwrap();
        let gradients = y(&x).sum_all().unwrap().backward().unwrap();
        numbers(gradients.get(&x).unwrap())[0]
    };
    use candle_nn::Activation as A;
    for (theirs, at, expected, candles) in
        [(A::Relu, 0.0, 0.0, 1.0), (A::LeakyRelu(0.25), 0.0, 0.25, 0.625), (A::Elu(0.5), 0.0, 0.5, 0.5)]
    {
        let act = of_candle(theirs).unwrap();
        let ours = slope(&|x| activation(x, act).unwrap(), at);
        assert_eq!(ours, expected, "{theirs:?} at {at}");
        let own = slope(&|x| theirs.forward(x).unwrap(), at);
        assert_eq!(own, candles, "{theirs:?} of candle at {at}");
    }
}

#[test]
fn far_out_gradients_stay_finite() {
    begin();
    let x = Var::new(&[[-200f32, -100.0, -20.0, 20.0, 100.0, 200.0]], &candle_core::Device::Cpu).unwrap();
    for act in defaults() {
        let y = LinearAct::new(Linear::new(identity(6), None), act).saved(Saved::None).forward(&x).unwrap();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        for (&x, &slope) in numbers(&x).iter().zip(&numbers(gradients.get(&x).unwrap())) {
            let expected = act.slope(f64::from(x));
            let off = (f64::from(slope) - expected).abs();
            assert!(off <= BOUND * (1.0 + expected.abs()), "{act} at {x}: {slope}, not {expected}");
        }
    }
}

fn identity(n: usize) -> Tensor {
    Tensor::eye(n, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap()
}
