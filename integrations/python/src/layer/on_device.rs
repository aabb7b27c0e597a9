//! Layers on tensors, by the device that they lie on.

use elbow::{Dtype, Error, Float, Gpu as Device, Gradient, Saved, View, gpu::transfer::Tensor as Memory};
use pyo3::{prelude::*, types::PyDict};

use super::{
    Layer,
    given::{Given, Gradients, Operand, view},
    views::Views,
};
use crate::{errors::raise, tensor::Tensor};

type On<'py> = Bound<'py, Tensor>;

/// y, and what was kept.
pub(super) type Outputs<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

fn device<'a>(given: &'a Given<On<'_>>) -> &'a Device {
    &given.x.get().device
}

fn object<'py>(py: Python<'py>, device: &Device, memory: Memory) -> PyResult<Bound<'py, PyAny>> {
    Ok(Bound::new(py, Tensor::of(device, memory))?.into_any())
}

pub(super) fn forward<'py>(
    py: Python<'py>,
    layer: &Layer,
    given: &Given<On<'py>>,
    keep: bool,
) -> PyResult<Outputs<'py>> {
    let (device, shape, dtype) = (device(given), Views::of(given).y_shape(layer), given.x.get().dtype());
    let views = Views::of(given);
    let run = || -> elbow::Result<_> {
        // What does not fit is refused before anything is allocated.
        let checked =
            views.call(layer, View::absent(&shape, dtype)).saved(if keep { Saved::Auto } else { Saved::None });
        let kept = checked.saved_shape()?.map(|(shape, dtype)| device.zeros_of(dtype, &shape)).transpose()?;
        let request = checked.save_to(kept.as_ref().map(Memory::view)).request()?;
        let y = device.zeros_of(dtype, &shape)?;
        let call = views.call(layer, y.view()).saved(request.saved).save_to(kept.as_ref().map(Memory::view));
        device.submit(|encoder| call.record(device, encoder))?;
        Ok((y, kept, request.saved))
    };
    let (y, kept, saved) = py.detach(run).map_err(raise)?;
    let y = object(py, device, y)?;
    let kept = match kept {
        Some(kept) => Some(object(py, device, kept)?),
        None => (saved == Saved::Y).then(|| y.clone()),
    };
    Ok((y, kept))
}

/// Room for each gradient: those of parameters in f32, others in the type of x.
fn rooms(device: &Device, gradients: &Gradients, dtype: Dtype) -> elbow::Result<Vec<(&'static str, Memory)>> {
    let of = |name: &str| if matches!(name, "dx" | "dresidual" | "ddy" | "dx2") { dtype } else { Float::F32.into() };
    gradients.iter().map(|(name, shape)| Ok((*name, device.zeros_of(of(name), shape)?))).collect()
}

fn by_name<'py>(py: Python<'py>, device: &Device, rooms: Vec<(&'static str, Memory)>) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    for (name, memory) in rooms {
        all.set_item(name, object(py, device, memory)?)?;
    }
    Ok(all)
}

/// The gradient of this name, if it is wanted.
fn room<'a>(rooms: &'a [(&'static str, Memory)], name: &str) -> Option<Gradient<'a>> {
    rooms.iter().find(|(other, _)| *other == name).map(|(_, memory)| Gradient::overwrite(memory))
}

pub(super) fn backward<'py>(
    py: Python<'py>,
    layer: &Layer,
    given: &Given<On<'py>>,
    dy: &Bound<'py, PyAny>,
    kept: Option<&Bound<'py, PyAny>>,
    wants: Option<&[String]>,
) -> PyResult<Bound<'py, PyDict>> {
    let (device, dy) = (device(given), On::read("dy", dy)?);
    let kept = kept.map(|kept| On::read("kept", kept)).transpose()?;
    let gradients = given.gradients(dy.view().shape(), wants)?;
    let (views, dy, kept, dtype) = (Views::of(given), dy.view(), view(&kept), given.x.get().dtype());
    let run = || -> elbow::Result<_> {
        let rooms = rooms(device, &gradients, dtype)?;
        let call = views
            .behind(layer, dy, kept)?
            .backward(dy)
            .dx(room(&rooms, "dx"))
            .dw(room(&rooms, "dw"))
            .db(room(&rooms, "db"))
            .dalpha(room(&rooms, "dalpha"))
            .dresidual(room(&rooms, "dresidual"))
            .dw_up(room(&rooms, "dw_up"))
            .db_up(room(&rooms, "db_up"));
        device.submit_pass(|pass| call.record(device, pass))?;
        Ok::<_, Error>(rooms)
    };
    by_name(py, device, py.detach(run).map_err(raise)?)
}

pub(super) fn double_backward<'py>(
    py: Python<'py>,
    layer: &Layer,
    given: &Given<On<'py>>,
    dy: &Bound<'py, PyAny>,
    kept: Option<&Bound<'py, PyAny>>,
    wants: Option<&[String]>,
) -> PyResult<Bound<'py, PyDict>> {
    let (device, dy) = (device(given), On::read("dy", dy)?);
    let kept = kept.map(|kept| On::read("kept", kept)).transpose()?;
    let gradients = given.seconds(dy.view().shape(), wants)?;
    let (views, dy, kept, dtype) = (Views::of(given), dy.view(), view(&kept), given.x.get().dtype());
    let run = || -> elbow::Result<_> {
        let rooms = rooms(device, &gradients, dtype)?;
        let [ddx, ddw, ddb, ddalpha] = views.returning;
        let call = views
            .far_behind(layer, dy, kept)?
            .double_backward(dy)
            .ddx(ddx)
            .ddw(ddw)
            .ddb(ddb)
            .ddalpha(ddalpha)
            .ddy(room(&rooms, "ddy"))
            .dx2(room(&rooms, "dx2"))
            .dw2(room(&rooms, "dw2"))
            .db2(room(&rooms, "db2"))
            .dalpha2(room(&rooms, "dalpha2"));
        device.submit_pass(|pass| call.record(device, pass))?;
        Ok::<_, Error>(rooms)
    };
    by_name(py, device, py.detach(run).map_err(raise)?)
}
