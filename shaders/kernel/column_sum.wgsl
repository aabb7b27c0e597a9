// Second stage of a column reduction: out[c] (+)= Σ_rows partials[row, c].
#use tile
#use column_lanes
@compute @workgroup_size(LX, LY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let c = tile * LX + lid.x;
    var sums = Running();
    if (c < P.cols) {
        for (var row = lid.y; row < P.rows; row += LY) {
            add_to(&sums, Sums(partials_at(row * P.cols + c), 0.0));
        }
    }
    let total = over_lanes(sums, lid.x, lid.y).db;
    if (lid.y == 0u && c < P.cols) {
        if ((P.accumulate & 1u) != 0u) {
            out_put(c, out_at(c) + total);
        } else {
            out_put(c, total);
        }
    }
}
