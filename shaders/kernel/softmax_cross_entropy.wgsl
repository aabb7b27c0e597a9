// loss[m] = log Σ_c exp(z[m,c]) − z[m,label[m]]    dz[m,c] = (softmax(z[m])[c] − [c = label[m]]) / rows
// With SCALED dz is that of the loss times its scale. One row a lane: a classifier has few classes. A label that is no class gives NaN, not a read out of bounds.
#use tile
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let m = workgroup_number(wid) * LANES + lane;
    if (m >= P.rows) {
        return;
    }
    let row = m * P.cols;
    var top = logits_at(row);
    for (var c = 1u; c < P.cols; c += 1u) {
        top = max(top, logits_at(row + c));
    }
    var sum = 0.0;
    for (var c = 0u; c < P.cols; c += 1u) {
        sum += exp(logits_at(row + c) - top);
    }
    let label = labels_at(m);
    var at_label = bitcast<f32>(0x7fc00000u + min(P.rows, 0u));
    if (label < P.cols) {
        at_label = logits_at(row + label) - top;
    }
    loss_put(m, log(sum) - at_label);
#if SCALED
    let scale = loss_scale_at(0u) / f32(P.rows);
#else
    let scale = 1.0 / f32(P.rows);
#end
    for (var c = 0u; c < P.cols; c += 1u) {
        let share = exp(logits_at(row + c) - top) / sum;
        dlogits_put(row + c, (share - select(0.0, 1.0, c == label)) * scale);
    }
}
