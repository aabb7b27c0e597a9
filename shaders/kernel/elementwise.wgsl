// y = act(x; α), or with BACKWARD dx = dy ⊙ act'(x; α) (where a gradient of α is wanted, local_gradient does both).
// PER_LANE groups of elements an invocation; the channel of an element is its place in the last dimension.
#use tile
#use slope
fn one(x: f32, n: u32) -> f32 {
#if BACKWARD
    return act_dz(x, parameters(n));
#else
    return act(x, parameters(n));
#end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
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
            let f = vec4<f32>(one(x.x, n), one(x.y, n + 1u), one(x.z, n + 2u), one(x.w, n + 3u));
#if BACKWARD
            if ((P.accumulate & 1u) != 0u) {
                dx_put4(i, dx_at4(i) + dy_at4(i) * f);
            } else {
                dx_put4(i, dy_at4(i) * f);
            }
#else
            y_put4(i, f);
#end
        }
#else
        let i = (tile * PER_LANE + e) * LANES + lane;
        if (i < P.rows) {
            let f = one(x_at(i), i % P.channels);
#if BACKWARD
            if ((P.accumulate & 1u) != 0u) {
                dx_put(i, dx_at(i) + dy_at(i) * f);
            } else {
                dx_put(i, dy_at(i) * f);
            }
#else
            y_put(i, f);
#end
        }
#end
    }
}
