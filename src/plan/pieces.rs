//! Cuts a dispatch that would run too long, or whose operands are longer than a binding may be, into several: the same kernel over a range
//! of its tiles, with a window of each operand. Tile numbers and indices stay the same, so that cutting changes no bit of the result.

use super::{Caps, Dispatch, Plan, SCRATCH, Use};
use crate::{
    error::{Error, Result},
    kernel::{MOST_SLOTS, MOST_TRIPS, Slot},
    operand::Operand,
};

/// Which elements of an operand the tiles of a dispatch use; the number is the length of one step. Where rows overlap, they use as many
/// more as the operand is longer than all steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Any tile may use any element.
    All,
    /// Row r of the output uses the elements from r·step to (r + 1)·step.
    Rows(u64),
    /// Column c of the output uses the elements from c·step to (c + 1)·step.
    Cols(u64),
    /// Step k of the reduction uses the elements from k·step to (k + 1)·step.
    Reduction(u64),
    /// Split s of the reduction uses the elements from s·step to (s + 1)·step.
    Splits(u64),
}

/// The part of the output that one tile covers. Tiles are numbered row by row, and split by split if the reduction is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    /// Rows of the output.
    pub rows: u64,
    /// Columns of the output.
    pub cols: u64,
    /// Whether the tiles are numbered split by split: `Params::split_tiles` tiles each, `Params::chunk` steps of the reduction.
    pub splits: bool,
    /// The work of one tile, in multiply-adds or operations that take as long.
    pub work: u64,
}

/// The work of an element of an elementwise pass, in multiply-adds: a load, an activation and a store.
pub(super) const ELEMENT: u64 = 48;

/// The most dispatches of a call: at 100 ms each they would run for two hours.
pub(super) const MOST_PIECES: u64 = 1 << 16;

/// Cuts every dispatch whose operands do not fit into one binding each or whose work is too large. An error if scratch, loops, indices or
/// bindings exceed their limits.
pub(super) fn cut(plan: &mut Plan, caps: &Caps) -> Result<()> {
    let mut pieces = Vec::with_capacity(plan.dispatches.len());
    for dispatch in plan.dispatches.drain(..) {
        bounded(&dispatch, caps)?;
        cut_one(dispatch, caps, &mut pieces)?;
    }
    plan.dispatches = pieces;
    for operand in SCRATCH {
        let bytes = plan.scratch(operand) * 4;
        if bytes > caps.max_scratch {
            return Err(Error::OutOfMemory { asked: bytes, limit: caps.max_scratch });
        }
    }
    Ok(())
}

/// An error if an invocation would loop too long, a u32 would wrap, or the device has too few bindings.
fn bounded(dispatch: &Dispatch, caps: &Caps) -> Result<()> {
    let Dispatch { kernel, params, uses, .. } = dispatch;
    let most = caps.max_bindings.min(MOST_SLOTS as u32);
    if kernel.bindings() > most || kernel.slots.len() > MOST_SLOTS {
        let operands: Vec<&str> = kernel.slots.iter().map(|slot| slot.role).collect();
        return Err(Error::LimitExceeded {
            what: format!("storage bindings of {}, for {}", kernel.file.name(), operands.join(", ")),
            asked: u64::from(kernel.bindings()),
            limit: u64::from(most),
        });
    }
    let numbers = uses.iter().map(|part| part.first + part.len).chain([kernel.reach(params)]);
    for (what, asked, limit) in [
        ("loop iterations of one invocation", kernel.trips(params), MOST_TRIPS),
        ("the largest index", numbers.max().unwrap_or(0), u64::from(u32::MAX)),
    ] {
        if asked > limit {
            return Err(Error::LimitExceeded { what: format!("{what} of {}", kernel.file.name()), asked, limit });
        }
    }
    Ok(())
}

fn cut_one(dispatch: Dispatch, caps: &Caps, pieces: &mut Vec<Dispatch>) -> Result<()> {
    let end = dispatch.params.tiles;
    let most_tiles = (caps.max_work / dispatch.cut.work.max(1)).max(1);
    let windows = |first, end| -> Vec<Use> { dispatch.uses.iter().map(|u| window(&dispatch, u, first, end)).collect() };
    let bytes = |(slot, part): (&Slot, &Use)| part.len * slot.bytes();
    let too_long = |uses: &[Use]| -> Option<(Operand, u64)> {
        let mut parts = dispatch.kernel.slots.iter().zip(uses);
        parts.find(|&part| bytes(part) > caps.max_binding).map(|part| (part.1.operand, bytes(part)))
    };
    let fits = |first: u32, end: u32| u64::from(end - first) <= most_tiles && too_long(&windows(first, end)).is_none();
    let mut first = dispatch.params.first;
    // While the rest does not fit into one piece: windows grow with the range of tiles, so the longest range that fits is found by
    // halving. It has at least one tile.
    while !fits(first, end) {
        let (mut good, mut bad) = (first + 1, end);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(first, middle) { good = middle } else { bad = middle }
        }
        let uses = windows(first, good);
        if let Some((operand, asked)) = too_long(&uses) {
            let what = format!("bytes of {operand} in one binding");
            return Err(Error::LimitExceeded { what, asked, limit: caps.max_binding });
        }
        if pieces.len() as u64 >= MOST_PIECES {
            let asked = u64::from(end - dispatch.params.first).div_ceil(most_tiles).max(MOST_PIECES + 1);
            return Err(Error::LimitExceeded { what: "dispatches of one call".into(), asked, limit: MOST_PIECES });
        }
        let mut piece = Dispatch { uses, ..dispatch.clone() };
        (piece.params.first, piece.params.tiles) = (first, good);
        pieces.push(piece);
        first = good;
        if first == end {
            return Ok(());
        }
    }
    let uses = windows(first, end);
    let mut rest = Dispatch { uses, ..dispatch };
    rest.params.first = first;
    pieces.push(rest);
    Ok(())
}

/// The part of an operand that the tiles `first..end` use.
fn window(dispatch: &Dispatch, part: &Use, first: u32, end: u32) -> Use {
    let Dispatch { params, cut, .. } = dispatch;
    let plane = if cut.splits { params.split_tiles } else { u32::MAX };
    let last = end - 1;
    let (split, last_split) = (first / plane, last / plane);
    let (row, last_row) = match split == last_split {
        true => (first % plane / params.tiles_cols, last % plane / params.tiles_cols),
        false => (0, (plane - 1) / params.tiles_cols),
    };
    let (col, last_col) = match split == last_split && row == last_row {
        true => (first % plane % params.tiles_cols, last % plane % params.tiles_cols),
        false => (0, params.tiles_cols - 1),
    };
    let steps = |first: u32, last: u32, each: u64, all: u32| {
        let all = u64::from(all);
        (u64::from(first) * each).min(all)..((u64::from(last) + 1) * each).min(all)
    };
    let (range, step, all) = match part.along {
        Along::All => return *part,
        Along::Rows(step) => (steps(row, last_row, cut.rows, params.rows), step, params.rows.into()),
        Along::Cols(step) => (steps(col, last_col, cut.cols, params.cols), step, params.cols.into()),
        Along::Reduction(step) => (steps(split, last_split, u64::from(params.chunk), params.k), step, params.k.into()),
        Along::Splits(step) => (u64::from(split)..u64::from(last_split) + 1, step, u64::MAX),
    };
    // Rows that overlap reach further than to the next one's begin, the last as far as all others.
    let beyond = part.len.saturating_sub(step.saturating_mul(all));
    // Begins at a whole vec4; ends with the operand, because the buffer may end after the last of rows with gaps.
    let start = range.start * step / 4 * 4;
    Use { first: start, len: (range.end * step + beyond).min(part.len) - start, ..*part }
}
