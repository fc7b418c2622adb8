//! What instructions mean, for one element at a time and as plainly as possible.

use crate::cpu::maths;
use crate::cpu::memory::cast_slice;
use crate::dtype::DType::{self, *};
use crate::dtype::{bf16, f16};
use crate::scalar::Binary::{self, *};
use crate::scalar::Comparison;
use crate::scalar::Unary::{self, *};

/// A value of any dtype: its number if it is floating-point, else its integer.
#[derive(Debug, Clone, Copy)]
pub enum Scalar {
    Float(f64),
    Integer(i128),
}
pub use Scalar::*;

impl Scalar {
    pub fn float(self) -> f64 {
        match self {
            Float(x) => x,
            Integer(x) => x as f64,
        }
    }

    pub fn integer(self) -> i128 {
        match self {
            Float(_) => panic!("an integer"),
            Integer(x) => x,
        }
    }

    pub fn is(self, other: Scalar) -> bool {
        match (self, other) {
            (Float(x), Float(y)) => x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan(),
            (Integer(x), Integer(y)) => x == y,
            _ => false,
        }
    }
}

pub fn bits(dtype: DType) -> u32 {
    8 * dtype.size() as u32
}

pub fn range(dtype: DType) -> (i128, i128) {
    match (dtype, dtype.is_signed()) {
        (Bool, _) => (0, 1),
        (_, true) => (-(1 << (bits(dtype) - 1)), (1 << (bits(dtype) - 1)) - 1),
        (_, false) => (0, (1 << bits(dtype)) - 1),
    }
}

pub fn wrap(x: i128, dtype: DType) -> Scalar {
    let (low, high) = range(dtype);
    Integer((x - low).rem_euclid(high - low + 1) + low)
}

/// The nearest of a 16-bit type, of two the even one; `guess` has the bits of one beside it. (The conversions from f64
/// of the half crate look at the upper 32 bits only.)
fn nearest(x: f64, guess: u16, value: impl Fn(u16) -> f64, overflow: f64) -> f64 {
    let finite = |bits: u16| value(bits).clamp(-overflow, overflow);
    let candidates = [guess, guess.wrapping_sub(1), guess.wrapping_add(1)];
    let beside = candidates.into_iter().filter(|bits| !value(*bits).is_nan() && (bits ^ guess) >> 15 == 0);
    let far = |bits: &u16| (finite(*bits) - x).abs();
    let best = beside.min_by(|a, b| far(a).total_cmp(&far(b)).then((a & 1).cmp(&(b & 1))));
    best.map_or(f64::NAN, value)
}

fn round(x: f64, dtype: DType) -> Scalar {
    let is_special = x == 0.0 || !x.is_finite();
    Float(match dtype {
        F16 | BF16 if is_special => x,
        F16 => nearest(x, f16::from_f64(x).to_bits(), |bits| f16::from_bits(bits).to_f64(), 65536.0),
        BF16 => nearest(x, bf16::from_f64(x).to_bits(), |bits| bf16::from_bits(bits).to_f64(), 2f64.powi(128)),
        F32 => f64::from(x as f32),
        _ => x,
    })
}

pub fn read(bytes: &[u8], dtype: DType, index: usize) -> Scalar {
    macro_rules! at {
        ($T:ty) => {
            cast_slice::<$T>(bytes)[index]
        };
    }
    match dtype {
        Bool | U8 => Integer(at!(u8).into()),
        I8 => Integer(at!(i8).into()),
        I16 => Integer(at!(i16).into()),
        I32 => Integer(at!(i32).into()),
        I64 => Integer(at!(i64).into()),
        U16 => Integer(at!(u16).into()),
        U32 => Integer(at!(u32).into()),
        U64 => Integer(at!(u64).into()),
        F16 => Float(at!(f16).to_f64()),
        BF16 => Float(at!(bf16).to_f64()),
        F32 => Float(at!(f32).into()),
        F64 => Float(at!(f64)),
    }
}

/// In the dtype's compute type.
fn float_unary(op: Unary, x: f64, dtype: DType) -> f64 {
    macro_rules! in_type {
        ($x:expr) => {
            match op {
                Neg => -$x,
                Abs => $x.abs(),
                Sqrt => $x.sqrt(),
                Rsqrt => 1.0 / $x.sqrt(),
                Exp => maths::exp($x),
                Expm1 => maths::expm1($x),
                Log => maths::log($x),
                Log1p => maths::log1p($x),
                Tanh => maths::tanh($x),
                Sigmoid => maths::sigmoid($x),
                Erf => maths::erf($x),
                ErfInv => maths::erfinv($x),
                Sin => maths::sin($x),
                Cos => maths::cos($x),
                Tan => maths::tan($x),
                Asin => maths::asin($x),
                Acos => maths::acos($x),
                Atan => maths::atan($x),
                Sinh => maths::sinh($x),
                Cosh => maths::cosh($x),
                Asinh => maths::asinh($x),
                Acosh => maths::acosh($x),
                Atanh => maths::atanh($x),
                Log2 => maths::log2($x),
                Log10 => maths::log10($x),
                Exp2 => maths::exp2($x),
                Cbrt => maths::cbrt($x),
                Round => $x.round_ties_even(),
                Floor => $x.floor(),
                Ceil => $x.ceil(),
                Trunc => $x.trunc(),
                Not => panic!("no floats"),
            }
        };
    }
    if dtype == F64 { in_type!(x) } else { in_type!(x as f32).into() }
}

pub fn unary(op: Unary, x: Scalar, dtype: DType) -> Scalar {
    match (op, x) {
        (_, Float(x)) => round(float_unary(op, x, dtype), dtype),
        (Neg, Integer(x)) => wrap(-x, dtype),
        (Abs, Integer(x)) => wrap(x.abs(), dtype),
        (_, Integer(x)) if dtype == Bool => Integer(1 - x),
        (_, Integer(x)) => wrap(!x, dtype),
    }
}

fn float_binary(op: Binary, x: f64, y: f64, dtype: DType) -> f64 {
    macro_rules! in_type {
        ($x:expr, $y:expr) => {
            match op {
                Add => $x + $y,
                Sub => $x - $y,
                Mul => $x * $y,
                Div => $x / $y,
                Remainder => maths::remainder($x, $y),
                FloorDivide => maths::floor_divide($x, $y),
                Pow => maths::pow($x, $y),
                Atan2 => maths::atan2($x, $y),
                Hypot => maths::hypot($x, $y),
                Max | Min if $x.is_nan() => $x,
                Max => {
                    if $x > $y {
                        $x
                    } else {
                        $y
                    }
                }
                Min => {
                    if $x < $y {
                        $x
                    } else {
                        $y
                    }
                }
                _ => panic!("no floats"),
            }
        };
    }
    if dtype == F64 { in_type!(x, y) } else { in_type!(x as f32, y as f32).into() }
}

/// The quotient rounded down.
fn floor_of(x: i128, y: i128) -> i128 {
    if y > 0 { x.div_euclid(y) } else { (-x).div_euclid(-y) }
}

pub fn binary(op: Binary, x: Scalar, y: Scalar, dtype: DType) -> Scalar {
    if dtype.is_float() {
        return round(float_binary(op, x.float(), y.float(), dtype), dtype);
    }
    let (x, y, width) = (x.integer(), y.integer(), i128::from(bits(dtype)));
    let distance = if (0..width).contains(&y) { Some(y) } else { None };
    let result = match op {
        Add if dtype == Bool => x | y,
        Sub if dtype == Bool => x ^ y,
        Add => x + y,
        Sub => x - y,
        Mul => x.wrapping_mul(y),
        Div => x.checked_div(y).unwrap_or(0),
        Remainder | FloorDivide if y == 0 => 0,
        Remainder => x - y * floor_of(x, y),
        FloorDivide => floor_of(x, y),
        Atan2 | Hypot => panic!("no integers"),
        Pow if y < 0 => {
            [(1, 1), (-1, if y % 2 == 0 { 1 } else { -1 })].iter().find(|(b, _)| *b == x).map_or(0, |(_, v)| *v)
        }
        Pow => (0..y.min(4096)).fold(1i128, |product, _| wrap(product.wrapping_mul(x), dtype).integer()),
        Max => x.max(y),
        Min => x.min(y),
        And => x & y,
        Or => x | y,
        Xor => x ^ y,
        ShiftLeft => distance.map_or(0, |y| x << y),
        ShiftRight => distance.map_or(if x < 0 { -1 } else { 0 }, |y| x >> y),
    };
    wrap(result, dtype)
}

pub fn compare(op: Comparison, x: Scalar, y: Scalar) -> Scalar {
    let order = match (x, y) {
        (Integer(x), Integer(y)) => Some(x.cmp(&y)),
        _ => x.float().partial_cmp(&y.float()),
    };
    Integer(i128::from(match op {
        Comparison::Equal => order.is_some_and(|order| order.is_eq()),
        Comparison::NotEqual => !order.is_some_and(|order| order.is_eq()),
        Comparison::Less => order.is_some_and(|order| order.is_lt()),
        Comparison::LessEqual => order.is_some_and(|order| order.is_le()),
    }))
}

pub fn cast(from: DType, to: DType, x: Scalar) -> Scalar {
    match x {
        Float(x) if to == Bool => Integer(i128::from(x != 0.0)),
        Float(x) if !to.is_float() => Integer((x as i128).clamp(range(to).0, range(to).1)),
        Float(x) => round(x, to),
        Integer(x) if to == Bool => Integer(i128::from(x != 0)),
        Integer(x) if to == F64 => Float(x as f64),
        Integer(x) if to.is_float() => round(f64::from(x as f32), to),
        Integer(x) => {
            debug_assert!(!from.is_float());
            wrap(x, to)
        }
    }
}
