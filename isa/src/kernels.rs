//! Which kernels are looked at: those of the plans that elbow makes by default for a discrete GPU, each text once, under the name of the
//! first call that asks for it.

use std::collections::HashSet;

use elbow::{
    Activation, Caps, DeviceClass, Float, Operand, Pin, Saved, Strategy, Want, WeightLayout,
    kernel::{Elem, Kernel, KernelFile},
    plan::{
        self, ElementwiseBackward, ElementwiseDouble, ElementwiseForward, Plan, SgdRequest, SoftmaxRequest,
    },
    program::By,
    request::{AffineRequest, BackwardRequest, Below, Gradients},
    shader::{self, Binding},
    storage::Storage,
};

use crate::{failure::Failure, radv::Buffer};

/// A kernel, and what it is called in the table.
#[derive(Debug)]
pub(crate) struct Named {
    /// The call, and what this kernel of its plan does: `forward relu f32 4096x1024x1024: product_staged NT y`.
    pub(crate) name: String,
    pub(crate) kernel: Kernel,
    pub(crate) text: String,
}

impl Named {
    /// What it binds, as wgpu numbers it: inputs that are the memory of an output have no binding of their own.
    pub(crate) fn buffers(&self) -> Vec<Buffer> {
        let slots = self.kernel.slots.iter().zip(1..).filter(|(slot, _)| slot.within.is_none());
        std::iter::once(Buffer::Uniform(0)).chain(slots.map(|(_, number)| Buffer::Storage(number))).collect()
    }

    /// Whether it has a loop over a reduction whose multiply-adds are what it is for.
    pub(crate) fn is_product(&self) -> bool {
        use KernelFile::{ProductBroadcast, ProductDirect, ProductSlicedK, ProductStaged};
        matches!(self.kernel.file, ProductDirect | ProductStaged | ProductBroadcast | ProductSlicedK)
    }

    /// Bytes that it stores for each element of the result, all outputs together. What it stores for a row or a column is left out.
    pub(crate) fn bytes_an_element(&self) -> u64 {
        let finish = self.kernel.finish.accesses();
        let own = |role: &str| finish.iter().any(|a| a.written && a.by == Some(By::Element) && a.operand.name() == role);
        let stores = |role: &str| finish.is_empty() || own(role);
        let written = self.kernel.slots.iter().filter(|slot| slot.written && slot.elem != Elem::Word);
        written.filter(|slot| stores(slot.role)).map(|slot| slot.bytes()).sum()
    }

    /// Elements that a lane of a product finishes; no more than these can be in its text.
    pub(crate) fn most_elements(&self) -> Option<u64> {
        self.is_product().then(|| u64::from(self.kernel.flag("TM")) * u64::from(self.kernel.flag("TN")))
    }
}

/// The name of a kernel in its plan: the file, how a product's operands lie, what comes out.
fn part(kernel: &Kernel) -> String {
    let mut words = vec![kernel.file.name()];
    if kernel.flags.contains_key("TM") {
        words.push(match (kernel.flag("A_ALONG_K"), kernel.flag("B_ALONG_K")) {
            (1, 1) => "NT",
            (1, _) => "NN",
            _ => "TN",
        });
    }
    let finish = kernel.finish.accesses();
    words.extend(finish.iter().filter(|access| access.written).map(|access| access.operand.name()));
    if finish.is_empty() {
        words.extend(kernel.slots.iter().filter(|slot| slot.written).map(|slot| slot.role));
    }
    words.join(" ")
}

/// The kernels of plans, each text once.
struct Collected {
    seen: HashSet<String>,
    kernels: Vec<Named>,
}

impl Collected {
    fn add(&mut self, call: &str, plan: Result<Plan, elbow::Error>) -> Result<(), Failure> {
        for dispatch in plan.map_err(|error| Failure::new(format_args!("{call}: {error}")))?.dispatches {
            let text = shader::assemble(&dispatch.kernel, Binding::Exclusive)?;
            // The comment at the head names flags; the rest is what is compiled.
            if !self.seen.insert(text.clone()) {
                continue;
            }
            let name = format!("{call}: {}", part(&dispatch.kernel));
            let same = self.kernels.iter().filter(|k| k.name == name || k.name.starts_with(&format!("{name} #"))).count();
            let name = if same == 0 { name } else { format!("{name} #{}", same + 1) };
            self.kernels.push(Named { name, kernel: dispatch.kernel, text });
        }
        Ok(())
    }
}

/// What elbow learns of an RDNA GPU from wgpu: subgroups of 32 to 64, so no size that can be relied on.
fn caps() -> Caps {
    Caps::defaults(DeviceClass::Discrete).workgroup_bytes(32 * 1024).max_invocations(1024).max_bindings(12).f16(true)
}

/// A GPU of which a browser tells no more than it must.
fn browser() -> Caps {
    Caps::defaults(DeviceClass::Discrete)
}

const M: usize = 4096;

/// Rows, and the products of them that a layer of 1024 channels in and out makes: from one that fills a GPU to one row.
const ROWS: [usize; 4] = [M, 512, 8, 1];

/// A layer, and its name.
fn layer(call: &str, activation: Activation, dtype: Float, [m, k, n]: [usize; 3]) -> (String, AffineRequest) {
    let request = AffineRequest::new(m, n, k, activation).saved(Saved::None).storage(Storage::all(dtype));
    (format!("{call} {} {dtype} {m}x{k}x{n}", activation.name()), request)
}

fn activations() -> [Activation; 3] {
    [Activation::IDENTITY, Activation::RELU, Activation::GELU_ERF]
}

/// All of them, in the order of the calls.
pub(crate) fn all() -> Result<Vec<Named>, Failure> {
    let mut all = Collected { seen: HashSet::new(), kernels: Vec::new() };
    let caps = caps();
    for dtype in [Float::F32, Float::F16] {
        for m in ROWS {
            for activation in activations() {
                for (call, layout) in [("forward", WeightLayout::OutIn), ("forward in_out", WeightLayout::InOut)] {
                    let (name, request) = layer(call, activation, dtype, [m, 1024, 1024]);
                    all.forward(&name, &request.layout(layout), &caps)?;
                }
            }
        }
        for activation in [Activation::RELU, Activation::GELU_ERF] {
            for m in ROWS {
                let (name, request) = layer("", activation, dtype, [m, 1024, 1024]);
                all.backward(&name, &request.saved(Saved::Auto), &caps)?;
            }
        }
        all.elementwise(dtype, &caps)?;
    }
    Ok(all.kernels)
}

impl Collected {
    fn forward(&mut self, name: &str, request: &AffineRequest, caps: &Caps) -> Result<(), Failure> {
        self.add(name, plan::forward(request, true, false, caps, &Pin::default()))
    }

    /// By both strategies, and with the activation of a layer below.
    fn backward(&mut self, name: &str, request: &AffineRequest, caps: &Caps) -> Result<(), Failure> {
        let gradients = Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite);
        for strategy in [Strategy::Prologue, Strategy::TwoPass] {
            let request = BackwardRequest::new(*request, gradients);
            let pin = Pin::default().strategy(strategy);
            self.add(&format!("{strategy}{name}"), plan::backward(&request, true, caps, &pin))?;
        }
        let saved = request.resolve()?.saved;
        let below = Below::new(request.activation, saved).db(Want::Overwrite);
        let request = BackwardRequest::new(*request, gradients).upstream_is_dz(true).below(below);
        self.add(&format!("chain{name}"), plan::backward(&request, true, caps, &Pin::default()))
    }

    fn elementwise(&mut self, dtype: Float, caps: &Caps) -> Result<(), Failure> {
        for activation in [Activation::RELU, Activation::GELU_ERF] {
            let name = |call| format!("{call} {} {dtype} 1048576", activation.name());
            let forward = ElementwiseForward {
                rows: 1024,
                channels: 1024,
                inner: None,
                activation,
                alpha: elbow::AlphaSource::Constant,
                in_place: false,
                storage: Storage::all(dtype),
            };
            self.add(&name("elementwise"), plan::elementwise_forward(&forward, true, caps))?;
        }
        Ok(())
    }
}
