// C = A·B with a register tile of TM×TN an invocation, filled straight from storage, four steps of the reduction at a
// time. On a software adapter this beats staging in workgroup memory several times over; on a GPU it serves few rows.
#use operands
#use product_tile

@compute @workgroup_size(WX, WY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {
    let number = workgroup_number(wid);
    if (number >= P.tiles) {
        return;
    }
    let at = place_of(number);
    let row0 = at.row + lid.y * TM;
    let col0 = at.col + lid.x * TN;
    // Rows and columns past the edge are computed from the last one and never stored.
#if A_ALONG_K
#for i in TM
    let row_{i} = min(row0 + {i}u, P.rows - 1u);
#end
#end
#if B_ALONG_K
#for j in TN
    let col_{j} = min(col0 + {j}u, P.cols - 1u);
#end
#end
#for i in TM
#if B_ALONG_K
#for j in TN
    var acc_{i}_{j} = 0.0;
#end
#else
#for j in TN4
    var acc_{i}_{j} = vec4<f32>();
#end
#end
#end
    let first = at.split * P.chunk;
    let end = first + min(P.chunk, P.k - first);
    var r = first;
#if A_ALONG_K
    for (; r + 4u <= end; r += 4u) {
#for i in TM
        let a_{i} = a_four(row_{i}, r);
#end
#if B_ALONG_K
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
#if A_ALONG_K
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
#if B_ALONG_K
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
#if STATIC
    var tile_sums: array<vec4<f32>, TM * TN4>;
#else
    var tile_sums: array<f32, TM * TN>;
#end
#for i in TM
#for j in TN
#if STATIC
#if B_ALONG_K
    tile_sums[{i}u * TN4 + {j:vec}u].{j:lane} = acc_{i}_{j};
#else
    tile_sums[{i}u * TN4 + {j:vec}u].{j:lane} = acc_{i}_{j:vec}.{j:lane};
#end
#else
#if B_ALONG_K
    tile_sums[{i}u * TN + {j}u] = acc_{i}_{j};
#else
    tile_sums[{i}u * TN + {j}u] = acc_{i}_{j:vec}.{j:lane};
#end
#end
#end
#end
    store_tile(&tile_sums, at, lid.x, lid.y);
}
