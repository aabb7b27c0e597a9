//! [`Host`]: both roads, and which of them a call goes.

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

use elbow::{
    Gpu, Result,
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, DoubleBackwardInputs, DoubleBackwardOutputs, ForwardInputs, ForwardOutputs,
    Workspace,
};

use crate::{Costs, Load, device};

/// The two ways to compute a layer whose operands lie in the host's memory.
///
/// ```
/// assert_eq!(elbow_host::Road::Gpu.to_string(), "gpu");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Road {
    /// [elbow_cpu], on all threads of the current rayon pool.
    Cpu,
    /// The operands go to the GPU and the results come back.
    Gpu,
}

impl Road {
    /// `cpu` or `gpu`.
    pub const fn name(self) -> &'static str {
        match self {
            Road::Cpu => "cpu",
            Road::Gpu => "gpu",
        }
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who decides which road a call goes.
#[derive(Debug)]
enum Choice {
    /// The CPU's alone, for this reason.
    Cpu(String),
    /// Always this one.
    Forced(Gpu, Road),
    /// The one that is expected to be faster, by what was measured at the first question.
    Measured(Gpu, OnceLock<Costs>),
}

/// Computes layers on slices, by the faster road. It can be shared by any number of threads.
///
/// It prints as the adapter, and what was measured of both roads; or why there is the CPU's road alone:
///
/// ```
/// let host = elbow_host::Host::cpu();
/// assert_eq!(host.to_string(), "the CPU's road alone: asked for");
/// ```
#[derive(Debug)]
pub struct Host {
    choice: Choice,
    /// Scratch memory of the CPU's road: one for each call that runs at a time.
    workspaces: Mutex<Vec<Workspace>>,
}

impl Host {
    /// Takes the best adapter, as [`Gpu::new`] does with its environment variables. With a software adapter, with none, or if the adapter computes
    /// wrong numbers, there is the CPU's road alone, and the host prints why.
    ///
    /// ```no_run
    /// println!("{}", elbow_host::Host::open());
    /// ```
    pub fn open() -> Self {
        match Gpu::new() {
            Ok(gpu) if gpu.is_software() => {
                Self::choosing(Choice::Cpu(format!("the best adapter is the CPU itself, {gpu}")))
            }
            Ok(gpu) => Self::measured(gpu),
            Err(error) => Self::choosing(Choice::Cpu(error.to_string())),
        }
    }

    /// The CPU's road alone; no adapter is looked for.
    pub fn cpu() -> Self {
        Self::choosing(Choice::Cpu("asked for".into()))
    }

    /// Always one road.
    ///
    /// ```no_run
    /// use elbow_host::{Host, Road};
    /// let host = Host::with(elbow::Gpu::new()?, Road::Gpu);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn with(gpu: Gpu, road: Road) -> Self {
        Self::choosing(Choice::Forced(gpu, road))
    }

    /// The faster road beside this device, whatever it is.
    ///
    /// ```no_run
    /// let host = elbow_host::Host::measured(elbow::Gpu::new()?);
    /// println!("{}", host.costs()?.expect("two roads were measured"));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn measured(gpu: Gpu) -> Self {
        Self::choosing(Choice::Measured(gpu, OnceLock::new()))
    }

    fn choosing(choice: Choice) -> Self {
        Host { choice, workspaces: Mutex::default() }
    }

    /// What both roads cost on this machine: measured at the first question, which takes about a second. None where there is nothing to choose.
    pub fn costs(&self) -> Result<Option<&Costs>> {
        let Choice::Measured(gpu, costs) = &self.choice else { return Ok(None) };
        if costs.get().is_none() {
            let measured = Costs::measure(gpu)?;
            // Another thread may have been first: its figures are as good.
            let _ = costs.set(measured);
        }
        Ok(costs.get())
    }

    /// The road that forward goes for a layer of this shape.
    ///
    /// ```
    /// use elbow::{Activation, request::AffineRequest};
    /// use elbow_host::{Host, Road};
    /// assert_eq!(Host::cpu().road(&AffineRequest::new(64, 256, 256, Activation::RELU))?, Road::Cpu);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn road(&self, request: &AffineRequest) -> Result<Road> {
        self.faster(|| Load::of_forward(request))
    }

    fn faster(&self, load: impl FnOnce() -> Load) -> Result<Road> {
        match &self.choice {
            Choice::Cpu(_) => Ok(Road::Cpu),
            Choice::Forced(_, road) => Ok(*road),
            Choice::Measured(..) => Ok(self.costs()?.map_or(Road::Cpu, |costs| costs.faster(&load()))),
        }
    }

    /// The device, if this road is its.
    fn device(&self, road: Road) -> Option<&Gpu> {
        match &self.choice {
            Choice::Forced(gpu, _) | Choice::Measured(gpu, _) if road == Road::Gpu => Some(gpu),
            _ => None,
        }
    }

    /// [`elbow_cpu::forward`], or the same on the GPU. Statistics are refused on both.
    ///
    /// The crate's first page has an example.
    pub fn forward(
        &self,
        request: &AffineRequest,
        inputs: ForwardInputs<'_>,
        outputs: ForwardOutputs<'_>,
    ) -> Result<Road> {
        let road = self.road(request)?;
        match self.device(road) {
            Some(gpu) => device::forward(gpu, request, inputs, outputs)?,
            None => elbow_cpu::forward(request, inputs, outputs)?,
        }
        Ok(road)
    }

    /// [`elbow_cpu::backward()`], or the same on the GPU.
    ///
    /// ```
    /// use elbow::{Activation, Saved, Want, request::{AffineRequest, BackwardRequest, Gradients}};
    /// use elbow_cpu::{BackwardInputs, BackwardOutputs, SavedIn};
    /// let layer = AffineRequest::new(2, 1, 2, Activation::RELU).saved(Saved::Y);
    /// let request = BackwardRequest::new(layer, Gradients::default().x(Want::Overwrite));
    /// let (w, y, dy) = ([0.5, 0.25], [2.0, 0.0], [1.0, 1.0]);
    /// let inputs = BackwardInputs { w: &w, dy: &dy, saved: SavedIn::Y(&y), ..Default::default() };
    /// let mut dx = [0.0; 4];
    /// let outputs = BackwardOutputs { dx: Some(&mut dx), ..Default::default() };
    /// elbow_host::Host::cpu().backward(&request, inputs, outputs)?;
    /// assert_eq!(dx, [0.5, 0.25, 0.0, 0.0]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn backward(
        &self,
        request: &BackwardRequest,
        inputs: BackwardInputs<'_>,
        outputs: BackwardOutputs<'_>,
    ) -> Result<Road> {
        let road = self.faster(|| Load::of_backward(request, inputs.saved.kind()))?;
        match self.device(road) {
            Some(gpu) => device::backward(gpu, request, inputs, outputs)?,
            None => self.in_workspace(|workspace| elbow_cpu::backward(request, inputs, outputs, workspace))?,
        }
        Ok(road)
    }

    /// [`elbow_cpu::double_backward()`], or the same on the GPU.
    ///
    /// ```
    /// use elbow::{Activation, Saved, Want, request::{AffineRequest, DoubleBackwardRequest, Returning, SecondGradients}};
    /// use elbow_cpu::{DoubleBackwardInputs, DoubleBackwardOutputs, SavedIn};
    /// // y = max(z, 0)² at z = x·w = 2, so dx = 2 max(z, 0) dy w: of a loss of dx[0] the gradient for w.
    /// let layer = AffineRequest::new(1, 1, 2, Activation::RELU_SQUARED).bias(false);
    /// let wants = SecondGradients::default().w(Want::Overwrite);
    /// let request = DoubleBackwardRequest::new(layer, Returning::default().x(true), wants);
    /// let (x, w, dy, z, ddx) = ([2.0, 1.0], [0.5, 1.0], [1.0], [2.0], [1.0, 0.0]);
    /// let inputs = DoubleBackwardInputs {
    ///     x: &x, w: &w, dy: &dy, saved: SavedIn::Z(&z), ddx: Some(&ddx), ..Default::default()
    /// };
    /// let mut dw2 = [0.0; 2];
    /// let outputs = DoubleBackwardOutputs { dw2: Some(&mut dw2), ..Default::default() };
    /// elbow_host::Host::cpu().double_backward(&request, inputs, outputs)?;
    /// assert_eq!(dw2, [6.0, 1.0]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn double_backward(
        &self,
        request: &DoubleBackwardRequest,
        inputs: DoubleBackwardInputs<'_>,
        outputs: DoubleBackwardOutputs<'_>,
    ) -> Result<Road> {
        let road = self.faster(|| Load::of_double_backward(request, inputs.saved.kind()))?;
        match self.device(road) {
            Some(gpu) => device::double_backward(gpu, request, inputs, outputs)?,
            None => self.in_workspace(|workspace| elbow_cpu::double_backward(request, inputs, outputs, workspace))?,
        }
        Ok(road)
    }

    fn in_workspace<T>(&self, work: impl FnOnce(&mut Workspace) -> T) -> T {
        let free = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = free().pop().unwrap_or_default();
        let result = work(&mut workspace);
        free().push(workspace);
        result
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.choice {
            Choice::Cpu(why) => write!(f, "the CPU's road alone: {why}"),
            Choice::Forced(gpu, Road::Cpu) => write!(f, "always the CPU's road, beside {gpu}"),
            Choice::Forced(gpu, Road::Gpu) => write!(f, "always the road over {gpu}"),
            Choice::Measured(gpu, costs) => match costs.get() {
                Some(costs) => write!(f, "the CPU, or {gpu}\n{costs}"),
                None => write!(f, "the CPU, or {gpu}; measured at the first call"),
            },
        }
    }
}
