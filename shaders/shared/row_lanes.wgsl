// SPAN neighbouring lanes share a row, LANES / SPAN rows a workgroup; without SHARED_ROWS one lane has all of it.
#if SHARED_ROWS
var<workgroup> of_row: array<f32, LANES>;
#end

// The sum of what the lanes of a row have, in each of them; `place` is the lane's among those. Every lane of the workgroup comes here.
fn over_row(v: f32, lane: u32, place: u32) -> f32 {
#if SHARED_ROWS
    workgroupBarrier();
    of_row[lane] = v;
    workgroupBarrier();
    for (var half = SPAN / 2u; half > 0u; half /= 2u) {
        if (place < half) {
            of_row[lane] += of_row[lane + half];
        }
        workgroupBarrier();
    }
    return of_row[lane - place];
#else
    return v;
#end
}
