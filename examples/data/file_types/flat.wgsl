// One pass over the elements of a tensor, PER_LANE elements or groups of four an invocation; the column of an element is its place in
// the last dimension, of `channels`.
#use tile
#use real
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    for (var e = 0u; e < PER_LANE; e += 1u) {
        let i = ((tile * PER_LANE + e) * LANES + lane) * WIDTH;
        if (i < P.rows) {
            let col = i % P.channels;
            let terms = finish(i, 0u, col, 0u, 0u, at_row(0u), at_column(col));
        }
    }
}
