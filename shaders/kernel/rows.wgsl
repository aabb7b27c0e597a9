// One pass over the elements of [rows, cols], or over groups of MEMBERS rows, with sums over the rows as partials of `chunk` rows each, and sums over the columns
// as partials of LX columns (groups of four with WIDE) each: LX columns by LY lanes a workgroup.
#use tile
#use real
#use span
const LANES = LX * LY;
#if COLUMN_SUMS
#use column_lanes
#end
// The row of an operand by row: again from the first after the last.
fn in_turn(row: u32) -> u32 {
#if ROWS_REPEAT
    return row % P.channels;
#else
    return row;
#end
}

#if SHUFFLES
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_id) subgroup: u32,
        @builtin(subgroup_invocation_id) place: u32, @builtin(subgroup_size) lanes: u32) {
    let lane = lane_of(subgroup, place, lanes);
    let lid = vec2<u32>(lane % LX, lane / LX);
#else
@compute @workgroup_size(LX, LY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let lane = lid.y * LX + lid.x;
#end
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let part = tile / P.tiles_cols;
    let col = (tile % P.tiles_cols * LX + lid.x) * WIDTH;
    let first = part * P.chunk;
    let end = first + min(P.chunk, P.rows - first);
#for k in COLUMN_SUMS
    var sum_{k} = Running();
#end
#if ROW_SUMS
    // All lanes go through the same steps.
    let of_column = at_column(min(col, P.cols - WIDTH));
    for (var row0 = first; row0 < end; row0 += LY) {
        let row = row0 + lid.y;
        var terms = Terms();
        if (col < P.cols && row < end) {
            terms = finish(row * P.cols + col, row, col, 0u, 0u, at_row(in_turn(row)), of_column);
#for k in COLUMN_SUMS
            add_to(&sum_{k}, terms.m{k});
#end
        }
#for k in ROW_SUMS
        let of_row_{k} = span_sum(terms.n{k}, lane, LX);
        if (lid.x == 0u && row < end) {
            row_partials_put(({k}u * P.tiles_cols + tile % P.tiles_cols) * P.rows + row, of_row_{k});
        }
#end
    }
#else
    if (col < P.cols) {
        let of_column = at_column(col);
        for (var row = first + lid.y * MEMBERS; row < end; row += LY * MEMBERS) {
            let terms = finish(row * P.cols + col, row, col, 0u, 0u, at_row(in_turn(row)), of_column);
#for k in COLUMN_SUMS
            add_to(&sum_{k}, terms.m{k});
#end
        }
    }
#end
#for k in COLUMN_SUMS
    let total_{k} = over_lanes(sum_{k}, lid.x, lid.y);
    if (lid.y == 0u && col < P.cols) {
        partials_set(({k}u * P.parts + part) * P.cols + col, total_{k});
    }
#end
}
