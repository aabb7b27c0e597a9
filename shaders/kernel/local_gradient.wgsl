// One pass over dy and what forward saved: dz = dy ⊙ act'(z) (OUT_DZ), d(residual) = dy (OUT_RESIDUAL), and the column
// sums of dz for db (SUM_DB) and of dy ⊙ ∂act/∂α for dα (SUM_DALPHA), as partials of `chunk` rows each. With x for z it
// is the backward of the elementwise operator.
#use tile
#use slope
#if SUMS
#use column_lanes
#end
@compute @workgroup_size(LX, LY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let part = tile / P.tiles_cols;
    let n = (tile % P.tiles_cols * LX + lid.x) * WIDTH;
    let first = part * P.chunk;
    let end = first + min(P.chunk, P.rows - first);
#if SUMS
    var sums = Running();
#end
    if (n < P.cols) {
        for (var m = first + lid.y; m < end; m += LY) {
            let i = m * P.cols + n;
            let dy = dy_item(i);
#if NEED_DZ
            let dz = passed_item(dy, slope_item(m, n));
#else
            let dz = real();
#end
#if SUM_DALPHA
            add_to(&sums, Sums(dz, passed_item(dy, act_da_item(saved_item(i), n))));
#else
#if SUM_DB
            add_to(&sums, Sums(dz, real()));
#end
#end
#if OUT_RESIDUAL
            if ((P.accumulate & 2u) != 0u) {
                dresidual_set(i, dresidual_item(i) + dy);
            } else {
                dresidual_set(i, dy);
            }
#end
#if OUT_DZ
            if ((P.accumulate & 1u) != 0u) {
                dz_set(i, dz_item(i) + dz);
            } else {
                dz_set(i, dz);
            }
#end
        }
    }
#if SUMS
    let total = over_lanes(sums, lid.x, lid.y);
    if (lid.y == 0u && n < P.cols) {
        let at = part * P.cols + n;
#if SUM_DB
        partials_set(at, total.db);
#end
#if SUM_DALPHA
        partials_set(at + P.plane * P.cols, total.dalpha);
#end
    }
#end
}
