//! [`Row`]: each process has some columns of W, takes these columns of x, and makes a term of z.

use std::ops::Range;

use elbow::{
    Operand, Result, Saved, Want,
    activation::Activation,
    cpu::ForwardInputs,
    request::{AffineRequest, AlphaSource, BackwardRequest, Gradients, ResidualAt},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardOutputs};
use elbow_host::Host;
use mpi::traits::*;

use crate::exchange::{all_reduce, exactly, place, plain, share};

/// A layer whose columns of W are shared out, and with them those of x and dx. y, dy, b and α are whole in every process.
///
/// ```text
/// sum = Σ_p x_p·W_pᵀ        y = act(sum + b)        dz = dy ⊙ act'(z)        dx_p = dz·W_p        dW_p = dzᵀ·x_p
/// ```
///
/// The activation comes behind the sum over the processes, so it is a layer of its own, that of a sum
/// ([`elbow::affine::Forward::of_sum`]). Keep `sum` for backward, which makes z of it again: that costs no product.
#[derive(Debug)]
pub struct Row<'a, C> {
    world: &'a C,
    host: &'a Host,
    whole: AffineRequest,
    columns: Range<usize>,
    own: Vec<f32>,
}

/// What a [`Row`] reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowInputs<'a> {
    /// This process's columns of x, `[M, part]`.
    pub x: &'a [f32],
    /// This process's columns of W, `[N, part]`.
    pub w: &'a [f32],
    /// b `[N]`, if the layer has one.
    pub b: Option<&'a [f32]>,
    /// α `[1]` or `[N]`, if it is learnable.
    pub alpha: Option<&'a [f32]>,
}

/// What backward of a [`Row`] writes; None for what is not wanted.
#[derive(Debug, Default)]
pub struct RowGradients<'a> {
    /// This process's columns of dx, `[M, part]`.
    pub dx: Option<&'a mut [f32]>,
    /// This process's columns of dW, `[N, part]`.
    pub dw: Option<&'a mut [f32]>,
    /// db `[N]`, the same in every process.
    pub db: Option<&'a mut [f32]>,
    /// dα `[1]` or `[N]`, the same in every process.
    pub dalpha: Option<&'a mut [f32]>,
}

fn overwrite(output: &Option<&mut [f32]>) -> Want {
    if output.is_some() { Want::Overwrite } else { Want::No }
}

impl<'a, C: Communicator> Row<'a, C> {
    /// This process's part of the layer. What cannot be split is an error: gates, fronts, residuals and the like.
    pub fn new(world: &'a C, host: &'a Host, layer: AffineRequest) -> Result<Self> {
        plain(&layer)?;
        let (processes, rank) = place(world);
        Ok(Row { world, host, whole: layer, columns: share(layer.k, processes, rank), own: Vec::new() })
    }

    /// The columns of x and of W that this process has.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// The product of this process.
    fn product(&self) -> AffineRequest {
        let AffineRequest { m, n, layout, .. } = self.whole;
        AffineRequest::new(m, n, self.columns.len(), Activation::IDENTITY).bias(false).layout(layout)
    }

    /// Bias and activation of the sum: the layer without inputs whose residual, before the activation, is the sum.
    fn of_sum(&self) -> AffineRequest {
        self.whole.k(0).residual(ResidualAt::BeforeActivation).saved(Saved::None)
    }

    /// `sum` `[M, N]` over all processes, 4·M·N bytes, and y `[M, N]` of it, both the same in every process.
    pub fn forward(&mut self, inputs: RowInputs<'_>, sum: &mut [f32], y: &mut [f32]) -> Result<()> {
        let AffineRequest { m, n, .. } = self.whole;
        exactly(Operand::Residual, sum.len(), m * n)?;
        let of_sum = self.of_sum();
        // All that can be wrong is looked at before the processes meet.
        exactly(Operand::Y, y.len(), m * n)?;
        let RowInputs { x, w, b, alpha } = inputs;
        let finish = ForwardInputs::new(&[], &[]).b(b).alpha(alpha);
        finish.residual(Some(sum)).checked(&of_sum)?;
        let product = self.product();
        self.own.resize(m * n, 0.0);
        let outputs = ForwardOutputs { y: &mut self.own, ..Default::default() };
        self.host.forward(&product, ForwardInputs::new(x, w), outputs)?;
        all_reduce(self.world, &self.own, sum);
        let outputs = ForwardOutputs { y, ..Default::default() };
        self.host.forward(&of_sum, finish.residual(Some(sum)), outputs).map(drop)
    }

    /// The gradients, from the sum that forward left. Nothing is sent.
    pub fn backward(
        &mut self,
        inputs: RowInputs<'_>,
        sum: &[f32],
        dy: &[f32],
        gradients: RowGradients<'_>,
    ) -> Result<()> {
        let AffineRequest { m, n, .. } = self.whole;
        let RowInputs { x, w, b, alpha } = inputs;
        let RowGradients { dx, dw, db, dalpha } = gradients;
        let learnable = self.whole.alpha != AlphaSource::Constant;
        self.own.resize(m * n, 0.0);
        let wants = Gradients::default()
            .b(overwrite(&db))
            .alpha(if learnable { overwrite(&dalpha) } else { Want::No })
            .residual(Want::Overwrite);
        let request = BackwardRequest::new(self.of_sum(), wants);
        let of_sum = BackwardInputs { b, alpha, dy, residual: Some(sum), ..Default::default() };
        let outputs = BackwardOutputs { db, dalpha, dresidual: Some(&mut self.own), ..Default::default() };
        self.host.backward(&request, of_sum, outputs)?;
        let wants = Gradients::default().x(overwrite(&dx)).w(overwrite(&dw));
        let of_product = BackwardInputs { x, w, dy: &self.own, ..Default::default() };
        let outputs = BackwardOutputs { dx, dw, ..Default::default() };
        let product = self.product().saved(Saved::None);
        self.host.backward(&BackwardRequest::new(product, wants), of_product, outputs).map(drop)
    }
}
