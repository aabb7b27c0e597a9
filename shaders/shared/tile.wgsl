// The number of this workgroup's tile. More than 65,535 workgroups are folded into y; a dispatch that is one piece of a
// longer one starts at its first tile.
#if BATCHED
// The layer that this workgroup works for; the accessors add its place.
var<private> batch_index: u32;

fn workgroup_number(id: vec3<u32>) -> u32 {
    let number = id.x + id.y * P.grid_x;
    let each = P.tiles - P.first;
    let mine = number / each;
    batch_index = mine;
    // Past the last layer: past the last tile.
    return select(P.tiles, P.first + number % each, mine < P.batch);
}
#else
fn workgroup_number(id: vec3<u32>) -> u32 {
    return P.first + id.x + id.y * P.grid_x;
}
#end
