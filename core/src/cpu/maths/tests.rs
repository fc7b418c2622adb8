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

const SINGLES: [Single; 10] = [
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

type Double = (&'static str, fn(f64, f64) -> f64, f64);

const DOUBLES: [Double; 11] = [
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
    let table: [Row; 14] = [
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
    if let Some(y) = results.next() {
        sin_slice(x, y);
    }
    if let Some(y) = results.next() {
        cos_slice(x, y);
    }
    if let Some(y) = results.next() {
        for (i, y) in y.iter_mut().enumerate() {
            *y = pow(x[i], x[x.len() - 1 - i]);
        }
    }
}

simd! {
    /// [`evaluate`] with the machine's vector instructions.
    fn evaluate_vectors<T: Maths>(x: &[T], y: &mut [T]) {
        evaluate(x, y)
    }
}

/// What both functions make of x, which must be the same.
fn results<T: Maths + Default + Into<f64>>(x: &[T]) -> Vec<T> {
    let (mut base, mut vectors) = (vec![T::default(); 11 * x.len()], vec![T::default(); 11 * x.len()]);
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
    for (i, &x) in single.iter().enumerate() {
        let (sine, cosine) = (results[8 * single.len() + i], results[9 * single.len() + i]);
        assert!(same(sine.into(), sin(x).into()) && same(cosine.into(), cos(x).into()), "{x}");
    }
}
