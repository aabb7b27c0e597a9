// Mean and 1 / √(variance + ε) of each row, p.x for ε: SPAN neighbouring lanes share a row, LANES / SPAN rows a workgroup. The second sweep sums what is
// left of the numbers without the mean, and its squares, so that nothing cancels: what is left of a mean that was rounded is
// taken off both. Without CENTRED the mean is 0.
#use tile
#use real
#use row_lanes

fn all_of(v: real) -> f32 {
#if WIDE
    return dot(v, vec4<f32>(1.0));
#else
    return v;
#end
}

fn index(row: u32, col: u32) -> u32 {
#if STRIDED
    return x_of(row, col);
#else
    return row * P.cols + col;
#end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let place = lane % SPAN;
    let m = tile * (LANES / SPAN) + lane / SPAN;
    let row = min(m, P.rows - 1u);
    let count = f32(P.cols);
    var mean = 0.0;
#if CENTRED
    var sum = real();
    for (var c = place * WIDTH; c < P.cols; c += SPAN * WIDTH) {
        sum += x_item(index(row, c));
    }
    mean = over_row(all_of(sum), lane, place) / count;
    var left = real();
#end
    var squares = real();
    for (var c = place * WIDTH; c < P.cols; c += SPAN * WIDTH) {
        let d = x_item(index(row, c)) - real(mean);
        squares += d * d;
#if CENTRED
        left += d;
#end
    }
    var variance = over_row(all_of(squares), lane, place) / count;
#if CENTRED
    let rest = over_row(all_of(left), lane, place) / count;
    mean += rest;
    // NaN stays what it is.
    variance = select(variance - rest * rest, 0.0, variance < rest * rest);
#end
    if (place == 0u && m < P.rows) {
        moments_put(m, mean);
        moments_put(P.rows + m, inverseSqrt(variance + P.p.x));
    }
}
