//! Beside the sixty-four: operands that are missing or of no use, choices that are not offered, text that is no kernel.

use elbow::{
    Activation, Error, Operand, Saved,
    affine::{Backward, Forward, Gradient},
};

use super::{Layer, fails, good};
use crate::common::gpu;

#[test]
fn operands_missing_or_of_no_use() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    let operand = |e: &Error| matches!(e, Error::Operand { .. });
    fails(Forward { saved: Saved::Z, ..call }, operand, &["saved: expected z"]);
    fails(Forward { save_to: Some(o.y.view()), ..call }, operand, &["saved"]);
    fails(Forward { alpha: Some(o.b.view()), ..call }, operand, &["alpha", "relu"]);
    let dx = gpu.zeros(&[4, 5]).unwrap();
    let backward = Backward { dx: Gradient::overwrite(&dx), ..Backward::new(Activation::RELU, Saved::Y, &o.y) };
    assert!(matches!(backward.plan(gpu), Err(Error::Operand { operand: Operand::W, .. })));
    let backward = Backward { w: Some(o.w.view()), ..backward };
    assert!(matches!(backward.plan(gpu), Err(Error::Operand { operand: Operand::Saved, .. })));
    let backward = Backward { dw: Gradient::overwrite(&o.w), ..Backward::new(Activation::IDENTITY, Saved::Auto, &o.y) };
    assert!(matches!(backward.plan(gpu), Err(Error::Shape { .. } | Error::Operand { operand: Operand::X, .. })));
    good(gpu);
}

#[test]
fn an_illegal_saved_choice_is_an_error_not_a_wrong_gradient() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    let unsupported = |e: &Error| matches!(e, Error::Unsupported { .. });
    let gelu = Forward { activation: Activation::GELU_ERF, ..call };
    fails(Forward { saved: Saved::Y, ..gelu }, unsupported, &["gelu_erf"]);
    fails(Forward { saved: Saved::Mask, save_to: Some(o.y.view()), ..gelu }, unsupported, &[]);
    let residual = Some(o.x.view_as(&[4, 3]));
    fails(Forward { saved: Saved::Y, residual, ..call }, unsupported, &["residual"]);
}

#[test]
fn text_that_is_no_kernel_is_an_error() {
    let kernel = elbow::kernel::Kernel {
        file: elbow::kernel::KernelFile::ProductDirect,
        activation: None,
        flags: Default::default(),
        slots: Vec::new(),
    };
    let error = elbow::shader::assemble(&kernel, elbow::shader::Binding::Exclusive).unwrap_err();
    assert!(matches!(error, Error::ShaderCompile { .. }), "{error}");
}
