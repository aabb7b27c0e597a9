//! Layers of unmodified models: a fusion of elbow's in Burn's registry of fusions.
//!
//! Burn's wgpu backend collects the operators that a model calls in a stream, and asks the fusions that are registered what they can make of it. elbow's finds a
//! product, a bias and an activation behind each other ([`reading`]), by how Burn spells activations ([`spelling`]), and runs them as one layer. Everything
//! else stays Burn's.

mod reading;
mod running;
mod spelling;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use burn::backend::{
    fusion::{FuserProperties, FuserStatus, OperationFuser, stream::Context},
    ir::OperationIr,
};
use burn_cubecl::{
    CubeDevice,
    fusion::{CubeFuser, CubeFusionHandle, CubeOptimization, FallbackOperation, FusedOperation, OptimizationProvider},
};
use elbow::{Error, Result};

use crate::device;
use burn_cubecl_fusion::optim::elemwise::ElementWiseFuser;
use reading::{Layer, Reading, is_view, product, read};

/// Layers of unmodified models run on elbow's kernels from now on, on the devices that elbow knows ([`open`](crate::open), [`share`](crate::share)).
///
/// ```text
/// y = act(x·w + b)        x [.., K] · w [K, N], b [N] or none; act one of relu, leaky_relu, hardtanh (relu6), tanh, sigmoid, silu, gelu, gelu_approximate
/// ```
///
/// A `Linear` of Burn's followed by an activation of Burn's is such a layer, in f32 and f16; so is what a program spells in the same operators. It is one kernel
/// forward, with and without `autodiff`: what Burn's backward reads later (z) is written in the same pass. Backward, and all else, stays Burn's. So does a
/// layer whose inner results are read by something else: under `autodiff` that is the product z · sigmoid(z) of `silu`, of which the sigmoid is fused with the layer,
/// and all of `leaky_relu`, `hardtanh` and `gelu_approximate`. [`fused`] counts what ran.
///
/// It stands at the start of a program, before the first tensor.
///
/// # Errors
/// [`Error::Unsupported`]: Burn's streams run already, or it was called before.
///
/// ```no_run
/// use burn::{nn::{LinearConfig, Relu}, tensor::{Device, Distribution, Tensor}};
/// elbow_burn::register()?;
/// let device = elbow_burn::open(Device::wgpu_options())?;
/// let linear = LinearConfig::new(64, 10).init(&device);
/// let y = Relu::new().forward(linear.forward(Tensor::<2>::random([32, 64], Distribution::Default, &device)));
/// println!("{y}");
/// assert_eq!(elbow_burn::fused().layers, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn register() -> Result<()> {
    burn_cubecl::fusion::register(Provider).map_err(|error| Error::Unsupported {
        what: "elbow's layers in Burn's streams".into(),
        why: format!("Burn says: {error}"),
    })
}

static LAYERS: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);

/// What became of the layers that elbow found in Burn's streams, since the program began ([`fused`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fused {
    /// Layers that ran on elbow's kernels.
    pub layers: u64,
    /// Those that looked like layers and were left to Burn's own operators: their numbers are of another function (x / 3 where GELU has x / √2), Burn records a
    /// graph, or elbow has no plan for them on that device.
    pub left: u64,
}

/// How many layers of unmodified models ran on elbow's kernels. Burn runs a stream when a result is read, or when it knows what to do with it: read a result, or call
/// `device.sync()`, before you count.
///
/// ```
/// assert_eq!(elbow_burn::fused().layers, 0);
/// ```
pub fn fused() -> Fused {
    Fused { layers: LAYERS.load(Relaxed), left: LEFT.load(Relaxed) }
}

struct Provider;

impl OptimizationProvider for Provider {
    type Operation = FusedLayer;

    fn fuser(&self, device: &CubeDevice) -> CubeFuser {
        CubeFuser::new(LayerFuser {
            device: device.clone(),
            stream: Vec::new(),
            ahead: ElementWiseFuser::new(device.clone()),
            reading: Reading::open(),
        })
    }
}

/// More than any score of Burn's fusions: a layer is taken where there is one. What is no layer is taken where Burn has nothing better.
const LAYER: u64 = u64::MAX;
const UNFUSED: u64 = 1;

/// Looks for a layer at the beginning of a stream.
#[derive(Clone)]
struct LayerFuser {
    device: CubeDevice,
    stream: Vec<OperationIr>,
    /// Burn's own fusion of what stands ahead of a product: where it ends without one, this search does.
    ahead: ElementWiseFuser,
    reading: Reading,
}

impl OperationFuser<CubeOptimization> for LayerFuser {
    fn fuse(&mut self, operation: &OperationIr) {
        if !self.reading.is_open {
            return;
        }
        if self.stream.is_empty() && device::of(self.device.to_id()).is_none() {
            self.reading = Reading::default();
            return;
        }
        if self.reading.unfused == 0 && product(operation).is_none() {
            self.ahead.fuse(operation);
            if self.ahead.status() == FuserStatus::Closed {
                self.reading = Reading::default();
                return;
            }
        }
        self.stream.push(operation.clone());
        self.reading = read(&self.stream);
    }

    fn finish(&mut self) -> CubeOptimization {
        self.stream.truncate(self.len());
        CubeOptimization::new(FusedLayer::new(self.device.clone(), self.stream.clone()))
    }

    fn reset(&mut self) {
        self.stream.clear();
        self.ahead.reset();
        self.reading = Reading::open();
    }

    fn status(&self) -> FuserStatus {
        if self.reading.is_open { FuserStatus::Open } else { FuserStatus::Closed }
    }

    fn properties(&self) -> FuserProperties {
        match self.reading.layer {
            Some(_) => FuserProperties { ready: true, score: LAYER },
            None => FuserProperties { ready: !self.reading.is_open && self.reading.unfused > 0, score: UNFUSED },
        }
    }

    fn len(&self) -> usize {
        self.reading.layer.as_ref().map_or(self.reading.unfused, |layer| layer.len)
    }

    fn clone_dyn(&self) -> Box<dyn OperationFuser<CubeOptimization>> {
        Box::new(self.clone())
    }
}

/// The beginning of a stream as elbow runs it, in the stream's own names.
struct FusedLayer {
    device: CubeDevice,
    stream: Vec<OperationIr>,
    /// If it is one.
    layer: Option<Layer>,
    /// What stands ahead of it, as Burn fuses it; if Burn does.
    ahead: Option<CubeOptimization>,
}

impl FusedLayer {
    fn new(device: CubeDevice, stream: Vec<OperationIr>) -> Self {
        let layer = read(&stream).layer.filter(|layer| layer.len == stream.len());
        let ahead = layer.as_ref().and_then(|layer| fused_ahead(&stream[..layer.product], &device));
        FusedLayer { device, stream, layer, ahead }
    }
}

/// Burn's fusion of elementwise operators, if there are more than one. Views at either end are free by themselves, and would be copies in it.
fn fused_ahead(operations: &[OperationIr], device: &CubeDevice) -> Option<CubeOptimization> {
    let is_worth_it =
        operations.len() > 1 && ![operations.first(), operations.last()].into_iter().flatten().any(is_view);
    is_worth_it.then(|| {
        let mut fuser = ElementWiseFuser::new(device.clone());
        operations.iter().for_each(|operation| fuser.fuse(operation));
        fuser.finish()
    })
}

impl FusedOperation for FusedLayer {
    const NAME: &'static str = "elbow::layer";
    type State = Vec<OperationIr>;

    fn num_ops_fused(&self) -> usize {
        self.stream.len()
    }

    fn run(
        &mut self,
        context: &mut Context<CubeFusionHandle>,
        burns_own: &dyn Fn(usize) -> Box<dyn FallbackOperation>,
    ) {
        let run_own = |at: usize, context: &mut Context<CubeFusionHandle>| burns_own(at).run(context);
        let choices = self.layer.as_ref().and_then(|layer| running::choices(layer, &self.device, context));
        let Some((layer, choices)) = self.layer.as_ref().zip(choices) else {
            (0..self.stream.len()).for_each(|at| run_own(at, context));
            LEFT.fetch_add(u64::from(self.layer.is_some()), Relaxed);
            return;
        };
        match &mut self.ahead {
            Some(ahead) => ahead.run(context, burns_own),
            None => (0..layer.product).for_each(|at| run_own(at, context)),
        }
        running::run(layer, choices, context, run_own);
        LAYERS.fetch_add(1, Relaxed);
    }

    fn to_state(&self) -> Self::State {
        self.stream.clone()
    }

    fn from_state(device: &CubeDevice, stream: Self::State) -> Self {
        FusedLayer::new(device.clone(), stream)
    }
}
