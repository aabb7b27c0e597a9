// dx = dy ⊙ act'(x), where no gradient of α is wanted (with one, it is local_gradient that reduces it on the way).
#use tile
#use slope
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    P = uniform_params;
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    for (var e = 0u; e < PER_LANE; e += 1u) {
#if VEC
        let i = ((tile * PER_LANE + e) * LANES + lane) * 4u;
        if (i < P.rows) {
            let n = i % P.channels;
            let x = x_at4(i);
            let slope = vec4<f32>(act_dz(x.x, parameters(n)), act_dz(x.y, parameters(n + 1u)),
                                  act_dz(x.z, parameters(n + 2u)), act_dz(x.w, parameters(n + 3u)));
            var dx = dy_at4(i) * slope;
            if ((P.accumulate & 1u) != 0u) {
                dx += dx_at4(i);
            }
            dx_put4(i, dx);
        }
#else
        let i = (tile * PER_LANE + e) * LANES + lane;
        if (i < P.rows) {
            var dx = dy_at(i) * act_dz(x_at(i), parameters(i % P.channels));
            if ((P.accumulate & 1u) != 0u) {
                dx += dx_at(i);
            }
            dx_put(i, dx);
        }
#end
    }
}
