//! Integers near a number, and division with remainder. All are exact but for sums and quotients that no number of the
//! type is.

macro_rules! rounding {
    ($T:ty, $whole:expr) => {
        /// From here on every number is an integer, and adding it rounds to one (ties to even).
        const WHOLE: $T = $whole;

        /// The nearest integer, of two the even one.
        #[inline(always)]
        pub fn round(x: $T) -> $T {
            let magnitude = x.abs();
            let rounded = (magnitude + WHOLE) - WHOLE;
            (if magnitude < WHOLE { rounded } else { magnitude }).copysign(x)
        }

        /// The greatest integer that is not above.
        #[inline(always)]
        pub fn floor(x: $T) -> $T {
            let rounded = round(x);
            (if rounded > x { rounded - 1.0 } else { rounded }).copysign(x)
        }

        /// The least integer that is not below.
        #[inline(always)]
        pub fn ceil(x: $T) -> $T {
            let rounded = round(x);
            (if rounded < x { rounded + 1.0 } else { rounded }).copysign(x)
        }

        /// The nearest integer that is not further from zero.
        #[inline(always)]
        pub fn trunc(x: $T) -> $T {
            let (rounded, magnitude) = (round(x).abs(), x.abs());
            (if rounded > magnitude { rounded - 1.0 } else { rounded }).copysign(x)
        }

        /// The remainder, given that of the magnitudes.
        #[inline(always)]
        fn signed_remainder(x: $T, y: $T, rest: $T) -> $T {
            let opposite = x.is_sign_negative() != y.is_sign_negative();
            let turned = if rest == 0.0 { rest } else { y.abs() - rest };
            (if opposite { turned } else { rest }).copysign(y)
        }

        /// The quotient rounded down, given the whole part and the remainder of the quotient of the magnitudes.
        #[inline(always)]
        fn signed_quotient(x: $T, y: $T, quotient: $T, rest: $T) -> $T {
            let opposite = x.is_sign_negative() != y.is_sign_negative();
            let more = if opposite & (rest > 0.0) { quotient + 1.0 } else { quotient };
            let result = if opposite { -more } else { more };
            if y == 0.0 { x / y } else { result }
        }

        /// x - floor(x / y) y; see [`super::super::remainder`].
        #[inline(always)]
        pub fn remainder(x: $T, y: $T) -> $T {
            signed_remainder(x, y, divide(x, y).1)
        }

        /// floor(x / y); see [`super::super::floor_divide`].
        #[inline(always)]
        pub fn floor_divide(x: $T, y: $T) -> $T {
            let (quotient, rest) = divide(x, y);
            signed_quotient(x, y, quotient, rest)
        }

        /// [`remainder`] where the quotient [`is_moderate`].
        #[inline(always)]
        pub fn remainder_moderate(x: $T, y: $T) -> $T {
            signed_remainder(x, y, divide_moderate(x, y).1)
        }

        /// [`floor_divide`] where the quotient [`is_moderate`].
        #[inline(always)]
        pub fn floor_divide_moderate(x: $T, y: $T) -> $T {
            let (quotient, rest) = divide_moderate(x, y);
            signed_quotient(x, y, quotient, rest)
        }

        /// The whole part and the remainder of |x| / |y|.
        #[inline(always)]
        fn divide(x: $T, y: $T) -> ($T, $T) {
            if is_moderate(x, y) { divide_moderate(x, y) } else { divide_any(x, y) }
        }
    };
}

/// Of f64.
pub mod double {
    use crate::cpu::maths::double::power;
    use crate::cpu::maths::pair::two_product;

    rounding!(f64, 4503599627370496.0);

    /// Whether [`divide_moderate`] is right: the quotient has 30 bits, and its product with y is exact.
    #[inline(always)]
    pub fn is_moderate(x: f64, y: f64) -> bool {
        let (a, b) = (x.abs(), y.abs());
        (a <= b * 1073741824.0) & (b > 0.0) & (b < f64::INFINITY) & (a < 1e300)
    }

    /// The remainder for a quotient that is one too large by rounding is negative, and exact as well.
    #[inline(always)]
    fn divide_moderate(x: f64, y: f64) -> (f64, f64) {
        let (a, b) = (x.abs(), y.abs());
        let quotient = trunc(a / b);
        let (product, error) = two_product(quotient, b);
        let rest = (a - product) - error;
        if rest < 0.0 { (quotient - 1.0, rest + b) } else { (quotient, rest) }
    }

    /// Any quotient: long division of the mantissas, 11 bits at a time. NaN for infinite x and y = 0.
    #[cold]
    #[inline(never)]
    fn divide_any(x: f64, y: f64) -> (f64, f64) {
        let (a, b) = (x.abs(), y.abs());
        if !(a < f64::INFINITY && b > 0.0) {
            return (f64::NAN, f64::NAN);
        }
        if a < b {
            return (0.0, a);
        }
        let parts = |x: f64| {
            let (biased, fraction) = ((x.to_bits() >> 52) as i64, x.to_bits() & ((1 << 52) - 1));
            if biased == 0 { (fraction, 1) } else { (fraction | 1 << 52, biased) }
        };
        let ((dividend, high), (divisor, low)) = (parts(a), parts(b));
        let (mut rest, mut shift) = (dividend % divisor, high - low);
        while shift > 0 {
            let step = shift.min(11);
            rest = (rest << step) % divisor;
            shift -= step;
        }
        let exponent = low - 1075;
        let scaled = |exponent: i64| power(exponent as u64);
        let rest = rest as f64 * scaled(exponent / 2) * scaled(exponent - exponent / 2);
        (round((a - rest) / b), rest)
    }
}

/// Of f32, by way of f64.
pub mod single {
    use super::double;

    rounding!(f32, 8388608.0);

    /// Whether [`divide_moderate`] is right: the quotient has 29 bits, so its product with y is exact in f64.
    #[inline(always)]
    pub fn is_moderate(x: f32, y: f32) -> bool {
        let (a, b) = (x.abs(), y.abs());
        (a <= b * 536870912.0) & (b > 0.0) & (b < f32::INFINITY) & (a < f32::INFINITY)
    }

    /// No quotient of f32 is so near to an integer below which it is that f64 rounds to it.
    #[inline(always)]
    fn divide_moderate(x: f32, y: f32) -> (f32, f32) {
        let (a, b) = (f64::from(x.abs()), f64::from(y.abs()));
        let quotient = double::trunc(a / b);
        (quotient as f32, (a - quotient * b) as f32)
    }

    /// Any quotient.
    #[inline(always)]
    fn divide_any(x: f32, y: f32) -> (f32, f32) {
        let (x, y) = (f64::from(x), f64::from(y));
        let quotient = double::floor_divide(x.abs(), y.abs());
        (quotient as f32, double::remainder(x.abs(), y.abs()) as f32)
    }
}
