// Between elements as they are stored and as they are computed in, and between what is computed in.

fn bits_of_bf16(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

// To nearest, of two the even one, without branches. The unit of small ones is that of numbers below 1 in f32, so adding
// 0.5 rounds them; a carry makes infinity of what is too large.
fn bits_of_f16(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let rest = bits & 0x7fffffffu;
    let small = bitcast<u32>(bitcast<f32>(rest) + 0.5) - 0x3f000000u;
    let normal = (rest - 0x37fff001u + ((rest >> 13u) & 1u)) >> 13u;
    let beyond = select(0x7c00u, 0x7e00u | ((rest >> 13u) & 0x3ffu), rest > 0x7f800000u);
    let finite = select(normal, small, rest < 0x38800000u);
    return ((bits >> 16u) & 0x8000u) | select(finite, beyond, rest >= 0x47800000u);
}

fn f16_of_bits(bits: u32) -> f32 {
    let rest = bits & 0x7fffu;
    let small = bitcast<u32>(f32(rest) * 5.9604644775390625e-8);
    let normal = (rest << 13u) + select(0x38000000u, 0x70000000u, rest >= 0x7c00u);
    return bitcast<f32>(((bits & 0x8000u) << 16u) | select(normal, small, rest < 0x400u));
}

fn round_to_f16(x: f32) -> f32 {
    return f16_of_bits(bits_of_f16(x));
}

fn round_to_bf16(x: f32) -> f32 {
    return bitcast<f32>(bits_of_bf16(x) << 16u);
}

// Truncates and saturates; NaN is 0.
fn i32_of_f32(x: f32) -> i32 {
    if (is_nan(x)) { return 0i; }
    if (x >= 2147483648.0) { return 2147483647i; }
    if (x <= -2147483648.0) { return bitcast<i32>(0x80000000u); }
    return i32(x);
}

// Truncates and saturates; NaN is 0.
fn u32_of_f32(x: f32) -> u32 {
    if (is_nan(x) || x < 1.0) { return 0u; }
    if (x >= 4294967296.0) { return 0xffffffffu; }
    if (x >= 2147483648.0) { return ((bitcast<u32>(x) & 0x7fffffu) | 0x800000u) << 8u; }
    return u32(x);
}

// The whole part of the magnitude, which is below 2^64.
fn magnitude_of_f32(x: f32) -> vec2<u32> {
    let bits = bitcast<u32>(x);
    let exponent = (bits >> 23u) & 0xffu;
    let mantissa = vec2<u32>((bits & 0x7fffffu) | 0x800000u, 0u);
    if (exponent < 127u) { return vec2<u32>(0u, 0u); }
    if (exponent < 150u) { return vec2<u32>(mantissa.x >> (150u - exponent), 0u); }
    return shift_left_u64(mantissa, vec2<u32>(exponent - 150u, 0u));
}

// Truncates and saturates; NaN is 0.
fn i64_of_f32(x: f32) -> vec2<u32> {
    if (is_nan(x)) { return vec2<u32>(0u, 0u); }
    if (x >= 9223372036854775808.0) { return vec2<u32>(0xffffffffu, 0x7fffffffu); }
    if (x <= -9223372036854775808.0) { return vec2<u32>(0u, 0x80000000u); }
    let magnitude = magnitude_of_f32(x);
    return select(magnitude, neg_u64(magnitude), x < 0.0);
}

// Truncates and saturates; NaN is 0.
fn u64_of_f32(x: f32) -> vec2<u32> {
    if (is_nan(x) || x < 1.0) { return vec2<u32>(0u, 0u); }
    if (x >= 18446744073709551616.0) { return vec2<u32>(0xffffffffu, 0xffffffffu); }
    return magnitude_of_f32(x);
}

// Some drivers convert what the sign bit is set in by halves, each rounded.
fn f32_of_u32(x: u32) -> f32 {
    if (x < 0x80000000u) { return f32(bitcast<i32>(x)); }
    return f32(bitcast<i32>((x >> 1u) | (x & 1u))) * 2.0;
}

// To nearest, of two the even one, by 32 bits of which the last says whether something is lost.
fn f32_of_u64(x: vec2<u32>) -> f32 {
    if (x.y == 0u) { return f32_of_u32(x.x); }
    let zeros = countLeadingZeros(x.y);
    let top = shift_left_u64(x, vec2<u32>(zeros, 0u));
    return f32_of_u32(top.y | select(0u, 1u, top.x != 0u)) * bitcast<f32>((159u - zeros) << 23u);
}

fn f32_of_i64(x: vec2<u32>) -> f32 {
    if (x.y < 0x80000000u) { return f32_of_u64(x); }
    return -f32_of_u64(neg_u64(x));
}
