// total[tile] = P.p.x · Σ of the terms of the tile's block, or Σ / counted with COUNTED: a mean of rows of which some are left out, or weigh more.
// Terms are the losses of rows; with LABELS 1 for every label that is not the one to be ignored, with WEIGHTED the weight of its class.
#use tile
var<workgroup> sums: array<f32, LANES>;

fn term(i: u32) -> f32 {
#if LABELS
    let label = labels_at(i);
#if IGNORE
    if (label == P.ignored) {
        return 0.0;
    }
#end
#if WEIGHTED
    // A label that is no class spoils its own row alone.
    if (label >= P.cols) {
        return 0.0;
    }
    return class_weight_at(label);
#else
    return 1.0;
#end
#else
    return terms_at(i);
#end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let first = tile * P.chunk;
    let end = first + min(P.chunk, P.rows - first);
    var sum = 0.0;
    for (var i = first + lane; i < end; i += LANES) {
        sum += term(i);
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            sums[lane] += sums[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
#if COUNTED
        total_put(tile, sums[0] / counted_at(0u));
#else
        total_put(tile, sums[0] * P.p.x);
#end
    }
}
