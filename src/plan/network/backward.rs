//! The gradients of a whole network in two dispatches: each workgroup's rows forward and back, with its sums over them, and the sums of those.

mod matrices;

use matrices::Matrices;

use super::NetworkForward;
use crate::{
    error::Result,
    kernel::{Elem, KernelFile, MOST_TRIPS},
    operand::Operand,
    plan::{
        Builder, Caps, DeviceClass, Dispatch, Plan,
        builder::{Stack, workgroups},
        pieces, programs, reduce,
    },
    request::{AlphaSource, Layers, Want},
    shape,
    storage::Storage,
};

/// Gradients of a network, from dy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkBackward {
    /// The network; the types and strides are those of backward's operands too.
    pub forward: NetworkForward,
    /// Whether dx is wanted.
    pub dx: Want,
    /// Whether the gradients of all parameters are wanted.
    pub parameters: Want,
}

/// Invocations of a workgroup on ordinary lanes: each has four rows of four columns of a product, and of dW 64 elements at most.
const LANES: u32 = 64;
/// Lanes along the outputs of dW, and along its inputs.
const SIDE: u32 = 8;
/// Elements of dW that a lane sums in registers.
const MOST_SUMS: u32 = 64;
/// The most rows of a workgroup: as many terms as one lane adds to a sum.
const MOST_ROWS: u64 = 1024;

/// The most bytes of scratch memory for z, and for the sums: more rows than have room there take a dispatch more.
const MOST_SCRATCH: u64 = 128 << 20;

/// How lanes share a block of rows and a layer's dW.
#[derive(Clone, Copy)]
struct Block {
    columns: u32,
}

impl Block {
    /// Rows of a block.
    const fn rows(&self) -> u32 {
        4 * LANES / (self.columns / 4)
    }

    /// Inputs that are multiplied from one piece of the weights: 128 columns leave room for 8.
    const fn bk(&self) -> u32 {
        if self.columns > 64 { 8 } else { 16 }
    }

    const fn workgroup_bytes(&self) -> u32 {
        // y and dz, each column a vector longer than its rows, and a piece of the weights.
        4 * self.columns * (2 * (self.rows() + 4) + self.bk())
    }

    /// Outputs and inputs of dW of a lane, and the parts that a layer's inputs are summed in: one, if there is no dW.
    fn sums(&self, wanted: bool) -> [u32; 3] {
        let along = self.columns / SIDE;
        let inputs = if wanted { along.min(MOST_SUMS / along) } else { along };
        [along, inputs, along / inputs]
    }

    /// The kernel, with the flags that a block has.
    fn kernel(&self, forward: &NetworkForward, parameters: Want, aligned: bool, caps: &Caps) -> Builder {
        let mut kernel = forward.kernel(KernelFile::NetworkBackward, [self.columns, self.bk()], aligned, caps);
        forward.jets(&mut kernel);
        let [outputs, inputs, parts] = self.sums(parameters.wanted());
        kernel.flag("HALVES", super::members(&forward.layers) / 4);
        kernel.flag("LANES", LANES).flag("TN", outputs).flag("TK", inputs).flag("PARTS", parts);
        kernel
    }

    fn of(layers: &Layers, caps: &Caps) -> Result<Self> {
        let block = Block { columns: super::padded_columns(layers)? };
        super::expect_room(block.workgroup_bytes(), LANES, caps)?;
        Ok(block)
    }
}

/// Why the gradients of a network of so many rows are better computed layer by layer on this device; None if two dispatches are likely to be
/// faster.
pub fn step_by_step_because(layers: &Layers, rows: usize, caps: &Caps) -> Option<&'static str> {
    if caps.class == DeviceClass::Software {
        return Some("a CPU has the layers in its cache");
    }
    // Weights of two bytes take no more room than these.
    let request = NetworkForward { rows, layers: *layers, copy: false, storage: Storage::default() };
    if Matrices::of(&request, caps).is_ok() {
        return None;
    }
    let Ok(block) = Block::of(layers, caps) else {
        return Some("a layer has too many columns, or the device too little workgroup memory");
    };
    let blocks = (rows as u64).div_ceil(u64::from(block.rows()));
    let few = blocks <= u64::from(caps.choices.workgroups() * (LANES_OF_CHOICES / LANES));
    (block.columns > WIDE && !few).then_some("wide layers of many rows are limited by arithmetic, not by memory")
}

/// Layers of more columns are wide. An element between two layers is 16 bytes here, z and dz written and read once in a scratch buffer, and 28
/// layer by layer; for that the forward way is computed once more, a third of the arithmetic of a layer. At 32 columns the 12 bytes take longer
/// on a GPU that computes 10 to 20 times as many multiply-adds as it moves bytes, at 64 they do not. On matrix units, which take up to 64 columns, they do.
const WIDE: u32 = 32;
/// Invocations of the workgroups that fill a device by [`Choices::workgroups`](crate::Choices::workgroups).
const LANES_OF_CHOICES: u32 = 256;

/// The plan of a network's gradients. `aligned` says that every operand starts at a multiple of 16 bytes.
pub fn network_backward(request: &NetworkBackward, aligned: bool, caps: &Caps) -> Result<Plan> {
    let NetworkBackward { forward, dx, parameters } = *request;
    let forward = forward.checked()?;
    let NetworkForward { rows, layers, .. } = forward;
    let [k, n] = [layers.inputs, layers.outputs];
    shape::elements(Operand::X, &[rows, k])?;
    shape::elements(Operand::Dy, &[rows, n])?;
    let elements = shape::elements(Operand::ParameterGradient, &[layers.elements()])?;
    let matrices = Matrices::of(&forward, caps);
    let plain_because = matrices.err().flatten();
    let ordinary = if matrices.is_ok() { None } else { Some(Block::of(&layers, caps)?) };
    let mut plan = Plan::default();
    let mut slots = 0;
    if rows > 0 && (dx.wanted() || parameters.wanted()) {
        let (mut kernel, of_block, lanes) = match (matrices, ordinary) {
            (Ok(block), _) => (block.kernel(&forward, aligned, caps), block.rows(), block.lanes()),
            (_, Some(block)) => (block.kernel(&forward, parameters, aligned, caps), block.rows(), LANES),
            (Err(_), None) => return Ok(plan),
        };
        let columns = kernel.kernel.flag("COLUMNS");
        forward.slopes(&mut kernel);
        let learns = layers.alpha != AlphaSource::Constant && parameters.wanted();
        kernel.on("DX", dx.wanted()).on("ADDS_DX", dx == Want::Accumulate);
        kernel.on("DW", parameters.wanted()).on("LEARNS", learns);
        forward.matrix(&mut kernel, Operand::Dy, n, aligned);
        if dx.wanted() {
            forward.matrix(&mut kernel, Operand::Dx, k, aligned);
        }
        let all = rows as u64;
        let each = u64::from(of_block);
        // A row's way forward, back, and its share of dW.
        let work = layers.work().saturating_mul(3).saturating_add(2 * forward.activations(columns));
        // Workgroups enough for the device, but not so few rows that sums are many times what rows move. What is in scratch memory at one time is
        // shared by all workgroups that run. No loop is too long, and no dispatch.
        let room = (caps.max_scratch / 2).min(caps.max_binding).min(MOST_SCRATCH) / 4;
        let running = u64::from(caps.choices.workgroups()) * u64::from(LANES_OF_CHOICES / lanes);
        let of_row = u64::from(columns) * layers.count as u64;
        let most = (room / of_row / running).min(MOST_ROWS).min(all);
        let mut chunk = all.div_ceil(running).max(u64::from(columns / 4)).min(most).max(1).next_multiple_of(each);
        loop {
            kernel.params.chunk = chunk as u32;
            let long = kernel.kernel.trips(&kernel.params) > MOST_TRIPS || chunk.saturating_mul(work) > caps.max_work;
            if chunk == each || !long {
                break;
            }
            chunk = (chunk / 2).next_multiple_of(each);
        }
        let tiles = all.div_ceil(chunk);
        let kept = chunk * of_row;
        let sums = if parameters.wanted() { elements } else { 1 };
        slots = (room / kept.max(sums)).clamp(1, tiles);
        kernel.write("z", Elem::Four, Operand::Z, slots * kept);
        if parameters.wanted() {
            kernel.write("partials", Elem::Scalar, Operand::Partials, slots * elements);
        }
        kernel.params.splits = workgroups(slots)?;
        kernel.cut.rows = chunk;
        kernel.cut.cols = n as u64;
        kernel.cut.work = chunk.saturating_mul(work);
        let (tiles, slots) = (workgroups(tiles)?, kernel.params.splits);
        let dispatch = Dispatch { plain_because, ..kernel.build() };
        // Each slot of scratch memory belongs to one workgroup of a dispatch.
        for first in (0..tiles).step_by(slots as usize) {
            let mut part = dispatch.clone();
            (part.params.first, part.params.tiles) = (first, tiles.min(first.saturating_add(slots)));
            if first > 0 && parameters.wanted() {
                part.kernel.flags.insert("ADDS", 1);
            }
            plan.dispatches.push(part);
        }
    }
    if parameters.wanted() {
        let stack = Stack { first: 0, rows: slots, cols: elements };
        reduce::added_up(&mut plan, stack, &programs::sum(Operand::ParameterGradient, parameters))?;
    }
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}
