//! One product C = A·B with its prologue and its epilogue: which tile, how many splits, and the stages after them.

use super::{
    Along, Builder, Caps, Cut, DeviceClass, Dispatch, Form, Pin, Plan, Stage, TILES, Tile, affine::below_saved, reduce,
    tile,
};
use crate::{
    dtype::{Float, Storage},
    error::{Error, Result},
    kernel::{Elem, GRID_X, KernelFile, MOST_TRIPS, Params},
    request::{AffineRequest, Below, Operand, Saved, Want},
};

/// C[rows, cols] = Σ_red A·B.
pub(super) struct Product<'a> {
    pub(super) rows: u64,
    pub(super) cols: u64,
    pub(super) red: u64,
    pub(super) a: Matrix<'a>,
    pub(super) b: Matrix<'a>,
}

/// An operand: whether its neighbours in memory run along the reduction, and where it comes from.
pub(super) struct Matrix<'a> {
    pub(super) along: bool,
    pub(super) source: Source<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Plain(Operand),
    /// dz, computed at the load.
    Prologue(Local<'a>),
}

/// dz = dy ⊙ act'(·): of which layer, and from what.
#[derive(Clone, Copy)]
pub(super) struct Local<'a> {
    pub(super) request: &'a AffineRequest,
    pub(super) from: Operand,
    pub(super) slope: Saved,
}

pub(super) enum Epilogue<'a> {
    Forward { request: &'a AffineRequest, save: Saved, residual_in_place: bool, only_z: bool },
    Store { operand: Operand, want: Want, storage: Storage },
    Chain { below: &'a Below, channels: u64, storage: Storage },
}

impl Epilogue<'_> {
    fn storage(&self) -> Storage {
        match self {
            Epilogue::Forward { request, .. } => request.storage,
            Epilogue::Store { storage, .. } | Epilogue::Chain { storage, .. } => *storage,
        }
    }

    /// The result, where sums can lie in its own memory before they are finished: it is f32, and nothing else is read from
    /// it.
    fn own_memory(&self) -> Option<(Operand, &'static str)> {
        let (operand, role) = match self {
            Epilogue::Forward { only_z: true, .. } => (Operand::Z, "saved"),
            Epilogue::Forward { residual_in_place: true, .. } => return None,
            Epilogue::Forward { .. } => (Operand::Y, "y"),
            Epilogue::Store { operand, .. } => (*operand, "c"),
            Epilogue::Chain { .. } => (Operand::Dx, "c"),
        };
        (self.storage().of(operand) == Float::F32).then_some((operand, role))
    }

    /// The slots, flags and parameters of the epilogue, in the product itself or in a later stage: over `parts` rows of
    /// tiles, with the partial sums of their columns from the element `sums` of the partials on.
    fn add(&self, k: &mut Builder, rows: u64, cols: u64, parts: u64, sums: u64, wide: bool) {
        let first_sum = sums;
        let elem = if wide { Elem::Four } else { Elem::Scalar };
        match self {
            Epilogue::Forward { request, save, residual_in_place, only_z } => {
                k.flag("FORWARD", 1);
                if request.bias {
                    k.flag("BIAS", 1).read("bias", elem, Operand::B, cols).along(Along::Cols(1));
                }
                if !only_z {
                    k.activation(&request.activation).alpha(request.alpha, Operand::Alpha, cols);
                    k.write("y", elem, Operand::Y, rows * cols).along(Along::Rows(cols));
                    if request.residual {
                        let within = residual_in_place.then_some("y");
                        k.flag("RESIDUAL", 1);
                        k.read_within("residual", elem, Operand::Residual, rows * cols, within);
                        k.along(Along::Rows(cols));
                    }
                }
                k.on("NO_Y", *only_z);
                let target = if *only_z { Operand::Z } else { Operand::Saved };
                match save {
                    Saved::Z => {
                        k.flag("SAVE_Z", 1).write("saved", elem, target, rows * cols);
                        k.along(Along::Rows(cols));
                    }
                    Saved::Mask => {
                        let words = cols.div_ceil(32);
                        k.flag("SAVE_MASK", 1).write("saved", Elem::Word, target, rows * words);
                        k.along(Along::Rows(words));
                    }
                    Saved::Auto | Saved::Y | Saved::None => {}
                }
            }
            Epilogue::Store { operand, want, .. } => {
                k.flag("STORE", 1).write("c", elem, *operand, rows * cols).along(Along::Rows(cols));
                k.params.accumulate = u32::from(*want == Want::Accumulate);
            }
            Epilogue::Chain { below, channels, storage } => {
                let sums = below.db.wanted() || below.dalpha.wanted();
                k.flag("CHAIN", 1).on("CHAIN_SUMS", sums);
                k.on("SUM_DB", below.db.wanted()).on("SUM_DALPHA", below.dalpha.wanted());
                k.activation(&below.activation).alpha(below.alpha, Operand::AlphaBelow, *channels);
                let saved = below_saved(below, rows, cols, storage);
                k.slope(saved, elem, Operand::SavedBelow, [rows, cols], Along::Rows);
                k.params.channels = *channels as u32;
                k.write("c", elem, Operand::Dx, rows * cols).along(Along::Rows(cols));
                if sums {
                    k.write("partials", elem, Operand::Partials, 2 * parts * cols).from(first_sum);
                }
            }
        }
    }
}

/// Adds a product, and the second stage of split-K where the plan splits.
pub(super) fn product(
    plan: &mut Plan,
    product: &Product<'_>,
    epilogue: &Epilogue<'_>,
    aligned: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<()> {
    let Product { rows, cols, red, a, b } = product;
    let (&rows, &cols, &red) = (rows, cols, red);
    let form = Form::new(a.along, b.along);
    // A chain sums the columns of its tiles: in the product itself, if that has whole sums.
    let unsplit = matches!(epilogue, Epilogue::Chain { .. });
    let (tile, mut splits) = match pin.tile {
        None => tile::choose(caps, rows, cols, red, form, unsplit),
        Some(index) => {
            let tile = *TILES.get(index).ok_or_else(|| Error::LimitExceeded {
                what: "number of the pinned tile".into(),
                asked: index as u64,
                limit: TILES.len() as u64 - 1,
            })?;
            // Some tiles can't serve a product whose operands lie across the reduction.
            match tile.fits(caps, form) || !tile.fits(caps, Form::Nt) {
                true => (tile, tile::splits(caps, &tile, rows, cols, red)),
                false => tile::choose(caps, rows, cols, red, form, unsplit),
            }
        }
    };
    if !tile.fits(caps, form) {
        return Err(Error::Unsupported {
            what: pin.tile.map_or("a product".into(), |index| format!("pinned tile {index}")),
            why: "the device has too few invocations or too little workgroup memory for it".into(),
        });
    }
    if let Some(pinned) = pin.splits {
        splits = pinned.max(1);
    }
    if unsplit {
        splits = 1;
    }
    let vec = aligned && vectors(rows, cols, red, a, b);
    // A lane that stores one column has no four.
    let wide = tile.tn.is_multiple_of(4) && wide(cols, aligned);
    let wanted = red.div_ceil(u64::from(splits)).next_multiple_of(4).max(4);
    let whole = Method { tile, splits: 1, chunk: wanted, partial: false, vec, wide };
    let longest = longest_chunk(&tiled(product, epilogue, &whole, caps)?);
    let chunk = wanted.min(bindable_chunk(product, caps)).min(longest);
    let splits = red.div_ceil(chunk).max(1);
    // Where the plan must split, and the partial products would be too long, the splits are added up in turn.
    let partials = splits.saturating_mul(rows * cols);
    let in_turn = splits > 1 && chunk < wanted && partials > tile::most_partials(caps);
    let method = Method { splits, chunk, partial: splits > 1 && !in_turn, ..whole };
    if in_turn {
        return one_by_one(plan, product, epilogue, &method, aligned, caps);
    }
    plan.dispatches.push(tiled(product, epilogue, &method, caps)?);
    if splits > 1 {
        let (first, splits) = reduce::folded(plan, 0, splits, rows * cols, MOST_ADDED)?;
        let from = Products { operand: Operand::Partials, within: None, first, splits };
        let stage = split_sum(plan, rows, cols, &from, epilogue, aligned, caps)?;
        plan.dispatches.push(stage);
    }
    Ok(())
}

/// The partial products that one stage adds for each element.
const MOST_ADDED: u64 = 1024;

/// The splits one after the other, each added to what those before it have left: in the result's own memory, or in scratch.
fn one_by_one(
    plan: &mut Plan,
    product: &Product<'_>,
    epilogue: &Epilogue<'_>,
    method: &Method,
    aligned: bool,
    caps: &Caps,
) -> Result<()> {
    let own = epilogue.own_memory();
    let (operand, within) = own.map_or((Operand::Partials, None), |(operand, role)| (operand, Some(role)));
    let (want, finished) = match epilogue {
        Epilogue::Store { want, .. } if own.is_some() => (*want, true),
        _ => (Want::Overwrite, false),
    };
    let added = Epilogue::Store { operand, want, storage: epilogue.storage() };
    let mut dispatch = tiled(product, &added, method, caps)?;
    let (tiles, plane) = (dispatch.params.tiles, dispatch.params.plane);
    for first in (0..tiles).step_by(plane as usize) {
        (dispatch.params.first, dispatch.params.tiles) = (first, first + plane);
        plan.dispatches.push(dispatch.clone());
        dispatch.params.accumulate = 1;
    }
    if !finished {
        let from = Products { operand, within, first: 0, splits: 1 };
        let stage = split_sum(plan, product.rows, product.cols, &from, epilogue, aligned, caps)?;
        plan.dispatches.push(stage);
    }
    Ok(())
}

/// The longest part of the reduction that an invocation may run through: a multiple of 4.
fn longest_chunk(whole: &Dispatch) -> u64 {
    let trips = |fours: u32| whole.kernel.trips(&Params { chunk: 4 * fours, ..whole.params });
    let (mut good, mut bad) = (1, whole.params.red.div_ceil(4) + 1);
    if trips(bad) <= MOST_TRIPS {
        return u64::MAX;
    }
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if trips(middle) <= MOST_TRIPS { good = middle } else { bad = middle }
    }
    4 * u64::from(good)
}

/// The longest part of the reduction whose operands fit into one binding each, where they lie across it.
fn bindable_chunk(product: &Product<'_>, caps: &Caps) -> u64 {
    let chunk = |matrix: &Matrix<'_>, across: u64| match matrix.along {
        true => u64::MAX,
        false => (caps.max_binding / 16 / across.max(1) * 4).max(4),
    };
    chunk(&product.a, product.rows).min(chunk(&product.b, product.cols))
}

/// Whether every row of both operands is a whole number of vec4.
fn vectors(rows: u64, cols: u64, red: u64, a: &Matrix<'_>, b: &Matrix<'_>) -> bool {
    let fours = |along, across: u64| if along { red.is_multiple_of(4) } else { across.is_multiple_of(4) };
    fours(a.along, rows) && fours(b.along, cols) && red > 0
}

/// How a product is computed.
struct Method {
    tile: Tile,
    /// Parts of the reduction, `chunk` steps each.
    splits: u64,
    chunk: u64,
    /// Each split leaves a partial product, for split_sum.
    partial: bool,
    /// Operands are loaded as vec4.
    vec: bool,
    /// Results are stored as vec4.
    wide: bool,
}

/// Whether results can be stored in groups of four: fewer stores, and a narrow type has no word that two lanes share.
const fn wide(cols: u64, aligned: bool) -> bool {
    aligned && cols.is_multiple_of(4)
}

fn tiled(product: &Product<'_>, epilogue: &Epilogue<'_>, method: &Method, caps: &Caps) -> Result<Dispatch> {
    let &Method { tile, splits, chunk, partial, vec, wide } = method;
    let Product { rows, cols, red, a, b } = product;
    let (&rows, &cols, &red) = (rows, cols, red);
    let kernel = |file| Builder::storing(file, epilogue.storage(), caps);
    let mut k = match tile.stage {
        Stage::Direct => kernel(KernelFile::ProductDirect),
        Stage::Broadcast => {
            let mut k = kernel(KernelFile::ProductBroadcast);
            k.flag("TM8", tile.tm / 8).flag("TM32", tile.tm.div_ceil(32));
            k
        }
        Stage::Staged { bk } => {
            let mut k = kernel(KernelFile::ProductStaged);
            // A GPU's compiler profits from whole steps in one block; a CPU's only takes longer.
            let unroll = if caps.class == DeviceClass::Software { 1 } else { bk };
            k.flag("BK", bk).flag("UNROLL", unroll).on("LOOPED", unroll < bk).flag("INTERLEAVED", 1);
            k
        }
        Stage::Across => {
            let mut k = kernel(KernelFile::ProductAcross);
            let (span, subgroup) = tile.span(caps);
            let computed = rows.next_power_of_two().min(u64::from(tile.bm()));
            k.flag("SPAN", span).flag("COLS", tile.across_cols(span)).on("SUBGROUP", subgroup);
            k.flag("ROWS", computed as u32);
            k
        }
    };
    let Tile { wx, wy, tm, tn, .. } = tile;
    k.flag("WX", wx).flag("WY", wy).flag("TM", tm).flag("TN", tn).flag("TM4", tm.div_ceil(4)).flag("TN4", tn / 4);
    k.flag("BM", tile.bm()).flag("BN", tile.bn()).flag("LANES", wx * wy);
    k.on("WIDE", wide).on("VEC", vec).on("A_RED", a.along).on("B_RED", b.along).on("VEC_STEPS", vec && a.along);
    let elem = if vec { Elem::Four } else { Elem::Scalar };
    for (role, matrix, across, by) in [("a", a, rows, Along::Rows as fn(u64) -> Along), ("b", b, cols, Along::Cols)] {
        let along = if matrix.along { by } else { Along::Reduction };
        match matrix.source {
            Source::Plain(operand) => {
                k.read(role, elem, operand, red * across).along(along(if matrix.along { red } else { across }));
            }
            Source::Prologue(local) => {
                let request = local.request;
                let (m, n) = (request.m as u64, request.n as u64);
                k.flag("PROLOGUE", 1).flag(if role == "a" { "PROLOGUE_A" } else { "PROLOGUE_B" }, 1);
                k.activation(&request.activation).alpha(request.alpha, Operand::Alpha, n);
                k.read("dy", elem, Operand::Dy, m * n).along(along(n));
                k.slope(local.slope, elem, local.from, [m, n], along);
                k.params.channels = n as u32;
            }
        }
    }
    let plane = tile.tiles(rows, cols);
    let tiles_cols = cols.div_ceil(u64::from(tile.bn()));
    if partial {
        let elem = if wide { Elem::Four } else { Elem::Scalar };
        k.flag("PARTIAL", 1).write("partials", elem, Operand::Partials, splits * rows * cols);
        k.along(Along::Splits(rows * cols));
    } else {
        epilogue.add(&mut k, rows, cols, plane / tiles_cols, 0, wide);
    }
    k.params.rows = rows as u32;
    k.params.cols = cols as u32;
    k.params.red = red as u32;
    k.params.chunk = chunk as u32;
    k.params.plane = plane as u32;
    k.params.tiles_cols = tiles_cols as u32;
    k.params.tiles = workgroups(plane * splits)?;
    let (bm, bn) = (u64::from(tile.bm()), u64::from(tile.bn()));
    k.cut = Cut { rows: bm, cols: bn, splits: true, work: bm * bn * chunk.min(red).max(1) };
    Ok(k.build())
}

/// Partial products [splits, rows, cols]: from which element of what on, or in the memory of which output.
struct Products {
    operand: Operand,
    within: Option<&'static str>,
    first: u64,
    splits: u64,
}

fn split_sum(
    plan: &Plan,
    rows: u64,
    cols: u64,
    from: &Products,
    epilogue: &Epilogue<'_>,
    aligned: bool,
    caps: &Caps,
) -> Result<Dispatch> {
    const LANES: u32 = 64;
    let wide = wide(cols, aligned);
    let (elem, bn) = if wide { (Elem::Four, 4 * LANES) } else { (Elem::Scalar, LANES) };
    // A chain's lanes sum their columns over a few rows.
    let bm = if matches!(epilogue, Epilogue::Chain { .. }) { 16 } else { 1 };
    let (parts, across) = (rows.div_ceil(u64::from(bm)), cols.div_ceil(u64::from(bn)));
    let mut k = Builder::storing(KernelFile::SplitSum, epilogue.storage(), caps);
    k.flag("BM", bm).flag("BN", bn).flag("LANES", LANES).on("WIDE", wide);
    k.read_within("products", elem, from.operand, from.splits * rows * cols, from.within).from(from.first);
    if from.splits == 1 {
        k.along(Along::Rows(cols));
    }
    epilogue.add(&mut k, rows, cols, parts, reduce::free(plan), wide);
    k.params.rows = rows as u32;
    k.params.cols = cols as u32;
    k.params.chunk = from.splits as u32;
    k.params.tiles_cols = across as u32;
    k.params.tiles = workgroups(parts * across)?;
    k.params.plane = k.params.tiles;
    let (bm, bn) = (u64::from(bm), u64::from(bn));
    k.cut = Cut { rows: bm, cols: bn, splits: false, work: bm * bn * from.splits };
    Ok(k.build())
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
