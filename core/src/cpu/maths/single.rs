//! The functions of f32: exp, exp2, expm1, log, log1p, sinh, cosh, tanh, sigmoid and erf in f32, the others by way of
//! f64.
//!
//! The fits are made as those of [`double`](super::double).

use super::double;
use super::pair::reduce_huge;
use super::{Maths, polynomial};

mod angles;
mod hyperbolic;
mod powers;

pub use super::rounding::single::*;
pub use angles::{acos, asin, atan, atan2, tan, tan_moderate};
pub use hyperbolic::{acosh, asinh, atanh, cosh, sinh};
pub use powers::{cbrt, exp2, hypot, log2, log10};

const LN2_HIGH: f32 = 0.693_145_75;
const LN2_LOW: f32 = 1.4286068e-6;

/// 1.5 2²³: adding it rounds to an integer (ties to even) and leaves that in the low bits.
const ROUNDER: f32 = 12582912.0;

/// A power of two, as an integer in f32 and in the low bits of a u32.
#[derive(Clone, Copy)]
struct Exponent {
    value: f32,
    bits: u32,
}

/// x to the nearest integer, for |x| < 2²².
#[inline(always)]
fn nearest(x: f32) -> Exponent {
    let shifted = x + ROUNDER;
    Exponent { value: shifted - ROUNDER, bits: shifted.to_bits() }
}

/// 2ⁿ for the n in the low bits, -126 <= n <= 127.
#[inline(always)]
fn power(bits: u32) -> f32 {
    f32::from_bits(bits.wrapping_add(127) << 23)
}

/// x 2ⁿ for the n of [`nearest`], rounded once, for x near 1 and |n| <= 252: 2ⁿ as a product, of which the first part is
/// exact. Below the bits of n there is room for its half.
#[inline(always)]
fn scale(x: f32, bits: u32) -> f32 {
    let half = bits >> 1;
    x * power(half) * power(bits.wrapping_sub(half))
}

/// x within [low, high]; NaN stays.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// (s, e) with s = fl(a + b) and s + e = a + b exactly, for |a| >= |b| or a = 0 (Dekker 1971).
#[inline(always)]
fn fast_two_sum(a: f32, b: f32) -> (f32, f32) {
    let sum = a + b;
    (sum, b - (sum - a))
}

/// (n, r, t) with x = n ln 2 + r + a rest, |r| <= 0.35, and e^(r + rest) - 1 = r + t: Cody and Waite's reduction with ln 2
/// in two parts; (e^r - 1 - r) / r² by a polynomial of degree 5, 2⁻³²·⁰.
#[inline(always)]
fn exponential(x: f32) -> (Exponent, f32, f32) {
    let n = nearest(x * std::f32::consts::LOG2_E);
    let r = x - n.value * LN2_HIGH;
    let low = -(n.value * LN2_LOW);
    let sum = r + low;
    let q = polynomial!(sum; 0.5, 0.16666666, 0.04166636, 0.00833339, 0.0013940668, 0.00019845882);
    (n, r, low + sum * sum * q)
}

/// (n, p, e) with exp(x) = (p + e) 2ⁿ, p in [0.7, 1.42].
#[inline(always)]
fn exp_pair(x: f32) -> (Exponent, f32, f32) {
    let (n, r, tail) = exponential(x);
    let (sum, error) = fast_two_sum(1.0, r);
    let (p, error) = fast_two_sum(sum, error + tail);
    (n, p, error)
}

/// exp: see [`exponential`]. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (n, p, _) = exp_pair(clamp(x, -105.0, 89.0));
    scale(p, n.bits)
}

/// expm1: 2ⁿ (e^r - 1) + (2ⁿ - 1) with the error of the sum kept, see [`exponential`]. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    let (n, r, tail) = exponential(clamp(x, -20.0, 89.0));
    // Half of the result, so that 2ⁿ does not overflow before it does.
    let scale = power(n.bits.wrapping_sub(1));
    let offset = scale - 0.5;
    let lost = -0.5 - (offset - scale);
    let (sum, error) = fast_two_sum(offset, scale * r);
    let result = (sum + (error + scale * tail + lost)) * 2.0;
    if x.abs() < 1e-8 { x } else { result }
}

const SQRT_HALF: u32 = 0x3F35_04F3;

/// (k, f) with x = 2ᵏ (1 + f), 1 + f in [√½, √2), for normal x > 0.
#[inline(always)]
fn decompose(x: f32) -> (f32, f32) {
    let bits = x.to_bits().wrapping_add(0x3F80_0000 - SQRT_HALF);
    let k = (bits >> 23) as i32 - 127;
    let m = f32::from_bits((bits & ((1 << 23) - 1)) + SQRT_HALF);
    (k as f32, m - 1.0)
}

/// k ln 2 + log(1 + f) + c for |f| <= 0.42 and a small c: log(1 + f) = 2 atanh(s) with s = f / (2 + f), as
/// f - (f²/2 - s (f²/2 + R)) (Tang 1990); R / s² by a polynomial of degree 2 in s², 2⁻³⁰·².
#[inline(always)]
fn logarithm(k: f32, f: f32, c: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * polynomial!(z; 0.66666776, 0.39977518, 0.29872417);
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + r) + (k * LN2_LOW + c))) - f)
}

/// log: see [`logarithm`]. At most 1 ulp; domain: x >= 0.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let (k, f) = decompose(if subnormal { x * 16777216.0 } else { x });
    let result = logarithm(if subnormal { k - 24.0 } else { k }, f, 0.0);
    let outside = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    let result = if x > 0.0 { result } else { outside };
    if x < f32::INFINITY { result } else { x }
}

/// log1p: the logarithm of u = fl(1 + x) with the correction (1 + x - u) / u, or of 1 + x itself where u needs no
/// scaling, see [`logarithm`]. At most 1 ulp; domain: x >= -1.
#[inline(always)]
pub fn log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let (k, f) = decompose(u);
    let lost = if x < 1.0 { x - (u - 1.0) } else { 1.0 - (u - x) };
    let unscaled = k == 0.0;
    let correction = if unscaled { 0.0 } else { lost / u };
    let result = logarithm(k, if unscaled { x } else { f }, correction);
    let result = if x.abs() < 1e-8 { x } else { result };
    let outside = if x == -1.0 { f32::NEG_INFINITY } else { f32::NAN };
    let result = if x > -1.0 { result } else { outside };
    if x < f32::INFINITY { result } else { x }
}

/// tanh: x + x³ P(x²) below 0.5625 with P of degree 4, 2⁻²⁹·⁵; 1 - 2 / (exp(2 |x|) + 1) above. At most 1.5 ulp; domain:
/// all x.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let z = x * x;
    let small = x + x * (z * polynomial!(z; -0.33333313, 0.13332452, -0.05383743, 0.021007458, -0.0061798077));
    let (n, p, _) = exp_pair(2.0 * clamp(magnitude, 0.0, 10.0));
    let large = 1.0 - 2.0 / (p * power(n.bits) + 1.0);
    (if magnitude < 0.5625 { small } else { large }).copysign(x)
}

/// sigmoid: with e = exp(-|x|), 1 / (1 + e) for x >= 0 and e / (1 + e) for x < 0, corrected by the rounding errors of
/// e and 1 + e. At most 1.5 ulp; domain: all x.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let (n, p, p_error) = exp_pair(-clamp(x.abs(), 0.0, 105.0));
    let e = scale(p, n.bits);
    let (sum, sum_error) = fast_two_sum(1.0, e);
    let negative = x < 0.0;
    let quotient = if negative { e } else { 1.0 } / sum;
    // The errors relative to p and to the sum, with lines for 1/p on [0.7, 1.42] and 1/sum on [1, 2]: 6 % is enough.
    let p_relative = if negative { p_error * (2.06 - p) } else { 0.0 };
    let sum_relative = (sum_error + p_error * e) * (1.457 - 0.5 * sum);
    quotient + quotient * (p_relative - sum_relative)
}

/// erf: x + x P(x²) below 1 with P of degree 6, 2⁻²⁹·⁶; 1 - exp(-Q(|x| - 1)) above with Q of degree 6 fitted on [1, 4],
/// 2⁻²⁹·⁸. At most 1.5 ulp; domain: all x.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let z = x * x;
    let small = x + x * polynomial!(z;
        0.12837917, -0.37612626, 0.112835854, -0.026853813, 0.0051883277, -0.0008010196, 7.853869e-05,
    );
    let t = clamp(magnitude, 1.0, 4.0) - 1.0;
    let q = polynomial!(t;
        1.8496056, 2.6389668, 0.8431176, 0.041503496, -0.009895461, 0.0018293825, -0.00018637886,
    );
    let (n, p, _) = exp_pair(-q);
    let large = 1.0 - p * power(n.bits);
    if magnitude < 1.0 { small } else { large.copysign(x) }
}

/// erfinv, in f64: x R(x²) for |x| <= 0.85 with R rational of degrees 4 and 4, 2⁻³¹·⁷; S(√-log(1 - |x|)) above with S
/// rational of degrees 4 and 4, 2⁻³⁴·⁹. At most 1 ulp; domain: [-1, 1].
#[inline(always)]
pub fn erfinv(x: f32) -> f32 {
    let x = f64::from(x);
    let magnitude = x.abs();
    let z = x * x;
    let numerator = polynomial!(z;
        0.8862269257083264, -1.910265480798727, 1.3409826529807807, -0.3256022345610262, 0.015304404333864508,
    );
    let denominator = polynomial!(z;
        1.0, -2.4173031225462513, 2.0020528064941683, -0.6412689149597167, 0.05974890591774548,
    );
    let central = x * (numerator / denominator);
    let t = (-double::log(1.0 - magnitude)).sqrt();
    let numerator = polynomial!(t;
        -0.0275028342224234, 0.18331477284002146, 0.34812196843489734, 1.8984315002460503, 0.5593625317543881,
    );
    let denominator = polynomial!(t;
        1.0, 1.166220597786459, 1.9270760786633943, 0.5582455978435861, 2.8255367643897757e-05,
    );
    let tail = if magnitude < 1.0 { numerator / denominator } else { t };
    (if magnitude <= 0.85 { central } else { tail.copysign(x) }) as f32
}

/// 1.5 2⁵²: [`ROUNDER`] of f64.
const ROUNDER_DOUBLE: f64 = 6755399441055744.0;

/// (q, r) with x = q π/2 + r for q modulo 4 in the low bits, |x| <= [`Maths::MODERATE`]: Cody and Waite's reduction with
/// 33 bits of π/2, whose product with q < 2²⁰ is exact, and a rest.
#[inline(always)]
fn reduce_moderate(x: f32) -> (u64, f64) {
    let x = f64::from(x);
    let shifted = x * std::f64::consts::FRAC_2_PI + ROUNDER_DOUBLE;
    let q = shifted - ROUNDER_DOUBLE;
    (shifted.to_bits(), (x - q * 1.5707963267341256) - q * 6.077100506506192e-11)
}

/// The sine and cosine of r for |r| <= 0.79: (sin r - r) / r³ by a polynomial of degree 2 in r², 2⁻²⁸·⁰;
/// (cos r - 1 + r²/2) / r⁴ by one of degree 2, 2⁻³³·⁰.
#[inline(always)]
fn series(r: f64) -> [f64; 2] {
    let z = r * r;
    let p = polynomial!(z; -0.1666665457438516, 0.008332158413342143, -0.00019514954373448844);
    let sin = r + r * (z * p);
    let p = polynomial!(z; 0.04166664561878707, -0.001388731306214246, 2.443278503179171e-05);
    [sin, 1.0 - z * (0.5 - z * p)]
}

/// sin(q π/2 + r) for |r| <= 0.79: see [`series`].
#[inline(always)]
fn sine(q: u64, r: f64) -> f32 {
    let [sin, cos] = series(r);
    let result = if q & 1 == 0 { sin } else { cos };
    f64::from_bits(result.to_bits() ^ ((q & 2) << 62)) as f32
}

/// sin for |x| <= [`Maths::MODERATE`], in f64: see [`reduce_moderate`] and [`sine`]. At most 1 ulp.
#[inline(always)]
pub fn sin_moderate(x: f32) -> f32 {
    let (q, r) = reduce_moderate(x);
    let result = sine(q, r);
    if x == 0.0 { x } else { result }
}

/// cos for |x| <= [`Maths::MODERATE`], in f64: see [`reduce_moderate`] and [`sine`]. At most 1 ulp.
#[inline(always)]
pub fn cos_moderate(x: f32) -> f32 {
    let (q, r) = reduce_moderate(x);
    sine(q.wrapping_add(1), r)
}

/// sin: [`sin_moderate`], or Payne and Hanek's reduction. At most 1 ulp; domain: finite x.
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    if x.abs() <= f32::MODERATE {
        return sin_moderate(x);
    }
    let (q, high, _) = reduce_huge(f64::from(x));
    sine(q, high)
}

/// cos: [`cos_moderate`], or Payne and Hanek's reduction. At most 1 ulp; domain: finite x.
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    if x.abs() <= f32::MODERATE {
        return cos_moderate(x);
    }
    let (q, high, _) = reduce_huge(f64::from(x));
    sine(q.wrapping_add(1), high)
}

/// (k, l) with log x = k ln 2 + l for normal x > 0: as [`logarithm`]'s, with a polynomial of degree 4, 2⁻⁴⁴.
#[inline(always)]
fn logarithm_double(x: f64) -> (f64, f64) {
    let (k, f) = double::decompose(x);
    let s = f / (2.0 + f);
    let z = s * s;
    let p =
        polynomial!(z; 2.0 / 3.0, 0.39999998171225226, 0.2857187448912895, 0.22184976712964055, 0.19468499325801336);
    (k, 2.0 * s + s * (z * p))
}

/// pow, in f64: exp(y log |x|), with the logarithm as [`logarithm_double`]'s and the exponential as [`exponential`]'s,
/// 2⁻³²·⁰. At most 1 ulp; domain: x >= 0, or an integer y.
#[inline(always)]
pub fn pow(x: f32, y: f32) -> f32 {
    let (x, y) = (f64::from(x), f64::from(y));
    let (k, rest) = logarithm_double(x.abs());
    let log = k * std::f64::consts::LN_2 + rest;
    let exponent = y * log;
    let clamped = if exponent < -110.0 { -110.0 } else { exponent };
    let clamped = if clamped > 90.0 { 90.0 } else { clamped };
    let shifted = clamped * std::f64::consts::LOG2_E + ROUNDER_DOUBLE;
    let r = clamped - (shifted - ROUNDER_DOUBLE) * std::f64::consts::LN_2;
    let e = polynomial!(r;
        1.0, 1.0, 0.5000000044267332, 0.16666666369729546, 0.04166636043092724, 0.008333389460842994,
        0.0013940668345630845, 0.00019845881288709348,
    );
    double::pow_special(x, y, exponent, e * double::power(shifted.to_bits())) as f32
}
