// Elements from one place to another, each dimension at a stride of its own on either side. Of dimension k, counted from the last one,
// P.batch_stride has the length, P.row_stride the stride in the source, and six places later that in the destination.
#use tile
fn length(k: u32) -> u32 {
    return P.batch_stride[k / 4u][k % 4u];
}

fn stride(k: u32) -> u32 {
    return P.row_stride[k / 4u][k % 4u];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let i = tile * LANES + lane;
    if (i < P.rows) {
        var rest = i;
        var taken = 0u;
        var put = 0u;
#for k in DIMENSIONS
        let at_{k} = rest % length({k}u);
        rest = rest / length({k}u);
        taken += at_{k} * stride({k}u);
        put += at_{k} * stride({k}u + 6u);
#end
#if BITS_ALONE
        destination_put(put, source_at(taken));
#else
        destination_set(put, source_item(taken));
#end
    }
}
