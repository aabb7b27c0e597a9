// Gradients of a whole network, for P.chunk rows a workgroup, BM at a time: first all of them forward, then layer by layer back, dz of a layer
// for all of the workgroup's rows before the next. So a layer's dW stays in registers until all of them are in it, and every z is computed once.
// z of each layer, and then dz in its place, lies in a scratch buffer: four rows of four columns where one lane has put them, which alone reads
// them again, so that nobody waits for memory. What lanes exchange goes through workgroup memory: y of the layer below and dz (`state`), and the
// weights, BK at a time. dW, db and dα of a workgroup are a row of `partials`, in the order of the parameters; P.splits workgroups have a row
// each, and those behind them add to it, in dispatches of their own.
// Rows past the edge and columns that a layer does not have are zero in `state` and in `weights`, whatever NaN the neighbours are.
#use tile
#use layers
#use gradients
#use lane_rows
#use lane_points
// Lanes along the rows, which are neighbours.
const WY = LANES / COLUMNS4;
const BM = 4u * WY;
// From one column to the next, in vectors of four rows: an odd number, so that lanes that read neighbouring columns meet different banks.
const APART = WY + 1u;
const GRADIENTS = COLUMNS * APART;
const WEIGHT_BLOCKS = QUADS * COLUMNS4;
// dW is made by 8 × 8 lanes, of TN outputs and TK inputs each, one part of the inputs after the other.
const SIDE = 8u;
const_assert WEIGHT_BLOCKS <= LANES && LANES == SIDE * SIDE && SIDE * TN == COLUMNS && SIDE * TK * PARTS == COLUMNS;
// Column by column, four rows a vector: y of the layer below, and from GRADIENTS on dz.
var<workgroup> state: array<vec4<f32>, 2u * GRADIENTS>;
var<workgroup> weights: array<vec4<f32>, BK * COLUMNS4>;

// Four rows of four columns from n on into `state`.
fn keep(v: mat4x4<f32>, place: u32, row: u32, n: u32, columns: u32) {
    let turned = transpose(v);
    let inside = rows_inside(row);
#for i in 4
    state[place + {i}u * APART] = select(vec4<f32>(), turned[{i}], inside & vec4<bool>(n + {i}u < columns));
#end
}

// From four rows of four columns to what this lane finishes. Of points of eight rows a neighbour has the other four: each gives the other two columns,
// in `state`, where these will be put: `place` is that of the lane's four columns. They are written once more by who has read them, and by nobody else
// before the next barrier.
fn own(rows: mat4x4<f32>, place: u32, y: u32) -> mat4x4<f32> {
#if JET
    let columns = transpose(rows);
#if EIGHT
    let second = y % 2u == 1u;
    let given = place + select(2u, 0u, second) * APART;
    state[given] = select(columns[2], columns[0], second);
    state[given + APART] = select(columns[3], columns[1], second);
    workgroupBarrier();
    if (second) {
        let taken = place + 2u * APART - 1u;
        return mat4x4<f32>(state[taken], state[taken + APART], columns[2], columns[3]);
    }
    let taken = place + 1u;
    return mat4x4<f32>(columns[0], columns[1], state[taken], state[taken + APART]);
#else
    return columns;
#end
#else
    return rows;
#end
}

fn keep_own(v: mat4x4<f32>, place: u32, row: u32, n: u32, columns: u32) {
#if JET
#for h in HALVES
    for (var c = 0u; c < OWN; c += 1u) {
        state[place + c * APART + {h}u] = select(vec4<f32>(), v[c + {h}u * OWN], row < P.rows && n + c < columns);
    }
#end
#else
    keep(v, place, row, n, columns);
#end
}

// This lane's vectors of a layer and a block of rows in the scratch buffer: the first of four.
fn scratch_place(tile: u32, number: u32, block: u32, lane: u32) -> u32 {
    let blocks = P.chunk / BM;
    return 4u * ((((tile % P.splits) * P.parts + number) * blocks + block) * 4u * LANES + lane);
}

// A block of the weights for this lane to bring, from step `first` of the reduction on: four steps of four results.
fn block_of(layer: Layer, back: bool, first: u32, lane: u32) -> mat4x4<f32> {
    let step = first + 4u * (lane % QUADS);
    let across = 4u * (lane / QUADS);
    let block = fetch(layer, select(across, step, back), select(step, across, back));
    if (back) {
        return block;
    }
    return transpose(block);
}

// Four rows of four columns of y·Wᵀ, or on the way back of dz·W, from what is in `state`.
fn product(layer: Layer, back: bool, lane: u32) -> mat4x4<f32> {
    let y = select(0u, GRADIENTS, back) + lane % WY;
    let x = lane / WY;
    let length = select(layer.k, layer.n, back);
    let columns = select(layer.n, layer.k, back);
    var next = mat4x4<f32>();
#if STATIC
    if (lane < WEIGHT_BLOCKS) {
        next = block_of(layer, back, 0u, lane);
    }
#end
#for r in 4
    var acc_{r} = vec4<f32>();
#end
    for (var k = 0u; k < length; k += BK) {
        if (lane < WEIGHT_BLOCKS) {
#if !STATIC
            next = block_of(layer, back, k, lane);
#end
#for i in 4
            weights[(4u * (lane % QUADS) + {i}u) * COLUMNS4 + lane / QUADS] = next[{i}];
#end
        }
        workgroupBarrier();
#if STATIC
        // The next ones are on their way while these are multiplied.
        if (lane < WEIGHT_BLOCKS) {
            next = block_of(layer, back, k + BK, lane);
        }
#end
        if (4u * x < columns) {
#if STATIC
            let first = y + k * APART;
#for u in BK
            let a_{u} = state[first + {u}u * APART];
            let b_{u} = weights[{u}u * COLUMNS4 + x];
#for r in 4
            acc_{r} += a_{u}.{r:lane} * b_{u};
#end
#end
#else
            for (var u = 0u; u < BK; u += 1u) {
                let a = state[y + (k + u) * APART];
                let b = weights[u * COLUMNS4 + x];
#for r in 4
                acc_{r} += a.{r:lane} * b;
#end
            }
#end
        }
        workgroupBarrier();
    }
    return mat4x4<f32>(acc_0, acc_1, acc_2, acc_3);
}

#if DW
// What the lanes of this lane's columns have, in order.
fn over_rows(v: vec4<f32>, lane: u32) -> vec4<f32> {
    workgroupBarrier();
    state[lane] = v;
    workgroupBarrier();
    var sum = vec4<f32>();
    for (var i = 0u; i < WY; i += 1u) {
        sum += state[lane - lane % WY + i];
    }
    return sum;
}

#if PER_LAYER
// What all lanes have of the columns that there are.
fn over_all(v: vec4<f32>, n: u32, columns: u32, lane: u32) -> f32 {
    workgroupBarrier();
    state[lane] = select(vec4<f32>(), v, columns_inside(n, columns));
    workgroupBarrier();
    var sum = vec4<f32>();
    for (var i = 0u; i < LANES; i += 1u) {
        sum += state[i];
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}
#end
#end

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let first = tile * P.chunk;
    let blocks = (min(P.chunk, P.rows - first) + BM - 1u) / BM;
    let y = lane % WY;
    let n = 4u * (lane / WY);
    // This lane's four columns and four rows in `state`, and what it finishes: its OWN columns of HALVES groups of four rows.
    let place = n * APART + y;
    let own_y = y - y % HALVES;
    let own_n = n + y % HALVES * OWN;
    let own_place = own_n * APART + own_y;
#if DW
    let sums = (tile % P.splits) * layer_at(P.parts - 1u).alpha;
#end
    for (var block = 0u; block < blocks; block += 1u) {
        let row = first + block * BM + 4u * y;
        let own_row = first + block * BM + 4u * own_y;
        keep(input_rows(row, n), place, row, n, P.k);
        for (var number = 0u; number < P.parts; number += 1u) {
            let layer = layer_at(number);
            let kept = scratch_place(tile, number, block, lane);
            // b is padded to more columns than there are.
            let z = own(with_own_bias(product(layer, false, lane), parameters_at4(layer.b + n), y), place, y);
            if (number + 1u == P.parts) {
                // Points are exchanged where nobody reads before the way back; the barrier in it lets the next block into the other half.
                let dy = own(upstream_rows(row, n), GRADIENTS + place, y);
                put_scratch_rows(kept, own_n < layer.n, last_gradient(dy, z));
            } else {
                put_scratch_rows(kept, own_n < layer.n, z);
                keep_own(hidden_own(z, own_columns(alpha_of(layer, n), y)), own_place, own_row, own_n, layer.n);
            }
        }
    }
    for (var above = P.parts; above > 0u; above -= 1u) {
        let layer = layer_at(above - 1u);
        let below = layer_at(max(above, 2u) - 2u);
        var alpha = vec4<f32>();
        if (above > 1u) {
            alpha = own_columns(alpha_of(below, n), y);
        }
        var db = vec4<f32>();
        var dalpha = vec4<f32>();
        for (var part = 0u; part < PARTS; part += 1u) {
#if DW
            let out = lane / SIDE;
            let into = lane % SIDE + part * TK * SIDE;
#if STATIC
#for i in TN
#for j in TK
            var dw_{i}_{j} = 0.0;
#end
#end
#else
            var dw = array<f32, TN * TK>();
#end
#end
            for (var block = 0u; block < blocks; block += 1u) {
                let row = first + block * BM + 4u * y;
                let own_row = first + block * BM + 4u * own_y;
                let dz = scratch_rows(scratch_place(tile, layer.number, block, lane), own_n < layer.n);
                let kept = scratch_place(tile, below.number, block, lane);
                workgroupBarrier();
                keep_own(dz, GRADIENTS + own_place, own_row, own_n, layer.n);
                if (above > 1u) {
#if DW
                    keep_own(hidden_own(scratch_rows(kept, own_n < below.n), alpha), own_place, own_row, own_n, layer.k);
#end
                } else {
#if DW
                    keep(input_rows(row, n), place, row, n, layer.k);
#end
                }
                workgroupBarrier();
#if DW
                if (out < layer.n && into < layer.k) {
                    for (var group = 0u; group < WY; group += 1u) {
#for j in TK
                        let b_{j} = state[(into + {j}u * SIDE) * APART + group];
#end
#if STATIC
#for i in TN
                        let a_{i} = state[GRADIENTS + (out + {i}u * SIDE) * APART + group];
#end
#for i in TN
#for j in TK
#for r in 4
                        dw_{i}_{j} += a_{i}.{r:lane} * b_{j}.{r:lane};
#end
#end
#end
#else
                        for (var i = 0u; i < TN; i += 1u) {
                            let a = state[GRADIENTS + (out + i * SIDE) * APART + group];
#for j in TK
                            dw[i * TK + {j}u] += dot(a, b_{j});
#end
                        }
#end
                    }
                }
#end
                // The last part takes dz back to the layer below, whose z is not read again.
                if (part + 1u == PARTS) {
                    db += bias_gradient(dz, own_row);
#if !DX
                    if (above == 1u) {
                        continue;
                    }
#end
                    let below_rows = product(layer, true, lane);
                    if (above > 1u) {
                        let dy = own(below_rows, place, y);
                        let z = scratch_rows(kept, own_n < below.n);
                        put_scratch_rows(kept, own_n < below.n, hidden_gradient(dy, z, alpha));
#if LEARNS
                        dalpha += alpha_gradient(dy, z, alpha, own_row);
#end
                    } else {
#for r in 4
                        store(row + {r}u, n, below_rows[{r}]);
#end
                    }
                }
            }
#if DW
#if STATIC
#for i in TN
#for j in TK
            if (out + {i}u * SIDE < layer.n && into + {j}u * SIDE < layer.k) {
                put_sum(sums, layer.w + (out + {i}u * SIDE) * layer.k + into + {j}u * SIDE, dw_{i}_{j});
            }
#end
#end
#else
            for (var i = 0u; i < TN * TK; i += 1u) {
                let n = out + i / TK * SIDE;
                let k = into + i % TK * SIDE;
                if (n < layer.n && k < layer.k) {
                    put_sum(sums, layer.w + n * layer.k + k, dw[i]);
                }
            }
#end
#end
        }
#if DW
        let of_columns = over_rows(all_columns(db, y), lane);
        if (y == 0u) {
            put_sums(sums, layer.b, n, layer.n, of_columns);
        }
        put_zeros(sums, layer.w + layer.n * layer.k, layer.b, lane);
        put_zeros(sums, layer.b + layer.n, layer.alpha, lane);
#if PER_CHANNEL
        if (above > 1u) {
            let of_alpha = over_rows(all_columns(dalpha, y), lane);
            if (y == 0u) {
                put_sums(sums, below.alpha, n, below.n, of_alpha);
            }
            put_zeros(sums, below.alpha + below.n, behind(below), lane);
        }
#end
#if PER_LAYER
        if (above > 1u) {
            let of_alpha = over_all(all_columns(dalpha, y), n, below.n, lane);
            if (lane == 0u) {
                put_sum(sums, below.alpha, of_alpha);
            }
            put_zeros(sums, below.alpha + 1u, behind(below), lane);
        }
#end
#end
    }
}
