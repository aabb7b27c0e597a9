// Four neighbours of an operand of a product C = A·B, reduced over r. A lies as [rows, k] (A_ALONG_K: neighbours along the
// reduction) or [k, rows]; B as [cols, k] (B_ALONG_K) or [k, cols]. `outer` is the slow index, `inner` the contiguous one.
// Across the output the indices are clamped before the load (what lies beyond is never stored); along the reduction the
// caller stays inside.
fn a_four(outer: u32, inner: u32) -> vec4<f32> {
#if VEC
#if A_ALONG_K
    return a_vec(outer, inner);
#else
    return a_vec(outer, min(inner, P.rows - 4u));
#end
#else
#if A_ALONG_K
    return vec4<f32>(a_one(outer, inner), a_one(outer, inner + 1u), a_one(outer, inner + 2u), a_one(outer, inner + 3u));
#else
    let last = P.rows - 1u;
    return vec4<f32>(a_one(outer, min(inner, last)), a_one(outer, min(inner + 1u, last)),
                     a_one(outer, min(inner + 2u, last)), a_one(outer, min(inner + 3u, last)));
#end
#end
}

// The length of a row of B that lies across the reduction: with PAIRED it has two numbers for each column of C, but where the sides are operands of
// their own.
fn b_columns() -> u32 {
#if PAIRED
#if APART
    return P.cols;
#else
    return 2u * P.cols;
#end
#else
    return P.cols;
#end
}

// The column of B that belongs to column `col` of C on this side: the second side lies behind the first, or with ALTERNATE by turns with it.
fn b_column(col: u32, side: u32) -> u32 {
#if ALTERNATE
    return 2u * col + side;
#else
    return side * P.cols + col;
#end
}

fn b_four(outer: u32, inner: u32) -> vec4<f32> {
#if VEC
#if B_ALONG_K
    return b_vec(outer, inner);
#else
    return b_vec(outer, min(inner, b_columns() - 4u));
#end
#else
#if B_ALONG_K
    return vec4<f32>(b_one(outer, inner), b_one(outer, inner + 1u), b_one(outer, inner + 2u), b_one(outer, inner + 3u));
#else
    let last = b_columns() - 1u;
    return vec4<f32>(b_one(outer, min(inner, last)), b_one(outer, min(inner + 1u, last)),
                     b_one(outer, min(inner + 2u, last)), b_one(outer, min(inner + 3u, last)));
#end
#end
}

#if AHEAD
#if !VEC
// What four neighbours are made of, for `a_value` and `b_value`: computed one by one.
fn a_fetch(i: u32, outer: u32, inner: u32) -> Raw {
#if A_ALONG_K
    let last = P.k - 1u;
#else
    let last = P.rows - 1u;
#end
    return Raw(vec4<f32>(a_one(outer, min(inner, last)), a_one(outer, min(inner + 1u, last)),
                         a_one(outer, min(inner + 2u, last)), a_one(outer, min(inner + 3u, last))));
}

fn b_fetch(i: u32, outer: u32, inner: u32) -> Raw {
#if B_ALONG_K
    let last = P.k - 1u;
#else
    let last = b_columns() - 1u;
#end
    return Raw(vec4<f32>(b_one(outer, min(inner, last)), b_one(outer, min(inner + 1u, last)),
                         b_one(outer, min(inner + 2u, last)), b_one(outer, min(inner + 3u, last))));
}
#end
#end
