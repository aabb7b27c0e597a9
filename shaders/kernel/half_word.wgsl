// The lower half of a word; the upper half is somebody else's. (One invocation: nobody writes it meanwhile.)
@compute @workgroup_size(1)
fn main() {
    word_put(0u, (word_at(0u) & 0xffff0000u) | half_at(0u));
}
