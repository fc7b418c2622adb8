//! The loops of instructions over tiles: one small function per instruction and compute type.
//!
//! Of two equal values `Max` and `Min` give the second, so `max(-0.0, +0.0)` is `+0.0` and `max(+0.0, -0.0)` is `-0.0`
//! on every machine. Which NaN a NaN result is, is not defined.

use crate::cpu::maths::{self, Maths};
use crate::cpu::simd::simd;
use crate::dtype::DType;
use crate::scalar::{Binary, Comparison, Unary};

/// As many elements stand for a value that is the same everywhere: loops read them again and again.
pub const BLOCK: usize = 128;

/// What an instruction reads.
#[derive(Debug, Clone, Copy)]
pub struct Operand {
    /// Its first element.
    pub data: *const u8,
    /// How many elements are there, if fewer than the tile has: [`BLOCK`] equal ones.
    pub limit: usize,
}

impl Operand {
    /// A whole tile.
    pub fn tile(data: *const u8) -> Operand {
        Operand { data, limit: usize::MAX }
    }

    /// A block of equal elements.
    pub fn block(data: *const u8) -> Operand {
        Operand { data, limit: BLOCK }
    }

    /// # Safety
    /// The elements that a tile of `count` needs are there, of type `T`, and not written for `'a`.
    pub unsafe fn slice<'a, T>(self, count: usize) -> &'a [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data.cast(), count.min(self.limit)) }
    }
}

/// Computes `count` elements at `out` from as many of each operand; operands that the instruction has not are ignored.
///
/// Safety: `out` and the operands are of the instruction's types, aligned and long enough, and `out` overlaps no operand.
pub type Loop = unsafe fn(out: *mut u8, operands: [Operand; 3], count: usize);

/// A function of one value.
pub trait Map1<X, O>: Copy + Default {
    /// Its value.
    fn apply(self, x: X) -> O;

    /// Its values for slices of one length.
    #[inline(always)]
    fn apply_all(self, out: &mut [O], x: &[X])
    where
        X: Copy,
    {
        for (out, x) in out.iter_mut().zip(x) {
            *out = self.apply(*x);
        }
    }
}

/// A function of two values.
pub trait Map2<X, O>: Copy + Default {
    /// Whether an operand that is the same everywhere gets a loop of its own, which reads it once.
    const SPLATS: bool = false;

    /// Its value.
    fn apply(self, x: X, y: X) -> O;

    /// Its values for slices of one length.
    #[inline(always)]
    fn apply_all(self, out: &mut [O], x: &[X], y: &[X])
    where
        X: Copy,
    {
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = self.apply(*x, *y);
        }
    }
}

#[inline(always)]
pub fn part<T>(x: &[T], start: usize, len: usize) -> &[T] {
    if start + len <= x.len() { &x[start..start + len] } else { &x[..len] }
}

simd! {
    fn map1<X: Copy, O: Copy, F: Map1<X, O>>(out: &mut [O], x: &[X], f: F) {
        let block = out.len().min(x.len()).max(1);
        for (i, out) in out.chunks_mut(block).enumerate() {
            let x = part(x, i * block, out.len());
            f.apply_all(out, x);
        }
    }
}

simd! {
    fn map2<X: Copy, O: Copy, F: Map2<X, O>>(out: &mut [O], x: &[X], y: &[X], f: F) {
        if F::SPLATS && x.len() != y.len() {
            // The shorter one is a block of equal elements.
            match (x, y) {
                (x, &[y, ..]) if x.len() == out.len() => {
                    return out.iter_mut().zip(x).for_each(|(out, x)| *out = f.apply(*x, y));
                }
                (&[x, ..], y) if y.len() == out.len() => {
                    return out.iter_mut().zip(y).for_each(|(out, y)| *out = f.apply(x, *y));
                }
                _ => {}
            }
        }
        let block = out.len().min(x.len()).min(y.len()).max(1);
        for (i, out) in out.chunks_mut(block).enumerate() {
            let (x, y) = (part(x, i * block, out.len()), part(y, i * block, out.len()));
            f.apply_all(out, x, y);
        }
    }
}

/// An unsigned type as wide as the values that are chosen from.
trait Word: Copy {
    fn choose(condition: u8, yes: Self, no: Self) -> Self;
}

macro_rules! words {
    ($($T:ty),*) => {
        $(impl Word for $T {
            /// With a mask, as LLVM makes an `if` a choice of addresses, and the loop gathers.
            #[inline(always)]
            fn choose(condition: u8, yes: $T, no: $T) -> $T {
                let mask = <$T>::from(condition != 0).wrapping_neg();
                no ^ ((no ^ yes) & mask)
            }
        })*
    };
}
words!(u8, u32, u64);

simd! {
    fn choose<X: Word>(out: &mut [X], condition: &[u8], yes: &[X], no: &[X]) {
        let block = out.len().min(condition.len()).min(yes.len()).min(no.len()).max(1);
        for (i, out) in out.chunks_mut(block).enumerate() {
            let (start, len) = (i * block, out.len());
            let (yes, no) = (part(yes, start, len), part(no, start, len));
            let condition = part(condition, start, len);
            for (((out, condition), yes), no) in out.iter_mut().zip(condition).zip(yes).zip(no) {
                *out = X::choose(*condition, *yes, *no);
            }
        }
    }
}

simd! {
    fn change<X: Copy, F: Map1<X, X>>(values: &mut [X], f: F) {
        for value in values {
            *value = f.apply(*value);
        }
    }
}

/// # Safety
/// That of [`Loop`].
pub unsafe fn run1<X: Copy, O: Copy, F: Map1<X, O>>(out: *mut u8, operands: [Operand; 3], count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let out = std::slice::from_raw_parts_mut(out.cast(), count);
        map1(out, operands[0].slice(count), F::default());
    }
}

unsafe fn run2<X: Copy, O: Copy, F: Map2<X, O>>(out: *mut u8, operands: [Operand; 3], count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let out = std::slice::from_raw_parts_mut(out.cast(), count);
        map2(out, operands[0].slice(count), operands[1].slice(count), F::default());
    }
}

unsafe fn run_select<X: Word>(out: *mut u8, operands: [Operand; 3], count: usize) {
    let [condition, yes, no] = operands;
    // SAFETY: the caller's promise.
    unsafe {
        let out: &mut [X] = std::slice::from_raw_parts_mut(out.cast(), count);
        choose(out, condition.slice(count), yes.slice(count), no.slice(count));
    }
}

/// Changes the elements at `out`; no operand is read.
///
/// # Safety
/// That of [`Loop`].
pub unsafe fn run_in_place<X: Copy, F: Map1<X, X>>(out: *mut u8, _: [Operand; 3], count: usize) {
    // SAFETY: the caller's promise.
    change(unsafe { std::slice::from_raw_parts_mut(out.cast(), count) }, F::default());
}

/// The type of a loop that reads integers of either sign the same way.
fn unsigned(dtype: DType) -> DType {
    match dtype {
        DType::I32 => DType::U32,
        DType::I64 => DType::U64,
        other => other,
    }
}

macro_rules! angles {
    ($($name:ident is $one:ident, $all:ident;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            struct $name;
            impl<T: Maths> Map1<T, T> for $name {
                #[inline(always)]
                fn apply(self, x: T) -> T {
                    maths::$one(x)
                }

                #[inline(always)]
                fn apply_all(self, out: &mut [T], x: &[T]) {
                    maths::$all(x, out);
                }
            }
        )*
    };
}
angles! {
    Sin is sin, sin_slice;
    Cos is cos, cos_slice;
    Tan is tan, tan_slice;
}

macro_rules! quotients {
    ($($name:ident is $one:ident, $all:ident;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            struct $name;
            impl<T: Maths> Map2<T, T> for $name {
                #[inline(always)]
                fn apply(self, x: T, y: T) -> T {
                    maths::$one(x, y)
                }

                #[inline(always)]
                fn apply_all(self, out: &mut [T], x: &[T], y: &[T]) {
                    maths::$all(x, y, out);
                }
            }
        )*
    };
}
quotients! {
    FloatRemainder is remainder, remainder_slice;
    FloatFloorDivide is floor_divide, floor_divide_slice;
}

fn absent(what: impl std::fmt::Debug, dtype: DType) -> ! {
    unreachable!("infer lets no {what:?} of {dtype} through")
}

/// A type for each instruction, its values for each compute type, and the choice of a loop.
macro_rules! unary_loops {
    ($($name:ident $([$($D:ident $T:ty),+] |$x:ident| $value:expr),+;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            struct $name;
            $($(impl Map1<$T, $T> for $name {
                #[inline(always)]
                fn apply(self, $x: $T) -> $T {
                    $value
                }
            })+)+
        )*

        fn find_unary(op: Unary, dtype: DType) -> Option<Loop> {
            match (op, dtype) {
                (Unary::Sin, DType::F32) => Some(run1::<f32, f32, Sin>),
                (Unary::Sin, DType::F64) => Some(run1::<f64, f64, Sin>),
                (Unary::Cos, DType::F32) => Some(run1::<f32, f32, Cos>),
                (Unary::Cos, DType::F64) => Some(run1::<f64, f64, Cos>),
                (Unary::Tan, DType::F32) => Some(run1::<f32, f32, Tan>),
                (Unary::Tan, DType::F64) => Some(run1::<f64, f64, Tan>),
                $($($((Unary::$name, DType::$D) => Some(run1::<$T, $T, $name>),)+)+)*
                _ => None,
            }
        }
    };
}

macro_rules! binary_loops {
    ($table:ident($Op:ident) -> $out:tt;
     $($name:ident $(as $splats:ident)? $([$($D:ident $T:ty),+] |$x:ident, $y:ident| $value:expr),+;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            pub struct $name;
            binary_loops!(@values $name [$($splats)?] $out; $([$($D $T),+] |$x, $y| $value),+);
        )*

        fn $table(op: $Op, dtype: DType) -> Option<Loop> {
            match (op, dtype) {
                $($($(($Op::$name, DType::$D) => Some(run2::<$T, binary_loops!(@out $out $T), $name>),)+)+)*
                _ => None,
            }
        }
    };
    (@values $name:ident $splats:tt $out:tt; $([$($D:ident $T:ty),+] |$x:ident, $y:ident| $value:expr),+) => {
        $($(impl Map2<$T, binary_loops!(@out $out $T)> for $name {
            const SPLATS: bool = binary_loops!(@$D $splats);

            #[inline(always)]
            fn apply(self, $x: $T, $y: $T) -> binary_loops!(@out $out $T) {
                $value
            }
        })+)+
    };
    (@F32 [splats]) => { true };
    (@F64 [splats]) => { true };
    (@$D:ident $splats:tt) => { false };
    (@out same $T:ty) => { $T };
    (@out bool $T:ty) => { u8 };
}

unary_loops! {
    Neg [F32 f32, F64 f64] |x| -x, [U32 u32, U64 u64] |x| x.wrapping_neg();
    Abs [F32 f32, F64 f64] |x| x.abs(), [I32 i32, I64 i64] |x| x.wrapping_abs(), [U32 u32, U64 u64] |x| x;
    Sqrt [F32 f32, F64 f64] |x| x.sqrt();
    Rsqrt [F32 f32, F64 f64] |x| 1.0 / x.sqrt();
    Exp [F32 f32, F64 f64] |x| maths::exp(x);
    Expm1 [F32 f32, F64 f64] |x| maths::expm1(x);
    Log [F32 f32, F64 f64] |x| maths::log(x);
    Log1p [F32 f32, F64 f64] |x| maths::log1p(x);
    Tanh [F32 f32, F64 f64] |x| maths::tanh(x);
    Sigmoid [F32 f32, F64 f64] |x| maths::sigmoid(x);
    Erf [F32 f32, F64 f64] |x| maths::erf(x);
    ErfInv [F32 f32, F64 f64] |x| maths::erfinv(x);
    Asin [F32 f32, F64 f64] |x| maths::asin(x);
    Acos [F32 f32, F64 f64] |x| maths::acos(x);
    Atan [F32 f32, F64 f64] |x| maths::atan(x);
    Sinh [F32 f32, F64 f64] |x| maths::sinh(x);
    Cosh [F32 f32, F64 f64] |x| maths::cosh(x);
    Asinh [F32 f32, F64 f64] |x| maths::asinh(x);
    Acosh [F32 f32, F64 f64] |x| maths::acosh(x);
    Atanh [F32 f32, F64 f64] |x| maths::atanh(x);
    Log2 [F32 f32, F64 f64] |x| maths::log2(x);
    Log10 [F32 f32, F64 f64] |x| maths::log10(x);
    Exp2 [F32 f32, F64 f64] |x| maths::exp2(x);
    Cbrt [F32 f32, F64 f64] |x| maths::cbrt(x);
    Round [F32 f32, F64 f64] |x| maths::round(x);
    Floor [F32 f32, F64 f64] |x| maths::floor(x);
    Ceil [F32 f32, F64 f64] |x| maths::ceil(x);
    Trunc [F32 f32, F64 f64] |x| maths::trunc(x);
    Not [U32 u32, U64 u64] |x| !x, [Bool u8] |x| x ^ 1;
}

binary_loops! {
    find_binary(Binary) -> same;
    Add as splats [F32 f32, F64 f64] |x, y| x + y, [U32 u32, U64 u64] |x, y| x.wrapping_add(y), [Bool u8] |x, y| x | y;
    Sub as splats [F32 f32, F64 f64] |x, y| x - y, [U32 u32, U64 u64] |x, y| x.wrapping_sub(y), [Bool u8] |x, y| x ^ y;
    Mul as splats [F32 f32, F64 f64] |x, y| x * y, [U32 u32, U64 u64] |x, y| x.wrapping_mul(y), [Bool u8] |x, y| x & y;
    Div as splats [F32 f32, F64 f64] |x, y| x / y,
        [I32 i32, I64 i64] |x, y| if y == 0 { 0 } else { x.wrapping_div(y) },
        [U32 u32, U64 u64] |x, y| x.checked_div(y).unwrap_or(0);
    Remainder [I32 i32, I64 i64] |x, y| {
            let rest = x.checked_rem(y).unwrap_or(0);
            if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest }
        },
        [U32 u32, U64 u64] |x, y| x.checked_rem(y).unwrap_or(0);
    FloorDivide [I32 i32, I64 i64] |x, y| {
            let quotient = if y == 0 { 0 } else { x.wrapping_div(y) };
            let inexact = y != 0 && quotient.wrapping_mul(y) != x;
            if inexact && (x < 0) != (y < 0) { quotient - 1 } else { quotient }
        },
        [U32 u32, U64 u64] |x, y| x.checked_div(y).unwrap_or(0);
    Atan2 [F32 f32, F64 f64] |y, x| maths::atan2(y, x);
    Hypot [F32 f32, F64 f64] |x, y| maths::hypot(x, y);
    Pow [F32 f32, F64 f64] |x, y| maths::pow(x, y),
        [I32 i32] |x, y| signed_power(x.into(), y.into()) as i32, [I64 i64] |x, y| signed_power(x, y),
        [U32 u32] |x, y| power(x.into(), y.into()) as u32, [U64 u64] |x, y| power(x, y);
    Max as splats [F32 f32, F64 f64] |x, y| if x > y || x.is_nan() { x } else { y },
        [I32 i32, I64 i64, U32 u32, U64 u64, Bool u8] |x, y| x.max(y);
    Min as splats [F32 f32, F64 f64] |x, y| if x < y || x.is_nan() { x } else { y },
        [I32 i32, I64 i64, U32 u32, U64 u64, Bool u8] |x, y| x.min(y);
    And [U32 u32, U64 u64, Bool u8] |x, y| x & y;
    Or [U32 u32, U64 u64, Bool u8] |x, y| x | y;
    Xor [U32 u32, U64 u64, Bool u8] |x, y| x ^ y;
    ShiftLeft [U32 u32] |x, y| if y < 32 { x << y } else { 0 }, [U64 u64] |x, y| if y < 64 { x << y } else { 0 };
}

binary_loops! {
    find_comparison(Comparison) -> bool;
    Equal [F32 f32, F64 f64, U32 u32, U64 u64, Bool u8] |x, y| u8::from(x == y);
    NotEqual [F32 f32, F64 f64, U32 u32, U64 u64, Bool u8] |x, y| u8::from(x != y);
    Less [F32 f32, F64 f64, I32 i32, I64 i64, U32 u32, U64 u64, Bool u8] |x, y| u8::from(x < y);
    LessEqual [F32 f32, F64 f64, I32 i32, I64 i64, U32 u32, U64 u64, Bool u8] |x, y| u8::from(x <= y);
}

/// x^y, wrapping.
fn power(mut x: u64, mut y: u64) -> u64 {
    let mut product = 1u64;
    while y > 0 {
        if y & 1 == 1 {
            product = product.wrapping_mul(x);
        }
        x = x.wrapping_mul(x);
        y >>= 1;
    }
    product
}

/// x^y, wrapping; of 1/x^-y the whole part, 0 for x = 0.
fn signed_power(x: i64, y: i64) -> i64 {
    match (x, y) {
        (-1 | 1, _) => {
            if y & 1 == 0 {
                1
            } else {
                x
            }
        }
        (_, ..0) => 0,
        _ => power(x as u64, y as u64) as i64,
    }
}

/// Shifts within a type of `WIDTH` bits. Where the distance is outside, what the sign fills: 0 or -1.
#[derive(Clone, Copy, Default)]
struct ShiftRight<const WIDTH: u32>;

macro_rules! shifts {
    ($($T:ty: $fill:expr),*) => {
        $(impl<const WIDTH: u32> Map2<$T, $T> for ShiftRight<WIDTH> {
            #[inline(always)]
            fn apply(self, x: $T, y: $T) -> $T {
                let is_inside = (0..WIDTH as $T).contains(&y);
                let shifted = x >> if is_inside { y } else { 0 };
                if is_inside { shifted } else { $fill(x) }
            }
        })*
    };
}
shifts!(i32: |x| x >> 31, i64: |x| x >> 63, u32: |_| 0, u64: |_| 0);

/// `dtype` is that of operands and result, which is then rounded to it.
pub fn unary(op: Unary, dtype: DType) -> Loop {
    let compute = dtype.compute();
    let found = find_unary(op, compute).or_else(|| find_unary(op, unsigned(compute)));
    found.unwrap_or_else(|| absent(op, dtype))
}

/// As [`unary`].
pub fn binary(op: Binary, dtype: DType) -> Loop {
    let compute = dtype.compute();
    match (op, compute) {
        (Binary::ShiftRight, _) => return shift_right(dtype),
        (Binary::Remainder, DType::F32) => return run2::<f32, f32, FloatRemainder>,
        (Binary::Remainder, DType::F64) => return run2::<f64, f64, FloatRemainder>,
        (Binary::FloorDivide, DType::F32) => return run2::<f32, f32, FloatFloorDivide>,
        (Binary::FloorDivide, DType::F64) => return run2::<f64, f64, FloatFloorDivide>,
        _ => {}
    }
    let found = find_binary(op, compute).or_else(|| find_binary(op, unsigned(compute)));
    found.unwrap_or_else(|| absent(op, dtype))
}

fn shift_right(dtype: DType) -> Loop {
    match dtype {
        DType::I8 => run2::<i32, i32, ShiftRight<8>>,
        DType::I16 => run2::<i32, i32, ShiftRight<16>>,
        DType::I32 => run2::<i32, i32, ShiftRight<32>>,
        DType::I64 => run2::<i64, i64, ShiftRight<64>>,
        DType::U8 => run2::<u32, u32, ShiftRight<8>>,
        DType::U16 => run2::<u32, u32, ShiftRight<16>>,
        DType::U32 => run2::<u32, u32, ShiftRight<32>>,
        DType::U64 => run2::<u64, u64, ShiftRight<64>>,
        _ => absent(Binary::ShiftRight, dtype),
    }
}

/// `dtype` is that of the operands; the result is `bool`.
pub fn comparison(op: Comparison, dtype: DType) -> Loop {
    let compute = dtype.compute();
    let found = find_comparison(op, compute).or_else(|| find_comparison(op, unsigned(compute)));
    found.unwrap_or_else(|| absent(op, dtype))
}

/// `dtype` is that of the two values.
pub fn select(dtype: DType) -> Loop {
    match dtype.compute().size() {
        1 => run_select::<u8>,
        4 => run_select::<u32>,
        _ => run_select::<u64>,
    }
}
