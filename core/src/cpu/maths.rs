//! The scalar mathematics of caudal, the same to the bit on every target: additions, multiplications, divisions and
//! square roots of IEEE numbers in one written order, nothing contracted, no libm. (The sign and payload of a NaN are
//! the target's.)
//!
//! Every function has no branch (`if` of values already computed becomes a select) and is `#[inline(always)]`, so a
//! loop over a slice vectorises with the features of the function that it is in. The exceptions are [`sin`] and [`cos`],
//! which call a scalar path for arguments beyond [`Maths::MODERATE`]: loops use [`sin_slice`] and [`cos_slice`].
//!
//! Accuracy over the full domain, in units in the last place of the result (measured by the tests): at most 1.5 for f32
//! and f64, 3 for `erfinv` of f64. Special values are those of C99: see each function.
//!
//! `f32::exp(x)` and `x.exp()` on a concrete type are std's, which calls libm. Write `maths::exp(x)`.

use std::ops::Neg;

mod double;
mod pair;
mod single;

#[cfg(test)]
mod tests;

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident is $method:ident($($x:ident),+);)+) => {
        /// A type with the functions of this module: f32 or f64.
        pub trait Maths: Copy + PartialOrd + Neg<Output = Self> {
            /// The largest magnitude for which [`Maths::portable_sin_moderate`] and
            /// [`Maths::portable_cos_moderate`] are right.
            const MODERATE: Self;
            $(
                #[doc = concat!("[`", stringify!($name), "`].")]
                fn $method($($x: Self),+) -> Self;
            )+
        }

        impl Maths for f32 {
            const MODERATE: f32 = 1_048_576.0;
            $(
                #[inline(always)]
                fn $method($($x: f32),+) -> f32 {
                    single::$name($($x),+)
                }
            )+
        }

        impl Maths for f64 {
            const MODERATE: f64 = 1_048_576.0;
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

#[inline(always)]
fn map_blocks<T: Maths>(x: &[T], y: &mut [T], moderate: impl Fn(T) -> T, any: impl Fn(T) -> T) {
    const BLOCK: usize = 128;
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

/// c₀ + x (c₁ + x (c₂ + ...)), in Horner's order.
macro_rules! polynomial {
    ($x:expr; $last:expr $(,)?) => { $last };
    ($x:expr; $first:expr, $($rest:expr),+ $(,)?) => { $first + $x * polynomial!($x; $($rest),+) };
}
use polynomial;
