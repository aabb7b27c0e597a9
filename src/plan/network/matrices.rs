//! Whole networks on matrix units: which of them may run there, and how the lanes of a workgroup share its rows.

use super::{NetworkForward, members, padded_columns};
use crate::{
    dtype::Float,
    kernel::KernelFile,
    operand::Operand,
    plan::{
        Builder, Caps, DeviceClass,
        matrix::{self, Half, MatrixUnits},
    },
};

/// The most invocations of a workgroup, and the fewest.
pub(super) const LANES: [u32; 3] = [128, 64, 32];
/// Inputs that are multiplied from one piece of the weights.
const BK: u32 = 32;
/// The most sums that a GPU's lane has in registers, as those of a product.
const MOST_SUMS: u32 = 128;
/// The most bytes of workgroup memory: more leave a GPU with one workgroup at a time, which waits at its barriers.
const MOST_BYTES: u32 = 32 << 10;
pub(super) const NO_BLOCK: &str =
    "no block of rows suits the device's subgroups, its workgroup memory, or a lane's registers";

/// An error with the reason, if there is one to give, where a network may not run on matrix units. `stored`: both factors of every product are f16 in memory.
pub(super) fn allowed(request: &NetworkForward, stored: bool, caps: &Caps) -> Result<(), Option<&'static str>> {
    match caps.matrix_units {
        MatrixUnits::Off => Err(None),
        _ if caps.matrix_size == 0 => Err(Some(matrix::ABSENT)),
        MatrixUnits::Stored if !stored => Err(Some(matrix::NOT_STORED)),
        _ if (request.rows.min(request.layers.columns()) as u64) < matrix::FEWEST => Err(Some(matrix::FEW)),
        _ => Ok(()),
    }
}

/// A block of rows of a workgroup whose subgroups have all columns of their rows.
#[derive(Clone, Copy)]
pub(super) struct Matrices {
    columns: u32,
    lanes: u32,
    /// Rows of a lane behind a product, of four columns: a jet, or four. There are as many of these blocks in a column of a subgroup's matrices as lanes.
    members: u32,
    /// Rows and columns of a matrix.
    size: u32,
    span: u32,
    /// How what goes into a layer becomes f16, and how weights do.
    halves: [Half; 2],
}

impl Matrices {
    /// The one for a network; else why it stays on ordinary lanes, if matrix units are asked for.
    pub(super) fn of(request: &NetworkForward, caps: &Caps) -> Result<Self, Option<&'static str>> {
        let NetworkForward { rows, layers, storage, .. } = *request;
        let weights = request.weights();
        // What goes between layers is computed.
        let stored = layers.count == 1 && [storage.of(Operand::X), weights] == [Float::F16; 2];
        allowed(request, stored, caps)?;
        let entering = stored.then_some(Float::F16);
        let halves = [entering, Some(weights)].map(|stored| Half::of(stored, caps.matrix_units));
        let block = |lanes: u32| {
            let columns = padded_columns(&layers).ok()?;
            let (size, span, members) = (caps.matrix_size, caps.subgroup, members(&layers));
            let matrices = Matrices { columns, lanes, members, size, span, halves };
            matrices.fits(caps).then_some(matrices)
        };
        let blocks = || LANES.into_iter().filter_map(block);
        let fills =
            |block: &Matrices| (rows as u64).div_ceil(u64::from(block.rows())) >= u64::from(caps.choices.workgroups());
        blocks().find(fills).or_else(|| blocks().next_back()).ok_or(Some(NO_BLOCK))
    }

    fn fits(&self, caps: &Caps) -> bool {
        let Matrices { columns, lanes, members, size, span, .. } = *self;
        matches!(size, 8 | 16)
            && span.is_power_of_two()
            && span <= lanes
            && lanes <= caps.max_invocations
            && 4 * members * span >= size * size
            && (4 * members * columns / size <= MOST_SUMS || caps.class == DeviceClass::Software)
            && self.workgroup_bytes() <= caps.workgroup_bytes.min(MOST_BYTES)
    }

    /// Matrices of a subgroup one below the other.
    const fn down(&self) -> u32 {
        4 * self.members * self.span / (self.size * self.size)
    }

    pub(super) const fn rows(&self) -> u32 {
        self.lanes / self.span * self.down() * self.size
    }

    /// Numbers of f16 for each of what goes into a layer, and for each weight.
    fn parts(&self) -> [u32; 2] {
        self.halves.map(|half| if half == Half::Split { 2 } else { 1 })
    }

    /// Half as many where operands are split, for then a piece holds two numbers for each weight.
    fn bk(&self) -> u32 {
        (BK / self.parts()[0]).min(self.columns)
    }

    fn workgroup_bytes(&self) -> u32 {
        let [of_state, of_weights] = self.parts();
        // Behind each row is a gap of eight numbers.
        let operands = of_state * self.rows() * (self.columns + 8) + of_weights * self.columns * (self.bk() + 8);
        let drained = 4 * self.members * self.lanes;
        let scales = if self.halves[0].scaled() { 2 * self.rows() + self.columns } else { 0 };
        2 * operands + 4 * (drained + scales)
    }

    /// The kernel, with the flags that this file knows of.
    pub(super) fn kernel(&self, request: &NetworkForward, aligned: bool, caps: &Caps) -> Builder {
        let Matrices { columns, lanes, members, size, span, .. } = *self;
        let bk = self.bk();
        let mut kernel = request.kernel(KernelFile::NetworkCoop, [columns, bk], aligned, caps);
        let [of_state, of_weights] = self.halves;
        let split = self.halves.map(|half| half == Half::Split);
        kernel.on("ROUND_A", of_state.rounded()).on("ROUND_B", of_weights.rounded());
        kernel.on("SCALE_A", of_state.scaled()).on("SCALE_B", of_weights.scaled()).on("SCALED", of_state.scaled());
        kernel.on("SPLIT_A", split[0]).on("SPLIT_B", split[1]).on("SPLIT", split[0]);
        kernel.flag("LANES", lanes).flag("SPAN", span).flag("ROWS", members).flag("EACH", columns * bk / 4 / lanes);
        kernel.flag("MATRIX", size).on("MATRIX16", size == 16);
        kernel.flag("MATRICES_M", self.down()).flag("MATRICES_N", columns / size);
        kernel.flag("UNROLLED", if caps.class == DeviceClass::Software { 1 } else { bk / size });
        kernel
    }
}
