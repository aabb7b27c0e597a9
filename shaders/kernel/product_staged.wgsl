// C = A·B with tiles BM×BK of A and BK×BN of B staged in workgroup memory (both k-major, so that a register tile is read
// as vec4), and a register tile of TM×TN an invocation, interleaved over the workgroup tile in groups of four.
// A lane fetches one block of 4×4, four vec4 of one operand; where they lie along the reduction it turns the block in
// registers. It stores four whole vec4: to WGSL's memory model a vector is one place, and lanes that each wrote a component
// of it would race.
// What is left of the reduction beyond whole steps is the first step, filled up with zeros: every later one is whole, and the loop
// has no branch. While a step is multiplied the next one is on its way to registers (on an H100 the two bring a third).
#use operands
#use product_tile
const A4 = BM / 4u;
const B4 = BN / 4u;
// The blocks of either operand: QUADS fours of steps.
const A_BLOCKS = QUADS * A4;
const B_BLOCKS = QUADS * B4;
const_assert A_BLOCKS + B_BLOCKS <= LANES;
// The tile of A, and behind it that of B.
var<workgroup> tile: array<vec4<f32>, BK * (A4 + B4)>;
const B_TILE = BK * A4;

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
// reduction what lies past the end counts as zero, whatever NaN may be there. Without AHEAD the text is short instead of fast: for
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
#if AHEAD
    if (r + 4u <= end) {
#if A_ALONG_K
        let v = transpose(mat4x4<f32>(a_four(row_0, r), a_four(row_1, r), a_four(row_2, r), a_four(row_3, r)));
#else
        let v = mat4x4<f32>(a_four(r, row), a_four(r + 1u, row), a_four(r + 2u, row), a_four(r + 3u, row));
#end
#for i in 4
        tile[to + {i}u * A4] = v[{i}];
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
        tile[to + i * A4] = v;
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
#if AHEAD
    if (r + 4u <= end) {
#if B_ALONG_K
        let v = transpose(mat4x4<f32>(b_four(col_0, r), b_four(col_1, r), b_four(col_2, r), b_four(col_3, r)));
#else
        let v = mat4x4<f32>(b_four(r, col), b_four(r + 1u, col), b_four(r + 2u, col), b_four(r + 3u, col));
#end
#for i in 4
        tile[B_TILE + to + {i}u * B4] = v[{i}];
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
        tile[B_TILE + to + i * B4] = v;
    }
}

#if AHEAD
// What a lane loads of its block, step after step: where the block lies, and four times what one vec4 of it is made of. Nothing is computed
// of that before it is stored, so that nothing waits for memory.
struct Block {
#for i in 4
    index_{i}: u32,
    outer_{i}: u32,
#end
    inner: u32,
    // In workgroup memory: its first vec4, and how far the next ones are from each other.
    to: u32,
    pitch: u32,
}

// Block u of a step that begins at 0, of a reduction of `length`: what depends on the lane alone, once. A block past a reduction that is
// shorter than a step is moved inside; what it loads is never used.
fn block_of_a(u: u32, row0: u32, length: u32) -> Block {
    var block: Block;
    block.pitch = A4;
#if A_ALONG_K
    let q = u % QUADS;
    let g = u / QUADS;
    block.to = 4u * q * A4 + (g ^ (q * A_TURN));
    block.inner = min(4u * q, max(length, 4u) - 4u);
#for i in 4
    block.outer_{i} = min(row0 + 4u * g + {i}u, P.rows - 1u);
    block.index_{i} = block.outer_{i} * P.k + block.inner;
#end
#else
    block.to = 4u * (u / A4) * A4 + u % A4;
    block.inner = row0 + 4u * (u % A4);
#if VEC
    block.inner = min(block.inner, P.rows - 4u);
#end
#for i in 4
    block.outer_{i} = min(4u * (u / A4) + {i}u, max(length, 1u) - 1u);
    block.index_{i} = block.outer_{i} * P.rows + block.inner;
#end
#end
    return block;
}

fn block_of_b(u: u32, col0: u32, length: u32) -> Block {
    var block: Block;
    block.pitch = B4;
#if B_ALONG_K
    let q = u % QUADS;
    let g = u / QUADS;
    block.to = B_TILE + 4u * q * B4 + (g ^ (q * B_TURN));
    block.inner = min(4u * q, max(length, 4u) - 4u);
#for i in 4
    block.outer_{i} = min(col0 + 4u * g + {i}u, P.cols - 1u);
    block.index_{i} = block.outer_{i} * P.k + block.inner;
#end
#else
    block.to = B_TILE + 4u * (u / B4) * B4 + u % B4;
    block.inner = col0 + 4u * (u % B4);
#if VEC
    block.inner = min(block.inner, P.cols - 4u);
#end
#for i in 4
    block.outer_{i} = min(4u * (u / B4) + {i}u, max(length, 1u) - 1u);
    block.index_{i} = block.outer_{i} * P.cols + block.inner;
#end
#end
    return block;
}
#end

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = workgroup_number(wid);
    if (number >= P.tiles) {
        return;
    }
    let at = place_of(number);
    // 32 lanes that run together are 8 columns of lanes by 4 rows: they read 12 different vec4 of a step, where 16 by 2 would read 18.
    // Neighbours share what they read.
    let block_of_32 = lane / 32u;
    let x = block_of_32 % (WX / 8u) * 8u + lane % 2u + lane / 4u % 4u * 2u;
    let y = block_of_32 / (WX / 8u) * 4u + lane / 2u % 2u + lane / 16u % 2u * 2u;
#for q in QUADS
    let x_{q} = x ^ ({q}u * B_TURN);
    let y_{q} = y ^ ({q}u * A_TURN);
#end
#for i in TM
#for j in TN4
    var acc_{i}_{j} = vec4<f32>();
#end
#end
    let first = at.split * P.chunk;
    let end = first + min(P.chunk, P.k - first);
    let length = end - first;
    let steps = (length + BK - 1u) / BK;
    var r = first + min((length + BK - 1u) % BK + 1u, length);
    if (lane < A_BLOCKS) {
        fill_a(lane, at.row, first, r);
    } else if (lane < A_BLOCKS + B_BLOCKS) {
        fill_b(lane - A_BLOCKS, at.col, first, r);
    }
#if AHEAD
    var block: Block;
    if (lane < A_BLOCKS) {
        block = block_of_a(lane, at.row, length);
    } else {
#if IDLE_LANES
        // More lanes than blocks: some load what others load, and store nothing.
        block = block_of_b((lane - A_BLOCKS) % B_BLOCKS, at.col, length);
#else
        block = block_of_b(lane - A_BLOCKS, at.col, length);
#end
    }
#for i in 4
    var raw_{i}: Raw;
#end
    // Behind the last step there is none to load: it is loaded once more.
    let last = max(end, first + BK) - BK;
    for (var step = 0u; step < steps; step += 1u) {
        workgroupBarrier();
        let next = min(r, last);
        if (lane < A_BLOCKS) {
#for i in 4
#if A_ALONG_K
            raw_{i} = a_fetch(block.index_{i} + next, block.outer_{i}, block.inner + next);
#else
            raw_{i} = a_fetch(block.index_{i} + next * P.rows, block.outer_{i} + next, block.inner);
#end
#end
        } else {
#for i in 4
#if B_ALONG_K
            raw_{i} = b_fetch(block.index_{i} + next, block.outer_{i}, block.inner + next);
#else
            raw_{i} = b_fetch(block.index_{i} + next * P.cols, block.outer_{i} + next, block.inner);
#end
#end
        }
#for u in BK
#for i in TM4
        let a_{u}_{i} = tile[{u}u * A4 + {i}u * WY + y_{u:vec}];
#end
#for j in TN4
        let b_{u}_{j} = tile[B_TILE + {u}u * B4 + {j}u * WX + x_{u:vec}];
#end
#for i in TM
#for j in TN4
        acc_{i}_{j} += a_{u}_{i:vec}.{i:lane} * b_{u}_{j};
#end
#end
#end
        workgroupBarrier();
        var v: mat4x4<f32>;
        if (lane < A_BLOCKS) {
            v = mat4x4<f32>(a_value(raw_0), a_value(raw_1), a_value(raw_2), a_value(raw_3));
#if TURN_A
            v = transpose(v);
#end
        } else {
            v = mat4x4<f32>(b_value(raw_0), b_value(raw_1), b_value(raw_2), b_value(raw_3));
#if TURN_B
            v = transpose(v);
#end
        }
#if TURN_BOTH
        v = transpose(v);
#end
#if IDLE_LANES
        if (lane < A_BLOCKS + B_BLOCKS) {
#else
        {
#end
#for i in 4
            tile[block.to + {i}u * block.pitch] = v[{i}];
#end
        }
        r += BK;
    }
#else
    for (var step = 0u; step < steps; step += 1u) {
        workgroupBarrier();
        for (var k = 0u; k < BK; k += 1u) {
#for i in TM4
            let a_{i} = tile[k * A4 + {i}u * WY + (y ^ (k / 4u * A_TURN))];
#end
#for j in TN4
            let b_{j} = tile[B_TILE + k * B4 + {j}u * WX + (x ^ (k / 4u * B_TURN))];
#end
#for i in TM
#for j in TN4
            acc_{i}_{j} += a_{i:vec}.{i:lane} * b_{j};
#end
#end
        }
        workgroupBarrier();
        if (lane < A_BLOCKS) {
            fill_a(lane, at.row, r, min(r + BK, end));
        } else if (lane < A_BLOCKS + B_BLOCKS) {
            fill_b(lane - A_BLOCKS, at.col, r, min(r + BK, end));
        }
        r += BK;
    }
#end
#if STATIC
    var tile_sums: array<vec4<f32>, TM * TN4>;
#for i in TM
#for j in TN4
    tile_sums[{i}u * TN4 + {j}u] = acc_{i}_{j};
#end
#end
#else
    var tile_sums: array<f32, TM * TN>;
#for i in TM
#for j in TN
    tile_sums[{i}u * TN + {j}u] = acc_{i}_{j:vec}.{j:lane};
#end
#end
#end
    store_tile(&tile_sums, at, x, y);
}
