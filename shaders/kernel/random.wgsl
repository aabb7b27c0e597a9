// to[i] = a random number of the counter (i / 4, stream) and the key: four elements an invocation, of one block of words.
// p = (low, high - low), or with NORMAL (mean, standard deviation). P.seed = (key, stream, 0).
#use tile
#use real
#use philox
#if NORMAL
#use normal_numbers
#end
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let block = tile * LANES + lane;
    let i = block * 4u;
    if (i >= P.rows) {
        return;
    }
    let words = philox(vec4<u32>(block, P.seed.z, 0u, 0u), P.seed.xy);
#if NORMAL
    let numbers = vec4<f32>(normal_pair(words.x, words.y), normal_pair(words.z, words.w));
#else
    let numbers = vec4<f32>(words >> vec4<u32>(8u)) * 0x1p-24f;
#end
    let v = P.p.x + P.p.y * numbers;
#if WORDS
#for q in 4
    if (i + {q}u < P.rows) {
        to_put(i + {q}u, words.{q:lane});
    }
#end
#else
#if WIDE
    to_put4(i, v);
#else
#for q in 4
    if (i + {q}u < P.rows) {
        to_put(i + {q}u, v.{q:lane});
    }
#end
#end
#end
}
