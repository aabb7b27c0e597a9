//! Gradients of whole networks on matrix units: how the subgroups of a workgroup share the rows of a product, and a layer's dW.

use super::{MOST_SUMS, NetworkForward};
use crate::{
    kernel::KernelFile,
    plan::{
        Builder, Caps, DeviceClass,
        matrix::Half,
        network::{
            matrices::{LANES, NO_BLOCK, allowed},
            members, padded_columns,
        },
    },
};

/// The most bytes of workgroup memory: a GPU's processor has 64 KiB or more, for two workgroups at least, one of which runs while the other waits.
const MOST_BYTES: u32 = 40 << 10;

/// A block of rows of a workgroup. A subgroup has its rows of a product, some columns of them at a time, and a part of dW.
#[derive(Clone, Copy)]
pub(super) struct Matrices {
    columns: u32,
    lanes: u32,
    /// Rows and columns of a matrix.
    size: u32,
    span: u32,
    /// Matrices of a subgroup in one turn of a product, below and beside each other: four rows of four columns for every lane.
    drained: [u32; 2],
    /// Subgroups along the outputs of dW, and along its inputs.
    subgroups: [u32; 2],
    /// How what is computed becomes f16, and how weights do.
    halves: [Half; 2],
}

impl Matrices {
    /// The one for a network; else why its gradients stay on ordinary lanes, if matrix units are asked for.
    pub(super) fn of(request: &NetworkForward, caps: &Caps) -> Result<Self, Option<&'static str>> {
        // dz is computed.
        allowed(request, false, caps)?;
        let rows = request.rows as u64;
        let blocks = || LANES.into_iter().filter_map(|lanes| Self::with(request, lanes, caps));
        let fills = |block: &Self| rows.div_ceil(u64::from(block.rows())) >= u64::from(caps.choices.workgroups());
        blocks().find(fills).or_else(|| blocks().next_back()).ok_or(Some(NO_BLOCK))
    }

    fn with(request: &NetworkForward, lanes: u32, caps: &Caps) -> Option<Self> {
        let columns = padded_columns(&request.layers).ok()?;
        let (size, span) = (caps.matrix_size, caps.subgroup);
        if !matches!(size, 8 | 16) || !span.is_power_of_two() || span > lanes || lanes > caps.max_invocations {
            return None;
        }
        // As wide as columns and lanes allow: each row of y or dz is loaded once for each turn.
        let matrices = 16 * span / (size * size);
        let across = matrices.min(columns / size);
        let down = matrices.checked_div(across)?;
        let count = lanes / span;
        let along = 1 << count.ilog2().div_ceil(2);
        let subgroups = [along, count / along];
        let room = |along: &u32| size * along <= columns;
        let halves = [None, Some(request.weights())].map(|stored| Half::of(stored, caps.matrix_units));
        let matrices = Matrices { columns, lanes, size, span, drained: [down, across], subgroups, halves };
        // A CPU has its registers in memory, but 128 columns would be a text that it compiles for minutes.
        let most = if caps.class == DeviceClass::Software { 2 * MOST_SUMS } else { MOST_SUMS };
        let sums = columns * columns / lanes <= most;
        let fits = matrices.workgroup_bytes() <= caps.workgroup_bytes.min(MOST_BYTES);
        (across > 0 && subgroups.iter().all(room) && sums && fits).then_some(matrices)
    }

    pub(super) const fn rows(&self) -> u32 {
        self.lanes / self.span * self.drained[0] * self.size
    }

    pub(super) const fn lanes(&self) -> u32 {
        self.lanes
    }

    const fn width(&self) -> u32 {
        self.drained[1] * self.size
    }

    fn workgroup_bytes(&self) -> u32 {
        let [of_state, of_weights] = self.halves.map(|half| if half == Half::Split { 2 } else { 1 });
        // Behind each row or column is a gap of eight numbers.
        let operands = of_state * 2 * self.columns * (self.rows() + 8) + of_weights * self.width() * (self.columns + 8);
        2 * operands + 4 * (16 * self.lanes + self.rows() + 4 * self.columns)
    }

    /// The kernel, with the flags that this file knows of.
    pub(super) fn kernel(&self, request: &NetworkForward, aligned: bool, caps: &Caps) -> Builder {
        let Matrices { columns, lanes, size, span, drained: [down, across], subgroups, halves } = *self;
        let unrolled = if caps.class == DeviceClass::Software { 1 } else { across };
        let mut kernel = request.kernel(KernelFile::NetworkBackwardCoop, [columns, unrolled * size], aligned, caps);
        request.jets(&mut kernel);
        kernel.flag("HALVES", members(&request.layers) / 4);
        let [computed, of_weights] = halves;
        let split = halves.map(|half| half == Half::Split);
        // What is computed is scaled where it is dz, rounded or split.
        kernel.on("ROUND_A", computed.rounded()).on("ROUND_B", of_weights.rounded());
        kernel.on("SCALE_A", true).on("SCALE_B", of_weights.scaled()).on("SCALED", true);
        kernel.on("SPLIT_A", split[0]).on("SPLIT_B", split[1]).on("SPLIT", split[0]);
        kernel.flag("LANES", lanes).flag("SPAN", span).flag("UNROLLED", unrolled);
        kernel.flag("MATRIX", size).on("MATRIX16", size == 16);
        kernel.flag("DOWN", down).flag("ACROSS", across).flag("TURNS", columns / self.width());
        let [along_outputs, along_inputs] = subgroups.map(|along| columns / size / along);
        kernel.flag("DW_M", along_outputs).flag("DW_N", along_inputs).flag("SUBGROUPS_N", subgroups[1]);
        kernel
    }
}
