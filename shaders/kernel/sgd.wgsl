// velocity = momentum · velocity + gradient;  parameter −= rate · velocity   (p = (rate, momentum); PyTorch's SGD)
#use tile
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_number(wid) * LANES + lane;
    if (i >= P.rows) {
        return;
    }
    let v = P.p.y * velocity_at(i) + gradient_at(i);
    velocity_put(i, v);
    parameter_put(i, parameter_at(i) - P.p.x * v);
}
