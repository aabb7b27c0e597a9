// C = A·B with tiles BM×BK of A and BK×BN of B staged in workgroup memory (both k-major, so that a register tile is read
// as vec4), and a register tile of TM×TN an invocation, interleaved over the workgroup tile in groups of four.
#use operands
#use product_tile
const A4 = BM / 4u;
const B4 = BN / 4u;
var<workgroup> a_tile: array<vec4<f32>, BK * A4>;
var<workgroup> b_tile: array<vec4<f32>, BK * B4>;

// Along the reduction what lies past the end counts as zero, whatever NaN may be there.
fn a_along(row: u32, r: u32, end: u32) -> vec4<f32> {
    if (r + 4u <= end) {
        return a_four(row, r);
    }
    var v = vec4<f32>();
    for (var c = 0u; r + c < end; c += 1u) {
        v[c] = a_one(row, r + c);
    }
    return v;
}

fn b_along(col: u32, r: u32, end: u32) -> vec4<f32> {
    if (r + 4u <= end) {
        return b_four(col, r);
    }
    var v = vec4<f32>();
    for (var c = 0u; r + c < end; c += 1u) {
        v[c] = b_one(col, r + c);
    }
    return v;
}

@compute @workgroup_size(WX, WY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = workgroup_number(wid);
    if (number >= P.tiles) {
        return;
    }
    let at = place_of(number);
#for i in TM
#for j in TN4
    var acc_{i}_{j} = vec4<f32>();
#end
#end
    let first = at.split * P.chunk;
    let end = min(first + P.chunk, P.red);
    for (var r = first; r < end; r += BK) {
        for (var u = lane; u < BK * A4; u += LANES) {
#if A_RED
            let row = u / (BK / 4u);
            let q = u % (BK / 4u) * 4u;
            let v = a_along(min(at.row + row, P.rows - 1u), r + q, end);
            a_tile[q * A4 + row / 4u][row % 4u] = v.x;
            a_tile[(q + 1u) * A4 + row / 4u][row % 4u] = v.y;
            a_tile[(q + 2u) * A4 + row / 4u][row % 4u] = v.z;
            a_tile[(q + 3u) * A4 + row / 4u][row % 4u] = v.w;
#else
            var v = vec4<f32>();
            if (r + u / A4 < end) {
                v = a_four(r + u / A4, at.row + u % A4 * 4u);
            }
            a_tile[u] = v;
#end
        }
        for (var u = lane; u < BK * B4; u += LANES) {
#if B_RED
            let col = u / (BK / 4u);
            let q = u % (BK / 4u) * 4u;
            let v = b_along(min(at.col + col, P.cols - 1u), r + q, end);
            b_tile[q * B4 + col / 4u][col % 4u] = v.x;
            b_tile[(q + 1u) * B4 + col / 4u][col % 4u] = v.y;
            b_tile[(q + 2u) * B4 + col / 4u][col % 4u] = v.z;
            b_tile[(q + 3u) * B4 + col / 4u][col % 4u] = v.w;
#else
            var v = vec4<f32>();
            if (r + u / B4 < end) {
                v = b_four(r + u / B4, at.col + u % B4 * 4u);
            }
            b_tile[u] = v;
#end
        }
        workgroupBarrier();
        for (var k = 0u; k < BK; k += UNROLL) {
#for u in UNROLL
#for i in TM4
            let a_{u}_{i} = a_tile[(k + {u}u) * A4 + {i}u * WY + lid.y];
#end
#for j in TN4
            let b_{u}_{j} = b_tile[(k + {u}u) * B4 + {j}u * WX + lid.x];
#end
#for i in TM
#for j in TN4
            acc_{i}_{j} += a_{u}_{i:vec}.{i:lane} * b_{u}_{j};
#end
#end
#end
        }
        workgroupBarrier();
    }
    var tile_sums: array<f32, TM * TN>;
#for i in TM
#for j in TN
    tile_sums[{i}u * TN + {j}u] = acc_{i}_{j:vec}.{j:lane};
#end
#end
    store_tile(&tile_sums, at, lid.x, lid.y);
}
