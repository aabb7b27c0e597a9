//! Gradients of gradients are refused where candle asks for them, in a process of its own: candle reads the variable once.

use std::process::Command;

use candle_core::{Device, Var};
use elbow::Activation;
use elbow_candle::{activation, linear_act};

use crate::begin;

#[test]
fn gradients_of_gradients_are_an_error() {
    let program = std::env::current_exe().unwrap();
    let inner = ["second::inside_of_a_process_that_asks_for_them", "--exact", "--ignored"];
    let status = Command::new(program).args(inner).env("CANDLE_GRAD_DO_NOT_DETACH", "1").status().unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "the test above runs it, in a process with another environment: cargo test -p elbow-candle --test layers second"]
fn inside_of_a_process_that_asks_for_them() {
    begin();
    let x = Var::new(&[[1f32]], &Device::Cpu).unwrap();
    for y in [linear_act(&x, &x, None, Activation::SILU).unwrap(), activation(&x, Activation::SILU).unwrap()] {
        let error = y.sum_all().unwrap().backward().unwrap_err();
        assert!(error.to_string().contains("CANDLE_GRAD_DO_NOT_DETACH"), "{error}");
    }
}
