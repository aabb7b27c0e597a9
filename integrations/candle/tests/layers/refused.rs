//! What does not fit is an error that names the operand.

use candle_core::{DType, Device, Tensor};
use elbow::{Activation, Gate};
use elbow_candle::{activation, activation_alpha, gated, gated_apart, linear_act, linear_act_alpha, set_host};

use crate::begin;

fn zeros(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
}

fn f32s(shape: &[usize]) -> Tensor {
    zeros(shape, DType::F32)
}

#[test]
fn every_mistake_is_named() {
    begin();
    let (x, w, relu) = (f32s(&[2, 3]), f32s(&[4, 3]), Activation::RELU);
    let prelu = Activation::prelu(0.25).unwrap();
    let narrow = |shape: &[usize]| zeros(shape, DType::BF16);
    let mut wrong = Vec::new();
    let cases: [(&str, candle_core::Result<Tensor>); 18] = [
        ("w: expected shape [N, 3], because x is [2, 3], got shape [3, 4]", linear_act(&x, &f32s(&[3, 4]), None, relu)),
        ("w: expected shape [N, 3], because x is [2, 3], got shape [3]", linear_act(&x, &f32s(&[3]), None, relu)),
        ("x: expected shape [.., K], got shape []", linear_act(&f32s(&[]), &w, None, relu)),
        ("b: expected shape [4], because w is [4, 3], got shape [3]", linear_act(&x, &w, Some(&f32s(&[3])), relu)),
        (
            "b: expected shape [4], because w is [4, 3], got shape [1, 4]",
            linear_act(&x, &w, Some(&f32s(&[1, 4])), relu),
        ),
        ("alpha: expected shape [1] or [4], got shape [3]", linear_act_alpha(&x, &w, None, prelu, &f32s(&[3]))),
        ("alpha: expected shape [1] or [3], got shape [4]", activation_alpha(&x, prelu, &f32s(&[4]))),
        ("no learnable", linear_act_alpha(&x, &w, None, relu, &f32s(&[1]))),
        ("no learnable", activation_alpha(&x, relu, &f32s(&[1]))),
        ("w: expected f32, as x, got bf16", linear_act(&x, &narrow(&[4, 3]), None, relu)),
        ("b: expected f32, as x, got bf16", linear_act(&x, &w, Some(&narrow(&[4])), relu)),
        ("alpha: expected f32, as x, got bf16", activation_alpha(&x, prelu, &narrow(&[1]))),
        ("x: expected a tensor of f32, f16 or bf16, got one of f64", activation(&zeros(&[2], DType::F64), relu)),
        (
            "x: expected a tensor of f32, f16 or bf16, got one of f64",
            linear_act(&zeros(&[2, 3], DType::F64), &zeros(&[4, 3], DType::F64), None, relu),
        ),
        ("w: expected shape [2N, 3]", gated(&x, &f32s(&[5, 3]), None, relu, Gate::stacked())),
        ("gated_apart", gated(&x, &w, None, relu, Gate::apart())),
        ("w_up: expected shape [4, 3], as w, got shape [3, 3]", gated_apart(&x, &w, &f32s(&[3, 3]), relu)),
        ("w_up: expected f32, as x, got bf16", gated_apart(&x, &w, &narrow(&[4, 3]), relu)),
    ];
    for (expected, got) in cases {
        match got {
            Ok(_) => wrong.push(format!("{expected}: no error")),
            Err(error) if !error.to_string().contains(expected) => wrong.push(format!("{expected}: {error}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_host_is_chosen_once() {
    begin();
    let error = set_host(elbow_candle::elbow_host::Host::cpu()).unwrap_err();
    assert!(error.to_string().contains("set it first"), "{error}");
}
