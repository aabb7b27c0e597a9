// A later stage of a column reduction: out[c] (+)= Σ_rows partials[row, c]. With several blocks of `chunk` rows, out is
// [blocks, cols], for one more stage.
#use tile
#use column_lanes
@compute @workgroup_size(LX, LY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let part = tile / P.tiles_cols;
    let c = tile % P.tiles_cols * LX + lid.x;
    let first = part * P.chunk;
    let end = first + min(P.chunk, P.rows - first);
    var sums = Running();
    if (c < P.cols) {
        for (var row = first + lid.y; row < end; row += LY) {
            add_to(&sums, Sums(partials_at(row * P.cols + c), 0.0));
        }
    }
    let total = over_lanes(sums, lid.x, lid.y).db;
    if (lid.y == 0u && c < P.cols) {
        let i = part * P.cols + c;
        if ((P.accumulate & 1u) != 0u) {
            out_put(i, out_at(i) + total);
        } else {
            out_put(i, total);
        }
    }
}
