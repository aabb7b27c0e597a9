// What happens to a finished sum before it is stored. (lr, lc) is the element's place in the workgroup's tile.
//   FORWARD  z = sum + b, saved as asked; y = act(z; α) (+ residual)
//   STORE    a gradient: overwritten, or added to
//   CHAIN    dz of the layer below: dx ⊙ act'(z below), with its column sums for db and dα
//   PARTIAL  one split of the reduction, summed later by split_sum
#use slope
#if SAVE_MASK
// The tile's bits are gathered in workgroup memory, so that each word of the mask is stored once, whole.
const TILE_WORDS = BM * ((BN + 31u) / 32u);
var<workgroup> tile_bits: array<atomic<u32>, TILE_WORDS>;

fn clear_bits(lane: u32) {
    for (var w = lane; w < TILE_WORDS; w += LANES) {
        atomicStore(&tile_bits[w], 0u);
    }
    workgroupBarrier();
}

fn store_bits(lane: u32, row0: u32, col0: u32) {
    workgroupBarrier();
    let words = (P.cols + 31u) >> 5u;
    for (var w = lane; w < TILE_WORDS; w += LANES) {
        let row = row0 + w / (BN / 32u);
        let word = (col0 >> 5u) + w % (BN / 32u);
        if (row < P.rows && word < words) {
            saved_put(row * words + word, atomicLoad(&tile_bits[w]));
        }
    }
}
#end

fn finish(row: u32, col: u32, lr: u32, lc: u32, split: u32, sum: f32) -> vec2<f32> {
    let i = row * P.cols + col;
#if FORWARD
#if BIAS
    let z = sum + bias_at(col);
#else
    let z = sum;
#end
#if SAVE_Z
    saved_put(i, z);
#end
    let p = parameters(col);
#if SAVE_MASK
    if (act_bit(z, p)) {
        atomicOr(&tile_bits[lr * (BN / 32u) + lc / 32u], 1u << (lc & 31u));
    }
#end
#if !NO_Y
#if RESIDUAL
    y_put(i, act(z, p) + residual_at(i));
#else
    y_put(i, act(z, p));
#end
#end
    return vec2<f32>();
#end
#if STORE
    if ((P.accumulate & 1u) != 0u) {
        c_put(i, c_at(i) + sum);
    } else {
        c_put(i, sum);
    }
    return vec2<f32>();
#end
#if CHAIN
    let dz = sum * slope_at(row, col);
    c_put(i, dz);
#if SUM_DALPHA
    return vec2<f32>(dz, sum * act_da(saved_at(i), parameters(col)));
#else
    return vec2<f32>(dz, 0.0);
#end
#end
#if PARTIAL
    partials_put(split * P.rows * P.cols + i, sum);
    return vec2<f32>();
#end
}
