//! The device of all tests, numbers, and the f64 reference as judge.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is not within a bound")]

use std::sync::OnceLock;

use burn::tensor::{Device, DeviceKind, Tensor, TensorData};
use elbow_burn::{
    Activation, Layer,
    elbow::{
        Gate, Want, WeightLayout,
        cpu::{ForwardInputs, reference},
        request::{AffineRequest, AlphaSource, BackwardRequest, Gradients},
    },
};

/// Burn's default wgpu device, opened once for both.
pub(crate) fn wgpu() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| elbow_burn::open(Device::wgpu_options()).unwrap()).clone()
}

/// The same adapter as another device of Burn's, which elbow does not know: the best kind that there is is the default one too.
pub(crate) fn burns_own() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let kinds = [DeviceKind::DiscreteGpu(0), DeviceKind::IntegratedGpu(0), DeviceKind::VirtualGpu(0), DeviceKind::Cpu];
    let open = || kinds.into_iter().find_map(|kind| Device::wgpu_options().device_kind(kind).init().ok()).unwrap();
    DEVICE.get_or_init(open).clone()
}

/// Numbers in (-1, 1), others for each seed.
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..8).for_each(|_| _ = next());
    (0..count).map(|_| next()).collect()
}

pub(crate) fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().unwrap()
}

/// One layer to check: its shape, its choices and its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) activation: Activation,
    pub(crate) bias: bool,
    pub(crate) alpha: AlphaSource,
    pub(crate) gated: bool,
}

/// All results of a layer, under their names.
pub(crate) type Results = Vec<(&'static str, Vec<f32>)>;

impl Case {
    pub(crate) fn new(m: usize, n: usize, k: usize, activation: Activation) -> Self {
        Case { m, n, k, activation, bias: true, alpha: AlphaSource::Constant, gated: false }
    }

    pub(crate) fn x(&self) -> Vec<f32> {
        numbers(self.m * self.k, 1)
    }

    pub(crate) fn w(&self) -> Vec<f32> {
        numbers(self.k * self.n, 2)
    }

    pub(crate) fn w_up(&self) -> Vec<f32> {
        numbers(self.k * self.n, 3)
    }

    pub(crate) fn b(&self) -> Vec<f32> {
        numbers(self.n, 4)
    }

    pub(crate) fn b_up(&self) -> Vec<f32> {
        numbers(self.n, 5)
    }

    pub(crate) fn dy(&self) -> Vec<f32> {
        numbers(self.m * self.n, 6)
    }

    /// Near the activation's own, and in its domain.
    pub(crate) fn alphas(&self) -> Option<Vec<f32>> {
        let count = match self.alpha {
            AlphaSource::Constant => return None,
            AlphaSource::PerLayer => 1,
            AlphaSource::PerChannel => self.n,
        };
        let own = self.activation.params()[0];
        Some(numbers(count, 7).iter().map(|v| own * (1.0 + 0.3 * v)).collect())
    }

    /// The layer by elbow's f64 reference: each result, and the sum of the absolute values of its terms, to which rounding is in proportion.
    pub(crate) fn judge(&self) -> Vec<(&'static str, Vec<f64>, Vec<f64>)> {
        let (x, w, w_up, b, b_up, dy) = (self.x(), self.w(), self.w_up(), self.b(), self.b_up(), self.dy());
        let alphas = self.alphas();
        let layer = AffineRequest::new(self.m, self.n, self.k, self.activation)
            .layout(WeightLayout::InOut)
            .bias(self.bias)
            .alpha(self.alpha)
            .gate(self.gated.then(Gate::apart));
        let (b, b_up) = (self.bias.then_some(&b[..]), (self.bias && self.gated).then_some(&b_up[..]));
        let w_up = self.gated.then_some(&w_up[..]);
        let inputs = ForwardInputs::new(&x, &w).b(b).alpha(alphas.as_deref()).w_up(w_up).b_up(b_up);
        let forward = reference::forward(&layer, inputs).unwrap();
        let mut wants = Gradients::default().x(Want::Overwrite).w(Want::Overwrite);
        if self.bias {
            wants = wants.b(Want::Overwrite);
        }
        if self.alpha != AlphaSource::Constant {
            wants = wants.alpha(Want::Overwrite);
        }
        if self.gated {
            wants = wants.w_up(Want::Overwrite);
            if self.bias {
                wants = wants.b_up(Want::Overwrite);
            }
        }
        let request = BackwardRequest::new(layer, wants);
        let inputs = reference::BackwardInputs::new(&x, &w, &dy);
        let inputs = inputs.b(b).alpha(alphas.as_deref()).w_up(w_up).b_up(b_up);
        let back = reference::backward(&request, inputs).unwrap();
        let of_y = vec![self.k as f64 + 1.0; forward.y.len()];
        let mut all = vec![("y", forward.y, of_y)];
        let mut add = |name, gradient: reference::Gradient| all.push((name, gradient.value, gradient.terms));
        add("dx", back.dx);
        add("dw", back.dw);
        if self.bias {
            add("db", back.db);
        }
        if self.alpha != AlphaSource::Constant {
            add("dalpha", back.dalpha);
        }
        if self.gated {
            add("dw_up", back.dw_up);
            if self.bias {
                add("db_up", back.db_up);
            }
        }
        all
    }

    /// The layer in Burn, on a device with gradients, from dy that is nothing regular.
    pub(crate) fn run(&self, device: &Device) -> Results {
        let (m, n, k) = (self.m, self.n, self.k);
        let x = tensor(&self.x(), [m, k], device).require_grad();
        let w = tensor(&self.w(), [k, n], device).require_grad();
        self.run_with(x.clone(), w.clone(), |grads| {
            vec![("dx", values(x.grad(grads).unwrap())), ("dw", values(w.grad(grads).unwrap()))]
        })
    }

    /// The same, for an x and a w of the caller's making, who says how its gradients are found.
    pub(crate) fn run_with(
        &self,
        x: Tensor<2>,
        w: Tensor<2>,
        of_operands: impl FnOnce(&burn::tensor::Gradients) -> Results,
    ) -> Results {
        let (device, n, k) = (x.device(), self.n, self.k);
        let one = |values: Vec<f32>| tensor(&values, [values.len()], &device).require_grad();
        let b = self.bias.then(|| one(self.b()));
        let alpha = self.alphas().map(one);
        let w_up = self.gated.then(|| tensor(&self.w_up(), [k, n], &device).require_grad());
        let b_up = (self.gated && self.bias).then(|| one(self.b_up()));
        let y = Layer::new(self.activation, x, w).b(b.clone()).alpha(alpha.clone());
        let y = y.w_up(w_up.clone()).b_up(b_up.clone()).forward().unwrap();
        let mut results = vec![("y", values(y.clone()))];
        let grads = (y * tensor(&self.dy(), [self.m, n], &device)).sum().backward();
        results.extend(of_operands(&grads));
        let mut add = |name, of: Option<Tensor<1>>| {
            if let Some(of) = of {
                results.push((name, values(of.grad(&grads).unwrap())));
            }
        };
        add("db", b);
        add("dalpha", alpha);
        if let Some(w_up) = w_up {
            results.push(("dw_up", values(w_up.grad(&grads).unwrap())));
        }
        let mut add = |name, of: Option<Tensor<1>>| {
            if let Some(of) = of {
                results.push((name, values(of.grad(&grads).unwrap())));
            }
        };
        add("db_up", b_up);
        results
    }

    /// What is wrong with these results: a rounding of f32 for each term, and a few of the activation, are allowed.
    pub(crate) fn wrong(&self, results: &Results, bound: f64) -> Vec<String> {
        let mut wrong = Vec::new();
        let judged = self.judge();
        let names = |of: &mut dyn Iterator<Item = &'static str>| of.collect::<Vec<_>>();
        let expected = names(&mut judged.iter().map(|j| j.0));
        if expected != names(&mut results.iter().map(|r| r.0)) {
            wrong.push(format!("{self:?}: results {:?}", results.iter().map(|r| r.0).collect::<Vec<_>>()));
            return wrong;
        }
        for ((name, want, terms), (_, got)) in judged.iter().zip(results) {
            if want.len() != got.len() {
                wrong.push(format!("{self:?}: {name} has {} elements, not {}", got.len(), want.len()));
            }
            for (at, ((want, terms), got)) in want.iter().zip(terms).zip(got).enumerate() {
                let error = (want - f64::from(*got)).abs();
                if !(error <= bound * (1.0 + terms)) {
                    wrong.push(format!("{self:?}: {name}[{at}] is {got}, not {want} ({error:.1e} of {terms:.1})"));
                    break;
                }
            }
        }
        wrong
    }
}
