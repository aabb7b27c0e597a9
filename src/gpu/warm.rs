//! Compiling before the first call: a host that loads its networks compiles their kernels then, and no frame or step waits for a compiler.

use super::Gpu;
use crate::{
    error::Result,
    plan::{Dispatch, Plan},
    shader::Binding,
};

/// How the operands of a call lie in buffers. wgpu counts a buffer that is read and written in one dispatch as written, wherever in it, so kernels
/// for the one and the other are compiled apart. Calls choose by themselves; what is compiled in advance has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Buffers {
    /// No output of a dispatch is in a buffer with one of its inputs.
    Apart,
    /// Some are: operands are ranges of one large buffer, as in an arena or a framework's memory pages.
    Shared,
}

impl Gpu {
    /// Compiles the kernels of these plans, unless they have been, so that the first call takes no longer than the others. Returns how many were compiled.
    ///
    /// A plan needs shapes alone ([`View::absent`](crate::View::absent)), so this can be done before there are buffers. Kernels are compiled one after
    /// the other; several threads may call it at once with parts of the plans. At most 512 are kept ([`Gpu::pipelines`]).
    ///
    /// ```no_run
    /// use elbow::{Activation, Dtype, Gpu, Saved, View, affine::Forward, gpu::Buffers};
    /// let gpu = Gpu::new()?;
    /// let [x, w, y] = [[32, 64], [10, 64], [32, 10]].map(|shape| View::absent(&shape, Dtype::F32));
    /// let layer = Forward::new(Activation::RELU, x, w, y).saved(Saved::Y);
    /// let plans = [layer.plan(&gpu)?, layer.backward(y).dx(x).dw(w).plan(&gpu)?];
    /// let compiled = gpu.warm(&plans, Buffers::Apart)?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn warm<'a>(&self, plans: impl IntoIterator<Item = &'a Plan>, buffers: Buffers) -> Result<usize> {
        self.check()?;
        let binding = match buffers {
            Buffers::Apart => Binding::Exclusive,
            Buffers::Shared => Binding::Shared,
        };
        let pipelines = &self.inner.pipelines;
        let mut compiled = 0;
        for Dispatch { kernel, .. } in plans.into_iter().flat_map(|plan| &plan.dispatches) {
            compiled += usize::from(!pipelines.holds(kernel, binding));
            pipelines.get(self, kernel, binding)?;
        }
        Ok(compiled)
    }

    /// Kernels that are compiled from now on go through this cache of the driver's binaries: a host that keeps its data on disk compiles each kernel once in
    /// the life of a driver. `None`: through none, as after the start.
    ///
    /// Making one is the host's: `wgpu::Device::create_pipeline_cache` of this device, with `wgpu::Features::PIPELINE_CACHE`. Its own pipelines may go through the
    /// same. With the cache of another device every call that compiles is an [`Error::ShaderCompile`](crate::Error::ShaderCompile).
    ///
    /// ```no_run
    /// use elbow::{Gpu, wgpu};
    /// # fn host(device: &wgpu::Device, queue: &wgpu::Queue, cache: wgpu::PipelineCache) {
    /// let gpu = Gpu::from_wgpu(device, queue);
    /// gpu.set_pipeline_cache(cache);
    /// # }
    /// ```
    pub fn set_pipeline_cache(&self, cache: impl Into<Option<wgpu::PipelineCache>>) {
        self.inner.pipelines.set_cache(cache.into());
    }
}
