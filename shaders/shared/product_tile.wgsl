// What the products have in common: where a workgroup stands, and the end of its work, from the register tile to memory.
#use tile
#use real
#use tile_bits
#use span
struct Place {
    split: u32,
    // Number of the tile in its split, its first row and its first column.
    tile: u32,
    row: u32,
    col: u32,
}

fn place_of(number: u32) -> Place {
    let tile = number % P.split_tiles;
#if PAIRED
    // Half of the tile's columns are those of the other side.
    return Place(number / P.split_tiles, tile, tile / P.tiles_cols * BM, tile % P.tiles_cols * (BN / 2u));
#else
    return Place(number / P.split_tiles, tile, tile / P.tiles_cols * BM, tile % P.tiles_cols * BN);
#end
}

// Row i and column j of the register tile of the lane (x, y), as a row and a column of the workgroup's tile.
fn local_row(i: u32, y: u32) -> u32 {
#if MATRIX
    return y / LY * MATRICES_M * MATRIX + i / RUN * MATRIX + y % LY * RUN + i % RUN;
#else
#if INTERLEAVED
    return (i / 4u * WY + y) * 4u + i % 4u;
#else
    return y * TM + i;
#end
#end
}

fn local_col(j: u32, x: u32) -> u32 {
#if MATRIX
    return x / LX * (MATRICES_N / SIDES) * MATRIX + j / 4u * MATRIX + x % LX * 4u + j % 4u;
#else
#if INTERLEAVED
    return (j / 4u * WX + x) * 4u + j % 4u;
#else
    return x * TN + j;
#end
#end
}

#if COLUMN_SUMS
var<workgroup> lane_sums: array<real, LANES>;
#end

#if COLUMN_SUMS
// The lane's sums over its rows of the columns from `col` on, added up over the workgroup. Every lane comes here; the sums come one
// after the other, because all of them need not fit into memory together.
fn store_column_sums(number: u32, sum: real, col: u32, at: Place, x: u32, y: u32) {
    lane_sums[y * WX + x] = sum;
    workgroupBarrier();
    if (y == 0u && col < P.cols) {
        var total = real();
        for (var row = 0u; row < WY; row += 1u) {
            total += lane_sums[row * WX + x];
        }
        partials_set((number * P.split_tiles + at.tile) / P.tiles_cols * P.cols + col, total);
    }
    workgroupBarrier();
}
#end

#if ROW_SUMS
// The lane's sum over its columns of one row, added up over the lanes of the row. Every lane comes here.
fn store_row_sum(number: u32, sum: real, row: u32, at: Place, x: u32, y: u32) {
    let total = span_sum(sum, y * WX + x, WX);
    if (x == 0u && row < P.rows) {
        row_partials_put((number * P.tiles_cols + at.tile % P.tiles_cols) * P.rows + row, total);
    }
}
#end

#if STATIC
// Every index into the sums is a number: one that a GPU's compiler does not know sends each access through a tree of branches, or
// the whole array to memory. Four rows by name (or those of a group), and then the next ones take their place. What depends on the column alone is loaded once,
// before anything is stored. Every lane comes here.
fn store_tile(sums: ptr<function, array<vec4<f32>, TM * TN4>>, at: Place, x: u32, y: u32) {
    let lane = y * WX + x;
#if BITS
    clear_bits(lane);
#end
#for j in GROUPS
    let lc_{j} = local_col({j}u * WIDTH, x);
    let col_{j} = at.col + lc_{j};
#if !PARTIAL
    let of_column_{j} = at_column(min(col_{j}, P.cols - WIDTH));
#end
#for k in COLUMN_SUMS
    var column_{k}_{j} = real();
#end
#end
    for (var i = 0u; i < TM; i += max(4u, MEMBERS)) {
#for g in NAMED_GROUPS
        let lr_{g} = local_row(i + {g}u * MEMBERS, y);
        let row_{g} = at.row + lr_{g};
#for k in ROW_SUMS
        var of_row_{k}_{g} = real();
#end
        if (row_{g} < P.rows) {
#if !PARTIAL
            let of_row = at_row(row_{g});
#end
#for j in GROUPS
            if (col_{j} < P.cols) {
#for m in SUMS
#if PAIRED
#if WIDE
                let sum_{m} = (*sums)[{g}u * TN4 + {m}u * (TN4 / 2u) + {j}u];
#else
                let sum_{m} = (*sums)[{g}u * TN4 + {m}u * (TN4 / 2u) + {j:vec}u].{j:lane};
#end
#else
#if WIDE
                let sum_{m} = (*sums)[({g}u * MEMBERS + {m}u) * TN4 + {j}u];
#else
                let sum_{m} = (*sums)[({g}u * MEMBERS + {m}u) * TN4 + {j:vec}u].{j:lane};
#end
#end
#end
                let index = row_{g} * P.cols + col_{j};
#if PARTIAL
                // One split of the reduction; split_sum adds them up.
                partials_set(at.split * P.rows * P.cols + index, sum_0);
#else
                let terms = finish(index, row_{g}, col_{j}, lr_{g}, lc_{j}, of_row, of_column_{j}
#for m in SUMS
                    , sum_{m}
#end
                );
#for k in COLUMN_SUMS
                column_{k}_{j} += terms.m{k};
#end
#for k in ROW_SUMS
                of_row_{k}_{g} += terms.n{k};
#end
#end
            }
#end
        }
#for k in ROW_SUMS
        store_row_sum({k}u, of_row_{k}_{g}, row_{g}, at, x, y);
#end
#end
#for i in ROWS_BEHIND
#for j in TN4
        (*sums)[{i}u * TN4 + {j}u] = (*sums)[({i}u + NAMED_ROWS) * TN4 + {j}u];
#end
#end
    }
#for j in GROUPS
#for k in COLUMN_SUMS
    store_column_sums({k}u, column_{k}_{j}, col_{j}, at, x, y);
#end
#end
#if BITS
    store_bits(lane, at.row, at.col);
#end
}
#else
// A loop, not unrolled text: TM·TN copies of an activation would cost a compiler for a CPU more than they save. Every lane comes here.
fn store_tile(sums: ptr<function, array<f32, TM * TN>>, at: Place, x: u32, y: u32) {
    let lane = y * WX + x;
#if BITS
    clear_bits(lane);
#end
#for k in ROW_SUMS
    var of_rows_{k}: array<real, TM>;
#end
#if PAIRED
    for (var j = 0u; j < TN / 2u; j += WIDTH) {
#else
    for (var j = 0u; j < TN; j += WIDTH) {
#end
        let lc = local_col(j, x);
        let col = at.col + lc;
#for k in COLUMN_SUMS
        var column_{k} = real();
#end
        if (col < P.cols) {
#if !PARTIAL
            let of_column = at_column(col);
#end
            for (var i = 0u; i < TM; i += MEMBERS) {
                let lr = local_row(i, y);
                let row = at.row + lr;
                if (row < P.rows) {
                    let index = row * P.cols + col;
#for m in SUMS
#if PAIRED
                    let s_{m} = i * TN + {m}u * (TN / 2u) + j;
#else
                    let s_{m} = (i + {m}u) * TN + j;
#end
#if WIDE
                    let sum_{m} = vec4<f32>((*sums)[s_{m}], (*sums)[s_{m} + 1u], (*sums)[s_{m} + 2u], (*sums)[s_{m} + 3u]);
#else
                    let sum_{m} = (*sums)[s_{m}];
#end
#end
#if PARTIAL
                    // One split of the reduction; split_sum adds them up.
                    partials_set(at.split * P.rows * P.cols + index, sum_0);
#else
                    let terms = finish(index, row, col, lr, lc, at_row(row), of_column
#for m in SUMS
                        , sum_{m}
#end
                    );
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
        store_column_sums({k}u, column_{k}, col, at, x, y);
#end
    }
#if ROW_SUMS
    for (var i = 0u; i < TM; i += 1u) {
        let row = at.row + local_row(i, y);
#for k in ROW_SUMS
        store_row_sum({k}u, of_rows_{k}[i], row, at, x, y);
#end
    }
#end
#if BITS
    store_bits(lane, at.row, at.col);
#end
}
#end
