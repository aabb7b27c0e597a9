//! Beside the sixty-four: operands that are missing or of no use, choices that are not offered, text that is no kernel.

use elbow::{Activation, Error, Operand, Saved, affine::Backward};

use super::{Layer, fails, good};
use crate::common::gpu;

#[test]
fn operands_missing_or_of_no_use() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    let operand = |e: &Error| matches!(e, Error::Operand { .. });
    fails(call.saved(Saved::Z), operand, &["saved: expected z"]);
    fails(call.save_to(o.y.view()), operand, &["saved"]);
    fails(call.alpha(o.b.view()), operand, &["alpha", "relu"]);
    let dx = gpu.zeros(&[4, 5]).unwrap();
    let named = |backward: Backward<'_>, operand: Operand| match backward.plan(gpu) {
        Err(Error::Shape { operand: named, .. } | Error::Operand { operand: named, .. }) => assert_eq!(named, operand),
        other => panic!("{operand}: {other:?}"),
    };
    let layer = call.saved(Saved::Z);
    named(layer.backward(&o.y).dx(&dx), Operand::Saved);
    named(call.backward(&o.y).dw(&o.b), Operand::Dw);
    named(call.backward(&o.y).dalpha(&o.b), Operand::Dalpha);
    named(call.backward(&o.y).dx(&dx).db_below(&o.b), Operand::DbBelow);
    named(call.backward(&o.y).dalpha_below(&o.b), Operand::DalphaBelow);
    good(gpu);
}

#[test]
fn an_illegal_saved_choice_is_an_error_not_a_wrong_gradient() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    let unsupported = |e: &Error| matches!(e, Error::Unsupported { .. });
    let gelu = call.activation(Activation::GELU_ERF);
    fails(gelu.saved(Saved::Y), unsupported, &["gelu_erf"]);
    fails(gelu.saved(Saved::Mask).save_to(o.y.view()), unsupported, &[]);
    let residual = Some(o.x.view_as(&[4, 3]));
    fails(call.saved(Saved::Y).residual(residual), unsupported, &["residual"]);
}

#[test]
fn text_that_is_no_kernel_is_an_error() {
    let kernel = elbow::kernel::Kernel {
        file: elbow::kernel::KernelFile::ProductDirect,
        stages: Vec::new(),
        a: Default::default(),
        b: Default::default(),
        finish: Default::default(),
        flags: Default::default(),
        slots: Vec::new(),
    };
    let error = elbow::shader::assemble(&kernel, elbow::shader::Binding::Exclusive).unwrap_err();
    assert!(matches!(error, Error::ShaderCompile { .. }), "{error}");
}
