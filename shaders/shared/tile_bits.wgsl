// The mask's bits of a workgroup's tile are gathered in workgroup memory, so that each word of it is stored once, whole.
#if BITS
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
    let words = (P.cols + 31u) / 32u;
    for (var w = lane; w < TILE_WORDS; w += LANES) {
        let row = row0 + w / (BN / 32u);
        let word = col0 / 32u + w % (BN / 32u);
        if (row < P.rows && word < words) {
            saved_put(row * words + word, atomicLoad(&tile_bits[w]));
        }
    }
}
#end
