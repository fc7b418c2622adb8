//! The scalar mathematics of caudal, the same to the bit on every target: additions, multiplications, divisions and
//! square roots of IEEE numbers in one written order, nothing contracted, no libm. (The sign and payload of a NaN are
//! the target's.)
//!
//! Every function has no branch (`if` of values already computed becomes a select) and is `#[inline(always)]`, so a
//! loop over a slice vectorises with the features of the function that it is in. The exceptions are [`sin`], [`cos`] and
//! [`tan`], which call a scalar path for arguments beyond [`Maths::MODERATE`], and [`remainder`] and [`floor_divide`],
//! which call one for large quotients: loops use [`sin_slice`] and its like.
//!
//! Accuracy over the full domain, in units in the last place of the result (measured by the tests): at most 1.5 for f32
//! and f64, 3 for `erfinv` of f64. Special values are those of C99: see each function.
//!
//! `f32::exp(x)` and `x.exp()` on a concrete type are std's, which calls libm. Write `maths::exp(x)`.

use std::ops::Neg;

mod double;
mod pair;
mod rounding;
mod single;

#[cfg(test)]
mod tests;

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident is $method:ident($($x:ident),+);)+) => {
        /// A type with the functions of this module: f32 or f64.
        pub trait Maths: Copy + PartialOrd + Neg<Output = Self> {
            /// The largest magnitude for which [`Maths::portable_sin_moderate`], [`Maths::portable_cos_moderate`]
            /// and [`Maths::portable_tan_moderate`] are right.
            const MODERATE: Self;
            /// Whether [`Maths::portable_remainder_moderate`] and [`Maths::portable_floor_divide_moderate`] are right.
            fn is_moderate_quotient(x: Self, y: Self) -> bool;
            $(
                #[doc = concat!("[`", stringify!($name), "`].")]
                fn $method($($x: Self),+) -> Self;
            )+
        }

        impl Maths for f32 {
            const MODERATE: f32 = 1_048_576.0;

            #[inline(always)]
            fn is_moderate_quotient(x: f32, y: f32) -> bool {
                single::is_moderate(x, y)
            }

            $(
                #[inline(always)]
                fn $method($($x: f32),+) -> f32 {
                    single::$name($($x),+)
                }
            )+
        }

        impl Maths for f64 {
            const MODERATE: f64 = 1_048_576.0;

            #[inline(always)]
            fn is_moderate_quotient(x: f64, y: f64) -> bool {
                double::is_moderate(x, y)
            }

            $(
                #[inline(always)]
                fn $method($($x: f64),+) -> f64 {
                    double::$name($($x),+)
                }
            )+
        }

        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $name<T: Maths>($($x: T),+) -> T {
                T::$method($($x),+)
            }
        )+
    };
}

functions! {
    /// eˣ. exp(-∞) = 0, exp(+∞) = +∞; results below the normal range are rounded to subnormals or 0.
    exp is portable_exp(x);
    /// eˣ - 1. expm1(±0) = ±0, expm1(-∞) = -1, expm1(+∞) = +∞.
    expm1 is portable_expm1(x);
    /// The natural logarithm. log(±0) = -∞, log(+∞) = +∞, NaN for x < 0.
    log is portable_log(x);
    /// log(1 + x). log1p(±0) = ±0, log1p(-1) = -∞, log1p(+∞) = +∞, NaN for x < -1.
    log1p is portable_log1p(x);
    /// The hyperbolic tangent. tanh(±0) = ±0, tanh(±∞) = ±1.
    tanh is portable_tanh(x);
    /// 1 / (1 + e⁻ˣ). sigmoid(-∞) = 0, sigmoid(+∞) = 1.
    sigmoid is portable_sigmoid(x);
    /// The error function, 2/√π ∫₀ˣ exp(-t²) dt. erf(±0) = ±0, erf(±∞) = ±1.
    erf is portable_erf(x);
    /// The x with erf(x) = y. erfinv(±0) = ±0, erfinv(±1) = ±∞, NaN for |y| > 1.
    erfinv is portable_erfinv(y);
    /// The sine of any finite x, in radians. sin(±0) = ±0, sin(±∞) = NaN.
    sin is portable_sin(x);
    /// The cosine of any finite x, in radians. cos(±∞) = NaN.
    cos is portable_cos(x);
    /// [`sin`] without a branch, for |x| <= [`Maths::MODERATE`] and NaN; anything finite or NaN for other x.
    sin_moderate is portable_sin_moderate(x);
    /// [`cos`] without a branch, for |x| <= [`Maths::MODERATE`] and NaN; anything finite or NaN for other x.
    cos_moderate is portable_cos_moderate(x);
    /// xʸ, with the special cases of IEEE 754's `pow`: pow(x, ±0) = pow(1, y) = 1 even for NaN, pow(-1, ±∞) = 1, a
    /// negative x needs an integer y (NaN otherwise) and gives a negative result for an odd one, pow(±0, y < 0) = ±∞
    /// for odd y and +∞ for others.
    pow is portable_pow(x, y);
    /// The tangent of any finite x, in radians. tan(±0) = ±0, tan(±∞) = NaN.
    tan is portable_tan(x);
    /// [`tan`] without a branch, for |x| <= [`Maths::MODERATE`] and NaN; anything for other x.
    tan_moderate is portable_tan_moderate(x);
    /// The angle in [-π/2, π/2] with that sine. asin(±0) = ±0, NaN for |x| > 1.
    asin is portable_asin(x);
    /// The angle in [0, π] with that cosine. acos(1) = +0, NaN for |x| > 1.
    acos is portable_acos(x);
    /// The angle in [-π/2, π/2] with that tangent. atan(±0) = ±0, atan(±∞) = ±π/2.
    atan is portable_atan(x);
    /// The angle of the point (x, y) in [-π, π], with the sign of y. For y = ±0 it is ±0 if the sign of x is +, else
    /// ±π; for two infinities it is that of (±1, ±1).
    atan2 is portable_atan2(y, x);
    /// The hyperbolic sine. sinh(±0) = ±0, sinh(±∞) = ±∞.
    sinh is portable_sinh(x);
    /// The hyperbolic cosine. cosh(±0) = 1, cosh(±∞) = +∞.
    cosh is portable_cosh(x);
    /// The inverse of sinh. asinh(±0) = ±0, asinh(±∞) = ±∞.
    asinh is portable_asinh(x);
    /// The inverse of cosh in [0, ∞]. acosh(1) = +0, acosh(+∞) = +∞, NaN for x < 1.
    acosh is portable_acosh(x);
    /// The inverse of tanh. atanh(±0) = ±0, atanh(±1) = ±∞, NaN for |x| > 1.
    atanh is portable_atanh(x);
    /// The logarithm to base 2, exact for powers of 2. log2(±0) = -∞, log2(+∞) = +∞, NaN for x < 0.
    log2 is portable_log2(x);
    /// The logarithm to base 10, exact for powers of 10. log10(±0) = -∞, log10(+∞) = +∞, NaN for x < 0.
    log10 is portable_log10(x);
    /// 2ˣ, exact for integers. exp2(-∞) = 0, exp2(+∞) = +∞.
    exp2 is portable_exp2(x);
    /// The real cube root, exact for cubes. cbrt(±0) = ±0, cbrt(±∞) = ±∞.
    cbrt is portable_cbrt(x);
    /// √(x² + y²) without overflow on the way. +∞ if either is infinite, even if the other is NaN.
    hypot is portable_hypot(x, y);
    /// The nearest integer, of two the even one, with the sign of x.
    round is portable_round(x);
    /// The greatest integer that is not above x, with its sign for zeros.
    floor is portable_floor(x);
    /// The least integer that is not below x, with its sign for zeros.
    ceil is portable_ceil(x);
    /// The nearest integer that is not further from zero than x, with its sign.
    trunc is portable_trunc(x);
    /// x - floor(x / y) y as if in exact arithmetic, rounded once; it has the sign of y. NaN for y = 0 and infinite x;
    /// for infinite y it is x, or y if their signs differ.
    remainder is portable_remainder(x, y);
    /// [`remainder`] without a branch, where [`Maths::is_moderate_quotient`]; anything elsewhere.
    remainder_moderate is portable_remainder_moderate(x, y);
    /// The quotient rounded down to an integer: x - [`remainder`] over y, rounded. x / y for y = 0, NaN for infinite x.
    floor_divide is portable_floor_divide(x, y);
    /// [`floor_divide`] without a branch, where [`Maths::is_moderate_quotient`]; anything elsewhere.
    floor_divide_moderate is portable_floor_divide_moderate(x, y);
}

/// y[i] = sin(x[i]) for slices of equal length, vectorised wherever no element of a block is beyond
/// [`Maths::MODERATE`]. The results are those of [`sin`].
#[inline(always)]
pub fn sin_slice<T: Maths>(x: &[T], y: &mut [T]) {
    map_blocks(x, y, sin_moderate, sin);
}

/// y[i] = cos(x[i]) for slices of equal length: see [`sin_slice`].
#[inline(always)]
pub fn cos_slice<T: Maths>(x: &[T], y: &mut [T]) {
    map_blocks(x, y, cos_moderate, cos);
}

/// y[i] = tan(x[i]) for slices of equal length: see [`sin_slice`].
#[inline(always)]
pub fn tan_slice<T: Maths>(x: &[T], y: &mut [T]) {
    map_blocks(x, y, tan_moderate, tan);
}

/// z[i] = remainder(x[i], y[i]) for slices of equal length, vectorised wherever all quotients of a block are moderate.
/// The results are those of [`remainder`].
#[inline(always)]
pub fn remainder_slice<T: Maths>(x: &[T], y: &[T], z: &mut [T]) {
    map_quotients(x, y, z, remainder_moderate, remainder);
}

/// z[i] = floor_divide(x[i], y[i]) for slices of equal length: see [`remainder_slice`].
#[inline(always)]
pub fn floor_divide_slice<T: Maths>(x: &[T], y: &[T], z: &mut [T]) {
    map_quotients(x, y, z, floor_divide_moderate, floor_divide);
}

/// Elements that are looked at together before they are computed.
const BLOCK: usize = 128;

#[inline(always)]
fn map_blocks<T: Maths>(x: &[T], y: &mut [T], moderate: impl Fn(T) -> T, any: impl Fn(T) -> T) {
    for (x, y) in x.chunks(BLOCK).zip(y.chunks_mut(BLOCK)) {
        let huge = x.iter().fold(false, |huge, &x| huge | (x > T::MODERATE) | (x < -T::MODERATE));
        if huge {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = any(x);
            }
        } else {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = moderate(x);
            }
        }
    }
}

#[inline(always)]
fn map_quotients<T: Maths>(x: &[T], y: &[T], z: &mut [T], moderate: impl Fn(T, T) -> T, any: impl Fn(T, T) -> T) {
    for ((x, y), z) in x.chunks(BLOCK).zip(y.chunks(BLOCK)).zip(z.chunks_mut(BLOCK)) {
        let both = || x.iter().zip(y).map(|(&x, &y)| (x, y));
        if both().fold(true, |all, (x, y)| all & T::is_moderate_quotient(x, y)) {
            for (z, (x, y)) in z.iter_mut().zip(both()) {
                *z = moderate(x, y);
            }
        } else {
            for (z, (x, y)) in z.iter_mut().zip(both()) {
                *z = any(x, y);
            }
        }
    }
}

/// c₀ + x (c₁ + x (c₂ + ...)), in Horner's order.
macro_rules! polynomial {
    ($x:expr; $last:expr $(,)?) => { $last };
    ($x:expr; $first:expr, $($rest:expr),+ $(,)?) => { $first + $x * polynomial!($x; $($rest),+) };
}
use polynomial;
