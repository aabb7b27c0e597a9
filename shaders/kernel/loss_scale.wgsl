// The state of the loss scale after a backward: (scale for the next step, 1 / scale of this one or 0 to leave it out, steps since
// the scale changed, steps left out). `rows` partials say whether a gradient was not finite; p = (growth, backoff), and
// `chunk` good steps in a row let the scale grow.
#use tile
var<workgroup> found: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    if (lane == 0u) {
        atomicStore(&found, 0u);
    }
    workgroupBarrier();
    for (var i = lane; i < P.rows; i += LANES) {
        if (partials_at(i) != 0.0) {
            atomicOr(&found, 1u);
        }
    }
    workgroupBarrier();
    if (lane != 0u) {
        return;
    }
    let scale = loss_scale_at(0u);
    if (atomicLoad(&found) != 0u) {
        loss_scale_put(0u, max(scale * P.p.y, 1.1754944e-38));
        loss_scale_put(1u, 0.0);
        loss_scale_put(2u, 0.0);
        loss_scale_put(3u, loss_scale_at(3u) + 1.0);
        return;
    }
    loss_scale_put(1u, 1.0 / scale);
    let steps = loss_scale_at(2u) + 1.0;
    let grown = scale * P.p.x;
    if (steps >= P.p.z && grown < 1.7014118e38) {
        loss_scale_put(0u, grown);
        loss_scale_put(2u, 0.0);
    } else {
        loss_scale_put(2u, steps);
    }
}
