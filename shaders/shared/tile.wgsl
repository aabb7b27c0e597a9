// The number of this workgroup's tile. More than 65,535 workgroups are folded into y; a dispatch that is one piece of a
// longer one starts at its first tile.
fn workgroup_number(id: vec3<u32>) -> u32 {
    return P.first + id.x + id.y * P.grid_x;
}
