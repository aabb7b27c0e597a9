//! One product C = A·B with its prologue and its epilogue: which tile, how many splits, and the stages after them.

use super::{
    Along, Builder, Caps, Cut, DeviceClass, Dispatch, Form, Grid, Pin, Plan, Stage, TILES, Tile,
    builder::{PartialSums, Stack, farthest, workgroups},
    programs, reduce, tile,
};
use crate::{
    activation::Activation,
    dtype::Float,
    error::{Error, Result},
    kernel::{KernelFile, MOST_TRIPS, Params},
    operand::Operand,
    program::{By, Over, Program, Step, Write},
    request::Want,
    storage::Storage,
};

/// C[rows, cols] = Σ_k A·B, finished.
pub(super) struct Product {
    pub(super) rows: u64,
    pub(super) cols: u64,
    pub(super) k: u64,
    pub(super) a: Matrix,
    pub(super) b: Matrix,
    pub(super) finish: Finish,
}

/// An operand: whether its neighbours in memory run along the reduction, and what an element of it is.
#[derive(Clone)]
pub(super) struct Matrix {
    pub(super) along: bool,
    pub(super) program: Program,
}

/// What becomes of a sum.
#[derive(Clone)]
pub(super) struct Finish {
    pub(super) program: Program,
    /// The activations of the programs, those of the operands among them.
    pub(super) stages: Vec<Activation>,
    pub(super) storage: Storage,
    /// An output that is the memory of an input.
    pub(super) in_place: Option<(Operand, Operand)>,
}

impl Finish {
    /// The result's memory, where sums can lie in it before they are finished: it is f32, without gaps, overwritten, and nothing else
    /// is read from it.
    fn own_memory(&self) -> Option<Operand> {
        let mut stores = self.program.steps().iter().filter_map(|step| match step {
            Step::Store(operand, By::Element, ..) => Some(*operand),
            _ => None,
        });
        stores.rfind(|&operand| {
            let plain = self.storage.of(operand) == Float::F32 && self.storage.row_stride(operand).is_none();
            self.in_place.is_none() && plain
        })
    }

    /// Whether the sum is stored as it is, and how.
    fn plain(&self) -> Option<Want> {
        match self.program.steps() {
            [Step::Sum(0), Step::Store(_, By::Element, Write::Overwrite, _)] => Some(Want::Overwrite),
            [Step::Sum(0), Step::Store(_, By::Element, Write::Accumulate, _)] => Some(Want::Accumulate),
            _ => None,
        }
    }

    fn has_sums(&self) -> bool {
        self.program.sums(Over::Rows) + self.program.sums(Over::Columns) > 0
    }
}

/// Adds a product, and the second stage of split-K where the plan splits.
pub(super) fn product(
    plan: &mut Plan,
    product: &Product,
    aligned: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<PartialSums> {
    let &Product { rows, cols, k, ref a, ref b, ref finish } = product;
    let form = Form::new(a.along, b.along);
    // Sums over rows and columns are those of tiles: in the product itself, if that has whole sums.
    let unsplit = finish.has_sums();
    let (tile, mut splits) = match pin.tile {
        None => tile::choose(caps, rows, cols, k, form, unsplit),
        Some(index) => {
            let tile = *TILES.get(index).ok_or_else(|| Error::LimitExceeded {
                what: "number of the pinned tile".into(),
                asked: index as u64,
                limit: TILES.len() as u64 - 1,
            })?;
            // Some tiles can't serve a product whose operands lie across the reduction.
            match tile.fits(caps, form) || !tile.fits(caps, Form::Nt) {
                true => (tile, tile::splits(caps, &tile, rows, cols, k)),
                false => tile::choose(caps, rows, cols, k, form, unsplit),
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
    let vec = aligned && vectors(rows, cols, k, a, b);
    // A lane that stores one column has no four.
    let wide = tile.tn.is_multiple_of(4) && wide(cols, aligned);
    let wanted = k.div_ceil(u64::from(splits)).next_multiple_of(4).max(4);
    let whole = Method { tile, splits: 1, chunk: wanted, partial: false, vec, wide };
    let longest = longest_chunk(&tiled(product, &whole, caps)?.0);
    let chunk = wanted.min(bindable_chunk(product, caps)).min(longest);
    let splits = k.div_ceil(chunk).max(1);
    // Where the plan must split, and the partial products would be too long, the splits are added up in turn.
    let partials = splits.saturating_mul(rows * cols);
    let in_turn = splits > 1 && chunk < wanted && partials > tile::most_partials(caps);
    let method = Method { splits, chunk, partial: splits > 1 && !in_turn, ..whole };
    if in_turn {
        return one_by_one(plan, product, &method, aligned, caps);
    }
    let (dispatch, sums) = tiled(product, &method, caps)?;
    plan.dispatches.push(dispatch);
    if splits == 1 {
        return Ok(sums);
    }
    let Stack { first, rows: splits, .. } =
        reduce::folded(plan, 1, Stack { first: 0, rows: splits, cols: rows * cols }, MOST_ADDED)?;
    let from = Products { operand: Operand::Partials, within: None, first, splits };
    split_sum(plan, product, &from, aligned, caps)
}

/// The partial products that one stage adds for each element.
const MOST_ADDED: u64 = 1024;

/// The splits one after the other, each added to what those before it have left: in the result's own memory, or in scratch.
fn one_by_one(plan: &mut Plan, product: &Product, method: &Method, aligned: bool, caps: &Caps) -> Result<PartialSums> {
    let own = product.finish.own_memory();
    let operand = own.unwrap_or(Operand::Partials);
    let finished = product.finish.plain().filter(|_| own.is_some());
    let of = |want| {
        let finish = Finish { program: programs::sum(operand, want), in_place: None, ..product.finish.clone() };
        let (dispatch, _) =
            tiled(&Product { a: product.a.clone(), b: product.b.clone(), finish, ..*product }, method, caps)?;
        Ok(dispatch)
    };
    let mut want = finished.unwrap_or(Want::Overwrite);
    let Params { tiles, split_tiles: plane, .. } = of(want)?.params;
    for first in (0..tiles).step_by(plane as usize) {
        let mut dispatch = of(want)?;
        (dispatch.params.first, dispatch.params.tiles) = (first, first + plane);
        plan.dispatches.push(dispatch);
        want = Want::Accumulate;
    }
    if finished.is_some() {
        return Ok(PartialSums::default());
    }
    let from = Products { operand, within: own.map(Operand::name), first: 0, splits: 1 };
    split_sum(plan, product, &from, aligned, caps)
}

/// The longest part of the reduction that an invocation may run through: a multiple of 4.
fn longest_chunk(whole: &Dispatch) -> u64 {
    let trips = |fours: u32| whole.kernel.trips(&Params { chunk: 4 * fours, ..whole.params });
    let (mut good, mut bad) = (1, whole.params.k.div_ceil(4) + 1);
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
fn bindable_chunk(product: &Product, caps: &Caps) -> u64 {
    let chunk = |matrix: &Matrix, across: u64| match matrix.along {
        true => u64::MAX,
        false => (caps.max_binding / 16 / farthest(&product.finish.storage, &matrix.program, across).max(1) * 4).max(4),
    };
    chunk(&product.a, product.rows).min(chunk(&product.b, product.cols))
}

/// Whether every row of both operands is a whole number of vec4.
fn vectors(rows: u64, cols: u64, k: u64, a: &Matrix, b: &Matrix) -> bool {
    let fours = |along, across: u64| if along { k.is_multiple_of(4) } else { across.is_multiple_of(4) };
    fours(a.along, rows) && fours(b.along, cols) && k > 0
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

fn tiled(product: &Product, method: &Method, caps: &Caps) -> Result<(Dispatch, PartialSums)> {
    let &Method { tile, splits, chunk, partial, vec, wide } = method;
    let &Product { rows, cols, k, ref a, ref b, ref finish } = product;
    let kernel = |file| Builder::storing(file, finish.storage, caps);
    let mut build = match tile.stage {
        Stage::Direct => kernel(KernelFile::ProductDirect),
        Stage::Broadcast => {
            let mut build = kernel(KernelFile::ProductBroadcast);
            build.flag("TM8", tile.tm / 8).flag("TM32", tile.tm.div_ceil(32));
            build
        }
        Stage::Staged { bk } => {
            let mut build = kernel(KernelFile::ProductStaged);
            // A GPU's compiler profits from whole steps in one block; a CPU's only takes longer.
            let unroll = if caps.class == DeviceClass::Software { 1 } else { bk };
            build.flag("BK", bk).flag("UNROLL", unroll).on("LOOPED", unroll < bk).flag("INTERLEAVED", 1);
            build
        }
        Stage::SlicedK => {
            let mut build = kernel(KernelFile::ProductSlicedK);
            let (span, subgroup) = tile.span(caps);
            let computed = rows.next_power_of_two().min(u64::from(tile.bm()));
            build.flag("SPAN", span).flag("COLS", tile.across_cols(span)).on("SUBGROUP", subgroup);
            build.flag("ROWS", computed as u32);
            build
        }
    };
    let Tile { wx, wy, tm, tn, .. } = tile;
    build.flag("WX", wx).flag("WY", wy).flag("TM", tm).flag("TN", tn).flag("TM4", tm.div_ceil(4)).flag("TN4", tn / 4);
    build.flag("BM", tile.bm()).flag("BN", tile.bn()).flag("LANES", wx * wy);
    build
        .on("WIDE", wide)
        .on("VEC", vec)
        .on("A_ALONG_K", a.along)
        .on("B_ALONG_K", b.along)
        .on("VEC_STEPS", vec && a.along);
    for (role, matrix, across, by) in [("a", a, rows, Along::Rows as fn(u64) -> Along), ("b", b, cols, Along::Cols)] {
        // As it lies: its rows run along the output or along the reduction.
        let (rows, cols, by_row) = if matrix.along { (across, k, by) } else { (k, across, Along::Reduction as _) };
        let grid = Grid { by_row, by_column: |_| Along::All, ..Grid::output(rows, cols, vec) };
        build.load(role, matrix.program.clone(), &grid);
    }
    let plane = tile.tiles(rows, cols);
    let tiles_cols = cols.div_ceil(u64::from(tile.bn()));
    let grid = Grid::output(rows, cols, wide);
    let mut sums = PartialSums::default();
    if partial {
        build.flag("PARTIAL", 1).write("partials", grid.elem(), Operand::Partials, splits * rows * cols);
        build.along(Along::Splits(rows * cols));
    } else {
        sums = build.finish(&finish.program, &grid, finish.in_place).sums(&grid, [plane / tiles_cols, tiles_cols], 0);
    }
    build.stages(&finish.stages);
    build.params.rows = rows as u32;
    build.params.cols = cols as u32;
    build.params.k = k as u32;
    build.params.chunk = chunk as u32;
    build.params.split_tiles = plane as u32;
    build.params.tiles_cols = tiles_cols as u32;
    build.params.tiles = workgroups(plane * splits)?;
    let (bm, bn) = (u64::from(tile.bm()), u64::from(tile.bn()));
    build.cut = Cut { rows: bm, cols: bn, splits: true, work: bm * bn * chunk.min(k).max(1) };
    Ok((build.build(), sums))
}

/// Partial products [splits, rows, cols]: from which element of what on, or in the memory of which output.
struct Products {
    operand: Operand,
    within: Option<&'static str>,
    first: u64,
    splits: u64,
}

fn split_sum(plan: &mut Plan, product: &Product, from: &Products, aligned: bool, caps: &Caps) -> Result<PartialSums> {
    const LANES: u32 = 64;
    let &Product { rows, cols, ref finish, .. } = product;
    let wide = wide(cols, aligned);
    let bn = if wide { 4 * LANES } else { LANES };
    // Sums over rows are those of a few.
    let bm = if finish.has_sums() { 16 } else { 1 };
    let (parts, across) = (rows.div_ceil(u64::from(bm)), cols.div_ceil(u64::from(bn)));
    let mut build = Builder::storing(KernelFile::SplitSum, finish.storage, caps);
    build.flag("BM", bm).flag("BN", bn).flag("LANES", LANES).on("WIDE", wide);
    let grid = Grid::output(rows, cols, wide);
    build.read_within("products", grid.elem(), from.operand, from.splits * rows * cols, from.within).from(from.first);
    if from.splits == 1 {
        build.along(Along::Rows(cols));
    }
    let sums = build.finish(&finish.program, &grid, finish.in_place).sums(&grid, [parts, across], reduce::free(plan));
    build.stages(&finish.stages);
    build.params.rows = rows as u32;
    build.params.cols = cols as u32;
    build.params.splits = from.splits as u32;
    build.params.tiles_cols = across as u32;
    build.params.tiles = workgroups(parts * across)?;
    build.params.split_tiles = build.params.tiles;
    let (bm, bn) = (u64::from(bm), u64::from(bn));
    build.cut = Cut { rows: bm, cols: bn, splits: false, work: bm * bn * from.splits };
    plan.dispatches.push(build.build());
    Ok(sums)
}
