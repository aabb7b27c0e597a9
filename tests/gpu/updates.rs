//! Updates with rates on the device against the reference, over whole schedules: every rule, clipping, ℓ1, factors, copies in step.

use elbow::{
    Error, Float, Gpu, Operand,
    cpu::reference::Updated,
    rates::{Place, Rates, Rule},
    train::{Advance, LossScale, Update},
};

use crate::common::{Numbers, gpu, ulp_of};

struct Run {
    rule: Rule,
    rates: Rates,
    elements: usize,
    /// Of the views in their buffers.
    offset: usize,
    factors: bool,
    copy: Option<Float>,
    scale: Option<f32>,
}

impl Run {
    /// Twenty steps of a schedule on the device and in the reference: one prepared pair of calls, one number written a step.
    fn check(&self, gpu: &Gpu, name: &str) {
        let Run { rule, elements: n, offset, .. } = *self;
        let mut numbers = Numbers::new(n as u64 + 3);
        let theta: Vec<f32> = (0..n).map(|_| numbers.normal()).collect();
        let room = n + offset + 4;
        let padded = |v: &[f32]| {
            let mut all = vec![-7.0; room];
            all[offset..offset + n].copy_from_slice(v);
            gpu.upload(&all, &[room]).unwrap()
        };
        let [parameter, gradient] = [padded(&theta), padded(&theta)];
        let [first, second] = [(); 2].map(|()| padded(&vec![0.0; n]));
        let copied = self.copy.map(|dtype| gpu.upload_as(dtype, &vec![-7.0; room], &[room]).unwrap());
        let runs = n.div_ceil(128);
        let factor = |run: usize| [1.0, (run % 2) as f32, (run % 3) as f32, f32::NAN];
        let factors: Vec<f32> = (0..runs).flat_map(factor).collect();
        let factors = gpu.upload(&factors, &[runs, 4]).unwrap();
        let rates = gpu.upload(&self.rates.state().unwrap(), &[12]).unwrap();
        let scale = self.scale.map(|scale| gpu.upload(&[scale, 1.0 / scale, 0.0, 0.0], &[4]).unwrap());
        let view = |t| slice(t, offset, n);
        let mut update = match rule {
            Rule::AdamW => Update::adamw(view(&parameter), view(&gradient), &rates, view(&first), view(&second)),
            _ => Update::sgd(view(&parameter), view(&gradient), &rates).velocity(view(&first)).rule(rule),
        };
        if self.factors {
            update = update.factors(factors.view());
        }
        if let Some(copied) = &copied {
            update = update.copy(slice(copied, offset, n));
        }
        let advance = Advance::new(&rates).clipped(view(&gradient)).loss_scale(scale.as_ref().map(|s| s.view()));
        let (advance, update) = (advance.prepare(gpu).unwrap(), update.prepare(gpu).unwrap());
        let mut right = Updated::new(&theta);
        for step in 0..20 {
            let bad = step == 7;
            let g: Vec<f32> = (0..n)
                .map(|i| {
                    if bad && i == n / 2 {
                        f32::INFINITY
                    } else {
                        0.1 * numbers.normal() * 10f32.powi(i as i32 % 5 - 2)
                    }
                })
                .collect();
            let scaled: Vec<f32> = g.iter().map(|g| g * self.scale.unwrap_or(1.0)).collect();
            gpu.write(view(&gradient), &scaled).unwrap();
            let rate = self.rates.rate * (1.0 - step as f32 / 25.0);
            gpu.write(slice(&rates, Place::Rate as usize, 1), &[rate]).unwrap();
            gpu.submit_pass(|pass| {
                advance.record(&mut *pass)?;
                update.record(pass)
            })
            .unwrap();
            if bad {
                continue;
            }
            let of = |i: usize| if self.factors { [1.0, (i / 128 % 2) as f32, (i / 128 % 3) as f32] } else { [1.0; 3] };
            right.step(rule, &self.rates.rate(rate), &g, of).unwrap();
            let state = gpu.download(&rates).unwrap();
            assert_eq!(state[Place::Steps as usize], right.steps as f32, "{name}: a step that was left out counts not");
            let norm = g.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            assert!((f64::from(state[Place::Norm as usize]) / norm - 1.0).abs() < 1e-6, "{name}: norm");
            let lacking = 1.0 - f64::from(self.rates.beta2).powi(right.steps);
            let off = (f64::from(state[Place::Lacking2 as usize]) - lacking).abs() / ulp_of(lacking);
            assert!(off <= 4.0, "{name}: 1 - beta^{}: {off} ulp", right.steps);
        }
        let got = gpu.download(&parameter).unwrap();
        let outside = |v: &[f32]| v[..offset].iter().chain(&v[offset + n..]).all(|&v| v == -7.0);
        assert!(outside(&got), "{name}: written outside");
        let got = &got[offset..offset + n];
        for (i, (&got, &right)) in got.iter().zip(&right.parameter).enumerate() {
            // Twenty steps, each a few roundings of a parameter that may have been larger.
            let allowed = 80.0 * ulp_of(right.abs().max(f64::from(theta[i]).abs()).max(0.05));
            assert!((f64::from(got) - right).abs() <= allowed, "{name}: parameter {i} is {got}, right {right}");
        }
        if self.rates.l1 > 0.0 && !self.factors && n >= 1000 {
            let zeros = got.iter().filter(|&&v| v == 0.0).count();
            assert!(zeros > 0, "{name}: no parameter became 0");
        }
        if let (Some(copied), Some(dtype)) = (&copied, self.copy) {
            let copied = gpu.download(copied).unwrap();
            assert!(outside(&copied), "{name}: written outside of the copy");
            for (&narrow, &got) in copied[offset..].iter().zip(got) {
                assert_eq!(narrow, dtype.round(got), "{name}: the copy is not in step");
            }
        }
    }
}

fn slice(t: &elbow::Tensor, from: usize, count: usize) -> elbow::View<'_> {
    t.view().slice(0, from..from + count).unwrap()
}

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
                    let run = Run { rule, rates, elements, offset, factors, copy, scale };
                    run.check(gpu, &format!("{rule:?} {elements} at {offset}, factors {factors}, {rates:?}"));
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
