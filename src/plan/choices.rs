//! Which tile serves which product, as data: the heuristics of each class of device, or what a tuner has measured.

use std::fmt;

use super::{DeviceClass, TILES};

/// How the operands of a product C = A·B lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Both along the reduction: forward with w `[out, in]`.
    Nt,
    /// A along the reduction, B across: dx with w `[out, in]`.
    Nn,
    /// Both across: dW.
    Tn,
}

/// How large a product is, as far as the choice of a tile is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// One row.
    Row,
    /// Up to 16 rows.
    Few,
    /// More.
    Many,
    /// More, and 2³⁰ multiply-adds or more.
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

    /// Whether the neighbours of A in memory run along the reduction.
    pub const fn a_along_reduction(self) -> bool {
        !matches!(self, Form::Tn)
    }

    /// Its name in tables and files.
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

    /// Its name in tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            Size::Row => "row",
            Size::Few => "few",
            Size::Many => "many",
            Size::Huge => "huge",
        }
    }
}

/// A tile of [`TILES`] for each size and form of product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choices([[usize; Form::ALL.len()]; Size::ALL.len()]);

impl Choices {
    /// What is chosen without tuning.
    pub const fn of(class: DeviceClass) -> Self {
        match class {
            // Of the tiles that share rows the largest is the fastest, and takes a CPU's compiler seconds: for products that
            // run for seconds themselves.
            DeviceClass::Software => Choices([[12, 3, 8], [8, 8, 8], [9, 9, 9], [10, 10, 10]]),
            DeviceClass::Integrated | DeviceClass::Discrete => {
                Choices([[11, 3, 4], [11, 2, 2], [13, 13, 13], [13, 13, 13]])
            }
        }
    }

    /// The place in [`TILES`] of the tile for such a product.
    pub const fn get(&self, size: Size, form: Form) -> usize {
        self.0[size as usize][form as usize]
    }

    /// Chooses another tile; one that does not exist is not taken.
    pub const fn set(&mut self, size: Size, form: Form, tile: usize) {
        if tile < TILES.len() {
            self.0[size as usize][form as usize] = tile;
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
        Ok(())
    }
}
