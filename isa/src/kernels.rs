//! Which kernels are looked at: those of the plans that elbow makes by default for a discrete GPU, each once, under the name of the
//! first call that asks for it.

mod matrix_units;

use std::collections::HashSet;

use elbow::{
    Activation, AlphaSource, Caps, DeviceClass, Float, Gate, Jet, Norm, Operand, Pin, Plan, ResidualAt, Saved,
    Strategy, Want, WeightLayout, activation,
    criterion::{Criterion, Reduction},
    kernel::{Elem, Kernel, KernelFile},
    network::Layers,
    philox::Distribution,
    plan::{
        self, AdvanceRequest, CopyRequest, ElementwiseBackward, ElementwiseDouble, ElementwiseForward, GatedBackward,
        LossRequest, LossScaleRequest, NetworkBackward, NetworkForward, RandomRequest, SgdRequest, SoftmaxRequest,
        UpdateRequest,
    },
    program::{By, Over},
    rates::Rule,
    request::{
        AffineRequest, BackwardRequest, Below, DoubleBackwardRequest, Front, Gradients, Returning, SecondGradients,
    },
    shader::{self, Binding},
    shape::Shape,
    storage::Storage,
};

use crate::{failure::Failure, figure::Family, radv::Buffer, spirv};

/// A kernel, and what it is called in the table.
#[derive(Debug)]
pub(crate) struct Named {
    /// The call, and what this kernel of its plan does: `forward relu f32 4096x1024x1024: product_staged NT y`.
    pub(crate) name: String,
    pub(crate) kernel: Kernel,
    pub(crate) spirv: Vec<u32>,
}

impl Named {
    /// What it binds, as wgpu numbers it: inputs that are the memory of an output have no binding of their own.
    pub(crate) fn buffers(&self) -> Vec<Buffer> {
        let slots = self.kernel.slots.iter().zip(1..).filter(|(slot, _)| slot.within.is_none());
        std::iter::once(Buffer::Uniform(0)).chain(slots.map(|(_, number)| Buffer::Storage(number))).collect()
    }

    /// Whether it has a loop over a reduction whose multiply-adds are what it is for.
    pub(crate) fn is_product(&self) -> bool {
        use KernelFile::{ProductBroadcast, ProductCoop, ProductDirect, ProductSlicedK, ProductStaged};
        matches!(self.kernel.file, ProductDirect | ProductStaged | ProductBroadcast | ProductSlicedK | ProductCoop)
    }

    /// Multiply-adds of the product in a trip of its loop, where activations in the same loop have some of their own.
    pub(crate) fn most_multiply_adds(&self) -> Option<usize> {
        let Kernel { file, a, b, .. } = &self.kernel;
        let flag = |name| self.kernel.flag(name) as usize;
        let steps = match file {
            _ if !a.acts() && !b.acts() => return None,
            KernelFile::ProductStaged => flag("BK") * flag("SLICES"),
            KernelFile::ProductDirect => 4,
            _ => return None,
        };
        Some(flag("TM") * flag("TN") * steps).filter(|most| *most > 0)
    }

    /// Elements of the result that it has stored when it has stored so many bytes, all outputs together; None where it has no elements.
    /// A lane of a product has no more than its register tile: what is beyond is there twice, for the edge.
    pub(crate) fn elements(&self, stored_bytes: u64) -> Option<f64> {
        use KernelFile::{Copy, Flat, Rows, SplitSum, Update};
        if !self.is_product() && !matches!(self.kernel.file, Copy | Flat | Rows | SplitSum | Update) {
            return None;
        }
        let finish = &self.kernel.finish;
        let accesses = finish.accesses();
        let own =
            |role: &str| accesses.iter().any(|a| a.written && a.by == Some(By::Element) && a.operand.name() == role);
        let written = self.kernel.slots.iter().filter(|slot| slot.written && slot.elem != Elem::Word);
        let each: u64 = written.filter(|slot| finish.is_empty() || own(slot.role)).map(|slot| slot.bytes()).sum();
        // The partial sums of columns and rows are no elements.
        let width = if self.kernel.flag("WIDE") == 1 { 4 } else { 1 };
        let sums = 4 * u64::from(finish.sums(Over::Rows) * width + finish.sums(Over::Columns));
        let elements = (each > 0).then(|| stored_bytes.saturating_sub(sums) as f64 / each as f64)?;
        let most = if self.is_product() { self.kernel.flag("TM") * self.kernel.flag("TN") } else { u32::MAX };
        (elements > 0.0).then(|| elements.min(most.into()))
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
    let mut outputs: Vec<_> =
        finish.iter().filter(|access| access.written).map(|access| access.operand.name()).collect();
    if outputs.is_empty() {
        outputs.extend(kernel.slots.iter().filter(|slot| slot.written).map(|slot| slot.role));
    }
    words.append(&mut outputs);
    words.join(" ")
}

/// The shapes M×K×N of layers: from one that fills a GPU with the largest tiles to one row, and one whose rows are no whole vec4.
const LARGE: [usize; 3] = [4096, 1024, 1024];
const SHAPES: [[usize; 3]; 5] = [LARGE, [512, 1024, 1024], [64, 256, 256], [8, 1024, 1024], [1, 1024, 1024]];
const ODD: [usize; 3] = [4095, 1023, 1021];

const ACTIVATIONS: [Activation; 3] = [Activation::IDENTITY, Activation::RELU, Activation::GELU_ERF];

/// What elbow learns from wgpu of an RDNA GPU: subgroups of 32 to 64, and so no number of lanes that it could count on.
const fn caps() -> Caps {
    Caps::defaults(DeviceClass::Discrete)
        .workgroup_bytes(32 * 1024)
        .max_invocations(1024)
        .max_bindings(12)
        .f16(true)
        .subgroups(true)
}

/// A discrete GPU of which a browser promises no more than WebGPU does.
const fn browser() -> Caps {
    Caps::defaults(DeviceClass::Discrete)
}

/// All of them that a family is asked about, sorted by name.
pub(crate) fn all(family: Family) -> Result<Vec<Named>, Failure> {
    let matrix_units = family.on_matrix_units();
    let mut all = Collected { caps: caps(), matrix_units, seen: HashSet::new(), kernels: Vec::new() };
    match all.matrix_units {
        true => all.on_matrix_units()?,
        false => all.on_arithmetic_units()?,
    }
    all.kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all.kernels)
}

/// The kernels of plans, each once.
struct Collected {
    caps: Caps,
    /// Only those on matrix units, or all.
    matrix_units: bool,
    seen: HashSet<Vec<u32>>,
    kernels: Vec<Named>,
}

impl Collected {
    /// Every kernel but those on matrix units.
    fn on_arithmetic_units(&mut self) -> Result<(), Failure> {
        for (dtype, shapes) in [(Float::F32, &SHAPES[..]), (Float::F16, &SHAPES[..1]), (Float::Bf16, &SHAPES[..1])] {
            self.layers(dtype, shapes)?;
        }
        self.layers(Float::F32, &[ODD])?;
        self.around_the_activation()?;
        self.jets()?;
        self.gates()?;
        self.fronts()?;
        self.double_backward()?;
        self.networks()?;
        self.elementwise()?;
        self.others()?;
        // Last, so that only what is another kernel there has a name of its own.
        self.caps = browser();
        self.layers(Float::F32, &[LARGE])?;
        self.layers(Float::F16, &[LARGE])
    }

    fn add(&mut self, call: &str, plan: elbow::Result<Plan>) -> Result<(), Failure> {
        let plan = plan.map_err(|error| Failure::new(format_args!("{call}: {error}")))?;
        let call = if self.caps == browser() { format!("{call} browser") } else { call.to_owned() };
        let kernels = plan.dispatches.into_iter().map(|dispatch| dispatch.kernel);
        let on_units = KernelFile::on_matrix_units;
        for kernel in kernels.filter(|kernel| !self.matrix_units || on_units(kernel.file)) {
            // Texts that differ in names alone are one kernel.
            let spirv = spirv::write(&shader::assemble(&kernel, Binding::Exclusive)?, self.matrix_units)?;
            if !self.seen.insert(spirv.clone()) {
                continue;
            }
            let first = format!("{call}: {}", part(&kernel));
            let name = (2..).map(|n| format!("{first} #{n}"));
            let mut name = std::iter::once(first.clone()).chain(name);
            let name = name.find(|name| self.kernels.iter().all(|known| known.name != *name)).unwrap_or(first);
            self.kernels.push(Named { name, kernel, spirv });
        }
        Ok(())
    }

    /// Forward by both layouts, and backward from dy by both strategies and with the activation of a layer below.
    fn layers(&mut self, dtype: Float, shapes: &[[usize; 3]]) -> Result<(), Failure> {
        for [m, k, n] in shapes.iter().copied() {
            for activation in ACTIVATIONS {
                let name = format!("{} {dtype} {m}x{k}x{n}", activation.name());
                let request = AffineRequest::new(m, n, k, activation).storage(Storage::all(dtype));
                let none = request.saved(Saved::None);
                self.forward(&format!("forward {name}"), &none)?;
                self.forward(&format!("forward in_out {name}"), &none.layout(WeightLayout::InOut))?;
                self.backward(&name, &request)?;
            }
        }
        Ok(())
    }

    fn forward(&mut self, name: &str, request: &AffineRequest) -> Result<(), Failure> {
        self.add(name, plan::forward(request, true, false, &self.caps, &Pin::default()))
    }

    fn backward(&mut self, name: &str, affine: &AffineRequest) -> Result<(), Failure> {
        let gradients = Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite);
        let request = BackwardRequest::new(*affine, gradients);
        for strategy in [Strategy::TwoPass, Strategy::Prologue] {
            let pin = Pin::default().strategy(strategy);
            self.add(&format!("{strategy} {name}"), plan::backward(&request, true, &self.caps, &pin))?;
        }
        let below = Below::new(affine.activation, affine.resolve()?.saved).db(Want::Overwrite);
        let request = request.upstream_is_dz(true).below(below);
        self.add(&format!("chain {name}"), plan::backward(&request, true, &self.caps, &Pin::default()))
    }

    /// What else an epilogue may do, on the large layer: keep z or a mask, add a residual, multiply rows, leave statistics, learn α.
    fn around_the_activation(&mut self) -> Result<(), Failure> {
        let [m, k, n] = LARGE;
        let layer = |activation| AffineRequest::new(m, n, k, activation);
        let prelu: Activation = "prelu".parse()?;
        let statistics = elbow::request::Statistics::default().channels(true);
        for (what, request) in [
            ("keeps z", layer(Activation::GELU_ERF).saved(Saved::Z)),
            ("keeps mask", layer(Activation::RELU).saved(Saved::Mask)),
            ("residual", layer(Activation::RELU).saved(Saved::None).residual(Some(ResidualAt::AfterActivation))),
            ("row weight", layer(Activation::RELU).saved(Saved::None).row_weight(true)),
            ("statistics", layer(Activation::RELU).saved(Saved::None).statistics(statistics)),
            ("alpha", layer(prelu).saved(Saved::Z).alpha(AlphaSource::PerChannel)),
        ] {
            self.forward(&format!("forward {} f32 {m}x{k}x{n} {what}", request.activation.name()), &request)?;
        }
        let request = layer(prelu).saved(Saved::Z).alpha(AlphaSource::PerChannel);
        let gradients = Gradients::default().x(Want::Overwrite).alpha(Want::Overwrite);
        let request = BackwardRequest::new(request, gradients);
        self.add(
            &format!("backward prelu f32 {m}x{k}x{n} alpha"),
            plan::backward(&request, true, &self.caps, &Pin::default()),
        )
    }

    /// A Laplacian through the large layer, forward and backward.
    fn jets(&mut self) -> Result<(), Failure> {
        let [m, k, n] = LARGE;
        let jet = Jet::laplacian(2)?;
        for activation in [Activation::TANH, Activation::GELU_ERF] {
            let request = AffineRequest::new(m, n, k, activation).saved(Saved::Z).jet(jet);
            let name = format!("{} f32 {m}x{k}x{n}", activation.name());
            self.forward(&format!("jet forward {name}"), &request)?;
            let gradients = Gradients::default().x(Want::Overwrite).b(Want::Overwrite);
            let from_dy = BackwardRequest::new(request, gradients);
            let below = Below::new(activation, Saved::Z).db(Want::Overwrite).jet(jet);
            for (what, request) in [("backward", from_dy), ("chain", from_dy.upstream_is_dz(true).below(below))] {
                self.add(&format!("jet {what} {name}"), plan::backward(&request, true, &self.caps, &Pin::default()))?;
            }
        }
        Ok(())
    }

    /// A gated layer of half as many units, so that the product is the large one: forward, and what comes before the products of backward.
    fn gates(&mut self) -> Result<(), Failure> {
        let [m, k, n] = LARGE;
        let limited = Gate::interleaved().limited(7.0)?;
        let gates =
            [(Activation::SILU, Gate::stacked()), (Activation::QUICK_GELU, limited), (Activation::SILU, Gate::apart())];
        for (activation, gate) in gates {
            let request = AffineRequest::new(m, n / 2, k, activation).saved(Saved::Z).gate(gate);
            let name = format!("{} {gate} f32 {m}x{k}x{n}", activation.name());
            self.forward(&format!("gated forward {name}"), &request)?;
            let request = BackwardRequest::new(request, Gradients::default().x(Want::Overwrite).b(Want::Overwrite));
            self.add(&format!("gated backward {name}"), plan::backward(&request, true, &self.caps, &Pin::default()))?;
        }
        Ok(())
    }

    /// What is in front of the large layer: computed at each load of forward, and behind the product of dx.
    fn fronts(&mut self) -> Result<(), Failure> {
        let [m, k, n] = LARGE;
        for norm in [None, Some(Norm::batch()), Some(Norm::layer())] {
            let front = Front::new(Activation::RELU).norm(norm).scale(true).shift(true);
            let request = AffineRequest::new(m, n, k, Activation::IDENTITY).front(front);
            let name = format!("{} relu f32 {m}x{k}x{n}", norm.map_or("no norm".into(), |norm| norm.to_string()));
            self.forward(&format!("front forward {name}"), &request)?;
            let want = Want::Overwrite;
            let gradients = Gradients::default().x(want).scale(want).shift(want);
            let request = BackwardRequest::new(request, gradients);
            self.add(&format!("front backward {name}"), plan::backward(&request, true, &self.caps, &Pin::default()))?;
        }
        Ok(())
    }

    /// All of a double backward of the large layer.
    fn double_backward(&mut self) -> Result<(), Failure> {
        let [m, k, n] = LARGE;
        let returning = Returning::default().x(true).w(true).b(true);
        let want = Want::Overwrite;
        let wants = SecondGradients::default().dy(want).x(want).w(want).b(want);
        for activation in [Activation::RELU, Activation::TANH, Activation::GELU_ERF] {
            let layer = AffineRequest::new(m, n, k, activation).saved(Saved::Z);
            let request = DoubleBackwardRequest::new(layer, returning, wants);
            let name = format!("double {} f32 {m}x{k}x{n}", activation.name());
            self.add(&name, plan::double_backward(&request, true, &self.caps, &Pin::default()))?;
        }
        Ok(())
    }

    /// Whole networks of every width, of as many rows as let a lane have eight and of fewer.
    fn networks(&mut self) -> Result<(), Failure> {
        for (width, rows) in [16, 32, 64, 128].into_iter().flat_map(|width| [1 << 20, 4096].map(|rows| (width, rows))) {
            for activation in [Activation::RELU, Activation::SILU, Activation::GELU_ERF] {
                let layers = Layers::new(&[width, width, width, width], activation)?;
                let request = NetworkForward { rows, layers, copy: false, storage: Storage::default() };
                let name = format!("network {} f32 {rows}x{width}", activation.name());
                self.add(&name, plan::network_forward(&request, true, &self.caps))?;
                if rows == 4096 {
                    let (dx, parameters) = (Want::Overwrite, Want::Overwrite);
                    let request = NetworkBackward { forward: request, dx, parameters };
                    let name = format!("network backward {} f32 {rows}x{width}", activation.name());
                    self.add(&name, plan::network_backward(&request, true, &self.caps))?;
                }
            }
        }
        let layers = Layers::new(&[2, 64, 64, 64, 1], Activation::TANH)?.jet(Jet::laplacian(2)?);
        let request = NetworkForward { rows: 1 << 20, layers, copy: false, storage: Storage::default() };
        self.add("network jet tanh f32 1048576x64, 2 to 1", plan::network_forward(&request, true, &self.caps))?;
        for rows in [1 << 20, 4096] {
            let layers = Layers::new(&[3, 64, 64, 64, 1], Activation::TANH)?.jet(Jet::laplacian(3)?);
            let request = NetworkForward { rows, layers, ..request };
            let name = format!("network jet tanh f32 {rows}x64, 3 to 1");
            self.add(&name, plan::network_forward(&request, true, &self.caps))?;
        }
        for (inputs, width) in [(2, 64), (3, 64), (2, 128), (3, 32)] {
            let layers = Layers::new(&[inputs, width, width, width, 1], Activation::TANH)?;
            let forward = NetworkForward { rows: 16_384, layers: layers.jet(Jet::laplacian(inputs)?), ..request };
            let request = NetworkBackward { forward, dx: Want::No, parameters: Want::Overwrite };
            let name = format!("network jet backward tanh f32 16384x{width}, {inputs} to 1");
            self.add(&name, plan::network_backward(&request, true, &self.caps))?;
        }
        let layers = Layers::new(&[3, 64, 64, 64, 1], Activation::RELU)?;
        let storage = Storage::all(Float::F16);
        let request = NetworkForward { rows: 1 << 20, layers, copy: true, storage };
        self.add("network relu f16 1048576x64, 3 to 1", plan::network_forward(&request, true, &self.caps))
    }

    /// Every activation alone, with its default parameters (0.5 where there is none), and more of GELU.
    fn elementwise(&mut self) -> Result<(), Failure> {
        const SIDE: usize = 1024;
        let forward = |activation| ElementwiseForward {
            rows: SIDE,
            channels: SIDE,
            inner: None,
            activation,
            alpha: AlphaSource::Constant,
            in_place: false,
            storage: Storage::default(),
        };
        let backward = |forward| ElementwiseBackward { forward, dx: Want::Overwrite, dalpha: Want::No };
        let caps = self.caps;
        for row in activation::rows() {
            let missing = row.parameters.iter().filter(|parameter| parameter.default.is_none()).count();
            let request = forward(Activation::new(row.kind, &vec![0.5; missing])?);
            // Of two that have a name in common the files have not.
            let name = row.file;
            self.add(&format!("elementwise {name} f32"), plan::elementwise_forward(&request, true, &caps))?;
            let request = backward(request);
            self.add(&format!("elementwise backward {name} f32"), plan::elementwise_backward(&request, true, &caps))?;
        }
        let gelu = forward(Activation::GELU_ERF);
        for dtype in [Float::F16, Float::Bf16] {
            let request = ElementwiseForward { storage: Storage::all(dtype), ..gelu };
            self.add(&format!("elementwise gelu_erf {dtype}"), plan::elementwise_forward(&request, true, &caps))?;
        }
        let prelu = ElementwiseForward { alpha: AlphaSource::PerChannel, ..forward("prelu".parse()?) };
        let request = ElementwiseBackward { dalpha: Want::Overwrite, ..backward(prelu) };
        self.add("elementwise backward prelu f32 alpha", plan::elementwise_backward(&request, true, &caps))?;
        let request =
            ElementwiseDouble { forward: gelu, ddy: Want::Overwrite, dx2: Want::Overwrite, dalpha2: Want::No };
        self.add("elementwise double gelu_erf f32", plan::elementwise_double(&request, true, &caps))?;
        // A SwiGLU whose gate and up are halves of one tensor.
        let halves = [Operand::Gate, Operand::Up, Operand::Dgate, Operand::Dup];
        let stride = Some(2 * SIDE as u32);
        let storage = halves.into_iter().fold(Storage::default(), |storage, of| storage.with_row_stride(of, stride));
        let swiglu = ElementwiseForward { storage, ..forward(Activation::SILU) };
        self.add("gated silu f32", plan::gated_forward(&swiglu, true, &caps))?;
        let want = Want::Overwrite;
        let request = GatedBackward { forward: swiglu, dgate: want, dup: want, dalpha: Want::No };
        self.add("gated backward silu f32", plan::gated_backward(&request, true, &caps))
    }

    /// Losses, updates, copies.
    fn others(&mut self) -> Result<(), Failure> {
        let caps = self.caps;
        for classes in [10, 1000, 32_000] {
            let storage = Storage::default();
            let request = SoftmaxRequest {
                rows: 4096,
                classes,
                ignore_index: Some(7),
                label_smoothing: 0.0,
                class_weight: false,
                reduction: Reduction::Mean,
                total: false,
                scaled: false,
                storage,
            };
            self.add(&format!("softmax f32 4096x{classes}"), plan::softmax_cross_entropy(&request, true, &caps))?;
        }
        for criterion in [Criterion::SquaredError, Criterion::Huber { delta: 1.0 }, Criterion::BinaryCrossEntropy] {
            let request = LossRequest {
                rows: 4096,
                columns: 64,
                criterion,
                reduction: Reduction::Mean,
                row_weight: false,
                positive_weight: false,
                total: false,
                scaled: false,
                storage: Storage::default(),
            };
            let name = format!("{criterion:?}");
            let name = name.split(' ').next().unwrap_or_default().to_lowercase();
            self.add(&format!("loss {name} f32 4096x64"), plan::elementwise_loss(&request, true, &caps))?;
        }
        let numbers =
            [Distribution::Uniform { low: 0.0, high: 1.0 }, Distribution::Normal { mean: 0.0, deviation: 1.0 }];
        for (what, distribution) in [("uniform", numbers[0]), ("normal", numbers[1])] {
            let (distribution, storage) = (Some(distribution), Storage::default());
            let request = RandomRequest { elements: 1 << 20, distribution, seed: 1, stream: 0, storage };
            self.add(&format!("random {what} f32"), plan::random(&request, true, &caps))?;
        }
        let request = SgdRequest {
            elements: 1 << 20,
            rate: 0.1,
            momentum: 0.9,
            scaled: true,
            copy: true,
            storage: Storage::default().with(Operand::Copy, Float::F16),
        };
        self.add("sgd f32 copy f16", plan::sgd(&request, true, &caps))?;
        for (what, rule) in [("sgd", Rule::Sgd), ("nesterov", Rule::Nesterov), ("adamw", Rule::AdamW)] {
            let storage = Storage::default().with(Operand::Copy, Float::F16);
            let request = UpdateRequest { elements: 1 << 20, rule, velocity: true, factors: true, copy: true, storage };
            self.add(&format!("update {what} f32 copy f16"), plan::update(&request, true, &caps))?;
        }
        let request = AdvanceRequest { clipped: Some(1 << 20), scaled: true };
        self.add("advance", plan::advance(&request, true, &caps))?;
        let request = LossScaleRequest { elements: 1 << 20, growth: 2.0, backoff: 0.5, interval: 3 };
        self.add("loss scale", plan::loss_scale(&request, &caps))?;
        let (shape, strides) = (Shape::new(&[1024, 1024]), [[1, 1024, 0, 0, 0, 0], [1024, 1, 0, 0, 0, 0]]);
        let request = CopyRequest { shape, strides, extents: [1 << 20; 2], storage: Some(Storage::default()) };
        self.add("transpose f32", plan::copy(&request, true, &caps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_of_a_gpu_has_one_name() {
        let all: Vec<_> =
            [Family::Rdna2, Family::Rdna3Units].into_iter().flat_map(|family| all(family).unwrap()).collect();
        let names: HashSet<_> = all.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "names are the rows of the table");
        // What takes a name apart: the table's columns, and words of a shell.
        assert!(names.iter().all(|name| !name.contains(['\t', '\n', '\'', '"'])), "{names:?}");
        // Those of software adapters are not for AMD's compiler, and that of the subnormals is a question, no work.
        let asked: HashSet<_> = all.iter().map(|named| named.kernel.file).collect();
        let absent: Vec<_> = KernelFile::ALL.iter().filter(|file| !asked.contains(file)).collect();
        assert_eq!(absent, [&KernelFile::ProductBroadcast, &KernelFile::Subnormals]);
        for form in ["NT y", "NN y", "NN dx", "TN dw"] {
            assert!(names.iter().any(|name| name.ends_with(&format!("product_staged {form}"))), "no staged {form}");
        }
    }
}
