// partials[tile] = 1 where an element of the tile is infinite or NaN, else 0. Asked on the bits: compilers may assume that
// there is no NaN.
#use tile
var<workgroup> found: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    if (lane == 0u) {
        atomicStore(&found, 0u);
    }
    workgroupBarrier();
    let first = tile * P.chunk;
    let end = first + min(P.chunk, P.rows - first);
    var bad = 0u;
    for (var i = first + lane; i < end; i += LANES) {
        bad |= u32((bitcast<u32>(gradient_at(i)) & 0x7f800000u) == 0x7f800000u);
    }
    if (bad != 0u) {
        atomicOr(&found, 1u);
    }
    workgroupBarrier();
    if (lane == 0u) {
        partials_put(tile, f32(atomicLoad(&found)));
    }
}
