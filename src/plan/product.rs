//! One dispatch of a product C = A·B with prologue and epilogue, over the whole reduction or a part of it.

use super::{
    Along, Builder, Caps, Cut, DeviceClass, Dispatch, Grid, Stage, Tile,
    builder::{PartialSums, workgroups},
    matrix::{self, Arrangement, Half, MatrixUnits},
    programs,
    tile::coop_steps,
};
use crate::{
    activation::Activation,
    dtype::Float,
    error::Result,
    kernel::{Elem, KernelFile},
    operand::Operand,
    program::{By, Over, Program, Step, Write},
    request::{AffineRequest, Want, WeightLayout},
    storage::Storage,
};

/// C[rows, cols] = finish(Σ_k A·B).
pub(super) struct Product {
    pub(super) rows: u64,
    pub(super) cols: u64,
    pub(super) k: u64,
    pub(super) a: Matrix,
    pub(super) b: Matrix,
    pub(super) finish: Finish,
    /// Whether B has two columns for each of C, whose sums are finished together.
    pub(super) pair: Option<Pair>,
}

/// How the two columns of B for each column of C lie: all first ones, then all second ones, or side by side.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) interleaved: bool,
}

/// x·Wᵀ, with x loaded and the sums finished by these programs.
pub(super) fn forward_product(
    request: &AffineRequest,
    x: Program,
    program: Program,
    in_place: Option<(Operand, Operand)>,
) -> Product {
    let (m, n, k) = (request.m as u64, request.outputs() as u64, request.k as u64);
    let AffineRequest { storage, layout, .. } = *request;
    Product {
        rows: m,
        cols: n,
        k,
        a: Matrix { along: true, program: x },
        b: Matrix { along: layout == WeightLayout::OutIn, program: programs::plain(Operand::W) },
        finish: Finish { program, stages: stages(request), storage, in_place },
        pair: None,
    }
}

/// The activations of a layer by number: its own, and that of its front.
pub(super) fn stages(request: &AffineRequest) -> Vec<Activation> {
    [request.activation].into_iter().chain(request.front.map(|front| front.activation)).collect()
}

impl Product {
    /// The type of an operand that goes into the product as it is in memory.
    fn stored(&self, operand: &Matrix) -> Option<Float> {
        let of = |operand: &Operand| self.finish.storage.of(*operand);
        match operand.program.steps() {
            [Step::Load(operand, By::Element)] => Some(of(operand)),
            [Step::LoadJoined(first, second)] if of(first) == of(second) => Some(of(first)),
            _ => None,
        }
    }

    /// How an operand becomes f16 on its way to matrix units.
    pub(super) fn half(&self, operand: &Matrix, caps: &Caps) -> Half {
        Half::of(self.stored(operand), caps.matrix_units)
    }

    /// Columns of B for each of C.
    pub(super) fn sides(&self) -> u32 {
        if self.pair.is_some() { 2 } else { 1 }
    }

    /// Whether its operands are two each, one behind the other along the reduction.
    fn joined(&self) -> bool {
        self.a.program.joins()
    }

    /// Steps of the reduction in one operand.
    fn steps_of_one(&self) -> u64 {
        if self.joined() { self.k / 2 } else { self.k }
    }

    /// Whether the rows of all operands are whole numbers of vec4.
    pub(super) fn vectors(&self) -> bool {
        let row = |matrix: &Matrix, across: u64| if matrix.along { self.steps_of_one() } else { across };
        let fours = |matrix, across| row(matrix, across).is_multiple_of(4);
        fours(&self.a, self.rows) && fours(&self.b, self.cols) && self.k > 0
    }

    fn halves(&self, caps: &Caps) -> [Half; 2] {
        [&self.a, &self.b].map(|operand| self.half(operand, caps))
    }

    /// Whether an operand is scaled on its way to matrix units.
    pub(super) fn scaled(&self, caps: &Caps) -> bool {
        self.halves(caps).into_iter().any(Half::scaled)
    }

    /// The caps for this product, without matrix units where it may not use them; and why not, if they are asked for.
    pub(super) fn caps(&self, caps: &Caps) -> (Caps, Option<&'static str>) {
        let stored = self.halves(caps) == [Half::Stored; 2];
        let why = match caps.matrix_units {
            MatrixUnits::Off => None,
            _ if caps.matrix_size == 0 => Some(matrix::ABSENT),
            _ if self.finish.program.members() > 1 => {
                Some("what it finishes are groups of rows, and a lane has two of a matrix")
            }
            MatrixUnits::Stored if !stored => Some(matrix::NOT_STORED),
            // Where nothing is to be split it takes the tiles of what is stored.
            MatrixUnits::Split if stored => return (caps.matrix_units(MatrixUnits::Stored), None),
            _ => return (*caps, None),
        };
        (caps.matrix_size(0), why)
    }
}

/// An operand: whether its rows in memory run along the reduction, and the program that loads an element.
#[derive(Clone)]
pub(super) struct Matrix {
    pub(super) along: bool,
    pub(super) program: Program,
}

/// The epilogue: what is done with a finished sum.
#[derive(Clone)]
pub(super) struct Finish {
    pub(super) program: Program,
    /// The activations that the programs call, also those of A and B.
    pub(super) stages: Vec<Activation>,
    pub(super) storage: Storage,
    /// An output, and the input whose memory it is.
    pub(super) in_place: Option<(Operand, Operand)>,
}

impl Finish {
    /// An output whose memory can hold the sums before they are finished: f32, without gaps, and not the memory of an input.
    pub(super) fn own_memory(&self) -> Option<Operand> {
        let mut stores = self.program.steps().iter().filter_map(|step| match step {
            Step::Store(operand, By::Element | By::Member(_), ..) => Some(*operand),
            _ => None,
        });
        stores.rfind(|&operand| {
            let plain = self.storage.of(operand) == Float::F32 && self.storage.row_stride(operand).is_none();
            self.in_place.is_none() && plain
        })
    }

    /// How the sum is stored, if that is all that the program does.
    pub(super) fn plain(&self) -> Option<Want> {
        match self.program.steps() {
            [Step::Sum(0), Step::Store(_, By::Element, Write::Overwrite, _)] => Some(Want::Overwrite),
            [Step::Sum(0), Step::Store(_, By::Element, Write::Accumulate, _)] => Some(Want::Accumulate),
            _ => None,
        }
    }

    pub(super) fn has_sums(&self) -> bool {
        self.program.sums(Over::Rows) + self.program.sums(Over::Columns) > 0
    }
}

/// How a product is computed.
pub(super) struct Method {
    pub(super) tile: Tile,
    /// Splits of the reduction, of `chunk` steps each.
    pub(super) splits: u64,
    pub(super) chunk: u64,
    /// Whether each split writes a partial product, which split_sum adds up.
    pub(super) partial: bool,
    /// Whether operands are loaded as vec4.
    pub(super) vec: bool,
    /// Whether results are stored as vec4.
    pub(super) wide: bool,
    /// Why it is not on matrix units, if they were asked for.
    pub(super) plain_because: Option<&'static str>,
}

/// Whether results can be stored as vec4: with fewer stores, and without two lanes that share a word of a narrow type.
pub(super) const fn wide(cols: u64, aligned: bool) -> bool {
    aligned && cols.is_multiple_of(4)
}

/// The dispatch, and the partial sums over rows and columns that it writes.
pub(super) fn tiled(product: &Product, method: &Method, caps: &Caps) -> Result<(Dispatch, PartialSums)> {
    let &Method { tile, splits, chunk, partial, vec, wide, plain_because } = method;
    let tile = tile.arranged(caps);
    let &Product { rows, cols, k, ref a, ref b, ref finish, pair } = product;
    let sides = product.sides();
    let kernel = |file| Builder::storing(file, finish.storage, caps);
    let gpu = caps.class != DeviceClass::Software;
    let mut build = match tile.stage {
        Stage::Direct => kernel(KernelFile::ProductDirect),
        Stage::Broadcast => {
            let mut build = kernel(KernelFile::ProductBroadcast);
            build.flag("TM8", tile.tm / 8).flag("TM32", tile.tm.div_ceil(32));
            build
        }
        Stage::Staged { bk, slices } => {
            let mut build = kernel(KernelFile::ProductStaged);
            // A GPU's compiler profits from whole steps in one block, and from loads ahead of their use; a CPU's only takes longer.
            build.flag("BK", bk).flag("QUADS", bk / 4).on("AHEAD", gpu).on("INTERLEAVED", tile.tm.is_multiple_of(4));
            let lanes = tile.wx * tile.wy / slices;
            build.on("IDLE_LANES", bk / 4 * (tile.bm() + tile.bn()) / 4 < lanes);
            build.on("SLICED", slices > 1).on("HALVES", slices == 2).flag("SLICES", slices);
            build.flag("LOOP_LANES", lanes).flag("LOOP_WY", tile.wy / slices);
            build.flag("LOOP_TM", tile.tm * slices).flag("LOOP_TM4", tile.tm * slices / 4);
            build
                .on("TURN_BOTH", a.along && b.along)
                .on("TURN_A", a.along && !b.along)
                .on("TURN_B", !a.along && b.along);
            build
        }
        Stage::Coop => {
            let mut build = kernel(KernelFile::ProductCoop);
            let [of_a, of_b] = product.halves(caps);
            let split = [of_a, of_b].map(|half| half == Half::Split);
            build.on("ROUND_A", of_a.rounded()).on("ROUND_B", of_b.rounded());
            build.on("SCALE_A", of_a.scaled()).on("SCALE_B", of_b.scaled()).on("SCALED", product.scaled(caps));
            build.on("SPLIT_A", split[0]).on("SPLIT_B", split[1]).on("SPLIT", split[0] || split[1]);
            let steps = coop_steps(caps);
            let each = |across: u32| across * steps / 4 / (tile.wx * tile.wy);
            build.flag("BK", steps).flag("QUADS", steps / 4).on("AHEAD", gpu);
            build.flag("A_EACH", each(tile.bm())).flag("B_EACH", each(tile.bn()));
            if let Some(Arrangement { subgroups, matrices, lanes, run }) = method.tile.arrangement(caps) {
                let size = caps.matrix_size;
                build
                    .flag("MATRIX", size)
                    .on("MATRIX16", size == 16)
                    .flag("UNROLLED", if gpu { steps / size } else { 1 });
                build.flag("MATRICES_M", matrices[0]).flag("MATRICES_N", matrices[1]).flag("RUN", run);
                build.flag("SUBGROUPS", subgroups[0] * subgroups[1]).flag("SUBGROUPS_X", subgroups[1]);
                build.flag("LY", lanes[0]).flag("LX", lanes[1]).flag("SPAN", caps.subgroup);
            }
            build
        }
        Stage::SlicedK => {
            let mut build = kernel(KernelFile::ProductSlicedK);
            let (span, subgroup) = tile.span(caps);
            let computed = rows.next_power_of_two().min(u64::from(tile.bm()));
            build.flag("SPAN", span).flag("COLS", tile.across_cols(span)).on("SUBGROUP", subgroup);
            build.on("SHUFFLES", !subgroup && caps.shuffles());
            build.flag("ROWS", computed as u32);
            build
        }
    };
    let Tile { wx, wy, tm, tn, .. } = tile;
    let by_name = gpu && tn.is_multiple_of(4) && tile.stage != Stage::Broadcast;
    // A partial product is stored as it is, whatever is made of groups of rows afterwards.
    let members = if partial { 1 } else { finish.program.members() };
    let named = tm.min(members.max(4));
    build.on("STATIC", by_name);
    if by_name {
        build.flag("GROUPS", if wide { tn / 4 } else { tn } / sides).flag("NAMED_ROWS", named);
        build.flag("NAMED_GROUPS", named / members).flag("ROWS_BEHIND", tm - named);
    }
    build.flag("WX", wx).flag("WY", wy).flag("TM", tm).flag("TN", tn).flag("TM4", tm.div_ceil(4)).flag("TN4", tn / 4);
    build.flag("BM", tile.bm()).flag("BN", tile.bn()).flag("LANES", wx * wy);
    build.on("PAIRED", pair.is_some()).on("ALTERNATE", pair.is_some_and(|pair| pair.interleaved));
    build
        .on("WIDE", wide)
        .on("VEC", vec)
        .on("A_ALONG_K", a.along)
        .on("B_ALONG_K", b.along)
        .on("VEC_STEPS", vec && a.along);
    // The columns of a tile are those of C, and of a pair they are at two places of B.
    let by_cols = if pair.is_some() { |_| Along::All } else { Along::Cols as fn(u64) -> Along };
    let of_b = u64::from(sides) * cols;
    for (role, matrix, across, by) in [("a", a, rows, Along::Rows as fn(u64) -> Along), ("b", b, of_b, by_cols)] {
        // Rows and columns as in memory: rows run along the output or along the reduction.
        let steps = product.steps_of_one();
        let (rows, cols, by_row) = match (matrix.along, product.joined()) {
            (true, _) => (across, steps, by),
            // Any part of the reduction may lie in both of two joined operands.
            (false, true) => (steps, across, (|_| Along::All) as _),
            (false, false) => (steps, across, Along::Reduction as _),
        };
        let grid = Grid { by_row, by_column: |_| Along::All, ..Grid::output(rows, cols, vec) };
        build.load(role, matrix.program.clone(), &grid);
    }
    if tile.stage == Stage::Coop && product.scaled(caps) {
        build.read("scales", Elem::Scalar, Operand::Scales, rows + cols);
    }
    let split_tiles = tile.tiles(rows, of_b);
    let tiles_cols = of_b.div_ceil(u64::from(tile.bn()));
    let grid = Grid::output(rows, cols, wide);
    let mut sums = PartialSums::default();
    if partial {
        build.flag("PARTIAL", 1).write("partials", grid.elem(), Operand::Partials, splits * rows * cols);
        build.along(Along::Splits(rows * cols));
    } else {
        sums = build.finish(&finish.program, &grid, finish.in_place).sums(
            &grid,
            [split_tiles / tiles_cols, tiles_cols],
            0,
        );
    }
    build.stages(&finish.stages);
    build.params.rows = rows as u32;
    build.params.cols = cols as u32;
    build.params.k = k as u32;
    build.params.chunk = chunk as u32;
    build.params.half = if product.joined() { product.steps_of_one() as u32 } else { 0 };
    build.params.split_tiles = split_tiles as u32;
    build.params.tiles_cols = tiles_cols as u32;
    build.params.tiles = workgroups(split_tiles * splits)?;
    let (bm, bn) = (u64::from(tile.bm()), u64::from(tile.bn()));
    build.cut = Cut { rows: bm, cols: bn / u64::from(sides), splits: true, work: bm * bn * chunk.min(k).max(1) };
    Ok((Dispatch { plain_because, ..build.build() }, sums))
}
