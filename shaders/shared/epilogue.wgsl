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

#if SAVE_MASK
fn bits_of(z: real, n: u32) -> u32 {
#if WIDE
    return u32(act_bit(z.x, parameters(n))) | (u32(act_bit(z.y, parameters(n + 1u))) << 1u)
        | (u32(act_bit(z.z, parameters(n + 2u))) << 2u) | (u32(act_bit(z.w, parameters(n + 3u))) << 3u);
#else
    return u32(act_bit(z, parameters(n)));
#end
}
#end

// Gives the terms of the column sums.
fn finish(row: u32, col: u32, lr: u32, lc: u32, split: u32, sum: real) -> Sums {
    let i = row * P.cols + col;
#if FORWARD
#if BIAS
    let z = sum + bias_item(col);
#else
    let z = sum;
#end
#if SAVE_Z
    saved_set(i, z);
#end
#if SAVE_MASK
    atomicOr(&tile_bits[lr * (BN / 32u) + lc / 32u], bits_of(z, col) << (lc & 31u));
#end
#if !NO_Y
#if RESIDUAL
    y_set(i, act_item(z, col) + residual_item(i));
#else
    y_set(i, act_item(z, col));
#end
#end
    return Sums();
#end
#if STORE
    if ((P.accumulate & 1u) != 0u) {
        c_set(i, c_item(i) + sum);
    } else {
        c_set(i, sum);
    }
    return Sums();
#end
#if CHAIN
    let dz = passed_item(sum, slope_item(row, col));
    c_set(i, dz);
#if SUM_DALPHA
    return Sums(dz, passed_item(sum, act_da_item(saved_item(i), col)));
#else
    return Sums(dz, real());
#end
#end
#if PARTIAL
    partials_set(split * P.rows * P.cols + i, sum);
    return Sums();
#end
}
