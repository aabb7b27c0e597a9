//! `Layer`: a fused layer stated once, run on arrays by the faster road, or on tensors by their device.

mod given;
mod on_device;
mod on_host;
mod views;

use elbow::{Activation as Act, Gate, Jet, ResidualAt, Saved, WeightLayout, request::AffineRequest};
use pyo3::{prelude::*, types::PyDict};

use self::given::{Given, Keywords};
use crate::{
    activation,
    errors::{expected, raise},
    host::Host,
    tensor::Tensor,
};

/// What a layer is, without its operands.
#[pyclass(frozen, module = "elbow")]
pub(crate) struct Layer {
    act: Act,
    layout: WeightLayout,
    residual_at: ResidualAt,
    gate: Option<Gate>,
    jet: Option<Jet>,
}

/// `laplacian(2)`, or the coefficients c₁₁,c₁₂,.. as elbow prints them.
fn jet(text: &str) -> PyResult<Jet> {
    let laplacian = text.strip_prefix("laplacian(").and_then(|rest| rest.strip_suffix(')'));
    match laplacian {
        None => text.parse().map_err(raise),
        Some(dimensions) => {
            let dimensions = dimensions.parse().map_err(|_| expected("jet", "laplacian(N)", text))?;
            Jet::laplacian(dimensions).map_err(raise)
        }
    }
}

#[pymethods]
impl Layer {
    #[new]
    #[pyo3(signature = (activation = None, *, layout = "out_in", residual_at = "after", gate = None, jet = None))]
    fn new(
        activation: Option<&Bound<'_, PyAny>>,
        layout: &str,
        residual_at: &str,
        gate: Option<&str>,
        jet: Option<&str>,
    ) -> PyResult<Self> {
        let gate: Option<Gate> = gate.map(str::parse).transpose().map_err(raise)?;
        let unit = activation.and_then(|name| name.extract::<String>().ok()).filter(|_| gate.is_some());
        let act = match (activation, unit.map(|name| Act::of_gated_unit(&name))) {
            // A gated unit has names of its own; others are those of activations.
            (_, Some(Ok(act))) => act,
            (Some(activation), _) => activation::parse(activation)?,
            (None, _) => Act::IDENTITY,
        };
        Ok(Layer {
            act,
            layout: layout.parse().map_err(raise)?,
            residual_at: residual_at.parse().map_err(raise)?,
            gate,
            jet: jet.map(self::jet).transpose()?,
        })
    }

    /// y, or y and what backward needs if `keep` is true.
    #[pyo3(signature = (x, w, b = None, *, keep = false, host = None, **operands))]
    fn forward<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        w: &Bound<'py, PyAny>,
        b: Option<&Bound<'py, PyAny>>,
        keep: bool,
        host: Option<&Host>,
        operands: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let keywords = Keywords::new(operands, &given::OPERANDS)?;
        let (y, kept) = match x.cast::<Tensor>() {
            Ok(_) => on_device::forward(py, self, &Given::read(x, w, b, &keywords)?, keep)?,
            Err(_) => on_host::forward(py, self, &Given::read(x, w, b, &keywords)?, keep, host)?,
        };
        if keep { (y, kept).into_pyobject(py).map(Bound::into_any) } else { Ok(y) }
    }

    /// The gradients that are wanted, by name; all that there are unless `wants` says which.
    #[pyo3(signature = (dy, x, w, b = None, *, kept = None, wants = None, host = None, **operands))]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a call in Python")]
    fn backward<'py>(
        &self,
        dy: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        w: &Bound<'py, PyAny>,
        b: Option<&Bound<'py, PyAny>>,
        kept: Option<&Bound<'py, PyAny>>,
        wants: Option<Vec<String>>,
        host: Option<&Host>,
        operands: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (py, wants) = (x.py(), wants.as_deref());
        let keywords = Keywords::new(operands, &given::OPERANDS)?;
        match x.cast::<Tensor>() {
            Ok(_) => on_device::backward(py, self, &Given::read(x, w, b, &keywords)?, dy, kept, wants),
            Err(_) => on_host::backward(py, self, &Given::read(x, w, b, &keywords)?, dy, kept, wants, host),
        }
    }

    /// The gradients of those gradients, from what comes back to them: `ddx`, `ddw`, `ddb`, `ddalpha`.
    #[pyo3(signature = (dy, x, w, b = None, *, kept = None, wants = None, host = None, **operands))]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a call in Python")]
    fn double_backward<'py>(
        &self,
        dy: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        w: &Bound<'py, PyAny>,
        b: Option<&Bound<'py, PyAny>>,
        kept: Option<&Bound<'py, PyAny>>,
        wants: Option<Vec<String>>,
        host: Option<&Host>,
        operands: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (py, wants) = (x.py(), wants.as_deref());
        let keywords = Keywords::new(operands, &given::OPERANDS_AND_RETURNING)?;
        match x.cast::<Tensor>() {
            Ok(_) => on_device::double_backward(py, self, &Given::read(x, w, b, &keywords)?, dy, kept, wants),
            Err(_) => on_host::double_backward(py, self, &Given::read(x, w, b, &keywords)?, dy, kept, wants, host),
        }
    }

    /// What forward keeps: `"z"`, `"y"`, `"mask"` or `"none"`.
    #[pyo3(signature = (*, learnable_alpha = false))]
    fn keeps(&self, learnable_alpha: bool) -> PyResult<&'static str> {
        let alpha = if learnable_alpha { elbow::AlphaSource::PerLayer } else { elbow::AlphaSource::Constant };
        let request = AffineRequest::new(1, 1, 1, self.act).alpha(alpha).gate(self.gate).jet(self.jet);
        request.resolve_saved(false).map(Saved::name).map_err(raise)
    }
}
