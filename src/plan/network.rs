//! A whole network in one dispatch: every layer of a block of rows in one workgroup, what goes between them in its memory.

mod backward;
mod matrices;

pub use backward::{NetworkBackward, network_backward, step_by_step_because};

use matrices::Matrices;

use super::{
    Along, Builder, Caps, DeviceClass, Dispatch, Plan,
    builder::workgroups,
    pieces::{self, ELEMENT},
};
use crate::{
    dtype::Float,
    error::{Error, Result},
    kernel::{Elem, KernelFile, MOST_SLOTS},
    operand::Operand,
    request::{AlphaSource, Layers},
    shape,
    storage::Storage,
};

/// y of a network in one dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkForward {
    /// M, rows of x and y.
    pub rows: usize,
    /// The layers.
    pub layers: Layers,
    /// Whether weights are read from a copy of the parameters, of the copy's type, and only b and α from the parameters.
    pub copy: bool,
    /// Types and strides.
    pub storage: Storage,
}

/// The most inputs that are multiplied from one piece of the weights, and the fewest columns.
const BK: u32 = 16;
/// The most invocations of a workgroup. A lane has four columns, and four rows or eight.
const LANES: u32 = 128;
/// Coefficients of a jet's operator, as the kernel calls them: of two tangents, the second behind the first.
const COEFFICIENTS: [&str; 21] = [
    "C00", "C01", "C02", "C03", "C04", "C05", "C11", "C12", "C13", "C14", "C15", "C22", "C23", "C24", "C25", "C33",
    "C34", "C35", "C44", "C45", "C55",
];

/// Lanes, rows of a lane, and columns of a workgroup, if it has enough memory for them.
#[derive(Clone, Copy)]
struct Block {
    columns: u32,
    lanes: u32,
    lane_rows: u32,
}

impl Block {
    const fn rows(&self) -> u32 {
        self.lanes / (self.columns / 4) * self.lane_rows
    }

    /// Each lane fetches four inputs of four columns at most.
    fn bk(&self) -> u32 {
        BK.min(16 * self.lanes / self.columns)
    }

    fn workgroup_bytes(&self) -> u32 {
        4 * self.columns * (self.rows() + self.bk())
    }

    /// The kernel, with the flags that a block has.
    fn kernel(&self, request: &NetworkForward, aligned: bool, caps: &Caps) -> Builder {
        let Block { columns, lanes, lane_rows } = *self;
        let members = members(&request.layers);
        let mut kernel = request.kernel(KernelFile::Network, [columns, self.bk()], aligned, caps);
        kernel.flag("LANES", lanes).flag("LANE_ROWS", lane_rows).flag("LANE_ROWS4", lane_rows / 4);
        kernel.flag("TURNS", lane_rows / members).flag("ROWS_BEHIND", lane_rows - members);
        kernel
    }

    /// The one for so many rows: eight a lane read half as much of the weights for each row, four make twice as many workgroups; so do half the lanes
    /// where the eight rows of a jet stay in one.
    fn of(layers: &Layers, rows: u64, caps: &Caps) -> Result<Self> {
        let columns = padded_columns(layers)?;
        let smaller = if members(layers) == 8 { [LANES / 2, 8] } else { [LANES, 4] };
        let [larger, smaller] = [[LANES, 8], smaller].map(|[lanes, lane_rows]| Block { columns, lanes, lane_rows });
        let fills = rows.div_ceil(u64::from(larger.rows())) >= u64::from(caps.choices.workgroups());
        let fits = larger.workgroup_bytes() <= caps.workgroup_bytes;
        let block = if caps.class != DeviceClass::Software && fills && fits { larger } else { smaller };
        expect_room(block.workgroup_bytes(), block.lanes, caps)?;
        Ok(block)
    }
}

/// Rows that a lane finishes together: a jet, or four.
fn members(layers: &Layers) -> u32 {
    layers.jet.map_or(4, |jet| jet.members() as u32)
}

/// Columns of `state` for the widest layer; an error if there are too many.
fn padded_columns(layers: &Layers) -> Result<u32> {
    match layers.columns() {
        columns if columns <= Layers::MOST_COLUMNS => Ok((columns as u32).next_power_of_two().max(BK)),
        columns => Err(Error::LimitExceeded {
            what: "columns of a layer of a network in one dispatch".into(),
            asked: columns as u64,
            limit: Layers::MOST_COLUMNS as u64,
        }),
    }
}

/// An error if the device's workgroups are too small.
fn expect_room(workgroup_bytes: u32, lanes: u32, caps: &Caps) -> Result<()> {
    for (what, asked, limit) in [
        ("bytes of workgroup memory for a network", workgroup_bytes, caps.workgroup_bytes),
        ("invocations of a workgroup for a network", lanes, caps.max_invocations),
    ] {
        if asked > limit {
            return Err(Error::LimitExceeded { what: what.into(), asked: asked.into(), limit: limit.into() });
        }
    }
    Ok(())
}

/// Why a network of so many rows is better computed layer by layer on this device; None if one dispatch is likely to be faster.
pub fn layer_by_layer_because(layers: &Layers, rows: usize, caps: &Caps) -> Option<&'static str> {
    if caps.class == DeviceClass::Software {
        return Some("a CPU has the layers in its cache");
    }
    let rows = rows as u64;
    let Ok(block) = Block::of(layers, rows, caps) else {
        return Some("a layer has too many columns, or the device too little workgroup memory");
    };
    // Each workgroup reads all weights, and on matrix units spills sums of 128 columns (docs/isa_matrix_units.tsv). Wide layers of many rows do more with each weight where a workgroup has 128 rows of one.
    let waves = rows.div_ceil(u64::from(block.rows())) / u64::from(caps.choices.workgroups()).max(1);
    (block.columns > WIDE && waves > 1).then_some("wide layers of many rows are limited by arithmetic, not by memory")
}

/// Layers of more columns are wide: at 64 a layer's y of 256 bytes a row is written and read for 4,096 multiply-adds, which a GPU that computes
/// 10 to 20 times as many as it moves bytes does in about the same time.
const WIDE: u32 = 64;

/// The plan of y of a network. `aligned` says that every operand starts at a multiple of 16 bytes.
pub fn network_forward(request: &NetworkForward, aligned: bool, caps: &Caps) -> Result<Plan> {
    let request = request.checked()?;
    let NetworkForward { rows, layers, .. } = request;
    let [k, n] = [layers.inputs, layers.outputs];
    shape::elements(Operand::X, &[rows, k])?;
    shape::elements(Operand::Y, &[rows, n])?;
    shape::elements(Operand::Parameter, &[layers.elements()])?;
    let mut plan = Plan::default();
    let matrices = Matrices::of(&request, caps);
    let plain_because = matrices.err().flatten();
    let (mut kernel, block_rows) = match matrices {
        Ok(block) => (block.kernel(&request, aligned, caps), block.rows()),
        Err(_) => {
            let block = Block::of(&layers, rows as u64, caps)?;
            if rows == 0 {
                return Ok(plan);
            }
            (block.kernel(&request, aligned, caps), block.rows())
        }
    };
    request.jets(&mut kernel);
    request.matrix(&mut kernel, Operand::Y, n, aligned);
    kernel.cut.rows = u64::from(block_rows);
    kernel.cut.cols = n as u64;
    let columns = kernel.kernel.flag("COLUMNS");
    kernel.cut.work = kernel.cut.rows.saturating_mul(layers.work().saturating_add(request.activations(columns)));
    kernel.params.chunk = kernel.params.k;
    kernel.params.tiles = workgroups((rows as u64).div_ceil(kernel.cut.rows))?;
    plan.dispatches.push(Dispatch { plain_because, ..kernel.build() });
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

impl NetworkForward {
    /// The request, if there is such a network. The last layer has no α, and so has a network without another.
    fn checked(&self) -> Result<Self> {
        self.storage.check()?;
        let layers = if self.layers.count == 1 { self.layers.alpha(AlphaSource::Constant) } else { self.layers };
        layers.check(self.rows)?;
        Ok(NetworkForward { layers, ..*self })
    }

    /// The type that weights are read in.
    fn weights(&self) -> Float {
        self.storage.of(if self.copy { Operand::Copy } else { Operand::Parameter })
    }

    /// What every kernel over a network has: the sizes of its layers, their activations, x and the parameters.
    fn kernel(&self, file: KernelFile, [columns, bk]: [u32; 2], aligned: bool, caps: &Caps) -> Builder {
        let NetworkForward { rows, layers, copy, storage } = *self;
        let [k, n] = [layers.inputs, layers.outputs];
        let mut kernel = Builder::storing(file, storage, caps);
        kernel.flag("COLUMNS", columns).flag("BK", bk).flag("ALIGN", Layers::ALIGN as u32);
        kernel.on("STATIC", caps.class != DeviceClass::Software);
        kernel.on("PER_LAYER", layers.alpha == AlphaSource::PerLayer);
        kernel.on("PER_CHANNEL", layers.alpha == AlphaSource::PerChannel);
        let elem = |four: bool| if four { Elem::Four } else { Elem::Scalar };
        let vec_w = aligned && k.is_multiple_of(4) && (layers.count == 1 || layers.hidden.is_multiple_of(4));
        let weights = if copy { Operand::Copy } else { Operand::Parameter };
        let elements = layers.elements() as u64;
        self.matrix(&mut kernel, Operand::X, k, aligned);
        kernel.on("VEC_W", vec_w).read("w", elem(vec_w), weights, elements);
        kernel.read("parameters", elem(aligned), Operand::Parameter, elements);
        kernel.kernel.stages = vec![layers.activation.kind(), layers.output.kind()];
        let [first, second] = [layers.activation, layers.output].map(|activation| activation.params());
        kernel.params.p = [first[0], first[1], second[0], second[1]];
        kernel.params.rows = rows as u32;
        (kernel.params.k, kernel.params.channels, kernel.params.cols) = (k as u32, layers.hidden as u32, n as u32);
        kernel.params.parts = layers.count as u32;
        kernel
    }

    /// What the rows of a point are, and the operator's coefficients: of two tangents that differ both at once.
    fn jets(&self, kernel: &mut Builder) {
        let Some(jet) = self.layers.jet else { return };
        let members = jet.members() as u32;
        kernel.flag("JET", 1).on("EIGHT", members == 8).flag("MEMBERS_OF_JET", members);
        kernel.flag("TANGENTS", jet.tangents() as u32).on("BENDS", !jet.is_first_order());
        self.slopes(kernel);
        for (name, (i, j)) in COEFFICIENTS.into_iter().zip((0..6).flat_map(|i| (i..6).map(move |j| (i, j)))) {
            let factor = if i == j { 1.0 } else { 2.0 };
            let bits = (factor * jet.coefficient(i, j)).to_bits();
            if bits != 0 {
                kernel.flag(name, bits);
            }
        }
    }

    /// Which of the two activations stop what comes from above where they are flat.
    fn slopes(&self, kernel: &mut Builder) {
        let Layers { activation, output, .. } = self.layers;
        kernel.on("PASSES_0", activation.is_piecewise()).on("PASSES_1", output.is_piecewise());
    }

    /// The work of the activations of a row, for as many columns as lanes have.
    fn activations(&self, columns: u32) -> u64 {
        ELEMENT.saturating_mul((self.layers.count as u64).saturating_mul(columns.into()))
    }

    /// Binds x, y or a gradient of them by rows, which may have gaps.
    fn matrix(&self, kernel: &mut Builder, operand: Operand, columns: usize, aligned: bool) {
        let (rows, cols) = (self.rows as u64, columns as u64);
        let stride = self.storage.row_stride(operand);
        let apart = stride.map_or(cols, u64::from);
        let len = (rows - 1) * apart + cols;
        let four = aligned && cols.is_multiple_of(4) && apart.is_multiple_of(4);
        let elem = if four { Elem::Four } else { Elem::Scalar };
        let [vec, gaps] = match operand {
            Operand::X => ["VEC_X", "GAPS_X"],
            Operand::Dy => ["VEC_DY", "GAPS_DY"],
            Operand::Dx => ["VEC_DX", "GAPS_DX"],
            _ => ["VEC_Y", "GAPS_Y"],
        };
        match operand {
            Operand::Y | Operand::Dx => kernel.write(operand.name(), elem, operand, len),
            _ => kernel.read(operand.name(), elem, operand, len),
        };
        kernel.on(vec, four).on(gaps, stride.is_some());
        // With stride 0 all rows are the same memory.
        kernel.along(if apart == 0 { Along::All } else { Along::Rows(apart) });
        let index = kernel.kernel.slots.len() - 1;
        if let (Some(stride), Some(slot)) = (stride, kernel.kernel.slots.last_mut()) {
            slot.strided = true;
            kernel.params.row_stride[index % MOST_SLOTS] = stride;
        }
    }
}
