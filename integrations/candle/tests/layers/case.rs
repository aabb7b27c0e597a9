//! A layer with its numbers, as variables of candle and for the reference.

use candle_core::{Device, Result, Tensor, Var, backprop::GradStore};
use elbow::{
    Activation, AlphaSource, Gate, Want,
    cpu::{
        operands::alpha_length,
        reference::{self, BackwardInputs, BackwardOutputs, Gradient},
    },
    request::{AffineRequest, BackwardRequest, Gradients},
};
use elbow_verify::Numbers;

/// 2⁻²⁴.
const U: f64 = 1.0 / 16_777_216.0;

/// Sums of at most 41 numbers, relative to the sum of their absolute values, of numbers that themselves are off by a few u.
pub(crate) const BOUND: f64 = 16.0 * U;

pub(crate) struct Case {
    pub(crate) request: AffineRequest,
    pub(crate) x: Var,
    pub(crate) w: Var,
    pub(crate) b: Var,
    pub(crate) w_up: Var,
    pub(crate) alpha: Var,
    pub(crate) dy: Tensor,
}

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// What came, what it should be, and for each element the sum of the absolute values of its terms.
pub(crate) type Row<'a> = (&'a str, Tensor, &'a [f64], &'a [f64]);

/// The largest distance of these tensors from the reference, in bounds: |got − value| / (terms + |value| + 1).
pub(crate) fn distance(rows: &[Row<'_>]) -> f64 {
    let mut largest = 0.0f64;
    for (name, got, value, terms) in rows {
        let got = numbers(got);
        assert_eq!(got.len(), value.len(), "{name}");
        for (&got, (&value, &terms)) in got.iter().zip(value.iter().zip(*terms)) {
            let off = (f64::from(got) - value).abs() / (terms.abs() + value.abs() + 1.0);
            // A NaN is as far as can be.
            largest = largest.max(if off.is_nan() { f64::INFINITY } else { off });
        }
    }
    largest
}

impl Case {
    pub(crate) fn new(request: AffineRequest) -> Self {
        let (AffineRequest { m, n, k, .. }, of_w) = (request, request.outputs_of_w());
        let mut numbers = Numbers::new((m * 10_000 + n * 100 + k) as u64);
        let mut normal = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| numbers.normal()).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let x = normal(&[m, k]);
        // z of size 1, so that bounded activations are met on both sides of their bounds.
        let w = (normal(&[of_w, k]) / (k.max(1) as f64).sqrt()).unwrap();
        let w_up = (normal(&[n, k]) / (k.max(1) as f64).sqrt()).unwrap();
        let b = normal(&[of_w]);
        let alpha = normal(&[alpha_length(request.alpha, n)]).abs().unwrap().affine(0.5, 0.1).unwrap();
        let dy = normal(&[m, n]);
        let [x, w, b, w_up, alpha] = [x, w, b, w_up, alpha].map(|tensor| Var::from_tensor(&tensor).unwrap());
        Case { request, x, w, b, w_up, alpha, dy }
    }

    pub(crate) fn plain(activation: Activation) -> Self {
        Self::new(AffineRequest::new(23, 19, 41, activation))
    }

    pub(crate) fn gated(activation: Activation, gate: Gate) -> Self {
        Self::new(AffineRequest::new(11, 7, 30, activation).gate(gate))
    }

    /// b, if the layer has one.
    pub(crate) fn bias(&self) -> Option<&Tensor> {
        self.request.bias.then(|| self.b.as_tensor())
    }

    /// The gradients of Σ y ⊙ dy.
    pub(crate) fn gradients(&self, y: &Tensor) -> Result<GradStore> {
        (y * &self.dy)?.sum_all()?.backward()
    }

    /// y and every gradient of the f64 reference.
    pub(crate) fn expected(&self) -> (Gradient, BackwardOutputs) {
        let [x, w, b, w_up, alpha] = [&self.x, &self.w, &self.b, &self.w_up, &self.alpha].map(|var| numbers(var));
        let dy = numbers(&self.dy);
        let (apart, learnable) = (self.request.is_apart(), self.request.alpha != AlphaSource::Constant);
        let inputs = BackwardInputs::new(&x, &w, &dy)
            .b(self.request.bias.then_some(&b))
            .alpha(learnable.then_some(&alpha))
            .w_up(apart.then_some(&w_up));
        let forward = elbow::cpu::ForwardInputs::new(&x, &w)
            .b(self.request.bias.then_some(&b))
            .alpha(learnable.then_some(&alpha))
            .w_up(apart.then_some(&w_up));
        let forward = reference::forward(&self.request, forward).unwrap();
        let all = Gradients::default()
            .x(Want::Overwrite)
            .w(Want::Overwrite)
            .b(if self.request.bias { Want::Overwrite } else { Want::No })
            .alpha(if learnable { Want::Overwrite } else { Want::No })
            .w_up(if apart { Want::Overwrite } else { Want::No });
        let backward = reference::backward(&BackwardRequest::new(self.request, all), inputs).unwrap();
        // The terms of a gated y are those of both its sides.
        let terms = match self.request.gate {
            None => forward.z_terms,
            Some(_) => forward.y.iter().map(|y| y.abs() + 16.0).collect(),
        };
        (Gradient { value: forward.y, terms }, backward)
    }

    /// How far y and the gradients that candle makes of it are from the reference.
    pub(crate) fn distance(&self, y: &Tensor) -> f64 {
        let (expected, gradients) = self.expected();
        let got = self.gradients(y).unwrap();
        let mut parts = vec![("dx", &self.x, &gradients.dx), ("dw", &self.w, &gradients.dw)];
        if self.request.bias {
            parts.push(("db", &self.b, &gradients.db));
        }
        if self.request.alpha != AlphaSource::Constant {
            parts.push(("dalpha", &self.alpha, &gradients.dalpha));
        }
        if self.request.is_apart() {
            parts.push(("dw_up", &self.w_up, &gradients.dw_up));
        }
        let of = |var: &Var| got.get(var).expect("a gradient").clone();
        let rows = parts.iter().map(|(name, var, gradient)| (*name, of(var), &gradient.value[..], &gradient.terms[..]));
        let y = ("y", y.clone(), &expected.value[..], &expected.terms[..]);
        distance(&std::iter::once(y).chain(rows).collect::<Vec<_>>())
    }
}
