//! Logarithms and powers of other bases, and roots, of f32.

use super::double::powers::cbrt_estimate;
use super::{clamp, double, fast_two_sum, logarithm_double, nearest, scale};
use crate::cpu::maths::polynomial;

/// The logarithm of x to the base b in f64, given log_b(e) and log_b(2): see [`logarithm_double`].
#[inline(always)]
fn log_to_base(x: f32, e: f64, two: f64) -> f32 {
    let (k, rest) = logarithm_double(f64::from(x));
    let result = (k * two + rest * e) as f32;
    let outside = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    let result = if x > 0.0 { result } else { outside };
    if x < f32::INFINITY { result } else { x }
}

/// log2, in f64: see [`log_to_base`]. At most 1 ulp, exact for powers of two; domain: x >= 0.
#[inline(always)]
pub fn log2(x: f32) -> f32 {
    log_to_base(x, std::f64::consts::LOG2_E, 1.0)
}

/// log10, in f64: see [`log_to_base`]. At most 1 ulp, exact for powers of ten; domain: x >= 0.
#[inline(always)]
pub fn log10(x: f32) -> f32 {
    log_to_base(x, std::f64::consts::LOG10_E, std::f64::consts::LOG10_2)
}

/// exp2: 2ⁿ 2ʳ with r = x - n exact; (2ʳ - 1) / r by a polynomial of degree 5, 2⁻²⁸·⁹, whose first term is kept apart.
/// At most 1 ulp, exact for integers; domain: all x.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    let x = clamp(x, -152.0, 129.0);
    let n = nearest(x);
    let r = x - n.value;
    let p = polynomial!(r; 0.24022648, 0.055503324, 0.009618438, 0.0013398874, 0.0001535334);
    let (sum, error) = fast_two_sum(1.0, r * std::f32::consts::LN_2);
    scale(sum + (error + r * r * p), n.bits)
}

/// cbrt, in f64: the estimate of f64, 2⁻³⁹. At most 1 ulp, exact for cubes; domain: all x.
#[inline(always)]
pub fn cbrt(x: f32) -> f32 {
    let magnitude = f64::from(x.abs());
    let (_, t, k) = cbrt_estimate(magnitude);
    let result = (t * double::power(k)) as f32;
    let result = if magnitude < f64::INFINITY { result } else { x.abs() };
    (if magnitude == 0.0 { 0.0 } else { result }).copysign(x)
}

/// hypot: √(x² + y²) in f64. At most 1 ulp; domain: all x and y.
#[inline(always)]
pub fn hypot(x: f32, y: f32) -> f32 {
    let (a, b) = (f64::from(x), f64::from(y));
    let result = (a * a + b * b).sqrt() as f32;
    if (x.abs() == f32::INFINITY) | (y.abs() == f32::INFINITY) { f32::INFINITY } else { result }
}
