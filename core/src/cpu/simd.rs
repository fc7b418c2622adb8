//! Which vector instructions this machine has, and functions compiled once for each set.

use std::sync::atomic::{AtomicU8, Ordering};

/// Sets of vector instructions, each containing those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// What every machine of the target has: SSE2 on x86-64, NEON on AArch64, what the build enabled in WASM.
    Base = 1,
    /// AVX2, FMA, F16C, BMI.
    Avx2 = 2,
    /// AVX-512 F, BW, CD, DQ, VL.
    Avx512 = 3,
}

static ISA: AtomicU8 = AtomicU8::new(0);

/// The instructions to use: what the machine has, or less if the environment's `CAUDAL_ISA` says `base` or `avx2`.
/// Found out once.
#[inline]
pub fn isa() -> Isa {
    match ISA.load(Ordering::Relaxed) {
        1 => Isa::Base,
        2 => Isa::Avx2,
        3 => Isa::Avx512,
        _ => {
            let found = detect().min(allowed());
            ISA.store(found as u8, Ordering::Relaxed);
            found
        }
    }
}

/// Uses `isa` from now on, or the best that the machine has, whichever is less: for tests that compare.
#[cfg(test)]
pub fn set_isa(isa: Isa) {
    ISA.store(detect().min(isa) as u8, Ordering::Relaxed);
}

fn allowed() -> Isa {
    match std::env::var("CAUDAL_ISA").as_deref() {
        Ok("base") => Isa::Base,
        Ok("avx2") => Isa::Avx2,
        _ => Isa::Avx512,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Base
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    macro_rules! has {
        ($($feature:tt)*) => { $(is_x86_feature_detected!($feature))&&* };
    }
    if !has!("avx2" "fma" "f16c" "bmi1" "bmi2") {
        Isa::Base
    } else if has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl") {
        Isa::Avx512
    } else {
        Isa::Avx2
    }
}

/// Asks for memory that will soon be read or written, where that can be asked for. Nothing is read: the address need not
/// be one that can be.
#[inline(always)]
pub fn fetch(first: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // Into the second cache: the first has too few places for lines that are on their way.
        // SAFETY: the instruction is part of every x86-64 and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(first.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, bytes);
}

/// Defines a function whose body is compiled once for each [`Isa`] and runs as the best one: for loops that the
/// compiler vectorises. What the body calls must be `#[inline(always)]`, or it is compiled for the baseline alone.
/// The sets hold no instruction that changes results: nothing is contracted unless the body says `mul_add`.
/// Generic parameters are types with at most one bound, each deducible from the arguments.
///
/// ```ignore
/// simd! {
///     /// y += x.
///     pub fn add<T: Number>(y: &mut [T], x: &[T]) {
///         for (y, x) in y.iter_mut().zip(x) { *y = *y + *x; }
///     }
/// }
/// ```
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$($T:ident $(: $bound:path)?),+>)?
     ($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name $(<$($T $(: $bound)?),+>)? ($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body $(<$($T $(: $bound)?),+>)? ($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,bmi1,bmi2")]
                fn avx2 $(<$($T $(: $bound)?),+>)? ($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2")]
                fn avx512 $(<$($T $(: $bound)?),+>)? ($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }
                match $crate::cpu::simd::isa() {
                    // SAFETY: `isa` says that the machine has these instructions.
                    $crate::cpu::simd::Isa::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::cpu::simd::Isa::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::cpu::simd::Isa::Base => {}
                }
            }
            body($($argument),*)
        }
    };
}
pub(crate) use simd;

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::{Add, Mul};

    trait Number: Copy + Add<Output = Self> + Mul<Output = Self> {}
    impl Number for f32 {}
    impl Number for i64 {}

    simd! {
        /// y + x * x; says which set ran.
        fn add_square<T: Number>(y: &mut [T], x: &[T]) -> Isa {
            for (y, x) in y.iter_mut().zip(x) {
                *y = *y + *x * *x;
            }
            isa()
        }
    }

    #[test]
    fn functions_run_in_the_best_set_the_machine_has() {
        let mut y = [1.0f32; 33];
        assert_eq!(add_square(&mut y, &[3.0; 33]), isa());
        assert_eq!(y, [10.0; 33]);
        let mut y = [1i64; 33];
        add_square(&mut y, &[3; 33]);
        assert_eq!(y, [10; 33]);
        assert!(isa() <= detect());
    }
}
