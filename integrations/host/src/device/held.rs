//! The operands of one call in the device's memory.

use elbow::{
    Dtype, Gpu, Gradient, Operand, Result, Saved, View, Want, WeightLayout, cpu::operands, gpu::transfer::Tensor,
    request::AffineRequest,
};
use elbow_cpu::{SavedIn, outputs};

/// An operand: in the device's memory, or stated by its shape alone because the call does not read it.
pub(super) struct Held {
    shape: Vec<usize>,
    dtype: Dtype,
    tensor: Option<Tensor>,
}

impl Held {
    pub(super) fn of(tensor: Tensor) -> Self {
        Held { shape: tensor.shape().to_vec(), dtype: tensor.dtype(), tensor: Some(tensor) }
    }

    pub(super) fn absent(shape: &[usize], dtype: Dtype) -> Self {
        Held { shape: shape.to_vec(), dtype, tensor: None }
    }

    pub(super) fn view(&self) -> View<'_> {
        self.tensor.as_ref().map_or_else(|| View::absent(&self.shape, self.dtype), Tensor::view)
    }
}

/// All of an optional operand as a view.
pub(super) fn view(held: &Option<Held>) -> Option<View<'_>> {
    held.as_ref().map(Held::view)
}

/// Takes the operands of a call to the device: those that it reads.
pub(super) struct Uploads<'g, R: Fn(Operand) -> bool> {
    pub(super) gpu: &'g Gpu,
    pub(super) reads: R,
}

impl<R: Fn(Operand) -> bool> Uploads<'_, R> {
    pub(super) fn always(&self, operand: Operand, given: &[f32], shape: &[usize]) -> Result<Held> {
        if !(self.reads)(operand) {
            return Ok(Held::absent(shape, Dtype::F32));
        }
        self.gpu.upload(operands::slice(operand, given, shape)?, shape).map(Held::of)
    }

    /// An operand that the layer has, or not.
    pub(super) fn optional(
        &self,
        operand: Operand,
        given: Option<&[f32]>,
        there: bool,
        shape: &[usize],
    ) -> Result<Option<Held>> {
        if !there {
            return Ok(None);
        }
        let given = match (self.reads)(operand) {
            true => operands::optional(operand, given, true, shape)?.unwrap_or_default(),
            false => &[],
        };
        self.always(operand, given, shape).map(Some)
    }

    /// The state of a dropout, if there is one.
    pub(super) fn state(&self, operand: Operand, given: Option<[u32; 4]>, there: bool) -> Result<Option<Held>> {
        match given {
            _ if !there => Ok(None),
            Some(state) if (self.reads)(operand) => Ok(Some(Held::of(self.gpu.upload_words(&state, &[4])?))),
            // Without it a call that reads it says so.
            _ => Ok(Some(Held::absent(&[4], Dtype::U32))),
        }
    }

    /// What forward kept, for m rows and so many columns, as [`elbow::affine::Forward::save_to`] takes it, and y if that is what it kept.
    pub(super) fn kept(
        &self,
        operand: Operand,
        saved: SavedIn<'_>,
        m: usize,
        columns: usize,
    ) -> Result<[Option<Held>; 2]> {
        let words = [m, columns.div_ceil(32)];
        Ok(match saved {
            SavedIn::None => [None, None],
            SavedIn::Z(z) => [Some(self.always(operand, z, &[m, columns])?), None],
            SavedIn::Y(y) => [None, Some(self.always(operand, y, &[m, columns])?)],
            SavedIn::Mask(_) if !(self.reads)(operand) => [Some(Held::absent(&words, Dtype::U32)), None],
            SavedIn::Mask(mask) => {
                let mask = operands::slice(operand, mask, &words)?;
                [Some(Held::of(self.gpu.upload_words(mask, &words)?)), None]
            }
        })
    }
}

/// A gradient, and the slice that it comes back to.
pub(super) struct Output<'o> {
    place: &'o mut [f32],
    tensor: Tensor,
    want: Want,
}

impl<'o> Output<'o> {
    /// If it is wanted: with what the slice holds, if that is added to.
    pub(super) fn wanted(
        gpu: &Gpu,
        operand: Operand,
        given: Option<&'o mut [f32]>,
        want: Want,
        shape: &[usize],
    ) -> Result<Option<Self>> {
        let Some((place, want)) = outputs::gradient(operand, given, want, shape)? else { return Ok(None) };
        let tensor = match want {
            Want::Accumulate => gpu.upload(place, shape)?,
            Want::Overwrite | Want::No => gpu.zeros(shape)?,
        };
        Ok(Some(Output { place, tensor, want }))
    }

    pub(super) fn gradient(&self) -> Gradient<'_> {
        match self.want {
            Want::Accumulate => Gradient::accumulate(&self.tensor),
            Want::Overwrite | Want::No => Gradient::overwrite(&self.tensor),
        }
    }
}

/// The gradient of an output, if it is wanted.
pub(super) fn gradient<'a>(output: &'a Option<Output<'_>>) -> Option<Gradient<'a>> {
    output.as_ref().map(Output::gradient)
}

/// Brings all of them back.
pub(super) fn fetch<'o>(gpu: &Gpu, outputs: impl IntoIterator<Item = Option<Output<'o>>>) -> Result<()> {
    outputs.into_iter().flatten().try_for_each(|Output { place, tensor, .. }| gpu.download_into(&tensor, place))
}

/// The shape of w, or of the weight of up.
pub(super) fn weight_shape(request: &AffineRequest) -> [usize; 2] {
    match request.layout {
        WeightLayout::OutIn => [request.outputs_of_w(), request.k],
        WeightLayout::InOut => [request.k, request.outputs_of_w()],
    }
}

/// The shape of the moments of x, with a norm of rows or of columns.
pub(super) fn moments_shape(request: &AffineRequest) -> [usize; 2] {
    let of_rows = request.front.and_then(|front| front.norm).is_some_and(|norm| norm.of_rows());
    [2, if of_rows { request.m } else { request.k }]
}

/// The kept choice that the caller's slice stands for.
pub(super) fn kept_as(request: &AffineRequest, given: Saved) -> Saved {
    if request.saved == Saved::Auto { given } else { request.saved }
}
