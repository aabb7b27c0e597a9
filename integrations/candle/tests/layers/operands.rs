//! Operands as candle has them: leading dimensions, strides, broadcasts, narrow types, sizes of zero, data without gradients.

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::Linear;
use elbow::{Activation, request::AffineRequest};
use elbow_candle::{LinearAct, activation, gated_apart, linear_act, linear_act_alpha};

use crate::{
    begin,
    case::{Case, numbers},
};

const ACT: Activation = Activation::GELU_ERF;

#[test]
fn leading_dimensions_are_rows() {
    begin();
    let case = Case::new(AffineRequest::new(24, 5, 7, ACT));
    let flat = linear_act(&case.x, &case.w, case.bias(), ACT).unwrap();
    for shape in [vec![2, 12, 7], vec![2, 3, 4, 7], vec![24, 1, 7]] {
        let x = Var::from_tensor(&case.x.reshape(shape.clone()).unwrap()).unwrap();
        let y = linear_act(&x, &case.w, case.bias(), ACT).unwrap();
        assert_eq!(y.dims()[..shape.len() - 1], shape[..shape.len() - 1]);
        assert_eq!(numbers(&y), numbers(&flat), "{shape:?}");
        let dx = y.sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
        assert_eq!(dx.dims(), shape);
        let of_flat = flat.sum_all().unwrap().backward().unwrap();
        assert_eq!(numbers(&dx), numbers(of_flat.get(&case.x).unwrap()), "{shape:?}");
    }
    let one = linear_act(&case.x.get(3).unwrap(), &case.w, case.bias(), ACT).unwrap();
    assert_eq!(one.dims(), [5]);
}

#[test]
fn strides_broadcasts_and_offsets_are_what_they_stand_for() {
    begin();
    let case = Case::new(AffineRequest::new(9, 5, 7, ACT));
    let x = Var::from_tensor(&case.x.t().unwrap().contiguous().unwrap()).unwrap();
    let w = Var::from_tensor(&Tensor::cat(&[&case.w.t().unwrap(), &case.w.t().unwrap()], 0).unwrap()).unwrap();
    // x transposed, w a part of a larger tensor and transposed.
    let y = linear_act(&x.t().unwrap(), &w.narrow(0, 7, 7).unwrap().t().unwrap(), case.bias(), ACT).unwrap();
    let plain = linear_act(&case.x, &case.w, case.bias(), ACT).unwrap();
    assert_eq!(numbers(&y), numbers(&plain));
    let (got, expected) = (case.gradients(&y).unwrap(), case.gradients(&plain).unwrap());
    assert_eq!(numbers(&got.get(&x).unwrap().t().unwrap()), numbers(expected.get(&case.x).unwrap()));
    let dw = got.get(&w).unwrap();
    assert_eq!(numbers(&dw.narrow(0, 7, 7).unwrap().t().unwrap()), numbers(expected.get(&case.w).unwrap()));
    assert!(numbers(&dw.narrow(0, 0, 7).unwrap()).iter().all(|&unused| unused == 0.0));

    // One row for all, and a bias of one number for all channels.
    let (row, bias) =
        (Var::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu).unwrap(), Var::new(&[0.25f32], &Device::Cpu).unwrap());
    let w = Tensor::new(&[[1f32, 0.5, 2.0], [2.0, 1.0, 0.0]], &Device::Cpu).unwrap();
    let rows = row.broadcast_as((4, 3)).unwrap();
    let y = linear_act(&rows, &w, Some(&bias.broadcast_as(2).unwrap()), Activation::RELU).unwrap();
    assert_eq!(numbers(&y), [4.25, 0.25, 4.25, 0.25, 4.25, 0.25, 4.25, 0.25]);
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(numbers(gradients.get(&bias).unwrap()), [8.0]);
    assert_eq!(numbers(gradients.get(&row).unwrap()), [12.0, 6.0, 8.0]);
}

#[test]
fn a_part_of_a_larger_tensor_is_read_where_it_lies() {
    begin();
    let case = Case::new(AffineRequest::new(9, 5, 7, ACT));
    let (x, w, b) = (case.x.narrow(0, 3, 4), case.w.narrow(0, 2, 3), case.b.narrow(0, 2, 3));
    let y = linear_act(&x.unwrap(), &w.unwrap(), Some(&b.unwrap()), ACT).unwrap();
    let all = linear_act(&case.x, &case.w, case.bias(), ACT).unwrap();
    let part = all.narrow(0, 3, 4).unwrap().narrow(1, 2, 3).unwrap().contiguous().unwrap();
    assert_eq!(numbers(&y), numbers(&part));
    let [got, expected] = [y, part].map(|y| y.sum_all().unwrap().backward().unwrap());
    for var in [&case.x, &case.w, &case.b] {
        let [got, expected] = [&got, &expected].map(|gradients| numbers(gradients.get(var).unwrap()));
        assert!(
            got.iter().zip(&expected).all(|(got, expected)| (got - expected).abs() <= 1e-5),
            "{got:?}, {expected:?}"
        );
    }
}

/// The results are those of the widened operands, rounded.
#[test]
fn narrow_types_are_computed_in_f32_and_rounded_once() {
    begin();
    for dtype in [DType::F16, DType::BF16] {
        let case = Case::new(AffineRequest::new(6, 5, 16, ACT));
        let narrow = |var: &Tensor| Var::from_tensor(&var.to_dtype(dtype).unwrap()).unwrap();
        let wide = |var: &Var| Var::from_tensor(&var.to_dtype(DType::F32).unwrap()).unwrap();
        let [x, w, b] = [&case.x, &case.w, &case.b].map(|var| narrow(var));
        let [x32, w32, b32] = [&x, &w, &b].map(wide);
        for act in [Activation::RELU, Activation::RELU6, ACT] {
            let y = linear_act(&x, &w, Some(&b), act).unwrap();
            let y32 = linear_act(&x32, &w32, Some(&b32), act).unwrap();
            assert_eq!(y.dtype(), dtype);
            assert_eq!(numbers(&widened(&y)), numbers(&widened(&y32.to_dtype(dtype).unwrap())), "{act}");
            let dy = case.dy.to_dtype(dtype).unwrap();
            let got = (&y * &dy).unwrap().sum_all().unwrap().backward().unwrap();
            let expected = (&y32 * widened(&dy)).unwrap().sum_all().unwrap().backward().unwrap();
            for (name, narrow, wide) in [("dx", &x, &x32), ("dw", &w, &w32), ("db", &b, &b32)] {
                let got = got.get(narrow).unwrap();
                assert_eq!(got.dtype(), dtype, "{name}");
                let expected = expected.get(wide).unwrap().to_dtype(dtype).unwrap();
                assert_eq!(numbers(&widened(got)), numbers(&widened(&expected)), "{act}, {name} of {dtype:?}");
            }
        }
    }
}

fn widened(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(DType::F32).unwrap()
}

/// A z that a narrow y rounds to 0 has the slope of what it was.
#[test]
fn the_slope_of_a_narrow_layer_is_that_of_z_and_not_that_of_its_rounded_y() {
    begin();
    let x = Var::new(&[[1e-4f32]], &Device::Cpu).unwrap();
    let x = Var::from_tensor(&x.to_dtype(DType::F16).unwrap()).unwrap();
    let w = Tensor::new(&[[1e-5f32]], &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap();
    let y = linear_act(&x, &w, None, Activation::RELU).unwrap();
    assert_eq!(numbers(&widened(&y)), [0.0]);
    let dx = y.sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
    assert_eq!(numbers(&widened(&dx)), numbers(&widened(&w)));
}

#[test]
fn sizes_of_zero() {
    begin();
    let zeros = |shape: (usize, usize)| Var::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let b = Var::new(&[1f32, -1.0], &Device::Cpu).unwrap();
    // K = 0 gives act(b).
    let (x, w) = (zeros((3, 0)), zeros((2, 0)));
    let y = linear_act(&x, &w, Some(&b), Activation::RELU).unwrap();
    assert_eq!(numbers(&y), [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(numbers(y.sum_all().unwrap().backward().unwrap().get(&b).unwrap()), [3.0, 0.0]);
    // No rows: the gradients of what is there are 0.
    let (x, w) = (zeros((0, 4)), zeros((2, 4)));
    let y = linear_act(&x, &w, Some(&b), Activation::RELU).unwrap();
    assert_eq!(y.dims(), [0, 2]);
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(numbers(gradients.get(&w).unwrap()), [0.0; 8]);
    assert_eq!(numbers(gradients.get(&b).unwrap()), [0.0; 2]);
    // No outputs.
    let y = linear_act(&zeros((3, 4)), &zeros((0, 4)), None, ACT).unwrap();
    assert_eq!(y.dims(), [3, 0]);
}

#[test]
fn operands_without_a_variable_have_no_gradient_and_others_have_all_of_theirs() {
    begin();
    let case = Case::plain(ACT);
    // x and b are data.
    let (x, b) = (case.x.as_detached_tensor(), case.b.as_detached_tensor());
    let y = linear_act(&x, &case.w, Some(&b), ACT).unwrap();
    let got = case.gradients(&y).unwrap();
    let expected = case.gradients(&linear_act(&case.x, &case.w, case.bias(), ACT).unwrap()).unwrap();
    assert_eq!(numbers(got.get(&case.w).unwrap()), numbers(expected.get(&case.w).unwrap()));
    assert!(got.get(&x).is_none() && got.get(&b).is_none());
    // Nothing has a gradient: inference.
    let y = linear_act(&x, &case.w.as_detached_tensor(), Some(&b), ACT).unwrap();
    assert!(!y.track_op());
}

#[test]
fn a_weight_used_twice_gets_both_gradients() {
    begin();
    let w = Var::new(&[[1f32, 2.0], [0.5, 1.0]], &Device::Cpu).unwrap();
    let x = Tensor::new(&[[1f32, 1.0]], &Device::Cpu).unwrap();
    let layer = |x: &Tensor| linear_act(x, &w, None, Activation::RELU).unwrap();
    let y = layer(&layer(&x)); // h = (3, 1.5), y = (6, 3)
    assert_eq!(numbers(&y), [6.0, 3.0]);
    let dw = y.sum_all().unwrap().backward().unwrap().get(&w).unwrap().clone();
    // Outside: h in both rows; inside: W's column sums times x.
    assert_eq!(numbers(&dw), [3.0 + 1.5, 1.5 + 1.5, 3.0 + 3.0, 1.5 + 3.0]);
    // Both weights of a gate are the same tensor.
    let y = gated_apart(&x, &w, &w, Activation::IDENTITY).unwrap();
    assert_eq!(numbers(&y), [9.0, 2.25]);
    let dw = y.sum_all().unwrap().backward().unwrap().get(&w).unwrap().clone();
    assert_eq!(numbers(&dw), [6.0, 6.0, 3.0, 3.0]);
}

#[test]
fn an_alpha_may_be_a_number_without_dimensions() {
    begin();
    let alpha = Var::new(0.5f32, &Device::Cpu).unwrap();
    let x = Tensor::new(&[[-2f32]], &Device::Cpu).unwrap();
    let w = Tensor::new(&[[1f32]], &Device::Cpu).unwrap();
    let y = linear_act_alpha(&x, &w, None, Activation::prelu(0.1).unwrap(), &alpha).unwrap();
    assert_eq!(numbers(&y), [-1.0]);
    let dalpha = y.sum_all().unwrap().backward().unwrap().get(&alpha).unwrap().clone();
    assert_eq!((dalpha.dims(), numbers(&dalpha)), (&[][..], vec![-2.0]));
    // Of a number alone there is the activation, too.
    assert_eq!(numbers(&activation(&Tensor::new(-2f32, &Device::Cpu).unwrap(), Activation::RELU).unwrap()), [0.0]);
}

#[test]
fn weights_are_loaded_by_candles_names() {
    begin();
    let variables = candle_nn::VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let ours = LinearAct::load(7, 5, ACT, vb.pp("layer")).unwrap();
    let own = candle_nn::linear(7, 5, vb.pp("layer")).unwrap();
    assert_eq!(variables.all_vars().len(), 2);
    assert_eq!(numbers(ours.linear().weight()), numbers(own.weight()));
    let x = Tensor::ones((2, 7), DType::F32, &Device::Cpu).unwrap();
    let plain = LinearAct::new(Linear::new(own.weight().clone(), own.bias().cloned()), ACT);
    assert_eq!(numbers(&ours.forward(&x).unwrap()), numbers(&plain.forward(&x).unwrap()));
}
