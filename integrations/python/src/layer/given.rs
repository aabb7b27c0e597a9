//! The operands of a layer's call, arrays or tensors alike, and the gradients that it may have.

use elbow::View;
use pyo3::{prelude::*, types::PyDict};

use crate::{array::Array, errors::expected, tensor::Tensor};

/// An operand, of the host or of a device.
pub(super) trait Operand<'py>: Sized {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self>;

    /// What a call checks of it; on a device also its memory.
    fn view(&self) -> View<'_>;
}

impl<'py> Operand<'py> for Array<'py> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        Array::read(name, value)
    }

    fn view(&self) -> View<'_> {
        Array::view(self)
    }
}

impl<'py> Operand<'py> for Bound<'py, Tensor> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        match value.cast::<Tensor>() {
            Ok(tensor) => Ok(tensor.clone()),
            Err(_) => Err(expected(name, "a Tensor, because x is one", value.get_type().name()?)),
        }
    }

    fn view(&self) -> View<'_> {
        self.get().view()
    }
}

/// Operands that a layer may have beside x, w and b.
pub(super) const OPERANDS: [&str; 4] = ["alpha", "residual", "w_up", "b_up"];
/// And what comes back to its gradients.
pub(super) const OPERANDS_AND_RETURNING: [&str; 6] = ["alpha", "residual", "ddx", "ddw", "ddb", "ddalpha"];

/// Operands by name, None where there is none.
pub(super) struct Keywords<'a, 'py>(Option<&'a Bound<'py, PyDict>>);

impl<'a, 'py> Keywords<'a, 'py> {
    /// An error for a name that is none of the known ones.
    pub(super) fn new(given: Option<&'a Bound<'py, PyDict>>, known: &[&str]) -> PyResult<Self> {
        for name in given.iter().flat_map(|given| given.keys()) {
            let name: String = name.extract()?;
            if !known.contains(&name.as_str()) {
                return Err(expected("operand", &format!("one of {}", known.join(", ")), name));
            }
        }
        Ok(Keywords(given))
    }

    pub(super) fn read<T: Operand<'py>>(&self, name: &str) -> PyResult<Option<T>> {
        let value = self.0.map(|given| given.get_item(name)).transpose()?.flatten();
        value.filter(|value| !value.is_none()).map(|value| T::read(name, &value)).transpose()
    }
}

pub(super) struct Given<T> {
    pub(super) x: T,
    pub(super) w: T,
    pub(super) b: Option<T>,
    pub(super) alpha: Option<T>,
    pub(super) residual: Option<T>,
    pub(super) w_up: Option<T>,
    pub(super) b_up: Option<T>,
    /// ddx, ddw, ddb and ddalpha.
    pub(super) returning: [Option<T>; 4],
}

/// An operand that may not be there, as a view.
pub(super) fn view<'a, 'py, T: Operand<'py>>(operand: &'a Option<T>) -> Option<View<'a>> {
    operand.as_ref().map(T::view)
}

impl<'py, T: Operand<'py>> Given<T> {
    pub(super) fn read(
        x: &Bound<'py, PyAny>,
        w: &Bound<'py, PyAny>,
        b: Option<&Bound<'py, PyAny>>,
        others: &Keywords<'_, 'py>,
    ) -> PyResult<Self> {
        let [ddx, ddw, ddb, ddalpha] = ["ddx", "ddw", "ddb", "ddalpha"].map(|name| others.read(name));
        Ok(Given {
            x: T::read("x", x)?,
            w: T::read("w", w)?,
            b: b.map(|b| T::read("b", b)).transpose()?,
            alpha: others.read("alpha")?,
            residual: others.read("residual")?,
            w_up: others.read("w_up")?,
            b_up: others.read("b_up")?,
            returning: [ddx?, ddw?, ddb?, ddalpha?],
        })
    }

    /// The gradients that there are, by name and shape, those that are wanted.
    pub(super) fn gradients(&self, y: &[usize], wants: Option<&[String]>) -> PyResult<Gradients> {
        let shape = |operand: &Option<T>| view(operand).map(|view| view.shape().to_vec());
        let all = [
            ("dx", Some(self.x.view().shape().to_vec())),
            ("dw", Some(self.w.view().shape().to_vec())),
            ("db", shape(&self.b)),
            ("dalpha", shape(&self.alpha)),
            ("dresidual", self.residual.as_ref().map(|_| y.to_vec())),
            ("dw_up", shape(&self.w_up)),
            ("db_up", shape(&self.b_up)),
        ];
        wanted(all, wants)
    }

    /// Those of second order.
    pub(super) fn seconds(&self, y: &[usize], wants: Option<&[String]>) -> PyResult<Gradients> {
        let shape = |operand: &Option<T>| view(operand).map(|view| view.shape().to_vec());
        let all = [
            ("ddy", Some(y.to_vec())),
            ("dx2", Some(self.x.view().shape().to_vec())),
            ("dw2", Some(self.w.view().shape().to_vec())),
            ("db2", shape(&self.b)),
            ("dalpha2", shape(&self.alpha)),
        ];
        wanted(all, wants)
    }
}

/// Name and shape of each gradient that is wanted.
pub(super) type Gradients = Vec<(&'static str, Vec<usize>)>;

fn wanted<const C: usize>(
    all: [(&'static str, Option<Vec<usize>>); C],
    wants: Option<&[String]>,
) -> PyResult<Gradients> {
    let there: Gradients = all.into_iter().filter_map(|(name, shape)| shape.map(|shape| (name, shape))).collect();
    let Some(wants) = wants else { return Ok(there) };
    if let Some(other) = wants.iter().find(|want| there.iter().all(|(name, _)| name != *want)) {
        let known: Vec<&str> = there.iter().map(|(name, _)| *name).collect();
        return Err(expected("wants", &format!("some of {}", known.join(", ")), format!("{other:?}")));
    }
    Ok(there.into_iter().filter(|(name, _)| wants.iter().any(|want| want == name)).collect())
}
