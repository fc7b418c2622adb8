//! Accuracy of f32 over a sweep of all bit patterns, against std's f64 functions; of f64 at the points of
//! reference.txt; special values; equal bits with and without vector instructions.
//!
//! A line of reference.txt is a function, the bits of its arguments and of the correctly rounded result, and how far the
//! exact result is from that, in ulp. It was computed with mpmath in 400 bits (sin and cos: 1500), for edge cases and
//! random arguments.

use super::*;
use crate::cpu::simd::simd;

/// The exponent of the leading bit, that of the least normal number for subnormals.
fn exponent(x: f64) -> i32 {
    (((x.to_bits() >> 52) & 0x7FF) as i32 - 1023).max(-1022)
}

/// The distance between the f32 numbers around x.
fn ulp(x: f64) -> f64 {
    2f64.powi(exponent(x).max(-126) - 23)
}

/// The error in ulp of an f32 result.
fn error_single(got: f32, expected: f64) -> f64 {
    let rounded = expected as f32;
    if got.is_finite() && rounded.is_finite() {
        return (f64::from(got) - expected).abs() / ulp(expected);
    }
    if got == rounded || (got.is_nan() && rounded.is_nan()) { 0.0 } else { f64::INFINITY }
}

/// The error in ulp of an f64 result, whose exact value is `expected` + `rest` ulp.
fn error_double(got: f64, expected: f64, rest: f64) -> f64 {
    // In steps, because the ulp itself can be below the range of f64.
    let distance = (got - expected) * 2f64.powi(52);
    let half = exponent(expected) / 2;
    let error = (distance * 2f64.powi(-half) * 2f64.powi(half - exponent(expected)) - rest).abs();
    if error.is_nan() { f64::INFINITY } else { error }
}

struct Single {
    name: &'static str,
    function: fn(f32) -> f32,
    reference: fn(f64) -> f64,
    limit: f64,
}

const SINGLES: [Single; 23] = [
    Single { name: "exp", function: exp, reference: f64::exp, limit: 1.0 },
    Single { name: "expm1", function: expm1, reference: f64::exp_m1, limit: 1.0 },
    Single { name: "log", function: log, reference: f64::ln, limit: 1.0 },
    Single { name: "log1p", function: log1p, reference: f64::ln_1p, limit: 1.0 },
    Single { name: "tanh", function: tanh, reference: f64::tanh, limit: 1.5 },
    Single { name: "sigmoid", function: sigmoid, reference: |x| 1.0 / (1.0 + (-x).exp()), limit: 1.5 },
    // The f64 functions are held to reference.txt.
    Single { name: "erf", function: erf, reference: erf, limit: 1.5 },
    Single { name: "erfinv", function: erfinv, reference: erfinv, limit: 1.0 },
    Single { name: "sin", function: sin, reference: f64::sin, limit: 1.0 },
    Single { name: "cos", function: cos, reference: f64::cos, limit: 1.0 },
    Single { name: "tan", function: tan, reference: f64::tan, limit: 1.0 },
    Single { name: "asin", function: asin, reference: f64::asin, limit: 1.0 },
    Single { name: "acos", function: acos, reference: f64::acos, limit: 1.0 },
    Single { name: "atan", function: atan, reference: f64::atan, limit: 1.0 },
    Single { name: "sinh", function: sinh, reference: f64::sinh, limit: 1.0 },
    Single { name: "cosh", function: cosh, reference: f64::cosh, limit: 1.0 },
    Single { name: "asinh", function: asinh, reference: asinh, limit: 1.0 },
    Single { name: "acosh", function: acosh, reference: acosh, limit: 1.0 },
    Single { name: "atanh", function: atanh, reference: atanh, limit: 1.0 },
    Single { name: "log2", function: log2, reference: f64::log2, limit: 1.0 },
    Single { name: "log10", function: log10, reference: f64::log10, limit: 1.0 },
    Single { name: "exp2", function: exp2, reference: f64::exp2, limit: 1.0 },
    Single { name: "cbrt", function: cbrt, reference: f64::cbrt, limit: 1.0 },
];

/// Every how many-th bit pattern is tested: a prime, so that all exponents and many mantissas occur.
const STRIDE: usize = if cfg!(debug_assertions) { 40_009 } else { 2_003 };

#[test]
fn f32_functions_keep_their_error_over_all_bit_patterns() {
    for Single { name, function, reference, limit } in SINGLES {
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(STRIDE) {
            let x = f32::from_bits(bits);
            let error = error_single(function(x), reference(f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
        println!("{name} of f32: {:.3} ulp at {:e}", worst.0, worst.1);
        assert!(worst.0 <= limit, "{name}({:e}): {} ulp", worst.1, worst.0);
    }
}

/// Numbers that look random, the same in every run.
fn scatter(i: u64) -> u64 {
    let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 27)
}

#[test]
fn f32_pow_keeps_its_error_over_scattered_pairs() {
    let mut worst = (0.0, 0.0, 0.0);
    for i in 0..(1u64 << 32) / STRIDE as u64 {
        let random = scatter(i);
        let any = f32::from_bits(random as u32);
        let y = f32::from_bits((random >> 32) as u32);
        // Half of them within the range of results, x near 1 among them; the others anywhere.
        let (x, y) = match i % 4 {
            0 => (any.abs(), 200.0 * (y.to_bits() as f32 / 4294967296.0 - 0.5) / any.abs().ln()),
            1 => (1.0 + (any.to_bits() as f32 / 4294967296.0 - 0.5) / 64.0, y),
            2 => (any, (y.to_bits() >> 24) as f32 - 128.0),
            _ => (any, y),
        };
        let error = error_single(pow(x, y), f64::from(x).powf(f64::from(y)));
        if error > worst.0 {
            worst = (error, x, y);
        }
    }
    println!("pow of f32: {:.3} ulp at {:e}, {:e}", worst.0, worst.1, worst.2);
    assert!(worst.0 <= 1.0, "pow({:e}, {:e}): {} ulp", worst.1, worst.2, worst.0);
}

#[test]
fn f32_functions_of_two_keep_their_error_over_scattered_pairs() {
    type Pair = (&'static str, fn(f32, f32) -> f32, fn(f64, f64) -> f64);
    let table: [Pair; 2] = [("atan2", atan2, f64::atan2), ("hypot", hypot, f64::hypot)];
    for (name, function, reference) in table {
        let mut worst = (0.0, 0.0, 0.0);
        for i in 0..(1u64 << 32) / STRIDE as u64 {
            let random = scatter(i);
            let x = f32::from_bits(random as u32);
            let any = f32::from_bits((random >> 32) as u32);
            // Half of them of like magnitudes.
            let y = if i % 2 == 0 { any } else { x * (any.to_bits() as f32 / 1073741824.0 - 2.0) };
            let error = error_single(function(x, y), reference(f64::from(x), f64::from(y)));
            if error > worst.0 {
                worst = (error, x, y);
            }
        }
        println!("{name} of f32: {:.3} ulp at {:e}, {:e}", worst.0, worst.1, worst.2);
        assert!(worst.0 <= 1.0, "{name}({:e}, {:e}): {} ulp", worst.1, worst.2, worst.0);
    }
}

type Double = (&'static str, fn(f64, f64) -> f64, f64);

const DOUBLES: [Double; 26] = [
    ("exp", |x, _| exp(x), 1.0),
    ("expm1", |x, _| expm1(x), 1.0),
    ("log", |x, _| log(x), 1.0),
    ("log1p", |x, _| log1p(x), 1.0),
    ("tanh", |x, _| tanh(x), 1.5),
    ("sigmoid", |x, _| sigmoid(x), 1.5),
    ("erf", |x, _| erf(x), 1.5),
    ("erfinv", |x, _| erfinv(x), 3.0),
    ("sin", |x, _| sin(x), 1.0),
    ("cos", |x, _| cos(x), 1.0),
    ("pow", pow, 1.0),
    ("tan", |x, _| tan(x), 1.0),
    ("asin", |x, _| asin(x), 1.0),
    ("acos", |x, _| acos(x), 1.0),
    ("atan", |x, _| atan(x), 1.0),
    ("sinh", |x, _| sinh(x), 1.0),
    ("cosh", |x, _| cosh(x), 1.0),
    ("asinh", |x, _| asinh(x), 1.0),
    ("acosh", |x, _| acosh(x), 1.5),
    ("atanh", |x, _| atanh(x), 1.5),
    ("log2", |x, _| log2(x), 1.0),
    ("log10", |x, _| log10(x), 1.0),
    ("exp2", |x, _| exp2(x), 1.0),
    ("cbrt", |x, _| cbrt(x), 1.0),
    ("atan2", atan2, 1.5),
    ("hypot", hypot, 1.0),
];

#[test]
fn f64_functions_keep_their_error_at_the_reference_points() {
    for (name, function, limit) in DOUBLES {
        let (mut worst, mut points) = ((0.0, 0.0, 0.0), 0);
        for line in include_str!("reference.txt").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if words[0] != name {
                continue;
            }
            let number = |word: &str| f64::from_bits(u64::from_str_radix(word, 16).unwrap());
            let (x, y) = (number(words[1]), number(words[words.len() - 3]));
            let got = function(x, y);
            let error = error_double(got, number(words[words.len() - 2]), words[words.len() - 1].parse().unwrap());
            points += 1;
            if error > worst.0 {
                worst = (error, x, y);
            }
        }
        println!("{name} of f64: {:.3} ulp at {:e}, {:e} of {points} points", worst.0, worst.1, worst.2);
        assert!(points >= 100 && worst.0 <= limit, "{name}({:e}, {:e}): {} ulp", worst.1, worst.2, worst.0);
    }
}

/// The same number, signs of zeros included, or both NaN.
fn same(got: f64, expected: f64) -> bool {
    got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan())
}

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

#[test]
fn special_values_are_those_of_c99() {
    type Row = (&'static str, fn(f64) -> f64, fn(f32) -> f32, &'static [(f64, f64)]);
    let odd: &[(f64, f64)] = &[(0.0, 0.0), (-0.0, -0.0), (NAN, NAN)];
    let table: [Row; 40] = [
        ("exp", exp, exp, &[(-INF, 0.0), (INF, INF), (0.0, 1.0), (-0.0, 1.0), (NAN, NAN), (1e30, INF), (-1e30, 0.0)]),
        ("expm1", expm1, expm1, &[(-INF, -1.0), (INF, INF), (1e30, INF), (-1e30, -1.0)]),
        ("expm1", expm1, expm1, odd),
        ("log", log, log, &[(0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN), (1.0, 0.0), (NAN, NAN)]),
        ("log1p", log1p, log1p, &[(-1.0, -INF), (-1.5, NAN), (-INF, NAN), (INF, INF)]),
        ("log1p", log1p, log1p, odd),
        ("tanh", tanh, tanh, &[(INF, 1.0), (-INF, -1.0), (1e30, 1.0), (-1e30, -1.0)]),
        ("tanh", tanh, tanh, odd),
        ("sigmoid", sigmoid, sigmoid, &[(-INF, 0.0), (INF, 1.0), (0.0, 0.5), (-0.0, 0.5), (NAN, NAN), (-1e30, 0.0)]),
        ("erf", erf, erf, &[(INF, 1.0), (-INF, -1.0), (1e30, 1.0), (0.0, 0.0), (-0.0, -0.0), (NAN, NAN)]),
        ("erfinv", erfinv, erfinv, &[(1.0, INF), (-1.0, -INF), (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN)]),
        ("erfinv", erfinv, erfinv, odd),
        ("sin", sin, sin, &[(INF, NAN), (-INF, NAN), (0.0, 0.0), (-0.0, -0.0), (NAN, NAN)]),
        ("cos", cos, cos, &[(INF, NAN), (-INF, NAN), (0.0, 1.0), (-0.0, 1.0), (NAN, NAN)]),
        ("tan", tan, tan, &[(INF, NAN), (-INF, NAN)]),
        ("tan", tan, tan, odd),
        ("asin", asin, asin, &[(1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN)]),
        ("asin", asin, asin, odd),
        ("acos", acos, acos, &[(1.0, 0.0), (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN), (NAN, NAN)]),
        ("atan", atan, atan, odd),
        ("sinh", sinh, sinh, &[(INF, INF), (-INF, -INF), (1e30, INF), (-1e30, -INF)]),
        ("sinh", sinh, sinh, odd),
        ("cosh", cosh, cosh, &[(INF, INF), (-INF, INF), (0.0, 1.0), (-0.0, 1.0), (1e30, INF), (NAN, NAN)]),
        ("asinh", asinh, asinh, &[(INF, INF), (-INF, -INF)]),
        ("asinh", asinh, asinh, odd),
        ("acosh", acosh, acosh, &[(1.0, 0.0), (0.5, NAN), (-2.0, NAN), (-INF, NAN), (INF, INF), (NAN, NAN)]),
        ("atanh", atanh, atanh, &[(1.0, INF), (-1.0, -INF), (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN)]),
        ("atanh", atanh, atanh, odd),
        ("log2", log2, log2, &[(0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN), (1.0, 0.0)]),
        ("log10", log10, log10, &[(0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN), (1.0, 0.0)]),
        ("log of NaN", |x| log2(x) + log10(x), |x| log2(x) + log10(x), &[(NAN, NAN)]),
        (
            "exp2",
            exp2,
            exp2,
            &[(-INF, 0.0), (INF, INF), (0.0, 1.0), (-0.0, 1.0), (NAN, NAN), (1e30, INF), (-1e30, 0.0)],
        ),
        ("cbrt", cbrt, cbrt, &[(INF, INF), (-INF, -INF), (8.0, 2.0), (-27.0, -3.0), (1.0, 1.0), (0.125, 0.5)]),
        ("cbrt", cbrt, cbrt, odd),
        ("round", round, round, &[(0.5, 0.0), (-0.5, -0.0), (1.5, 2.0), (2.5, 2.0), (-2.5, -2.0), (INF, INF)]),
        ("round", round, round, &[(0.25, 0.0), (-0.75, -1.0), (TWO_90, TWO_90), (-INF, -INF), (8388607.5, 8388608.0)]),
        ("floor", floor, floor, &[(0.5, 0.0), (-0.5, -1.0), (0.75, 0.0), (-1.5, -2.0), (2.0, 2.0), (-INF, -INF)]),
        ("ceil", ceil, ceil, &[(0.5, 1.0), (-0.5, -0.0), (-0.75, -0.0), (1.25, 2.0), (-2.0, -2.0), (INF, INF)]),
        ("trunc", trunc, trunc, &[(0.75, 0.0), (-0.75, -0.0), (-1.5, -1.0), (2.5, 2.0), (-2.0, -2.0), (INF, INF)]),
        ("integers", |x| floor(ceil(trunc(round(x)))), |x| floor(ceil(trunc(round(x)))), odd),
    ];
    for (name, double, single, rows) in table {
        for &(x, expected) in rows {
            assert!(same(double(x), expected), "{name} of f64: {x} gives {}, not {expected}", double(x));
            let got = f64::from(single(x as f32));
            assert!(same(got, expected), "{name} of f32: {x} gives {got}, not {expected}");
        }
    }
}

#[test]
fn special_cases_of_pow_are_those_of_ieee_754() {
    let (even, odd, huge) = (2.0, 3.0, 1e30);
    #[rustfmt::skip]
    let table = [
        (NAN, 0.0, 1.0), (NAN, -0.0, 1.0), (INF, 0.0, 1.0), (0.0, 0.0, 1.0), (-2.0, 0.0, 1.0), (1.0, NAN, 1.0),
        (1.0, INF, 1.0), (1.0, -INF, 1.0), (-1.0, INF, 1.0), (-1.0, -INF, 1.0), (NAN, 1.0, NAN), (2.0, NAN, NAN),
        (-1.0, NAN, NAN), (0.0, NAN, NAN), (-2.0, 0.5, NAN), (-1.0, 0.5, NAN), (-2.0, odd, -8.0), (-2.0, even, 4.0),
        (-2.0, -odd, -0.125), (-1.0, 1e7 + 1.0, -1.0), (-1.0, huge, 1.0), (-1.0, 16777215.0, -1.0),
        (-1.0, 8388607.0, -1.0), (-1.0, 8388608.0, 1.0), (-1.0, 16777216.0, 1.0),
        (0.0, odd, 0.0), (-0.0, odd, -0.0), (-0.0, even, 0.0), (-0.0, 0.5, 0.0), (0.0, -odd, INF), (-0.0, -odd, -INF),
        (-0.0, -even, INF), (-0.0, -0.5, INF), (0.0, INF, 0.0), (-0.0, -INF, INF), (INF, odd, INF), (INF, -odd, 0.0),
        (-INF, odd, -INF), (-INF, even, INF), (-INF, 0.5, INF), (-INF, -odd, -0.0), (-INF, -even, 0.0),
        (-INF, -0.5, 0.0), (INF, INF, INF), (INF, -INF, 0.0), (-INF, INF, INF), (-INF, -INF, 0.0), (0.5, INF, 0.0),
        (0.5, -INF, INF), (2.0, INF, INF), (2.0, -INF, 0.0), (-2.0, INF, INF), (-0.5, INF, 0.0), (2.0, huge, INF),
        (2.0, -huge, 0.0), (-2.0, huge, INF), (2.0, 1.0, 2.0),
    ];
    for (x, y, expected) in table {
        assert!(same(pow(x, y), expected), "of f64: pow({x}, {y}) = {}, not {expected}", pow(x, y));
        let got = f64::from(pow(x as f32, y as f32));
        assert!(same(got, expected), "of f32: pow({x}, {y}) = {got}, not {expected}");
    }
    assert!(same(pow(-1.0, 9007199254740991.0), -1.0) && same(pow(-1.0, 4503599627370495.5), NAN));
    assert!(same(pow(-1.0, 4503599627370497.0), -1.0) && same(pow(-1.0, 9007199254740992.0), 1.0));
}

const PI: f64 = std::f64::consts::PI;

#[test]
fn special_cases_of_functions_of_two_are_those_of_c99_and_python() {
    type Row = (&'static str, fn(f64, f64) -> f64, fn(f32, f32) -> f32, &'static [(f64, f64, f64)]);
    #[rustfmt::skip]
    let table: [Row; 5] = [
        ("atan2", atan2, atan2, &[
            (0.0, 1.0, 0.0), (-0.0, 1.0, -0.0), (0.0, -1.0, PI), (-0.0, -1.0, -PI), (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0),
            (0.0, -0.0, PI), (-0.0, -0.0, -PI), (1.0, 0.0, PI / 2.0), (-1.0, 0.0, -PI / 2.0), (1.0, -0.0, PI / 2.0),
            (1.0, INF, 0.0), (-1.0, INF, -0.0), (1.0, -INF, PI), (-1.0, -INF, -PI), (INF, 1.0, PI / 2.0),
            (-INF, -1.0, -PI / 2.0), (INF, INF, PI / 4.0), (-INF, INF, -PI / 4.0), (INF, -INF, 0.75 * PI),
            (-INF, -INF, -0.75 * PI), (NAN, 1.0, NAN), (1.0, NAN, NAN), (1.0, 1.0, PI / 4.0), (-2.0, -2.0, -0.75 * PI),
        ]),
        ("hypot", hypot, hypot, &[
            (0.0, 0.0, 0.0), (-0.0, 0.0, 0.0), (-3.0, 4.0, 5.0), (0.0, -7.0, 7.0), (INF, NAN, INF), (NAN, -INF, INF),
            (-INF, 1.0, INF), (NAN, 1.0, NAN), (0.0, NAN, NAN), (3.0 * TWO_90, 4.0 * TWO_90, 5.0 * TWO_90),
        ]),
        ("hypot", |x, y| hypot(x * TWO_900, y * TWO_900) / TWO_900, |x, y| hypot(x / 1e20, y / 1e20) * 1e20, &[
            (3.0, 4.0, 5.0), (0.0, 0.0, 0.0),
        ]),
        ("remainder", remainder, remainder, &[
            (7.0, 3.0, 1.0), (-7.0, 3.0, 2.0), (7.0, -3.0, -2.0), (-7.0, -3.0, -1.0), (6.0, 3.0, 0.0),
            (-6.0, 3.0, 0.0), (6.0, -3.0, -0.0), (0.0, 3.0, 0.0), (-0.0, 3.0, 0.0), (0.0, -3.0, -0.0), (1.0, 0.0, NAN), (0.0, 0.0, NAN),
            (INF, 3.0, NAN), (1.0, INF, 1.0), (-1.0, INF, INF), (1.0, -INF, -INF), (-0.0, INF, 0.0), (INF, INF, NAN),
            (NAN, 1.0, NAN), (1.0, NAN, NAN), (0.5, 1e30, 0.5),
            (TWO_90, 3.0, 1.0), (-TWO_90, 3.0, 2.0), (-1e-30, 1.0, 1.0),
        ]),
        ("floor_divide", floor_divide, floor_divide, &[
            (7.0, 3.0, 2.0), (-7.0, 3.0, -3.0), (7.0, -3.0, -3.0), (-7.0, -3.0, 2.0), (6.0, -3.0, -2.0),
            (0.0, 3.0, 0.0), (-0.0, 3.0, -0.0), (0.0, -3.0, -0.0), (1.0, 0.0, INF), (-1.0, 0.0, -INF), (0.0, 0.0, NAN), (INF, 3.0, NAN),
            (1.0, INF, 0.0), (-1.0, INF, -1.0), (NAN, 1.0, NAN), (1.0, NAN, NAN), (TWO_90, 0.5, 2.0 * TWO_90),
            (-1e-30, 1.0, -1.0), (-1e-30, 1e30, -1.0),
        ]),
    ];
    for (name, double, single, rows) in table {
        for &(x, y, expected) in rows {
            assert!(same(double(x, y), expected), "{name}({x}, {y}) of f64 is {}, not {expected}", double(x, y));
            let got = single(x as f32, y as f32);
            assert!(same(got.into(), (expected as f32).into()), "{name}({x}, {y}) of f32 is {got}, not {expected}");
        }
    }
}

const TWO_90: f64 = (1u128 << 90) as f64;
const TWO_900: f64 = f64::from_bits((1023 + 900) << 52);

#[test]
fn logarithms_powers_and_roots_of_exact_results_are_exact() {
    for k in -1074i32..=1023 {
        let power = 2f64.powi(k / 2) * 2f64.powi(k - k / 2);
        assert_eq!((log2(power), exp2(f64::from(k))), (f64::from(k), power));
        if let Ok(small) = i16::try_from(k).map(f32::from)
            && (-149..=127).contains(&k)
        {
            assert_eq!((log2(power as f32), exp2(small)), (small, power as f32));
        }
    }
    for k in 0..=22 {
        let text = format!("1e{k}");
        assert_eq!(log10(text.parse::<f64>().unwrap()), f64::from(k));
        if k <= 10 {
            assert_eq!(log10(text.parse::<f32>().unwrap()), k as f32);
        }
    }
    for i in -200_000i64..=200_000 {
        let root = i as f64;
        assert_eq!(cbrt(root * root * root), root);
        if i.abs() <= 256 {
            assert_eq!(cbrt((root * root * root) as f32), root as f32);
        }
    }
}

#[test]
fn rounding_and_remainders_are_those_of_std() {
    fn floored(x: f64, y: f64) -> f64 {
        let rest = x % y;
        let rest = if rest != 0.0 && (rest < 0.0) != (y < 0.0) { rest + y } else { rest };
        if rest.is_nan() { rest } else { rest.abs().copysign(y) }
    }
    let mut moderate = 0;
    for i in 0..200_000 {
        let any = [f64::from_bits(scatter(2 * i)), f64::from_bits(scatter(2 * i + 1))];
        let near = [(scatter(i) % 4001) as f64 / 8.0 - 250.0, (scatter(i) >> 32) as f64 / 1e8 - 21.0];
        let [x, y] = match i % 4 {
            0 => any,
            1 => near,
            2 => [near[0].trunc() * near[1], near[1]],
            _ => [any[0], any[0] / near[1]],
        };
        let (a, b) = (x as f32, y as f32);
        for (got, expected) in [(round(x), x.round_ties_even()), (floor(x), x.floor()), (ceil(x), x.ceil())] {
            assert!(same(got, expected), "{x:e}");
        }
        assert!(same(trunc(x), x.trunc()) && same(round(a).into(), a.round_ties_even().into()), "{x:e}");
        assert!(same(remainder(x, y), floored(x, y)), "{x:e} % {y:e}: {:e}", remainder(x, y));
        let wide = floored(a.into(), b.into());
        assert!(same(remainder(a, b).into(), (wide as f32).into()), "{a:e} % {b:e}: {:e}", remainder(a, b));
        moderate += u64::from(f64::is_moderate_quotient(x, y));
        let quotient = floor_divide(x, y);
        let exact = (x - x % y) / y;
        if exact.abs() < 2f64.powi(50) && x.is_finite() {
            let expected = exact.round_ties_even() - f64::from(x % y != 0.0 && (x < 0.0) != (y < 0.0));
            assert_eq!(quotient, expected, "{x:e} // {y:e}");
        }
    }
    assert!((120_000..180_000).contains(&moderate), "{moderate}");
}

/// All functions of x, one after another in y.
#[inline(always)]
fn evaluate<T: Maths>(x: &[T], y: &mut [T]) {
    let mut results = y.chunks_exact_mut(x.len());
    macro_rules! each {
        ($($name:ident),+) => {
            $(if let Some(y) = results.next() {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = $name(x);
                }
            })+
        };
    }
    each!(exp, expm1, log, log1p, tanh, sigmoid, erf, erfinv);
    let reversed = |i: usize| x[x.len() - 1 - i];
    if let Some(y) = results.next() {
        sin_slice(x, y);
    }
    if let Some(y) = results.next() {
        cos_slice(x, y);
    }
    each!(asin, acos, atan, sinh, cosh, asinh, acosh, atanh, log2, log10, exp2, cbrt, round, floor, ceil, trunc);
    macro_rules! each_pair {
        ($($name:ident),+) => {
            $(if let Some(y) = results.next() {
                for (i, y) in y.iter_mut().enumerate() {
                    *y = $name(x[i], reversed(i));
                }
            })+
        };
    }
    each_pair!(pow, atan2, hypot);
    if let Some(y) = results.next() {
        tan_slice(x, y);
    }
    let (half, rest) = x.split_at(x.len() / 2);
    for slice in [remainder_slice, floor_divide_slice] {
        if let Some(y) = results.next() {
            slice(half, &rest[..half.len()], &mut y[..half.len()]);
        }
    }
}

simd! {
    /// [`evaluate`] with the machine's vector instructions.
    fn evaluate_vectors<T: Maths>(x: &[T], y: &mut [T]) {
        evaluate(x, y)
    }
}

/// How many functions [`evaluate`] has.
const FUNCTIONS: usize = 32;

/// What both functions make of x, which must be the same.
fn results<T: Maths + Default + Into<f64>>(x: &[T]) -> Vec<T> {
    let (mut base, mut vectors) = (vec![T::default(); FUNCTIONS * x.len()], vec![T::default(); FUNCTIONS * x.len()]);
    evaluate(x, &mut base);
    evaluate_vectors(x, &mut vectors);
    for (i, (&a, &b)) in base.iter().zip(&vectors).enumerate() {
        assert!(same(a.into(), b.into()), "function {}, argument {}", i / x.len(), x[i % x.len()].into());
    }
    base
}

#[test]
fn vector_instructions_do_not_change_the_bits() {
    const COUNT: u64 = 3000;
    // Blocks of any numbers, then blocks of moderate ones.
    let mixed = |any: fn(u64) -> f64| move |i| if i < COUNT / 2 { any(i) } else { i as f64 * 0.37 - 700.0 };
    let single: Vec<f32> =
        (0..COUNT).map(mixed(|i| f32::from_bits(scatter(i) as u32).into())).map(|x| x as f32).collect();
    let double: Vec<f64> = (0..COUNT).map(mixed(|i| f64::from_bits(scatter(i)))).collect();
    results(&double);
    let results = results(&single);
    let half = single.len() / 2;
    for (i, &x) in single.iter().enumerate() {
        if i < half {
            let y = single[half + i];
            let (rest, quotient) = (results[30 * single.len() + i], results[31 * single.len() + i]);
            assert!(same(rest.into(), remainder(x, y).into()), "{x} % {y}");
            assert!(same(quotient.into(), floor_divide(x, y).into()), "{x} // {y}");
        }
        assert!(same(results[29 * single.len() + i].into(), tan(x).into()), "{x}");
        let (sine, cosine) = (results[8 * single.len() + i], results[9 * single.len() + i]);
        assert!(same(sine.into(), sin(x).into()) && same(cosine.into(), cos(x).into()), "{x}");
    }
}
