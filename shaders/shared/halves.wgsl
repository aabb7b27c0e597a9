// Matrix units multiply numbers of f16: how four elements of A, or of B, become those. As they are, if they are f16 in storage; rounded (ROUND_A, ROUND_B),
// because WGSL leaves the rounding of f16(v) open; or as sums of two numbers of f16 (SPLIT_A, SPLIT_B). With SCALE_A each row of A is multiplied by a power
// of two before, with SCALE_B each column of B, so that its largest magnitude lies in [2^14, 2^15): nothing overflows, and what vanishes is small beside it.
#use bits
#if SPLIT
struct Halves {
    high: vec4<f16>,
    low: vec4<f16>,
}

// The nearest of 11 significant bits, which is a number of f16 from 2^-14 on. On the bits: compilers take v - f32(f16(v)) for 0.
fn eleven_bits(v: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>((bitcast<vec4<u32>>(v) + vec4<u32>(0x1000u)) & vec4<u32>(0xffffe000u));
}

// The difference is exact, and has 13 bits at most.
fn halves(v: vec4<f32>) -> Halves {
    let high = eleven_bits(v);
    return Halves(vec4<f16>(high), vec4<f16>(eleven_bits(v - high)));
}
#end

#if SPLIT_A
alias AHalf = Halves;
#else
alias AHalf = vec4<f16>;
#end
#if SPLIT_B
alias BHalf = Halves;
#else
alias BHalf = vec4<f16>;
#end

fn a_half(v: vec4<f32>, scale: vec4<f32>) -> AHalf {
#if SCALE_A
    let u = v * scale;
#else
    let u = v;
#end
#if SPLIT_A
    return halves(u);
#else
#if ROUND_A
    return vec4<f16>(vec4<f32>(f16_rounded(u.x), f16_rounded(u.y), f16_rounded(u.z), f16_rounded(u.w)));
#else
    return vec4<f16>(u);
#end
#end
}

fn b_half(v: vec4<f32>, scale: vec4<f32>) -> BHalf {
#if SCALE_B
    let u = v * scale;
#else
    let u = v;
#end
#if SPLIT_B
    return halves(u);
#else
#if ROUND_B
    return vec4<f16>(vec4<f32>(f16_rounded(u.x), f16_rounded(u.y), f16_rounded(u.z), f16_rounded(u.w)));
#else
    return vec4<f16>(u);
#end
#end
}

#if SCALED
// The exponent of the power of two for a row or column with this largest magnitude. At most 126, so that the inverse is not subnormal.
fn exponent_for(largest: f32) -> i32 {
    return min(141 - i32(bitcast<u32>(largest) >> 23u), 126);
}

// That of a row or column with an infinity or a NaN, and of no other.
const NOT_FINITE = -114;

fn powers2(n: vec4<i32>) -> vec4<f32> {
    return vec4<f32>(power2(n.x), power2(n.y), power2(n.z), power2(n.w));
}

// v / 2^n, which is exact unless it is subnormal. In two steps: 2^-n may be beyond f32, and v / 2^n not.
fn divided(v: f32, n: i32) -> f32 {
    let half = n / 2;
    return opaque(v * power2(-half)) * power2(half - n);
}

// Four sums of a row as if nothing had been scaled, by the exponents of the row of A and of the columns of B; NaN where an infinity or a NaN is in the row
// or the column.
fn unscaled(v: vec4<f32>, row: i32, cols: vec4<i32>) -> vec4<f32> {
    let a = vec4<i32>(row);
    let n = a + cols;
    let finite = vec4<f32>(divided(v.x, n.x), divided(v.y, n.y), divided(v.z, n.z), divided(v.w, n.w));
    let spoilt = bitcast<vec4<f32>>(bitcast<vec4<u32>>(v) | vec4<u32>(0x7fc00000u));
    return select(finite, spoilt, (a == vec4<i32>(NOT_FINITE)) | (cols == vec4<i32>(NOT_FINITE)));
}
#end
