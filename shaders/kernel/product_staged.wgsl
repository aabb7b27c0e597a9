// C = A·B with tiles BM×BK of A and BK×BN of B staged in workgroup memory (both k-major, so that a register tile is read
// as vec4), and a register tile of TM×TN an invocation, interleaved over the workgroup tile in groups of four.
// A lane fetches one block of 4×4, four vec4 of one operand; where they lie along the reduction it turns the block in
// registers. It stores four whole vec4: to WGSL's memory model a vector is one place, and lanes that each wrote a component
// of it would race.
#use operands
#use product_tile
const A4 = BM / 4u;
const B4 = BN / 4u;
// Fours of steps, and the blocks of either operand.
const QUADS = BK / 4u;
const A_BLOCKS = QUADS * A4;
const B_BLOCKS = QUADS * B4;
const_assert A_BLOCKS + B_BLOCKS <= LANES;
var<workgroup> a_tile: array<vec4<f32>, BK * A4>;
var<workgroup> b_tile: array<vec4<f32>, BK * B4>;

// Neighbouring lanes hold the QUADS fours of one row: their columns are exchanged by xor, so that eight lanes that store
// together hit all 32 banks.
#if A_ALONG_K
const A_TURN = 8u / QUADS;
#else
const A_TURN = 0u;
#end
#if B_ALONG_K
const B_TURN = 8u / QUADS;
#else
const B_TURN = 0u;
#end

// Block u of the tile: steps r to r + 3, rows 4 g to 4 g + 3. Neighbouring lanes read neighbours in memory. Along the
// reduction what lies past the end counts as zero, whatever NaN may be there. LOOPED text is short instead of fast: for
// devices that compile for a CPU.
fn fill_a(u: u32, row0: u32, r0: u32, end: u32) {
#if A_ALONG_K
    let q = u % QUADS;
    let g = u / QUADS;
    let to = 4u * q * A4 + (g ^ (q * A_TURN));
#for i in 4
    let row_{i} = min(row0 + 4u * g + {i}u, P.rows - 1u);
#end
#else
    let q = u / A4;
    let g = u % A4;
    let to = 4u * q * A4 + g;
    let row = row0 + 4u * g;
#end
    let r = r0 + 4u * q;
#if !LOOPED
    if (r + 4u <= end) {
#if A_ALONG_K
        let v = transpose(mat4x4<f32>(a_four(row_0, r), a_four(row_1, r), a_four(row_2, r), a_four(row_3, r)));
#else
        let v = mat4x4<f32>(a_four(r, row), a_four(r + 1u, row), a_four(r + 2u, row), a_four(r + 3u, row));
#end
#for i in 4
        a_tile[to + {i}u * A4] = v[{i}];
#end
        return;
    }
#end
    for (var i = 0u; i < 4u; i += 1u) {
        var v = vec4<f32>();
        if (r + i < end) {
#if A_ALONG_K
            v = vec4<f32>(a_one(row_0, r + i), a_one(row_1, r + i), a_one(row_2, r + i), a_one(row_3, r + i));
#else
            v = a_four(r + i, row);
#end
        }
        a_tile[to + i * A4] = v;
    }
}

fn fill_b(u: u32, col0: u32, r0: u32, end: u32) {
#if B_ALONG_K
    let q = u % QUADS;
    let g = u / QUADS;
    let to = 4u * q * B4 + (g ^ (q * B_TURN));
#for i in 4
    let col_{i} = min(col0 + 4u * g + {i}u, P.cols - 1u);
#end
#else
    let q = u / B4;
    let g = u % B4;
    let to = 4u * q * B4 + g;
    let col = col0 + 4u * g;
#end
    let r = r0 + 4u * q;
#if !LOOPED
    if (r + 4u <= end) {
#if B_ALONG_K
        let v = transpose(mat4x4<f32>(b_four(col_0, r), b_four(col_1, r), b_four(col_2, r), b_four(col_3, r)));
#else
        let v = mat4x4<f32>(b_four(r, col), b_four(r + 1u, col), b_four(r + 2u, col), b_four(r + 3u, col));
#end
#for i in 4
        b_tile[to + {i}u * B4] = v[{i}];
#end
        return;
    }
#end
    for (var i = 0u; i < 4u; i += 1u) {
        var v = vec4<f32>();
        if (r + i < end) {
#if B_ALONG_K
            v = vec4<f32>(b_one(col_0, r + i), b_one(col_1, r + i), b_one(col_2, r + i), b_one(col_3, r + i));
#else
            v = b_four(r + i, col);
#end
        }
        b_tile[to + i * B4] = v;
    }
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
    let end = first + min(P.chunk, P.k - first);
    for (var r = first; r < end; r += BK) {
        if (lane < A_BLOCKS) {
            fill_a(lane, at.row, r, end);
        } else if (lane < A_BLOCKS + B_BLOCKS) {
            fill_b(lane - A_BLOCKS, at.col, r, end);
        }
        workgroupBarrier();
#if LOOPED
        for (var k = 0u; k < BK; k += 1u) {
#else
        {
            const k = 0u;
#end
#for u in UNROLL
#for i in TM4
            let a_{u}_{i} = a_tile[(k + {u}u) * A4 + {i}u * WY + (lid.y ^ ((k + {u}u) / 4u * A_TURN))];
#end
#for j in TN4
            let b_{u}_{j} = b_tile[(k + {u}u) * B4 + {j}u * WX + (lid.x ^ ((k + {u}u) / 4u * B_TURN))];
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
