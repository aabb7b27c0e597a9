// y = act(x; α), PER_LANE groups of elements an invocation; the channel of an element is its place in the last dimension.
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
            y_put4(i, vec4<f32>(act(x.x, parameters(n)), act(x.y, parameters(n + 1u)),
                                act(x.z, parameters(n + 2u)), act(x.w, parameters(n + 3u))));
        }
#else
        let i = (tile * PER_LANE + e) * LANES + lane;
        if (i < P.rows) {
            y_put(i, act(x_at(i), parameters(i % P.channels)));
        }
#end
    }
}
