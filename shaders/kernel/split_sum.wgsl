// Second stage of split-K: the partial products of each element are added in order, then finished. BM rows and BN columns a
// workgroup, each lane alone with its columns, but for sums over them.
#use tile
#use real
#use tile_bits
#use span
@compute @workgroup_size(LANES)
#if SHUFFLES
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_id) subgroup: u32,
        @builtin(subgroup_invocation_id) place: u32, @builtin(subgroup_size) lanes: u32) {
    let lane = lane_of(subgroup, place, lanes);
#else
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
#end
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let row0 = tile / P.tiles_cols * BM;
    let col0 = tile % P.tiles_cols * BN;
    let col = col0 + lane * WIDTH;
#if BITS
    clear_bits(lane);
#end
    let inside = col < P.cols;
    let of_column = at_column(min(col, P.cols - WIDTH));
#for k in COLUMN_SUMS
    var column_{k} = real();
#end
    for (var r = 0u; r < BM; r += MEMBERS) {
        let row = row0 + r;
        var terms = Terms();
        if (inside && row < P.rows) {
            let index = row * P.cols + col;
#for m in SUMS
            var sum_{m} = real();
#end
            for (var s = 0u; s < P.splits; s += 1u) {
#for m in SUMS
                sum_{m} += products_item(s * P.rows * P.cols + index + {m}u * P.cols);
#end
            }
            terms = finish(index, row, col, r, col - col0, at_row(row), of_column
#for m in SUMS
                , sum_{m}
#end
            );
#for k in COLUMN_SUMS
            column_{k} += terms.m{k};
#end
        }
#for k in ROW_SUMS
        let of_row_{k} = span_sum(terms.n{k}, lane, LANES);
        if (lane == 0u && row < P.rows) {
            row_partials_put(({k}u * P.tiles_cols + tile % P.tiles_cols) * P.rows + row, of_row_{k});
        }
#end
    }
#for k in COLUMN_SUMS
    if (inside) {
        partials_set(({k}u * P.split_tiles + tile) / P.tiles_cols * P.cols + col, column_{k});
    }
#end
#if BITS
    store_bits(lane, row0, col0);
#end
}
