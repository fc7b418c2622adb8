//! Element types, how they promote, and dispatch from a dtype to a Rust type.

use crate::error::{Error, Result};
use std::fmt;

pub use half::{bf16, f16};

/// The element type of a tensor. The numbers are part of the C API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool = 1,
    /// Signed, 8 bits.
    I8 = 2,
    /// Signed, 16 bits.
    I16 = 3,
    /// Signed, 32 bits.
    I32 = 4,
    /// Signed, 64 bits.
    I64 = 5,
    /// Unsigned, 8 bits.
    U8 = 6,
    /// Unsigned, 16 bits.
    U16 = 7,
    /// Unsigned, 32 bits.
    U32 = 8,
    /// Unsigned, 64 bits.
    U64 = 9,
    /// IEEE half precision; computed in `F32`.
    F16 = 10,
    /// The upper half of an `F32`; computed in `F32`.
    BF16 = 11,
    /// IEEE single precision.
    F32 = 12,
    /// IEEE double precision.
    F64 = 13,
}

use DType::*;

impl DType {
    /// Every dtype, in the order of their numbers.
    pub const ALL: [DType; 13] = [Bool, I8, I16, I32, I64, U8, U16, U32, U64, F16, BF16, F32, F64];

    /// The name that the array API, NumPy and program files use.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 13] = [
            "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "bfloat16",
            "float32", "float64",
        ];
        NAMES[self as usize - 1]
    }

    /// The dtype of that name.
    ///
    /// # Errors
    /// `dtype`: nothing has that name.
    pub fn parse(name: &str) -> Result<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
            let known: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
            Error::dtype(format!("no dtype is named {name:?}; there are {}", known.join(", ")))
        })
    }

    /// The dtype of that number in the C API.
    pub fn from_number(number: i32) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| *dtype as i32 == number)
    }

    /// Bytes an element takes.
    pub fn size(self) -> usize {
        match self {
            Bool | I8 | U8 => 1,
            I16 | U16 | F16 | BF16 => 2,
            I32 | U32 | F32 => 4,
            I64 | U64 | F64 => 8,
        }
    }

    /// Whether it is one of the four floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, F16 | BF16 | F32 | F64)
    }

    /// Whether it is a signed or unsigned integer (`bool` is not).
    pub fn is_integer(self) -> bool {
        !self.is_float() && self != Bool
    }

    /// Whether it is a signed integer.
    pub fn is_signed(self) -> bool {
        matches!(self, I8 | I16 | I32 | I64)
    }

    /// The type that element-wise loops compute in: storage types widen to 32 bits.
    pub fn compute(self) -> DType {
        match self {
            F16 | BF16 => F32,
            I8 | I16 => I32,
            U8 | U16 => U32,
            other => other,
        }
    }

    /// The common dtype of two by the array API's table, extended by `bfloat16` (with `float16` it gives
    /// `float32`); `None` where the array API leaves the pair undefined (mixed kinds, `uint64` with signed).
    pub fn promote(self, other: DType) -> Option<DType> {
        if self == other {
            return Some(self);
        }
        let (small, large) = if self.size() <= other.size() { (self, other) } else { (other, self) };
        if small.is_float() && large.is_float() {
            return Some(if small.size() == large.size() { F32 } else { large });
        }
        if !(small.is_integer() && large.is_integer()) {
            return None;
        }
        if small.is_signed() == large.is_signed() || (large.is_signed() && small.size() < large.size()) {
            return Some(large);
        }
        match large.size() {
            1 => Some(I16),
            2 => Some(I32),
            4 => Some(I64),
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of dtypes: what an op's input may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DTypes(u16);

impl DTypes {
    /// The empty set.
    pub const NONE: DTypes = DTypes(0);
    /// `bool` alone.
    pub const BOOL: DTypes = DTypes::of(&[Bool]);
    /// The signed integers.
    pub const SIGNED: DTypes = DTypes::of(&[I8, I16, I32, I64]);
    /// All integers.
    pub const INTEGER: DTypes = DTypes::of(&[I8, I16, I32, I64, U8, U16, U32, U64]);
    /// The floating-point types.
    pub const FLOAT: DTypes = DTypes::of(&[F16, BF16, F32, F64]);
    /// Integers and floating-point types.
    pub const NUMERIC: DTypes = DTypes(DTypes::INTEGER.0 | DTypes::FLOAT.0);
    /// `bool` and the integers.
    pub const BITS: DTypes = DTypes(DTypes::BOOL.0 | DTypes::INTEGER.0);
    /// Every dtype.
    pub const ALL: DTypes = DTypes(DTypes::BITS.0 | DTypes::FLOAT.0);
    /// What an index may be.
    pub const INDEX: DTypes = DTypes::of(&[I32, I64]);
    /// The words of a random key.
    pub const KEY: DTypes = DTypes::of(&[U32]);

    /// The set of these.
    pub const fn of(dtypes: &[DType]) -> DTypes {
        let (mut bits, mut i) = (0, 0);
        while i < dtypes.len() {
            bits |= 1 << dtypes[i] as u16;
            i += 1;
        }
        DTypes(bits)
    }

    /// Whether `dtype` is one of them.
    pub fn contains(self, dtype: DType) -> bool {
        self.0 & 1 << dtype as u16 != 0
    }

    /// Its members, in the order of [`DType::ALL`].
    pub fn iter(self) -> impl Iterator<Item = DType> {
        DType::ALL.into_iter().filter(move |dtype| self.contains(*dtype))
    }
}

impl fmt::Display for DTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(DType::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// A Rust type that tensors store. `u8` stands for both `uint8` and `bool`.
pub trait Element: Copy + Default + PartialEq + Send + Sync + 'static {
    /// The dtypes whose elements have this type.
    const DTYPES: DTypes;
}

macro_rules! elements {
    ($($type:ty => [$($dtype:ident),*]),* $(,)?) => {
        $(impl Element for $type { const DTYPES: DTypes = DTypes::of(&[$($dtype),*]); })*
    };
}

elements! {
    u8 => [Bool, U8], i8 => [I8], i16 => [I16], i32 => [I32], i64 => [I64], u16 => [U16], u32 => [U32], u64 => [U64],
    f16 => [F16], bf16 => [BF16], f32 => [F32], f64 => [F64],
}

/// Towards zero, but odd if inexact: rounding that again to at most half of the digits gives what rounding once had
/// given (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd").
#[inline(always)]
pub fn round_to_odd(value: f64) -> f32 {
    let near = value as f32;
    let back = f64::from(near);
    let truncated = near.to_bits().wrapping_sub(u32::from(back.abs() > value.abs()));
    let odd = f32::from_bits(truncated | 1);
    if back == value || value.is_nan() { near } else { odd }
}

/// The nearest `float16`, ties to even. (The conversions from f64 of the half crate drop the lower digits.)
pub fn to_f16(value: f64) -> f16 {
    f16::from_f32(round_to_odd(value))
}

/// The nearest `bfloat16`, ties to even.
pub fn to_bf16(value: f64) -> bf16 {
    bf16::from_f32(round_to_odd(value))
}

/// Runs the body with `$T` bound to the element type of `$dtype`.
#[macro_export]
macro_rules! dispatch {
    ($dtype:expr, $T:ident => $body:expr) => {{
        use $crate::dtype::DType;
        match $dtype {
            DType::Bool | DType::U8 => {
                type $T = u8;
                $body
            }
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
            DType::F16 => {
                type $T = $crate::dtype::f16;
                $body
            }
            DType::BF16 => {
                type $T = $crate::dtype::bf16;
                $body
            }
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
        }
    }};
}

/// Runs the body with `$T` bound to an unsigned type as wide as `$dtype`: for kernels that only move elements.
#[macro_export]
macro_rules! dispatch_width {
    ($dtype:expr, $T:ident => $body:expr) => {{
        match $dtype.size() {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_follows_the_array_api() {
        let table = [
            (I8, I16, Some(I16)),
            (U8, U64, Some(U64)),
            (U8, I8, Some(I16)),
            (U16, I8, Some(I32)),
            (U32, I32, Some(I64)),
            (U8, I64, Some(I64)),
            (U64, I8, None),
            (F16, F32, Some(F32)),
            (F16, BF16, Some(F32)),
            (BF16, F64, Some(F64)),
            (Bool, I32, None),
            (I32, F32, None),
        ];
        for (a, b, expected) in table {
            assert_eq!(a.promote(b), expected, "{a} with {b}");
            assert_eq!(b.promote(a), expected, "{b} with {a}");
        }
    }

    #[test]
    fn narrow_floats_are_the_nearest_with_ties_to_even() {
        let half_unit = 2f64.powi(-11);
        let rows = [
            (1.0 + half_unit, 1.0),
            (1.0 + half_unit + 2f64.powi(-52), 1.0 + 2.0 * half_unit),
            (1.0 + half_unit - 2f64.powi(-53), 1.0),
            (1.0 + 3.0 * half_unit, 1.0 + 4.0 * half_unit),
            (1.0 + 3.0 * half_unit - 2f64.powi(-52), 1.0 + 2.0 * half_unit),
            (2f64.powi(-25), 0.0),
            (2f64.powi(-25) * (1.0 + 2f64.powi(-52)), 2f64.powi(-24)),
            (65519.999999999, 65504.0),
            (65520.0, f64::INFINITY),
            (1e300, f64::INFINITY),
            (1e-300, 0.0),
        ];
        for (value, expected) in rows {
            assert_eq!(to_f16(value).to_f64(), expected, "{value:e}");
            assert_eq!(to_f16(-value).to_f64(), -expected, "{:e}", -value);
        }
        let half_unit = 2f64.powi(-8);
        let rows = [
            (1.0 + half_unit, 1.0),
            (1.0 + half_unit + 2f64.powi(-52), 1.0 + 2.0 * half_unit),
            (1.0 + 3.0 * half_unit, 1.0 + 4.0 * half_unit),
            (1.0 + 3.0 * half_unit - 2f64.powi(-52), 1.0 + 2.0 * half_unit),
            (1e-300, 0.0),
            (1e300, f64::INFINITY),
        ];
        for (value, expected) in rows {
            assert_eq!(to_bf16(value).to_f64(), expected, "{value:e}");
            assert_eq!(to_bf16(-value).to_f64(), -expected, "{:e}", -value);
        }
        for bits in 0..=u16::MAX {
            let (narrow, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert!(narrow.is_nan() && to_f16(narrow.to_f64()).is_nan() || to_f16(narrow.to_f64()).to_bits() == bits);
            assert!(brain.is_nan() && to_bf16(brain.to_f64()).is_nan() || to_bf16(brain.to_f64()).to_bits() == bits);
        }
    }

    #[test]
    fn names_and_numbers_round_trip() {
        for dtype in DType::ALL {
            assert_eq!(DType::parse(dtype.name()), Ok(dtype));
            assert_eq!(DType::from_number(dtype as i32), Some(dtype));
        }
        assert!(DType::parse("float").unwrap_err().to_string().starts_with("no dtype is named \"float\""));
    }
}
