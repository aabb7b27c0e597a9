//! The kernels, one WGSL file each, and their variants as plain data (flags, slots, programs): the plan makes a variant, the shader
//! assembler its text.

mod bounds;

use std::{collections::BTreeMap, fmt};

pub use bounds::{GRID_X, MOST_TRIPS};

use crate::{
    activation::Kind,
    dtype::Float,
    program::{Over, Program},
};

/// A WGSL file of `shaders/kernel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KernelFile {
    /// A product whose register tile is filled directly from storage: for software adapters, and for few rows.
    ProductDirect,
    /// A product that stages tiles in workgroup memory: for GPUs.
    ProductStaged,
    /// A product whose lanes share the rows of A by subgroup broadcast: for software adapters with subgroups of 8.
    ProductBroadcast,
    /// A product of few rows whose lanes are along the reduction: for GPUs.
    ProductSlicedK,
    /// A product on the device's matrix units, f16 with sums in f32.
    ProductCoop,
    /// The second stage of a split product: adds the partial products in order.
    SplitSum,
    /// One pass over the elements of a matrix, with sums over its rows.
    Rows,
    /// A later stage of a column reduction.
    ColumnSum,
    /// One pass over the elements of a tensor.
    Flat,
    /// A copy between any strides and types.
    Copy,
    /// Every layer of a network, for a block of rows.
    Network,
    /// The same on the device's matrix units.
    NetworkCoop,
    /// Mean and variance of each row.
    RowMoments,
    /// Gradients of a network by blocks of rows, and the sums of each workgroup's.
    NetworkBackward,
    /// The same on the device's matrix units.
    NetworkBackwardCoop,
    /// Softmax cross-entropy: loss and gradient of each row.
    SoftmaxCrossEntropy,
    /// Counts the labels other than the one to be ignored, block by block.
    Total,
    /// Updates parameters by their gradient: SGD, AdamW.
    Update,
    /// Counts the steps of updates, and clips their gradient.
    Advance,
    /// Looks for infinite or NaN gradients, block by block.
    NonFinite,
    /// Updates the loss scale after a backward.
    LossScale,
    /// Fills a tensor with random numbers.
    Random,
    /// Computes with subnormal numbers, to see whether they are flushed.
    Subnormals,
}

impl KernelFile {
    /// Every kernel.
    pub const ALL: [KernelFile; 23] = [
        KernelFile::ProductDirect,
        KernelFile::ProductStaged,
        KernelFile::ProductBroadcast,
        KernelFile::ProductSlicedK,
        KernelFile::ProductCoop,
        KernelFile::SplitSum,
        KernelFile::Rows,
        KernelFile::ColumnSum,
        KernelFile::Flat,
        KernelFile::Copy,
        KernelFile::Network,
        KernelFile::NetworkCoop,
        KernelFile::RowMoments,
        KernelFile::NetworkBackward,
        KernelFile::NetworkBackwardCoop,
        KernelFile::SoftmaxCrossEntropy,
        KernelFile::Total,
        KernelFile::Update,
        KernelFile::Advance,
        KernelFile::NonFinite,
        KernelFile::LossScale,
        KernelFile::Random,
        KernelFile::Subnormals,
    ];

    /// Whether it uses the device's matrix units.
    pub const fn on_matrix_units(self) -> bool {
        matches!(self, KernelFile::ProductCoop | KernelFile::NetworkCoop | KernelFile::NetworkBackwardCoop)
    }

    /// The file's stem, and the kernel's name in labels and plans.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The file's text.
    pub(crate) const fn text(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (&'static str, &'static str) {
        macro_rules! row {
            ($name:literal) => {
                ($name, include_str!(concat!("../shaders/kernel/", $name, ".wgsl")))
            };
        }
        match self {
            KernelFile::ProductDirect => row!("product_direct"),
            KernelFile::ProductStaged => row!("product_staged"),
            KernelFile::ProductBroadcast => row!("product_broadcast"),
            KernelFile::ProductSlicedK => row!("product_sliced_k"),
            KernelFile::ProductCoop => row!("product_coop"),
            KernelFile::SplitSum => row!("split_sum"),
            KernelFile::Rows => row!("rows"),
            KernelFile::ColumnSum => row!("column_sum"),
            KernelFile::Flat => row!("flat"),
            KernelFile::Copy => row!("copy"),
            KernelFile::Network => row!("network"),
            KernelFile::NetworkCoop => row!("network_coop"),
            KernelFile::RowMoments => row!("row_moments"),
            KernelFile::NetworkBackward => row!("network_backward"),
            KernelFile::NetworkBackwardCoop => row!("network_backward_coop"),
            KernelFile::SoftmaxCrossEntropy => row!("softmax_cross_entropy"),
            KernelFile::Total => row!("total"),
            KernelFile::Update => row!("update"),
            KernelFile::Advance => row!("advance"),
            KernelFile::NonFinite => row!("non_finite"),
            KernelFile::LossScale => row!("loss_scale"),
            KernelFile::Random => row!("random"),
            KernelFile::Subnormals => row!("subnormals"),
        }
    }
}

/// What a slot is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Elem {
    /// Single elements of the slot's dtype.
    Scalar,
    /// Aligned groups of four elements of the slot's dtype.
    Four,
    /// u32 words: a mask, labels.
    Word,
    /// Single elements of two bytes as bits, for kernels that only move them.
    Half,
}

/// One storage binding of a kernel, and the name of its accessor functions: `NAME_at(i)`, `NAME_put(i, v)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its name in the WGSL.
    pub role: &'static str,
    /// Whether the kernel writes it.
    pub written: bool,
    /// What it is made of.
    pub elem: Elem,
    /// The type of its elements; ignored for words.
    pub dtype: Float,
    /// For in place: the output whose memory this input is; it is read through that output's binding.
    pub within: Option<&'static str>,
    /// Whether its rows are `Params::row_stride` apart; else they have no gaps.
    pub strided: bool,
}

impl Slot {
    /// Bytes of one element.
    pub const fn bytes(&self) -> u64 {
        match self.elem {
            Elem::Word => 4,
            Elem::Half => 2,
            Elem::Scalar | Elem::Four => self.dtype.bytes(),
        }
    }
}

/// Text constants and switches of one variant.
pub type Flags = BTreeMap<&'static str, u32>;

/// A kernel variant: everything its text depends on. Two equal values are one pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// The row.
    pub file: KernelFile,
    /// The activations that the programs call, by number.
    pub stages: Vec<Kind>,
    /// Loads an element of A, if the kernel is a product.
    pub a: Program,
    /// Loads an element of B, if the kernel is a product.
    pub b: Program,
    /// Finishes a sum of a product, or computes an element.
    pub finish: Program,
    /// Text constants and switches: how the kernel schedules.
    pub flags: Flags,
    /// Bindings 1, 2, ... (0 is the parameter block).
    pub slots: Vec<Slot>,
}

impl Kernel {
    /// Whether it uses the device's matrix units.
    pub const fn on_matrix_units(&self) -> bool {
        self.file.on_matrix_units()
    }

    /// Number of storage bindings: of the slots that are not read through another's binding.
    pub fn bindings(&self) -> u32 {
        self.slots.iter().filter(|slot| slot.within.is_none()).count() as u32
    }

    /// The value of a flag, 0 when absent.
    pub fn flag(&self, name: &str) -> u32 {
        self.flags.get(name).copied().unwrap_or(0)
    }

    /// What the WGSL file must know of the programs, as constants: the rows that `finish` sees at once (`MEMBERS`), the number of finished
    /// sums that it takes (`SUMS`), of sums over rows (`COLUMN_SUMS`, one for each column) and over columns (`ROW_SUMS`), and whether it
    /// writes bits.
    pub(crate) fn facts(&self) -> [(&'static str, u32); 5] {
        let Kernel { finish, .. } = self;
        [
            ("MEMBERS", finish.members()),
            // A partial product is stored without a program.
            ("SUMS", finish.finished_sums().max(self.flag("PARTIAL"))),
            ("COLUMN_SUMS", finish.sums(Over::Rows)),
            ("ROW_SUMS", finish.sums(Over::Columns)),
            ("BITS", finish.stores_bits().into()),
        ]
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file.name())?;
        for kind in &self.stages {
            write!(f, " {}", kind.row().name)?;
        }
        for access in self.finish.accesses().iter().filter(|access| access.written) {
            write!(f, " {}", access.operand)?;
        }
        for (name, value) in &self.flags {
            match value {
                0 => {}
                1 => write!(f, " {name}")?,
                value => write!(f, " {name}={value}")?,
            }
        }
        for slot in self.slots.iter().filter(|slot| slot.dtype != Float::F32) {
            write!(f, " {}:{}", slot.role, slot.dtype)?;
        }
        Ok(())
    }
}

/// The most slots of a kernel.
pub const MOST_SLOTS: usize = 12;

/// The parameter block of every kernel, binding 0: 240 bytes, the same layout as `struct Params` in
/// `shaders/shared/params.wgsl` (compared by reflection in a test).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of the output.
    pub rows: u32,
    /// Columns of the output.
    pub cols: u32,
    /// Length of the reduction.
    pub k: u32,
    /// Steps of the reduction, or rows, of one workgroup.
    pub chunk: u32,
    /// One more than the number of the last tile.
    pub tiles: u32,
    /// Tiles in one row of tiles.
    pub tiles_cols: u32,
    /// Tiles of one split.
    pub split_tiles: u32,
    /// Workgroups in x; y has as many rows of these as it takes.
    pub grid_x: u32,
    /// Number of channels, for kernels without columns.
    pub channels: u32,
    /// Number of the first tile: not 0 where a long dispatch was cut into pieces.
    pub first: u32,
    /// Layers of the dispatch, with `tiles - first` tiles each.
    pub batch: u32,
    /// 0, but no compiler knows that: kernels use it to keep drivers from simplifying arithmetic on NaN and rounding errors.
    pub zero: u32,
    /// Numbers for the programs: `[α, second]` of the first activation, then of the second; or the kernel's own.
    pub p: [f32; 4],
    /// For each slot the number that is added to an index to get the place in the binding, modulo 2³²: the offset of the operand in its
    /// binding, less the first index of a window.
    pub at: [u32; MOST_SLOTS],
    /// Elements of each slot from one layer to the next.
    pub batch_stride: [u32; MOST_SLOTS],
    /// Elements of each strided slot from one row to the next.
    pub row_stride: [u32; MOST_SLOTS],
    /// The label whose rows are left out.
    pub ignored: u32,
    /// Parts of the rows, of which each writes a partial sum.
    pub parts: u32,
    /// Number of partial products to add up.
    pub splits: u32,
    /// Steps of the reduction that lie in the first of two joined operands.
    pub half: u32,
    /// For random numbers: the key, the stream and one word more of the counter.
    pub seed: [u32; 4],
}
