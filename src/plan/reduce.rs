//! Sums over rows in two or more stages: a partial sum of each block of rows, then their sum, in order. Without atomics, so that bits are
//! the same every time, and never one invocation for a whole column.

use super::{
    Along, Builder, Caps, Cut, DeviceClass, Grid, Plan,
    builder::{PartialSums, Stack, farthest, workgroups},
    pieces::ELEMENT,
    programs::{self, Gradient},
};
use crate::{
    activation::Activation,
    error::Result,
    gate::Gate,
    kernel::{Elem, KernelFile, MOST_TRIPS},
    operand::Operand,
    program::{Over, Program},
    request::{AlphaSource, Want},
    storage::Storage,
};

/// What becomes of many numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    Sum,
    /// The largest magnitude: NaN before infinity, and subnormals as they are.
    Largest,
}

/// One pass over the elements of `[m, n]`.
pub(super) struct ColumnPass {
    pub(super) m: u64,
    pub(super) n: u64,
    /// Length of an operand by row. Fewer than m where rows are channels: row r then has the number r mod `row_numbers`.
    pub(super) row_numbers: u64,
    pub(super) storage: Storage,
    /// An output, and the input whose memory it is.
    pub(super) in_place: Option<(Operand, Operand)>,
    /// What becomes of the program's terms.
    pub(super) fold: Fold,
}

/// The gradients that are sums, in the order of their terms, each with its operand.
pub(super) struct Sums {
    pub(super) db: (Operand, Want),
    /// Of a gated layer, whose db has two sums for each unit: its gate, and whether that of up is wanted, where it is an operand of its own.
    pub(super) of_gate: Option<(Gate, Want)>,
    pub(super) dalpha: (Operand, Want),
    pub(super) alpha: AlphaSource,
    /// Number of channels of α, if channels are rows: row r is channel r mod this.
    pub(super) row_channels: Option<u64>,
    pub(super) drow_weight: (Operand, Want),
}

/// Lanes of a workgroup that sums: LX columns (or groups of four) × LY rows.
fn lanes(caps: &Caps, cols: u64) -> (u32, u32) {
    let all = if caps.class == DeviceClass::Software { 64 } else { 256 };
    let lx = match cols {
        0..=1 => 1,
        2..=4 => 4,
        5..=16 => 16,
        _ => 64,
    };
    (lx, all / lx)
}

/// The most terms that a lane adds to a sum: its rounding error grows with them.
const LONGEST_RUN: u64 = 1024;

/// Rows of a partial sum: enough parts to fill the device, but not more than a second stage reads quickly.
fn rows_per_part(caps: &Caps, rows: u64, cols: u64, lx: u32, ly: u32) -> u64 {
    let (fill, most) = if caps.class == DeviceClass::Software { (16, 256) } else { (512, 1024) };
    let tiles_cols = cols.div_ceil(u64::from(lx)).max(1);
    let parts = u64::div_ceil(fill, tiles_cols).clamp(1, most);
    // More parts for long columns, so that no lane adds more than LONGEST_RUN terms.
    let parts = parts.max(rows.div_ceil(LONGEST_RUN * u64::from(ly)));
    rows.div_ceil(parts).max(u64::from(ly) * 4)
}

/// How a pass over `[rows, cols]` with sums over rows is divided among workgroups.
struct Columns {
    /// Columns of one invocation: 1, or 4 as vec4.
    width: u64,
    lx: u32,
    ly: u32,
    chunk: u64,
    /// Blocks of rows: each writes a partial sum of every column.
    parts: u64,
    tiles_cols: u64,
}

impl Columns {
    /// `apart` is the largest row stride of the operands; groups of `members` rows stay together.
    fn new(rows: u64, cols: u64, apart: u64, members: u64, aligned: bool, caps: &Caps) -> Self {
        let width = if aligned && cols.is_multiple_of(4) { 4 } else { 1 };
        let (lx, ly) = lanes(caps, cols / width);
        let bindable = (caps.max_binding / 4 / apart.max(1) / members).max(1);
        let groups = rows_per_part(caps, rows / members, cols / width, lx, ly).min(bindable);
        let chunk = groups * members;
        Columns {
            width,
            lx,
            ly,
            chunk,
            parts: rows.div_ceil(chunk),
            tiles_cols: (cols / width).div_ceil(u64::from(lx)),
        }
    }

    /// Sets the kernel's flags and parameters.
    fn apply(&self, k: &mut Builder, rows: u64, cols: u64) -> Result<()> {
        k.flag("LX", self.lx).flag("LY", self.ly).on("WIDE", self.width == 4);
        k.params.rows = rows as u32;
        k.params.cols = cols as u32;
        k.params.chunk = self.chunk as u32;
        k.params.parts = self.parts as u32;
        k.params.tiles_cols = self.tiles_cols as u32;
        k.params.tiles = workgroups(self.parts * self.tiles_cols)?;
        let cols = u64::from(self.lx) * self.width;
        k.cut = Cut { rows: self.chunk, cols, work: self.chunk * cols * ELEMENT, splits: false };
        Ok(())
    }
}

/// Adds a pass that runs a program on every element, with these activations by number; returns where the partial sums of its terms are.
pub(super) fn pass(
    plan: &mut Plan,
    pass: &ColumnPass,
    program: &Program,
    activations: &[Activation],
    aligned: bool,
    caps: &Caps,
) -> Result<PartialSums> {
    let ColumnPass { m, n, row_numbers, storage, in_place, fold } = *pass;
    if m == 0 || n == 0 {
        return Ok(PartialSums::empty(m, n));
    }
    let columns = Columns::new(m, n, farthest(&storage, program, n), program.members().into(), aligned, caps);
    let mut k = Builder::storing(KernelFile::Rows, storage, caps);
    columns.apply(&mut k, m, n)?;
    let grid = Grid::output(m, n, columns.width == 4);
    // Operands by column are bound whole; only rows are cut into windows.
    let grid = Grid { by_column: |_| Along::All, row_numbers, ..grid };
    k.on("MAGNITUDE", fold == Fold::Largest);
    k.on("ROWS_REPEAT", row_numbers != m).params.channels = row_numbers as u32;
    k.on("SHUFFLES", caps.shuffles() && program.sums(Over::Columns) > 0 && fold == Fold::Sum);
    let sums = k.finish(program, &grid, in_place).sums(&grid, [columns.parts, columns.tiles_cols], 0);
    k.stages(activations);
    plan.dispatches.push(k.build());
    Ok(sums)
}

/// Adds the pass over dy, and the later stages of its sums.
pub(super) fn gradient_pass(
    plan: &mut Plan,
    columns: &ColumnPass,
    gradient: &Gradient,
    sums: &Sums,
    aligned: bool,
    caps: &Caps,
) -> Result<()> {
    if gradient.is_nothing() {
        return Ok(());
    }
    let program = gradient.program(programs::Upstream::Operand);
    let partial = pass(plan, columns, &program, &[gradient.local.activation], aligned, caps)?;
    sums.finish(plan, &partial)
}

impl Sums {
    /// That of α alone.
    pub(super) const fn of_alpha(dalpha: (Operand, Want), alpha: AlphaSource, row_channels: Option<u64>) -> Self {
        let (db, drow_weight) = ((Operand::Db, Want::No), (Operand::DrowWeight, Want::No));
        Sums { db, of_gate: None, dalpha, alpha, row_channels, drow_weight }
    }

    /// Adds the later stages, which write the wanted gradients.
    pub(super) fn finish(&self, plan: &mut Plan, partial: &PartialSums) -> Result<()> {
        let mut columns = partial.columns;
        let (db, want) = self.db;
        let of_up = self.of_gate.is_some_and(|(_, of_up)| of_up.wanted());
        if want.wanted() || of_up {
            let program = match &self.of_gate {
                None => programs::sum(db, want),
                Some((gate, of_up)) => programs::gated::sums(gate, want, *of_up),
            };
            added_up(plan, columns, &program)?;
            columns = columns.behind(&program);
        }
        let (dalpha, want) = self.dalpha;
        if want.wanted() {
            // One α for the layer: all partials are one long column.
            let one = Stack { rows: columns.rows * columns.cols, cols: 1, ..columns };
            let of_rows = partial.rows;
            let stack = match (self.alpha, self.row_channels) {
                (AlphaSource::PerChannel, None) => columns,
                // Rows of the same channel are `channels` apart.
                (AlphaSource::PerChannel, Some(channels)) => {
                    Stack { rows: of_rows.rows * of_rows.cols / channels.max(1), cols: channels, ..of_rows }
                }
                _ => one,
            };
            added_up(plan, stack, &programs::sum(dalpha, want))?;
        }
        let (drow_weight, want) = self.drow_weight;
        if want.wanted() {
            added_up(plan, partial.rows, &programs::sum(drow_weight, want))?;
        }
        Ok(())
    }
}

/// Adds the stages for the sums of each column, one in each plane, which the program stores.
pub(super) fn added_up(plan: &mut Plan, stack: Stack, program: &Program) -> Result<()> {
    finished(plan, stack, program, [0.0; 4], last_stage())
}

/// The kernel of a last stage whose operands are f32.
fn last_stage() -> Builder {
    Builder::new(KernelFile::ColumnSum)
}

/// Adds the stages for the sums of each column, of which the program in this kernel makes something with these numbers.
pub(super) fn finished(
    plan: &mut Plan,
    stack: Stack,
    program: &Program,
    numbers: [f32; 4],
    kernel: Builder,
) -> Result<()> {
    if stack.cols == 0 {
        return Ok(());
    }
    let planes = program.finished_sums().into();
    let stack = folded(plan, planes, stack, longest(stack.cols), Fold::Sum)?;
    let mut stage = column_stage(kernel, planes, stack, stack.rows, program, 0)?;
    stage.params.p = numbers;
    plan.dispatches.push(stage.build());
    Ok(())
}

/// Adds the stages for the largest magnitude of each column, into the operand from element `to` on.
pub(super) fn largest(plan: &mut Plan, stack: Stack, operand: Operand, to: u64) -> Result<()> {
    let stack = folded(plan, 1, stack, longest(stack.cols), Fold::Largest)?;
    let mut stage = column_stage(last_stage(), 1, stack, stack.rows, &programs::sum(operand, Want::Overwrite), to)?;
    stage.on("MAGNITUDE", true);
    plan.dispatches.push(stage.build());
    Ok(())
}

/// Adds the stages that make statistics, of `count` numbers each, from the planes of their sums.
pub(super) fn statistics(plan: &mut Plan, stack: Stack, count: u64, program: &Program) -> Result<()> {
    let count = count as f32;
    finished(plan, stack, program, [1.0 / count, 1.0, count, 0.0], last_stage())
}

/// Adds stages that fold the rows of each plane of partials until at most `most` are left.
pub(super) fn folded(plan: &mut Plan, planes: u64, stack: Stack, most: u64, fold: Fold) -> Result<Stack> {
    let mut stack = stack;
    let chunk = longest(stack.cols);
    while stack.rows > most {
        let next = Stack { first: free(plan), rows: stack.rows.div_ceil(chunk), ..stack };
        for plane in 0..planes {
            let from = Stack { first: stack.first + plane * stack.rows * stack.cols, ..stack };
            let to = next.first + plane * next.rows * next.cols;
            let mut stage =
                column_stage(last_stage(), 1, from, chunk, &programs::sum(Operand::Partials, Want::Overwrite), to)?;
            stage.on("MAGNITUDE", fold == Fold::Largest);
            plan.dispatches.push(stage.build());
        }
        stack = next;
    }
    Ok(stack)
}

/// The most rows that one workgroup adds up.
const fn longest(cols: u64) -> u64 {
    LONGEST_RUN * column_lanes(cols).1 as u64
}

/// The first free element of the partials, at a multiple of 256 bytes, so that no binding of earlier ones overlaps it.
pub(super) fn free(plan: &Plan) -> u64 {
    plan.scratch(Operand::Partials).next_multiple_of(64)
}

const fn column_lanes(cols: u64) -> (u32, u32) {
    if cols == 1 { (1, 64) } else { (16, 4) }
}

/// One invocation that adds [`MOST_TRIPS`] numbers (operand x) into one (operand y): the longest loop that a plan may have, for the
/// self-test.
pub(crate) fn longest_loop() -> Plan {
    let mut k = last_stage();
    k.flag("LX", 1).flag("LY", 1);
    k.read("terms", Elem::Scalar, Operand::X, MOST_TRIPS);
    k.finish(&programs::sum(Operand::Y, Want::Overwrite), &Grid::output(1, 1, false), None);
    k.params.rows = MOST_TRIPS as u32;
    k.params.cols = 1;
    k.params.chunk = MOST_TRIPS as u32;
    k.params.tiles = 1;
    Plan { dispatches: vec![k.build()], ..Plan::default() }
}

/// A stage that adds up blocks of `chunk` rows in the columns of the planes, and finishes the sums: `[blocks, cols]`, from element `to` on.
fn column_stage(mut k: Builder, planes: u64, stack: Stack, chunk: u64, program: &Program, to: u64) -> Result<Builder> {
    let Stack { first, rows, cols } = stack;
    let (lx, ly) = column_lanes(cols);
    let (parts, tiles_cols) = (rows.div_ceil(chunk.max(1)).max(1), cols.div_ceil(u64::from(lx)));
    k.flag("LX", lx).flag("LY", ly);
    k.read("terms", Elem::Scalar, Operand::Partials, planes * rows * cols).from(first);
    let grid = Grid { by_row: |_| Along::All, by_column: |_| Along::All, ..Grid::output(parts, cols, false) };
    k.finish(program, &grid, None).from(to);
    k.params.rows = rows as u32;
    k.params.cols = cols as u32;
    k.params.chunk = chunk as u32;
    k.params.tiles_cols = tiles_cols as u32;
    k.params.tiles = workgroups(parts * tiles_cols)?;
    Ok(k)
}
