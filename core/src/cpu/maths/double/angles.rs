//! The tangent and the inverses of sine, cosine and tangent, of f64.

use super::{reduce_moderate, series};
use crate::cpu::maths::pair::{fast_two_sum, reduce_huge, two_product};
use crate::cpu::maths::{Maths, polynomial};

const HALF_PI: f64 = std::f64::consts::FRAC_PI_2;
const HALF_PI_LOW: f64 = 6.123233995736766e-17;

/// tan(q π/2 + high + low) for |high| <= 0.79: the quotient of sine and cosine in pairs, see [`series`].
#[inline(always)]
fn tangent(q: u64, high: f64, low: f64) -> f64 {
    let [sin, cos] = series(high, low);
    let (sin, cos) = (fast_two_sum(sin.0, sin.1), fast_two_sum(cos.0, cos.1));
    let odd = q & 1 == 1;
    let (numerator, numerator_low) = if odd { (-cos.0, -cos.1) } else { sin };
    let (denominator, denominator_low) = if odd { sin } else { cos };
    let quotient = numerator / denominator;
    let (product, error) = two_product(quotient, denominator);
    quotient + (((numerator - product) - error) + (numerator_low - quotient * denominator_low)) / denominator
}

/// tan for |x| <= [`Maths::MODERATE`]: see [`reduce_moderate`] and [`tangent`]. At most 1 ulp.
#[inline(always)]
pub fn tan_moderate(x: f64) -> f64 {
    let (q, high, low) = reduce_moderate(x);
    let result = tangent(q, high, low);
    if x.abs() < 1e-8 { x } else { result }
}

/// tan: [`tan_moderate`], or Payne and Hanek's reduction. At most 1 ulp; domain: finite x.
#[inline(always)]
pub fn tan(x: f64) -> f64 {
    if x.abs() <= f64::MODERATE {
        return tan_moderate(x);
    }
    let (q, high, low) = reduce_huge(x);
    tangent(q, high, low)
}

/// asin(√z) / √z - 1 for z in [0, 0.25]: a polynomial of degree 12 times z, 2⁻⁵⁹·⁹.
#[inline(always)]
fn arcsine(z: f64) -> f64 {
    z * polynomial!(z;
        0.1666666666666676, 0.07499999999970795, 0.04464285717461753, 0.030381942707504824, 0.02237221499531789,
        0.017351611882227416, 0.013980822034085355, 0.011398900775161083, 0.010780313301067157, 0.00370619261657686,
        0.021707945481299368, -0.020999732407009798, 0.0326290224528168,
    )
}

/// (s, r) with asin(√((1 - x) / 2)) = s + r for x in [0.5, 1], given p = arcsine((1 - x) / 2); NaN for x > 1.
#[inline(always)]
fn half_angle(x: f64, p: f64) -> (f64, f64) {
    let z = (1.0 - x) * 0.5;
    let s = z.sqrt();
    let (square, error) = two_product(s, s);
    // The sum keeps 0 from being divided by itself.
    let low = ((z - square) - error) * 0.5 / (s + f64::MIN_POSITIVE);
    (s, low + s * p)
}

/// asin: x + x P(x²) for |x| <= 0.5, see [`arcsine`]; π/2 - 2 asin(√((1 - |x|) / 2)) above. At most 1 ulp; domain:
/// [-1, 1].
#[inline(always)]
pub fn asin(x: f64) -> f64 {
    let magnitude = x.abs();
    let central = magnitude <= 0.5;
    let p = arcsine(if central { x * x } else { (1.0 - magnitude) * 0.5 });
    let (s, rest) = half_angle(magnitude, p);
    let (high, low) = fast_two_sum(HALF_PI, -2.0 * s);
    let outer = high + (low + (HALF_PI_LOW - 2.0 * rest));
    (if central { magnitude + magnitude * p } else { outer }).copysign(x)
}

/// acos: π/2 - asin x for |x| <= 0.5, see [`arcsine`]; 2 asin(√((1 - x) / 2)) above, and π less that of -x below. At
/// most 1 ulp; domain: [-1, 1].
#[inline(always)]
pub fn acos(x: f64) -> f64 {
    let magnitude = x.abs();
    let central = magnitude <= 0.5;
    let p = arcsine(if central { x * x } else { (1.0 - magnitude) * 0.5 });
    let (s, rest) = half_angle(magnitude, p);
    let outer = s + rest;
    let (term, term_low) = if central { (x, x * p) } else { (s, rest) };
    let (high, low) = fast_two_sum(HALF_PI, -term);
    let inner = high + (low + (HALF_PI_LOW - term_low));
    let doubled = 2.0 * if x > 0.0 { outer } else { inner };
    if central { inner } else { doubled }
}

/// An angle as a multiple of π/4 and the tangent of what is left.
#[derive(Clone, Copy)]
pub struct Turn {
    /// 0, π/4, π/2, 3π/4 or π.
    pub base: f64,
    /// What `base` lacks.
    pub base_low: f64,
    /// In [-0.42, 0.66], for a base of 0 the only part.
    pub tangent: f64,
}

/// The angle in [0, π] of the point (d, n), or of (-d, n) if `back`, for d and n >= 0.
#[inline(always)]
fn turn(n: f64, d: f64, back: bool) -> Turn {
    let steep = n > 2.414 * d;
    let middle = n > 0.66 * d;
    let (numerator, denominator) = if middle { (n - d, n + d) } else { (n, d) };
    let (numerator, denominator) = if steep { (-d, n) } else { (numerator, denominator) };
    let tangent = numerator / denominator;
    let (flat, flat_low) = if back { (std::f64::consts::PI, 1.2246467991473532e-16) } else { (0.0, 0.0) };
    let (tilted, tilted_low) = if back {
        (2.356194490192345, 9.184850993605148e-17)
    } else {
        (std::f64::consts::FRAC_PI_4, 3.061616997868383e-17)
    };
    let (base, base_low) = if middle { (tilted, tilted_low) } else { (flat, flat_low) };
    let (base, base_low) = if steep { (HALF_PI, HALF_PI_LOW) } else { (base, base_low) };
    Turn { base, base_low, tangent: if back { -tangent } else { tangent } }
}

const TWO_60: f64 = (1u64 << 60) as f64;

/// The angle of the point (x, |y|) in [0, π].
#[inline(always)]
pub fn direction(y: f64, x: f64) -> Turn {
    let (n, d) = (y.abs(), x.abs());
    let (huge, zero) = ((n == f64::INFINITY) & (d == f64::INFINITY), (n == 0.0) & (d == 0.0));
    let n = if huge { 1.0 } else { n };
    let d = if huge | zero { 1.0 } else { d };
    // So that neither their sum overflows nor a multiple of them is subnormal.
    let scale = if (n > 1e300) | (d > 1e300) { 1.0 / TWO_60 } else { 1.0 };
    let scale = if (n < 1e-290) & (d < 1e-290) { TWO_60 } else { scale };
    turn(n * scale, d * scale, x.is_sign_negative())
}

/// The angle of a turn: (atan t - t) / t³ by a polynomial of degree 14 in t², 2⁻⁵⁹·⁴.
#[inline(always)]
fn angle(turn: Turn) -> f64 {
    let t = turn.tangent;
    let z = t * t;
    let p = z * polynomial!(z;
        -0.33333333333333237, 0.19999999999976537, -0.14285714283725212, 0.1111111102543133, -0.09090906886492102,
        0.076922706147537, -0.06666235502816363, 0.058787582445490844, -0.052411570965431586, 0.046615890552408314,
        -0.040042523349407416, 0.031127061164679243, -0.019707866498342257, 0.00864579296942534,
        -0.0019014969693386277,
    );
    let (high, low) = fast_two_sum(turn.base, t);
    high + (low + (t * p + turn.base_low))
}

/// atan: the nearest multiple of π/4 and the rest, see [`turn`] and [`angle`]. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn atan(x: f64) -> f64 {
    angle(turn(x.abs(), 1.0, false)).copysign(x)
}

/// atan2: as [`atan`], with the quotient taken once the multiple of π/4 is known. At most 1.5 ulp; domain: all x and y.
#[inline(always)]
pub fn atan2(y: f64, x: f64) -> f64 {
    angle(direction(y, x)).copysign(y)
}
