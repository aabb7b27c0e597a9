// C = A·B for devices whose loads are dear and whose subgroups are exactly as wide as this workgroup (software adapters:
// a load runs lane by lane there). The lanes share the rows of A: each loads TM/8 of them, and a broadcast hands them
// round; each lane loads the columns of B that are its own.
#use operands
#use product_tile
@compute @workgroup_size(WX)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = workgroup_number(wid);
    if (number >= P.tiles) {
        return;
    }
    let at = place_of(number);
    let col0 = at.col + lane * TN;
    // Rows and columns past the edge are computed from the last one and never stored.
#if A_ALONG_K
#for g in TM8
    let row_{g} = min(at.row + {g}u * 8u + lane, P.rows - 1u);
#end
#end
#if B_ALONG_K
#for j in TN
    let col_{j} = min(col0 + {j}u, P.cols - 1u);
#end
#end
#for g in TM8
#for l in 8
#if B_ALONG_K
#for j in TN
    var acc_{g}_{l}_{j} = 0.0;
#end
#else
    var acc_{g}_{l} = vec4<f32>();
#end
#end
#end
    let first = at.split * P.chunk;
    let end = first + min(P.chunk, P.k - first);
    var r = first;
#if A_ALONG_K
    for (; r + 4u <= end; r += 4u) {
#if B_ALONG_K
#for j in TN
        let b_{j} = b_four(col_{j}, r);
#end
#else
#for q in 4
        let b_{q} = b_four(r + {q}u, col0);
#end
#end
#for g in TM8
        let mine_{g} = a_four(row_{g}, r);
#for l in 8
        let a_{g}_{l} = subgroupBroadcast(mine_{g}, {l}u);
#if B_ALONG_K
#for j in TN
        acc_{g}_{l}_{j} += dot(a_{g}_{l}, b_{j});
#end
#else
#for q in 4
        acc_{g}_{l} += a_{g}_{l}.{q:lane} * b_{q};
#end
#end
#end
#end
    }
#end
#if !VEC_STEPS
    for (; r < end; r += 1u) {
#if B_ALONG_K
#for j in TN
        let b_{j} = b_one(col_{j}, r);
#end
#else
        let b = b_four(r, col0);
#end
#if A_ALONG_K
#for g in TM8
        let mine_{g} = a_one(row_{g}, r);
#for l in 8
        let a_{g}_{l} = subgroupBroadcast(mine_{g}, {l}u);
#end
#end
#else
        // Four rows a lane: one load covers up to 32.
#for g in TM32
        let mine_{g} = a_four(r, at.row + {g}u * 32u + lane % min(8u, TM / 4u) * 4u);
#end
#for g in TM8
#for l in 8
        let a_{g}_{l} = subgroupBroadcast(mine_{g:vec}.{l:lane}, {g:quarter}u + {l:vec}u);
#end
#end
#end
#for g in TM8
#for l in 8
#if B_ALONG_K
#for j in TN
        acc_{g}_{l}_{j} += a_{g}_{l} * b_{j};
#end
#else
        acc_{g}_{l} += a_{g}_{l} * b;
#end
#end
#end
    }
#end
    var tile_sums: array<f32, TM * TN>;
#for g in TM8
#for l in 8
#for j in TN
#if B_ALONG_K
    tile_sums[({g}u * 8u + {l}u) * TN + {j}u] = acc_{g}_{l}_{j};
#else
    tile_sums[({g}u * 8u + {l}u) * TN + {j}u] = acc_{g}_{l}.{j:lane};
#end
#end
#end
#end
    store_tile(&tile_sums, at, lane, 0u);
}
