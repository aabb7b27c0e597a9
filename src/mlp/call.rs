//! What an [`Mlp`](super::Mlp) records: a call of one layer, or of all.

use crate::{
    affine,
    error::Result,
    gpu::{
        Gpu,
        record::{Prepared, Target},
    },
    network,
    plan::Plan,
};

/// What is done with each call, in order.
pub(super) type Each<'a> = &'a mut dyn FnMut(&dyn Call) -> Result<()>;

pub(super) trait Call {
    fn plan(&self, gpu: &Gpu) -> Result<Plan>;

    fn prepare(&self, gpu: &Gpu) -> Result<Prepared>;

    fn in_pass(&self, gpu: &Gpu, pass: &mut wgpu::ComputePass<'_>) -> Result<()> {
        self.prepare(gpu)?.record(Target::Pass(pass))
    }
}

macro_rules! calls {
    ($($call:ty),+) => {$(
        impl Call for $call {
            fn plan(&self, gpu: &Gpu) -> Result<Plan> {
                <$call>::plan(self, gpu)
            }

            fn prepare(&self, gpu: &Gpu) -> Result<Prepared> {
                <$call>::prepare(self, gpu)
            }
        }
    )+};
}

calls!(affine::Forward<'_>, affine::Backward<'_>, network::Forward<'_>, network::Backward<'_>);
