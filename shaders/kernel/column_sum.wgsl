// A later stage of a column reduction: each of SUMS planes of partial sums [rows, cols] is added up over the rows, then
// finished. With several blocks of `chunk` rows the result is [blocks, cols], for one more stage.
#use tile
#use column_lanes
@compute @workgroup_size(LX, LY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let part = tile / P.tiles_cols;
    let col = tile % P.tiles_cols * LX + lid.x;
    let first = part * P.chunk;
    let end = first + min(P.chunk, P.rows - first);
#for k in SUMS
    var sum_{k} = Running();
#end
    if (col < P.cols) {
        for (var row = first + lid.y; row < end; row += LY) {
#for k in SUMS
            add_to(&sum_{k}, terms_at(({k}u * P.rows + row) * P.cols + col));
#end
        }
    }
#for k in SUMS
    let total_{k} = over_lanes(sum_{k}, lid.x, lid.y);
#end
    if (lid.y == 0u && col < P.cols) {
        let i = part * P.cols + col;
        let finished = finish(i, part, col, 0u, 0u, at_row(part), at_column(col),
#for k in SUMS
            total_{k},
#end
        );
    }
}
