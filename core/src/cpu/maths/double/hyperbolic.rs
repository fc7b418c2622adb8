//! Hyperbolic functions and their inverses, of f64.

use super::{Exponent, ROUNDER, clamp, decompose, exp_pair, logarithm, power, scale};
use crate::cpu::maths::pair::{two_product, two_sum};
use crate::cpu::maths::polynomial;

/// (n, p, e, q) with exp(x) = (p + e) 2ⁿ and exp(-x) = q 2ⁿ, for x >= 0; for large x, q is too small to matter.
#[inline(always)]
fn both_exponentials(x: f64) -> (Exponent, f64, f64, f64) {
    let (n, p, error) = exp_pair(clamp(x, 0.0, 711.0), 0.0);
    let twice = 2.0 * if n.value > 40.0 { 40.0 } else { n.value };
    (n, p, error, power((ROUNDER - twice).to_bits()) / p)
}

/// x 2ⁿ⁻¹, rounded once.
#[inline(always)]
fn scale_half(x: f64, n: Exponent) -> f64 {
    scale(x, Exponent { value: n.value - 1.0, bits: n.bits.wrapping_sub(1) })
}

/// sinh: x + x³ P(x²) below 1 with P of degree 6, 2⁻⁶³·³; (exp(x) - exp(-x)) / 2 above. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn sinh(x: f64) -> f64 {
    let magnitude = x.abs();
    let z = x * x;
    let small = magnitude
        + magnitude
            * (z * polynomial!(z;
                0.16666666666666669, 0.008333333333333148, 0.00019841269841431875, 2.7557319157070645e-06,
                2.505212313691506e-08, 1.60572597541852e-10, 7.758749227819664e-13,
            ));
    let (n, p, error, q) = both_exponentials(magnitude);
    let large = scale_half(p + (error - q), n);
    (if magnitude < 1.0 { small } else { large }).copysign(x)
}

/// cosh: (exp(x) + exp(-x)) / 2. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn cosh(x: f64) -> f64 {
    let (n, p, error, q) = both_exponentials(x.abs());
    scale_half(p + (error + q), n)
}

/// log(x + √(x² + one)) for x >= 1/2 and one = 1, or x >= 3/2 and one = -1, with the argument in a pair; log(2x) for
/// huge x.
#[inline(always)]
fn log_of_sum(x: f64, one: f64) -> f64 {
    let huge = x > 1e9;
    let m = if huge { 1e9 } else { x };
    let (square, square_error) = two_product(m, m);
    let (sum, sum_error) = two_sum(square, one);
    let root = sum.sqrt();
    let (back, back_error) = two_product(root, root);
    let root_low = (((sum - back) - back_error) + (sum_error + square_error)) * 0.5 / root;
    let (u, u_error) = two_sum(root, m);
    let correction = (u_error + root_low) / u;
    let (k, f) = decompose(if huge { x } else { u });
    let result = logarithm(if huge { k + 1.0 } else { k }, f, if huge { 0.0 } else { correction });
    if x < f64::INFINITY { result } else { x }
}

/// asinh: x + x³ P(x²) for |x| <= 0.5 with P of degree 11, 2⁻⁶⁰·⁴; log(|x| + √(x² + 1)) above. At most 1 ulp; domain:
/// all x.
#[inline(always)]
pub fn asinh(x: f64) -> f64 {
    let magnitude = x.abs();
    let z = x * x;
    let small = magnitude
        + magnitude
            * (z * polynomial!(z;
                -0.1666666666666661, 0.07499999999984419, -0.04464285712783268, 0.030381943716434837,
                -0.022372138359188845, 0.01735238696990025, -0.01396023241467487, 0.011512985175511192,
                -0.00953414726985198, 0.007465611905210574, -0.004747529289553807, 0.0017180936963863403,
            ));
    let large = log_of_sum(magnitude, 1.0);
    (if magnitude <= 0.5 { small } else { large }).copysign(x)
}

/// acosh, with t = x - 1: √(2t) (1 + t Q(t)) for t <= 0.5 with Q of degree 11, 2⁻⁶⁰·⁴; log(x + √(x² - 1)) above. At
/// most 1.5 ulp; domain: x >= 1.
#[inline(always)]
pub fn acosh(x: f64) -> f64 {
    let t = x - 1.0;
    let root = (2.0 * t).sqrt();
    let small = root
        + root
            * (t * polynomial!(t;
                -0.08333333333333305, 0.018749999999961554, -0.005580357140999491, 0.0018988714826876224,
                -0.0006991293285224116, 0.00027113108166944755, -0.0001090644855365239, 4.497314198714969e-05,
                -1.862252852728926e-05, 7.292169219882422e-06, -2.3193043889006127e-06, 4.198501349632678e-07,
            ));
    let large = log_of_sum(x, -1.0);
    if t > 0.5 { large } else { small }
}

/// atanh: x + x³ P(x²) for |x| <= 0.5 with P of degree 13, 2⁻⁶¹·⁰; log(1 + 2x / (1 - x)) / 2 above. At most 1.5 ulp;
/// domain: [-1, 1].
#[inline(always)]
pub fn atanh(x: f64) -> f64 {
    let magnitude = x.abs();
    let z = x * x;
    let small = magnitude
        + magnitude
            * (z * polynomial!(z;
                0.3333333333333328, 0.20000000000018128, 0.14285714283438525, 0.1111111125528792, 0.09090903686298363,
                0.07692438466118728, 0.06664515963334929, 0.059071320470401416, 0.05060172279546643, 0.05945490634970561,
                -0.0049499951660465094, 0.17406092934413836, -0.19493998335415197, 0.24042417688536516,
            ));
    let (u, error) = two_sum(1.0, 2.0 * magnitude / (1.0 - magnitude));
    let (k, f) = decompose(u);
    let large = 0.5 * logarithm(k, f, error / u);
    let outside = if magnitude == 1.0 { f64::INFINITY } else { f64::NAN };
    let large = if magnitude < 1.0 { large } else { outside };
    (if magnitude <= 0.5 { small } else { large }).copysign(x)
}
