// Sums over the columns of a row whose lanes are neighbours: a tree over ROW_LANES of them. Every lane of the workgroup comes here.
// With MAGNITUDE the largest magnitudes in the place of the sums.
#if ROW_SUMS
#use real
var<workgroup> row_lanes: array<f32, LANES>;

// `first` is the row's first lane, and this is its lane number x. Valid in that of x = 0, which reads where it alone has written:
// another sum may follow at once.
fn over_row(v: real, x: u32, first: u32) -> f32 {
#if MAGNITUDE
    row_lanes[first + x] = largest_of(v);
#else
#if WIDE
    row_lanes[first + x] = dot(v, vec4<f32>(1.0));
#else
    row_lanes[first + x] = v;
#end
#end
    workgroupBarrier();
    for (var half = ROW_LANES / 2u; half > 0u; half /= 2u) {
        if (x < half) {
#if MAGNITUDE
            row_lanes[first + x] = larger_of(row_lanes[first + x], row_lanes[first + x + half]);
#else
            row_lanes[first + x] += row_lanes[first + x + half];
#end
        }
        workgroupBarrier();
    }
    return row_lanes[first];
}
#end
