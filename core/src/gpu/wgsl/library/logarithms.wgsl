// Logarithms of f32 and functions made of them. Where the CPU computes in f64, pairs of f32 do.

// (k, f) with x = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), for finite x > 0.
fn decompose(x: f32) -> vec2<f32> {
    let bits = bitcast<u32>(x);
    let is_subnormal = bits < 0x800000u;
    // The bits of a subnormal number count how often it has 2^-149.
    let moved = select(bits, bitcast<u32>(f32(bits)), is_subnormal) + 0x4afb0du;
    let k = f32(bitcast<i32>(moved >> 23u) - 127i);
    let m = bitcast<f32>((moved & 0x7fffffu) + 0x3f3504f3u);
    return vec2<f32>(select(k, k - 149.0, is_subnormal), m - 1.0);
}

// k ln 2 + log(1 + f) + c for |f| <= 0.42 and a small c.
fn logarithm(k: f32, f: f32, c: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * (0.66666776 + z * (0.39977518 + z * 0.29872417));
    let half_square = 0.5 * f * f;
    return (k * 0.693145751953125) - ((half_square - ((s * (half_square + r)) + ((k * 1.4286068e-6) + c))) - f);
}

// What logarithms give where they have no finite value.
fn logarithm_outside(x: f32) -> f32 {
    if (is_nan(x) || bitcast<u32>(x) == 0x7f800000u) { return x; }
    if (is_zero(x)) { return -infinity(); }
    return not_a_number();
}

// Whether a logarithm has a finite value.
fn is_inside(x: f32) -> bool {
    let bits = bitcast<u32>(x);
    return bits != 0u && bits < 0x7f800000u;
}

fn log_f32(x: f32) -> f32 {
    if (!is_inside(x)) { return logarithm_outside(x); }
    let parts = decompose(x);
    return logarithm(parts.x, parts.y, 0.0);
}

// The logarithm of u = 1 + x as rounded, corrected by what was lost.
fn log1p_f32(x: f32) -> f32 {
    if (abs(x) < 1e-8) { return x; }
    let u = two_sum(1.0, x);
    if (!is_inside(u.x)) { return logarithm_outside(u.x); }
    let parts = decompose(u.x);
    if (parts.x == 0.0) { return logarithm(0.0, x, 0.0); }
    return logarithm(parts.x, parts.y, u.y / u.x);
}

// (k, a, b) with log(x + low) = k ln 2 + a + b, to 2^-35 of it.
fn logarithm_pair(x: f32, low: f32) -> vec3<f32> {
    let parts = decompose(x);
    let s = pair_quotient(vec2<f32>(parts.y, 0.0), fast_two_sum(2.0, parts.y));
    let square = pair_product(s, s);
    let cube = pair_product(s, square);
    let z = square.x;
    let r = (cube.x * z) * (0.4 + z * (0.28571874 + z * (0.22184977 + z * 0.194685)));
    let sum = pair_sum(2.0 * s, pair_product(cube, vec2<f32>(0.66666669, -1.98682155e-8)));
    return vec3<f32>(parts.x, fast_two_sum(sum.x, sum.y + (r + (low / x))));
}

// The sum of such parts.
fn natural(parts: vec3<f32>) -> vec2<f32> {
    return pair_sum(two_sum(parts.x * 0.693145751953125, parts.x * 1.42860677e-6), parts.yz);
}

fn log2_f32(x: f32) -> f32 {
    if (!is_inside(x)) { return logarithm_outside(x); }
    let parts = logarithm_pair(x, 0.0);
    return pair_sum(vec2<f32>(parts.x, 0.0), pair_product(parts.yz, vec2<f32>(1.44269502, 1.92596303e-8))).x;
}

fn log10_f32(x: f32) -> f32 {
    if (!is_inside(x)) { return logarithm_outside(x); }
    let parts = logarithm_pair(x, 0.0);
    let whole = two_sum(parts.x * 0.301025390625, parts.x * 4.60503907e-6);
    return pair_sum(whole, pair_product(parts.yz, vec2<f32>(0.434294492, -1.010305e-8))).x;
}

// x - x^3/6 for small x, log(|x| + sqrt(x^2 + 1)) above; beyond 8192 that is log(2 |x|).
fn asinh_f32(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x)) { return x; }
    let magnitude = abs(x);
    if (magnitude < 0.001953125) { return x - (x * ((x * x) * 0.16666667)); }
    if (magnitude > 8192.0) {
        return copy_sign(natural(logarithm_pair(magnitude, 0.0) + vec3<f32>(1.0, 0.0, 0.0)).x, x);
    }
    let root = pair_root(pair_sum(two_product(x, x), vec2<f32>(1.0, 0.0)));
    let sum = pair_sum(root, vec2<f32>(magnitude, 0.0));
    return copy_sign(natural(logarithm_pair(sum.x, sum.y)).x, x);
}

// log(x + sqrt(x^2 - 1)); beyond 8192 that is log(2 x).
fn acosh_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    if (x < 1.0) { return not_a_number(); }
    if (is_infinite(x)) { return x; }
    if (x > 8192.0) { return natural(logarithm_pair(x, 0.0) + vec3<f32>(1.0, 0.0, 0.0)).x; }
    let root = pair_root(pair_sum(two_product(x, x), vec2<f32>(-1.0, 0.0)));
    let sum = pair_sum(root, vec2<f32>(x, 0.0));
    return natural(logarithm_pair(sum.x, sum.y)).x;
}

// x + x^3/3 for small x, log((1 + |x|) / (1 - |x|)) / 2 above.
fn atanh_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let magnitude = abs(x);
    if (magnitude < 0.001953125) { return x + (x * ((x * x) * 0.33333334)); }
    if (magnitude >= 1.0) { return select(not_a_number(), copy_sign(infinity(), x), magnitude == 1.0); }
    let ratio = pair_quotient(two_sum(1.0, magnitude), two_sum(1.0, -magnitude));
    return copy_sign(0.5 * natural(logarithm_pair(ratio.x, ratio.y)).x, x);
}

// x R(x^2) for |x| <= 0.85, S(sqrt(-log(1 - |x|))) above, with R and S rational.
fn erfinv_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let magnitude = abs(x);
    if (magnitude >= 1.0) { return select(not_a_number(), copy_sign(infinity(), x), magnitude == 1.0); }
    // Of smaller ones, what pairs lack may be subnormal.
    if (magnitude < 1e-10) { return x - (x * 0.11377307); }
    if (magnitude <= 0.85) {
        let z = two_product(x, x);
        var n = pair_step(vec2<f32>(-0.325602233, -1.15114462e-9), z, vec2<f32>(0.0153044043, 2.29824163e-11));
        n = pair_step(vec2<f32>(1.34098268, -2.25715873e-8), z, n);
        n = pair_step(vec2<f32>(-1.91026545, -3.50894993e-8), z, n);
        n = pair_step(vec2<f32>(0.886226952, -2.63676316e-8), z, n);
        var d = pair_step(vec2<f32>(-0.641268909, -5.98220806e-9), z, vec2<f32>(0.0597489066, -7.24453053e-10));
        d = pair_step(vec2<f32>(2.00205278, 2.25281038e-8), z, d);
        d = pair_step(vec2<f32>(-2.41730309, -3.72191025e-8), z, d);
        d = pair_step(vec2<f32>(1.0, 0.0), z, d);
        return pair_product(vec2<f32>(x, 0.0), pair_quotient(n, d)).x;
    }
    let t = pair_root(-natural(logarithm_pair(1.0 - magnitude, 0.0)));
    var n = pair_step(vec2<f32>(1.89843154, -3.92894712e-8), t, vec2<f32>(0.559362531, 1.04607512e-9));
    n = pair_step(vec2<f32>(0.348121971, -2.45705523e-9), t, n);
    n = pair_step(vec2<f32>(0.18331477, 2.37989273e-9), t, n);
    n = pair_step(vec2<f32>(-0.0275028348, 5.74482129e-10), t, n);
    var d = pair_step(vec2<f32>(0.558245599, -1.42628087e-9), t, vec2<f32>(2.82553683e-5, -6.62520169e-13));
    d = pair_step(vec2<f32>(1.9270761, -2.2639707e-8), t, d);
    d = pair_step(vec2<f32>(1.16622055, 5.20177217e-8), t, d);
    d = pair_step(vec2<f32>(1.0, 0.0), t, d);
    return copy_sign(pair_quotient(n, d).x, x);
}

// x^y for finite x > 0 and y: e^(y log x).
fn positive_power(x: f32, y: f32) -> f32 {
    let log = natural(logarithm_pair(x, 0.0));
    let estimate = y * log.x;
    if (abs(estimate) > 120.0) { return select(infinity(), 0.0, estimate < 0.0); }
    let exponent = pair_product(vec2<f32>(y, 0.0), log);
    let parts = exponential_pair(clamp(exponent.x, -110.0, 90.0));
    return scaled(parts.y + (parts.z + (parts.y * exponent.y)), parts.x);
}

// With the special cases of IEEE 754.
fn pow_f32(x: f32, y: f32) -> f32 {
    if (is_zero(y) || bitcast<u32>(x) == 0x3f800000u) { return 1.0; }
    if (is_nan(x) || is_nan(y)) { return not_a_number(); }
    let size = abs(y);
    let is_integer = size >= 8388608.0 || floor(size) == size;
    let is_odd = is_integer && size < 16777216.0 && (u32(min(size, 16777216.0)) & 1u) == 1u;
    let magnitude = abs(x);
    var result = 1.0;
    if (is_zero(x) || is_infinite(x)) {
        result = select(infinity(), 0.0, is_zero(x) != is_negative(y));
    } else if (is_infinite(y)) {
        if (magnitude != 1.0) { result = select(infinity(), 0.0, (magnitude < 1.0) != is_negative(y)); }
    } else if (is_negative(x) && !is_integer) {
        return not_a_number();
    } else {
        result = positive_power(magnitude, y);
    }
    return select(result, -result, is_odd && is_negative(x));
}
