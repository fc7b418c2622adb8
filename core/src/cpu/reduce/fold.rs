//! What reductions do with elements: how they are read, joined and written.

use crate::cpu::gemm::Storage;
use crate::dtype::{Element, bf16, f16};
use std::marker::PhantomData;

/// How elements become one: a marker for each reduction of each type.
pub trait Fold: Copy + Default + Send + Sync {
    /// What is read.
    type Input: Element;
    /// What it is reduced in.
    type Partial: Element;
    /// What is written.
    type Output: Element;
    /// The result of no elements.
    const START: Self::Partial;
    /// Whether the result is the same wherever the brackets are set, so that joins need not wait for each other.
    const ASSOCIATIVE: bool;
    /// An element as a partial result.
    fn load(element: Self::Input) -> Self::Partial;
    /// Joins two partial results.
    fn join(left: Self::Partial, right: Self::Partial) -> Self::Partial;
    /// The result.
    fn store(partial: Self::Partial) -> Self::Output;
}

/// Joins the results of chunks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rejoin<F>(PhantomData<F>);

impl<F: Fold> Fold for Rejoin<F> {
    type Input = F::Partial;
    type Partial = F::Partial;
    type Output = F::Output;
    const START: F::Partial = F::START;
    const ASSOCIATIVE: bool = F::ASSOCIATIVE;
    #[inline(always)]
    fn load(element: F::Partial) -> F::Partial {
        element
    }
    #[inline(always)]
    fn join(left: F::Partial, right: F::Partial) -> F::Partial {
        F::join(left, right)
    }
    #[inline(always)]
    fn store(partial: F::Partial) -> F::Output {
        F::store(partial)
    }
}

/// An element type and the type that it is reduced in.
pub trait Number: Element {
    /// That type.
    type Wide: Arithmetic;
    /// To it.
    fn widen(self) -> Self::Wide;
    /// From it.
    fn narrow(wide: Self::Wide) -> Self;
}

/// What reductions compute with.
#[allow(missing_docs, reason = "the names say it")]
pub trait Arithmetic: Element {
    const ZERO: Self;
    const ONE: Self;
    /// The least value, or minus infinity.
    const LOWEST: Self;
    /// The greatest value, or infinity.
    const HIGHEST: Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// Whether it wins over `other` as a maximum: it is greater, or NaN where `other` is not.
    fn above(self, other: Self) -> bool;
    /// Whether it wins over `other` as a minimum.
    fn below(self, other: Self) -> bool;
}

macro_rules! integers {
    ($($type:ty),*) => { $(
        impl Arithmetic for $type {
            const ZERO: $type = 0;
            const ONE: $type = 1;
            const LOWEST: $type = <$type>::MIN;
            const HIGHEST: $type = <$type>::MAX;
            #[inline(always)]
            fn plus(self, other: $type) -> $type {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn times(self, other: $type) -> $type {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn above(self, other: $type) -> bool {
                self > other
            }
            #[inline(always)]
            fn below(self, other: $type) -> bool {
                self < other
            }
        }
        as_they_are!($type);
    )* };
}

macro_rules! floats {
    ($($type:ident),*) => { $(
        impl Arithmetic for $type {
            const ZERO: $type = 0.0;
            const ONE: $type = 1.0;
            const LOWEST: $type = $type::NEG_INFINITY;
            const HIGHEST: $type = $type::INFINITY;
            #[inline(always)]
            fn plus(self, other: $type) -> $type {
                self + other
            }
            #[inline(always)]
            fn times(self, other: $type) -> $type {
                self * other
            }
            #[inline(always)]
            fn above(self, other: $type) -> bool {
                (self > other) | planted!("kernel: NaN never wins", self.is_nan() & !other.is_nan(), false)
            }
            #[inline(always)]
            fn below(self, other: $type) -> bool {
                (self < other) | (self.is_nan() & !other.is_nan())
            }
        }
        as_they_are!($type);
    )* };
}

macro_rules! as_they_are {
    ($type:ty) => {
        impl Number for $type {
            type Wide = $type;
            #[inline(always)]
            fn widen(self) -> $type {
                self
            }
            #[inline(always)]
            fn narrow(wide: $type) -> $type {
                wide
            }
        }
    };
}

macro_rules! halves {
    ($($type:ident),*) => { $(impl Number for $type {
        type Wide = f32;
        #[inline(always)]
        fn widen(self) -> f32 {
            // Some machines have an instruction for it; WASM has none, and a call would not become vectors.
            if cfg!(target_family = "wasm") { Storage::load(self) } else { self.to_f32() }
        }
        #[inline(always)]
        fn narrow(wide: f32) -> $type {
            $type::from_f32(wide)
        }
    })* };
}

integers!(u8, i8, i16, i32, i64, u16, u32, u64);
floats!(f32, f64);
halves!(f16, bf16);

macro_rules! folds {
    ($($(#[$doc:meta])* $name:ident($associative:literal): $start:ident, |$left:ident, $right:ident| $join:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name<T>(pub PhantomData<T>);

        impl<T: Number> Fold for $name<T> {
            type Input = T;
            type Partial = T::Wide;
            type Output = T;
            const START: T::Wide = T::Wide::$start;
            const ASSOCIATIVE: bool = $associative;
            #[inline(always)]
            fn load(element: T) -> T::Wide {
                element.widen()
            }
            #[inline(always)]
            fn join($left: T::Wide, $right: T::Wide) -> T::Wide {
                $join
            }
            #[inline(always)]
            fn store(partial: T::Wide) -> T {
                T::narrow(partial)
            }
        }
    )* };
}

folds! {
    /// The sum; integers wrap.
    Sum(false): ZERO, |left, right| left.plus(right);
    /// The product; integers wrap.
    Product(false): ONE, |left, right| left.times(right);
    /// The greatest; NaN wins, of equal ones the first.
    Max(true): LOWEST, |left, right| if right.above(left) { right } else { left };
    /// The least; NaN wins, of equal ones the first.
    Min(true): HIGHEST, |left, right| if right.below(left) { right } else { left };
}

macro_rules! predicates {
    ($($(#[$doc:meta])* $name:ident: $start:literal, $op:tt;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name<T>(pub PhantomData<T>);

        impl<T: Element> Fold for $name<T> {
            type Input = T;
            type Partial = u8;
            type Output = u8;
            const START: u8 = $start;
            const ASSOCIATIVE: bool = true;
            #[inline(always)]
            fn load(element: T) -> u8 {
                u8::from(element != T::default())
            }
            #[inline(always)]
            fn join(left: u8, right: u8) -> u8 {
                left $op right
            }
            #[inline(always)]
            fn store(partial: u8) -> u8 {
                partial
            }
        }
    )* };
}

predicates! {
    /// Whether any element is not 0.
    Any: 0, |;
    /// Whether all elements are not 0.
    All: 1, &;
}
