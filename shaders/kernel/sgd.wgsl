// velocity = momentum · velocity + gradient;  parameter −= rate · velocity   (p = (rate, momentum); PyTorch's SGD)
// With SCALED the gradient is that of a scaled loss, and nothing happens where some gradient was not finite. With COPY the
// parameter is also stored in the type that the products read.
#use tile
#use real
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let i = (tile * LANES + lane) * WIDTH;
    if (i >= P.rows) {
        return;
    }
#if SCALED
    let unscale = loss_scale_at(1u);
    if (unscale == 0.0) {
        return;
    }
    let gradient = gradient_item(i) * unscale;
#else
    let gradient = gradient_item(i);
#end
    let v = P.p.y * velocity_item(i) + gradient;
    velocity_set(i, v);
    let parameter = parameter_item(i) - P.p.x * v;
    parameter_set(i, parameter);
#if COPY
    copy_set(i, parameter);
#end
}
