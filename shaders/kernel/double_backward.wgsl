// The backward of the elementwise backward dx = dy ⊙ act'(x), given the cotangent ddx of dx:
//   ddy = ddx ⊙ act'(x)    dx2 = ddx ⊙ dy ⊙ act''(x)    dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α (as column partials)
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
            let x = x_item(i);
            let ddx = ddx_item(i);
#if OUT_DX2
            let dx2 = passed_both_item(ddx, dy_item(i), act_dzz_item(x, n));
#end
#if SUMS
            add_to(&sums, Sums(passed_both_item(ddx, dy_item(i), act_dzda_item(x, n)), real()));
#end
#if OUT_DDY
            let ddy = passed_item(ddx, act_dz_item(x, n));
            if ((P.accumulate & 1u) != 0u) {
                ddy_set(i, ddy_item(i) + ddy);
            } else {
                ddy_set(i, ddy);
            }
#end
#if OUT_DX2
            if ((P.accumulate & 2u) != 0u) {
                dx2_set(i, dx2_item(i) + dx2);
            } else {
                dx2_set(i, dx2);
            }
#end
        }
    }
#if SUMS
    let total = over_lanes(sums, lid.x, lid.y);
    if (lid.y == 0u && n < P.cols) {
        partials_set(part * P.cols + n, total.db);
    }
#end
}
