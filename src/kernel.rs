//! The kernels: one row each, and a variant of a row as plain data (flags and slots) that the plan fills in and the shader
//! assembler turns into text.

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
    /// A product with its register tile filled straight from storage: software adapters, few rows.
    ProductDirect,
    /// A product that stages tiles in workgroup memory: real GPUs.
    ProductStaged,
    /// A product whose lanes share the rows of A by subgroup broadcast: software adapters with subgroups of 8.
    ProductBroadcast,
    /// A product of few rows whose lanes lie along the reduction: real GPUs.
    ProductSlicedK,
    /// Second stage of split-K: adds up the partial products in order.
    SplitSum,
    /// One pass over the elements of a matrix, with sums over its rows.
    Rows,
    /// A later stage of a column reduction.
    ColumnSum,
    /// One pass over the elements of a tensor.
    Flat,
    /// Elements from one place to another.
    Copy,
    /// Softmax cross-entropy: loss and gradient of each row.
    SoftmaxCrossEntropy,
    /// How many labels are not the one to be ignored, block by block.
    CountLabels,
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Whether a gradient is infinite or NaN, block by block.
    NonFinite,
    /// The loss scale after a backward.
    LossScale,
    /// What arithmetic makes of subnormal numbers.
    Subnormals,
}

impl KernelFile {
    /// Every row.
    pub const ALL: [KernelFile; 15] = [
        KernelFile::ProductDirect,
        KernelFile::ProductStaged,
        KernelFile::ProductBroadcast,
        KernelFile::ProductSlicedK,
        KernelFile::SplitSum,
        KernelFile::Rows,
        KernelFile::ColumnSum,
        KernelFile::Flat,
        KernelFile::Copy,
        KernelFile::SoftmaxCrossEntropy,
        KernelFile::CountLabels,
        KernelFile::Sgd,
        KernelFile::NonFinite,
        KernelFile::LossScale,
        KernelFile::Subnormals,
    ];

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
            KernelFile::SplitSum => row!("split_sum"),
            KernelFile::Rows => row!("rows"),
            KernelFile::ColumnSum => row!("column_sum"),
            KernelFile::Flat => row!("flat"),
            KernelFile::Copy => row!("copy"),
            KernelFile::SoftmaxCrossEntropy => row!("softmax_cross_entropy"),
            KernelFile::CountLabels => row!("count_labels"),
            KernelFile::Sgd => row!("sgd"),
            KernelFile::NonFinite => row!("non_finite"),
            KernelFile::LossScale => row!("loss_scale"),
            KernelFile::Subnormals => row!("subnormals"),
        }
    }
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Elem {
    /// Elements of the slot's dtype, one by one.
    Scalar,
    /// The same in aligned groups of four.
    Four,
    /// u32 words: a mask, labels.
    Word,
    /// The bits of elements of two bytes, one by one: what moves them and does not look at them.
    Half,
}

/// One storage binding of a kernel, and the name of its accessor functions: `NAME_at(i)`, `NAME_put(i, v)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its role, as the WGSL knows it.
    pub role: &'static str,
    /// Whether the kernel writes it.
    pub written: bool,
    /// What it holds.
    pub elem: Elem,
    /// In which type its elements are stored; of no account for words.
    pub dtype: Float,
    /// In place: this input is the same memory as that output and is read through its binding.
    pub within: Option<&'static str>,
    /// Its rows lie `Params::row_stride` apart; else one directly after the other.
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
    /// The activations inside, by the number that the programs give them.
    pub stages: Vec<Kind>,
    /// An element of A, where the kernel is a product.
    pub a: Program,
    /// An element of B.
    pub b: Program,
    /// What becomes of a finished sum, or of an element.
    pub finish: Program,
    /// Text constants and switches: how the kernel schedules.
    pub flags: Flags,
    /// Bindings 1, 2, ... (0 is the parameter block).
    pub slots: Vec<Slot>,
}

impl Kernel {
    /// Storage bindings: slots, less those that are read through an output's.
    pub fn bindings(&self) -> u32 {
        self.slots.iter().filter(|slot| slot.within.is_none()).count() as u32
    }

    /// The value of a flag, 0 when absent.
    pub fn flag(&self, name: &str) -> u32 {
        self.flags.get(name).copied().unwrap_or(0)
    }

    /// What its file must know of the programs, as constants: finished sums that it gives, sums over rows and over columns that it
    /// takes (`COLUMN_SUMS`: one for each column; `ROW_SUMS`), whether bits are written.
    pub(crate) fn facts(&self) -> [(&'static str, u32); 4] {
        let Kernel { finish, .. } = self;
        [
            ("SUMS", finish.finished_sums()),
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

/// Slots of a kernel.
pub const MOST_SLOTS: usize = 12;

/// The parameter block of every kernel, binding 0: 224 bytes, the same layout as `struct Params` in
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
    /// What one workgroup takes of the reduction.
    pub chunk: u32,
    /// The number behind that of the last tile.
    pub tiles: u32,
    /// Tiles in one row of tiles.
    pub tiles_cols: u32,
    /// Tiles of one split.
    pub split_tiles: u32,
    /// Workgroups in x; the rest is folded into y.
    pub grid_x: u32,
    /// Channels: the length of the last dimension, where the kernel knows no columns.
    pub channels: u32,
    /// Number of the first tile: not 0 where a long dispatch was cut into pieces.
    pub first: u32,
    /// How many layers the dispatch is for: each has `tiles - first` tiles.
    pub batch: u32,
    /// 0, which no compiler knows.
    pub zero: u32,
    /// Numbers that programs take: `[α, second]` of the first activation, then of the next; or the kernel's own.
    pub p: [f32; 4],
    /// What is added to an index of each slot to find its place in the binding: hosts may bind at any offset. Modulo 2³²:
    /// where the binding is a window that starts behind element 0, this is that window's start taken away.
    pub at: [u32; MOST_SLOTS],
    /// Elements of each slot from one layer to the next.
    pub batch_stride: [u32; MOST_SLOTS],
    /// Elements of each strided slot from one row to the next.
    pub row_stride: [u32; MOST_SLOTS],
    /// The label whose rows are left out.
    pub ignored: u32,
    /// Parts of the rows: each leaves a partial sum.
    pub parts: u32,
    /// Partial products that are added up.
    pub splits: u32,
    /// To the next multiple of 16 bytes.
    pub padding: u32,
}
