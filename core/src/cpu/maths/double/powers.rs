//! Logarithms and powers of other bases, and roots, of f64.

use super::{clamp, decompose_any, exp_kernel, logarithm_parts, nearest, power, scale};
use crate::cpu::maths::pair::{fast_two_sum, two_product};
use crate::cpu::maths::polynomial;

/// A constant of 26 bits, or for factors of an exponent of 40, and what it lacks.
type Split = (f64, f64);

const LOG2_E: Split = (1.4426950514316559, -1.0542692476429138e-08);
const LOG10_E: Split = (0.4342944845557213, -2.6524694553078553e-09);
const LOG10_2: Split = (0.3010299956640665, -8.532344317057107e-14);
const LN2_REST: f64 = 2.3190468138462996e-17;

/// The logarithm to the base b of x > 0, given log_b(e) and log_b(2).
#[inline(always)]
fn log_to_base(x: f64, e: Split, two: Split) -> f64 {
    let (k, f) = decompose_any(x);
    let (half_square, rest) = logarithm_parts(f);
    // 26 bits, so that the product with those of the constant is exact.
    let high = f64::from_bits((f - half_square).to_bits() & !((1 << 27) - 1));
    let low = ((f - high) - half_square) + rest;
    let (sum, error) = fast_two_sum(k * two.0, high * e.0);
    let result = sum + (error + (k * two.1 + ((low + high) * e.1 + low * e.0)));
    let outside = if x == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
    let result = if x > 0.0 { result } else { outside };
    if x < f64::INFINITY { result } else { x }
}

/// log2: see [`log_to_base`]. At most 1 ulp, exact for powers of two; domain: x >= 0.
#[inline(always)]
pub fn log2(x: f64) -> f64 {
    log_to_base(x, LOG2_E, (1.0, 0.0))
}

/// log10: see [`log_to_base`]. At most 1 ulp, exact for powers of ten; domain: x >= 0.
#[inline(always)]
pub fn log10(x: f64) -> f64 {
    log_to_base(x, LOG10_E, LOG10_2)
}

/// exp2: 2ⁿ exp(r ln 2) with r = x - n exact and the product in a pair. At most 1 ulp, exact for integers; domain: all
/// x.
#[inline(always)]
pub fn exp2(x: f64) -> f64 {
    let x = clamp(x, -1080.0, 1025.0);
    let n = nearest(x);
    let r = x - n.value;
    let (high, low) = two_product(r, std::f64::consts::LN_2);
    let tail = exp_kernel(high, low + r * LN2_REST);
    let (sum, error) = fast_two_sum(1.0, high);
    scale(sum + (error + tail), n)
}

/// cbrt, with x = 2³ᵏ m and m in [1, 8): an estimate by a polynomial of degree 3, 2⁻¹³·⁷, and two steps of Halley's,
/// the last from 26 bits, so that their square is exact. At most 1 ulp, exact for cubes; domain: all x.
#[inline(always)]
pub fn cbrt(x: f64) -> f64 {
    let magnitude = x.abs();
    let subnormal = magnitude < f64::MIN_POSITIVE;
    let (m, t, k) = cbrt_estimate(if subnormal { magnitude * 18014398509481984.0 } else { magnitude });
    let t = f64::from_bits(t.to_bits() & !((1 << 27) - 1));
    let quotient = m / (t * t);
    let root = t + t * ((quotient - t) / (t + t + quotient));
    let result = root * power(k) * if subnormal { 1.0 / 262144.0 } else { 1.0 };
    let result = if magnitude < f64::INFINITY { result } else { magnitude };
    (if magnitude == 0.0 { magnitude } else { result }).copysign(x)
}

/// (m, t, k) with x = 2³ᵏ m, m in [1, 8) and t = ∛m to 2⁻³⁹, k in the low bits, for normal x > 0.
#[inline(always)]
pub fn cbrt_estimate(x: f64) -> (f64, f64, u64) {
    let bits = x.to_bits();
    let biased = bits >> 52;
    let exponent = f64::from_bits(biased | 0x4330_0000_0000_0000) - 4503599627370496.0;
    // 1/3 less, so that the nearest integer is the quotient rounded down.
    let third = nearest((exponent - 1.0) * (1.0 / 3.0));
    let rest = exponent - 3.0 * third.value;
    let fraction = f64::from_bits((bits & ((1 << 52) - 1)) | 0x3FF0_0000_0000_0000);
    let (of_rest, root_of_rest) = if rest == 1.0 { (2.0, 1.2599210498948732) } else { (1.0, 1.0) };
    let (of_rest, root_of_rest) = if rest == 2.0 { (4.0, 1.5874010519681996) } else { (of_rest, root_of_rest) };
    let m = fraction * of_rest;
    let t = root_of_rest
        * polynomial!(fraction; 0.5528233665603506, 0.587114376210701, -0.16296970958046345, 0.023104968144162075);
    let cube = t * t * t;
    (m, t * ((cube + 2.0 * m) / (2.0 * cube + m)), third.bits.wrapping_sub(341))
}

/// hypot: √(x² + y²) scaled by a power of two. At most 1 ulp; domain: all x and y.
#[inline(always)]
pub fn hypot(x: f64, y: f64) -> f64 {
    let (x, y) = (x.abs(), y.abs());
    let (greater, lesser) = if x > y { (x, y) } else { (y, x) };
    let (scale, back) = if greater > 1e150 { (SMALL, LARGE) } else { (1.0, 1.0) };
    let (scale, back) = if greater < 1e-150 { (LARGE, SMALL) } else { (scale, back) };
    let (greater, lesser) = (greater * scale, lesser * scale);
    let (square, error) = two_product(greater, greater);
    let (sum, sum_error) = fast_two_sum(square, lesser * lesser);
    let root = sum.sqrt();
    let (product, product_error) = two_product(root, root);
    let low = ((sum - product) - product_error) + (error + sum_error);
    let result = (root + low * 0.5 / (root + f64::MIN_POSITIVE)) * back;
    if (x == f64::INFINITY) | (y == f64::INFINITY) { f64::INFINITY } else { result }
}

/// 2⁶⁰⁰ and 2⁻⁶⁰⁰.
const LARGE: f64 = f64::from_bits((1023 + 600) << 52);
const SMALL: f64 = f64::from_bits((1023 - 600) << 52);
