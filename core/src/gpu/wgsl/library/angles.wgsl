// Sine, cosine and tangent of f32 and their inverses. Where the CPU computes in f64, pairs of f32 do.

// A word of zeros, then bits of 2/pi.
const TWO_OVER_PI = array<u32, 8>(
    0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu
);

// (q, a, b) with x = q pi/2 + a + b for q modulo 4 and |a| <= pi/4, for finite x: Payne and Hanek's reduction with 96 bits
// of 2/pi, 70 of which are right in the fraction.
fn quadrant(x: f32) -> vec3<f32> {
    if (abs(x) <= 0.78) { return vec3<f32>(0.0, x, 0.0); }
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    let mantissa = (bits & 0x7fffffu) | 0x800000u;
    // Bits of 2/pi whose product with |x| is a multiple of 4 are skipped.
    let skip = (bits >> 23u) - 120u;
    var table = TWO_OVER_PI;
    let word = skip >> 5u;
    let shift = vec2<u32>(skip & 31u, 0u);
    let third = wide_product(mantissa, shift_left_u64(vec2<u32>(table[word + 3u], table[word + 2u]), shift).y);
    let middle = wide_product(mantissa, shift_left_u64(vec2<u32>(table[word + 2u], table[word + 1u]), shift).y);
    let second = add_u64(middle, vec2<u32>(third.y, 0u));
    let first = (mantissa * shift_left_u64(vec2<u32>(table[word + 1u], table[word]), shift).y) + second.y;
    var fraction = vec2<u32>((second.x << 2u) | (third.x >> 30u), (first << 2u) | (second.x >> 30u));
    let is_above = fraction.y >= 0x80000000u;
    fraction = select(fraction, ~fraction, is_above);
    let zeros = select(32u + countLeadingZeros(fraction.x), countLeadingZeros(fraction.y), fraction.y != 0u);
    let top = shift_left_u64(fraction, vec2<u32>(zeros, 0u));
    let scale = power_of_two(-24.0 - f32(zeros));
    let low = f32(((top.y & 0xffu) << 16u) | (top.x >> 16u)) * 5.9604644775390625e-8;
    let turn = vec2<f32>(f32(top.y >> 8u), low) * scale;
    let angle = pair_product(turn, vec2<f32>(1.57079637, -4.37113883e-8));
    let quarter = (first >> 30u) + select(0u, 1u, is_above);
    let is_below = is_negative(x);
    return vec3<f32>(f32(select(quarter, 0u - quarter, is_below) & 3u), select(angle, -angle, is_above != is_below));
}

// The sine of a + b, |a| <= pi/4.
fn sine_pair(a: f32, b: f32) -> vec2<f32> {
    let z = a * a;
    let p = -0.16666654 + z * (0.0083321584 + z * -0.00019514955);
    return fast_two_sum(a, (a * (z * p)) + (b * (1.0 - (0.5 * z))));
}

// The cosine of a + b, |a| <= pi/4.
fn cosine_pair(a: f32, b: f32) -> vec2<f32> {
    let z = two_product(a, a);
    let p = 0.041666646 + z.x * (-0.0013887313 + z.x * 2.4432785e-5);
    let sum = fast_two_sum(1.0, -0.5 * z.x);
    return fast_two_sum(sum.x, sum.y + (((z.x * z.x) * p) - ((0.5 * z.y) + (a * b))));
}

// The sine of q pi/2 + a + b.
fn sine_of_parts(q: f32, a: f32, b: f32) -> f32 {
    let bits = u32(q);
    var result = 0.0;
    if ((bits & 1u) == 0u) {
        result = sine_pair(a, b).x;
    } else {
        result = cosine_pair(a, b).x;
    }
    return select(result, -result, (bits & 2u) != 0u);
}

fn sin_f32(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x)) { return not_a_number(); }
    let parts = quadrant(x);
    return sine_of_parts(parts.x, parts.y, parts.z);
}

fn cos_f32(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x)) { return not_a_number(); }
    let parts = quadrant(x);
    return sine_of_parts(parts.x + 1.0, parts.y, parts.z);
}

fn tan_f32(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x)) { return not_a_number(); }
    if (abs(x) < 1e-4) { return x + (x * ((x * x) * 0.33333334)); }
    let parts = quadrant(x);
    let sine = sine_pair(parts.y, parts.z);
    let cosine = cosine_pair(parts.y, parts.z);
    if ((u32(parts.x) & 1u) == 1u) { return pair_quotient(-cosine, sine).x; }
    return pair_quotient(sine, cosine).x;
}

// (asin m - m) / m for z = m^2 <= 0.25.
fn arcsine(z: f32) -> f32 {
    let p = 0.044516956 + z * (0.03180772 + z * (0.014438579 + z * 0.037516505));
    return z * (0.1666666 + z * (0.07500504 + z * p));
}

// The arcsine of sqrt((1 - x) / 2), for x in [0.5, 1].
fn half_arcsine(x: f32) -> vec2<f32> {
    let z = (1.0 - x) * 0.5;
    let root = pair_root(vec2<f32>(z, 0.0));
    return vec2<f32>(root.x, root.y + (root.x * arcsine(z)));
}

// c - 2 a, as one number.
fn less_twice(c: vec2<f32>, a: vec2<f32>) -> f32 {
    let sum = two_sum(c.x, -2.0 * a.x);
    return sum.x + (sum.y + (c.y - (2.0 * a.y)));
}

fn asin_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let magnitude = abs(x);
    if (magnitude > 1.0) { return not_a_number(); }
    if (magnitude <= 0.5) { return x + (x * arcsine(x * x)); }
    return copy_sign(less_twice(vec2<f32>(1.57079637, -4.37113883e-8), half_arcsine(magnitude)), x);
}

fn acos_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let magnitude = abs(x);
    if (magnitude > 1.0) { return not_a_number(); }
    if (magnitude <= 0.5) {
        let sum = two_sum(1.57079637, -x);
        return sum.x + (sum.y + (-4.37113883e-8 - (x * arcsine(x * x))));
    }
    let half = half_arcsine(magnitude);
    if (x > 0.0) { return 2.0 * (half.x + half.y); }
    return less_twice(vec2<f32>(3.14159274, -8.74227766e-8), half);
}

// The angle of the point (d, n) in [0, pi], or of (-d, n) if `back`, for d and n >= 0, not both 0: a multiple of pi/4 and
// the arctangent of the rest.
fn turn(n: f32, d: f32, back: bool) -> f32 {
    var base = select(vec2<f32>(0.0, 0.0), vec2<f32>(3.14159274, -8.74227766e-8), back);
    var numerator = vec2<f32>(n, 0.0);
    var denominator = vec2<f32>(d, 0.0);
    if (n > 2.414 * d) {
        base = vec2<f32>(1.57079637, -4.37113883e-8);
        numerator = vec2<f32>(-d, 0.0);
        denominator = vec2<f32>(n, 0.0);
    } else if (n > 0.66 * d) {
        base = select(vec2<f32>(0.785398185, -2.18556941e-8), vec2<f32>(2.35619450, -5.96244032e-9), back);
        numerator = two_sum(n, -d);
        denominator = two_sum(n, d);
    }
    let quotient = pair_quotient(numerator, denominator);
    let tangent = select(quotient, -quotient, back);
    let t = tangent.x;
    let z = t * t;
    let q = -0.14271447 + z * (0.10968626 + z * (-0.083058947 + z * (0.05163034 + z * -0.017820851)));
    let p = -0.33333322 + z * (0.1999931 + z * q);
    let sum = two_sum(base.x, t);
    return sum.x + (sum.y + (base.y + (tangent.y + (t * (z * p)))));
}

fn atan_f32(x: f32) -> f32 {
    if (is_nan(x) || abs(x) < 1e-4) { return x; }
    return copy_sign(turn(min(abs(x), 1e9), 1.0, false), x);
}

fn atan2_f32(y: f32, x: f32) -> f32 {
    if (is_nan(x) || is_nan(y)) { return not_a_number(); }
    var n = abs(y);
    var d = abs(x);
    if (is_infinite(n) || is_infinite(d)) {
        n = select(0.0, 1.0, is_infinite(n));
        d = select(0.0, 1.0, is_infinite(d));
    }
    if (is_zero(n) && is_zero(d)) { d = 1.0; }
    // So that neither their sum overflows nor a multiple of them is subnormal.
    let greater = max(n, d);
    let scale = select(select(1.0, 1.1529215e18, greater < 1e-15), 8.6736174e-19, greater > 1e15);
    return copy_sign(turn(opaque(n * scale), opaque(d * scale), is_negative(x)), y);
}
