//! [`Column`]: each process has some rows of W, and makes these columns of y.

use std::ops::Range;

use elbow::{
    Error, Operand, Result, Want,
    cpu::ForwardInputs,
    request::{AffineRequest, AlphaSource, BackwardRequest, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardOutputs};
use elbow_host::Host;
use mpi::traits::*;

use crate::exchange::{all_gather, all_reduce, exactly, place, plain, share};

/// A layer whose rows of W, and numbers of b and of α per channel, are shared out. x and dx are whole in every process; y and dy are parts.
///
/// ```text
/// y_p = act(x·W_pᵀ + b_p)        dW_p = dz_pᵀ·x        db_p = Σ_rows dz_p        dx = Σ_p dz_p·W_p
/// ```
#[derive(Debug)]
pub struct Column<'a, C> {
    world: &'a C,
    host: &'a Host,
    whole: AffineRequest,
    columns: Range<usize>,
    own: Vec<f32>,
}

impl<'a, C: Communicator> Column<'a, C> {
    /// This process's part of the layer. What cannot be split is an error: gates, fronts, residuals and the like.
    pub fn new(world: &'a C, host: &'a Host, layer: AffineRequest) -> Result<Self> {
        plain(&layer)?;
        let (processes, rank) = place(world);
        Ok(Column { world, host, whole: layer, columns: share(layer.n, processes, rank), own: Vec::new() })
    }

    /// The columns of y that this process has: rows of W, numbers of b.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// The layer of this process.
    pub fn part(&self) -> AffineRequest {
        self.whole.n(self.columns.len())
    }

    /// The columns of y, `[M, part]`, of all of x and this part of w, b and α. Nothing is sent.
    pub fn forward(&self, inputs: ForwardInputs<'_>, outputs: ForwardOutputs<'_>) -> Result<()> {
        self.host.forward(&self.part(), inputs, outputs).map(drop)
    }

    /// All of y, `[M, N]`, in every process: 4·M·N bytes, of which each sends its part. Not needed where a [`Row`](crate::Row) follows.
    pub fn gather(&self, part: &[f32], y: &mut [f32]) -> Result<()> {
        let AffineRequest { m, n, .. } = self.whole;
        exactly(Operand::Y, part.len(), m * self.columns.len())?;
        exactly(Operand::Y, y.len(), m * n)?;
        all_gather(self.world, m, n, part, y)
    }

    /// dW, db and dα of this part, and all of dx: 4·M·K bytes are summed over the processes. (And dα, if the layer has one for all channels.)
    /// What is summed is overwritten: [`Want::Accumulate`] is an error for it.
    pub fn backward(
        &mut self,
        wants: Gradients,
        inputs: BackwardInputs<'_>,
        mut outputs: BackwardOutputs<'_>,
    ) -> Result<()> {
        let (request, AffineRequest { m, k, alpha, .. }) = (self.part(), self.whole);
        let summed_alpha = wants.alpha.wanted() && alpha == AlphaSource::PerLayer;
        for (operand, want) in
            [(Operand::Dx, wants.x), (Operand::Dalpha, if summed_alpha { wants.alpha } else { Want::No })]
        {
            if want == Want::Accumulate {
                return Err(Error::Unsupported {
                    what: format!("adding to {operand} of a column-parallel layer"),
                    why: "the sum over the processes would count what was there once for each: overwrite it".into(),
                });
            }
        }
        let dx = outputs.dx.take().filter(|_| wants.x.wanted());
        match &dx {
            Some(dx) => exactly(Operand::Dx, dx.len(), m * k)?,
            None if wants.x.wanted() => exactly(Operand::Dx, 0, m * k)?,
            None => {}
        }
        self.own.resize(if dx.is_some() { m * k } else { 0 }, 0.0);
        let mut own_alpha = [0.0];
        let dalpha = outputs.dalpha.take();
        let (sum_alpha, dalpha) = if summed_alpha { (dalpha, Some(&mut own_alpha[..])) } else { (None, dalpha) };
        if let Some(sum) = &sum_alpha {
            exactly(Operand::Dalpha, sum.len(), 1)?;
        } else if summed_alpha {
            exactly(Operand::Dalpha, 0, 1)?;
        }
        let outputs = BackwardOutputs { dx: dx.is_some().then_some(&mut self.own[..]), dalpha, ..outputs };
        self.host.backward(&BackwardRequest::new(request, wants), inputs, outputs)?;
        if let Some(dx) = dx {
            all_reduce(self.world, &self.own, dx);
        }
        if let Some(sum) = sum_alpha {
            all_reduce(self.world, &own_alpha, sum);
        }
        Ok(())
    }
}
