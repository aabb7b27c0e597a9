//! The fused layer: forward in one dispatch, backward by one of two roads.

use super::{
    Along, Builder, Caps, Cut, DeviceClass, Dispatch, Form, Pin, Plan, Stage, TILES, Tile,
    reduce::{self, ColumnPass},
    tile,
};
use crate::{
    error::{Error, Result},
    kernel::{Elem, KernelFile},
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Operand, Road, Saved, Want, WeightLayout},
};

/// [`super::forward`], before it is cut.
pub(super) fn forward(
    request: &AffineRequest,
    aligned: bool,
    residual_in_place: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Plan> {
    request.check_sizes()?;
    let saved = request.resolve_saved(false)?;
    let mut plan = Plan { saved, ..Plan::default() };
    if request.m == 0 || request.n == 0 {
        return Ok(plan);
    }
    let epilogue = Epilogue::Forward { request, save: saved, residual_in_place, only_z: false };
    product(&mut plan, &forward_product(request), &epilogue, aligned, caps, pin)?;
    Ok(plan)
}

fn forward_product(request: &AffineRequest) -> Product<'static> {
    let (m, n, k) = (request.m as u64, request.n as u64, request.k as u64);
    Product {
        rows: m,
        cols: n,
        red: k,
        a: Matrix { along: true, source: Source::Plain(Operand::X) },
        b: Matrix { along: request.layout == WeightLayout::OutIn, source: Source::Plain(Operand::W) },
    }
}

/// [`super::backward`], before it is cut.
pub(super) fn backward(request: &BackwardRequest, aligned: bool, caps: &Caps, pin: &Pin) -> Result<Plan> {
    let affine = &request.affine;
    let wants = &request.gradients;
    affine.check_sizes()?;
    check_wants(request)?;
    let (m, n, k) = (affine.m as u64, affine.n as u64, affine.k as u64);
    // With dz given there is no slope to apply any more.
    let linear = request.upstream_is_dz || affine.activation.needs_nothing();
    let saved = if linear { Saved::None } else { affine.resolve_saved(wants.alpha.wanted())? };
    let mut plan = Plan { saved, ..Plan::default() };

    let needs_slope = !linear && (wants.x.wanted() || wants.w.wanted() || wants.b.wanted() || wants.alpha.wanted());
    let (from, slope) = match saved {
        _ if linear => (Operand::Saved, Saved::None),
        Saved::None if needs_slope => {
            if m > 0 && n > 0 {
                let epilogue =
                    Epilogue::Forward { request: affine, save: Saved::Z, residual_in_place: false, only_z: true };
                product(&mut plan, &forward_product(affine), &epilogue, aligned, caps, pin)?;
            }
            (Operand::Z, Saved::Z)
        }
        saved => (Operand::Saved, saved),
    };
    let local = Local { request: affine, from, slope };

    let products = u32::from(wants.x.wanted()) + u32::from(wants.w.wanted());
    plan.road = match (if pin.road == Road::Auto { request.road } else { pin.road }, request.below) {
        // A chain's epilogue and a prologue would need more bindings than every device has.
        (_, Some(_)) => Road::TwoPass,
        (Road::Auto, None) => choose_road(caps, affine, products),
        (road, None) => road,
    };
    let write_dz = !linear && products > 0 && plan.road == Road::TwoPass;

    let pass = ColumnPass {
        request: affine,
        m,
        n,
        from,
        slope,
        dz: write_dz.then_some((Operand::Dz, Want::Overwrite)),
        dy_in_place: false,
        dresidual: wants.residual,
        db: wants.b,
        dalpha: wants.alpha,
    };
    reduce::column_pass(&mut plan, &pass, caps);

    let dz = match (linear, write_dz) {
        (true, _) => Source::Plain(Operand::Dy),
        (false, true) => Source::Plain(Operand::Dz),
        (false, false) => Source::Prologue(local),
    };
    if wants.x.wanted() && m > 0 && k > 0 {
        let dx = Product {
            rows: m,
            cols: k,
            red: n,
            a: Matrix { along: true, source: dz },
            b: Matrix { along: affine.layout == WeightLayout::InOut, source: Source::Plain(Operand::W) },
        };
        let epilogue = match &request.below {
            Some(below) => Epilogue::Chain { below, channels: k },
            None => Epilogue::Store { operand: Operand::Dx, want: wants.x },
        };
        product(&mut plan, &dx, &epilogue, aligned, caps, pin)?;
    }
    if let Some(below) = &request.below {
        chain_sums(&mut plan, below, m, k, wants.x.wanted());
    }
    if wants.w.wanted() && n > 0 && k > 0 {
        let x = Matrix { along: false, source: Source::Plain(Operand::X) };
        let dz = Matrix { along: false, source: dz };
        let (rows, cols, a, b) = match affine.layout {
            WeightLayout::OutIn => (n, k, dz, x),
            WeightLayout::InOut => (k, n, x, dz),
        };
        let dw = Product { rows, cols, red: m, a, b };
        product(&mut plan, &dw, &Epilogue::Store { operand: Operand::Dw, want: wants.w }, aligned, caps, pin)?;
    }
    Ok(plan)
}

/// Prologue where computing the slope again costs next to nothing: a cheap activation, and few tiles that read dy again.
/// Not on software adapters, where the second load of each element costs more than a pass that writes dz.
fn choose_road(caps: &Caps, affine: &AffineRequest, products: u32) -> Road {
    let narrow = affine.k <= 64 || products == 1;
    let cheap = caps.class != DeviceClass::Software && affine.activation.slope_is_cheap() && narrow;
    if products == 0 || cheap { Road::Prologue } else { Road::TwoPass }
}

fn check_wants(request: &BackwardRequest) -> Result<()> {
    let affine = &request.affine;
    let wants = &request.gradients;
    let needless = |operand: Operand, of: Operand| {
        Err(Error::Operand {
            operand,
            expected: format!("no gradient: the layer has no {of}"),
            got: format!("{operand} wanted"),
        })
    };
    if wants.alpha.wanted() && affine.alpha == AlphaSource::Constant {
        return needless(Operand::Dalpha, Operand::Alpha);
    }
    if request.upstream_is_dz && wants.alpha.wanted() {
        return Err(Error::Unsupported {
            what: "dalpha from an upstream gradient that is dz already".into(),
            why: "dz holds dy times the slope; the call that wrote dz reduces dalpha".into(),
        });
    }
    if request.upstream_is_dz && wants.residual.wanted() {
        return Err(Error::Unsupported {
            what: "dresidual from an upstream gradient that is dz already".into(),
            why: "the gradient of the residual is dy, not dz".into(),
        });
    }
    let Some(below) = &request.below else { return Ok(()) };
    if wants.x != Want::Overwrite {
        return Err(Error::Unsupported {
            what: "a chain without dx, or one that accumulates into it".into(),
            why: "the dx operand receives dz of the layer below and is overwritten: ask for x: Want::Overwrite".into(),
        });
    }
    if below.dalpha.wanted() && below.alpha == AlphaSource::Constant {
        return needless(Operand::DalphaBelow, Operand::AlphaBelow);
    }
    let layer_below = AffineRequest {
        activation: below.activation,
        alpha: below.alpha,
        saved: below.saved,
        ..AffineRequest::new(affine.m, affine.k, 0, below.activation)
    };
    layer_below.check_sizes()?;
    let saved = layer_below.resolve_saved(below.dalpha.wanted())?;
    if saved == Saved::None && !below.activation.needs_nothing() {
        return Err(Error::Unsupported {
            what: "a chain over a layer that saved nothing".into(),
            why: "this call has no x, w and b of the layer below to compute its z again: save z, y or the mask".into(),
        });
    }
    Ok(())
}

/// What forward of the layer below is taken to have saved.
pub(super) fn below_saved(below: &Below, m: u64, k: u64) -> Saved {
    let request = AffineRequest {
        alpha: below.alpha,
        saved: below.saved,
        ..AffineRequest::new(m as usize, k as usize, 0, below.activation)
    };
    request.resolve_saved(below.dalpha.wanted()).unwrap_or(Saved::Z)
}

/// The second stage of the chain's sums; with no product (an empty layer) the sums are those of no rows.
fn chain_sums(plan: &mut Plan, below: &Below, m: u64, k: u64, has_product: bool) {
    let parts = match plan.dispatches.last() {
        Some(d) if has_product && m > 0 && k > 0 => u64::from(d.params.plane / d.params.tiles_cols),
        _ => 0,
    };
    let db = below.db.wanted().then_some((Operand::DbBelow, below.db));
    let dalpha = below.dalpha.wanted().then_some((Operand::DalphaBelow, below.dalpha));
    reduce::second_stage(plan, parts, k, db, dalpha, below.alpha);
}

/// C[rows, cols] = Σ_red A·B.
struct Product<'a> {
    rows: u64,
    cols: u64,
    red: u64,
    a: Matrix<'a>,
    b: Matrix<'a>,
}

/// An operand: whether its neighbours in memory run along the reduction, and where it comes from.
struct Matrix<'a> {
    along: bool,
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Plain(Operand),
    /// dz, computed at the load.
    Prologue(Local<'a>),
}

/// dz = dy ⊙ act'(·): of which layer, and from what.
#[derive(Clone, Copy)]
struct Local<'a> {
    request: &'a AffineRequest,
    from: Operand,
    slope: Saved,
}

enum Epilogue<'a> {
    Forward { request: &'a AffineRequest, save: Saved, residual_in_place: bool, only_z: bool },
    Store { operand: Operand, want: Want },
    Chain { below: &'a Below, channels: u64 },
}

impl Epilogue<'_> {
    /// The slots, flags and parameters of the epilogue, in the product itself or in the second stage of split-K.
    fn add(&self, k: &mut Builder, rows: u64, cols: u64, parts: u64) {
        match self {
            Epilogue::Forward { request, save, residual_in_place, only_z } => {
                k.flag("FORWARD", 1);
                if request.bias {
                    k.flag("BIAS", 1).read("bias", Elem::Scalar, Operand::B, cols).along(Along::Cols(1));
                }
                if !only_z {
                    k.activation(&request.activation).alpha(request.alpha, Operand::Alpha, cols);
                    k.write("y", Elem::Scalar, Operand::Y, rows * cols).along(Along::Rows(cols));
                    if request.residual {
                        let within = residual_in_place.then_some("y");
                        k.flag("RESIDUAL", 1);
                        k.read_within("residual", Elem::Scalar, Operand::Residual, rows * cols, within);
                        k.along(Along::Rows(cols));
                    }
                }
                k.on("NO_Y", *only_z);
                let target = if *only_z { Operand::Z } else { Operand::Saved };
                match save {
                    Saved::Z => {
                        k.flag("SAVE_Z", 1).write("saved", Elem::Scalar, target, rows * cols);
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
            Epilogue::Store { operand, want } => {
                k.flag("STORE", 1).write("c", Elem::Scalar, *operand, rows * cols).along(Along::Rows(cols));
                k.params.accumulate = u32::from(*want == Want::Accumulate);
            }
            Epilogue::Chain { below, channels } => {
                let sums = below.db.wanted() || below.dalpha.wanted();
                k.flag("CHAIN", 1).on("CHAIN_SUMS", sums);
                k.on("SUM_DB", below.db.wanted()).on("SUM_DALPHA", below.dalpha.wanted());
                k.activation(&below.activation).alpha(below.alpha, Operand::AlphaBelow, *channels);
                let saved = below_saved(below, rows, cols);
                k.slope(saved, Elem::Scalar, Operand::SavedBelow, [rows, cols], Along::Rows);
                k.params.channels = *channels as u32;
                k.write("c", Elem::Scalar, Operand::Dx, rows * cols).along(Along::Rows(cols));
                if sums {
                    k.write("partials", Elem::Scalar, Operand::Partials, 2 * parts * cols);
                }
            }
        }
    }
}

/// Adds a product, and the second stage of split-K where the plan splits.
fn product(
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
    let (tile, mut splits) = match pin.tile {
        None => tile::choose(caps, rows, cols, red, form),
        Some(index) => {
            let tile = *TILES.get(index).ok_or_else(|| Error::LimitExceeded {
                what: "number of the pinned tile".into(),
                asked: index as u64,
                limit: TILES.len() as u64 - 1,
            })?;
            // Some tiles can't serve a product whose operands lie across the reduction.
            if tile.fits(caps, form) {
                (tile, tile::splits(caps, &tile, rows, cols, red))
            } else if tile.fits(caps, Form::Nt) {
                tile::choose(caps, rows, cols, red, form)
            } else {
                return Err(Error::Unsupported {
                    what: format!("pinned tile {index}"),
                    why: "the device has too few invocations or too little workgroup memory for it".into(),
                });
            }
        }
    };
    if let Some(pinned) = pin.splits {
        splits = pinned.max(1);
    }
    // The chain sums its tiles' columns, which needs whole sums.
    if matches!(epilogue, Epilogue::Chain { .. }) {
        splits = 1;
    }
    let vec = aligned && vectors(rows, cols, red, a, b);
    let mut chunk = red.div_ceil(u64::from(splits)).next_multiple_of(4).max(4);
    let bindable = bindable_chunk(product, caps);
    let cut = bindable < chunk;
    if cut && !matches!(epilogue, Epilogue::Chain { .. }) {
        chunk = bindable;
    }
    let splits = red.div_ceil(chunk).max(1);
    // A gradient can be added up in its own memory, split after split, where the partial products would be too long.
    let partials = splits.saturating_mul(rows * cols).saturating_mul(4);
    let in_turn =
        cut && matches!(epilogue, Epilogue::Store { .. }) && partials > caps.max_binding.min(caps.max_scratch);
    let method = Method { tile, splits, chunk, partial: splits > 1 && !in_turn, vec };
    let mut dispatch = tiled(product, epilogue, &method, caps)?;
    if in_turn {
        let plane = dispatch.params.plane;
        for first in (0..dispatch.params.tiles).step_by(plane as usize) {
            (dispatch.params.first, dispatch.params.tiles) = (first, first + plane);
            plan.dispatches.push(dispatch.clone());
            dispatch.params.accumulate = 1;
        }
        return Ok(());
    }
    plan.dispatches.push(dispatch);
    if splits > 1 {
        plan.dispatches.push(split_sum(rows, cols, splits, epilogue)?);
    }
    Ok(())
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
}

fn tiled(product: &Product<'_>, epilogue: &Epilogue<'_>, method: &Method, caps: &Caps) -> Result<Dispatch> {
    let &Method { tile, splits, chunk, partial, vec } = method;
    let Product { rows, cols, red, a, b } = product;
    let (&rows, &cols, &red) = (rows, cols, red);
    let mut k = match tile.stage {
        Stage::Direct => Builder::new(KernelFile::ProductDirect),
        Stage::Broadcast => {
            let mut k = Builder::new(KernelFile::ProductBroadcast);
            k.flag("TM8", tile.tm / 8).flag("TM32", tile.tm.div_ceil(32));
            k
        }
        Stage::Staged { bk } => {
            let mut k = Builder::new(KernelFile::ProductStaged);
            // A GPU's compiler profits from whole steps in one block; a CPU's only takes longer.
            let unroll = if caps.class == DeviceClass::Software { 1 } else { bk };
            k.flag("BK", bk).flag("UNROLL", unroll).flag("INTERLEAVED", 1);
            k
        }
        Stage::Across => {
            let mut k = Builder::new(KernelFile::ProductAcross);
            let (span, subgroup) = tile.span(caps);
            let computed = rows.next_power_of_two().min(u64::from(tile.bm()));
            k.flag("SPAN", span).flag("COLS", span * tile.bn() / (tile.wx * tile.wy)).on("SUBGROUP", subgroup);
            k.flag("ROWS", computed as u32);
            k
        }
    };
    let Tile { wx, wy, tm, tn, .. } = tile;
    k.flag("WX", wx).flag("WY", wy).flag("TM", tm).flag("TN", tn).flag("TM4", tm.div_ceil(4)).flag("TN4", tn / 4);
    k.flag("BM", tile.bm()).flag("BN", tile.bn()).flag("LANES", wx * wy);
    k.on("VEC", vec).on("A_RED", a.along).on("B_RED", b.along).on("VEC_STEPS", vec && a.along);
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
        k.flag("PARTIAL", 1).write("partials", Elem::Scalar, Operand::Partials, splits * rows * cols);
        k.along(Along::Splits(rows * cols));
    } else {
        epilogue.add(&mut k, rows, cols, plane / tiles_cols);
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

fn split_sum(rows: u64, cols: u64, splits: u64, epilogue: &Epilogue<'_>) -> Result<Dispatch> {
    let mut k = Builder::new(KernelFile::SplitSum);
    k.flag("BM", 1).flag("BN", 64).flag("LANES", 64);
    k.read("partials", Elem::Scalar, Operand::Partials, splits * rows * cols);
    epilogue.add(&mut k, rows, cols, 0);
    k.params.rows = rows as u32;
    k.params.cols = cols as u32;
    k.params.chunk = splits as u32;
    k.params.tiles_cols = cols.div_ceil(64) as u32;
    k.params.tiles = workgroups(rows * cols.div_ceil(64))?;
    k.cut = Cut { rows: 1, cols: 64, splits: false, work: 64 * splits };
    Ok(k.build())
}

/// Workgroup numbers are u32 in the shaders.
pub(super) fn workgroups(count: u64) -> Result<u32> {
    u32::try_from(count).map_err(|_| Error::LimitExceeded {
        what: "workgroups of one dispatch".into(),
        asked: count,
        limit: u64::from(u32::MAX),
    })
}
