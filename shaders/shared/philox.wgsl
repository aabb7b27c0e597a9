// Random words by counter, Philox 4x32-10 (Salmon et al. 2011): the twin of src/philox.rs, bit for bit.

// The upper and the lower word of a · b: of 16-bit halves, because WGSL has no product of 64 bits.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let low = al * bl;
    let lh = al * bh;
    let hl = ah * bl;
    let middle = (low >> 16u) + (lh & 0xffffu) + (hl & 0xffffu);
    return vec2<u32>(ah * bh + (lh >> 16u) + (hl >> 16u) + (middle >> 16u), (middle << 16u) | (low & 0xffffu));
}

// a + b modulo 2^32, as signed numbers, for which WGSL says so; a sum of u32 that wraps is a mistake everywhere else.
fn wrapping_sum(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<i32>(a) + bitcast<i32>(b));
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
#for round in 10
    let first_{round} = wide_product(0xd2511f53u, c.x);
    let second_{round} = wide_product(0xcd9e8d57u, c.z);
    c = vec4<u32>(second_{round}.x ^ c.y ^ k.x, second_{round}.y, first_{round}.x ^ c.w ^ k.y, first_{round}.y);
    k = vec2<u32>(wrapping_sum(k.x, 0x9e3779b9u), wrapping_sum(k.y, 0xbb67ae85u));
#end
    return c;
}
