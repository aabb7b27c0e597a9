//! Updates with rates on the device against the reference, over whole schedules: every rule, clipping, ℓ1, factors, copies in step.

use elbow::{
    Error, Float, Operand,
    rates::{Place, Rates, Rule},
    train::{Advance, LossScale, Update},
};
use elbow_verify::Schedule;

use crate::common::{gpu, right};

#[test]
fn schedules_are_those_of_the_reference() {
    let gpu = gpu();
    for rule in [Rule::Sgd, Rule::Nesterov, Rule::AdamW] {
        let plain = if rule == Rule::AdamW { Rates::adamw(0.02) } else { Rates::sgd(0.1).momentum(0.9) };
        for (elements, offset) in [(1, 0), (7, 1), (64, 0), (129, 4), (1000, 0), (4099, 3)] {
            for (factors, copy, scale) in [
                (false, None, None),
                (true, Some(Float::F16), Some(1024.0)),
                (true, Some(Float::Bf16), None),
                (false, None, Some(8.0)),
            ] {
                for rates in [plain, plain.weight_decay(0.05).l1(0.5).max_norm(0.4)] {
                    let case = Schedule { rule, rates, elements, offset, factors, copy, scale };
                    right(&format!("{case:?}"), case.check(gpu));
                }
            }
        }
    }
}

/// Without a velocity; and the exact bits of a step that is a power of two.
#[test]
fn a_plain_step_is_exact() {
    let gpu = gpu();
    let (w, g) = (gpu.upload(&[1.0, -2.0, 3.0], &[3]).unwrap(), gpu.upload(&[0.5, 4.0, -8.0], &[3]).unwrap());
    let rates = gpu.upload(&Rates::sgd(0.25).state().unwrap(), &[12]).unwrap();
    // The state before the first step takes gradients as they are.
    gpu.submit(|encoder| Update::sgd(&w, &g, &rates).record(gpu, encoder)).unwrap();
    assert_eq!(gpu.download(&w).unwrap(), [0.875, -3.0, 5.0]);
    let scale = gpu.upload(&[2.0, 0.0, 0.0, 0.0], &[4]).unwrap();
    // A loss scale that leaves the step out.
    gpu.submit_pass(|pass| {
        Advance::new(&rates).loss_scale(scale.view()).record(gpu, &mut *pass)?;
        Update::sgd(&w, &g, &rates).record(gpu, pass)
    })
    .unwrap();
    assert_eq!(gpu.download(&w).unwrap(), [0.875, -3.0, 5.0]);
    assert_eq!(gpu.download(&rates).unwrap()[Place::Steps as usize], 0.0);
    // NaN stays NaN through the penalty.
    let nan = gpu.upload(&[f32::NAN, 1.0], &[2]).unwrap();
    let zero = gpu.zeros(&[2]).unwrap();
    let rates = gpu.upload(&Rates::sgd(0.5).l1(1.0).state().unwrap(), &[12]).unwrap();
    gpu.submit(|encoder| Update::sgd(&nan, &zero, &rates).record(gpu, encoder)).unwrap();
    let got = gpu.download(&nan).unwrap();
    assert!(got[0].is_nan() && got[1] == 0.5, "{got:?}");
}

/// A loss scale, its update and the rates in one pass: an infinite gradient leaves the step out on the device.
#[test]
fn a_loss_scale_leaves_steps_out() {
    let gpu = gpu();
    let (w, g) = (gpu.upload(&[1.0; 4], &[4]).unwrap(), gpu.upload(&[1.0, f32::INFINITY, 0.0, 0.0], &[4]).unwrap());
    let state = gpu.upload(&LossScale::INITIAL, &[4]).unwrap();
    let rates = gpu.upload(&Rates::adamw(0.1).state().unwrap(), &[12]).unwrap();
    let (m, s) = (gpu.zeros(&[4]).unwrap(), gpu.zeros(&[4]).unwrap());
    let step = || {
        gpu.submit_pass(|pass| {
            LossScale::new(&g, &state).record(gpu, &mut *pass)?;
            Advance::new(&rates).loss_scale(state.view()).record(gpu, &mut *pass)?;
            Update::adamw(&w, &g, &rates, &m, &s).record(gpu, pass)
        })
        .unwrap();
    };
    step();
    assert_eq!(gpu.download(&w).unwrap(), [1.0; 4]);
    gpu.write(&g, &[1.0, 2.0, 0.0, 0.0]).unwrap();
    step();
    let (w, rates) = (gpu.download(&w).unwrap(), gpu.download(&rates).unwrap());
    assert!(w[0] < 0.95 && w[2] > 0.99 && rates[Place::Steps as usize] == 1.0, "{w:?} {rates:?}");
}

#[test]
fn what_is_no_update_is_an_error() {
    let gpu = gpu();
    let (w, other, rates) = (gpu.upload(&[5.0; 8], &[8]).unwrap(), gpu.zeros(&[7]).unwrap(), gpu.zeros(&[12]).unwrap());
    let (g, half) = (gpu.zeros(&[8]).unwrap(), gpu.zeros_of(Float::F16, &[8]).unwrap());
    let usual = Update::sgd(&w, &g, &rates);
    let refused = |call: Update<'_>| gpu.submit(|encoder| call.record(gpu, encoder)).unwrap_err();
    for (call, operand) in [
        (usual.gradient(&other), Operand::ParameterGradient),
        (usual.gradient(&half), Operand::ParameterGradient),
        (usual.parameter(&half), Operand::Parameter),
        (usual.rates(&g), Operand::Rates),
        (usual.velocity(other.view()), Operand::Velocity),
        (usual.rule(Rule::Nesterov), Operand::Velocity),
        (usual.rule(Rule::AdamW), Operand::FirstMoment),
        (usual.first_moment(g.view()), Operand::FirstMoment),
        (usual.copy(other.view()), Operand::Copy),
        (usual.factors(g.view()), Operand::Factors),
    ] {
        match refused(call) {
            Error::Shape { operand: o, .. } | Error::Operand { operand: o, .. } => assert_eq!(o, operand),
            error => panic!("{operand}: {error}"),
        }
    }
    assert!(matches!(refused(usual.velocity(w.view())), Error::Alias { .. }));
    let error = gpu.submit(|encoder| Advance::new(&g).record(gpu, encoder)).unwrap_err();
    assert!(matches!(error, Error::Shape { operand: Operand::Rates, .. }), "{error}");
    for bad in [
        Rates::sgd(f32::INFINITY),
        Rates::sgd(0.1).momentum(1.0),
        Rates::adamw(0.1).beta2(-0.1),
        Rates::adamw(0.1).epsilon(0.0),
        Rates::sgd(0.1).weight_decay(-1.0),
        Rates::sgd(0.1).l1(f32::NAN),
        Rates::sgd(0.1).max_norm(0.0),
    ] {
        assert!(matches!(bad.state(), Err(Error::BadParameter { .. })), "{bad:?}");
    }
    assert_eq!(gpu.download(&w).unwrap(), [5.0; 8]);
}
