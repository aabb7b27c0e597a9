// What the products have in common: where a workgroup stands, and the end of its work, from the register tile to memory.
#use tile
#use real
#use tile_bits
#use row_lanes
const ROW_LANES = WX;
struct Place {
    split: u32,
    // Number of the tile in its split, its first row and its first column.
    tile: u32,
    row: u32,
    col: u32,
}

fn place_of(number: u32) -> Place {
    let tile = number % P.split_tiles;
    return Place(number / P.split_tiles, tile, tile / P.tiles_cols * BM, tile % P.tiles_cols * BN);
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

#if COLUMN_SUMS
var<workgroup> lane_sums: array<real, LANES>;
#end

// A loop, not unrolled text: TM·TN copies of an activation would cost more to compile than to run. Every lane comes here.
fn store_tile(sums: ptr<function, array<f32, TM * TN>>, at: Place, x: u32, y: u32) {
    let lane = y * WX + x;
#if BITS
    clear_bits(lane);
#end
#for k in ROW_SUMS
    var of_rows_{k}: array<real, TM>;
#end
    for (var j = 0u; j < TN; j += WIDTH) {
        let lc = local_col(j, x);
        let col = at.col + lc;
#for k in COLUMN_SUMS
        var column_{k} = real();
#end
        if (col < P.cols) {
#if !PARTIAL
            let of_column = at_column(col);
#end
            for (var i = 0u; i < TM; i += 1u) {
                let lr = local_row(i, y);
                let row = at.row + lr;
                if (row < P.rows) {
                    let s = i * TN + j;
#if WIDE
                    let sum = vec4<f32>((*sums)[s], (*sums)[s + 1u], (*sums)[s + 2u], (*sums)[s + 3u]);
#else
                    let sum = (*sums)[s];
#end
                    let index = row * P.cols + col;
#if PARTIAL
                    // One split of the reduction; split_sum adds them up.
                    partials_set(at.split * P.rows * P.cols + index, sum);
#else
                    let terms = finish(index, row, col, lr, lc, at_row(row), of_column, sum);
#for k in COLUMN_SUMS
                    column_{k} += terms.m{k};
#end
#for k in ROW_SUMS
                    of_rows_{k}[i] += terms.n{k};
#end
#end
                }
            }
        }
#for k in COLUMN_SUMS
        // A lane's columns one group after the other, and the sums one after the other: all need not fit into memory together.
        lane_sums[lane] = column_{k};
        workgroupBarrier();
        if (y == 0u && col < P.cols) {
            var total = real();
            for (var row = 0u; row < WY; row += 1u) {
                total += lane_sums[row * WX + x];
            }
            partials_set(({k}u * P.split_tiles + at.tile) / P.tiles_cols * P.cols + col, total);
        }
        workgroupBarrier();
#end
    }
#if ROW_SUMS
    for (var i = 0u; i < TM; i += 1u) {
        let row = at.row + local_row(i, y);
#for k in ROW_SUMS
        let of_row_{k} = over_row(of_rows_{k}[i], x, y * WX);
        if (x == 0u && row < P.rows) {
            row_partials_put(({k}u * P.tiles_cols + at.tile % P.tiles_cols) * P.rows + row, of_row_{k});
        }
#end
    }
#end
#if BITS
    store_bits(lane, at.row, at.col);
#end
}
