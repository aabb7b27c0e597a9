// A whole network as network.wgsl has it, on the device's matrix units. What goes from layer to layer lies in workgroup memory row by row, as numbers of
// f16 or as sums of two (halves.wgsl), and weights come through it as they lie in memory, BK inputs of all outputs at a time. A subgroup has
// MATRICES_M × MATRICES_N matrices of sums in f32: all columns of its rows.
// A matrix can't be read element by element: behind a layer one column of matrices after the other goes through workgroup memory (`drained`), where there is a
// block of ROWS rows and four columns for each lane. Where operands are scaled that is done twice: for the largest magnitude of each row of y, and for its halves.
#use tile
#use layers
#use finished_rows
#use halves
#use matrices

const SUBGROUP_ROWS = MATRICES_M * MATRIX;
const BM = LANES / SPAN * SUBGROUP_ROWS;
// Fours in a row, and the gap behind it, which spreads rows over the banks and keeps each at a multiple of 16 bytes. Low parts lie behind the high ones.
const STATE_PITCH = COLUMNS4 + 2u;
const STATE_SIZE = BM * STATE_PITCH;
const WEIGHT_PITCH = QUADS + 2u;
const WEIGHT_SIZE = COLUMNS * WEIGHT_PITCH;
#if SPLIT_A
var<workgroup> state: array<vec4<f16>, 2u * STATE_SIZE>;
#else
var<workgroup> state: array<vec4<f16>, STATE_SIZE>;
#end
#if SPLIT_B
var<workgroup> weights: array<vec4<f16>, 2u * WEIGHT_SIZE>;
#else
var<workgroup> weights: array<vec4<f16>, WEIGHT_SIZE>;
#end
// The matrices of a subgroup lie side by side, so that neighbouring lanes read neighbours.
const DRAINED_ROW = MATRICES_M * MATRIX4;
var<workgroup> drained: array<vec4<f32>, LANES * ROWS>;

#if SCALE_A
// The largest magnitudes, as bits: of each row of what goes into a layer of even number, into one of odd number, and of the weights of each output.
const OF_OUTPUTS = 2u * BM;
var<workgroup> largest: array<atomic<u32>, OF_OUTPUTS + COLUMNS>;

fn measure(at: u32, v: vec4<f32>) {
    let bits = bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu);
    atomicMax(&largest[at], max(max(bits.x, bits.y), max(bits.z, bits.w)));
}

fn exponent(at: u32) -> i32 {
    return exponent_for(bitcast<f32>(atomicLoad(&largest[at])));
}

// Of a row of what goes into a layer.
fn of_row(layer: u32, row: u32) -> u32 {
    return layer % 2u * BM + row;
}

// Before a layer: nothing is known of what comes out of it, and all of its weights.
fn measure_weights(layer: Layer, lane: u32) {
    workgroupBarrier();
    for (var u = lane; u < BM; u += LANES) {
        atomicStore(&largest[of_row(layer.number + 1u, u)], 0u);
    }
#if SCALE_B
    for (var u = lane; u < COLUMNS; u += LANES) {
        atomicStore(&largest[OF_OUTPUTS + u], 0u);
    }
    workgroupBarrier();
    let fours = (layer.k + 3u) / 4u;
    for (var u = lane; u < layer.n * fours; u += LANES) {
        measure(OF_OUTPUTS + u / fours, weights_of(layer, u / fours, u % fours * 4u));
    }
#end
    workgroupBarrier();
}

fn output_exponents(n: u32) -> vec4<i32> {
#if SCALE_B
    return vec4<i32>(exponent(OF_OUTPUTS + n), exponent(OF_OUTPUTS + n + 1u), exponent(OF_OUTPUTS + n + 2u), exponent(OF_OUTPUTS + n + 3u));
#else
    return vec4<i32>();
#end
}
#end

// Four inputs of a layer, from column k on of a row of the block.
fn keep(v: vec4<f32>, layer: u32, row: u32, k: u32) {
    let to = row * STATE_PITCH + k / 4u;
#if SCALE_A
    let half = a_half(v, vec4<f32>(power2(exponent(of_row(layer, row)))));
#else
    let half = a_half(v, vec4<f32>());
#end
#if SPLIT_A
    state[to] = half.high;
    state[to + STATE_SIZE] = half.low;
#else
    state[to] = half;
#end
}

// Four weights of output n on their way to workgroup memory, as far as they can be made before the layer is measured.
#if SCALE_B
alias Ahead = vec4<f32>;
#else
alias Ahead = BHalf;
#end

fn fetch_ahead(layer: Layer, n: u32, k: u32) -> Ahead {
#if SCALE_B
    return weights_of(layer, n, k);
#else
    return b_half(weights_of(layer, n, k), vec4<f32>());
#end
}

fn stage(to: u32, n: u32, v: Ahead) {
#if SCALE_B
    let half = b_half(v, vec4<f32>(power2(exponent(OF_OUTPUTS + n))));
#else
    let half = v;
#end
#if SPLIT_B
    weights[to] = half.high;
    weights[to + WEIGHT_SIZE] = half.low;
#else
    weights[to] = half;
#end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_id) group: u32, @builtin(subgroup_invocation_id) own: u32) {
    // `workgroup_number(wid) >= P.tiles`, written out: naga wants to see that the whole workgroup returns, and does not look into functions.
    if (P.first + wid.x + wid.y * P.grid_x >= P.tiles) {
        return;
    }
    let first_row = workgroup_number(wid) * BM;
    var layer = layer_from(0u, 0u);
#for t in EACH
    let out_{t} = (lane + {t}u * LANES) / QUADS;
    let in_{t} = (lane + {t}u * LANES) % QUADS;
    var next_{t} = fetch_ahead(layer, out_{t}, 4u * in_{t});
#end
#if SCALE_A
    for (var u = lane; u < BM; u += LANES) {
        atomicStore(&largest[u], 0u);
    }
    workgroupBarrier();
    for (var u = lane; u < BM * COLUMNS4; u += LANES) {
        measure(u / COLUMNS4, inputs_of(first_row + u / COLUMNS4, u % COLUMNS4 * 4u));
    }
    measure_weights(layer, lane);
#end
    for (var u = lane; u < BM * COLUMNS4; u += LANES) {
        let k = u % COLUMNS4 * 4u;
        keep(inputs_of(first_row + u / COLUMNS4, k), 0u, u / COLUMNS4, k);
    }
    // The subgroup's rows in the block, its part of `drained`, and this lane's block of it: the rows, the columns of a matrix, the place.
    let rows0 = group * SUBGROUP_ROWS;
    let drain = group * SPAN * ROWS;
    let x = own % DRAINED_ROW;
    let y = own / DRAINED_ROW;
    let own_row = rows0 + x / MATRIX4 * MATRIX + y * ROWS;
    let own_col = x % MATRIX4 * 4u;
    let from_drain = drain + y * ROWS * DRAINED_ROW + x;
    // naga wants the places and strides of matrices in names of their own.
    let state_pitch = STATE_PITCH;
    let weight_pitch = WEIGHT_PITCH;
    let drained_row = DRAINED_ROW;
#for m in MATRICES_M
#for n in MATRICES_N
    var acc_{m}_{n} = Sums();
#end
#end
    var k = 0u;
    let steps = (P.k + BK - 1u) / BK + (P.parts - 1u) * ((P.channels + BK - 1u) / BK);
    for (var step = 0u; step < steps; step += 1u) {
#for t in EACH
        stage(out_{t} * WEIGHT_PITCH + in_{t}, out_{t}, next_{t});
#end
        workgroupBarrier();
        let ends = k + BK >= layer.k;
        var ahead = layer;
        var ahead_k = k + BK;
        if (ends) {
            ahead = layer_behind(layer);
            ahead_k = 0u;
        }
#for t in EACH
        next_{t} = fetch_ahead(ahead, out_{t}, ahead_k + 4u * in_{t});
#end
        // Where operands are split the small products come first, as in product_coop.wgsl.
        for (var q = 0u; q < BK / MATRIX; q += UNROLLED) {
            let a_first = rows0 * STATE_PITCH + k / 4u + q * MATRIX4;
            let b_first = q * MATRIX4;
#for u in UNROLLED
#for m in MATRICES_M
            let a_at_{u}_{m} = a_first + {u}u * MATRIX4 + {m}u * MATRIX * STATE_PITCH;
            let left_{u}_{m} = coopLoadT<Left>(&state[a_at_{u}_{m}], state_pitch);
#if SPLIT_A
            let a_low_at_{u}_{m} = a_at_{u}_{m} + STATE_SIZE;
            let left_low_{u}_{m} = coopLoadT<Left>(&state[a_low_at_{u}_{m}], state_pitch);
#end
#end
#for n in MATRICES_N
            let b_at_{u}_{n} = b_first + {u}u * MATRIX4 + {n}u * MATRIX * WEIGHT_PITCH;
            let right_{u}_{n} = coopLoad<Right>(&weights[b_at_{u}_{n}], weight_pitch);
#if SPLIT_B
            let b_low_at_{u}_{n} = b_at_{u}_{n} + WEIGHT_SIZE;
            let right_low_{u}_{n} = coopLoad<Right>(&weights[b_low_at_{u}_{n}], weight_pitch);
#end
#for m in MATRICES_M
#if SPLIT
            var part_{u}_{m}_{n} = Sums();
#if SPLIT_A
            part_{u}_{m}_{n} = coopMultiplyAdd(left_low_{u}_{m}, right_{u}_{n}, part_{u}_{m}_{n});
#end
#if SPLIT_B
            part_{u}_{m}_{n} = coopMultiplyAdd(left_{u}_{m}, right_low_{u}_{n}, part_{u}_{m}_{n});
#end
            part_{u}_{m}_{n} = coopMultiplyAdd(left_{u}_{m}, right_{u}_{n}, part_{u}_{m}_{n});
            acc_{m}_{n} = acc_{m}_{n} + part_{u}_{m}_{n};
#else
            acc_{m}_{n} = coopMultiplyAdd(left_{u}_{m}, right_{u}_{n}, acc_{m}_{n});
#end
#end
#end
#end
        }
        workgroupBarrier();
        if (ends) {
            let last = layer.number + 1u >= P.parts;
            // What the next layer reads beside its inputs has to be 0.
            let written = select((layer.n + BK - 1u) / BK * BK, layer.n, last);
            let columns = (written + MATRIX - 1u) / MATRIX;
#if SCALE_A
            let turns = select(2u * columns, columns, last);
#else
            let turns = columns;
#end
            for (var turn = 0u; turn < turns; turn += 1u) {
                let column = turn % columns;
#for n in MATRICES_N
                if (column == {n}u) {
#for m in MATRICES_M
                    let to_{m}_{n} = drain + {m}u * MATRIX4;
                    coopStoreT(acc_{m}_{n}, &drained[to_{m}_{n}], drained_row);
#end
                }
#end
                workgroupBarrier();
#for r in ROWS
                let sum_{r} = drained[from_drain + {r}u * DRAINED_ROW];
#end
                workgroupBarrier();
                let n = column * MATRIX + own_col;
                if (n < written) {
                    // b and α are padded to more columns than there are.
                    let b = parameters_at4(layer.b + n);
#if SCALE_A
                    let exponents = output_exponents(n);
#for r in ROWS
                    let z_{r} = unscaled(sum_{r}, exponent(of_row(layer.number, own_row + {r}u)), exponents);
#end
#else
#for r in ROWS
                    let z_{r} = sum_{r};
#end
#end
#if JET
                    var z = Point(
#for r in ROWS
                        z_{r},
#end
                    );
                    z[0] += b;
#else
                    let z = with_bias(mat4x4<f32>(z_0, z_1, z_2, z_3), b);
#end
                    if (last) {
#if JET
                        let v = output_point(z);
#else
                        let v = output_rows(z);
#end
#for r in ROWS
                        store(first_row + own_row + {r}u, n, v[{r}]);
#end
                    } else {
                        let alpha = alpha_of(layer, n);
#if JET
                        let v = hidden_point(z, alpha);
#else
                        let v = hidden_rows(z, alpha);
#end
                        let inside = vec4<u32>(n, n + 1u, n + 2u, n + 3u) < vec4<u32>(layer.n);
#for r in ROWS
                        let v_{r} = select(vec4<f32>(), v[{r}], inside);
#end
#if SCALE_A
                        if (turn < columns) {
#for r in ROWS
                            measure(of_row(layer.number + 1u, own_row + {r}u), v_{r});
#end
                        } else {
#for r in ROWS
                            keep(v_{r}, layer.number + 1u, own_row + {r}u, n);
#end
                        }
#else
#for r in ROWS
                        keep(v_{r}, layer.number + 1u, own_row + {r}u, n);
#end
#end
                    }
                }
            }
#for m in MATRICES_M
#for n in MATRICES_N
            acc_{m}_{n} = Sums();
#end
#end
#if SCALE_A
            if (!last) {
                measure_weights(ahead, lane);
            }
#end
        }
        layer = ahead;
        k = ahead_k;
    }
}
