//! What tuning chooses: the tile for each size and form of product, and how many workgroups fill the device. A class's defaults, or measured.

use std::fmt;

use super::{DeviceClass, Stage, TILES};

/// How the operands of a product C = A·B are stored: with rows along the reduction or across it (BLAS's letters N and T).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A and B along the reduction: forward with w `[N, K]`.
    Nt,
    /// A along the reduction, B across it: dx with w `[N, K]`.
    Nn,
    /// A and B across the reduction: dW.
    Tn,
}

/// How large a product is, for the choice of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// One row.
    Row,
    /// 2 to 16 rows.
    Few,
    /// More than 16 rows.
    Many,
    /// More than 16 rows, and at least 2³⁰ multiply-adds.
    Huge,
}

impl Form {
    /// Every form.
    pub const ALL: [Form; 3] = [Form::Nt, Form::Nn, Form::Tn];

    pub(super) const fn new(a_along: bool, b_along: bool) -> Self {
        match (a_along, b_along) {
            (true, true) => Form::Nt,
            (true, false) => Form::Nn,
            (false, _) => Form::Tn,
        }
    }

    /// Whether the rows of A in memory run along the reduction.
    pub const fn a_along_reduction(self) -> bool {
        !matches!(self, Form::Tn)
    }

    /// The name in tables and files: `NT`, `NN` or `TN`.
    pub const fn name(self) -> &'static str {
        match self {
            Form::Nt => "NT",
            Form::Nn => "NN",
            Form::Tn => "TN",
        }
    }
}

impl Size {
    /// Every size.
    pub const ALL: [Size; 4] = [Size::Row, Size::Few, Size::Many, Size::Huge];

    /// The size of C[rows, cols] reduced over `k`.
    pub const fn of(rows: u64, cols: u64, k: u64) -> Self {
        match rows {
            0..=1 => Size::Row,
            2..=16 => Size::Few,
            _ if rows.saturating_mul(cols).saturating_mul(k) >= 1 << 30 => Size::Huge,
            _ => Size::Many,
        }
    }

    /// The name in tables and files: `row`, `few`, `many` or `huge`.
    pub const fn name(self) -> &'static str {
        match self {
            Size::Row => "row",
            Size::Few => "few",
            Size::Many => "many",
            Size::Huge => "huge",
        }
    }
}

/// A tile of [`TILES`] for each size and form of product, and the number of workgroups that fills the device. It prints as a table.
///
/// ```
/// use elbow::{Choices, DeviceClass, plan::{Form, Size}};
/// let mut choices = Choices::of(DeviceClass::Software);
/// choices.set(Size::Many, Form::Nt, 3);
/// choices.set_workgroups(64);
/// assert_eq!((choices.get(Size::Many, Form::Nt), choices.workgroups()), (3, 64));
/// println!("{choices}");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choices {
    tiles: [[usize; Form::ALL.len()]; Size::ALL.len()],
    workgroups: u32,
}

/// PCI's numbers of vendors, as wgpu has them.
const INTEL: u32 = 0x8086;
const APPLE: u32 = 0x106b;

impl Choices {
    /// The choices without tuning.
    pub const fn of(class: DeviceClass) -> Self {
        let tiles = match class {
            // The largest tile that shares rows (10) is the fastest, but a CPU's compiler needs seconds for it: only for products
            // that run for seconds themselves.
            DeviceClass::Software => [[12, 3, 8], [8, 8, 8], [9, 9, 9], [10, 10, 10]],
            DeviceClass::Integrated | DeviceClass::Discrete => [[11, 3, 4], [11, 2, 2], [13, 13, 13], [13, 13, 13]],
        };
        // An H100 (132 multiprocessors) was fastest with 128 to 256 workgroups of 256 lanes, and half as fast with 64.
        let workgroups = match class {
            DeviceClass::Software => 4,
            DeviceClass::Integrated => 128,
            DeviceClass::Discrete => 256,
        };
        Choices { tiles, workgroups }
    }

    /// The same for an adapter of this vendor, by its PCI number. Measured on NVIDIA alone; the others by the processors that their
    /// largest chips have, until tuning measures.
    pub(crate) const fn of_vendor(class: DeviceClass, vendor: u32) -> Self {
        let usual = Self::of(class);
        let workgroups = match (class, vendor) {
            (DeviceClass::Discrete, INTEL) => 128,
            // Metal tells no vendor, and has no other than Apple's.
            (DeviceClass::Integrated, 0 | APPLE) => 128,
            (DeviceClass::Integrated, _) => 64,
            _ => usual.workgroups,
        };
        Choices { workgroups, ..usual }
    }

    /// Workgroups of 256 invocations that keep the whole device busy. A product that has fewer tiles takes smaller ones, or splits its
    /// reduction.
    pub const fn workgroups(&self) -> u32 {
        self.workgroups
    }

    /// Sets [`Choices::workgroups`]; at least 1, at most 65,536.
    pub const fn set_workgroups(&mut self, workgroups: u32) {
        self.workgroups = match workgroups {
            0 => 1,
            1..=65_536 => workgroups,
            _ => 65_536,
        };
    }

    /// The tile for a size and form, by its place in [`TILES`].
    pub const fn get(&self, size: Size, form: Form) -> usize {
        self.tiles[size as usize][form as usize]
    }

    /// Chooses another tile for a size and form; a place that [`TILES`] does not have is ignored, and so is a tile on matrix units:
    /// those are asked for by [`Caps::matrix_units`](super::Caps::matrix_units).
    pub const fn set(&mut self, size: Size, form: Form, tile: usize) {
        if tile < TILES.len() && !matches!(TILES[tile].stage, Stage::Coop) {
            self.tiles[size as usize][form as usize] = tile;
        }
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for size in Size::ALL {
            write!(f, "{:<5}", size.name())?;
            for form in Form::ALL {
                let index = self.get(size, form);
                let tile = TILES[index];
                write!(f, "  {}: {index:>2} ({:?}, {}x{})", form.name(), tile.stage, tile.bm(), tile.bn())?;
            }
            f.write_str("\n")?;
        }
        writeln!(f, "workgroups that fill the device: {}", self.workgroups)
    }
}
