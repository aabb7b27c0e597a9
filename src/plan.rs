//! Plans: a request turned into a list of dispatches, as plain data. Every heuristic is here. A plan can be printed, compared and tested
//! without a GPU.

mod affine;
mod batch;
mod builder;
mod choices;
mod copy;
mod double;
mod elementwise;
mod front;
mod gated;
mod joined;
mod loss;
mod matrix;
mod network;
mod pieces;
mod product;
mod programs;
mod random;
mod reduce;
mod scales;
mod split;
mod subnormals;
mod tile;
mod training;
mod update;

use std::fmt;

pub use batch::{backward, backward_batch, double_backward, double_backward_batch, forward, forward_batch};
pub use choices::{Choices, Form, Size};
pub use copy::{CopyRequest, copy};
pub use elementwise::{
    ElementwiseBackward, ElementwiseDouble, ElementwiseForward, GatedBackward, elementwise_backward,
    elementwise_double, elementwise_dropout, elementwise_forward, elementwise_quantity, gated_backward, gated_forward,
};
pub use loss::{LossRequest, elementwise_loss};
pub use matrix::MatrixUnits;
pub use network::{
    NetworkBackward, NetworkForward, layer_by_layer_because, network_backward, network_forward, step_by_step_because,
};
pub use pieces::{Along, Cut};
pub use random::{RandomRequest, random};
pub(crate) use reduce::longest_loop;
pub use subnormals::subnormals;
pub(crate) use subnormals::{ANSWERS, NUMBERS};
pub use tile::{Stage, TILES, Tile};
pub(crate) use training::LOSS_SCALE;
pub use training::{LossScaleRequest, SoftmaxRequest, loss_scale, softmax_cross_entropy};
pub(crate) use update::RUN;
pub use update::{AdvanceRequest, SgdRequest, UpdateRequest, advance, sgd, update};

use builder::{Builder, Grid};

use crate::{
    dtype::Float,
    kernel::{Kernel, Params},
    operand::Operand,
    request::{Saved, Strategy},
    setters::setters,
    words::words,
};

/// The kind of device that will run a plan; the heuristics depend on it.
///
/// ```
/// use elbow::DeviceClass;
/// assert_eq!("discrete".parse(), Ok(DeviceClass::Discrete));
/// assert!(DeviceClass::Software.max_work() < DeviceClass::Discrete.max_work());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceClass {
    /// A CPU in the place of a GPU (lavapipe, WARP, SwiftShader).
    Software,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU with memory of its own.
    Discrete,
}

/// The limits and choices that a plan keeps to: those of a device ([`Gpu::caps`](crate::Gpu::caps)), or assumed ones, to plan without one.
///
/// ```
/// use elbow::{Caps, DeviceClass, MatrixUnits};
/// let caps = Caps::defaults(DeviceClass::Discrete);
/// assert_eq!((caps.max_bindings, caps.matrix_rounding()), (8, 0.0));
/// assert_eq!(caps.matrix_size(16).matrix_units(MatrixUnits::Rounded).matrix_rounding(), 1.0 / 2048.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// The kind of device.
    pub class: DeviceClass,
    /// The most invocations of a workgroup.
    pub max_invocations: u32,
    /// The most bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Lanes of a subgroup, if all subgroups have the same number and the device has subgroup operations; else 0.
    pub subgroup: u32,
    /// Whether the device has subgroup operations, whatever the number of lanes, which may change from kernel to kernel.
    pub subgroups: bool,
    /// Whether shaders have the type f16. Without it elbow packs f16 into words itself.
    pub f16: bool,
    /// Rows and columns of the matrices of the device's matrix units, f16 with sums in f32: 8 or 16, or 0 if it has none that can be used.
    pub matrix_size: u32,
    /// Which products may run on them.
    pub matrix_units: MatrixUnits,
    /// The most storage bindings of a kernel.
    pub max_bindings: u32,
    /// The most bytes of an operand in one binding, at any offset in its buffer.
    pub max_binding: u64,
    /// The most bytes of each scratch buffer of a call.
    pub max_scratch: u64,
    /// The most multiply-adds of one dispatch: what a slow device of this class does in about 100 ms. Longer dispatches are cut into
    /// pieces, because operating systems reset a device that is busy with one dispatch for seconds.
    pub max_work: u64,
    /// The tile for each size and form of product.
    pub choices: Choices,
}

setters!(const Caps {
    class: DeviceClass,
    max_invocations: u32,
    workgroup_bytes: u32,
    subgroup: u32,
    subgroups: bool,
    f16: bool,
    matrix_size: u32,
    matrix_units: MatrixUnits,
    max_bindings: u32,
    max_binding: u64,
    max_scratch: u64,
    max_work: u64,
    choices: Choices,
});

impl Caps {
    /// WebGPU's default limits on a device of this class, without optional features.
    pub const fn defaults(class: DeviceClass) -> Self {
        Caps {
            class,
            max_invocations: 256,
            workgroup_bytes: 16384,
            subgroup: 0,
            subgroups: false,
            f16: false,
            matrix_size: 0,
            matrix_units: MatrixUnits::Off,
            max_bindings: 8,
            max_binding: 128 << 20,
            max_scratch: 128 << 20,
            max_work: class.max_work(),
            choices: Choices::of(class),
        }
    }
}

impl Caps {
    /// Whether neighbouring lanes add up in registers. On a software adapter a subgroup's lanes are one thread's, and workgroup memory is as near.
    pub(crate) fn shuffles(&self) -> bool {
        self.subgroups && self.class != DeviceClass::Software
    }

    /// The largest relative error of a factor of a product on its way to matrix units: 0, 2⁻¹¹ where it is rounded to f16, or 2⁻²² where it is split
    /// into two numbers of f16 (the half of what the product of two loses).
    pub fn matrix_rounding(&self) -> f64 {
        match self.matrix_units {
            MatrixUnits::Rounded if self.matrix_size > 0 => f64::powi(2.0, -11),
            MatrixUnits::Split if self.matrix_size > 0 => f64::powi(2.0, -22),
            _ => 0.0,
        }
    }
}

words! {
    DeviceClass, "class of device": Software = "software", Integrated = "integrated", Discrete = "discrete";
}

impl DeviceClass {
    /// [`Caps::max_work`] for this class of device.
    pub const fn max_work(self) -> u64 {
        match self {
            DeviceClass::Software => 120_000_000,
            DeviceClass::Integrated => 5_000_000_000,
            DeviceClass::Discrete => 50_000_000_000,
        }
    }
}

/// Choices that a plan must follow instead of its heuristics; what is `None` or `Auto` is still chosen. A plan that is pinned completely
/// always gives the same bits on the same device.
///
/// ```no_run
/// use elbow::{Activation, Gpu, Pin, Strategy, affine::Forward};
/// let gpu = Gpu::new()?;
/// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
/// let pin = Pin::default().strategy(Strategy::TwoPass).tile(0).splits(1);
/// gpu.submit(|encoder| Forward::new(Activation::RELU, &x, &w, &y).pin(pin).record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pin {
    /// How backward brings dz to its products.
    pub strategy: Strategy,
    /// The tile of every product, by its place in [`TILES`]; a product that it cannot serve gets another.
    pub tile: Option<usize>,
    /// The splits of every product's reduction, at least 1; more if the loops of one invocation would become too long.
    pub splits: Option<u32>,
}

setters!(Pin {
    strategy: Strategy,
    tile: impl Into<Option<usize>>,
    splits: impl Into<Option<u32>>,
});

/// The part of an operand that a dispatch uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The operand.
    pub operand: Operand,
    /// The element of the operand to which the kernel's index 0 belongs.
    pub origin: u64,
    /// The first index that the dispatch reads or writes: the binding starts there.
    pub first: u64,
    /// Number of elements from `first` on.
    pub len: u64,
    /// How the indices run along the tiles.
    pub along: Along,
}

impl Use {
    fn whole(operand: Operand, len: u64) -> Self {
        Use { operand, origin: 0, first: 0, len, along: Along::All }
    }
}

/// One dispatch as data: a kernel, its parameters and its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The kernel variant.
    pub kernel: Kernel,
    /// Its parameter block (`grid_x` and `at` are filled in when it is recorded).
    pub params: Params,
    /// Its operands, in the order of the kernel's slots.
    pub uses: Vec<Use>,
    /// The part of the output that one tile covers.
    pub cut: Cut,
    /// Why a product is not on matrix units, if [`Caps::matrix_units`] asks for them.
    pub plain_because: Option<&'static str>,
}

impl Dispatch {
    /// The most loop iterations that one invocation may run, summed over its loops: never more than
    /// [`kernel::MOST_TRIPS`](crate::kernel::MOST_TRIPS).
    pub fn trips(&self) -> u64 {
        self.kernel.trips(&self.params)
    }

    /// The largest value of an index in the kernel: below 2³².
    pub fn reach(&self) -> u64 {
        self.kernel.reach(&self.params)
    }
}

/// A list of dispatches that use common scratch memory: what a call does on a device. It prints as text.
///
/// ```no_run
/// use elbow::{Activation, Gpu, Operand, affine::Forward};
/// let gpu = Gpu::new()?;
/// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
/// let plan = Forward::new(Activation::RELU, &x, &w, &y).plan(&gpu)?;
/// println!("{} dispatches that move at least {} bytes\n{plan}", plan.dispatches.len(), plan.bytes());
/// assert!(plan.scratch(Operand::Partials) * 4 <= plan.scratch_bytes());
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The dispatches in order; each reads what earlier ones wrote.
    pub dispatches: Vec<Dispatch>,
    /// The strategy that was chosen, for backward; `Auto` for other calls.
    pub strategy: Strategy,
    /// What forward keeps, or backward reads.
    pub saved: Saved,
}

impl Plan {
    /// Elements that the plan needs of an operand in scratch memory ([`SCRATCH`]).
    pub fn scratch(&self, operand: Operand) -> u64 {
        let uses = self.dispatches.iter().flat_map(|d| &d.uses);
        uses.filter(|u| u.operand == operand).map(|u| u.origin + u.first + u.len).max().unwrap_or(0)
    }

    /// Bytes of the operands of every dispatch, each once: the least that moves between memory and the device.
    pub fn bytes(&self) -> u64 {
        let of = |dispatch: &Dispatch| -> u64 {
            let parts: Vec<(Operand, u64)> = dispatch
                .kernel
                .slots
                .iter()
                .zip(&dispatch.uses)
                .map(|(slot, part)| (part.operand, part.len * slot.bytes()))
                .collect();
            // An operand that a kernel binds twice moves once.
            let first = |i: usize| parts[..i].iter().all(|other| other.0 != parts[i].0);
            (0..parts.len()).filter(|&i| first(i)).map(|i| parts[i].1).sum()
        };
        self.dispatches.iter().map(of).sum()
    }

    /// Bytes of all scratch memory.
    pub fn scratch_bytes(&self) -> u64 {
        SCRATCH.iter().map(|&operand| self.scratch(operand) * 4).sum()
    }
}

/// The operands in scratch memory, which elbow owns.
pub const SCRATCH: [Operand; 10] = [
    Operand::Z,
    Operand::Dz,
    Operand::DzUp,
    Operand::Dz2,
    Operand::Half,
    Operand::Fronted,
    Operand::Dfronted,
    Operand::DfrontedMeans,
    Operand::Partials,
    Operand::Scales,
];

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.dispatches.iter().enumerate() {
            let tiles = d.params.tiles - d.params.first;
            write!(f, "{i}: {tiles} × {}: rows {} cols {}", d.kernel, d.params.rows, d.params.cols)?;
            if d.params.batch > 1 {
                write!(f, ", of each of {} layers", d.params.batch)?;
            }
            if d.params.first > 0 {
                write!(f, ", from tile {} on", d.params.first)?;
            }
            if d.params.k > 0 {
                write!(f, " k {} in chunks of {}", d.params.k, d.params.chunk)?;
            }
            write!(f, ", loops of at most {}", d.trips())?;
            f.write_str(" (")?;
            for (slot, u) in d.kernel.slots.iter().zip(&d.uses) {
                write!(f, " {}={}", slot.role, u.operand)?;
                if slot.dtype != Float::F32 {
                    write!(f, ":{}", slot.dtype)?;
                }
            }
            f.write_str(" )")?;
            if let Some(why) = d.plain_because {
                write!(f, ", not on matrix units: {why}")?;
            }
            f.write_str("\n")?;
        }
        write!(f, "scratch: {} bytes", self.scratch_bytes())
    }
}
