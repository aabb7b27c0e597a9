// Gradients of a whole network as network_backward.wgsl has them, on the device's matrix units: P.chunk rows a workgroup, BM at a time, all of them forward,
// then layer by layer back, with a layer's dW in the registers of all subgroups until every row is in it.
// A subgroup has DOWN × MATRIX rows of a product and finishes WIDTH of its columns in one turn, so that few sums are in registers beside those of dW.
// What goes into a product along a row (y on the way forward, dz back) lies in workgroup memory row by row; for dW = dzᵀ·y, whose sums are over the rows, both
// lie there turned, in the same memory. So every matrix is loaded along its reduction. Each of them is read from the scratch buffer when it is needed, where
// the lane that reads it has put it.
// dz is small where gradients are: it is scaled always, row by row for dz·W and column by column, over all of the workgroup's rows, for dW.
#use tile
#use layers
#use gradients
#use lane_rows
#use lane_points
#use halves
#use matrices

const SUBGROUP_ROWS = DOWN * MATRIX;
const BM = LANES / SPAN * SUBGROUP_ROWS;
const WIDTH = ACROSS * MATRIX;
const WIDTH4 = WIDTH / 4u;
// Fours of a row, or of a turned column, and the gap behind it, which spreads them over the banks and keeps each at a multiple of 16 bytes.
const ROW_PITCH = COLUMNS4 + 2u;
const TURNED_PITCH = BM / 4u + 2u;
const TURNED = COLUMNS * TURNED_PITCH;
// dz turned, then y turned; or rows of either. Low parts lie behind the high ones.
const STATE_SIZE = 2u * TURNED;
const WEIGHT_SIZE = WIDTH * ROW_PITCH;
const_assert BM * ROW_PITCH <= STATE_SIZE && TURNS * WIDTH == COLUMNS && WIDTH % BK == 0u && BK == UNROLLED * MATRIX;
const_assert DOWN * ACROSS * MATRIX * MATRIX == 16u * SPAN;
const_assert LANES / SPAN / SUBGROUPS_N * DW_M * MATRIX == COLUMNS && SUBGROUPS_N * DW_N * MATRIX == COLUMNS;
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
// Four rows of four columns for each lane of a subgroup, DOWN × ACROSS matrices: row by row.
var<workgroup> drained: array<vec4<f32>, LANES * 4u>;

// The largest magnitudes, as bits, in any order the same: of the rows of the block; of the columns of dz of a layer of even number, and of odd number; of the
// columns of what goes into a layer; of the weights of each column of a product.
const OF_DZ = BM;
const OF_INPUTS = OF_DZ + 2u * COLUMNS;
const OF_WEIGHTS = OF_INPUTS + COLUMNS;
var<workgroup> largest: array<atomic<u32>, OF_WEIGHTS + COLUMNS>;

fn of_dz(number: u32) -> u32 {
    return OF_DZ + number % 2u * COLUMNS;
}

fn forget(first: u32, count: u32, lane: u32) {
    for (var u = lane; u < count; u += LANES) {
        atomicStore(&largest[first + u], 0u);
    }
}

fn magnitudes(v: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu);
}

fn measure(at: u32, v: vec4<u32>) {
    atomicMax(&largest[at], max(max(v.x, v.y), max(v.z, v.w)));
}

fn measure_each(at: u32, v: vec4<u32>) {
#for i in 4
    atomicMax(&largest[at + {i}u], v[{i}]);
#end
}

fn measure_rows(v: mat4x4<f32>, row: u32) {
#for r in 4
    measure(row + {r}u, magnitudes(v[{r}]));
#end
}

fn measure_columns(v: mat4x4<f32>, at: u32) {
    measure_each(at, max(max(magnitudes(v[0]), magnitudes(v[1])), max(magnitudes(v[2]), magnitudes(v[3]))));
}

fn exponent(at: u32) -> i32 {
    return exponent_for(bitcast<f32>(atomicLoad(&largest[at])));
}

fn exponents(at: u32) -> vec4<i32> {
    return vec4<i32>(exponent(at), exponent(at + 1u), exponent(at + 2u), exponent(at + 3u));
}

// Before a product: all of its weights.
fn measure_weights(layer: Layer, back: bool, lane: u32) {
#if SCALE_B
    workgroupBarrier();
    forget(OF_WEIGHTS, COLUMNS, lane);
    workgroupBarrier();
    let fours = (layer.k + 3u) / 4u;
    for (var u = lane; u < layer.n * fours; u += LANES) {
        let k = u % fours * 4u;
        let v = magnitudes(weights_of(layer, u / fours, k));
        if (back) {
            measure_each(OF_WEIGHTS + k, v);
        } else {
            measure(OF_WEIGHTS + u / fours, v);
        }
    }
    workgroupBarrier();
#end
}

fn weight_exponents(n: u32) -> vec4<i32> {
#if SCALE_B
    return exponents(OF_WEIGHTS + n);
#else
    return vec4<i32>();
#end
}

// Of what goes into a layer: rounded as it is, or split.
fn input_exponent(row: u32) -> i32 {
#if SPLIT_A
    return exponent(row);
#else
    return 0;
#end
}

fn input_exponents(k: u32) -> vec4<i32> {
#if SPLIT_A
    return exponents(OF_INPUTS + k);
#else
    return vec4<i32>();
#end
}

// Four sums of a row as if nothing had been scaled. Of what is only rounded, infinities stay.
fn as_they_were(v: vec4<f32>, row: i32, cols: vec4<i32>) -> vec4<f32> {
#if SPLIT_A
    return unscaled(v, row, cols);
#else
    return vec4<f32>(divided(v.x, row), divided(v.y, row), divided(v.z, row), divided(v.w, row));
#end
}

fn unscaled_rows(v: mat4x4<f32>, rows: vec4<i32>, cols: vec4<i32>) -> mat4x4<f32> {
    return mat4x4<f32>(as_they_were(v[0], rows.x, cols), as_they_were(v[1], rows.y, cols),
                       as_they_were(v[2], rows.z, cols), as_they_were(v[3], rows.w, cols));
}

fn put_half(to: u32, half: AHalf) {
#if SPLIT_A
    state[to] = half.high;
    state[to + STATE_SIZE] = half.low;
#else
    state[to] = half;
#end
}

// Four rows of the block, four columns from n on, each row by its own exponent.
fn keep_rows(v: mat4x4<f32>, row: u32, n: u32, rows: vec4<i32>) {
    let to = row * ROW_PITCH + n / 4u;
#for r in 4
    put_half(to + {r}u * ROW_PITCH, a_half(v[{r}], vec4<f32>(power2(rows[{r}]))));
#end
}

// The same four columns of four rows, each column by its own exponent.
fn keep_turned(v: mat4x4<f32>, place: u32, row: u32, n: u32, cols: vec4<i32>) {
    let turned = transpose(v);
    let to = place + n * TURNED_PITCH + row / 4u;
#for i in 4
    put_half(to + {i}u * TURNED_PITCH, a_half(turned[{i}], vec4<f32>(power2(cols[{i}]))));
#end
}

// The weights for the columns of a product from `first` on: for each of them all steps of the reduction, which are inputs, or outputs on the way back.
fn stage(layer: Layer, back: bool, first: u32, lane: u32) {
    for (var u = lane; u < WIDTH4 * COLUMNS4; u += LANES) {
        // Neighbouring lanes read neighbouring inputs.
        let step = 4u * select(u % COLUMNS4, u / WIDTH4, back);
        let column = 4u * select(u / COLUMNS4, u % WIDTH4, back);
        var block = fetch(layer, select(first + column, step, back), select(step, first + column, back));
        if (back) {
            block = transpose(block);
        }
        let to = column * ROW_PITCH + step / 4u;
        let scales = powers2(weight_exponents(first + column));
#for i in 4
        let half_{i} = b_half(block[{i}], vec4<f32>(scales[{i}]));
#if SPLIT_B
        weights[to + {i}u * ROW_PITCH] = half_{i}.high;
        weights[to + {i}u * ROW_PITCH + WEIGHT_SIZE] = half_{i}.low;
#else
        weights[to + {i}u * ROW_PITCH] = half_{i};
#end
#end
    }
}

// Four rows of four columns of y·Wᵀ, or on the way back of dz·W, from the rows in `state`: this lane's of WIDTH columns from `first` on.
fn product(layer: Layer, back: bool, first: u32, lane: u32, group: u32, own: u32) -> mat4x4<f32> {
    workgroupBarrier();
    stage(layer, back, first, lane);
    workgroupBarrier();
    // naga wants the places and strides of matrices in names of their own.
    let pitch = ROW_PITCH;
    let drained_row = WIDTH4;
    let drain = group * SPAN * 4u;
    let length = select(layer.k, layer.n, back);
#for m in DOWN
#for n in ACROSS
    var acc_{m}_{n} = Sums();
#end
#end
    for (var k = 0u; k < length; k += BK) {
        // Where operands are split the small products come first, as in product_coop.wgsl.
#for u in UNROLLED
#for m in DOWN
        let a_at_{u}_{m} = (group * SUBGROUP_ROWS + {m}u * MATRIX) * ROW_PITCH + k / 4u + {u}u * MATRIX4;
        let left_{u}_{m} = coopLoadT<Left>(&state[a_at_{u}_{m}], pitch);
#if SPLIT_A
        let a_low_at_{u}_{m} = a_at_{u}_{m} + STATE_SIZE;
        let left_low_{u}_{m} = coopLoadT<Left>(&state[a_low_at_{u}_{m}], pitch);
#end
#end
#for n in ACROSS
        let b_at_{u}_{n} = {n}u * MATRIX * ROW_PITCH + k / 4u + {u}u * MATRIX4;
        let right_{u}_{n} = coopLoad<Right>(&weights[b_at_{u}_{n}], pitch);
#if SPLIT_B
        let b_low_at_{u}_{n} = b_at_{u}_{n} + WEIGHT_SIZE;
        let right_low_{u}_{n} = coopLoad<Right>(&weights[b_low_at_{u}_{n}], pitch);
#end
#for m in DOWN
#if SPLIT_A
        var part_{u}_{m}_{n} = Sums();
        part_{u}_{m}_{n} = coopMultiplyAdd(left_low_{u}_{m}, right_{u}_{n}, part_{u}_{m}_{n});
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
#for m in DOWN
#for n in ACROSS
    let to_{m}_{n} = drain + {m}u * MATRIX * WIDTH4 + {n}u * MATRIX4;
    coopStoreT(acc_{m}_{n}, &drained[to_{m}_{n}], drained_row);
#end
#end
    workgroupBarrier();
    let from_drain = drain + own / WIDTH4 * 4u * WIDTH4 + own % WIDTH4;
    return mat4x4<f32>(drained[from_drain], drained[from_drain + WIDTH4],
                       drained[from_drain + 2u * WIDTH4], drained[from_drain + 3u * WIDTH4]);
}

// 0 past the last row and where the layer has no column.
fn inside(v: mat4x4<f32>, row: u32, n: u32, columns: u32) -> mat4x4<f32> {
    let rows = rows_inside(row);
    let there = columns_inside(n, columns);
    return mat4x4<f32>(select(vec4<f32>(), v[0], there & vec4<bool>(rows.x)), select(vec4<f32>(), v[1], there & vec4<bool>(rows.y)),
                       select(vec4<f32>(), v[2], there & vec4<bool>(rows.z)), select(vec4<f32>(), v[3], there & vec4<bool>(rows.w)));
}

// From four rows of four columns to what this lane finishes, and back. Of points of eight rows a neighbour has the other four: each gives the other two columns,
// whichever way.
#if JET
fn exchanged(columns: mat4x4<f32>, y: u32) -> mat4x4<f32> {
#if EIGHT
    let second = y % 2u == 1u;
    let taken_0 = subgroupShuffleXor(select(columns[2], columns[0], second), WIDTH4);
    let taken_1 = subgroupShuffleXor(select(columns[3], columns[1], second), WIDTH4);
    if (second) {
        return mat4x4<f32>(taken_0, taken_1, columns[2], columns[3]);
    }
    return mat4x4<f32>(columns[0], columns[1], taken_0, taken_1);
#else
    return columns;
#end
}

fn own_of(rows: mat4x4<f32>, y: u32) -> mat4x4<f32> {
    return exchanged(transpose(rows), y);
}

fn rows_of(finished: mat4x4<f32>, y: u32) -> mat4x4<f32> {
    return transpose(exchanged(finished, y));
}
#else
fn own_of(rows: mat4x4<f32>, y: u32) -> mat4x4<f32> {
    return rows;
}

fn rows_of(finished: mat4x4<f32>, y: u32) -> mat4x4<f32> {
    return finished;
}
#end

// This lane's vectors of a layer, a block of rows and a turn in the scratch buffer: the first of four.
fn scratch_place(tile: u32, number: u32, block: u32, turn: u32, lane: u32) -> u32 {
    let blocks = P.chunk / BM;
    let layers = (tile % P.splits) * P.parts + number;
    return 4u * (((layers * blocks + block) * TURNS + turn) * 4u * LANES + lane);
}

// This lane's rows of what goes into a layer, four columns from n on: `kept` is the place of z of the layer below.
fn entering(layer: Layer, below: Layer, kept: u32, row: u32, n: u32, y: u32) -> mat4x4<f32> {
    if (layer.number == 0u) {
        return inside(input_rows(row, n), row, n, layer.k);
    }
    let finished = hidden_own(scratch_rows(kept, n < layer.k), own_columns(alpha_of(below, n), y));
    return inside(rows_of(finished, y), row, n, layer.k);
}

#if DW
// What all lanes of this lane's columns have, in order.
fn over_rows(v: vec4<f32>, lane: u32, own: u32) -> vec4<f32> {
    workgroupBarrier();
    drained[lane] = v;
    workgroupBarrier();
    var sum = vec4<f32>();
    for (var i = own % WIDTH4; i < LANES; i += WIDTH4) {
        sum += drained[i];
    }
    return sum;
}
#end

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_id) group: u32, @builtin(subgroup_invocation_id) own: u32) {
    // `workgroup_number(wid) >= P.tiles`, written out: naga wants to see that the whole workgroup returns, and does not look into functions.
    if (P.first + wid.x + wid.y * P.grid_x >= P.tiles) {
        return;
    }
    let tile = workgroup_number(wid);
    let first = tile * P.chunk;
    let blocks = (min(P.chunk, P.rows - first) + BM - 1u) / BM;
    let sums = (tile % P.splits) * layer_at(P.parts - 1u).alpha;
    // This lane's rows of the block and columns of a turn; WIDTH4 divides the lanes of a subgroup.
    let y = own / WIDTH4;
    let own_row = group * SUBGROUP_ROWS + y * 4u;
    let own_col = own % WIDTH4 * 4u;
    forget(OF_DZ, 2u * COLUMNS, lane);
    for (var block = 0u; block < blocks; block += 1u) {
        let row = first + block * BM + own_row;
        for (var number = 0u; number < P.parts; number += 1u) {
            let layer = layer_at(number);
            let below = layer_at(max(number, 1u) - 1u);
            workgroupBarrier();
#if SPLIT_A
            forget(0u, BM, lane);
            measure_weights(layer, false, lane);
            workgroupBarrier();
            for (var turn = 0u; turn * WIDTH < layer.k; turn += 1u) {
                measure_rows(entering(layer, below, scratch_place(tile, below.number, block, turn, lane), row, turn * WIDTH + own_col, y), own_row);
            }
            workgroupBarrier();
#end
            let rows = vec4<i32>(input_exponent(own_row), input_exponent(own_row + 1u), input_exponent(own_row + 2u), input_exponent(own_row + 3u));
            for (var turn = 0u; turn * WIDTH < layer.k; turn += 1u) {
                let n = turn * WIDTH + own_col;
                keep_rows(entering(layer, below, scratch_place(tile, below.number, block, turn, lane), row, n, y), own_row, n, rows);
            }
            for (var turn = 0u; turn * WIDTH < layer.n; turn += 1u) {
                let n = turn * WIDTH + own_col;
                let kept = scratch_place(tile, number, block, turn, lane);
                var z = product(layer, false, turn * WIDTH, lane, group, own);
#if SPLIT_A
                z = unscaled_rows(z, rows, weight_exponents(n));
#end
                // b and α are padded to more columns than there are.
                z = own_of(with_own_bias(z, parameters_at4(layer.b + n), y), y);
                if (number + 1u == P.parts) {
                    z = inside(rows_of(last_gradient(own_of(upstream_rows(row, n), y), z), y), row, n, layer.n);
                    measure_columns(z, of_dz(number) + n);
                }
                put_scratch_rows(kept, n < layer.n, z);
            }
        }
    }
    for (var above = P.parts; above > 0u; above -= 1u) {
        let layer = layer_at(above - 1u);
        let below = layer_at(max(above, 2u) - 2u);
        workgroupBarrier();
        if (above > 1u) {
            forget(of_dz(below.number), COLUMNS, lane);
        }
        measure_weights(layer, true, lane);
#for t in TURNS
        var db_{t} = vec4<f32>();
        var dalpha_{t} = vec4<f32>();
#end
#if DW
#if SPLIT_A
        forget(OF_INPUTS, COLUMNS, lane);
        workgroupBarrier();
        for (var block = 0u; block < blocks; block += 1u) {
            for (var turn = 0u; turn * WIDTH < layer.k; turn += 1u) {
                let n = turn * WIDTH + own_col;
                let kept = scratch_place(tile, below.number, block, turn, lane);
                measure_columns(entering(layer, below, kept, first + block * BM + own_row, n, y), OF_INPUTS + n);
            }
        }
#end
        // The subgroup's outputs and inputs of dW.
        let out0 = group / SUBGROUPS_N * DW_M * MATRIX;
        let in0 = group % SUBGROUPS_N * DW_N * MATRIX;
        let turned_pitch = TURNED_PITCH;
#for i in DW_M
#for j in DW_N
        var dw_{i}_{j} = Sums();
#end
#end
#end
        for (var block = 0u; block < blocks; block += 1u) {
            let row = first + block * BM + own_row;
            workgroupBarrier();
            forget(0u, BM, lane);
            workgroupBarrier();
            for (var turn = 0u; turn * WIDTH < layer.n; turn += 1u) {
                let n = turn * WIDTH + own_col;
                let dz = scratch_rows(scratch_place(tile, layer.number, block, turn, lane), n < layer.n);
                measure_rows(dz, own_row);
#if DW
                keep_turned(dz, 0u, own_row, n, exponents(of_dz(layer.number) + n));
                let of_rows = all_columns(bias_gradient(own_of(dz, y), row), y);
#for t in TURNS
                db_{t} += select(vec4<f32>(), of_rows, turn == {t}u);
#end
#end
            }
#if DW
            for (var turn = 0u; turn * WIDTH < layer.k; turn += 1u) {
                let n = turn * WIDTH + own_col;
                let kept = scratch_place(tile, below.number, block, turn, lane);
                keep_turned(entering(layer, below, kept, row, n, y), TURNED, own_row, n, input_exponents(n));
            }
            workgroupBarrier();
            for (var q = 0u; q < BM / MATRIX; q += 1u) {
#for i in DW_M
                let a_at_{i} = (out0 + {i}u * MATRIX) * TURNED_PITCH + q * MATRIX4;
                let left_{i} = coopLoadT<Left>(&state[a_at_{i}], turned_pitch);
#if SPLIT_A
                let a_low_at_{i} = a_at_{i} + STATE_SIZE;
                let left_low_{i} = coopLoadT<Left>(&state[a_low_at_{i}], turned_pitch);
#end
#end
#for j in DW_N
                let b_at_{j} = TURNED + (in0 + {j}u * MATRIX) * TURNED_PITCH + q * MATRIX4;
                let right_{j} = coopLoad<Right>(&state[b_at_{j}], turned_pitch);
#if SPLIT_A
                let b_low_at_{j} = b_at_{j} + STATE_SIZE;
                let right_low_{j} = coopLoad<Right>(&state[b_low_at_{j}], turned_pitch);
#end
#for i in DW_M
#if SPLIT_A
                var part_{i}_{j} = Sums();
                part_{i}_{j} = coopMultiplyAdd(left_low_{i}, right_{j}, part_{i}_{j});
                part_{i}_{j} = coopMultiplyAdd(left_{i}, right_low_{j}, part_{i}_{j});
                part_{i}_{j} = coopMultiplyAdd(left_{i}, right_{j}, part_{i}_{j});
                dw_{i}_{j} = dw_{i}_{j} + part_{i}_{j};
#else
                dw_{i}_{j} = coopMultiplyAdd(left_{i}, right_{j}, dw_{i}_{j});
#end
#end
#end
            }
#end
#if !DX
            if (above == 1u) {
                continue;
            }
#end
            // dz goes back to the layer below, whose z is not read again.
            workgroupBarrier();
            let rows = exponents(own_row);
            for (var turn = 0u; turn * WIDTH < layer.n; turn += 1u) {
                let n = turn * WIDTH + own_col;
                keep_rows(scratch_rows(scratch_place(tile, layer.number, block, turn, lane), n < layer.n), own_row, n, rows);
            }
            for (var turn = 0u; turn * WIDTH < layer.k; turn += 1u) {
                let n = turn * WIDTH + own_col;
                let raw = product(layer, true, turn * WIDTH, lane, group, own);
                let below_rows = unscaled_rows(raw, rows, weight_exponents(n));
                if (above > 1u) {
                    let dy = own_of(below_rows, y);
                    let kept = scratch_place(tile, below.number, block, turn, lane);
                    let z = scratch_rows(kept, n < below.n);
                    let alpha = own_columns(alpha_of(below, n), y);
                    let dz = inside(rows_of(hidden_gradient(dy, z, alpha), y), row, n, below.n);
                    measure_columns(dz, of_dz(below.number) + n);
                    put_scratch_rows(kept, n < below.n, dz);
#if LEARNS
                    let of_alpha = all_columns(alpha_gradient(dy, z, alpha, row), y);
#for t in TURNS
                    dalpha_{t} += select(vec4<f32>(), of_alpha, turn == {t}u);
#end
#end
                } else {
#for r in 4
                    store(row + {r}u, n, below_rows[{r}]);
#end
                }
            }
        }
#if DW
        let drain = group * SPAN * 4u;
        let matrix_row = MATRIX4;
        for (var matrix = 0u; matrix < DW_M * DW_N; matrix += 1u) {
            workgroupBarrier();
#for i in DW_M
#for j in DW_N
            if (matrix == {i}u * DW_N + {j}u) {
                coopStoreT(dw_{i}_{j}, &drained[drain], matrix_row);
            }
#end
#end
            workgroupBarrier();
            for (var u = own; u < MATRIX * MATRIX4; u += SPAN) {
                let n = out0 + matrix / DW_N * MATRIX + u / MATRIX4;
                let k = in0 + matrix % DW_N * MATRIX + u % MATRIX4 * 4u;
                if (n < layer.n) {
                    let dw = as_they_were(drained[drain + u], exponent(of_dz(layer.number) + n), input_exponents(k));
                    put_sums(sums, layer.w + n * layer.k, k, layer.k, dw);
                }
            }
        }
        var of_layer = vec4<f32>();
#for t in TURNS
        let db_of_all_{t} = over_rows(db_{t}, lane, own);
        if (lane < WIDTH4) {
            put_sums(sums, layer.b, {t}u * WIDTH + own_col, layer.n, db_of_all_{t});
        }
#if LEARNS
        if (above > 1u) {
            let of_all = over_rows(dalpha_{t}, lane, own);
#if PER_CHANNEL
            if (lane < WIDTH4) {
                put_sums(sums, below.alpha, {t}u * WIDTH + own_col, below.n, of_all);
            }
#else
            of_layer += select(vec4<f32>(), of_all, columns_inside({t}u * WIDTH + own_col, below.n));
#end
        }
#end
#end
        put_zeros(sums, layer.w + layer.n * layer.k, layer.b, lane);
        put_zeros(sums, layer.b + layer.n, layer.alpha, lane);
#if LEARNS
        if (above > 1u) {
#if PER_CHANNEL
            put_zeros(sums, below.alpha + below.n, behind(below), lane);
#else
            // Its columns lie over WIDTH4 lanes.
            workgroupBarrier();
            drained[lane] = of_layer;
            workgroupBarrier();
            if (lane == 0u) {
                var sum = vec4<f32>();
                for (var i = 0u; i < WIDTH4; i += 1u) {
                    sum += drained[i];
                }
                put_sum(sums, below.alpha, (sum.x + sum.y) + (sum.z + sum.w));
            }
            put_zeros(sums, below.alpha + 1u, behind(below), lane);
#end
        }
#end
#end
    }
}
