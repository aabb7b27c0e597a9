//! `Host`: the roads of layers on arrays.

use std::sync::OnceLock;

use elbow::{Activation as Act, Gpu as Device, request::AffineRequest};
use elbow_host::{Host as Roads, Road};
use pyo3::{prelude::*, types::PyDict};

use crate::{
    errors::{expected, raise},
    gpu::Gpu,
};

/// Where layers on arrays are computed: on the CPU, or on a GPU with both transfers.
#[pyclass(frozen, module = "elbow")]
pub(crate) struct Host {
    pub(crate) roads: Roads,
}

/// The host of calls that name none: opened at the first.
static DEFAULT: OnceLock<Roads> = OnceLock::new();

/// The host that was named, or the default one. Opening takes the interpreter's lock from nobody.
pub(crate) fn roads<'a>(py: Python<'_>, host: Option<&'a Host>) -> &'a Roads {
    match host {
        Some(host) => &host.roads,
        None => py.detach(|| DEFAULT.get_or_init(Roads::open)),
    }
}

#[pymethods]
impl Host {
    #[new]
    #[pyo3(signature = (gpu = None, road = None))]
    fn new(py: Python<'_>, gpu: Option<&Gpu>, road: Option<&str>) -> PyResult<Self> {
        let device = |gpu: Option<&Gpu>| match gpu {
            Some(gpu) => Ok(gpu.device.clone()),
            None => py.detach(Device::new).map_err(raise),
        };
        let roads = match (gpu, road) {
            (None, None) => py.detach(Roads::open),
            (Some(gpu), None) => Roads::measured(gpu.device.clone()),
            (None, Some("cpu")) => Roads::cpu(),
            (Some(gpu), Some("cpu")) => Roads::with(gpu.device.clone(), Road::Cpu),
            (gpu, Some("gpu")) => Roads::with(device(gpu)?, Road::Gpu),
            (_, Some(other)) => return Err(expected("road", "\"cpu\", \"gpu\" or None", format!("{other:?}"))),
        };
        Ok(Host { roads })
    }

    /// The road that a layer of this shape takes forward.
    fn road(&self, py: Python<'_>, m: usize, n: usize, k: usize) -> PyResult<&'static str> {
        let request = AffineRequest::new(m, n, k, Act::RELU);
        py.detach(|| self.roads.road(&request)).map(Road::name).map_err(raise)
    }

    /// What both roads cost, as measured; None where there is one road.
    fn costs<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(costs) = py.detach(|| self.roads.costs()).map_err(raise)? else { return Ok(None) };
        let all = PyDict::new(py);
        all.set_item("cpu_call", costs.cpu_call)?;
        all.set_item("cpu_operations", costs.cpu_operations)?;
        all.set_item("gpu_call", costs.gpu.call)?;
        all.set_item("gpu_operations", costs.gpu.operations)?;
        all.set_item("up", costs.gpu.up)?;
        all.set_item("down", costs.gpu.down)?;
        Ok(Some(all))
    }

    fn __str__(&self) -> String {
        self.roads.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Host({})", self.roads)
    }
}

/// So many threads for the CPU's road; False if its pool has begun to work already.
#[pyfunction]
pub(crate) fn set_threads(count: usize) -> bool {
    elbow_cpu::rayon::ThreadPoolBuilder::new().num_threads(count).build_global().is_ok()
}
