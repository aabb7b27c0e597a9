//! A product with its reduction whole or split: the number of splits, the memory of their partial products, and the stage that adds them.

use super::{
    Along, Builder, Caps, Cut, DeviceClass, Dispatch, Form, Grid, Pin, Plan, Stage, TILES, Tile,
    builder::{PartialSums, Stack, farthest, workgroups},
    product::{Finish, Matrix, Method, Product, tiled, wide},
    programs, reduce, scales, tile,
};
use crate::{
    error::{Error, Result},
    kernel::{KernelFile, MOST_SLOTS, MOST_TRIPS, Params},
    operand::Operand,
    program::Over,
    request::Want,
};

/// Adds a product to the plan: one dispatch, or splits and the stage that adds them.
pub(super) fn product(
    plan: &mut Plan,
    product: &Product,
    aligned: bool,
    device: &Caps,
    pin: &Pin,
) -> Result<PartialSums> {
    let (caps, plain_because) = product.caps(device);
    on(plan, product, aligned, device, &caps, plain_because, pin)
}

/// What a tile must serve.
fn asked(product: &Product, device: &Caps) -> tile::Asked {
    let Product { a, b, finish, .. } = product;
    // On a software adapter a program with sums over rows or columns runs in the product itself, which therefore needs whole sums: a few
    // workgroups keep it busy, and the second stage sums fewer rows at a time.
    let unsplit = finish.has_sums() && device.class == DeviceClass::Software;
    tile::Asked { form: Form::new(a.along, b.along), members: finish.program.members(), unsplit }
}

/// The tile of a product, and the splits of its reduction, by the pin or the heuristics.
fn chosen(product: &Product, asked: &tile::Asked, device: &Caps, caps: &Caps, pin: &Pin) -> Result<(Tile, u32)> {
    let &Product { rows, cols, k, .. } = product;
    let Some(index) = pin.tile else { return Ok(tile::choose(caps, rows, cols, k, asked)) };
    let tile = *TILES.get(index).ok_or_else(|| Error::LimitExceeded {
        what: "number of the pinned tile".into(),
        asked: index as u64,
        limit: TILES.len() as u64 - 1,
    })?;
    // A pinned tile that cannot serve this product, but others, is replaced.
    match asked.served_by(&tile, caps) || !tile.fits(device, Form::Nt) {
        true => Ok((tile, tile::splits(caps, &tile, rows, cols, k))),
        false => Ok(tile::choose(caps, rows, cols, k, asked)),
    }
}

/// Whether the product's tile is filled by fetches that are written once in the text. The others are unrolled, and an operand that asks at each load
/// where it lies would ask dozens of times: compilers for CPUs don't come back from that.
pub(super) fn fetches_once(product: &Product, device: &Caps, pin: &Pin) -> Result<bool> {
    let (caps, _) = product.caps(device);
    let (tile, _) = chosen(product, &asked(product, device), device, &caps, pin)?;
    Ok(matches!(tile.stage, Stage::Staged { .. }))
}

/// [`product`] with what it may use of the device, and why it may not use matrix units.
fn on(
    plan: &mut Plan,
    product: &Product,
    aligned: bool,
    device: &Caps,
    caps: &Caps,
    plain_because: Option<&'static str>,
    pin: &Pin,
) -> Result<PartialSums> {
    let &Product { rows, cols, k, .. } = product;
    let asked = asked(product, device);
    let form = asked.form;
    let (tile, mut splits) = chosen(product, &asked, device, caps, pin)?;
    if !tile.fits(caps, form) {
        return Err(Error::Unsupported {
            what: pin.tile.map_or("a product".into(), |index| format!("pinned tile {index}")),
            why: match tile.stage {
                Stage::Coop => "the device has no matrix units for it, or was not asked for them".into(),
                _ => "the device has too few invocations or too little workgroup memory for it".into(),
            },
        });
    }
    let plain_because = because(&tile, caps, [rows, cols], form, plain_because);
    if let Some(pinned) = pin.splits {
        splits = pinned.max(1);
    }
    if asked.unsplit {
        splits = 1;
    }
    let vec = aligned && product.vectors();
    // A lane that stores one column cannot store vec4.
    let wide = tile.tn.is_multiple_of(4) && wide(cols, aligned);
    let wanted = k.div_ceil(u64::from(splits)).next_multiple_of(4).max(4);
    let whole = Method { tile, splits: 1, chunk: wanted, partial: false, vec, wide, plain_because: None };
    let dispatch = tiled(product, &whole, caps)?.0;
    let scaled = tile.stage == Stage::Coop && product.scaled(caps);
    if scaled && dispatch.kernel.bindings() > caps.max_bindings.min(MOST_SLOTS as u32) {
        let why = "with its scales it has more operands than the device binds";
        return on(plan, product, aligned, device, &caps.matrix_size(0), Some(why), pin);
    }
    let longest = longest_chunk(&dispatch);
    let chunk = wanted.min(bindable_chunk(product, caps)).min(longest);
    let splits = k.div_ceil(chunk).max(1);
    // If the reduction must be split, but the partial products would be too large, the splits are added one after the other.
    let partials = splits.saturating_mul(rows * cols);
    let in_turn = splits > 1 && chunk < wanted && partials > tile::most_partials(caps);
    let method = Method { splits, chunk, partial: splits > 1 && !in_turn, plain_because, ..whole };
    if scaled {
        scales::scales(plan, product, aligned, caps)?;
    }
    if in_turn {
        return one_by_one(plan, product, &method, aligned, caps);
    }
    let (dispatch, sums) = tiled(product, &method, caps)?;
    plan.dispatches.push(dispatch);
    if splits == 1 {
        return Ok(sums);
    }
    let Stack { first, rows: splits, .. } =
        reduce::folded(plan, 1, Stack { first: 0, rows: splits, cols: rows * cols }, MOST_ADDED, reduce::Fold::Sum)?;
    let from = Products { operand: Operand::Partials, within: None, first, splits };
    split_sum(plan, product, &from, aligned, caps)
}

/// Why a product with this tile is not on matrix units, if they were asked for; `without`: why it may not use them.
fn because(
    tile: &Tile,
    caps: &Caps,
    [rows, cols]: [u64; 2],
    form: Form,
    without: Option<&'static str>,
) -> Option<&'static str> {
    match tile.stage {
        Stage::Coop => None,
        _ if caps.matrix_size > 0 => tile::refused(caps, rows, cols, form).or(Some("another tile is pinned")),
        _ => without,
    }
}

/// Adds a product that finishes two sums for each element, in one dispatch, and says whether it has: not where its reduction is better split, or where
/// no tile or too few bindings serve it.
pub(super) fn paired(plan: &mut Plan, product: &Product, aligned: bool, device: &Caps, pin: &Pin) -> Result<bool> {
    let &Product { rows, k, .. } = product;
    let (caps, without) = product.caps(device);
    let (asked, of_b) = (asked(product, device), product.cols_of_b());
    let sides = product.b.program.apart();
    let Some((tile, splits)) = tile::paired(&caps, [rows, of_b, k], &asked, sides.is_some(), pin.tile) else {
        return Ok(false);
    };
    let plain_because = because(&tile, &caps, [rows, of_b], asked.form, without);
    let (vec, wide) = (aligned && product.vectors(), wide(product.cols, aligned));
    let chunk = k.next_multiple_of(4).max(4);
    let method = Method { tile, splits: 1, chunk, partial: false, vec, wide, plain_because };
    let (dispatch, _) = tiled(product, &method, &caps)?;
    // Any tile may use any row of a weight.
    let storage = &product.finish.storage;
    let bytes = |operand: Operand, across: u64| {
        let [rows_of_w, in_row] = if product.b.along { [across, k] } else { [k, across] };
        rows_of_w * storage.row_stride(operand).map_or(in_row, u64::from) * storage.of(operand).bytes()
    };
    let weights = match sides {
        None => vec![bytes(Operand::W, of_b)],
        Some(sides) => sides.map(|operand| bytes(operand, product.cols)).to_vec(),
    };
    let whole = pin.splits.unwrap_or(splits) <= 1 && longest_chunk(&dispatch) >= k;
    let binds = dispatch.kernel.bindings() <= caps.max_bindings.min(MOST_SLOTS as u32);
    let serves = whole && binds && weights.into_iter().all(|weight| weight <= caps.max_binding);
    if serves {
        if tile.stage == Stage::Coop && product.scaled(&caps) {
            scales::scales(plan, product, aligned, &caps)?;
        }
        plan.dispatches.push(dispatch);
    }
    Ok(serves)
}

/// Adds the stage that finishes the sums of a product, which are in scratch memory.
pub(super) fn finished(
    plan: &mut Plan,
    product: &Product,
    sums: Operand,
    aligned: bool,
    caps: &Caps,
) -> Result<PartialSums> {
    split_sum(plan, product, &Products { operand: sums, within: None, first: 0, splits: 1 }, aligned, caps)
}

/// The most partial products that one stage adds for each element.
const MOST_ADDED: u64 = 1024;

/// Adds the splits as dispatches one after the other, each accumulating into the result's own memory or into scratch.
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
    let Params { tiles, split_tiles, .. } = of(want)?.params;
    for first in (0..tiles).step_by(split_tiles as usize) {
        let mut dispatch = of(want)?;
        (dispatch.params.first, dispatch.params.tiles) = (first, first + split_tiles);
        plan.dispatches.push(dispatch);
        want = Want::Accumulate;
    }
    if finished.is_some() {
        return Ok(PartialSums::default());
    }
    let from = Products { operand, within: own.map(Operand::name), first: 0, splits: 1 };
    split_sum(plan, product, &from, aligned, caps)
}

/// The most steps of the reduction that an invocation may run: a multiple of 4.
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

/// The most steps of the reduction whose operands, if stored across it, fit into one binding each.
fn bindable_chunk(product: &Product, caps: &Caps) -> u64 {
    let chunk = |matrix: &Matrix, across: u64| match matrix.along || matrix.program.joins() {
        true => u64::MAX,
        false => (caps.max_binding / 16 / farthest(&product.finish.storage, &matrix.program, across).max(1) * 4).max(4),
    };
    chunk(&product.a, product.rows).min(chunk(&product.b, product.cols))
}

/// Partial products `[splits, rows, cols]`: their operand and first element, or the output in whose memory they are.
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
    // With sums, a workgroup takes 16 rows, so that partial sums are fewer.
    let bm = if finish.has_sums() { 16 } else { finish.program.members() };
    let (parts, across) = (rows.div_ceil(u64::from(bm)), cols.div_ceil(u64::from(bn)));
    let mut build = Builder::storing(KernelFile::SplitSum, finish.storage, caps);
    build.flag("BM", bm).flag("BN", bn).flag("LANES", LANES).on("WIDE", wide);
    let grid = Grid::output(rows, cols, wide);
    build.read_within("products", grid.elem(), from.operand, from.splits * rows * cols, from.within).from(from.first);
    if from.splits == 1 {
        build.along(Along::Rows(cols));
    }
    build.on("SHUFFLES", caps.shuffles() && finish.program.sums(Over::Columns) > 0);
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
