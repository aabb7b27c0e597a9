// A whole network, y_l = act(y_(l-1)·W_lᵀ + b_l; α_l), for a block of BM rows a workgroup: from x to the last y without memory between.
// P.parts layers have P.k inputs, P.channels columns between any two, P.cols outputs. What goes from layer to layer lies in workgroup memory
// (`state`), and weights come through it, BK inputs of all outputs at a time, while the next ones are on their way to registers: those of the
// next layer too. Columns that a layer does not have are zero in `state` and in `weights`, whatever NaN the neighbours are.
#use tile
#use layers
#use finished_rows
// Lanes along the rows, which are neighbours: they read the same weights, and write neighbours.
const WY = LANES / COLUMNS4;
const BM4 = WY * LANE_ROWS / 4u;
const WEIGHT_BLOCKS = QUADS * COLUMNS4;
const STATE_BLOCKS = COLUMNS4 * BM4;
const_assert WEIGHT_BLOCKS <= LANES;
// Column by column, four rows a vector; and input by input, four outputs a vector.
var<workgroup> state: array<vec4<f32>, COLUMNS * BM4>;
var<workgroup> weights: array<vec4<f32>, BK * COLUMNS4>;

// The first row of a group of four, among those of a workgroup. A lane has a group and the one WY behind it, if there are two: for a jet of eight rows
// these are neighbours.
fn first_row(group: u32) -> u32 {
#if EIGHT
    return 8u * (group % WY) + 4u * (group / WY);
#else
    return 4u * group;
#end
}

// Four rows of four columns from n on, as the next layer's inputs.
fn keep(v: mat4x4<f32>, n: u32, columns: u32, group: u32) {
    let turned = transpose(v);
#for i in 4
    state[(n + {i}u) * BM4 + group] = select(vec4<f32>(), turned[{i}], n + {i}u < columns);
#end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let row0 = tile * BM4 * 4u;
    let y = lane % WY;
    let x = lane / WY;
    let n = 4u * x;
    // This lane's block of weights.
    let step_of = 4u * (lane % QUADS);
    let group_of = lane / QUADS;
    var layer = layer_from(0u, 0u);
    var next = mat4x4<f32>();
    if (lane < WEIGHT_BLOCKS) {
        next = fetch(layer, 4u * group_of, step_of);
    }
    for (var u = lane; u < STATE_BLOCKS; u += LANES) {
        let k = u % COLUMNS4 * 4u;
        let group = u / COLUMNS4;
        let row = row0 + first_row(group);
        let turned = transpose(mat4x4<f32>(inputs_of(row, k), inputs_of(row + 1u, k),
                                           inputs_of(row + 2u, k), inputs_of(row + 3u, k)));
#for i in 4
        state[(k + {i}u) * BM4 + group] = turned[{i}];
#end
    }
#for r in LANE_ROWS
    var acc_{r} = vec4<f32>();
#end
    var k = 0u;
    let steps = (P.k + BK - 1u) / BK + (P.parts - 1u) * ((P.channels + BK - 1u) / BK);
    for (var step = 0u; step < steps; step += 1u) {
        if (lane < WEIGHT_BLOCKS) {
            let turned = transpose(next);
#for i in 4
            weights[(step_of + {i}u) * COLUMNS4 + group_of] = turned[{i}];
#end
        }
        workgroupBarrier();
        let ends = k + BK >= layer.k;
        var ahead = layer;
        var ahead_k = k + BK;
        if (ends) {
            ahead = layer_behind(layer);
            ahead_k = 0u;
        }
        if (lane < WEIGHT_BLOCKS) {
            next = fetch(ahead, 4u * group_of, ahead_k + step_of);
        }
        // A layer of few outputs leaves most of the waves idle.
        if (n < layer.n) {
#if STATIC
            let first = k * BM4 + y;
#for u in BK
#for i in LANE_ROWS4
            let a_{u}_{i} = state[first + {u}u * BM4 + {i}u * WY];
#end
            let b_{u} = weights[{u}u * COLUMNS4 + x];
#for r in LANE_ROWS
            acc_{r} += a_{u}_{r:vec}.{r:lane} * b_{u};
#end
#end
#else
            for (var u = 0u; u < BK; u += 1u) {
#for i in LANE_ROWS4
                let a_{i} = state[(k + u) * BM4 + {i}u * WY + y];
#end
                let b = weights[u * COLUMNS4 + x];
#for r in LANE_ROWS
                acc_{r} += a_{r:vec}.{r:lane} * b;
#end
            }
#end
        }
        workgroupBarrier();
        if (ends) {
            // b and α are padded to more columns than there are.
            let b = parameters_at4(layer.b + n);
            let last = layer.number + 1u >= P.parts;
            var alpha = vec4<f32>();
            if (!last) {
                alpha = alpha_of(layer, n);
            }
            // The rows that belong together by name, and then the next ones take their place.
            for (var i = 0u; i < TURNS; i += 1u) {
                let group = i * WY + y;
                let row = row0 + first_row(group);
#if JET
                var sums = Point(
#for r in MEMBERS_OF_JET
                    acc_{r},
#end
                );
                sums[0] += b;
                if (last) {
                    let v = output_point(sums);
#for r in MEMBERS_OF_JET
                    store(row + {r}u, n, v[{r}]);
#end
                } else {
                    let v = hidden_point(sums, alpha);
                    keep(mat4x4<f32>(v[0], v[1], v[2], v[3]), n, layer.n, group);
#if EIGHT
                    keep(mat4x4<f32>(v[4], v[5], v[6], v[7]), n, layer.n, group + WY);
#end
                }
#else
                let sums = with_bias(mat4x4<f32>(acc_0, acc_1, acc_2, acc_3), b);
                if (last) {
                    let v = output_rows(sums);
#for r in 4
                    store(row + {r}u, n, v[{r}]);
#end
                } else {
                    keep(hidden_rows(sums, alpha), n, layer.n, group);
                }
#end
#for r in ROWS_BEHIND
                acc_{r} = acc_{r:behind};
#end
            }
#for r in LANE_ROWS
            acc_{r} = vec4<f32>();
#end
        }
        layer = ahead;
        k = ahead_k;
    }
}
