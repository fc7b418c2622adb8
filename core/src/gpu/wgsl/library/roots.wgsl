// Roots of f32, and division with remainder.

// By an estimate from its bits, two of Halley's steps, and one of Newton's with the cube as a pair.
fn cbrt_f32(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x) || is_zero(x)) { return x; }
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    let is_subnormal = bits < 0x800000u;
    // The bits of a subnormal number count how often it has 2^-149; 2^-150 has a root that is a power of two.
    let normal = select(bits, bitcast<u32>(f32(bits) * 2.0), is_subnormal);
    // x = m 2^(3 (third - 43)) with m in [1, 8).
    let third = ((normal >> 23u) + 2u) / 3u;
    let m = bitcast<f32>((normal + (129u << 23u)) - ((3u * third) << 23u));
    var t = bitcast<f32>((bitcast<u32>(m) / 3u) + 0x2a514067u);
    for (var step = 0u; step < 2u; step += 1u) {
        let cube = t * t * t;
        t = t * ((cube + (2.0 * m)) / ((2.0 * cube) + m));
    }
    t = opaque(t);
    let cube = pair_product(vec2<f32>(t, 0.0), two_product(t, t));
    let root = t + ((opaque(m - cube.x) - cube.y) / (3.0 * t * t));
    return copy_sign(root * power_of_two(f32(third) - select(43.0, 93.0, is_subnormal)), x);
}

// sqrt(x^2 + y^2), scaled by a power of two that makes the greater one less than 2.
fn hypot_f32(x: f32, y: f32) -> f32 {
    if (is_infinite(x) || is_infinite(y)) { return infinity(); }
    if (is_nan(x) || is_nan(y)) { return not_a_number(); }
    let exponent = max(bitcast<u32>(max(abs(x), abs(y))) >> 23u, 1u);
    let scale = bitcast<f32>((254u - min(exponent, 253u)) << 23u);
    let a = opaque(x * scale);
    let b = opaque(y * scale);
    let root = pair_root(pair_sum(two_product(a, a), two_product(b, b))).x;
    return root * bitcast<f32>(min(exponent, 253u) << 23u);
}

// The whole part of |x| / |y|, rounded, and the remainder, exact: long division of the mantissas, 6 bits at a time.
fn division_f32(x: f32, y: f32) -> vec2<f32> {
    let a = bitcast<u32>(x) & 0x7fffffffu;
    let b = bitcast<u32>(y) & 0x7fffffffu;
    if (a >= 0x7f800000u || b > 0x7f800000u || b == 0u) { return vec2<f32>(not_a_number(), not_a_number()); }
    if (a < b) { return vec2<f32>(0.0, abs(x)); }
    let dividend = select((a & 0x7fffffu) | 0x800000u, a, a < 0x800000u);
    let divisor = select((b & 0x7fffffu) | 0x800000u, b, b < 0x800000u);
    let least = max(b >> 23u, 1u);
    var shift = max(a >> 23u, 1u) - least;
    var quotient = dividend / divisor;
    var rest = dividend % divisor;
    var skipped = 0u;
    while (shift > 0u) {
        let step = min(shift, 6u);
        let next = rest << step;
        rest = next % divisor;
        shift -= step;
        // 32 bits of the quotient are kept; the last one says whether something is lost.
        if (quotient < 0x4000000u) {
            quotient = (quotient << step) | (next / divisor);
        } else {
            quotient |= select(0u, 1u, next >= divisor);
            skipped += step;
        }
    }
    let exponent = f32(least) - 150.0;
    return vec2<f32>(scaled(f32_of_u32(quotient), f32(skipped)), scaled(f32(rest), exponent));
}

// x - floor(x / y) y, with the sign of y.
fn remainder_f32(x: f32, y: f32) -> f32 {
    let rest = division_f32(x, y).y;
    let is_turned = is_negative(x) != is_negative(y) && !is_zero(rest);
    return copy_sign(select(rest, abs(y) - rest, is_turned), y);
}

// floor(x / y).
fn floor_divide_f32(x: f32, y: f32) -> f32 {
    if (is_zero(y)) {
        if (is_zero(x) || is_nan(x)) { return not_a_number(); }
        return select(infinity(), -infinity(), is_negative(x) != is_negative(y));
    }
    let parts = division_f32(x, y);
    if (is_negative(x) == is_negative(y)) { return parts.x; }
    return -select(parts.x + 1.0, parts.x, is_zero(parts.y));
}
