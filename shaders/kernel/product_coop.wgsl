// C = A·B on the device's matrix units: tiles BM×BK of A and BK×BN of B as f16 in workgroup memory, each as it lies in storage
// (a matrix is loaded by rows or by columns, so nothing is turned), and MATRICES_M × MATRICES_N matrices of sums in f32 for each subgroup.
// A matrix can't be read element by element: at the end the matrices go through workgroup memory, one of each subgroup at a time, to the
// register tile of every other product.
// What is left of the reduction beyond whole steps is the first step, filled up with zeros: every later one is whole. With AHEAD the next
// step is on its way to registers while this one is multiplied; without, the text is short, for devices that compile for a CPU.
#use operands
#use product_tile
#use halves
#use matrices

// Of the tile of A, and behind it of that of B: fours in a row, and the gap behind it, which spreads rows over the banks and keeps each at a
// multiple of 16 bytes, as the loads of matrices want.
#if A_ALONG_K
const A_ALONG = true;
const A_WIDTH = QUADS;
const A_PITCH = A_WIDTH + 2u;
const A_SIZE = BM * A_PITCH;
#else
const A_ALONG = false;
const A_WIDTH = BM / 4u;
const A_PITCH = A_WIDTH + 2u;
const A_SIZE = BK * A_PITCH;
#end
// Of B a tile for each side, one behind the other. Behind the tile of an operand in two parts lies that of its low parts.
#if SPLIT_A
const B_TILE = 2u * A_SIZE;
#else
const B_TILE = A_SIZE;
#end
#if B_ALONG_K
const B_ALONG = true;
const B_WIDTH = QUADS;
const B_PITCH = B_WIDTH + 2u;
const B_SIDE = BN / SIDES * B_PITCH;
#else
const B_ALONG = false;
const B_WIDTH = BN / SIDES / 4u;
const B_PITCH = B_WIDTH + 2u;
const B_SIDE = BK * B_PITCH;
#end
const B_SIZE = SIDES * B_SIDE;
#if SPLIT_B
const TILE = B_TILE + 2u * B_SIZE;
#else
const TILE = B_TILE + B_SIZE;
#end
var<workgroup> tile: array<vec4<f16>, TILE>;
// Of a subgroup's matrices of sums the first of a row are those of the first side.
const SIDE_N = MATRICES_N / SIDES;
// One matrix of sums for each subgroup.
const MATRIX_FOURS = MATRIX * MATRIX / 4u;
var<workgroup> drained: array<vec4<f32>, SUBGROUPS * MATRIX_FOURS>;

#if SCALED
// The largest magnitudes of the rows of A lie in `scales`, behind them those of the columns of B. A row or column beyond the edge counts as the last.
fn a_exponent(row: u32) -> i32 {
#if SCALE_A
    return exponent_for(scales_at(min(row, P.rows - 1u)));
#else
    return 0;
#end
}

// Of B's column for column `col` of C on this side.
fn b_exponent(col: u32, side: u32) -> i32 {
#if SCALE_B
    return exponent_for(scales_at(P.rows + b_column(min(col, P.cols - 1u), side)));
#else
    return 0;
#end
}

fn b_exponents(col: u32, side: u32) -> vec4<i32> {
    return vec4<i32>(b_exponent(col, side), b_exponent(col + 1u, side), b_exponent(col + 2u, side), b_exponent(col + 3u, side));
}
#end

// Four elements of an operand, neighbours in memory.
struct Four {
    // Its first step.
    step: u32,
    // Its row as it lies, its column, and its index in the step that begins at 0.
    outer: u32,
    inner: u32,
    index: u32,
    // Its place in the tile.
    to: u32,
    // Powers of two that its elements are multiplied by, where the operand is scaled.
    scale: vec4<f32>,
}

// Four number u of an operand of `count` rows (columns of B), whose tile begins at `first`, and in workgroup memory at `base`. Neighbouring lanes
// read neighbours in memory. Where a reduction is shorter than a step, `index`, and `inner` or `outer`, are moved inside: what is loaded by them is
// never used.
fn four_of(u: u32, along: bool, first: u32, count: u32, width: u32, base: u32, length: u32) -> Four {
    var four: Four;
    let row = u / width;
    let column = 4u * (u % width);
    four.to = base + row * (width + 2u) + u % width;
    if (along) {
        four.step = column;
        four.outer = min(first + row, count - 1u);
        four.inner = min(column, max(length, 4u) - 4u);
        four.index = four.outer * P.k + four.inner;
    } else {
        four.step = row;
        four.outer = min(row, max(length, 1u) - 1u);
        four.inner = first + column;
#if VEC
        four.inner = min(four.inner, count - 4u);
#end
        four.index = four.outer * count + four.inner;
    }
    return four;
}

fn a_four_of(u: u32, at: Place, length: u32) -> Four {
    var four = four_of(u, A_ALONG, at.row, P.rows, A_WIDTH, 0u, length);
#if SCALE_A
#if A_ALONG_K
    four.scale = vec4<f32>(power2(a_exponent(four.outer)));
#else
    four.scale = powers2(vec4<i32>(a_exponent(four.inner), a_exponent(four.inner + 1u), a_exponent(four.inner + 2u), a_exponent(four.inner + 3u)));
#end
#end
    return four;
}

// Of a side of B; both lie in one operand, but with APART.
fn b_four_of(u: u32, side: u32, at: Place, length: u32) -> Four {
    var four = four_of(u, B_ALONG, at.col, P.cols, B_WIDTH, B_TILE + side * B_SIDE, length);
#if SCALE_B
#if B_ALONG_K
    four.scale = vec4<f32>(power2(b_exponent(four.outer, side)));
#else
    four.scale = powers2(b_exponents(four.inner, side));
#end
#end
#if PAIRED
#if !APART
#if B_ALONG_K
    four.outer = b_column(four.outer, side);
    four.index = four.outer * P.k + four.inner;
#else
    four.inner = b_column(four.inner, side);
    four.index = four.outer * b_columns() + four.inner;
#end
#end
#end
    return four;
}

fn store_a(to: u32, v: AHalf) {
#if SPLIT_A
    tile[to] = v.high;
    tile[to + A_SIZE] = v.low;
#else
    tile[to] = v;
#end
}

fn store_b(to: u32, v: BHalf) {
#if SPLIT_B
    tile[to] = v.high;
    tile[to + B_SIZE] = v.low;
#else
    tile[to] = v;
#end
}

// A four in steps from r0 on, of which some may lie past the end. Those count as zero, whatever NaN may be there.
fn fill_a(four: Four, r0: u32, end: u32) {
    let r = r0 + four.step;
    var v = vec4<f32>();
#if A_ALONG_K
    for (var i = 0u; i < 4u; i += 1u) {
        if (r + i < end) {
            v[i] = a_one(four.outer, r + i);
        }
    }
#else
    if (r < end) {
        v = a_four(r, four.inner);
    }
#end
    store_a(four.to, a_half(v, four.scale));
}

fn fill_b(four: Four, r0: u32, end: u32) {
    let r = r0 + four.step;
    var v = vec4<f32>();
#if B_ALONG_K
    for (var i = 0u; i < 4u; i += 1u) {
        if (r + i < end) {
            v[i] = b_one(four.outer, r + i);
        }
    }
#else
    if (r < end) {
        v = b_four(r, four.inner);
    }
#end
    store_b(four.to, b_half(v, four.scale));
}

// All fours of the lane.
fn fill(lane: u32, at: Place, length: u32, r0: u32, end: u32) {
    for (var t = 0u; t < A_EACH; t += 1u) {
        fill_a(a_four_of(lane + t * LANES, at, length), r0, end);
    }
#for s in SIDES
#if APART
    b_side = {s}u;
#end
    for (var t = 0u; t < B_EACH; t += 1u) {
        fill_b(b_four_of(lane + t * LANES, {s}u, at, length), r0, end);
    }
#end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_id) group: u32, @builtin(subgroup_invocation_id) own: u32) {
    // `workgroup_number(wid) >= P.tiles`, written out: naga wants to see that the whole workgroup returns, and does not look into functions.
#if BATCHED
    if ((wid.x + wid.y * P.grid_x) / (P.tiles - P.first) >= P.batch) {
#else
    if (P.first + wid.x + wid.y * P.grid_x >= P.tiles) {
#end
        return;
    }
    let at = place_of(workgroup_number(wid));
    // The subgroup's part of the tile.
    let row0 = group / SUBGROUPS_X * MATRICES_M * MATRIX;
    let col0 = group % SUBGROUPS_X * SIDE_N * MATRIX;
#for m in MATRICES_M
#for n in MATRICES_N
    var acc_{m}_{n} = Sums();
#end
#end
    let first = at.split * P.chunk;
    let end = first + min(P.chunk, P.k - first);
    let length = end - first;
    let steps = (length + BK - 1u) / BK;
    var r = first + min((length + BK - 1u) % BK + 1u, length);
#if AHEAD
    fill(lane, at, length, first, r);
    // Behind the last step there is none to load: it is loaded once more.
    let last = max(end, first + BK) - BK;
#for t in A_EACH
    let a_{t} = a_four_of(lane + {t}u * LANES, at, length);
    var next_a_{t}: AHalf;
#end
#for s in SIDES
#for t in B_EACH
    let b_{s}_{t} = b_four_of(lane + {t}u * LANES, {s}u, at, length);
    var next_b_{s}_{t}: BHalf;
#end
#end
#end
    // naga wants the places and strides of matrices in names of their own.
    let a_pitch = A_PITCH;
    let b_pitch = B_PITCH;
    for (var step = 0u; step < steps; step += 1u) {
#if !AHEAD
        fill(lane, at, length, max(r, first + BK) - BK, r);
#end
        workgroupBarrier();
#if AHEAD
        let next = min(r, last);
#for t in A_EACH
#if A_ALONG_K
        next_a_{t} = a_half(a_value(a_fetch(a_{t}.index + next, a_{t}.outer, a_{t}.inner + next)), a_{t}.scale);
#else
        next_a_{t} = a_half(a_value(a_fetch(a_{t}.index + next * P.rows, a_{t}.outer + next, a_{t}.inner)), a_{t}.scale);
#end
#end
#for s in SIDES
#if APART
        b_side = {s}u;
#end
#for t in B_EACH
#if B_ALONG_K
        next_b_{s}_{t} = b_half(b_value(b_fetch(b_{s}_{t}.index + next, b_{s}_{t}.outer, b_{s}_{t}.inner + next)), b_{s}_{t}.scale);
#else
        next_b_{s}_{t} = b_half(b_value(b_fetch(b_{s}_{t}.index + next * b_columns(), b_{s}_{t}.outer + next, b_{s}_{t}.inner)), b_{s}_{t}.scale);
#end
#end
#end
#end
        // Where operands are split, the small products come first, and their sum is added to the rest by the arithmetic units: matrix units may cut off
        // what they add.
        for (var q = 0u; q < BK / MATRIX; q += UNROLLED) {
#for k in UNROLLED
#for n in MATRICES_N
#if B_ALONG_K
            let b_at_{k}_{n} = B_TILE + {n}u / SIDE_N * B_SIDE + (col0 + {n}u % SIDE_N * MATRIX) * B_PITCH + (q + {k}u) * MATRIX4;
            let right_{k}_{n} = coopLoad<Right>(&tile[b_at_{k}_{n}], b_pitch);
#if SPLIT_B
            let b_low_at_{k}_{n} = b_at_{k}_{n} + B_SIZE;
            let right_low_{k}_{n} = coopLoad<Right>(&tile[b_low_at_{k}_{n}], b_pitch);
#end
#else
            let b_at_{k}_{n} = B_TILE + {n}u / SIDE_N * B_SIDE + (q + {k}u) * MATRIX * B_PITCH + col0 / 4u + {n}u % SIDE_N * MATRIX4;
            let right_{k}_{n} = coopLoadT<Right>(&tile[b_at_{k}_{n}], b_pitch);
#if SPLIT_B
            let b_low_at_{k}_{n} = b_at_{k}_{n} + B_SIZE;
            let right_low_{k}_{n} = coopLoadT<Right>(&tile[b_low_at_{k}_{n}], b_pitch);
#end
#end
#end
#for m in MATRICES_M
#if A_ALONG_K
            let a_at_{k}_{m} = (row0 + {m}u * MATRIX) * A_PITCH + (q + {k}u) * MATRIX4;
            let left_{k}_{m} = coopLoadT<Left>(&tile[a_at_{k}_{m}], a_pitch);
#if SPLIT_A
            let a_low_at_{k}_{m} = a_at_{k}_{m} + A_SIZE;
            let left_low_{k}_{m} = coopLoadT<Left>(&tile[a_low_at_{k}_{m}], a_pitch);
#end
#else
            let a_at_{k}_{m} = (q + {k}u) * MATRIX * A_PITCH + row0 / 4u + {m}u * MATRIX4;
            let left_{k}_{m} = coopLoad<Left>(&tile[a_at_{k}_{m}], a_pitch);
#if SPLIT_A
            let a_low_at_{k}_{m} = a_at_{k}_{m} + A_SIZE;
            let left_low_{k}_{m} = coopLoad<Left>(&tile[a_low_at_{k}_{m}], a_pitch);
#end
#end
#for n in MATRICES_N
#if SPLIT
            var part_{k}_{m}_{n} = Sums();
#if SPLIT_A
            part_{k}_{m}_{n} = coopMultiplyAdd(left_low_{k}_{m}, right_{k}_{n}, part_{k}_{m}_{n});
#end
#if SPLIT_B
            part_{k}_{m}_{n} = coopMultiplyAdd(left_{k}_{m}, right_low_{k}_{n}, part_{k}_{m}_{n});
#end
            part_{k}_{m}_{n} = coopMultiplyAdd(left_{k}_{m}, right_{k}_{n}, part_{k}_{m}_{n});
            acc_{m}_{n} = acc_{m}_{n} + part_{k}_{m}_{n};
#else
            acc_{m}_{n} = coopMultiplyAdd(left_{k}_{m}, right_{k}_{n}, acc_{m}_{n});
#end
#end
#end
#end
        }
        workgroupBarrier();
#if AHEAD
#for t in A_EACH
        store_a(a_{t}.to, next_a_{t});
#end
#for s in SIDES
#for t in B_EACH
        store_b(b_{s}_{t}.to, next_b_{s}_{t});
#end
#end
#end
        r += BK;
    }
#if STATIC
    var tile_sums: array<vec4<f32>, TM * TN4>;
#else
    var tile_sums: array<f32, TM * TN>;
#end
    // The lane in the register tile of every other product.
    let x = group % SUBGROUPS_X * LX + own % LX;
    let y = group / SUBGROUPS_X * LY + own / LX;
    let place = group * MATRIX_FOURS;
    let from_place = place + own / LX * RUN * MATRIX4 + own % LX;
    let row_pitch = MATRIX4;
#for m in MATRICES_M
#for n in MATRICES_N
    coopStoreT(acc_{m}_{n}, &drained[place], row_pitch);
    workgroupBarrier();
#for t in RUN
#if SCALED
    let v_{m}_{n}_{t} = unscaled(drained[from_place + {t}u * MATRIX4], a_exponent(at.row + local_row({m}u * RUN + {t}u, y)),
                                b_exponents(at.col + local_col({n}u % SIDE_N * 4u, x), {n}u / SIDE_N));
#else
    let v_{m}_{n}_{t} = drained[from_place + {t}u * MATRIX4];
#end
#if STATIC
    tile_sums[({m}u * RUN + {t}u) * TN4 + {n}u] = v_{m}_{n}_{t};
#else
#for j in 4
    tile_sums[({m}u * RUN + {t}u) * TN + {n}u * 4u + {j}u] = v_{m}_{n}_{t}.{j:lane};
#end
#end
#end
    workgroupBarrier();
#end
#end
    store_tile(&tile_sums, at, x, y);
}
