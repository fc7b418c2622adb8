//! Loops that change the type of elements: loads and stores of storage types, rounding to them, and casts.
//!
//! Integers become `float16` and `bfloat16` by way of `float32`; `float64` is rounded to them once.

use super::loops::{Loop, Map1, run_in_place, run1};
use crate::dtype::{DType, bf16, f16, round_to_odd};

/// A type that is stored but not computed in.
trait Storage: Copy {
    type Compute: Copy;
    fn widen(self) -> Self::Compute;
    /// The nearest value, ties to even; integers wrap.
    fn narrow(value: Self::Compute) -> Self;
}

/// What the bits of an f16 as an f32 have to be multiplied with.
const F16_SCALE: f32 = f32::from_bits((127 + 112) << 23);

impl Storage for f16 {
    type Compute = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * F16_SCALE;
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }

    /// All three cases are computed and one is taken, so that loops over it become vectors.
    #[inline(always)]
    fn narrow(value: f32) -> f16 {
        let bits = value.to_bits() & 0x7fff_ffff;
        let sign = (value.to_bits() & 0x8000_0000) >> 16;
        let special = if bits > 0x7f80_0000 { 0x7e00 | (bits >> 13) & 0x3ff } else { 0x7c00 };
        let normal = bits.wrapping_add((bits >> 13) & 1).wrapping_sub((112 << 23) - 0xfff) >> 13;
        // The unit of an f32 just above 0.5 is that of an f16 below 2^-14.
        let small = (f32::from_bits(bits) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        let magnitude = if bits < 0x3880_0000 { small } else { normal };
        let magnitude = if bits >= 0x4780_0000 { special } else { magnitude };
        f16::from_bits((sign | magnitude) as u16)
    }
}

impl Storage for bf16 {
    type Compute = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> bf16 {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let nan = bits & 0x7fff_ffff > 0x7f80_0000;
        bf16::from_bits(if nan { bits >> 16 | 0x40 } else { rounded } as u16)
    }
}

macro_rules! small_integers {
    ($($T:ty => $C:ty),*) => {
        $(impl Storage for $T {
            type Compute = $C;

            #[inline(always)]
            fn widen(self) -> $C {
                self.into()
            }

            #[inline(always)]
            fn narrow(value: $C) -> $T {
                value as $T
            }
        })*
    };
}
small_integers!(i8 => i32, i16 => i32, u8 => u32, u16 => u32);

macro_rules! maps {
    ($($name:ident: |$x:ident| $X:ty => $O:ty = $value:expr;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            struct $name;
            impl<S: Storage> Map1<$X, $O> for Of<$name, S> {
                #[inline(always)]
                fn apply(self, $x: $X) -> $O {
                    $value
                }
            }
        )*
    };
}

/// A map for a storage type.
struct Of<F, S>(std::marker::PhantomData<(F, S)>);

impl<F, S> Clone for Of<F, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F, S> Copy for Of<F, S> {}

impl<F, S> Default for Of<F, S> {
    fn default() -> Self {
        Of(std::marker::PhantomData)
    }
}

maps! {
    Widen: |x| S => S::Compute = x.widen();
    Narrow: |x| S::Compute => S = S::narrow(x);
    Round: |x| S::Compute => S::Compute = S::narrow(x).widen();
}

#[derive(Clone, Copy, Default)]
struct Identity;

impl<T> Map1<T, T> for Identity {
    #[inline(always)]
    fn apply(self, x: T) -> T {
        x
    }
}

/// Limits integers to the range of a narrower type.
#[derive(Clone, Copy, Default)]
struct Saturate<const LOW: i64, const HIGH: i64>;

impl<const LOW: i64, const HIGH: i64> Map1<i32, i32> for Saturate<LOW, HIGH> {
    #[inline(always)]
    fn apply(self, x: i32) -> i32 {
        x.clamp(LOW as i32, HIGH as i32)
    }
}

impl<const LOW: i64, const HIGH: i64> Map1<u32, u32> for Saturate<LOW, HIGH> {
    #[inline(always)]
    fn apply(self, x: u32) -> u32 {
        x.clamp(LOW as u32, HIGH as u32)
    }
}

/// Runs the body with `$S` bound to the storage type of `$dtype`; `$other` for compute types.
macro_rules! for_storage {
    ($dtype:expr, $S:ident => $body:expr, $other:expr) => {
        match $dtype {
            DType::F16 => {
                type $S = f16;
                $body
            }
            DType::BF16 => {
                type $S = bf16;
                $body
            }
            DType::I8 => {
                type $S = i8;
                $body
            }
            DType::I16 => {
                type $S = i16;
                $body
            }
            DType::U8 => {
                type $S = u8;
                $body
            }
            DType::U16 => {
                type $S = u16;
                $body
            }
            _ => $other,
        }
    };
}

/// Copies elements of `size` bytes.
pub fn copy(size: usize) -> Loop {
    match size {
        1 => run1::<u8, u8, Identity>,
        2 => run1::<u16, u16, Identity>,
        4 => run1::<u32, u32, Identity>,
        _ => run1::<u64, u64, Identity>,
    }
}

/// From elements as they are stored to the compute type.
pub fn widen(dtype: DType) -> Loop {
    for_storage!(dtype, S => run1::<S, <S as Storage>::Compute, Of<Widen, S>>, copy(dtype.size()))
}

/// From the compute type to elements as they are stored.
pub fn narrow(dtype: DType) -> Loop {
    for_storage!(dtype, S => run1::<<S as Storage>::Compute, S, Of<Narrow, S>>, copy(dtype.size()))
}

/// Rounds elements of the compute type in place to a storage type, integers by wrapping; `None` for compute types.
pub fn round(dtype: DType) -> Option<Loop> {
    for_storage!(dtype, S => Some(run_in_place::<<S as Storage>::Compute, Of<Round, S>>), None)
}

/// As [`round`], but integers saturate.
pub fn saturate(dtype: DType) -> Option<Loop> {
    match dtype {
        DType::I8 => Some(run_in_place::<i32, Saturate<{ i8::MIN as i64 }, { i8::MAX as i64 }>>),
        DType::I16 => Some(run_in_place::<i32, Saturate<{ i16::MIN as i64 }, { i16::MAX as i64 }>>),
        DType::U8 => Some(run_in_place::<u32, Saturate<0, { u8::MAX as i64 }>>),
        DType::U16 => Some(run_in_place::<u32, Saturate<0, { u16::MAX as i64 }>>),
        _ => round(dtype),
    }
}

#[derive(Clone, Copy, Default)]
struct Cast;

#[derive(Clone, Copy, Default)]
struct RoundToOdd;

impl Map1<f64, f32> for RoundToOdd {
    #[inline(always)]
    fn apply(self, x: f64) -> f32 {
        round_to_odd(x)
    }
}

/// What `as` gives, in a form that loops become vectors of.
macro_rules! cast_element {
    ($x:ident: float $X:ty => int $O:ty) => {{
        const LOW: $X = <$O>::MIN as $X;
        const PAST: $X = 2.0 * (<$O>::MAX / 2 + 1) as $X;
        let is_inside = (LOW..PAST).contains(&$x);
        // SAFETY: the whole part of what is between LOW and PAST is one of the type.
        let whole = unsafe { (if is_inside { $x } else { 0.0 }).to_int_unchecked::<$O>() };
        let outside = if $x >= PAST { <$O>::MAX } else { 0 };
        let outside = if $x < LOW { <$O>::MIN } else { outside };
        if is_inside { whole } else { outside }
    }};
    ($x:ident: $from:ident $X:ty => $to:ident $O:ty) => {
        $x as $O
    };
}

/// The casts between compute types, `u8` being `bool`, and the choice of a loop.
macro_rules! casts {
    ($($from:ident $X:ty, $D:ident => [$($to:ident $O:ty, $E:ident);*])*) => {
        $($(impl Map1<$X, $O> for Cast {
            #[inline(always)]
            fn apply(self, x: $X) -> $O {
                cast_element!(x: $from $X => $to $O)
            }
        })*
        impl Map1<$X, u8> for Cast {
            #[inline(always)]
            fn apply(self, x: $X) -> u8 {
                u8::from(x != 0 as $X)
            }
        }
        impl Map1<u8, $X> for Cast {
            #[inline(always)]
            fn apply(self, x: u8) -> $X {
                u8::from(x != 0) as $X
            }
        })*

        fn cast_compute(from: DType, to: DType) -> Loop {
            match (from, to) {
                $($((DType::$D, DType::$E) => run1::<$X, $O, Cast>,)*
                (DType::$D, DType::Bool) => run1::<$X, u8, Cast>,
                (DType::Bool, DType::$D) => run1::<u8, $X, Cast>,)*
                _ => copy(to.size()),
            }
        }
    };
}

casts! {
    float f32, F32 => [float f64, F64; int i32, I32; int u32, U32; int i64, I64; int u64, U64]
    float f64, F64 => [float f32, F32; int i32, I32; int u32, U32; int i64, I64; int u64, U64]
    int i32, I32 => [float f32, F32; float f64, F64; int i64, I64]
    int u32, U32 => [float f32, F32; float f64, F64; int i64, I64]
    int i64, I64 => [float f32, F32; float f64, F64; int i32, I32]
    int u64, U64 => [float f32, F32; float f64, F64; int i32, I32]
}

/// Between the compute types of two dtypes; what comes out is then to be rounded with [`cast_rounding`].
pub fn cast(from: DType, to: DType) -> Loop {
    let (source, target) = (from.compute(), to.compute());
    if source == DType::F64 && matches!(to, DType::F16 | DType::BF16) {
        return run1::<f64, f32, RoundToOdd>;
    }
    // The bits of integers do not depend on the sign of the type that they go to.
    match (source, target) {
        (DType::I32 | DType::U32, DType::U64) => cast_compute(source, DType::I64),
        (DType::I64 | DType::U64, DType::U32) => cast_compute(source, DType::I32),
        _ => cast_compute(source, target),
    }
}

/// What follows a cast; `None` where it is exact.
pub fn cast_rounding(from: DType, to: DType) -> Option<Loop> {
    if from.is_float() { saturate(to) } else { round(to) }
}
