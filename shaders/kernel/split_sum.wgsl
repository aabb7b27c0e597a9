// Second stage of split-K: the partial products of each element are added in order, then the epilogue, with the column sums
// of a chain. BM rows and BN columns a workgroup, each lane alone with its columns.
#use tile
#use epilogue
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let row0 = tile / P.tiles_cols * BM;
    let col0 = tile % P.tiles_cols * BN;
    let col = col0 + lane * WIDTH;
#if SAVE_MASK
    clear_bits(lane);
#end
    if (col < P.cols) {
        var column = Sums();
        for (var r = 0u; r < BM; r += 1u) {
            let row = row0 + r;
            if (row < P.rows) {
                var sum = real();
                for (var s = 0u; s < P.chunk; s += 1u) {
                    sum += products_item(s * P.rows * P.cols + row * P.cols + col);
                }
                column = plus(column, finish(row, col, r, col - col0, 0u, sum));
            }
        }
#if CHAIN_SUMS
        let first = tile / P.tiles_cols * P.cols + col;
#if SUM_DB
        partials_set(first, column.db);
#end
#if SUM_DALPHA
        partials_set(first + P.plane / P.tiles_cols * P.cols, column.dalpha);
#end
#end
    }
#if SAVE_MASK
    store_bits(lane, row0, col0);
#end
}
