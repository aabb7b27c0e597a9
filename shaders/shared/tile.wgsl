// More than 65,535 workgroups are folded into y: the number of this one.
fn workgroup_number(id: vec3<u32>) -> u32 {
    return id.x + id.y * P.grid_x;
}
