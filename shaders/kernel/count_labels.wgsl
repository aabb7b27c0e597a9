// partials[tile] = how many labels of the tile's block are not the one to be ignored.
#use tile
var<workgroup> counts: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let first = tile * P.chunk;
    let end = first + min(P.chunk, P.rows - first);
    var count = 0u;
    for (var i = first + lane; i < end; i += LANES) {
        count += u32(labels_at(i) != P.ignored);
    }
    counts[lane] = count;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            counts[lane] += counts[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        partials_put(tile, f32(counts[0]));
    }
}
