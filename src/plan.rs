//! What will run: a request turned into a list of dispatches, as plain data. Every heuristic lives here. A plan can be
//! printed, compared and tested without a GPU.

mod affine;
mod batch;
mod builder;
mod choices;
mod copy;
mod elementwise;
mod pieces;
mod product;
mod programs;
mod reduce;
mod split;
mod subnormals;
mod tile;
mod training;

use std::fmt;

pub use batch::{backward, backward_batch, forward, forward_batch};
pub use choices::{Choices, Form, Size};
pub use copy::{CopyRequest, copy};
pub use elementwise::{
    ElementwiseBackward, ElementwiseDouble, ElementwiseForward, elementwise_backward, elementwise_double,
    elementwise_forward,
};
pub use pieces::{Along, Cut};
pub(crate) use reduce::longest_loop;
pub use subnormals::subnormals;
pub(crate) use subnormals::{ANSWERS, NUMBERS};
pub use tile::{Stage, TILES, Tile};
pub(crate) use training::LOSS_SCALE;
pub use training::{LossScaleRequest, SgdRequest, SoftmaxRequest, loss_scale, sgd, softmax_cross_entropy};

use builder::{Builder, Grid};

use crate::{
    dtype::Float,
    kernel::{Kernel, Params},
    operand::Operand,
    request::{Saved, Strategy},
    setters::setters,
    words::words,
};

/// What kind of device will run the plan: the heuristics differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceClass {
    /// A CPU that plays GPU (lavapipe, WARP, SwiftShader).
    Software,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU with memory of its own.
    Discrete,
}

/// What a plan may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// The kind of device.
    pub class: DeviceClass,
    /// Invocations in a workgroup.
    pub max_invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Lanes of a subgroup, where every subgroup has as many and the device has subgroup operations; else 0.
    pub subgroup: u32,
    /// Whether shaders know the type f16. Without it elbow packs and unpacks.
    pub f16: bool,
    /// Storage bindings of a kernel.
    pub max_bindings: u32,
    /// Bytes of an operand that one binding may hold, wherever in its buffer they start.
    pub max_binding: u64,
    /// Bytes of scratch that one operation may use.
    pub max_scratch: u64,
    /// Multiply-adds of one dispatch: what a slow device of this class does in about 100 ms. Operating systems reset a
    /// device that is busy with one dispatch for seconds, so longer ones are cut into pieces.
    pub max_work: u64,
    /// Which tile serves which product.
    pub choices: Choices,
}

setters!(const Caps {
    class: DeviceClass,
    max_invocations: u32,
    workgroup_bytes: u32,
    subgroup: u32,
    f16: bool,
    max_bindings: u32,
    max_binding: u64,
    max_scratch: u64,
    max_work: u64,
    choices: Choices,
});

impl Caps {
    /// WebGPU's default limits, on a device of this class.
    pub const fn defaults(class: DeviceClass) -> Self {
        Caps {
            class,
            max_invocations: 256,
            workgroup_bytes: 16384,
            subgroup: 0,
            f16: false,
            max_bindings: 8,
            max_binding: 128 << 20,
            max_scratch: 128 << 20,
            max_work: class.max_work(),
            choices: Choices::of(class),
        }
    }
}

words! {
    DeviceClass, "class of device": Software = "software", Integrated = "integrated", Discrete = "discrete";
}

impl DeviceClass {
    /// [`Caps::max_work`], unless a device is known better.
    pub const fn max_work(self) -> u64 {
        match self {
            DeviceClass::Software => 120_000_000,
            DeviceClass::Integrated => 5_000_000_000,
            DeviceClass::Discrete => 50_000_000_000,
        }
    }
}

/// Choices taken away from the heuristics: what is `None` or `Auto` is still chosen. A plan that is pinned completely
/// gives the same bits on the same device, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pin {
    /// The strategy of backward.
    pub strategy: Strategy,
    /// The tile of every product, by its place in [`TILES`].
    pub tile: Option<usize>,
    /// Splits of every product's reduction: more, where the loops of one invocation would become too long.
    pub splits: Option<u32>,
}

setters!(Pin {
    strategy: Strategy,
    tile: impl Into<Option<usize>>,
    splits: impl Into<Option<u32>>,
});

/// One operand of a dispatch: which one, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The operand.
    pub operand: Operand,
    /// The element of the operand that is index 0 in the kernel.
    pub origin: u64,
    /// First index that the dispatch touches: the binding starts there.
    pub first: u64,
    /// Elements from there on.
    pub len: u64,
    /// How the indices run along the tiles.
    pub along: Along,
}

impl Use {
    fn whole(operand: Operand, len: u64) -> Self {
        Use { operand, origin: 0, first: 0, len, along: Along::All }
    }
}

/// One kernel launch as data.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The kernel variant.
    pub kernel: Kernel,
    /// Its parameter block (`grid_x` and `at` are filled in when it is recorded).
    pub params: Params,
    /// Its operands, in the order of the kernel's slots.
    pub uses: Vec<Use>,
    /// What one of its tiles covers.
    pub cut: Cut,
}

impl Dispatch {
    /// The most loop iterations that one of its invocations may run, all its loops added up: never more than
    /// [`kernel::MOST_TRIPS`](crate::kernel::MOST_TRIPS).
    pub fn trips(&self) -> u64 {
        self.kernel.trips(&self.params)
    }

    /// The largest number that an index in it takes: below 2³².
    pub fn reach(&self) -> u64 {
        self.kernel.reach(&self.params)
    }
}

/// A list of dispatches, and the scratch they share.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// In order; each sees what those before it wrote.
    pub dispatches: Vec<Dispatch>,
    /// The strategy that was chosen (backward).
    pub strategy: Strategy,
    /// What forward saves (forward) or backward reads.
    pub saved: Saved,
}

impl Plan {
    /// Elements of a scratch operand (z, dz, partials) that the plan needs.
    pub fn scratch(&self, operand: Operand) -> u64 {
        let uses = self.dispatches.iter().flat_map(|d| &d.uses);
        uses.filter(|u| u.operand == operand).map(|u| u.origin + u.first + u.len).max().unwrap_or(0)
    }

    /// Bytes of scratch, all together.
    pub fn scratch_bytes(&self) -> u64 {
        SCRATCH.iter().map(|&operand| self.scratch(operand) * 4).sum()
    }
}

/// The operands that live in elbow's own memory.
pub const SCRATCH: [Operand; 3] = [Operand::Z, Operand::Dz, Operand::Partials];

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
            f.write_str(" )\n")?;
        }
        write!(f, "scratch: {} bytes", self.scratch_bytes())
    }
}
