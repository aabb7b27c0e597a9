// C = A·B with tiles BM×BK of A and BK×BN of B staged in workgroup memory (both k-major, so that a register tile is read
// as vec4), and a register tile of TM×TN an invocation, interleaved over the workgroup tile in groups of four.
// A lane fetches one block of 4×4, four vec4 of one operand; where they lie along the reduction it turns the block in
// registers. It stores four whole vec4: to WGSL's memory model a vector is one place, and lanes that each wrote a component
// of it would race.
// What is left of the reduction beyond whole steps is the first step, filled up with zeros: every later one is whole, and the loop
// does not ask for the end. With AHEAD the next step is on its way to registers while this one is multiplied; without, the text is short
// instead of fast, for devices that compile for a CPU.
// With SLICED several parts of the workgroup, slices, share the output's tile: each multiplies its part of the reduction with tiles of its own, then
// they exchange sums, and each finishes some of the rows.
#use operands
#use product_tile
const A4 = BM / 4u;
const B4 = BN / 4u;
// The blocks of either operand: QUADS fours of steps.
const A_BLOCKS = QUADS * A4;
const B_BLOCKS = QUADS * B4;
const_assert A_BLOCKS + B_BLOCKS <= LOOP_LANES;
// The tile of A, and behind it that of B; for each slice.
const TILE = BK * (A4 + B4);
const B_TILE = BK * A4;
#if SLICED
var<workgroup> tile: array<vec4<f32>, SLICES * TILE>;
// What the slices exchange fits there.
const_assert LOOP_LANES * LOOP_TM * TN4 <= 2u * TILE;
#else
var<workgroup> tile: array<vec4<f32>, TILE>;
#end

// Neighbouring lanes hold the QUADS fours of one row: their columns are exchanged by xor, so that eight lanes that store
// together hit all 32 banks.
#if A_ALONG_K
const A_ALONG = true;
const A_TURN = 8u / QUADS;
#else
const A_ALONG = false;
const A_TURN = 0u;
#end
#if B_ALONG_K
const B_ALONG = true;
const B_TURN = 8u / QUADS;
#else
const B_ALONG = false;
const B_TURN = 0u;
#end

// A lane's block of one operand: what depends on the lane alone, once.
struct Block {
    // Its first step.
    step: u32,
    // What a vec4 of it is in memory, four times: its row as it lies, and its first element in the step that begins at 0.
#for i in 4
    outer_{i}: u32,
    index_{i}: u32,
#end
    // The column of that element.
    inner: u32,
    // In workgroup memory: its first vec4, and how far the next ones are from each other.
    to: u32,
    pitch: u32,
}

// Block u of an operand of `count` rows (columns of B), of which `fours` groups of four from `first` on are in the tile, at `base`. Neighbouring
// lanes read neighbours in memory. Where a reduction is shorter than a step, `index` and `inner` are moved inside: what is loaded by them
// is never used.
fn block_of(u: u32, along: bool, first: u32, count: u32, fours: u32, base: u32, turn: u32, length: u32) -> Block {
    var block: Block;
    block.pitch = fours;
    if (along) {
        let q = u % QUADS;
        let g = u / QUADS;
        block.step = 4u * q;
        block.to = base + 4u * q * fours + (g ^ (q * turn));
        block.inner = min(block.step, max(length, 4u) - 4u);
#for i in 4
        block.outer_{i} = min(first + 4u * g + {i}u, count - 1u);
        block.index_{i} = block.outer_{i} * P.k + block.inner;
#end
    } else {
        block.step = 4u * (u / fours);
        block.to = base + block.step * fours + u % fours;
        block.inner = first + 4u * (u % fours);
#if VEC
        block.inner = min(block.inner, count - 4u);
#end
#for i in 4
        block.outer_{i} = min(block.step + {i}u, max(length, 1u) - 1u);
        block.index_{i} = block.outer_{i} * count + block.inner;
#end
    }
    return block;
}

#if PAIRED
// Block u of B with two columns for each of C: the first half of the tile's groups of four are those of the first side, the others those of the
// second, which lies behind it, or with ALTERNATE by turns with it.
fn block_of_pair(u: u32, first: u32, base: u32, length: u32) -> Block {
    let g = select(u % B4, u / QUADS, B_ALONG);
    let side = g / (B4 / 2u);
    var block = block_of(u, B_ALONG, first, P.cols, B4, base, B_TURN, length);
    let column = first + 4u * (g % (B4 / 2u));
#if B_ALONG_K
#for i in 4
    let column_{i} = min(column + {i}u, P.cols - 1u);
#if ALTERNATE
    block.outer_{i} = 2u * column_{i} + side;
#else
    block.outer_{i} = side * P.cols + column_{i};
#end
    block.index_{i} = block.outer_{i} * P.k + block.inner;
#end
#else
#if VEC
    block.inner = side * P.cols + min(column, P.cols - 4u);
#else
    block.inner = side * P.cols + column;
#end
#for i in 4
    block.index_{i} = block.outer_{i} * b_columns() + block.inner;
#end
#end
    return block;
}
#end

fn store(block: Block, v: mat4x4<f32>) {
#for i in 4
    tile[block.to + {i}u * block.pitch] = v[{i}];
#end
}

// The block in steps of which some may lie past the end. Those count as zero, whatever NaN may be there.
fn fill_a(block: Block, r0: u32, end: u32) {
    let r = r0 + block.step;
#if AHEAD
    if (r + 4u <= end) {
#if A_ALONG_K
        let v = transpose(mat4x4<f32>(a_four(block.outer_0, r), a_four(block.outer_1, r),
                                      a_four(block.outer_2, r), a_four(block.outer_3, r)));
#else
        let v = mat4x4<f32>(a_four(r, block.inner), a_four(r + 1u, block.inner),
                            a_four(r + 2u, block.inner), a_four(r + 3u, block.inner));
#end
        store(block, v);
        return;
    }
#end
    for (var i = 0u; i < 4u; i += 1u) {
        var v = vec4<f32>();
        if (r + i < end) {
#if A_ALONG_K
            v = vec4<f32>(a_one(block.outer_0, r + i), a_one(block.outer_1, r + i),
                          a_one(block.outer_2, r + i), a_one(block.outer_3, r + i));
#else
            v = a_four(r + i, block.inner);
#end
        }
        tile[block.to + i * block.pitch] = v;
    }
}

fn fill_b(block: Block, r0: u32, end: u32) {
    let r = r0 + block.step;
#if AHEAD
    if (r + 4u <= end) {
#if B_ALONG_K
        let v = transpose(mat4x4<f32>(b_four(block.outer_0, r), b_four(block.outer_1, r),
                                      b_four(block.outer_2, r), b_four(block.outer_3, r)));
#else
        let v = mat4x4<f32>(b_four(r, block.inner), b_four(r + 1u, block.inner),
                            b_four(r + 2u, block.inner), b_four(r + 3u, block.inner));
#end
        store(block, v);
        return;
    }
#end
    for (var i = 0u; i < 4u; i += 1u) {
        var v = vec4<f32>();
        if (r + i < end) {
#if B_ALONG_K
            v = vec4<f32>(b_one(block.outer_0, r + i), b_one(block.outer_1, r + i),
                          b_one(block.outer_2, r + i), b_one(block.outer_3, r + i));
#else
            v = b_four(r + i, block.inner);
#end
        }
        tile[block.to + i * block.pitch] = v;
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = workgroup_number(wid);
    if (number >= P.tiles) {
        return;
    }
    let at = place_of(number);
    let first = at.split * P.chunk;
    let end = first + min(P.chunk, P.k - first);
#if SLICED
    // The first slice takes what is left of the reduction beyond whole steps and as many steps as any; where another has one fewer, its first is
    // empty: all meet at every barrier. A slice without steps loads what the first does.
    let slice = lane / LOOP_LANES;
    let own = lane % LOOP_LANES;
    let base = slice * TILE;
    let all_steps = (end - first + BK - 1u) / BK;
    let longer = all_steps % SLICES;
    let steps = (all_steps + SLICES - 1u) / SLICES;
    let own_steps = all_steps / SLICES + select(0u, 1u, slice < longer);
    let to_end = (SLICES - slice) * (all_steps / SLICES) + max(longer, slice) - slice;
    let start = end - min(to_end * BK, end - first);
    let part = end - (to_end - own_steps) * BK - start;
    let length = select(part, end - first, part == 0u);
    let begin = select(start, first, part == 0u);
    var r = begin + min(part + BK - steps * BK, part);
#else
    let own = lane;
    let base = 0u;
    let begin = first;
    let length = end - first;
    let steps = (length + BK - 1u) / BK;
    var r = first + min((length + BK - 1u) % BK + 1u, length);
#end
    // 32 lanes that run together are 8 columns of lanes by 4 rows: they read 12 different vec4 of a step, where 16 by 2 would read 18.
    // Neighbours share what they read.
    let block_of_32 = own / 32u;
    let x = block_of_32 % (WX / 8u) * 8u + own % 2u + own / 4u % 4u * 2u;
    let y = block_of_32 / (WX / 8u) * 4u + own / 2u % 2u + own / 16u % 2u * 2u;
#for q in QUADS
    let x_{q} = base + (x ^ ({q}u * B_TURN));
    let y_{q} = base + (y ^ ({q}u * A_TURN));
#end
#for i in LOOP_TM
#for j in TN4
    var acc_{i}_{j} = vec4<f32>();
#end
#end
    var block: Block;
    if (own < A_BLOCKS) {
        block = block_of(own, A_ALONG, at.row, P.rows, A4, base, A_TURN, length);
        fill_a(block, begin, r);
    } else {
        // More lanes than blocks: some load what others load, and store nothing.
#if PAIRED
        block = block_of_pair((own - A_BLOCKS) % B_BLOCKS, at.col, base + B_TILE, length);
#else
        block = block_of((own - A_BLOCKS) % B_BLOCKS, B_ALONG, at.col, P.cols, B4, base + B_TILE, B_TURN, length);
#end
        if (own < A_BLOCKS + B_BLOCKS) {
            fill_b(block, begin, r);
        }
    }
#if AHEAD
#for i in 4
    var raw_{i}: Raw;
#end
    // Behind the last step there is none to load: it is loaded once more.
    let last = max(end, first + BK) - BK;
    for (var step = 0u; step < steps; step += 1u) {
        workgroupBarrier();
        let next = min(r, last);
        if (own < A_BLOCKS) {
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
            raw_{i} = b_fetch(block.index_{i} + next * b_columns(), block.outer_{i} + next, block.inner);
#end
#end
        }
#for u in BK
#for i in LOOP_TM4
        let a_{u}_{i} = tile[{u}u * A4 + {i}u * LOOP_WY + y_{u:vec}];
#end
#for j in TN4
        let b_{u}_{j} = tile[B_TILE + {u}u * B4 + {j}u * WX + x_{u:vec}];
#end
#for i in LOOP_TM
#for j in TN4
        acc_{i}_{j} += a_{u}_{i:vec}.{i:lane} * b_{u}_{j};
#end
#end
#end
        workgroupBarrier();
        var v: mat4x4<f32>;
        if (own < A_BLOCKS) {
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
        if (own < A_BLOCKS + B_BLOCKS) {
            store(block, v);
        }
#else
        store(block, v);
#end
        r += BK;
    }
#else
    for (var step = 0u; step < steps; step += 1u) {
        workgroupBarrier();
        for (var k = 0u; k < BK; k += 1u) {
#for i in LOOP_TM4
            let a_{i} = tile[k * A4 + {i}u * LOOP_WY + base + (y ^ (k / 4u * A_TURN))];
#end
#for j in TN4
            let b_{j} = tile[B_TILE + k * B4 + {j}u * WX + base + (x ^ (k / 4u * B_TURN))];
#end
#for i in LOOP_TM
#for j in TN4
            acc_{i}_{j} += a_{i:vec}.{i:lane} * b_{j};
#end
#end
        }
        workgroupBarrier();
        if (own < A_BLOCKS) {
            fill_a(block, r, min(r + BK, end));
        } else if (own < A_BLOCKS + B_BLOCKS) {
            fill_b(block, r, min(r + BK, end));
        }
        r += BK;
    }
#end
#if SLICED
    workgroupBarrier();
#if HALVES
    // Of the first four rows the first slice keeps its sums and gets the second's, of the next four the second slice.
#for i in TM
#for j in TN4
    tile[({i}u * TN4 + {j}u) * LANES + lane] = select(acc_{i:behind}_{j}, acc_{i}_{j}, slice == 1u);
#end
#end
    workgroupBarrier();
#for i in TM
#for j in TN4
    let sum_{i}_{j} = select(acc_{i}_{j}, acc_{i:behind}_{j}, slice == 1u)
        + tile[({i}u * TN4 + {j}u) * LANES + (lane ^ LOOP_LANES)];
#end
#end
    let finished = y + slice * LOOP_WY;
#else
    // A row of the four for each slice.
#for i in LOOP_TM
#for j in TN4
    tile[({i}u * TN4 + {j}u) * LANES + lane] = acc_{i}_{j};
#end
#end
    workgroupBarrier();
#for j in TN4
    let row_{j} = (slice * TN4 + {j}u) * LANES + own;
    var sum_0_{j} = tile[row_{j}];
    for (var s = 1u; s < SLICES; s += 1u) {
        sum_0_{j} += tile[row_{j} + s * LOOP_LANES];
    }
#end
    let finished = y * SLICES + slice;
#end
#else
#for i in TM
#for j in TN4
    let sum_{i}_{j} = acc_{i}_{j};
#end
#end
    let finished = y;
#end
#if STATIC
    var tile_sums: array<vec4<f32>, TM * TN4>;
#for i in TM
#for j in TN4
    tile_sums[{i}u * TN4 + {j}u] = sum_{i}_{j};
#end
#end
#else
    var tile_sums: array<f32, TM * TN>;
#for i in TM
#for j in TN
    tile_sums[{i}u * TN + {j}u] = sum_{i}_{j:vec}.{j:lane};
#end
#end
#end
    store_tile(&tile_sums, at, x, finished);
}
