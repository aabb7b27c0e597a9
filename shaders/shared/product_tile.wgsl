// What the products have in common: where a workgroup stands, and the end of its work, from the register tile to memory.
#use tile
#use epilogue
struct Place {
    split: u32,
    // Number of the tile in its split, its first row and its first column.
    tile: u32,
    row: u32,
    col: u32,
}

fn place_of(number: u32) -> Place {
    let tile = number % P.plane;
    return Place(number / P.plane, tile, tile / P.tiles_cols * BM, tile % P.tiles_cols * BN);
}

// Row i and column j of the register tile of the lane (x, y), as a row and a column of the workgroup's tile.
fn local_row(i: u32, y: u32) -> u32 {
#if INTERLEAVED
    return (i / 4u * WY + y) * 4u + i % 4u;
#else
    return y * TM + i;
#end
}

fn local_col(j: u32, x: u32) -> u32 {
#if INTERLEAVED
    return (j / 4u * WX + x) * 4u + j % 4u;
#else
    return x * TN + j;
#end
}

#if CHAIN_SUMS
var<workgroup> lane_sums: array<Sums, LANES>;
#end

// A loop, not unrolled text: TM·TN copies of an activation would cost more to compile than to run. Every lane comes here.
fn store_tile(sums: ptr<function, array<f32, TM * TN>>, at: Place, x: u32, y: u32) {
    let lane = y * WX + x;
#if SAVE_MASK
    clear_bits(lane);
#end
    for (var j = 0u; j < TN; j += WIDTH) {
        var column = Sums();
        let lc = local_col(j, x);
        for (var i = 0u; i < TM; i += 1u) {
            let lr = local_row(i, y);
            if (at.row + lr < P.rows && at.col + lc < P.cols) {
                let s = i * TN + j;
#if WIDE
                let sum = vec4<f32>((*sums)[s], (*sums)[s + 1u], (*sums)[s + 2u], (*sums)[s + 3u]);
#else
                let sum = (*sums)[s];
#end
                column = plus(column, finish(at.row + lr, at.col + lc, lr, lc, at.split, sum));
            }
        }
#if CHAIN_SUMS
        // A lane's columns one group after the other, so that the sums of all groups need not fit into memory together.
        lane_sums[lane] = column;
        workgroupBarrier();
        if (y == 0u && at.col + lc < P.cols) {
            var total = Sums();
            for (var row = 0u; row < WY; row += 1u) {
                total = plus(total, lane_sums[row * WX + x]);
            }
            let first = at.tile / P.tiles_cols * P.cols + at.col + lc;
#if SUM_DB
            partials_set(first, total.db);
#end
#if SUM_DALPHA
            partials_set(first + P.plane / P.tiles_cols * P.cols, total.dalpha);
#end
        }
        workgroupBarrier();
#end
    }
#if SAVE_MASK
    store_bits(lane, at.row, at.col);
#end
}
