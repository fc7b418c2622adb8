//! The functions of f64.
//!
//! The polynomials are minimax fits (Remez's algorithm in 45 digits), the rational functions weighted least-squares
//! fits iterated towards minimax, each with the weight that makes its error one of the function's result; that error
//! is named as a power of two.

use super::pair::{fast_two_sum, reduce_huge, two_product, two_sum};
use super::{Maths, polynomial};

pub mod angles;
pub mod hyperbolic;
pub mod powers;

pub use super::rounding::double::*;
pub use angles::{acos, asin, atan, atan2, tan, tan_moderate};
pub use hyperbolic::{acosh, asinh, atanh, cosh, sinh};
pub use powers::{cbrt, exp2, hypot, log2, log10};

const LN2_HIGH: f64 = 0.6931471805598903;
const LN2_LOW: f64 = 5.497923018708371e-14;

/// 1.5 2⁵²: adding it rounds to an integer (ties to even) and leaves that in the low bits.
const ROUNDER: f64 = 6755399441055744.0;

/// A power of two, as an integer in f64 and in the low bits of a u64.
#[derive(Clone, Copy)]
struct Exponent {
    value: f64,
    bits: u64,
}

/// x to the nearest integer, for |x| < 2⁵¹.
#[inline(always)]
fn nearest(x: f64) -> Exponent {
    let shifted = x + ROUNDER;
    Exponent { value: shifted - ROUNDER, bits: shifted.to_bits() }
}

/// 2ⁿ for the n in the low bits, -1022 <= n <= 1023.
#[inline(always)]
pub(super) fn power(bits: u64) -> f64 {
    f64::from_bits(bits.wrapping_add(1023) << 52)
}

/// x 2ⁿ, rounded once, for x near 1 and |n| <= 2044.
#[inline(always)]
fn scale(x: f64, n: Exponent) -> f64 {
    let half = (n.value * 0.5 + ROUNDER).to_bits();
    x * power(half) * power(n.bits.wrapping_sub(half))
}

/// x within [low, high]; NaN stays.
#[inline(always)]
fn clamp(x: f64, low: f64, high: f64) -> f64 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// t with exp(r + low) - 1 = r + t for |r| <= 0.35: (e^r - 1 - r) / r² by a polynomial of degree 10, 2⁻⁶¹·⁷.
#[inline(always)]
fn exp_kernel(r: f64, low: f64) -> f64 {
    let sum = r + low;
    let q = polynomial!(sum;
        0.5, 0.16666666666666677, 0.041666666666666505, 0.008333333333321653, 0.0013888888888962567,
        0.00019841269886074865, 2.4801587172311097e-05, 2.7557244252701198e-06, 2.755740270367558e-07,
        2.510902498913695e-08, 2.0875351402842133e-09,
    );
    low + sum * sum * q
}

/// (n, r, t) with high + low = n ln 2 + r, |r| <= 0.35, and e^r - 1 = r + t: Cody and Waite's reduction with ln 2 in two
/// parts, and [`exp_kernel`].
#[inline(always)]
fn exponential(high: f64, low: f64) -> (Exponent, f64, f64) {
    let n = nearest(high * std::f64::consts::LOG2_E);
    let r = high - n.value * LN2_HIGH;
    (n, r, exp_kernel(r, low - n.value * LN2_LOW))
}

/// (n, p, e) with exp(high + low) = (p + e) 2ⁿ, p in [0.7, 1.42].
#[inline(always)]
fn exp_pair(high: f64, low: f64) -> (Exponent, f64, f64) {
    let (n, r, tail) = exponential(high, low);
    let (sum, error) = fast_two_sum(1.0, r);
    let (p, error) = fast_two_sum(sum, error + tail);
    (n, p, error)
}

/// exp: see [`exponential`]. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let (n, p, _) = exp_pair(clamp(x, -746.0, 710.0), 0.0);
    scale(p, n)
}

/// expm1: 2ⁿ (e^r - 1) + (2ⁿ - 1) with the error of the sum kept, see [`exponential`]. At most 1 ulp; domain: all x.
#[inline(always)]
pub fn expm1(x: f64) -> f64 {
    let (n, r, tail) = exponential(clamp(x, -40.0, 710.0), 0.0);
    // Half of the result, so that 2ⁿ does not overflow before it does.
    let scale = power(n.bits.wrapping_sub(1));
    let offset = scale - 0.5;
    let lost = -0.5 - (offset - scale);
    let (sum, error) = fast_two_sum(offset, scale * r);
    let result = (sum + (error + scale * tail + lost)) * 2.0;
    if x.abs() < 1e-17 { x } else { result }
}

const SQRT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;

/// (k, f) with x = 2ᵏ (1 + f), 1 + f in [√½, √2), for normal x > 0.
#[inline(always)]
pub(super) fn decompose(x: f64) -> (f64, f64) {
    let bits = x.to_bits().wrapping_add(0x3FF0_0000_0000_0000 - SQRT_HALF);
    // The biased exponent under the exponent of 2⁵² is that number: a conversion that every vector unit has.
    let k = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4503599627370496.0 + 1023.0);
    let m = f64::from_bits((bits & ((1 << 52) - 1)) + SQRT_HALF);
    (k, m - 1.0)
}

/// [`decompose`] of any finite x > 0.
#[inline(always)]
fn decompose_any(x: f64) -> (f64, f64) {
    let subnormal = x < f64::MIN_POSITIVE;
    let (k, f) = decompose(if subnormal { x * 18014398509481984.0 } else { x });
    (if subnormal { k - 54.0 } else { k }, f)
}

/// (h, r) with log(1 + f) = f - (h - r) for |f| <= 0.42: log(1 + f) = 2 atanh(s) with s = f / (2 + f), as
/// f - (f²/2 - s (f²/2 + R)) (Tang 1990); R / s² by a polynomial of degree 6 in s², 2⁻⁵⁹·⁵.
#[inline(always)]
fn logarithm_parts(f: f64) -> (f64, f64) {
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * polynomial!(z;
        0.6666666666666735, 0.39999999999412894, 0.28571428742824306, 0.22222198524637193, 0.1818356703169922,
        0.15313976896481257, 0.147967290940029,
    );
    let half_square = 0.5 * f * f;
    (half_square, s * (half_square + r))
}

/// k ln 2 + log(1 + f) + c for |f| <= 0.42 and a small c: see [`logarithm_parts`].
#[inline(always)]
fn logarithm(k: f64, f: f64, c: f64) -> f64 {
    let (half_square, rest) = logarithm_parts(f);
    k * LN2_HIGH - ((half_square - (rest + (k * LN2_LOW + c))) - f)
}

/// log: see [`logarithm`]. At most 1 ulp; domain: x >= 0.
#[inline(always)]
pub fn log(x: f64) -> f64 {
    let (k, f) = decompose_any(x);
    let result = logarithm(k, f, 0.0);
    let outside = if x == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
    let result = if x > 0.0 { result } else { outside };
    if x < f64::INFINITY { result } else { x }
}

/// log1p: the logarithm of u = fl(1 + x) with the correction (1 + x - u) / u, or of 1 + x itself where u needs no
/// scaling, see [`logarithm`]. At most 1 ulp; domain: x >= -1.
#[inline(always)]
pub fn log1p(x: f64) -> f64 {
    let u = 1.0 + x;
    let (k, f) = decompose(u);
    let lost = if x < 1.0 { x - (u - 1.0) } else { 1.0 - (u - x) };
    let unscaled = k == 0.0;
    let correction = if unscaled { 0.0 } else { lost / u };
    let result = logarithm(k, if unscaled { x } else { f }, correction);
    let result = if x.abs() < 1e-17 { x } else { result };
    let outside = if x == -1.0 { f64::NEG_INFINITY } else { f64::NAN };
    let result = if x > -1.0 { result } else { outside };
    if x < f64::INFINITY { result } else { x }
}

/// tanh: x + x³ P(x²) below 0.5625 with P of degree 11, 2⁻⁶⁴·⁹; 1 - 2 / (exp(2 |x|) + 1) above. At most 1.5 ulp; domain:
/// all x.
#[inline(always)]
pub fn tanh(x: f64) -> f64 {
    let magnitude = x.abs();
    let z = x * x;
    let small = x + x
        * (z * polynomial!(z;
            -0.3333333333333333, 0.1333333333333291, -0.053968253967935705, 0.021869488524101276, -0.00886323526182142,
            0.003592124230518989, -0.0014557982188462561, 0.0005897916115026674, -0.00023806609486970855,
            9.363297533599849e-05, -3.2533500718860914e-05, 7.204641010582222e-06,
        ));
    let (n, p, _) = exp_pair(2.0 * clamp(magnitude, 0.0, 20.0), 0.0);
    let large = 1.0 - 2.0 / (p * power(n.bits) + 1.0);
    (if magnitude < 0.5625 { small } else { large }).copysign(x)
}

/// sigmoid: with e = exp(-|x|), 1 / (1 + e) for x >= 0 and e / (1 + e) for x < 0, corrected by the rounding errors of
/// e and 1 + e. At most 1.5 ulp; domain: all x.
#[inline(always)]
pub fn sigmoid(x: f64) -> f64 {
    let (n, p, p_error) = exp_pair(-clamp(x.abs(), 0.0, 746.0), 0.0);
    let e = scale(p, n);
    let (sum, sum_error) = fast_two_sum(1.0, e);
    let negative = x < 0.0;
    let quotient = if negative { p } else { 1.0 } / sum;
    // The errors relative to p and to the sum, with lines for 1/p on [0.7, 1.42] and 1/sum on [1, 2]: 6 % is enough.
    let p_relative = if negative { p_error * (2.06 - p) } else { 0.0 };
    let sum_relative = (sum_error + p_error * e) * (1.457 - 0.5 * sum);
    let result = quotient + quotient * (p_relative - sum_relative);
    if negative { scale(result, n) } else { result }
}

/// erf: x + x P(x²) below 1 with P of degree 12, 2⁻⁶²·⁷; 1 - exp(-Q(|x| - 1)) above with Q of degree 18 fitted on
/// [1, 6], 2⁻⁵⁹·⁵. At most 1.5 ulp; domain: all x.
#[inline(always)]
pub fn erf(x: f64) -> f64 {
    let magnitude = x.abs();
    let z = x * x;
    let small = x + x * polynomial!(z;
        0.1283791670955126, -0.3761263890318375, 0.11283791670954857, -0.02686617064507289, 0.005223977624780827,
        -0.0008548326978740135, 0.00012055331036831244, -1.4925593505399624e-05, 1.6460972795314164e-06,
        -1.6350025013616315e-07, 1.4657878565440317e-08, -1.13656614817626e-09, 5.945254872443436e-11,
    );
    let t = clamp(magnitude, 1.0, 6.0) - 1.0;
    let q = polynomial!(t;
        1.8496055099332482, 2.6389675142347886, 0.843107256358659, 0.04156109804218261, -0.0100338253784591,
        0.001977902594033157, -0.0002373225906842839, -2.6277562360362158e-05, 2.7158476391551404e-05,
        -9.607959596413387e-06, 2.0587432817369556e-06, -1.420371544070718e-07, -9.805671263228752e-08,
        5.226711000274922e-08, -1.4986613539246413e-08, 2.8814497963826893e-09, -3.709418464041463e-10,
        2.9064928545371793e-11, -1.0495265980497441e-12,
    );
    let (n, p, _) = exp_pair(-q, 0.0);
    let large = 1.0 - p * power(n.bits);
    if magnitude < 1.0 { small } else { large.copysign(x) }
}

/// erfinv: x + x R(0.7225 - x²) for |x| <= 0.85 with R rational of degrees 8 and 7, 2⁻⁵⁷·⁰; t + S(t) above with
/// t = √-log(1 - |x|) and S rational of degrees 8 and 8, 2⁻⁵⁵·⁷ (variables as in Wichura 1988, AS 241). R and S are
/// small, so their rounding errors are too. At most 3 ulp; domain: [-1, 1].
#[inline(always)]
pub fn erfinv(x: f64) -> f64 {
    let magnitude = x.abs();
    let v = 0.7225 - x * x;
    let numerator = polynomial!(v;
        0.19753231156709133, 1.325208716026417, 1.2983819273227957, -8.56895382990794, -24.724264525351533,
        -23.922656507045563, -8.788929183507415, -0.9333250270353707, -0.003111471787043581,
    );
    let denominator = polynomial!(v;
        1.0, 11.26363505584025, 49.518926963837906, 107.7604704964208, 121.68270382179075, 68.37804328335997,
        16.642982429279662, 1.2237605895139663,
    );
    let central = x + x * (numerator / denominator);
    let t = (-log(1.0 - magnitude)).sqrt();
    let numerator = polynomial!(t;
        -0.0006252055040232645, -0.9922177479518042, -1.468104734507216, -2.248737308662555, -1.5878666723216022,
        -0.3946868464158115, -0.03383976990991856, -0.000738672625530955, -7.207914691991526e-07,
    );
    let denominator = polynomial!(t;
        1.0, 2.310401614857401, 4.444233298272729, 4.758512334657579, 4.054002542012698, 1.6531443722587156,
        0.27909262520083, 0.017055267769314555, 0.00025623172099162826,
    );
    let tail = if magnitude < 1.0 { t + numerator / denominator } else { t };
    (if magnitude <= 0.85 { central } else { tail }).copysign(x)
}

/// (q, high, low) with x = q π/2 + high + low for q modulo 4 in the low bits, |x| <= [`Maths::MODERATE`]: Cody and
/// Waite's reduction with π/2 in three parts of 33 bits, whose products with q < 2²⁰ are exact, and a rest.
#[inline(always)]
fn reduce_moderate(x: f64) -> (u64, f64, f64) {
    let q = nearest(x * std::f64::consts::FRAC_2_PI);
    let (high, first) = two_sum(x - q.value * 1.5707963267341256, -(q.value * 6.077100506303966e-11));
    let (high, second) = two_sum(high, -(q.value * 2.0222662487111665e-21));
    let (high, low) = fast_two_sum(high, (first + second) - q.value * 8.4784276603689e-32);
    (q.bits, high, low)
}

/// The sine and cosine of high + low for |high| <= 0.79, each as a term and a smaller one: (sin r - r) / r³ by a
/// polynomial of degree 5 in r², 2⁻⁵⁷·⁹; (cos r - 1 + r²/2) / r⁴ by one of degree 5, 2⁻⁶³·⁹.
#[inline(always)]
fn series(high: f64, low: f64) -> [(f64, f64); 2] {
    let z = high * high;
    let p = z * polynomial!(z;
        -0.1666666666666663, 0.008333333333322063, -0.00019841269829542753, 2.755731360457858e-06,
        -2.5050745046039555e-08, 1.5896067983710042e-10,
    );
    let half = 0.5 * z;
    let sin = (high, high * p + (low - low * half));
    let p = polynomial!(z;
        0.041666666666666595, -0.0013888888888872975, 2.4801587288799967e-05, -2.7557314163960113e-07,
        2.0875698706430205e-09, -1.135842341513865e-11,
    );
    let (one, error) = fast_two_sum(1.0, -half);
    [sin, (one, error + (z * z * p - high * low))]
}

/// sin(q π/2 + high + low) for |high| <= 0.79: see [`series`].
#[inline(always)]
fn sine(q: u64, high: f64, low: f64) -> f64 {
    let [sin, cos] = series(high, low);
    let (sin, cos) = (sin.0 + sin.1, cos.0 + cos.1);
    let result = if q & 1 == 0 { sin } else { cos };
    f64::from_bits(result.to_bits() ^ ((q & 2) << 62))
}

/// sin for |x| <= [`Maths::MODERATE`]: see [`reduce_moderate`] and [`sine`]. At most 1 ulp.
#[inline(always)]
pub fn sin_moderate(x: f64) -> f64 {
    let (q, high, low) = reduce_moderate(x);
    let result = sine(q, high, low);
    if x.abs() < 1e-8 { x } else { result }
}

/// cos for |x| <= [`Maths::MODERATE`]: see [`reduce_moderate`] and [`sine`]. At most 1 ulp.
#[inline(always)]
pub fn cos_moderate(x: f64) -> f64 {
    let (q, high, low) = reduce_moderate(x);
    sine(q.wrapping_add(1), high, low)
}

/// sin: [`sin_moderate`], or Payne and Hanek's reduction. At most 1 ulp; domain: finite x.
#[inline(always)]
pub fn sin(x: f64) -> f64 {
    if x.abs() <= f64::MODERATE {
        return sin_moderate(x);
    }
    let (q, high, low) = reduce_huge(x);
    sine(q, high, low)
}

/// cos: [`cos_moderate`], or Payne and Hanek's reduction. At most 1 ulp; domain: finite x.
#[inline(always)]
pub fn cos(x: f64) -> f64 {
    if x.abs() <= f64::MODERATE {
        return cos_moderate(x);
    }
    let (q, high, low) = reduce_huge(x);
    sine(q.wrapping_add(1), high, low)
}

/// (h, l) with log(x) = h + l to about 2⁻⁶⁵ of it, for finite x > 0: 2 atanh(s) as s (2 + s² (2/3 + s² P(s²))) with
/// all but P in pairs; P of degree 6, 2⁻⁶⁶·³.
#[inline(always)]
fn log_pair(x: f64) -> (f64, f64) {
    const TWO_THIRDS_LOW: f64 = 3.700743415417188e-17;
    let (k, f) = decompose_any(x);
    let (d, d_error) = fast_two_sum(2.0, f);
    let inverse = 1.0 / d;
    let s = f * inverse;
    let (product, error) = two_product(s, d);
    let s_error = (((f - product) - error) - s * d_error) * inverse;

    let (z, z_error) = two_product(s, s);
    let z_error = z_error + 2.0 * s * s_error;
    let p = z
        * z
        * polynomial!(z;
            0.4000000000000226, 0.2857142857009597, 0.222222225205925, 0.18181784306468857, 0.15386760213562958,
            0.13256748703815052, 0.13196986334163033,
        );
    let (t, t_error) = two_product(z, 2.0 / 3.0);
    let (t, sum_error) = fast_two_sum(t, p);
    let t_error = sum_error + (t_error + (z_error * (2.0 / 3.0) + z * TWO_THIRDS_LOW));
    let (u, u_error) = two_product(s, t);
    let u_error = u_error + (s * t_error + s_error * t);

    let (high, first) = fast_two_sum(k * LN2_HIGH, 2.0 * s);
    let (high, second) = fast_two_sum(high, u);
    fast_two_sum(high, first + second + (2.0 * s_error + u_error + k * LN2_LOW))
}

/// pow: exp(y log |x|) with the logarithm and the product in pairs, see [`log_pair`] and [`exponential`]. At most 1
/// ulp; domain: x >= 0, or an integer y.
#[inline(always)]
pub fn pow(x: f64, y: f64) -> f64 {
    let (high, low) = log_pair(x.abs());
    let (product, error) = two_product(y, high);
    let (n, p, _) = exp_pair(clamp(product, -800.0, 800.0), error + y * low);
    pow_special(x, y, y * high, scale(p, n))
}

/// pow(x, y) given y log |x| and pow(|x|, y), both right for finite positive |x|.
#[inline(always)]
pub(super) fn pow_special(x: f64, y: f64, exponent: f64, power: f64) -> f64 {
    let magnitude = x.abs();
    let exponent = if magnitude == 0.0 { y * f64::NEG_INFINITY } else { exponent };
    let exponent = if magnitude == f64::INFINITY { y * f64::INFINITY } else { exponent };
    let power = if exponent > 750.0 { f64::INFINITY } else { power };
    let power = if exponent < -750.0 { 0.0 } else { power };

    // From 2⁵² on, y is an integer whose last bit is its mantissa's; from 2⁵³ on, an even one.
    let size = y.abs();
    let shifted = size + 4503599627370496.0;
    let below = size < 4503599627370496.0;
    let integer = !below | (shifted - 4503599627370496.0 == size);
    let parity = if below { shifted.to_bits() } else { size.to_bits() };
    let odd = integer & (size < 9007199254740992.0) & (parity & 1 == 1);
    let sign = if odd { x.to_bits() & (1 << 63) } else { 0 };
    let power = f64::from_bits(power.to_bits() ^ sign);

    let undefined = (x < 0.0) & (magnitude < f64::INFINITY) & !integer;
    let power = if undefined | x.is_nan() | y.is_nan() { f64::NAN } else { power };
    let one = (y == 0.0) | (x == 1.0) | ((x == -1.0) & (size == f64::INFINITY));
    if one { 1.0 } else { power }
}
