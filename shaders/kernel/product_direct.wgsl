// C = A·B with a register tile of TM×TN an invocation, filled straight from storage, four steps of the reduction at a
// time. On a software adapter this beats staging in workgroup memory several times over; on a GPU it serves few rows.
#use tile
#use operands
#use epilogue
#if CHAIN_SUMS
var<workgroup> lane_sums: array<vec2<f32>, WY * BN>;
#end

@compute @workgroup_size(WX, WY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    P = uniform_params;
    let number = workgroup_number(wid);
    if (number >= P.tiles) {
        return;
    }
    let split = number / P.plane;
    let tile = number % P.plane;
    let tile_row = tile / P.tiles_cols * BM;
    let tile_col = tile % P.tiles_cols * BN;
    let row0 = tile_row + lid.y * TM;
    let col0 = tile_col + lid.x * TN;
    // Rows and columns past the edge are computed from the last one and never stored.
#if A_RED
#for i in TM
    let row_{i} = min(row0 + {i}u, P.rows - 1u);
#end
#end
#if B_RED
#for j in TN
    let col_{j} = min(col0 + {j}u, P.cols - 1u);
#end
#end
#for i in TM
#if B_RED
#for j in TN
    var acc_{i}_{j} = 0.0;
#end
#else
#for j in TN4
    var acc_{i}_{j} = vec4<f32>();
#end
#end
#end
    let first = split * P.chunk;
    let end = min(first + P.chunk, P.red);
    var r = first;
#if A_RED
    for (; r + 4u <= end; r += 4u) {
#for i in TM
        let a_{i} = a_four(row_{i}, r);
#end
#if B_RED
#for j in TN
        let b_{j} = b_four(col_{j}, r);
#end
#for i in TM
#for j in TN
        acc_{i}_{j} += dot(a_{i}, b_{j});
#end
#end
#else
#for q in 4
#for j in TN4
        let b_{q}_{j} = b_four(r + {q}u, col0 + 4u * {j}u);
#end
#for i in TM
#for j in TN4
        acc_{i}_{j} += a_{i}.{q:lane} * b_{q}_{j};
#end
#end
#end
#end
    }
#end
#if !VEC_STEPS
    for (; r < end; r += 1u) {
#if A_RED
#for i in TM
        let a_{i} = a_one(row_{i}, r);
#end
#else
#for i in TM4
        let a4_{i} = a_four(r, row0 + 4u * {i}u);
#end
#for i in TM
        let a_{i} = a4_{i:vec}.{i:lane};
#end
#end
#if B_RED
#for j in TN
        let b_{j} = b_one(col_{j}, r);
#end
#for i in TM
#for j in TN
        acc_{i}_{j} += a_{i} * b_{j};
#end
#end
#else
#for j in TN4
        let b_{j} = b_four(r, col0 + 4u * {j}u);
#end
#for i in TM
#for j in TN4
        acc_{i}_{j} += a_{i} * b_{j};
#end
#end
#end
    }
#end
#if SAVE_MASK
    clear_bits(lane);
#end
    // The epilogue is a loop, not unrolled text: TM·TN copies of an activation would cost more to compile than to run.
    var tile_sums: array<f32, TM * TN>;
#for i in TM
#for j in TN
#if B_RED
    tile_sums[{i}u * TN + {j}u] = acc_{i}_{j};
#else
    tile_sums[{i}u * TN + {j}u] = acc_{i}_{j:vec}.{j:lane};
#end
#end
#end
    for (var j = 0u; j < TN; j += 1u) {
        var column = vec2<f32>();
        for (var i = 0u; i < TM; i += 1u) {
            if (row0 + i < P.rows && col0 + j < P.cols) {
                column += finish(row0 + i, col0 + j, row0 + i - tile_row, col0 + j - tile_col, split, tile_sums[i * TN + j]);
            }
        }
#if CHAIN_SUMS
        lane_sums[lid.y * BN + lid.x * TN + j] = column;
#end
    }
#if SAVE_MASK
    store_bits(lane, tile_row, tile_col);
#end
#if CHAIN_SUMS
    workgroupBarrier();
    for (var c = lane; c < BN; c += LANES) {
        if (tile_col + c < P.cols) {
            var column = vec2<f32>();
            for (var y = 0u; y < WY; y += 1u) {
                column += lane_sums[y * BN + c];
            }
            let at = (tile / P.tiles_cols) * P.cols + tile_col + c;
#if SUM_DB
            partials_put(at, column.x);
#end
#if SUM_DALPHA
            partials_put(at + P.plane / P.tiles_cols * P.cols, column.y);
#end
        }
    }
#end
}
