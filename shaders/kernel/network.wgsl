// A whole network, y_l = act(y_(l-1)·W_lᵀ + b_l; α_l), for a block of BM rows a workgroup: from x to the last y without memory between.
// P.parts layers have P.k inputs, P.channels columns between any two, P.cols outputs. What goes from layer to layer lies in workgroup memory
// (`state`), and weights come through it, BK inputs of all outputs at a time, while the next ones are on their way to registers: those of the
// next layer too. Columns that a layer does not have are zero in `state` and in `weights`, whatever NaN the neighbours are.
#use tile
#if JET
#use passed
#end
const QUADS = BK / 4u;
const COLUMNS4 = COLUMNS / 4u;
// Lanes along the rows, which are neighbours: they read the same weights, and write neighbours.
const WY = LANES / COLUMNS4;
const BM4 = WY * LANE_ROWS / 4u;
const WEIGHT_BLOCKS = QUADS * COLUMNS4;
const STATE_BLOCKS = COLUMNS4 * BM4;
const_assert WEIGHT_BLOCKS <= LANES;
// Column by column, four rows a vector; and input by input, four outputs a vector.
var<workgroup> state: array<vec4<f32>, COLUMNS * BM4>;
var<workgroup> weights: array<vec4<f32>, BK * COLUMNS4>;

// Its number, its size, and where its w, b and α are among all parameters.
struct Layer {
    number: u32,
    k: u32,
    n: u32,
    w: u32,
    b: u32,
    alpha: u32,
}

fn padded(count: u32) -> u32 {
    return (count + ALIGN - 1u) / ALIGN * ALIGN;
}

fn layer_from(number: u32, w: u32) -> Layer {
    let k = select(P.channels, P.k, number == 0u);
    let n = select(P.channels, P.cols, number + 1u == P.parts);
    let b = w + padded(n * k);
    return Layer(number, k, n, w, b, b + padded(n));
}

// After the last layer the last one again: its weights are loaded once more, and not used.
fn layer_behind(layer: Layer) -> Layer {
    if (layer.number + 1u >= P.parts) {
        return layer;
    }
#if PER_CHANNEL
    return layer_from(layer.number + 1u, layer.alpha + padded(layer.n));
#else
#if PER_LAYER
    return layer_from(layer.number + 1u, layer.alpha + ALIGN);
#else
    return layer_from(layer.number + 1u, layer.alpha);
#end
#end
}

// The weights of output n for four inputs from k on.
fn weights_of(layer: Layer, n: u32, k: u32) -> vec4<f32> {
    let row = layer.w + min(n, layer.n - 1u) * layer.k;
#if VEC_W
    let v = w_at4(row + min(k, layer.k - 4u));
    return select(vec4<f32>(), v, n < layer.n && k < layer.k);
#else
    let last = layer.k - 1u;
    let v = vec4<f32>(w_at(row + min(k, last)), w_at(row + min(k + 1u, last)),
                      w_at(row + min(k + 2u, last)), w_at(row + min(k + 3u, last)));
    let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(layer.k);
    return select(vec4<f32>(), v, inside & vec4<bool>(n < layer.n));
#end
}

// A block of them, four outputs.
fn fetch(layer: Layer, n: u32, k: u32) -> mat4x4<f32> {
    return mat4x4<f32>(weights_of(layer, n, k), weights_of(layer, n + 1u, k),
                       weights_of(layer, n + 2u, k), weights_of(layer, n + 3u, k));
}

fn x_place(row: u32, col: u32) -> u32 {
#if GAPS_X
    return x_of(row, col);
#else
    return row * P.k + col;
#end
}

// Four inputs of a row from k on. A row past the edge is the last one again; it is never stored.
fn inputs_of(row: u32, k: u32) -> vec4<f32> {
    let m = min(row, P.rows - 1u);
#if VEC_X
    let v = x_at4(x_place(m, min(k, P.k - 4u)));
    return select(vec4<f32>(), v, k < P.k);
#else
    let last = P.k - 1u;
    let v = vec4<f32>(x_at(x_place(m, min(k, last))), x_at(x_place(m, min(k + 1u, last))),
                      x_at(x_place(m, min(k + 2u, last))), x_at(x_place(m, min(k + 3u, last))));
    return select(vec4<f32>(), v, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(P.k));
#end
}

fn hidden(z: vec4<f32>, alpha: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act0(z.x, vec2<f32>(alpha.x, P.p.y)), act0(z.y, vec2<f32>(alpha.y, P.p.y)),
                     act0(z.z, vec2<f32>(alpha.z, P.p.y)), act0(z.w, vec2<f32>(alpha.w, P.p.y)));
}

fn output(z: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act1(z.x, P.p.zw), act1(z.y, P.p.zw), act1(z.z, P.p.zw), act1(z.w, P.p.zw));
}

#if JET
// Four rows are a point: its value, two tangents, and the operator's row (src/jet.rs). b moves the value alone.
fn hidden_slope(z: vec4<f32>, alpha: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act0_dz(z.x, vec2<f32>(alpha.x, P.p.y)), act0_dz(z.y, vec2<f32>(alpha.y, P.p.y)),
                     act0_dz(z.z, vec2<f32>(alpha.z, P.p.y)), act0_dz(z.w, vec2<f32>(alpha.w, P.p.y)));
}

fn output_slope(z: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act1_dz(z.x, P.p.zw), act1_dz(z.y, P.p.zw), act1_dz(z.z, P.p.zw), act1_dz(z.w, P.p.zw));
}

fn hidden_times(v: vec4<f32>, derivative: vec4<f32>) -> vec4<f32> {
#if PASSES_0
    return passed4(v, derivative);
#else
    return v * derivative;
#end
}

fn output_times(v: vec4<f32>, derivative: vec4<f32>) -> vec4<f32> {
#if PASSES_1
    return passed4(v, derivative);
#else
    return v * derivative;
#end
}

#if BENDS
fn hidden_bend(z: vec4<f32>, alpha: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act0_dzz(z.x, vec2<f32>(alpha.x, P.p.y)), act0_dzz(z.y, vec2<f32>(alpha.y, P.p.y)),
                     act0_dzz(z.z, vec2<f32>(alpha.z, P.p.y)), act0_dzz(z.w, vec2<f32>(alpha.w, P.p.y)));
}

fn output_bend(z: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act1_dzz(z.x, P.p.zw), act1_dzz(z.y, P.p.zw), act1_dzz(z.z, P.p.zw), act1_dzz(z.w, P.p.zw));
}

// The operator's quadratic form of the two tangents.
fn form(z: vec4<f32>, w: vec4<f32>) -> vec4<f32> {
    var sum = vec4<f32>();
#if C11
    sum += bitcast<f32>(C11) * (z * z);
#end
#if C12
    sum += bitcast<f32>(C12) * (z * w);
#end
#if C22
    sum += bitcast<f32>(C22) * (w * w);
#end
    return sum;
}
#end

fn hidden_rows(z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    let slope = hidden_slope(z[0], alpha);
    var operated = hidden_times(z[3], slope);
#if BENDS
    operated += hidden_times(form(z[1], z[2]), hidden_bend(z[0], alpha));
#end
    return mat4x4<f32>(hidden(z[0], alpha), hidden_times(z[1], slope), hidden_times(z[2], slope), operated);
}

fn output_rows(z: mat4x4<f32>) -> mat4x4<f32> {
    let slope = output_slope(z[0]);
    var operated = output_times(z[3], slope);
#if BENDS
    operated += output_times(form(z[1], z[2]), output_bend(z[0]));
#end
    return mat4x4<f32>(output(z[0]), output_times(z[1], slope), output_times(z[2], slope), operated);
}

fn with_bias(sums: mat4x4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(sums[0] + b, sums[1], sums[2], sums[3]);
}
#else
fn with_bias(sums: mat4x4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(sums[0] + b, sums[1] + b, sums[2] + b, sums[3] + b);
}

#if STATIC
fn hidden_rows(z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(hidden(z[0], alpha), hidden(z[1], alpha), hidden(z[2], alpha), hidden(z[3], alpha));
}

fn output_rows(z: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(output(z[0]), output(z[1]), output(z[2]), output(z[3]));
}
#else
// A loop: a compiler for a CPU takes longer for every copy of an activation.
fn hidden_rows(z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    var y = z;
    for (var r = 0u; r < 4u; r += 1u) {
        y[r] = hidden(y[r], alpha);
    }
    return y;
}

fn output_rows(z: mat4x4<f32>) -> mat4x4<f32> {
    var y = z;
    for (var r = 0u; r < 4u; r += 1u) {
        y[r] = output(y[r]);
    }
    return y;
}
#end
#end

// Four outputs of a row from n on.
fn store(row: u32, n: u32, v: vec4<f32>) {
    if (row >= P.rows || n >= P.cols) {
        return;
    }
#if GAPS_Y
    let at = y_of(row, n);
#else
    let at = row * P.cols + n;
#end
#if VEC_Y
    y_put4(at, v);
#else
    y_put(at, v.x);
#for i in 3
    if (n + {i}u + 1u < P.cols) {
        y_put(at + {i}u + 1u, v[{i}u + 1u]);
    }
#end
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
        let row = row0 + 4u * group;
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
            var alpha = vec4<f32>(P.p.x);
#if PER_CHANNEL
            if (!last) {
                alpha = parameters_at4(layer.alpha + n);
            }
#end
#if PER_LAYER
            if (!last) {
                alpha = vec4<f32>(parameters_at(layer.alpha));
            }
#end
            // Four rows by name, and then the next ones take their place.
            for (var i = 0u; i < LANE_ROWS4; i += 1u) {
                let group = i * WY + y;
                let row = row0 + 4u * group;
                let sums = with_bias(mat4x4<f32>(acc_0, acc_1, acc_2, acc_3), b);
                if (last) {
                    let v = output_rows(sums);
#for r in 4
                    store(row + {r}u, n, v[{r}]);
#end
                } else {
                    keep(hidden_rows(sums, alpha), n, layer.n, group);
                }
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
