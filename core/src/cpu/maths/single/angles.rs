//! The tangent and the inverses of sine, cosine and tangent, of f32, in f64.

use super::double::angles::{Turn, direction};
use super::{reduce_moderate, series};
use crate::cpu::maths::pair::reduce_huge;
use crate::cpu::maths::{Maths, polynomial};

const HALF_PI: f64 = std::f64::consts::FRAC_PI_2;

/// tan(q π/2 + r) for |r| <= 0.79: the quotient of sine and cosine, see [`series`].
#[inline(always)]
fn tangent(q: u64, r: f64) -> f32 {
    let [sin, cos] = series(r);
    let odd = q & 1 == 1;
    (if odd { -cos } else { sin } / if odd { sin } else { cos }) as f32
}

/// tan for |x| <= [`Maths::MODERATE`]: see [`reduce_moderate`] and [`tangent`]. At most 1 ulp.
#[inline(always)]
pub fn tan_moderate(x: f32) -> f32 {
    let (q, r) = reduce_moderate(x);
    let result = tangent(q, r);
    if x == 0.0 { x } else { result }
}

/// tan: [`tan_moderate`], or Payne and Hanek's reduction. At most 1 ulp; domain: finite x.
#[inline(always)]
pub fn tan(x: f32) -> f32 {
    if x.abs() <= f32::MODERATE {
        return tan_moderate(x);
    }
    let (q, high, _) = reduce_huge(f64::from(x));
    tangent(q, high)
}

/// asin m for m = x where |x| <= 0.5, else for m = √((1 - |x|) / 2): m + m³ P(m²) with P of degree 5, 2⁻³¹·⁸. NaN for
/// |x| > 1.
#[inline(always)]
fn arcsine(x: f64) -> f64 {
    let magnitude = x.abs();
    let half = (1.0 - magnitude) * 0.5;
    let central = magnitude <= 0.5;
    let z = if central { x * x } else { half };
    let m = if central { x } else { half.sqrt() };
    m + m
        * (z * polynomial!(z;
            0.1666665999148064, 0.07500504177356575, 0.04451695563747029, 0.031807720617479586, 0.014438579124829171,
            0.037516505065052975,
        ))
}

/// asin: see [`arcsine`]; π/2 - 2 asin(√((1 - |x|) / 2)) for |x| > 0.5. At most 1 ulp; domain: [-1, 1].
#[inline(always)]
pub fn asin(x: f32) -> f32 {
    let x = f64::from(x);
    let y = arcsine(x);
    (if x.abs() <= 0.5 { y } else { (HALF_PI - 2.0 * y).copysign(x) }) as f32
}

/// acos: π/2 - asin x for |x| <= 0.5, see [`arcsine`]; 2 asin(√((1 - x) / 2)) above, and π less that of -x below. At
/// most 1 ulp; domain: [-1, 1].
#[inline(always)]
pub fn acos(x: f32) -> f32 {
    let x = f64::from(x);
    let y = arcsine(x);
    let outer = if x > 0.0 { 2.0 * y } else { std::f64::consts::PI - 2.0 * y };
    (if x.abs() <= 0.5 { HALF_PI - y } else { outer }) as f32
}

/// The angle of a turn: (atan t - t) / t³ by a polynomial of degree 6 in t², 2⁻³⁰·⁶.
#[inline(always)]
fn angle(turn: Turn) -> f64 {
    let t = turn.tangent;
    let z = t * t;
    turn.base
        + (t + t
            * (z * polynomial!(z;
                -0.33333321965553775, 0.19999311007526374, -0.14271447367176987, 0.10968626021963339,
                -0.08305894694332215, 0.051630340787739884, -0.017820851099846033,
            )))
}

/// atan: that of f64 with fewer terms, see [`angle`]. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn atan(x: f32) -> f32 {
    atan2(x, 1.0)
}

/// atan2: that of f64 with fewer terms, see [`angle`]. At most 1 ulp; domain: all x and y.
#[inline(always)]
pub fn atan2(y: f32, x: f32) -> f32 {
    let (y, x) = (f64::from(y), f64::from(x));
    angle(direction(y, x)).copysign(y) as f32
}
