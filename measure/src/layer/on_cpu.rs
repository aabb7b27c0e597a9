//! The layer on the CPU baseline, with its own memory.

use std::hint::black_box;

use elbow::Saved;
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace};
use rayon::prelude::*;

use super::{Layer, MOMENTUM, Part, RATE, Shape, backward_request};
use crate::error::Result;

/// The memory that the baseline writes.
#[derive(Debug)]
pub(super) struct OnCpu<'a> {
    layer: &'a Layer<'a>,
    w: Vec<f32>,
    b: Vec<f32>,
    alpha: Vec<f32>,
    velocity_w: Vec<f32>,
    velocity_b: Vec<f32>,
    velocity_alpha: Vec<f32>,
    pub(super) y: Vec<f32>,
    pub(super) z: Vec<f32>,
    mask: Vec<u32>,
    pub(super) dx: Vec<f32>,
    pub(super) dw: Vec<f32>,
    pub(super) db: Vec<f32>,
    pub(super) dalpha: Vec<f32>,
    workspace: Workspace,
}

impl<'a> OnCpu<'a> {
    pub(super) fn new(layer: &'a Layer<'a>) -> Self {
        let Shape { m, k, n } = layer.shape();
        let saved = layer.request.saved;
        OnCpu {
            layer,
            w: layer.host.w.clone(),
            b: layer.host.b.clone(),
            alpha: layer.host.alpha.clone(),
            velocity_w: vec![0.0; n * k],
            velocity_b: vec![0.0; n],
            velocity_alpha: vec![0.0; layer.host.alpha.len()],
            y: vec![0.0; m * n],
            z: vec![0.0; if saved == Saved::Z { m * n } else { 0 }],
            mask: vec![0; if saved == Saved::Mask { m * n.div_ceil(32) } else { 0 }],
            dx: vec![0.0; m * k],
            dw: vec![0.0; n * k],
            db: vec![0.0; n],
            dalpha: vec![0.0; layer.host.alpha.len()],
            workspace: Workspace::new(),
        }
    }

    /// Runs a part. Unfused is the same as fused on the CPU: the baseline applies the activation while the tile is in the cache.
    pub(super) fn run(&mut self, part: Part) -> Result<()> {
        if part != Part::Backward {
            self.forward(part)?;
        }
        if part.has_backward() {
            self.backward()?;
        }
        if part == Part::Step {
            descend(&mut self.w, &self.dw, &mut self.velocity_w);
            descend(&mut self.b, &self.db, &mut self.velocity_b);
            descend(&mut self.alpha, &self.dalpha, &mut self.velocity_alpha);
        }
        black_box((&self.y, &self.dx, &self.dw, &self.db, &self.dalpha, &self.w));
        Ok(())
    }

    fn forward(&mut self, part: Part) -> Result<()> {
        let host = &self.layer.host;
        let inputs = ForwardInputs::new(&host.x, &self.w).b(Some(&self.b)).alpha(some(&self.alpha));
        let mut request = self.layer.request;
        if !part.has_forward() {
            request.saved = Saved::None;
        }
        let saved = match request.saved {
            Saved::Z => SavedOut::Z(&mut self.z),
            Saved::Mask => SavedOut::Mask(&mut self.mask),
            _ => SavedOut::None,
        };
        Ok(elbow_cpu::forward(&request, inputs, ForwardOutputs { y: &mut self.y, saved, ..Default::default() })?)
    }

    fn backward(&mut self) -> Result<()> {
        let host = &self.layer.host;
        let saved = match self.layer.request.saved {
            Saved::Z => SavedIn::Z(&self.z),
            Saved::Y => SavedIn::Y(&self.y),
            Saved::Mask => SavedIn::Mask(&self.mask),
            _ => SavedIn::None,
        };
        let inputs = BackwardInputs {
            x: &host.x,
            w: &self.w,
            b: Some(&self.b),
            alpha: some(&self.alpha),
            dy: &host.dy,
            saved,
            ..BackwardInputs::default()
        };
        let outputs = BackwardOutputs {
            dx: Some(&mut self.dx),
            dw: Some(&mut self.dw),
            db: Some(&mut self.db),
            dalpha: (!self.dalpha.is_empty()).then_some(&mut self.dalpha),
            ..BackwardOutputs::default()
        };
        Ok(elbow_cpu::backward(&backward_request(self.layer.request), inputs, outputs, &mut self.workspace)?)
    }
}

/// α, if it is learnable.
fn some(alpha: &[f32]) -> Option<&[f32]> {
    (!alpha.is_empty()).then_some(alpha)
}

/// velocity = momentum · velocity + gradient; parameter −= rate · velocity, on all threads if there are enough elements.
fn descend(parameter: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
    let (rate, momentum) = (black_box(RATE), black_box(MOMENTUM));
    const PIECE: usize = 1 << 15;
    let pieces = parameter.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE)).zip(velocity.par_chunks_mut(PIECE));
    pieces.for_each(|((parameter, gradient), velocity)| {
        for ((p, g), v) in parameter.iter_mut().zip(gradient).zip(velocity) {
            *v = momentum * *v + g;
            *p -= rate * *v;
        }
    });
}
