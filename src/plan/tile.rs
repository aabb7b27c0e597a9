//! The tiles of the products, and the choice of one for a shape.

use super::{
    Caps, DeviceClass,
    choices::{Form, Size},
    matrix::{self, Arrangement, MatrixUnits},
};
use crate::shape;

/// How operands reach the register tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Directly from storage.
    Direct,
    /// Through workgroup memory, BK steps of the reduction at a time.
    Staged {
        /// BK.
        bk: u32,
        /// Parts of the workgroup that multiply a part of the reduction each: 1, 2 or 4.
        slices: u32,
    },
    /// Directly from storage, with the rows of A shared by subgroup broadcast: the workgroup is one subgroup of 8.
    Broadcast,
    /// Directly from storage, with the lanes along the reduction: for few rows, with both operands along it.
    SlicedK,
    /// Through workgroup memory to the device's matrix units, as f16, some steps of the reduction at a time.
    Coop,
}

/// BK of [`Stage::Coop`]: half as many where operands are split, for then a tile holds two numbers for each element.
pub(super) const fn coop_steps(caps: &Caps) -> u32 {
    32 / parts(caps)
}

/// The most numbers of f16 for an element of a product on matrix units.
const fn parts(caps: &Caps) -> u32 {
    if matches!(caps.matrix_units, MatrixUnits::Split) { 2 } else { 1 }
}

/// A workgroup of WX×WY invocations, each with a register tile of TM rows × TN columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Invocations along the columns.
    pub wx: u32,
    /// Invocations along the rows.
    pub wy: u32,
    /// Rows of the register tile.
    pub tm: u32,
    /// Columns of the register tile: a multiple of 4, or 1 where the lanes are along the reduction.
    pub tn: u32,
    /// How operands reach the register tile.
    pub stage: Stage,
}

const fn direct(wx: u32, wy: u32, tm: u32, tn: u32) -> Tile {
    Tile { wx, wy, tm, tn, stage: Stage::Direct }
}

const fn staged(wx: u32, wy: u32, tm: u32, tn: u32, bk: u32) -> Tile {
    Tile { wx, wy, tm, tn, stage: Stage::Staged { bk, slices: 1 } }
}

/// In `slices` parts of the workgroup with a part of the reduction each, and as many times the rows a lane.
const fn sliced(wx: u32, wy: u32, tm: u32, slices: u32) -> Tile {
    Tile { wx, wy, tm, tn: 4, stage: Stage::Staged { bk: 16, slices } }
}

const fn broadcast(tm: u32) -> Tile {
    Tile { wx: 8, wy: 1, tm, tn: 4, stage: Stage::Broadcast }
}

/// Each lane stores one element of the output.
const fn across(wy: u32) -> Tile {
    Tile { wx: 32, wy, tm: 1, tn: 1, stage: Stage::SlicedK }
}

/// Lanes as on a device with subgroups of 32 and matrices of 16×16; elsewhere [`Tile::arranged`].
const fn coop(wx: u32, tm: u32, tn: u32) -> Tile {
    Tile { wx, wy: 16, tm, tn, stage: Stage::Coop }
}

/// Every tile. The first can serve every product on every device, and the second those with groups of eight rows. BN is always a multiple of 32, so that no word of the mask belongs to two
/// workgroups.
pub const TILES: [Tile; 22] = [
    direct(8, 8, 4, 4),
    direct(8, 8, 8, 8),
    direct(16, 4, 4, 4),
    direct(32, 1, 1, 4),
    direct(16, 1, 4, 8),
    staged(8, 8, 4, 4, 16),
    staged(16, 16, 4, 4, 16),
    staged(16, 16, 8, 8, 8),
    broadcast(8),
    broadcast(16),
    broadcast(32),
    across(8),
    across(1),
    staged(16, 16, 8, 8, 16),
    staged(16, 8, 8, 4, 16),
    staged(16, 16, 8, 4, 16),
    sliced(16, 16, 4, 2),
    sliced(8, 32, 1, 4),
    coop(16, 8, 8),
    coop(8, 8, 16),
    coop(8, 4, 8),
    staged(8, 16, 4, 8, 16),
];

/// For each tile the tiles that replace it where it can't run or is too large, the best first.
const SMALLER: [&[usize]; TILES.len()] = [
    &[],
    &[0],
    &[],
    &[4],
    &[],
    &[],
    &[5],
    &[14, 5],
    &[4],
    &[1, 0],
    &[9, 1, 0],
    &[],
    &[],
    &[7, 14, 5],
    &[5],
    &[14, 5],
    &[14, 5],
    &[5],
    &[19, 20],
    &[20],
    &[],
    &[],
];

impl Tile {
    /// Rows of the workgroup tile.
    pub const fn bm(&self) -> u32 {
        self.wy * self.tm
    }

    /// Columns of the workgroup tile.
    pub const fn bn(&self) -> u32 {
        self.wx * self.tn
    }

    /// Workgroups for an output of this size.
    pub const fn tiles(&self, rows: u64, cols: u64) -> u64 {
        rows.div_ceil(self.bm() as u64) * cols.div_ceil(self.bn() as u64)
    }

    /// Whether the tile can serve this form of product on this device. An A across the reduction is read four rows at a time.
    pub const fn fits(&self, caps: &Caps, form: Form) -> bool {
        let serves = match self.stage {
            Stage::Broadcast => caps.subgroup == self.wx,
            Stage::SlicedK => matches!(form, Form::Nt),
            Stage::Direct | Stage::Staged { .. } => true,
            Stage::Coop => self.arrangement(caps).is_some(),
        };
        serves
            && self.wx * self.wy <= caps.max_invocations
            && self.workgroup_bytes(caps) <= caps.workgroup_bytes
            && (form.a_along_reduction() || self.multiplied_rows().is_multiple_of(4))
    }

    /// Rows of the register tile while it multiplies.
    const fn multiplied_rows(&self) -> u32 {
        match self.stage {
            Stage::Staged { slices, .. } => self.tm * slices,
            _ => self.tm,
        }
    }

    /// Whether each lane holds whole groups of so many neighbouring rows. In a staged tile the rows of a lane are neighbours in fours,
    /// in a matrix they need not be.
    pub const fn holds_groups(&self, members: u32) -> bool {
        let neighbours = match self.stage {
            Stage::Staged { .. } => 4,
            Stage::Coop => 1,
            Stage::Direct | Stage::Broadcast | Stage::SlicedK => self.tm,
        };
        members == 1 || (self.tm.is_multiple_of(members) && members <= neighbours)
    }

    /// Whether it is `whole` with a workgroup in slices on each tile.
    const fn slices_of(&self, whole: &Tile) -> bool {
        let slices = match (self.stage, whole.stage) {
            (Stage::Staged { slices, .. }, Stage::Staged { slices: 1, .. }) => slices,
            _ => 1,
        };
        slices > 1 && self.bm() == whole.bm() && self.bn() == whole.bn()
    }

    /// Bytes of workgroup memory: for the staged operands, and for the epilogue that needs most, which has a bit for each element (the
    /// mask) and for each lane the sums of the columns that it handles at a time and of one row.
    const fn workgroup_bytes(&self, caps: &Caps) -> u32 {
        let lanes = self.wx * self.wy;
        let staged = match self.stage {
            Stage::Direct | Stage::Broadcast => 0,
            Stage::Staged { bk, slices } => 4 * bk * (self.bm() + self.bn()) * slices,
            // Two bytes an element and a gap after each row; one matrix of sums for each subgroup.
            Stage::Coop => {
                let matrix = caps.matrix_size * caps.matrix_size;
                2 * parts(caps) * (coop_steps(caps) + 8) * (self.bm() + self.bn())
                    + 4 * matrix * lanes / if caps.subgroup > 0 { caps.subgroup } else { 1 }
            }
            Stage::SlicedK => {
                let (span, subgroup) = self.span(caps);
                let parts = if subgroup { 0 } else { lanes * self.across_cols(span) };
                4 * (self.bm() * self.bn() + parts)
            }
        };
        let mask = self.bm() * self.bn() / 8;
        let sums = 4 * lanes * if self.tn.is_multiple_of(4) { 4 } else { 1 };
        staged + mask + sums + 4 * lanes
    }

    /// Columns that a group of `span` lanes of [`Stage::SlicedK`] sums.
    pub(super) const fn across_cols(&self, span: u32) -> u32 {
        span * self.bn() / (self.wx * self.wy)
    }

    /// Lanes along the reduction, and whether they are exactly a subgroup. A subgroup of fewer than 8 lanes would leave lanes without a column; one of
    /// more than 64 would need more sums than a lane has registers, one longer than the workgroup more columns than the tile has. A GPU reads
    /// the weight in runs of 32 lanes at least.
    pub(super) const fn span(&self, caps: &Caps) -> (u32, bool) {
        let suits = match caps.subgroup {
            8 | 16 => matches!(caps.class, DeviceClass::Software),
            32 | 64 => caps.subgroup <= self.wx * self.wy,
            _ => false,
        };
        match suits {
            true => (caps.subgroup, true),
            false => (32, false),
        }
    }
}

impl Tile {
    /// How the lanes of a tile of [`Stage::Coop`] share it on this device, if they can.
    pub(super) const fn arrangement(&self, caps: &Caps) -> Option<Arrangement> {
        match self.stage {
            Stage::Coop => Arrangement::of([self.bm(), self.bn()], self.wx * self.wy, caps.matrix_size, caps.subgroup),
            _ => None,
        }
    }

    /// The tile with each lane's part as [`Tile::arrangement`] has it: the same rows and columns.
    pub(super) const fn arranged(&self, caps: &Caps) -> Tile {
        let Some(Arrangement { subgroups, matrices, lanes, run }) = self.arrangement(caps) else { return *self };
        let (wx, wy) = (subgroups[1] * lanes[1], subgroups[0] * lanes[0]);
        Tile { wx, wy, tm: matrices[0] * run, tn: matrices[1] * 4, stage: self.stage }
    }
}

/// Where the tiles on matrix units begin in [`TILES`], the largest first: 128×128 with 256 lanes and with 128, 64×64.
const COOP: usize = 18;

/// The tile to begin with, on matrix units. Where operands are split, more lanes share the registers that it takes (as an H100 was fastest).
const fn on_matrix_units(caps: &Caps) -> usize {
    match caps.class {
        // The larger ones take a compiler for a CPU most of a minute.
        DeviceClass::Software => COOP + 2,
        _ if matches!(caps.matrix_units, MatrixUnits::Split) => COOP,
        _ => COOP + 1,
    }
}

/// Why a product of this size, whose operands may go to the matrix units, does not; `None` if it does.
pub(super) fn refused(caps: &Caps, rows: u64, cols: u64, form: Form) -> Option<&'static str> {
    if rows.min(cols) < matrix::FEWEST {
        return Some(matrix::FEW);
    }
    let fits = TILES.iter().any(|tile| tile.stage == Stage::Coop && tile.fits(caps, form));
    (!fits).then_some("no tile suits the device's subgroups, or its workgroup memory")
}

/// The fewest terms of a split, and of a reduction that is split to fill the device.
const fn shortest(class: DeviceClass) -> (u64, u64) {
    match class {
        DeviceClass::Software => (1024, 1024),
        DeviceClass::Integrated => (256, 256),
        DeviceClass::Discrete => (128, 512),
    }
}

/// What a product asks of its tile.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) form: Form,
    /// Neighbouring rows that its program sees at once.
    pub(super) members: u32,
    /// Whether it needs whole sums.
    pub(super) unsplit: bool,
}

impl Asked {
    /// Whether the tile can serve it on this device.
    pub(super) const fn served_by(&self, tile: &Tile, caps: &Caps) -> bool {
        tile.fits(caps, self.form) && tile.holds_groups(self.members)
    }
}

/// The tile and the number of splits for C[rows, cols] with a reduction over `k`; 1 for an `unsplit` product.
pub(super) fn choose(caps: &Caps, rows: u64, cols: u64, k: u64, asked: &Asked) -> (Tile, u32) {
    let &Asked { form, members, unsplit } = asked;
    let size = Size::of(rows, cols, k);
    let chosen = match caps.matrix_size > 0 && refused(caps, rows, cols, form).is_none() {
        true => on_matrix_units(caps),
        false => caps.choices.get(size, form),
    };
    // A smaller tile where the chosen one can't run, or leaves most of the device idle: whole if one fills it (an H100 is faster
    // with 256 tiles of 64×64 than with 64 of 128×128 in four splits), else split as far as it may be.
    let workgroups = u64::from(caps.choices.workgroups());
    let (tiles_wanted, split_wanted) = match caps.class {
        DeviceClass::Software => (workgroups, u64::MAX),
        DeviceClass::Integrated | DeviceClass::Discrete => (workgroups.div_ceil(2), workgroups.div_ceil(2)),
    };
    let order = std::iter::once(chosen).chain(SMALLER[chosen].iter().copied());
    let fitting = || order.clone().filter(|&i| asked.served_by(&TILES[i], caps));
    let splits = |tile: &Tile| if unsplit { 1 } else { splits(caps, tile, rows, cols, k) };
    let tiles = |i: &usize| TILES[*i].tiles(rows, cols);
    let fills = |i: &usize| tiles(i) >= tiles_wanted;
    let fills_split = |i: &usize| tiles(i) * u64::from(splits(&TILES[*i])) >= split_wanted;
    // If none fills the device, the first of those with the most workgroups.
    let nearest = || fitting().rev().max_by_key(tiles);
    let index = fitting()
        .find(fills)
        .or_else(|| fitting().find(fills_split))
        .or_else(nearest)
        .unwrap_or(if members > 4 { 1 } else { 0 });
    let tile = TILES[index];
    let splits = splits(&tile);
    // Still too few: then more lanes on each.
    let idle = split_wanted < u64::MAX && tiles(&index) * u64::from(splits) < split_wanted && k >= SLICED_FROM;
    let sliced = TILES.iter().find(|other| other.slices_of(&tile) && asked.served_by(other, caps)).filter(|_| idle);
    (*sliced.unwrap_or(&tile), splits)
}

/// The tiles of products that finish two sums for each element: a lane has whole groups of four columns of either half of the tile.
const PAIRED: [usize; 3] = [13, 7, 21];

/// The tile of a product that finishes two sums for each element, with so many columns of B, if one serves it better than a product and a pass: not
/// for few rows, and not on software adapters, which have other tiles.
pub(super) fn paired(caps: &Caps, rows: u64, cols: u64, k: u64, form: Form, pinned: Option<usize>) -> Option<Tile> {
    let fitting = || PAIRED.into_iter().filter(|&index| TILES[index].fits(caps, form));
    if let Some(pinned) = pinned {
        return fitting().find(|&index| index == pinned).map(|index| TILES[index]);
    }
    if caps.class == DeviceClass::Software || matches!(Size::of(rows, cols, k), Size::Row | Size::Few) {
        return None;
    }
    let wanted = u64::from(caps.choices.workgroups()).div_ceil(2);
    let fills = |index: &usize| TILES[*index].tiles(rows, cols) >= wanted;
    fitting().find(fills).or_else(|| fitting().next_back()).map(|index| TILES[index])
}

/// The fewest terms of a reduction that slices of a workgroup share: two steps of four slices.
const SLICED_FROM: u64 = 128;

/// The number of splits: more than 1 if the output alone does not fill the device, or if a sum would have so many terms that it loses
/// digits; limited by scratch memory.
pub(super) fn splits(caps: &Caps, tile: &Tile, rows: u64, cols: u64, k: u64) -> u32 {
    let workgroups = tile.tiles(rows, cols).max(1);
    let fill = u64::from(caps.choices.workgroups());
    let (least, from) = shortest(caps.class);
    // Less than twice as many workgroups would not make up for the second stage.
    let for_width = if workgroups * 2 < fill && k >= from { (fill / workgroups).min(k / least) } else { 1 };
    let for_digits = k.div_ceil(LONGEST_RUN);
    let affordable = (most_partials(caps) / (rows * cols).max(1)).max(1);
    for_width.max(for_digits).max(1).min(affordable).min(MAX_SPLITS) as u32
}

/// The most elements of all partial products together.
pub(super) fn most_partials(caps: &Caps) -> u64 {
    (caps.max_scratch.min(caps.max_binding) / 4).min(shape::MAX_ELEMENTS)
}

/// The most terms that are added one after the other: the rounding error of a sum grows with them.
const LONGEST_RUN: u64 = 16_384;
/// The most splits that are chosen: the second stage reads all of them for each element.
const MAX_SPLITS: u64 = 256;
