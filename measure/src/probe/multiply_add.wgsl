// Eight independent chains of a = a·s + t on vectors of four; every element tends to t / (1 - s). The numbers come from
// memory, so that no compiler works it out. A step is repeated in the text: a loop's own cost disappears beside its body.
@group(0) @binding(0) var<storage, read> numbers: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 64u + lane;
    let s = vec4<f32>(numbers[0]);
    let t = vec4<f32>(numbers[1]);
    let start = vec4<f32>(numbers[2] + f32(lane) / 64.0);
    var a0 = start; var a1 = start; var a2 = start; var a3 = start;
    var a4 = start; var a5 = start; var a6 = start; var a7 = start;
    for (var step = 0u; step < LOOPS; step += 1u) {
        //REPEAT
        a0 = fma(a0, s, t); a1 = fma(a1, s, t); a2 = fma(a2, s, t); a3 = fma(a3, s, t);
        a4 = fma(a4, s, t); a5 = fma(a5, s, t); a6 = fma(a6, s, t); a7 = fma(a7, s, t);
        //END
    }
    if (i < arrayLength(&sums)) {
        sums[i] = dot((a0 + a1) + (a2 + a3) + (a4 + a5) + (a6 + a7), vec4<f32>(1.0));
    }
}
