//! Sums and products of f64 as unevaluated pairs (value, error), without fused operations, and the exact reduction of
//! huge angles.

/// (s, e) with s = fl(a + b) and s + e = a + b exactly, for |a| >= |b| or a = 0 (Dekker 1971).
#[inline(always)]
pub fn fast_two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    (sum, b - (sum - a))
}

/// (s, e) with s = fl(a + b) and s + e = a + b exactly (Knuth).
#[inline(always)]
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

/// (p, e) with p = fl(a b) and p + e = a b to within 2⁻¹⁰⁵ of it, where nothing overflows or underflows. The factors
/// are cut by a mask, not by Veltkamp's multiplication, so that large factors do not overflow.
#[inline(always)]
pub fn two_product(a: f64, b: f64) -> (f64, f64) {
    const HIGH: u64 = !((1 << 27) - 1);
    let (a_high, b_high) = (f64::from_bits(a.to_bits() & HIGH), f64::from_bits(b.to_bits() & HIGH));
    let (a_low, b_low) = (a - a_high, b - b_high);
    let product = a * b;
    let error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    (product, error)
}

/// A word of zeros, then the first 1216 bits of 2/π.
const TWO_OVER_PI: [u64; 20] = [
    0,
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
];

/// (q, high, low) with x = q π/2 + high + low for q modulo 4 and |high| <= π/4, for finite |x| >= 2²⁰: Payne and
/// Hanek's reduction with 192 bits of 2/π, 137 of which are right in the fraction (no f64 is closer than 2⁻⁶² to a
/// multiple of π/2). NaN for ±∞ and NaN.
#[cold]
#[inline(never)]
pub fn reduce_huge(x: f64) -> (u64, f64, f64) {
    if !x.is_finite() {
        return (0, f64::NAN, f64::NAN);
    }
    let bits = x.to_bits();
    let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
    // |x| = mantissa 2^exponent. Bits of 2/π whose product is a multiple of 4 are skipped; 64 for the word of zeros.
    let exponent = ((bits >> 52) & 0x7FF) as i64 - 1075;
    let skip = (exponent - 2 + 64).max(0) as usize;
    let (word, shift) = (skip / 64, skip % 64);
    let window = |i: usize| {
        let both = (u128::from(TWO_OVER_PI[word + i]) << 64) | u128::from(TWO_OVER_PI[word + i + 1]);
        (both << shift >> 64) as u64
    };
    let multiply = |word: u64, carry: u128| u128::from(mantissa) * u128::from(word) + carry;
    let third = multiply(window(2), 0);
    let second = multiply(window(1), third >> 64);
    let first = multiply(window(0), second >> 64);
    let (first, second, third) = (first as u64, second as u64, third as u64);

    let quadrant = first >> 62;
    let mut fraction = [(first << 2) | (second >> 62), (second << 2) | (third >> 62), third << 2];
    let round_up = fraction[0] >> 63;
    if round_up == 1 {
        // The complement is the negated fraction to within 2⁻¹⁹².
        fraction = fraction.map(|word| !word);
    }
    let (turn, low) = convert(fraction);
    let (product, error) = two_product(turn, HALF_PI);
    let (high, low) = fast_two_sum(product, error + (turn * HALF_PI_LOW + low * HALF_PI));
    let sign = if (round_up == 1) == (x < 0.0) { 1.0 } else { -1.0 };
    let quadrant = if x < 0.0 { (quadrant + round_up).wrapping_neg() } else { quadrant + round_up };
    (quadrant, sign * high, sign * low)
}

const HALF_PI: f64 = std::f64::consts::FRAC_PI_2;
const HALF_PI_LOW: f64 = 6.123233995736766e-17;

/// 0.fraction (192 bits, the first word the highest) as an f64 and what it lacks.
fn convert(fraction: [u64; 3]) -> (f64, f64) {
    let top = (u128::from(fraction[0]) << 64) | u128::from(fraction[1]);
    let zeros = top.leading_zeros().min(64);
    let rest = if zeros == 0 { 0 } else { u128::from(fraction[2]) << 64 >> (128 - zeros) };
    let bits = (top << zeros) | rest;
    let power = |exponent: i64| f64::from_bits(((1023 + exponent) as u64) << 52);
    let zeros = i64::from(zeros);
    let high = (bits >> 75) as f64 * power(75 - 128 - zeros);
    let low = ((bits >> 22) as u64 & ((1 << 53) - 1)) as f64 * power(22 - 128 - zeros);
    (high, low)
}
