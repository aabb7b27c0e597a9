//! The operands of a layer's call as views, without Python: of tensors with their memory, of arrays shapes and types alone, which is all that
//! the checks of a call need. They may go where the interpreter's lock is not held.

use elbow::{Dtype, Result, Saved, View, WeightLayout, affine::Forward};

use super::{
    Layer,
    given::{Given, Operand, view},
};

pub(super) struct Views<'a> {
    x: View<'a>,
    w: View<'a>,
    /// b, alpha, residual, w_up and b_up.
    others: [Option<View<'a>>; 5],
    /// ddx, ddw, ddb and ddalpha.
    pub(super) returning: [Option<View<'a>>; 4],
}

impl<'a> Views<'a> {
    pub(super) fn of<'py, T: Operand<'py>>(given: &'a Given<T>) -> Self {
        let Given { x, w, b, alpha, residual, w_up, b_up, returning } = given;
        Views {
            x: x.view(),
            w: w.view(),
            others: [view(b), view(alpha), view(residual), view(w_up), view(b_up)],
            returning: returning.each_ref().map(view),
        }
    }

    /// `[.., N]`; if w is no weight, a shape that the call refuses.
    pub(super) fn y_shape(&self, layer: &Layer) -> Vec<usize> {
        let from_last = if layer.layout == WeightLayout::OutIn { 2 } else { 1 };
        let outputs = self.w.shape().len().checked_sub(from_last).map_or(0, |at| self.w.shape()[at]);
        let halved = layer.gate.is_some_and(|gate| !gate.is_apart());
        let mut shape = self.x.shape().to_vec();
        shape.pop();
        shape.push(if halved { outputs / 2 } else { outputs });
        shape
    }

    pub(super) fn call(&self, layer: &Layer, y: View<'a>) -> Forward<'a> {
        let [b, alpha, residual, w_up, b_up] = self.others;
        Forward::new(layer.act, self.x, self.w, y)
            .layout(layer.layout)
            .b(b)
            .alpha(alpha)
            .residual(residual)
            .residual_at(layer.residual_at)
            .jet(layer.jet)
            .gate(layer.gate)
            .w_up(w_up)
            .b_up(b_up)
    }

    /// The layer behind its forward, with what that kept by [`Saved::Auto`]: z or the mask, or y itself. Without it z is computed again.
    pub(super) fn behind(&self, layer: &Layer, dy: View<'a>, kept: Option<View<'a>>) -> Result<Forward<'a>> {
        let call = self.call(layer, View::absent(&self.y_shape(layer), dy.dtype()));
        let Some(kept) = kept else { return Ok(call) };
        let auto = call.saved(Saved::Auto);
        match auto.saved_shape()? {
            Some((_, Dtype::U32)) => Ok(auto.saved(Saved::Mask).save_to(kept)),
            Some(_) => Ok(auto.saved(Saved::Z).save_to(kept)),
            None if layer.act.needs_nothing() => Ok(call),
            None => Ok(self.call(layer, kept).saved(Saved::Y)),
        }
    }

    /// The same for second derivatives, of which y and the mask say nothing.
    pub(super) fn far_behind(&self, layer: &Layer, dy: View<'a>, kept: Option<View<'a>>) -> Result<Forward<'a>> {
        let call = self.behind(layer, dy, kept)?;
        match call.saved {
            Saved::Y | Saved::Mask => self.behind(layer, dy, None),
            _ => Ok(call),
        }
    }
}
