// Exponentials of f32 and functions made of them, with the polynomials of the CPU.

// (n, r, t) with x = n ln 2 + r + a rest, |r| <= 0.35, and e^(r + rest) - 1 = r + t.
fn exponential(x: f32) -> vec3<f32> {
    let n = round(x * 1.4426950408889634);
    let r = opaque(x - (n * 0.693145751953125));
    let low = -(n * 1.4286068e-6);
    let s = opaque(r + low);
    let q = 0.5 + s * (0.16666666 + s * (0.04166636 + s * (0.00833339 + s * (0.0013940668 + s * 0.00019845882))));
    return vec3<f32>(n, r, low + (s * s) * q);
}

// (n, p, e) with e^x = (p + e) 2^n, p in [0.7, 1.42].
fn exponential_pair(x: f32) -> vec3<f32> {
    let parts = exponential(x);
    let sum = fast_two_sum(1.0, parts.y);
    return vec3<f32>(parts.x, fast_two_sum(sum.x, sum.y + parts.z));
}

fn exp_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let parts = exponential_pair(clamp(x, -105.0, 89.0));
    return scaled(parts.y, parts.x);
}

// 2^n 2^r with r = x - n.
fn exp2_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let y = clamp(x, -152.0, 129.0);
    let n = round(y);
    let r = y - n;
    let p = 0.24022648 + r * (0.055503324 + r * (0.009618438 + r * (0.0013398874 + r * 0.0001535334)));
    let sum = fast_two_sum(1.0, opaque(r * 0.6931471805599453));
    return scaled(sum.x + (sum.y + (r * r) * p), n);
}

// 2^n (e^r - 1) + (2^n - 1), of which half is computed, so that 2^n does not overflow before it does.
fn expm1_f32(x: f32) -> f32 {
    if (is_nan(x) || abs(x) < 1e-8) { return x; }
    let parts = exponential(clamp(x, -20.0, 89.0));
    let scale = power_of_two(parts.x - 1.0);
    let offset = two_sum(scale, -0.5);
    let sum = fast_two_sum(offset.x, opaque(scale * parts.y));
    return (sum.x + (sum.y + ((scale * parts.z) + offset.y))) * 2.0;
}

// x + x^3 P(x^2) below 0.5625, 1 - 2 / (e^(2 |x|) + 1) above.
fn tanh_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let magnitude = abs(x);
    if (magnitude < 0.5625) {
        let z = x * x;
        let p = -0.33333313 + z * (0.13332452 + z * (-0.05383743 + z * (0.021007458 + z * -0.0061798077)));
        return x + x * (z * p);
    }
    let parts = exponential_pair(2.0 * min(magnitude, 10.0));
    return copy_sign(1.0 - (2.0 / ((parts.y * power_of_two(parts.x)) + 1.0)), x);
}

// e / (1 + e) for x < 0 and 1 / (1 + e) above, with e = e^-|x|.
fn sigmoid_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let parts = exponential_pair(-min(abs(x), 105.0));
    let e = vec2<f32>(scaled(parts.y, parts.x), scaled(parts.z, parts.x));
    let sum = fast_two_sum(1.0, e.x);
    let numerator = select(vec2<f32>(1.0, 0.0), e, x < 0.0);
    return pair_quotient(numerator, vec2<f32>(sum.x, sum.y + e.y)).x;
}

// x + x P(x^2) below 1, 1 - e^-Q(|x| - 1) above.
fn erf_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let magnitude = abs(x);
    if (magnitude < 1.0) {
        let z = x * x;
        let p = 0.112835854 + z * (-0.026853813 + z * (0.0051883277 + z * (-0.0008010196 + z * 7.853869e-5)));
        return x + x * (0.12837917 + z * (-0.37612626 + z * p));
    }
    let t = min(magnitude, 4.0) - 1.0;
    let p = 0.041503496 + t * (-0.009895461 + t * (0.0018293825 + t * -0.00018637886));
    let parts = exponential_pair(-(1.8496056 + t * (2.6389668 + t * (0.8431176 + t * p))));
    return copy_sign(1.0 - (parts.y * power_of_two(parts.x)), x);
}

// (n, p, e, q) with e^x = (p + e) 2^n and e^-x = q 2^n, for x >= 0; for large x, q is too small to matter.
fn both_exponentials(x: f32) -> vec4<f32> {
    let parts = exponential_pair(min(x, 90.0));
    return vec4<f32>(parts, power_of_two(-2.0 * min(parts.x, 20.0)) / parts.y);
}

// x + x^3 P(x^2) below 1, (e^x - e^-x) / 2 above.
fn sinh_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let magnitude = abs(x);
    if (magnitude < 1.0) {
        let z = x * x;
        return x + x * (z * (0.16666667 + z * (0.00833335 + z * (0.0001983616 + z * 2.8169513e-6))));
    }
    let parts = both_exponentials(magnitude);
    return copy_sign(scaled(parts.y + (parts.z - parts.w), parts.x - 1.0), x);
}

fn cosh_f32(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let parts = both_exponentials(abs(x));
    return scaled(parts.y + (parts.z + parts.w), parts.x - 1.0);
}
