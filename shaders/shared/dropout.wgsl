#use philox
// What elements are multiplied by: `scale` where a random word of the element is at least `least`, else 0. The state is (seed, seed, step,
// layer); the twin of src/dropout.rs.
fn dropout(state: vec4<u32>, i: u32, least: u32, scale: f32) -> f32 {
    let words = philox(vec4<u32>(i / 4u, state.z, state.w, 1u), state.xy);
    return select(0.0, scale, words[i % 4u] >= least);
}

// Of four neighbours, of which the first has an index that is a multiple of four.
fn dropout4(state: vec4<u32>, i: u32, least: u32, scale: f32) -> vec4<f32> {
    let words = philox(vec4<u32>(i / 4u, state.z, state.w, 1u), state.xy);
    return select(vec4<f32>(), vec4<f32>(scale), words >= vec4<u32>(least));
}
