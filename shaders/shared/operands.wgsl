// The operands of a product C = A·B, reduced over r. A lies as [rows, red] (A_RED: neighbours along the reduction) or
// [red, rows]; B as [cols, red] (B_RED) or [red, cols]. With PROLOGUE_A or PROLOGUE_B that operand is
// dz = dy ⊙ act'(z), computed at the load; the channels of dy run along its contiguous dimension.
#use slope
#if PROLOGUE
fn dz_at(m: u32, n: u32) -> f32 {
    return passed(dy_at(m * P.channels + n), slope_at(m, n));
}

fn dz_at4(m: u32, n: u32) -> vec4<f32> {
    return passed4(dy_at4(m * P.channels + n), slope_at4(m, n));
}
#end

// One element of A; `outer` is its slow index, `inner` its contiguous one.
fn a_one(outer: u32, inner: u32) -> f32 {
#if PROLOGUE_A
    return dz_at(outer, inner);
#else
#if A_RED
    return a_at(outer * P.red + inner);
#else
    return a_at(outer * P.rows + inner);
#end
#end
}

// Four neighbours of A. Across the output the indices are clamped before the load (what lies beyond is never stored);
// along the reduction the caller stays inside.
fn a_four(outer: u32, inner: u32) -> vec4<f32> {
#if VEC
#if PROLOGUE_A
#if A_RED
    return dz_at4(outer, inner);
#else
    return dz_at4(outer, min(inner, P.rows - 4u));
#end
#else
#if A_RED
    return a_at4(outer * P.red + inner);
#else
    return a_at4(outer * P.rows + min(inner, P.rows - 4u));
#end
#end
#else
#if A_RED
    return vec4<f32>(a_one(outer, inner), a_one(outer, inner + 1u), a_one(outer, inner + 2u), a_one(outer, inner + 3u));
#else
    let last = P.rows - 1u;
    return vec4<f32>(a_one(outer, min(inner, last)), a_one(outer, min(inner + 1u, last)),
                     a_one(outer, min(inner + 2u, last)), a_one(outer, min(inner + 3u, last)));
#end
#end
}

fn b_one(outer: u32, inner: u32) -> f32 {
#if PROLOGUE_B
    return dz_at(outer, inner);
#else
#if B_RED
    return b_at(outer * P.red + inner);
#else
    return b_at(outer * P.cols + inner);
#end
#end
}

fn b_four(outer: u32, inner: u32) -> vec4<f32> {
#if VEC
#if PROLOGUE_B
    return dz_at4(outer, min(inner, P.cols - 4u));
#else
#if B_RED
    return b_at4(outer * P.red + inner);
#else
    return b_at4(outer * P.cols + min(inner, P.cols - 4u));
#end
#end
#else
#if B_RED
    return vec4<f32>(b_one(outer, inner), b_one(outer, inner + 1u), b_one(outer, inner + 2u), b_one(outer, inner + 3u));
#else
    let last = P.cols - 1u;
    return vec4<f32>(b_one(outer, min(inner, last)), b_one(outer, min(inner + 1u, last)),
                     b_one(outer, min(inner + 2u, last)), b_one(outer, min(inner + 3u, last)));
#end
#end
}
