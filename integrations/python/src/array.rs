//! NumPy arrays in and out. Nothing is converted silently: another type is an error that says how to convert.

use elbow::{Dtype, View};
use numpy::{Element, PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{prelude::*, types::PyAnyMethods};

use crate::errors::expected;

/// An array that is read: row-major without gaps, copied if it was not.
pub(crate) struct Array<'py, T: Element = f32> {
    array: PyReadonlyArrayDyn<'py, T>,
}

impl<'py, T: Element> Array<'py, T> {
    /// The array of an argument of this name.
    pub(crate) fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let numpy = value.py().import("numpy")?;
        let wanted = T::get_dtype(value.py()).to_string();
        let Ok(array) = value.cast::<PyArrayDyn<T>>() else {
            let got = match value.cast::<PyUntypedArray>() {
                Ok(array) => format!("{0}; {name}.astype({wanted:?}) converts it", array.dtype()),
                Err(_) => value.get_type().name()?.to_string(),
            };
            return Err(expected(name, &format!("a numpy array of {wanted}"), got));
        };
        let array = match array.is_c_contiguous() {
            true => array.clone(),
            false => numpy.call_method1("ascontiguousarray", (array,))?.cast_into()?,
        };
        let array = array.readonly();
        array.as_slice().map_err(|error| expected(name, "an array in aligned memory", error))?;
        Ok(Array { array })
    }

    pub(crate) fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    pub(crate) fn values(&self) -> &[T] {
        // It was one when the array was read.
        self.array.as_slice().unwrap_or_default()
    }
}

impl Array<'_> {
    /// Shape and type for the checks that a call on a device would make.
    pub(crate) fn view(&self) -> View<'static> {
        View::absent(self.shape(), Dtype::F32)
    }
}

/// A new array of this shape, in the memory of the vector.
pub(crate) fn array<'py, T: Element>(py: Python<'py>, values: Vec<T>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyArray1::from_vec(py, values).reshape(shape.to_vec())?.into_any())
}
