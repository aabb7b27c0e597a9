//! `Gpu`: a device.

use elbow::{Gpu as Device, Options, gpu::AdapterChoice};
use pyo3::{prelude::*, types::PyDict};

use crate::{errors::raise, tensor::Tensor};

/// A device, opened by name or as the best there is.
#[pyclass(frozen, module = "elbow")]
pub(crate) struct Gpu {
    pub(crate) device: Device,
}

#[pymethods]
impl Gpu {
    #[new]
    #[pyo3(signature = (name = None, *, backend = None, power = None, self_test = true))]
    fn new(
        py: Python<'_>,
        name: Option<String>,
        backend: Option<String>,
        power: Option<String>,
        self_test: bool,
    ) -> PyResult<Self> {
        let mut choice = AdapterChoice::from_env();
        choice.name = name.or(choice.name);
        choice.backend = backend.or(choice.backend);
        choice.power = power.or(choice.power);
        let open = || pollster::block_on(Device::open(&choice, Options::default().self_test(self_test)));
        Ok(Gpu { device: py.detach(open).map_err(raise)? })
    }

    /// One line for each adapter that runs compute shaders.
    #[staticmethod]
    fn adapters(py: Python<'_>) -> PyResult<Vec<String>> {
        let adapters = py.detach(elbow::native::adapters).map_err(raise)?;
        Ok(adapters
            .iter()
            .map(|adapter| {
                let info = adapter.get_info();
                format!("{} ({:?}, {:?}, {})", info.name, info.backend, info.device_type, info.driver_info)
            })
            .collect())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.device.info().name
    }

    #[getter]
    fn is_software(&self) -> bool {
        self.device.is_software()
    }

    #[getter]
    fn memory_bytes(&self) -> u64 {
        self.device.memory_bytes()
    }

    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (info, all) = (self.device.info(), PyDict::new(py));
        all.set_item("name", &info.name)?;
        all.set_item("backend", format!("{:?}", info.backend))?;
        all.set_item("device_type", format!("{:?}", info.device_type))?;
        all.set_item("driver", format!("{} {}", info.driver, info.driver_info).trim())?;
        all.set_item("software", self.device.is_software())?;
        Ok(all)
    }

    /// Copies an array to the device.
    #[pyo3(signature = (array, dtype = None))]
    fn tensor(&self, array: &Bound<'_, PyAny>, dtype: Option<&str>) -> PyResult<Tensor> {
        Tensor::upload(&self.device, array, dtype)
    }

    /// A tensor of zeros.
    #[pyo3(signature = (*shape, dtype = "f32"))]
    fn zeros(&self, py: Python<'_>, shape: Vec<usize>, dtype: &str) -> PyResult<Tensor> {
        let dtype: elbow::Dtype = dtype.parse().map_err(raise)?;
        let tensor = py.detach(|| self.device.zeros_of(dtype, &shape)).map_err(raise)?;
        Ok(Tensor::of(&self.device, tensor))
    }

    /// Waits until everything that was submitted has run.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.device.wait()).map_err(raise)
    }

    fn __repr__(&self) -> String {
        format!("Gpu({})", self.device)
    }

    fn __str__(&self) -> String {
        self.device.to_string()
    }
}
