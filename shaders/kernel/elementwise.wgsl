// y = act(x; α), or with BACKWARD dx = dy ⊙ act'(x; α) (where a gradient of α is wanted, local_gradient does both).
// PER_LANE elements or groups of four an invocation; the channel of an element is its place in the last dimension.
#use tile
#use slope
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    for (var e = 0u; e < PER_LANE; e += 1u) {
        let i = ((tile * PER_LANE + e) * LANES + lane) * WIDTH;
        if (i < P.rows) {
#if BACKWARD
            let dx = passed_item(dy_item(i), act_dz_item(x_item(i), i % P.channels));
            if ((P.accumulate & 1u) != 0u) {
                dx_set(i, dx_item(i) + dx);
            } else {
                dx_set(i, dx);
            }
#else
            y_set(i, act_item(x_item(i), i % P.channels));
#end
        }
    }
}
