//! Bounds of the loops and indices of a kernel, computed from its parameters. Each arm here follows a file of `shaders/kernel`;
//! `tests/bounds.rs` runs the text and compares.

use super::{Kernel, KernelFile, Params};
use crate::program::{Access, By, Over};

/// The most loop iterations that one invocation may run, summed over its loops. Some drivers silently stop a shader's loops after 65,535
/// iterations; half of that is safe however they count.
pub const MOST_TRIPS: u64 = 32_767;

/// The most workgroups of a grid in x: WebGPU's default limit. The last row of the grid may have up to one fewer workgroups without a tile.
pub const GRID_X: u32 = 65_535;

impl Kernel {
    fn width(&self) -> u64 {
        if self.flag("WIDE") == 1 { 4 } else { 1 }
    }

    fn members(&self) -> u64 {
        self.finish.members().into()
    }

    fn column_sums(&self) -> u64 {
        self.finish.sums(Over::Rows).into()
    }

    fn row_sums(&self) -> u64 {
        self.finish.sums(Over::Columns).into()
    }

    /// What so many neighbouring lanes add up: a tree, or the sum of each subgroup. None has fewer than 4 lanes.
    fn over_span(&self, lanes: u64) -> u64 {
        if self.flag("SHUFFLES") == 1 { lanes.div_ceil(4) } else { halvings(lanes) }
    }

    fn of(&self, flag: &str) -> u64 {
        u64::from(self.flag(flag))
    }

    /// The most loop iterations of one invocation: every run of a loop body counts, also in inner loops.
    pub fn trips(&self, p: &Params) -> u64 {
        let [rows, k, chunk] = [p.rows, p.k, p.chunk].map(u64::from);
        let flag = |name| self.of(name);
        // Steps of one split of the reduction; the last one may be shorter.
        let steps = chunk.min(k);
        // Four steps at a time, then up to three single ones.
        let fours = steps / 4 + if k.is_multiple_of(4) { 0 } else { 3 };
        match self.file {
            KernelFile::ProductDirect | KernelFile::ProductBroadcast => {
                let along = if flag("A_ALONG_K") == 1 { fours } else { steps };
                along + self.store_tile(u64::from(p.cols))
            }
            KernelFile::ProductStaged => {
                // The first step, which may not be a whole one, is filled in four turns; so are all, and multiplied in one turn for
                // each of their steps, where nothing is loaded ahead.
                let turns = if flag("AHEAD") == 1 { 0 } else { 4 + flag("BK") };
                let slices = flag("SLICES");
                let exchange = if flag("SLICED") == 1 && flag("HALVES") == 0 { slices - 1 } else { 0 };
                steps.div_ceil(flag("BK")).div_ceil(slices) * (1 + turns)
                    + 4
                    + exchange
                    + self.store_tile(u64::from(p.cols))
            }
            KernelFile::ProductCoop => {
                // Each lane fills its fours of both operands, element by element along the reduction: before the loop, or in it where
                // nothing is loaded ahead.
                let each = |along| if flag(along) == 1 { 5 } else { 1 };
                let of_b = flag("SIDES") * flag("B_EACH");
                let fill = flag("A_EACH") * each("A_ALONG_K") + of_b * each("B_ALONG_K");
                let [once, turns] = if flag("AHEAD") == 1 { [fill, 0] } else { [0, fill] };
                let matrices = flag("BK") / flag("MATRIX") / flag("UNROLLED");
                once + steps.div_ceil(flag("BK")) * (1 + turns + matrices) + self.store_tile(u64::from(p.cols))
            }
            KernelFile::ProductSlicedK => {
                let span = flag("SPAN");
                let tree = if flag("SUBGROUP") == 1 { 0 } else { flag("ROWS") * self.over_span(span) };
                steps.div_ceil(span * if flag("VEC") == 1 { 4 } else { 1 }) + tree + self.store_tile(u64::from(p.cols))
            }
            KernelFile::SplitSum => {
                let groups = flag("BM") / self.members();
                let inside = groups.min(rows.div_ceil(self.members()));
                let sums = groups * self.row_sums() * self.over_span(flag("LANES"));
                groups + inside * u64::from(p.splits) + sums + self.mask_words()
            }
            KernelFile::Rows => {
                let each = 1 + self.row_sums() * self.over_span(flag("LX"));
                chunk.min(rows).div_ceil(flag("LY") * self.members()) * each + self.column_sums() * halvings(flag("LY"))
            }
            KernelFile::ColumnSum => {
                let planes = u64::from(self.finish.finished_sums());
                chunk.min(rows).div_ceil(flag("LY")) + planes * halvings(flag("LY"))
            }
            KernelFile::Flat => flag("PER_LANE"),
            KernelFile::Network => {
                let [layers, hidden] = [p.parts, p.channels].map(u64::from);
                let steps = k.div_ceil(flag("BK")) + (layers - 1) * hidden.div_ceil(flag("BK"));
                // A step, a layer, the rows of it that are finished together.
                let step = if flag("STATIC") == 1 { 1 } else { 1 + flag("BK") };
                let four = if flag("STATIC") + flag("JET") > 0 { 1 } else { 5 };
                flag("LANE_ROWS4") + steps * step + layers * flag("TURNS") * four
            }
            KernelFile::NetworkCoop => {
                let [layers, hidden, outputs] = [p.parts, p.channels, p.cols].map(u64::from);
                let [lanes, bk, columns, matrix] = ["LANES", "BK", "COLUMNS", "MATRIX"].map(flag);
                let block = self.network_rows();
                let steps = k.div_ceil(bk) + (layers - 1) * hidden.div_ceil(bk);
                let fill = (block * columns / 4).div_ceil(lanes);
                // A turn finishes a column of matrices, and where rows are scaled it is taken twice but for the last layer's.
                let four = if flag("STATIC") + flag("JET") > 0 { 1 } else { 5 };
                let scaled = flag("SCALE_A");
                let between = (layers - 1) * hidden.next_multiple_of(bk) / matrix;
                let turns = (1 + scaled) * between + outputs.div_ceil(matrix);
                let weights = |n: u64, k: u64| columns.div_ceil(lanes) + (n * k.div_ceil(4)).div_ceil(lanes);
                let magnitudes = |n: u64, k: u64| block.div_ceil(lanes) + flag("SCALE_B") * weights(n, k);
                let first = magnitudes(if layers == 1 { outputs } else { hidden }, k);
                let rest = (layers - 1) * magnitudes(hidden.max(outputs), hidden);
                let scales = scaled * (block.div_ceil(lanes) + fill + first + rest);
                fill + steps * (1 + bk / matrix / flag("UNROLLED")) + turns * four + scales
            }
            KernelFile::RowMoments => {
                let (span, width) = (flag("SPAN"), self.width());
                let sweeps = 1 + flag("CENTRED");
                sweeps * (u64::from(p.cols) / width).div_ceil(span) + (2 * sweeps - 1) * halvings(span)
            }
            KernelFile::NetworkBackward => {
                let [layers, hidden, outputs] = [p.parts, p.channels, p.cols].map(u64::from);
                let [lanes, bk, dw, parts] = ["LANES", "BK", "DW", "PARTS"].map(flag);
                let groups = 4 * lanes / flag("COLUMNS");
                let blocks = chunk.min(rows).div_ceil(4 * groups);
                // A step of a product, four rows of an activation, and a group of four rows and the end of dW.
                let [step, four, group, end] = match flag("STATIC") {
                    1 => [1, 0, 1, 0],
                    _ => [1 + bk, 4, 1 + flag("TN"), flag("TN") * flag("TK")],
                };
                // The columns of points that a lane finishes are a loop in every text, and so are those that it keeps.
                let [own, kept] = [4 / flag("HALVES").max(1), 4].map(|columns| flag("JET") * columns);
                let between = (layers - 1) * hidden.div_ceil(bk);
                let forward = 1 + layers * (1 + four + own + kept) + 4 + (k.div_ceil(bk) + between) * step;
                let back = (outputs.div_ceil(bk) + between) * step + layers * (4 + own + (4 + own) * flag("LEARNS"));
                // What becomes of dW by part, and then of the sums over lanes and of what is beside the parameters.
                let part = 1 + blocks * (1 + kept + dw * (four + own + kept + groups * group)) + dw * end;
                let of_alpha = [flag("PER_CHANNEL") * groups, flag("PER_LAYER") * lanes].into_iter().sum::<u64>();
                let sums = dw * (groups + of_alpha + 6);
                blocks * (forward + back) + layers * (1 + parts * part + sums)
            }
            KernelFile::NetworkBackwardCoop => {
                let [layers, hidden, outputs] = [p.parts, p.channels, p.cols].map(u64::from);
                let [lanes, bk, columns, dw] = ["LANES", "BK", "COLUMNS", "DW"].map(flag);
                let [split, scaled, matrix, width] = ["SPLIT_A", "SCALE_B", "MATRIX", "ACROSS"].map(flag);
                let (width, block) = (width * matrix, self.network_rows());
                let blocks = chunk.min(rows).div_ceil(block);
                let turns = |columns: u64| columns.div_ceil(width);
                let each = |count: u64| count.div_ceil(lanes);
                // Four rows of an activation, and of its slope.
                let [act, slope] = if flag("STATIC") == 1 { [0, 4] } else { [4, 4] };
                let [cleared, rows_cleared] = [each(columns), each(block)];
                let weights = |n: u64, k: u64| scaled * (cleared + each(n * k.div_ceil(4)));
                let staged = each(width / 4 * columns / 4);
                let product = |length: u64| 1 + staged + length.div_ceil(bk);
                // A layer of a block forward, its columns measured, and back; then its sums.
                let of = |n: u64, k: u64| {
                    let forward = split * (rows_cleared + weights(n, k) + turns(k) * (1 + act))
                        + turns(k) * (1 + act)
                        + turns(n) * (product(k) + slope);
                    let measured = dw * split * (1 + turns(k) * (1 + act));
                    let of_dw = dw * (turns(k) * (1 + act) + block / matrix);
                    let back =
                        1 + rows_cleared + of_dw + 2 * turns(n) + turns(k) * (product(n) + slope + 4 * flag("LEARNS"));
                    let ends =
                        flag("DW_M") * flag("DW_N") * (1 + each(matrix * matrix / 4 * lanes / flag("SPAN").max(1)));
                    let over = flag("TURNS") * (1 + flag("LEARNS")) * (lanes / (width / 4).max(1)) + width / 4 + 6;
                    let sums = 1 + (1 + dw * split) * cleared + weights(n, k) + dw * (ends + over);
                    blocks * (1 + forward + measured + back) + sums
                };
                let narrow = if layers == 1 { outputs } else { hidden };
                each(2 * columns) + blocks + of(narrow, k) + (layers - 1) * of(hidden.max(outputs), hidden)
            }
            KernelFile::SoftmaxCrossEntropy => {
                let (span, width) = (flag("SPAN"), self.width());
                2 * (u64::from(p.cols) / width).div_ceil(span)
                    + (2 + flag("SMOOTH") * (1 + flag("WEIGHTED"))) * halvings(span)
            }
            KernelFile::Total => chunk.min(rows).div_ceil(flag("LANES")) + halvings(flag("LANES")),
            KernelFile::Copy
            | KernelFile::Update
            | KernelFile::Advance
            | KernelFile::Random
            | KernelFile::Subnormals => 0,
            KernelFile::NonFinite => chunk.min(rows).div_ceil(flag("LANES")),
            KernelFile::LossScale => rows.div_ceil(flag("LANES")),
        }
    }

    /// Rows of a workgroup of a network on matrix units.
    fn network_rows(&self) -> u64 {
        self.of("LANES") / self.of("SPAN").max(1) * (self.of("MATRICES_M") + self.of("DOWN")) * self.of("MATRIX")
    }

    /// Iterations of a product's epilogue: register tile, words of the mask, sums. Columns beyond the edge have none; the first lane has
    /// the fewest of them.
    fn store_tile(&self, cols: u64) -> u64 {
        let [tm, wx, wy] = ["TM", "WX", "WY"].map(|flag| self.of(flag));
        // From one group of four columns to the next: the workgroup's lanes, or a matrix, lie between.
        let apart = match self.flag("INTERLEAVED") {
            1 => 4 * wx,
            _ => self.of("MATRIX").max(4),
        };
        let column = |j: u64| j / 4 * apart + j % 4;
        let sides = if self.flag("PAIRED") == 1 { 2 } else { 1 };
        let groups = (0..self.of("TN") / sides).step_by(self.width() as usize);
        let inside = groups.clone().filter(|&j| column(j) < cols).count() as u64;
        if self.flag("STATIC") == 1 {
            // Some rows a turn, columns by name.
            let sums = tm * self.row_sums() * self.over_span(wx) + inside * self.column_sums() * wy;
            return tm.div_ceil(self.of("NAMED_ROWS")) + sums + self.mask_words();
        }
        let of_rows = if self.row_sums() > 0 { 1 + self.row_sums() * self.over_span(wx) } else { 0 };
        groups.count() as u64
            + inside * (tm / self.members() + self.column_sums() * wy)
            + tm * of_rows
            + self.mask_words()
    }

    /// The largest index of a partial sum, for an output of so many tiles.
    fn sums(&self, p: &Params, split_tiles: u64) -> u64 {
        let across = u64::from(p.tiles_cols.max(1));
        let columns = self.column_sums() * split_tiles.max(split_tiles / across * u64::from(p.cols));
        columns.max(self.row_sums() * across * u64::from(p.rows))
    }

    /// Iterations over the words of the mask, which are cleared and then stored.
    fn mask_words(&self) -> u64 {
        let words = self.of("BM") * self.of("BN").div_ceil(32);
        if self.finish.stores_bits() { 2 * words.div_ceil(self.of("LANES")) } else { 0 }
    }

    /// The largest value of a u32 expression in the kernel: workgroup numbers, rows and columns beyond the edge, loop variables after their
    /// last step, indices. (What an accessor adds to an index is modulo 2³² by design, and checked when the operand is bound.)
    pub fn reach(&self, p: &Params) -> u64 {
        let [rows, cols, k, tiles, split_tiles, tiles_cols, channels] =
            [p.rows, p.cols, p.k, p.tiles, p.split_tiles, p.tiles_cols, p.channels].map(u64::from);
        let flag = |name| self.of(name);
        let number = u64::from(p.first) + u64::from(p.tiles - p.first) * u64::from(p.batch) + u64::from(GRID_X);
        let words = |cols: u64| cols.div_ceil(32);
        let kernel = match self.file {
            KernelFile::ProductDirect
            | KernelFile::ProductBroadcast
            | KernelFile::ProductStaged
            | KernelFile::ProductSlicedK
            | KernelFile::ProductCoop => {
                let splits = if flag("PARTIAL") == 1 { tiles.div_ceil(split_tiles.max(1)) } else { 1 };
                let sums = self.sums(p, split_tiles);
                let edge = (rows + flag("BM")).max(cols + flag("BN") + 31);
                let step = [flag("BK"), 4 * flag("SPAN"), 4].into_iter().max().unwrap_or(0);
                // Two columns of B, and maybe two numbers in a row, for each column.
                let sides = if flag("PAIRED") == 1 { 2 } else { 1 };
                let indices = (rows * k).max(sides * cols * k).max(splits * sides * rows * cols).max(sums);
                // The scales of the columns lie behind those of the rows.
                let scales = if flag("SCALED") == 1 { rows + sides * cols } else { 0 };
                edge.max(k + step).max(indices).max(scales)
            }
            KernelFile::SplitSum => {
                let edge = (rows + flag("BM")).max(cols + flag("BN") + 31);
                edge.max(u64::from(p.splits) * rows * cols).max(rows * words(cols)).max(self.sums(p, split_tiles))
            }
            KernelFile::Rows => {
                let sums = (self.column_sums() * u64::from(p.parts) * cols).max(self.row_sums() * tiles_cols * rows);
                let edge = (rows + flag("LY") * self.members()).max(cols + flag("LX") * self.width());
                let of_two = |access: &Access| matches!(access.by, Some(By::Stacked(_) | By::Interleaved(_)));
                let sides = if self.finish.accesses().iter().any(of_two) { 2 } else { 1 };
                edge.max(sums).max(sides * rows * cols)
            }
            KernelFile::ColumnSum => {
                let terms = u64::from(self.finish.finished_sums()) * rows * cols;
                (rows + flag("LY")).max(cols + flag("LX")).max(terms)
            }
            KernelFile::Flat => tiles * flag("PER_LANE") * flag("LANES") * self.width(),
            KernelFile::Network => {
                let block = flag("LANES") * 4 / flag("COLUMNS") * flag("LANE_ROWS");
                let step = flag("BK") + flag("COLUMNS") + 4;
                // The parameters are bounded by the length of their operand (`Use`), and the size of a layer by the kernel's columns.
                (rows + block).max(rows * k).max(rows * cols).max(k + step).max(channels + step)
            }
            KernelFile::NetworkCoop => {
                let step = flag("COLUMNS") + flag("BK") + 4;
                let edge = (rows + self.network_rows()).max(k + step).max(channels + step).max(cols + step);
                edge.max(rows * k).max(rows * cols)
            }
            KernelFile::RowMoments => {
                let edge = (rows + flag("LANES")).max(cols + flag("SPAN") * self.width());
                edge.max(rows * cols).max(2 * rows)
            }
            KernelFile::NetworkBackward | KernelFile::NetworkBackwardCoop => {
                let step = 2 * flag("BK") + flag("COLUMNS") + 4;
                // The scratch memory and the parameters are bounded by the lengths of their operands (`Use`).
                let indices = (rows * k).max(rows * cols);
                (rows + 1024).max(indices).max(k + step).max(channels + step).max(cols + step)
            }
            KernelFile::SoftmaxCrossEntropy => {
                (rows + flag("LANES")).max(cols + flag("SPAN") * self.width()).max(rows * cols)
            }
            KernelFile::Subnormals | KernelFile::Advance => 0,
            // The indices of the elements are bounded by the lengths of the operands (`Use`).
            KernelFile::Copy => tiles * flag("LANES"),
            KernelFile::Update => tiles * flag("LANES") * self.width(),
            KernelFile::Random => tiles * flag("LANES") * 4 + 3,
            KernelFile::Total | KernelFile::NonFinite | KernelFile::LossScale => rows + flag("LANES"),
        };
        number.max(kernel).max(channels + 31)
    }
}

/// Steps of a tree over so many lanes.
fn halvings(lanes: u64) -> u64 {
    u64::from(lanes.max(1).ilog2())
}
