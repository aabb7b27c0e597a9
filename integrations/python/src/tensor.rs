//! `Tensor`: an array on a device.

use elbow::gpu::transfer::Tensor as Memory;
use elbow::{Dtype, Float, Gpu as Device, Operand, View, half::f16, shape};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{
    prelude::*,
    types::{PyDict, PyTuple},
};

use crate::{
    array::{Array, array},
    errors::{expected, raise},
};

/// A row-major array on a device, of f32, f16, bf16 or u32.
#[pyclass(frozen, module = "elbow")]
pub(crate) struct Tensor {
    pub(crate) device: Device,
    memory: Memory,
    shape: Vec<usize>,
}

impl Tensor {
    pub(crate) fn of(device: &Device, memory: Memory) -> Self {
        Tensor { device: device.clone(), shape: memory.shape().to_vec(), memory }
    }

    pub(crate) fn view(&self) -> View<'_> {
        self.memory.view_as(&self.shape)
    }

    pub(crate) fn dtype(&self) -> Dtype {
        self.memory.dtype()
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Copies a NumPy array, or whatever gives one by `__dlpack__`, to the device.
    pub(crate) fn upload(device: &Device, value: &Bound<'_, PyAny>, dtype: Option<&str>) -> PyResult<Self> {
        let py = value.py();
        let given = match value.cast::<PyUntypedArray>() {
            Err(_) if value.hasattr("__dlpack__")? => py.import("numpy")?.call_method1("from_dlpack", (value,))?,
            _ => value.clone(),
        };
        let wanted = dtype.map(str::parse::<Dtype>).transpose().map_err(raise)?;
        let kind = given.cast::<PyUntypedArray>().map(|array| array.dtype().to_string()).unwrap_or_default();
        let memory = match (kind.as_str(), wanted) {
            ("float16", None | Some(Dtype::Float(Float::F16))) => {
                let read = Array::<f16>::read("array", &given)?;
                let (values, shape) = (read.values(), read.shape());
                py.detach(|| device.upload_as(Dtype::F16, values, shape))
            }
            ("uint32", None | Some(Dtype::U32)) => {
                let read = Array::<u32>::read("array", &given)?;
                let (values, shape) = (read.values(), read.shape());
                py.detach(|| device.upload_words(values, shape))
            }
            (_, Some(Dtype::U32)) => return Err(expected("array", "a numpy array of uint32 for dtype \"u32\"", kind)),
            _ => {
                let read = Array::<f32>::read("array", &given)?;
                let (values, shape) = (read.values(), read.shape());
                py.detach(|| device.upload_as(wanted.unwrap_or(Dtype::F32), values, shape))
            }
        };
        Ok(Tensor::of(device, memory.map_err(raise)?))
    }
}

#[pymethods]
impl Tensor {
    #[getter(shape)]
    fn shape_tuple<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    #[getter(dtype)]
    fn dtype_name(&self) -> &'static str {
        self.dtype().name()
    }

    /// The same memory in another shape.
    #[pyo3(signature = (*shape))]
    fn reshape(&self, shape: Vec<isize>) -> PyResult<Self> {
        let count: usize = self.shape.iter().product();
        let known: usize = shape.iter().filter(|dim| **dim >= 0).map(|dim| dim.unsigned_abs()).product();
        let open = shape.iter().filter(|dim| **dim == -1).count();
        let missing = if open == 1 && known > 0 { count / known } else { 1 };
        let shape: Vec<usize> = shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(missing)).collect();
        let fits = open <= 1 && shape::elements(Operand::Tensor, &shape).map_err(raise)? == count as u64;
        match fits {
            true => Ok(Tensor { device: self.device.clone(), memory: self.memory.clone(), shape }),
            false => Err(expected("shape", &format!("one of {count} elements"), format!("{shape:?}"))),
        }
    }

    /// A copy in the host's memory: f32 and bf16 as float32, f16 as float16, u32 as uint32.
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (view, device) = (self.view(), &self.device);
        let count = self.shape.iter().product();
        match self.dtype() {
            Dtype::U32 => array(py, py.detach(|| device.download_words(view)).map_err(raise)?, &self.shape),
            Dtype::Float(Float::F16) => {
                let mut values = vec![f16::ZERO; count];
                py.detach(|| device.download_into(view, &mut values)).map_err(raise)?;
                array(py, values, &self.shape)
            }
            _ => array(py, py.detach(|| device.download(view)).map_err(raise)?, &self.shape),
        }
    }

    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            return Err(expected("copy", "None or True, for a tensor lies on the device", "False"));
        }
        let values = self.numpy(py)?;
        dtype.map_or(Ok(values.clone()), |dtype| values.call_method1("astype", (dtype,)))
    }

    /// A copy in the host's memory as a DLPack capsule.
    #[pyo3(signature = (**options))]
    fn __dlpack__<'py>(&self, py: Python<'py>, options: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        self.numpy(py)?.call_method("__dlpack__", (), options)
    }

    /// The CPU: what is handed over is a copy there.
    fn __dlpack_device__(&self) -> (u32, u32) {
        (1, 0)
    }

    fn __len__(&self) -> PyResult<usize> {
        self.shape.first().copied().ok_or_else(|| expected("tensor", "at least one dimension", "none"))
    }

    fn __repr__(&self) -> String {
        format!("Tensor(shape={:?}, dtype={}, gpu={:?})", self.shape, self.dtype(), self.device.info().name)
    }
}
