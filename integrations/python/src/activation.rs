//! `Activation`: a function, its derivatives and its facts; on float64 in the f64 mathematics, on float32 by the CPU's loops, on tensors by
//! the GPU.

use elbow::{Activation as Act, activation::Quantity, elementwise::Forward};
use elbow_cpu::{Alpha, evaluate};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::{
    array::{Array, array},
    errors::{expected, raise},
    tensor::Tensor,
};

/// An activation function with its parameters, from text: `"gelu"`, `"leaky_relu(0.1)"`.
#[pyclass(frozen, eq, hash, from_py_object, module = "elbow")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Activation {
    pub(crate) act: Act,
}

/// Names of the quantities, in the order of [`Quantity::ALL`].
const QUANTITIES: [&str; 8] = [
    "value",
    "slope",
    "second_derivative",
    "third_derivative",
    "alpha_slope",
    "mixed_derivative",
    "mixed_third_derivative",
    "second_alpha_derivative",
];

fn quantity(act: &Act, name: &str) -> PyResult<Quantity> {
    let at = QUANTITIES.iter().position(|known| *known == name);
    match at.map(|at| Quantity::ALL[at]) {
        None => Err(expected("quantity", &format!("one of {}", QUANTITIES.join(", ")), format!("{name:?}"))),
        Some(quantity) if quantity.is_by_alpha() && !act.has_alpha() => {
            Err(expected("quantity", &format!("a derivative by z, because {act} has no learnable alpha"), name))
        }
        Some(quantity) => Ok(quantity),
    }
}

/// An activation given as one, or as its text.
pub(crate) fn parse(value: &Bound<'_, PyAny>) -> PyResult<Act> {
    if let Ok(activation) = value.cast::<Activation>() {
        return Ok(activation.get().act);
    }
    let Ok(text) = value.extract::<String>() else {
        return Err(expected("activation", "an Activation or its name", value.get_type().name()?));
    };
    text.parse().map_err(raise)
}

/// The number of an α of one element or of one for each channel, the last dimension.
fn alpha_at(alpha: &[f32], channels: usize) -> PyResult<impl Fn(usize) -> f32 + Sync> {
    match alpha.len() {
        count if count == 1 || count == channels => Ok(move |index: usize| alpha[index % count]),
        count => Err(expected("alpha", &format!("1 element or {channels}, one for each channel"), count)),
    }
}

impl Activation {
    fn in_f64<'py>(
        &self,
        quantity: Quantity,
        z: &Array<'py, f64>,
        alpha: Option<&[f32]>,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (act, values) = (self.act, z.values());
        let results: Vec<f64> = match alpha {
            None => py.detach(|| values.iter().map(|&z| act.evaluate(quantity, z)).collect()),
            Some(alpha) => {
                let at = alpha_at(alpha, z.shape().last().copied().unwrap_or(1))?;
                let of = |(i, &z): (usize, &f64)| act.with_alpha(at(i)).evaluate(quantity, z);
                py.detach(|| values.iter().enumerate().map(of).collect())
            }
        };
        array(py, results, z.shape())
    }

    fn in_f32<'py>(
        &self,
        quantity: Quantity,
        z: &Array<'py>,
        alpha: Option<&[f32]>,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (act, values) = (self.act, z.values());
        let mut results = vec![0.0; values.len()];
        let each: Vec<f32> = match alpha {
            Some(alpha) => {
                let at = alpha_at(alpha, z.shape().last().copied().unwrap_or(1))?;
                (0..values.len()).map(at).collect()
            }
            None => Vec::new(),
        };
        let alpha = if alpha.is_some() { Alpha::Each(&each) } else { Alpha::One(act.params()[0]) };
        py.detach(|| evaluate(&act, quantity, alpha, values, &mut results));
        array(py, results, z.shape())
    }

    fn on_device(&self, quantity: Quantity, z: &Tensor, alpha: Option<&Tensor>, py: Python<'_>) -> PyResult<Tensor> {
        let device = &z.device;
        let run = || {
            let y = device.zeros_of(z.dtype(), z.shape())?;
            let call = Forward::new(self.act, z.view(), &y).quantity(quantity).alpha(alpha.map(Tensor::view));
            device.submit(|encoder| call.record(device, encoder))?;
            Ok(Tensor::of(device, y))
        };
        py.detach(run).map_err(raise)
    }
}

#[pymethods]
impl Activation {
    #[new]
    fn new(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Activation { act: parse(text)? })
    }

    /// The value, or another quantity, at each element of an array of float32 or float64 or of a tensor.
    #[pyo3(signature = (z, quantity = "value", alpha = None))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        z: &Bound<'py, PyAny>,
        quantity: &str,
        alpha: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let quantity = self::quantity(&self.act, quantity)?;
        if alpha.is_some() && !self.act.has_alpha() {
            return Err(expected("alpha", &format!("none, because {} has no learnable alpha", self.act), "an operand"));
        }
        if let Ok(z) = z.cast::<Tensor>() {
            let alpha = alpha.map(|alpha| alpha.cast::<Tensor>()).transpose()?;
            let y = self.on_device(quantity, z.get(), alpha.map(|alpha| alpha.get()), py)?;
            return Ok(Bound::new(py, y)?.into_any());
        }
        let alpha = alpha.map(|alpha| Array::<f32>::read("alpha", alpha)).transpose()?;
        let alpha = alpha.as_ref().map(Array::values);
        match z.cast::<PyArrayDyn<f64>>() {
            Ok(_) => self.in_f64(quantity, &Array::read("z", z)?, alpha, py),
            Err(_) => self.in_f32(quantity, &Array::read("z", z)?, alpha, py),
        }
    }

    #[getter]
    fn name(&self) -> &'static str {
        self.act.name()
    }

    #[getter]
    fn formula(&self) -> &'static str {
        self.act.row().formula
    }

    /// The parameters that it has; the first is α, if it has one.
    #[getter]
    fn parameters(&self) -> Vec<f32> {
        let count = self.act.row().parameters.len();
        self.act.params().into_iter().take(count).collect()
    }

    #[getter]
    fn has_alpha(&self) -> bool {
        self.act.has_alpha()
    }

    /// He's gain, 1/√E[act(Z)²].
    #[getter]
    fn gain(&self) -> f64 {
        self.act.gain().he_gain()
    }

    #[getter]
    fn lipschitz(&self) -> f64 {
        self.act.lipschitz()
    }

    /// Whether its second derivative is 0 almost everywhere.
    #[getter]
    fn is_flat(&self) -> bool {
        self.act.is_flat()
    }

    fn __str__(&self) -> String {
        self.act.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Activation({:?})", self.act.to_string())
    }
}
