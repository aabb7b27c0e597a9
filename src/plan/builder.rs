//! Builds a dispatch: collects programs, slots, flags and parameters of its kernel.

use super::{Along, Caps, Cut, Dispatch, Use};
use crate::{
    activation::Activation,
    dtype::Float,
    error::{Error, Result},
    kernel::{Elem, Flags, GRID_X, Kernel, KernelFile, MOST_SLOTS, Params, Slot},
    operand::Operand,
    program::{By, Over, Program},
    shader::NATIVE_F16,
    storage::Storage,
};

/// A dispatch under construction.
pub(super) struct Builder {
    pub(super) kernel: Kernel,
    pub(super) params: Params,
    pub(super) cut: Cut,
    storage: Storage,
    native_f16: bool,
    uses: Vec<Use>,
}

/// For each kind of index ([`By`]): the length of such an operand, and which part of it each tile uses.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// Rows and columns of the operands by element.
    pub(super) rows: u64,
    pub(super) cols: u64,
    /// Length of an operand by column, and of one by row.
    pub(super) channels: u64,
    pub(super) row_numbers: u64,
    /// Which rows and which columns a tile uses.
    pub(super) by_row: fn(u64) -> Along,
    pub(super) by_column: fn(u64) -> Along,
    /// Whether elements are loaded and stored as vec4.
    pub(super) wide: bool,
}

impl Grid {
    /// The grid of a kernel's output.
    pub(super) fn output(rows: u64, cols: u64, wide: bool) -> Self {
        Grid { rows, cols, channels: cols, row_numbers: rows, by_row: Along::Rows, by_column: Along::Cols, wide }
    }

    pub(super) fn elem(&self) -> Elem {
        if self.wide { Elem::Four } else { Elem::Scalar }
    }

    /// Element type, length and use along the tiles of a binding; `row_stride` is that of an operand by element.
    fn binding(&self, by: Option<By>, row_stride: Option<u32>) -> (Elem, u64, Along) {
        let Grid { rows, cols, channels, row_numbers, .. } = *self;
        let elem =
            if let Some(By::Interleaved(_) | By::InterleavedColumn(_)) = by { Elem::Scalar } else { self.elem() };
        let of_two = matches!(by, Some(By::Stacked(_) | By::Interleaved(_)));
        let in_row = if of_two { 2 * cols } else { cols };
        match (by, row_stride) {
            (Some(By::Element | By::Stacked(_) | By::Interleaved(_)), Some(stride)) if rows * cols > 0 => {
                let stride = u64::from(stride);
                // With stride 0 all rows are the same memory: no part of it belongs to some tiles alone.
                let along = if stride == 0 { Along::All } else { (self.by_row)(stride) };
                return (elem, (rows - 1) * stride + in_row, along);
            }
            _ => {}
        }
        match by {
            Some(By::Element | By::Member(_) | By::Stacked(_) | By::Interleaved(_)) => {
                (elem, rows * in_row, (self.by_row)(in_row))
            }
            Some(By::Row) if row_numbers != rows => (Elem::Scalar, row_numbers, Along::All),
            Some(By::Row) => (Elem::Scalar, rows, (self.by_row)(1)),
            Some(By::RowPlane(last)) => (Elem::Scalar, (u64::from(last) + 1) * row_numbers, Along::All),
            Some(By::Column) => (self.elem(), channels, (self.by_column)(1)),
            Some(By::InterleavedColumn(_)) => (elem, 2 * channels, Along::All),
            Some(By::State) => (Elem::Word, 4, Along::All),
            Some(By::Whole) => (Elem::Scalar, 1, Along::All),
            Some(By::Plane(last)) => (self.elem(), (u64::from(last) + 1) * channels, Along::All),
            None => (Elem::Word, rows * cols.div_ceil(32), (self.by_row)(cols.div_ceil(32))),
        }
    }
}

/// Planes of partial sums `[rows, cols]` in scratch memory, one after the other, whose rows are still to be added up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stack {
    pub(super) first: u64,
    pub(super) rows: u64,
    pub(super) cols: u64,
}

/// The partial sums of a kernel's output: over its rows, one for each column, and over its columns, one for each row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PartialSums {
    pub(super) columns: Stack,
    pub(super) rows: Stack,
}

impl Stack {
    /// The planes behind those that a program finishes.
    pub(super) fn behind(self, program: &Program) -> Self {
        Stack { first: self.first + u64::from(program.finished_sums()) * self.rows * self.cols, ..self }
    }
}

impl PartialSums {
    /// The sums of an output without elements: 0.
    pub(super) fn empty(rows: u64, cols: u64) -> Self {
        let none = |cols| Stack { first: 0, rows: 0, cols };
        PartialSums { columns: none(cols), rows: none(rows) }
    }
}

impl Builder {
    /// A kernel with all operands in f32.
    pub(super) fn new(file: KernelFile) -> Self {
        let kernel = Kernel {
            file,
            stages: Vec::new(),
            a: Program::default(),
            b: Program::default(),
            finish: Program::default(),
            flags: Flags::new(),
            slots: Vec::new(),
        };
        let params = Params { split_tiles: 1, tiles_cols: 1, batch: 1, ..Params::default() };
        let storage = Storage::default();
        Builder { kernel, params, cut: Cut::default(), storage, native_f16: false, uses: Vec::new() }
    }

    pub(super) fn storing(file: KernelFile, storage: Storage, caps: &Caps) -> Self {
        Builder { storage, native_f16: caps.f16, ..Self::new(file) }
    }

    pub(super) fn flag(&mut self, name: &'static str, value: u32) -> &mut Self {
        self.kernel.flags.insert(name, value);
        self
    }

    pub(super) fn on(&mut self, name: &'static str, on: bool) -> &mut Self {
        if on {
            self.flag(name, 1);
        }
        self
    }

    /// Sets the activations that the programs call by number, with their parameters, if the programs call any.
    pub(super) fn stages(&mut self, activations: &[Activation]) -> &mut Self {
        let Kernel { a, b, finish, .. } = &self.kernel;
        if [a, b, finish].iter().any(|program| program.acts()) {
            for (activation, p) in activations.iter().zip(self.params.p.chunks_exact_mut(2)) {
                p.copy_from_slice(&activation.params());
                self.kernel.stages.push(activation.kind());
            }
        }
        self
    }

    /// Sets the program that loads an element of A or B of a product, and binds its operands.
    pub(super) fn load(&mut self, role: &'static str, program: Program, grid: &Grid) -> &mut Self {
        self.bind(&program, grid, None);
        match role {
            "a" => self.kernel.a = program,
            _ => self.kernel.b = program,
        }
        self
    }

    /// Sets the program that finishes each element, and binds its operands. `in_place`: an output, and the input whose memory it is.
    pub(super) fn finish(&mut self, program: &Program, grid: &Grid, in_place: Option<(Operand, Operand)>) -> &mut Self {
        self.bind(program, grid, in_place);
        self.kernel.finish = program.clone();
        self
    }

    /// Binds the partial sums that the program's terms make, from element `first` of the partials on: for each sum over rows `parts`
    /// numbers a column, for each sum over columns `across` numbers a row.
    pub(super) fn sums(&mut self, grid: &Grid, [parts, across]: [u64; 2], first: u64) -> PartialSums {
        let of = |over| u64::from(self.kernel.finish.sums(over));
        let [for_columns, for_rows] = [of(Over::Rows) * parts * grid.cols, of(Over::Columns) * across * grid.rows];
        if for_columns > 0 {
            self.write("partials", grid.elem(), Operand::Partials, for_columns).from(first);
        }
        // Rounded up to 256 bytes, so that the two bindings do not overlap.
        let first_of_rows = (first + for_columns).next_multiple_of(64);
        if for_rows > 0 {
            self.write("row_partials", Elem::Scalar, Operand::Partials, for_rows).from(first_of_rows);
        }
        PartialSums {
            columns: Stack { first, rows: parts, cols: grid.cols },
            rows: Stack { first: first_of_rows, rows: across, cols: grid.rows },
        }
    }

    fn bind(&mut self, program: &Program, grid: &Grid, in_place: Option<(Operand, Operand)>) {
        for access in program.accesses() {
            let in_rows = matches!(access.by, Some(By::Element | By::Stacked(_) | By::Interleaved(_)));
            let row_stride = self.storage.row_stride(access.operand).filter(|_| in_rows);
            let (elem, len, along) = grid.binding(access.by, row_stride);
            let within = in_place.filter(|(_, input)| *input == access.operand).map(|(output, _)| output.name());
            let (role, operand) = (access.operand.name(), access.operand);
            // What a product has loaded its operand from, it may read again at the end.
            if !access.written && self.kernel.slots.iter().any(|slot| slot.role == role) {
                continue;
            }
            match access.written {
                true => self.write(role, elem, operand, len),
                false => self.read_within(role, elem, operand, len, within),
            };
            self.along(along).gaps(row_stride);
        }
    }

    pub(super) fn read(&mut self, role: &'static str, elem: Elem, operand: Operand, len: u64) -> &mut Self {
        self.read_within(role, elem, operand, len, None)
    }

    /// Binds an input of `[rows, cols]`, of which each tile reads its rows, with the gaps that it has: flag STRIDED.
    pub(super) fn read_rows(&mut self, role: &'static str, elem: Elem, operand: Operand, [rows, cols]: [u64; 2]) {
        let stride = self.storage.row_stride(operand);
        let grid = Grid { wide: elem == Elem::Four, ..Grid::output(rows, cols, false) };
        let (_, len, along) = grid.binding(Some(By::Element), stride);
        self.read(role, elem, operand, len).along(along).gaps(stride);
        self.on("STRIDED", stride.is_some());
    }

    /// Sets the row stride of the last operand, if it has one.
    fn gaps(&mut self, stride: Option<u32>) {
        if let (Some(stride), Some(slot)) = (stride, self.kernel.slots.last_mut()) {
            slot.strided = true;
            self.params.row_stride[(self.uses.len() - 1) % MOST_SLOTS] = stride;
        }
    }

    /// Binds an input; with `within` it is read through the binding of that output, whose memory it is.
    pub(super) fn read_within(
        &mut self,
        role: &'static str,
        elem: Elem,
        operand: Operand,
        len: u64,
        within: Option<&'static str>,
    ) -> &mut Self {
        let dtype = self.storage.of(operand);
        self.slot(Slot { role, written: false, elem, dtype, within, strided: false }, Use::whole(operand, len))
    }

    pub(super) fn write(&mut self, role: &'static str, elem: Elem, operand: Operand, len: u64) -> &mut Self {
        let dtype = self.storage.of(operand);
        self.slot(Slot { role, written: true, elem, dtype, within: None, strided: false }, Use::whole(operand, len))
    }

    /// Sets which part of the last operand each tile uses.
    pub(super) fn along(&mut self, along: Along) -> &mut Self {
        if let Some(part) = self.uses.last_mut() {
            part.along = along;
        }
        self
    }

    /// Sets the first element of the last operand.
    pub(super) fn from(&mut self, origin: u64) -> &mut Self {
        if let Some(part) = self.uses.last_mut() {
            part.origin = origin;
        }
        self
    }

    fn slot(&mut self, slot: Slot, part: Use) -> &mut Self {
        self.kernel.slots.push(slot);
        self.uses.push(part);
        self
    }

    pub(super) fn build(mut self) -> Dispatch {
        let stores_f16 = self
            .kernel
            .slots
            .iter()
            .any(|slot| matches!(slot.elem, Elem::Scalar | Elem::Four) && slot.dtype == Float::F16);
        if self.native_f16 && stores_f16 {
            self.flag(NATIVE_F16, 1);
        }
        Dispatch { kernel: self.kernel, params: self.params, uses: self.uses, cut: self.cut, plain_because: None }
    }
}

/// The largest row stride of the operands by element of a program; `usual` is that of operands without gaps.
pub(super) fn farthest(storage: &Storage, program: &Program, usual: u64) -> u64 {
    let in_rows = program.accesses().into_iter().filter_map(|access| match access.by? {
        By::Element => Some((access.operand, usual)),
        By::Stacked(_) | By::Interleaved(_) => Some((access.operand, 2 * usual)),
        _ => None,
    });
    in_rows.map(|(operand, own)| storage.row_stride(operand).map_or(own, u64::from)).fold(usual, u64::max)
}

/// The number of workgroups as u32; an error if workgroup numbers could exceed u32 in the shaders.
pub(super) fn workgroups(count: u64) -> Result<u32> {
    match u32::try_from(count) {
        Ok(number) if number <= MOST_WORKGROUPS => Ok(number),
        _ => Err(Error::LimitExceeded {
            what: "workgroups of one dispatch".into(),
            asked: count,
            limit: u64::from(MOST_WORKGROUPS),
        }),
    }
}

/// The most workgroups of a grid: both of its sides are limited to [`GRID_X`].
pub(super) const MOST_WORKGROUPS: u32 = GRID_X * GRID_X;
