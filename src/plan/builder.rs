//! Collects a kernel's programs, slots, flags and parameters while a plan is written.

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

/// A dispatch that is being written.
pub(super) struct Builder {
    pub(super) kernel: Kernel,
    pub(super) params: Params,
    pub(super) cut: Cut,
    storage: Storage,
    native_f16: bool,
    uses: Vec<Use>,
}

/// Where the numbers of an element lie: how long an operand is by each kind of index, and how it runs along the tiles.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// Rows and columns of the operands by element.
    pub(super) rows: u64,
    pub(super) cols: u64,
    /// How many numbers an operand by column has, and one by row.
    pub(super) channels: u64,
    pub(super) row_numbers: u64,
    /// How rows and columns run along the tiles.
    pub(super) by_row: fn(u64) -> Along,
    pub(super) by_column: fn(u64) -> Along,
    /// Elements are handled in groups of four.
    pub(super) wide: bool,
}

impl Grid {
    /// The output of a kernel.
    pub(super) fn output(rows: u64, cols: u64, wide: bool) -> Self {
        Grid { rows, cols, channels: cols, row_numbers: rows, by_row: Along::Rows, by_column: Along::Cols, wide }
    }

    pub(super) fn elem(&self) -> Elem {
        if self.wide { Elem::Four } else { Elem::Scalar }
    }

    /// What a binding is made of, its length, and how it runs, where an operand by element has rows so far apart.
    fn binding(&self, by: Option<By>, row_stride: Option<u32>) -> (Elem, u64, Along) {
        let Grid { rows, cols, channels, row_numbers, .. } = *self;
        match (by, row_stride) {
            (Some(By::Element), Some(stride)) if rows * cols > 0 => {
                let stride = u64::from(stride);
                // Rows that are all the same are no window.
                let along = if stride == 0 { Along::All } else { (self.by_row)(stride) };
                return (self.elem(), (rows - 1) * stride + cols, along);
            }
            _ => {}
        }
        match by {
            Some(By::Element) => (self.elem(), rows * cols, (self.by_row)(cols)),
            Some(By::Row) if row_numbers != rows => (Elem::Scalar, row_numbers, Along::All),
            Some(By::Row) => (Elem::Scalar, rows, (self.by_row)(1)),
            Some(By::Column) => (self.elem(), channels, (self.by_column)(1)),
            Some(By::Whole) => (Elem::Scalar, 1, Along::All),
            Some(By::Plane(last)) => (self.elem(), (u64::from(last) + 1) * channels, Along::All),
            None => (Elem::Word, rows * cols.div_ceil(32), (self.by_row)(cols.div_ceil(32))),
        }
    }
}

/// Planes of partial sums `[rows, cols]` in the partials, one after the other: what is left is to add up the rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stack {
    pub(super) first: u64,
    pub(super) rows: u64,
    pub(super) cols: u64,
}

/// Those of the columns of a kernel's output, and those of its rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PartialSums {
    pub(super) columns: Stack,
    pub(super) rows: Stack,
}

impl PartialSums {
    /// Of an output without elements: the sums of nothing.
    pub(super) fn empty(rows: u64, cols: u64) -> Self {
        let none = |cols| Stack { first: 0, rows: 0, cols };
        PartialSums { columns: none(cols), rows: none(rows) }
    }
}

impl Builder {
    /// A kernel whose operands all are f32.
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

    /// The activations that the programs call by number, and their parameters; none where none is called.
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

    /// The program of the elements of operand a or b of a product, and its operands.
    pub(super) fn load(&mut self, role: &'static str, program: Program, grid: &Grid) -> &mut Self {
        self.bind(&program, grid, None);
        match role {
            "a" => self.kernel.a = program,
            _ => self.kernel.b = program,
        }
        self
    }

    /// What becomes of each element, and its operands; the first of `in_place` is an output that is the memory of the second.
    pub(super) fn finish(&mut self, program: &Program, grid: &Grid, in_place: Option<(Operand, Operand)>) -> &mut Self {
        self.bind(program, grid, in_place);
        self.kernel.finish = program.clone();
        self
    }

    /// The partial sums that the program's terms leave, from the element `first` of the partials on: of each sum over rows `parts`
    /// for each column, of each sum over columns `across` for each row.
    pub(super) fn sums(&mut self, grid: &Grid, [parts, across]: [u64; 2], first: u64) -> PartialSums {
        let of = |over| u64::from(self.kernel.finish.sums(over));
        let [for_columns, for_rows] = [of(Over::Rows) * parts * grid.cols, of(Over::Columns) * across * grid.rows];
        if for_columns > 0 {
            self.write("partials", grid.elem(), Operand::Partials, for_columns).from(first);
        }
        // No binding of what lies before it reaches so far.
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
            let row_stride = self.storage.row_stride(access.operand).filter(|_| access.by == Some(By::Element));
            let (elem, len, along) = grid.binding(access.by, row_stride);
            let within = in_place.filter(|(_, input)| *input == access.operand).map(|(output, _)| output.name());
            let (role, operand) = (access.operand.name(), access.operand);
            match access.written {
                true => self.write(role, elem, operand, len),
                false => self.read_within(role, elem, operand, len, within),
            };
            self.along(along);
            if let (Some(stride), Some(slot)) = (row_stride, self.kernel.slots.last_mut()) {
                slot.strided = true;
                self.params.row_stride[(self.uses.len() - 1) % MOST_SLOTS] = stride;
            }
        }
    }

    pub(super) fn read(&mut self, role: &'static str, elem: Elem, operand: Operand, len: u64) -> &mut Self {
        self.read_within(role, elem, operand, len, None)
    }

    /// An input that may be the memory of the output `within`.
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

    /// How the operand that was added last runs along the tiles.
    pub(super) fn along(&mut self, along: Along) -> &mut Self {
        if let Some(part) = self.uses.last_mut() {
            part.along = along;
        }
        self
    }

    /// The element of the operand that was added last at which it begins.
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
        Dispatch { kernel: self.kernel, params: self.params, uses: self.uses, cut: self.cut }
    }
}

/// The largest distance of rows among the operands that a program reads and writes by element, where the usual one is this.
pub(super) fn farthest(storage: &Storage, program: &Program, usual: u64) -> u64 {
    let by_element = program.accesses().into_iter().filter(|access| access.by == Some(By::Element));
    by_element.filter_map(|access| storage.row_stride(access.operand)).map(u64::from).fold(usual, u64::max)
}

/// Workgroup numbers are u32 in the shaders, those of the grid's last row that lie behind the last tile among them.
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

pub(super) const MOST_WORKGROUPS: u32 = GRID_X * GRID_X;
