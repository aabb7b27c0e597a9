//! The fused layer as one operation of candle's graph: [`CustomOp2`] of x and W, or [`CustomOp3`] with a third operand.
//!
//! candle's operations have at most three operands. Of a gated layer with two weights the third is the second weight; else it is one vector, b
//! followed by α.

use std::{borrow::Cow, sync::OnceLock};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Error, Layout, Result, Shape, Tensor};
use elbow::{
    AlphaSource, Operand, Saved, Want,
    cpu::{ForwardInputs, operands::alpha_length},
    request::{AffineRequest, BackwardRequest, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardOutputs, SavedIn, SavedOut};

use crate::{
    host,
    numbers::{Lent, gradient, numbers, refuse_second_gradients, storage},
};

/// What forward kept beside y; it lives as long as the graph that backward walks.
#[derive(Debug)]
enum Kept {
    Z(Vec<f32>),
    Mask(Vec<u32>),
}

/// A layer, and what its one forward kept.
pub(crate) struct Fused {
    /// With `saved` resolved.
    request: AffineRequest,
    kept: OnceLock<Kept>,
}

/// The third operand, by its parts.
#[derive(Clone, Copy, Default)]
struct Third<'a> {
    b: Option<&'a [f32]>,
    alpha: Option<&'a [f32]>,
    w_up: Option<&'a [f32]>,
}

impl Fused {
    pub(crate) fn new(request: AffineRequest) -> Self {
        Fused { request, kept: OnceLock::new() }
    }

    /// The name of the third operand in errors.
    fn third_name(&self) -> Operand {
        match (self.request.is_apart(), self.request.bias) {
            (true, _) => Operand::WUp,
            (false, true) => Operand::B,
            (false, false) => Operand::Alpha,
        }
    }

    /// Numbers of b in the third operand; those of α follow.
    fn biases(&self) -> usize {
        if self.request.bias { self.request.outputs_of_w() } else { 0 }
    }

    fn third<'a>(&self, given: Option<&'a [f32]>) -> Third<'a> {
        match given {
            None => Third::default(),
            Some(w_up) if self.request.is_apart() => Third { w_up: Some(w_up), ..Default::default() },
            Some(vectors) => {
                let (b, alpha) = vectors.split_at(self.biases());
                let learnable = self.request.alpha != AlphaSource::Constant;
                Third { b: self.request.bias.then_some(b), alpha: learnable.then_some(alpha), w_up: None }
            }
        }
    }

    fn forward(&self, x: &[f32], w: &[f32], third: Option<&[f32]>) -> Result<Vec<f32>> {
        let (request, Third { b, alpha, w_up }) = (&self.request, self.third(third));
        let mut y = vec![0.0; request.m * request.n];
        let mut kept = match request.saved {
            Saved::Z => Some(Kept::Z(vec![0.0; request.m * request.outputs()])),
            Saved::Mask => Some(Kept::Mask(vec![0; request.m * request.n.div_ceil(32)])),
            Saved::Auto | Saved::Y | Saved::None => None,
        };
        let saved = match &mut kept {
            Some(Kept::Z(z)) => SavedOut::Z(z),
            Some(Kept::Mask(mask)) => SavedOut::Mask(mask),
            None => SavedOut::None,
        };
        let outputs = ForwardOutputs { y: &mut y, saved, ..Default::default() };
        let inputs = ForwardInputs::new(x, w).b(b).alpha(alpha).w_up(w_up);
        host().forward(request, inputs, outputs).map_err(Error::wrap)?;
        if let Some(kept) = kept {
            // candle runs the forward of an operation once.
            let _ = self.kept.set(kept);
        }
        Ok(y)
    }

    fn run(
        &self,
        x: (&CpuStorage, &Layout),
        w: (&CpuStorage, &Layout),
        third: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(x.0);
        let third = third.map(|(storage, layout)| numbers(self.third_name(), storage, layout)).transpose()?;
        let y = self.forward(&numbers(Operand::X, x.0, x.1)?, &numbers(Operand::W, w.0, w.1)?, third.as_deref())?;
        let mut shape = x.1.dims().to_vec();
        if let Some(columns) = shape.last_mut() {
            *columns = self.request.n;
        }
        Ok((storage(y, dtype), shape.into()))
    }

    /// The gradients of the operands that candle asks for.
    fn backward(&self, operands: [Option<&Tensor>; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        refuse_second_gradients(NAME)?;
        let wanted = operands.map(|operand| operand.is_some_and(Tensor::track_op));
        let want = |i: usize, there: bool| if wanted[i] && there { Want::Overwrite } else { Want::No };
        if wanted == [false; 3] {
            return Ok([None, None, None]);
        }
        let (affine, apart) = (self.request, self.request.is_apart());
        let learnable = affine.alpha != AlphaSource::Constant;
        let wants = Gradients::default()
            .x(want(0, true))
            .w(want(1, true))
            .b(want(2, affine.bias))
            .alpha(want(2, learnable))
            .w_up(want(2, apart));

        let dy = dy.contiguous()?;
        let [x, w, third] = operands.map(|operand| operand.map(Lent::of));
        let (dy, y) = (Lent::of(&dy), Lent::of(y));
        let x = lent(&x, Operand::X)?.unwrap_or_default();
        let w = lent(&w, Operand::W)?.unwrap_or_default();
        let third = lent(&third, self.third_name())?;
        let Third { b, alpha, w_up } = self.third(third.as_deref());
        let dy = dy.numbers(Operand::Dy)?;
        let y = if affine.saved == Saved::Y { y.numbers(Operand::Y)? } else { Default::default() };
        let inputs = BackwardInputs {
            x: &x,
            w: &w,
            b,
            alpha,
            w_up,
            dy: &dy,
            saved: match (affine.saved, self.kept.get()) {
                (Saved::Y, _) => SavedIn::Y(&y),
                (_, Some(Kept::Z(z))) => SavedIn::Z(z),
                (_, Some(Kept::Mask(mask))) => SavedIn::Mask(mask),
                (_, None) => SavedIn::None,
            },
            ..Default::default()
        };
        let mut places = [0, 1, 2].map(|i| match operands[i] {
            Some(operand) if wanted[i] => Some(vec![0.0f32; operand.elem_count()]),
            _ => None,
        });
        let [dx, dw, dthird] = places.each_mut().map(Option::as_deref_mut);
        let (dvectors, dw_up) = if apart { (None, dthird) } else { (dthird, None) };
        let (db, dalpha) = dvectors.map(|both| both.split_at_mut(self.biases())).unzip();
        let outputs = BackwardOutputs {
            dx,
            dw,
            db: db.filter(|_| affine.bias),
            dalpha: dalpha.filter(|_| learnable),
            dw_up,
            ..Default::default()
        };
        host().backward(&BackwardRequest::new(affine, wants), inputs, outputs).map_err(Error::wrap)?;
        let [dx, dw, dthird] = places;
        let finished = |place: Option<Vec<f32>>, operand: Option<&Tensor>| {
            place.zip(operand).map(|(values, operand)| gradient(values, operand)).transpose()
        };
        Ok([finished(dx, operands[0])?, finished(dw, operands[1])?, finished(dthird, operands[2])?])
    }
}

fn lent<'l>(tensor: &'l Option<Lent<'_>>, operand: Operand) -> Result<Option<Cow<'l, [f32]>>> {
    tensor.as_ref().map(|tensor| tensor.numbers(operand)).transpose()
}

/// Where α of this many numbers comes from; None if it is of no layer with n channels.
pub(crate) fn alpha_source(alpha: Option<&Tensor>, n: usize) -> Option<AlphaSource> {
    match alpha.map(Tensor::elem_count) {
        None => Some(AlphaSource::Constant),
        Some(1) => Some(AlphaSource::PerLayer),
        Some(count) if count == alpha_length(AlphaSource::PerChannel, n) => Some(AlphaSource::PerChannel),
        Some(_) => None,
    }
}

/// What forward keeps. A slope from a y that was rounded to a narrow type is not that of z: there the mask, or z in f32.
pub(crate) fn resolve_saved(request: &AffineRequest, dtype: DType) -> elbow::Result<Saved> {
    let narrow = dtype != DType::F32;
    match request.resolve_saved(false)? {
        Saved::Y if narrow && request.saved == Saved::Auto => {
            let mask = request.saved(Saved::Mask).resolve_saved(false);
            Ok(mask.unwrap_or(Saved::Z))
        }
        Saved::Y if narrow => Err(elbow::Error::Unsupported {
            what: format!("backward from saved y of {}", dtype.as_str()),
            why: "it was rounded after the activation; enough would be: z, none (z is computed again)".into(),
        }),
        saved => Ok(saved),
    }
}

const NAME: &str = "elbow layer";

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, of_x: &Layout, w: &CpuStorage, of_w: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run((x, of_x), (w, of_w), None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, _] = self.backward([Some(x), Some(w), None], y, dy)?;
        Ok((dx, dw))
    }
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        w: &CpuStorage,
        of_w: &Layout,
        third: &CpuStorage,
        of_third: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run((x, of_x), (w, of_w), Some((third, of_third)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        third: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, dthird] = self.backward([Some(x), Some(w), Some(third)], y, dy)?;
        Ok((dx, dw, dthird))
    }
}
