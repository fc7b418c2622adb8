//! Hyperbolic functions of f32, and their inverses by way of f64.

use super::{Exponent, ROUNDER, clamp, exp_pair, logarithm_double, power, scale};
use crate::cpu::maths::polynomial;

/// (n, p, e, q) with exp(x) = (p + e) 2ⁿ and exp(-x) = q 2ⁿ, for x >= 0; for large x, q is too small to matter.
#[inline(always)]
fn both_exponentials(x: f32) -> (Exponent, f32, f32, f32) {
    let (n, p, error) = exp_pair(clamp(x, 0.0, 90.0));
    let twice = 2.0 * if n.value > 20.0 { 20.0 } else { n.value };
    (n, p, error, power((ROUNDER - twice).to_bits()) / p)
}

/// x 2ⁿ⁻¹, rounded once.
#[inline(always)]
fn scale_half(x: f32, n: Exponent) -> f32 {
    scale(x, n.bits.wrapping_sub(1))
}

/// sinh: x + x³ P(x²) below 1 with P of degree 3, 2⁻³⁴·²; (exp(x) - exp(-x)) / 2 above. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn sinh(x: f32) -> f32 {
    let magnitude = x.abs();
    let z = x * x;
    let small = magnitude + magnitude * (z * polynomial!(z; 0.16666667, 0.00833335, 0.0001983616, 2.8169513e-06));
    let (n, p, error, q) = both_exponentials(magnitude);
    let large = scale_half(p + (error - q), n);
    (if magnitude < 1.0 { small } else { large }).copysign(x)
}

/// cosh: (exp(x) + exp(-x)) / 2. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn cosh(x: f32) -> f32 {
    let (n, p, error, q) = both_exponentials(x.abs());
    scale_half(p + (error + q), n)
}

/// log x of a normal x > 0, in f64: see [`logarithm_double`].
#[inline(always)]
fn log(x: f64) -> f64 {
    let (k, rest) = logarithm_double(x);
    k * std::f64::consts::LN_2 + rest
}

/// asinh: x - x³/6 for |x| < 2⁻⁹, log(|x| + √(x² + 1)) above. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn asinh(x: f32) -> f32 {
    let magnitude = f64::from(x.abs());
    let z = magnitude * magnitude;
    let small = magnitude - magnitude * z * (1.0 / 6.0);
    let result = if magnitude < 0.001953125 { small } else { log(magnitude + (z + 1.0).sqrt()) };
    (if magnitude < f64::INFINITY { result } else { magnitude } as f32).copysign(x)
}

/// acosh: log(x + √((x - 1) (x + 1))). At most 1 ulp; domain: x >= 1.
#[inline(always)]
pub fn acosh(x: f32) -> f32 {
    let x = f64::from(x);
    let result = log(x + ((x - 1.0) * (x + 1.0)).sqrt());
    let result = if x >= 1.0 { result } else { f64::NAN };
    (if x == f64::INFINITY { x } else { result }) as f32
}

/// atanh: x + x³/3 for |x| < 2⁻⁹, log((1 + |x|) / (1 - |x|)) / 2 above. At most 1 ulp; domain: [-1, 1].
#[inline(always)]
pub fn atanh(x: f32) -> f32 {
    let magnitude = f64::from(x.abs());
    let small = magnitude + magnitude * (magnitude * magnitude) * (1.0 / 3.0);
    let large = 0.5 * log((1.0 + magnitude) / (1.0 - magnitude));
    let outside = if magnitude == 1.0 { f64::INFINITY } else { f64::NAN };
    let large = if magnitude < 1.0 { large } else { outside };
    (if magnitude < 0.001953125 { small } else { large } as f32).copysign(x)
}
