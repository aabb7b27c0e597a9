// C = A·B for few rows, both operands along the reduction: what it costs is reading B once. SPAN neighbouring lanes lie
// along the reduction, so that a load of theirs is one stretch of a row of B; each group of them sums COLS columns, then
// adds up over its lanes. A lane stores one element. ROWS of the tile's rows are computed: a power of two, as many as the
// output has or more.
#use operands
#use product_tile
#use span
var<workgroup> totals: array<f32, ROWS * BN>;
#if !SUBGROUP
var<workgroup> parts: array<f32, LANES * COLS>;
#end

@compute @workgroup_size(LANES)
#if SUBGROUP
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_id) group: u32, @builtin(subgroup_invocation_id) place: u32) {
#else
#if SHUFFLES
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_id) subgroup: u32,
        @builtin(subgroup_invocation_id) within: u32, @builtin(subgroup_size) lanes: u32) {
    let lane = lane_of(subgroup, within, lanes);
#else
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
#end
    let group = lane / SPAN;
    let place = lane % SPAN;
#end
    let number = workgroup_number(wid);
    if (number >= P.tiles) {
        return;
    }
    let at = place_of(number);
    // Rows and columns past the edge are computed from the last one and never stored.
#for i in ROWS
    let row_{i} = min(at.row + {i}u, P.rows - 1u);
#end
#for j in COLS
    let col_{j} = min(at.col + group * COLS + {j}u, P.cols - 1u);
#end
#for i in ROWS
#for j in COLS
    var acc_{i}_{j} = 0.0;
#end
#end
    let first = at.split * P.chunk;
    let end = first + min(P.chunk, P.k - first);
#if VEC
    // The reduction and its splits are whole vectors here.
    for (var r = first + 4u * place; r < end; r += 4u * SPAN) {
#for i in ROWS
        let a_{i} = a_four(row_{i}, r);
#end
#for j in COLS
        let b_{j} = b_four(col_{j}, r);
#end
#for i in ROWS
#for j in COLS
        acc_{i}_{j} += dot(a_{i}, b_{j});
#end
#end
    }
#else
    for (var r = first + place; r < end; r += SPAN) {
#for i in ROWS
        let a_{i} = a_one(row_{i}, r);
#end
#for j in COLS
        let b_{j} = b_one(col_{j}, r);
#end
#for i in ROWS
#for j in COLS
        acc_{i}_{j} += a_{i} * b_{j};
#end
#end
    }
#end
#for i in ROWS
#if SUBGROUP
#for j in COLS
    let sum_{i}_{j} = subgroupAdd(acc_{i}_{j});
#end
#else
#if SHUFFLES
#for j in COLS
    var sum_{i}_{j} = subgroup_sum(acc_{i}_{j}, SPAN);
#end
    if (subgroup_lanes < SPAN) {
#for j in COLS
        parts[{j}u * LANES + lane] = sum_{i}_{j};
#end
        workgroupBarrier();
        if (place == 0u) {
            for (var s = subgroup_lanes; s < SPAN; s += subgroup_lanes) {
#for j in COLS
                sum_{i}_{j} += parts[{j}u * LANES + lane + s];
#end
            }
        }
        workgroupBarrier();
    }
#else
#for j in COLS
    parts[{j}u * LANES + lane] = acc_{i}_{j};
#end
    workgroupBarrier();
    for (var half = SPAN / 2u; half > 0u; half /= 2u) {
        if (place < half) {
#for j in COLS
            parts[{j}u * LANES + lane] += parts[{j}u * LANES + lane + half];
#end
        }
        workgroupBarrier();
    }
#for j in COLS
    let sum_{i}_{j} = parts[{j}u * LANES + lane];
#end
#end
#end
    if (place == 0u) {
#for j in COLS
        totals[{i}u * BN + group * COLS + {j}u] = sum_{i}_{j};
#end
    }
#end
    workgroupBarrier();
    var tile_sums: array<f32, TM * TN>;
    if (lane < ROWS * BN) {
        tile_sums[0] = totals[lane];
    }
    store_tile(&tile_sums, at, lane % WX, lane / WX);
}
