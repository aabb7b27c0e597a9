// Questions that WGSL's comparisons and builtins do not answer reliably: they are asked on the bits.

// `x != x` is always false on some drivers, and min, max and clamp drop NaN; the exponent and fraction do not lie.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_zero(x: f32) -> bool {
    return (bitcast<u32>(x) << 1u) == 0u;
}

fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) << 1u) == 0xff000000u;
}

// A NaN, made of x: WGSL has no constant that is one.
fn nan_of(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u);
}

// v, or NaN where z is NaN.
fn keep_nan(v: f32, z: f32) -> f32 {
    return select(v, z, is_nan(z));
}

// v, or NaN where z or the parameter is NaN.
fn keep_nans(v: f32, z: f32, parameter: f32) -> f32 {
    return select(keep_nan(v, z), parameter, is_nan(parameter));
}

// x, behind a door that no algebra passes: compilers multiply out (z + 3) / 6, and make a / (b c) of a / b / c, whose divisor
// may overflow.
fn opaque(x: f32) -> f32 {
#if PASTED
    // In a host's shader there is no parameter block: n (n + 1) is even, which compilers do not know either.
    let n = bitcast<u32>(x);
    return bitcast<f32>(n ^ ((n * (n + 1u)) & 1u));
#else
    return bitcast<f32>(bitcast<u32>(x) ^ P.zero);
#end
}

// a / b, also for |b| > 2^126, whose reciprocal is subnormal: some devices multiply by it, and it is 0 to them.
fn over(a: f32, b: f32) -> f32 {
    let scale = select(1.0, 0x1p-64f, abs(b) > 0x1p+100f);
    return (a * scale) / opaque(b * scale);
}

// min(|x|, cap), and NaN for NaN. A comparison that is false for NaN would not do: some compilers turn it round.
fn capped_abs(x: f32, cap: f32) -> f32 {
    let a = abs(x);
    return keep_nan(select(a, cap, a > cap), x);
}

// The same with a cap for NaN, in two instructions: for where NaN goes another way.
fn capped_bits(x: f32, cap: f32) -> f32 {
    return bitcast<f32>(min(bitcast<u32>(x) & 0x7fffffffu, bitcast<u32>(cap)));
}

// -inf to -0, in one instruction, and no NaN: as integers their bits lie below those of a NaN with a sign.
fn is_negative(x: f32) -> bool {
    return bitcast<i32>(x) <= -8388608;
}

// 2^n for n in [-126, 127].
fn power2(n: i32) -> f32 {
    return bitcast<f32>((n << 23u) + 0x3f800000);
}

// The magnitude of v with the sign of x.
fn with_sign(v: f32, x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(v) & 0x7fffffffu) | (bitcast<u32>(x) & 0x80000000u));
}

// The upper 12 bits of the significand: the product of two heads is exact. Splitting by a mask survives the driver's
// algebra; error-free transforms such as (a + b) - a do not.
fn head(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

const LARGEST: f32 = 0x1.fffffep+127;
