//! Layers on arrays, by the faster road.

use elbow::{
    Dtype, Error, Saved, View, Want,
    cpu::ForwardInputs,
    request::{BackwardRequest, DoubleBackwardRequest, Gradients as Wants, Returning, SecondGradients},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, DoubleBackwardInputs, DoubleBackwardOutputs, ForwardOutputs, SavedIn, SavedOut,
};
use pyo3::{prelude::*, types::PyDict};

use super::{
    Layer,
    given::{Given, Gradients, view},
    on_device::Outputs,
    views::Views,
};
use crate::{
    array::{Array, array},
    errors::{expected, raise},
    host::{Host, roads},
};

/// An error for a batch of layers: arrays have one layer in a call.
fn one_layer(given: &Given<Array<'_>>) -> Result<(), Error> {
    match given.w.shape().len() > 2 {
        false => Ok(()),
        true => Err(Error::Unsupported {
            what: format!("a batch of layers, w {:?}, on arrays", given.w.shape()),
            why: "take tensors of a Gpu, or a call for each layer".into(),
        }),
    }
}

fn values<'a>(operand: &'a Option<Array<'_>>) -> Option<&'a [f32]> {
    operand.as_ref().map(Array::values)
}

fn inputs<'a>(given: &'a Given<Array<'_>>) -> ForwardInputs<'a> {
    ForwardInputs::new(given.x.values(), given.w.values())
        .b(values(&given.b))
        .alpha(values(&given.alpha))
        .residual(values(&given.residual))
        .w_up(values(&given.w_up))
        .b_up(values(&given.b_up))
}

pub(super) fn forward<'py>(
    py: Python<'py>,
    layer: &Layer,
    given: &Given<Array<'py>>,
    keep: bool,
    host: Option<&Host>,
) -> PyResult<Outputs<'py>> {
    one_layer(given).map_err(raise)?;
    let views = Views::of(given);
    let shape = views.y_shape(layer);
    let call = views.call(layer, View::absent(&shape, Dtype::F32)).saved(if keep { Saved::Auto } else { Saved::None });
    let kept = call.saved_shape().map_err(raise)?;
    let request =
        call.save_to(kept.as_ref().map(|(shape, dtype)| View::absent(shape, *dtype))).request().map_err(raise)?;
    let (roads, inputs) = (roads(py, host), inputs(given));
    let elements = |shape: &[usize]| shape.iter().product();
    let mut y = vec![0.0; elements(&shape)];
    let mut run = |saved: SavedOut<'_>| {
        let outputs = ForwardOutputs { y: &mut y, saved, ..Default::default() };
        py.detach(|| roads.forward(&request, inputs, outputs)).map_err(raise)
    };
    let kept = match kept {
        Some((shape, Dtype::U32)) => {
            let mut mask = vec![0u32; elements(&shape)];
            run(SavedOut::Mask(&mut mask))?;
            Some(array(py, mask, &shape)?)
        }
        Some((shape, _)) => {
            let mut z = vec![0.0f32; elements(&shape)];
            run(SavedOut::Z(&mut z))?;
            Some(array(py, z, &shape)?)
        }
        None => {
            run(SavedOut::None)?;
            None
        }
    };
    let y = array(py, y, &shape)?;
    let kept = kept.or_else(|| (request.saved == Saved::Y).then(|| y.clone()));
    Ok((y, kept))
}

/// What forward kept, as its array.
enum Kept<'py> {
    Numbers(Array<'py>),
    Mask(Array<'py, u32>),
}

impl<'py> Kept<'py> {
    /// A mask is known by its type.
    fn read(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        match Array::<u32>::read("kept", value) {
            Ok(mask) => Ok(Kept::Mask(mask)),
            Err(_) => Ok(Kept::Numbers(Array::read("kept", value)?)),
        }
    }

    fn view(&self) -> View<'static> {
        match self {
            Kept::Numbers(array) => array.view(),
            Kept::Mask(mask) => View::absent(mask.shape(), Dtype::U32),
        }
    }

    fn saved<'a>(kept: &'a Option<Self>, saved: Saved) -> PyResult<SavedIn<'a>> {
        match (saved, kept) {
            (Saved::Z, Some(Kept::Numbers(z))) => Ok(SavedIn::Z(z.values())),
            (Saved::Y, Some(Kept::Numbers(y))) => Ok(SavedIn::Y(y.values())),
            (Saved::Mask, Some(Kept::Mask(mask))) => Ok(SavedIn::Mask(mask.values())),
            (Saved::None | Saved::Auto, _) | (_, None) => Ok(SavedIn::None),
            (saved, Some(_)) => {
                Err(expected("kept", &format!("what forward kept, {saved}"), "an array of another type"))
            }
        }
    }
}

/// A gradient of this name, if it is wanted.
struct Rooms {
    names: Gradients,
    values: Vec<Vec<f32>>,
}

impl Rooms {
    fn new(names: Gradients) -> Self {
        let values = names.iter().map(|(_, shape)| vec![0.0; shape.iter().product()]).collect();
        Rooms { names, values }
    }

    fn want(&self, name: &str) -> Want {
        if self.names.iter().any(|(other, _)| *other == name) { Want::Overwrite } else { Want::No }
    }

    /// Those of these names, each if it is wanted.
    fn take<const C: usize>(&mut self, names: [&str; C]) -> [Option<&mut [f32]>; C] {
        let mut rooms: Vec<_> = self.names.iter().map(|(name, _)| *name).zip(&mut self.values).collect();
        names.map(|name| {
            let at = rooms.iter().position(|(other, _)| *other == name)?;
            Some(&mut rooms.swap_remove(at).1[..])
        })
    }

    fn by_name<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for ((name, shape), values) in self.names.into_iter().zip(self.values) {
            all.set_item(name, array(py, values, &shape)?)?;
        }
        Ok(all)
    }
}

pub(super) fn backward<'py>(
    py: Python<'py>,
    layer: &Layer,
    given: &Given<Array<'py>>,
    dy: &Bound<'py, PyAny>,
    kept: Option<&Bound<'py, PyAny>>,
    wants: Option<&[String]>,
    host: Option<&Host>,
) -> PyResult<Bound<'py, PyDict>> {
    one_layer(given).map_err(raise)?;
    let dy = Array::read("dy", dy)?;
    let kept = kept.map(Kept::read).transpose()?;
    // What a device would check of the operands' shapes.
    let call = Views::of(given).behind(layer, dy.view(), kept.as_ref().map(Kept::view));
    let affine = call.and_then(|call| call.backward(dy.view()).request()).map_err(raise)?.affine;
    let mut rooms = Rooms::new(given.gradients(dy.shape(), wants)?);
    let wants = Wants::default()
        .x(rooms.want("dx"))
        .w(rooms.want("dw"))
        .b(rooms.want("db"))
        .alpha(rooms.want("dalpha"))
        .residual(rooms.want("dresidual"))
        .w_up(rooms.want("dw_up"))
        .b_up(rooms.want("db_up"));
    let request = BackwardRequest::new(affine, wants);
    let ForwardInputs { x, w, b, alpha, residual, w_up, b_up, .. } = inputs(given);
    let saved = Kept::saved(&kept, affine.saved)?;
    let inputs = BackwardInputs { x, w, b, alpha, residual, w_up, b_up, dy: dy.values(), saved, ..Default::default() };
    let [dx, dw, db, dalpha, dresidual, dw_up, db_up] =
        rooms.take(["dx", "dw", "db", "dalpha", "dresidual", "dw_up", "db_up"]);
    let outputs = BackwardOutputs { dx, dw, db, dalpha, dresidual, dw_up, db_up, ..Default::default() };
    let roads = roads(py, host);
    py.detach(|| roads.backward(&request, inputs, outputs)).map_err(raise)?;
    rooms.by_name(py)
}

pub(super) fn double_backward<'py>(
    py: Python<'py>,
    layer: &Layer,
    given: &Given<Array<'py>>,
    dy: &Bound<'py, PyAny>,
    kept: Option<&Bound<'py, PyAny>>,
    wants: Option<&[String]>,
    host: Option<&Host>,
) -> PyResult<Bound<'py, PyDict>> {
    one_layer(given).map_err(raise)?;
    let dy = Array::read("dy", dy)?;
    let kept = kept.map(Kept::read).transpose()?;
    let views = Views::of(given);
    let call = views.far_behind(layer, dy.view(), kept.as_ref().map(Kept::view));
    let mut rooms = Rooms::new(given.seconds(dy.shape(), wants)?);
    let [ddx, ddw, ddb, ddalpha] = views.returning;
    let affine = call
        .and_then(|call| call.double_backward(dy.view()).ddx(ddx).ddw(ddw).ddb(ddb).ddalpha(ddalpha).request())
        .map_err(raise)?
        .affine;
    let wants = SecondGradients::default()
        .dy(rooms.want("ddy"))
        .x(rooms.want("dx2"))
        .w(rooms.want("dw2"))
        .b(rooms.want("db2"))
        .alpha(rooms.want("dalpha2"));
    let there = given.returning.each_ref().map(|operand| view(operand).is_some());
    let returning = Returning::default().x(there[0]).w(there[1]).b(there[2]).alpha(there[3]);
    let request = DoubleBackwardRequest::new(affine, returning, wants);
    let ForwardInputs { x, w, b, alpha, residual, .. } = inputs(given);
    let [ddx, ddw, ddb, ddalpha] = given.returning.each_ref().map(values);
    let saved = Kept::saved(&kept, affine.saved)?;
    let inputs = DoubleBackwardInputs {
        x,
        w,
        b,
        alpha,
        residual,
        dy: dy.values(),
        saved,
        ddx,
        ddw,
        ddb,
        ddalpha,
        ddresidual: None,
    };
    let [ddy, dx2, dw2, db2, dalpha2] = rooms.take(["ddy", "dx2", "dw2", "db2", "dalpha2"]);
    let outputs = DoubleBackwardOutputs { ddy, dx2, dw2, db2, dalpha2, dresidual2: None };
    let roads = roads(py, host);
    py.detach(|| roads.double_backward(&request, inputs, outputs)).map_err(raise)?;
    rooms.by_name(py)
}
