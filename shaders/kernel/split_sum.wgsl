// Second stage of split-K: the partial products of each element are added in order, then the epilogue. One row and BN
// columns a workgroup.
#use tile
#use epilogue
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let row = tile / P.tiles_cols;
    let col0 = tile % P.tiles_cols * BN;
    let col = col0 + lane * WIDTH;
#if SAVE_MASK
    clear_bits(lane);
#end
    if (col < P.cols) {
        var sum = real();
        for (var s = 0u; s < P.chunk; s += 1u) {
            sum += partials_item(s * P.rows * P.cols + row * P.cols + col);
        }
        finish(row, col, 0u, col - col0, 0u, sum);
    }
#if SAVE_MASK
    store_bits(lane, row, col0);
#end
}
