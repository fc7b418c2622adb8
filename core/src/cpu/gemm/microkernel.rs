//! Register-blocked tiles: up to `rows` x 3 vectors of C, each element one chain of multiply-adds over the depth.

use std::ops::{Add, Mul};

#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{Isa, isa};

/// A type that products are computed in.
pub trait Float: Copy + Default + Send + Sync + Add<Output = Self> + Mul<Output = Self> + 'static {
    /// The tiles for this machine.
    fn kernels() -> &'static Kernels<Self>;
}

/// Most rows that a tile has on any machine.
pub const MOST_ROWS: usize = 8;

/// What a tile works on. `a` is packed with [`Kernels::step`]; `b` has whole vectors at every step.
pub struct Tile<T> {
    pub depth: usize,
    pub a: *const T,
    pub b: *const T,
    /// Elements from one step of the depth to the next in `b`.
    pub b_step: usize,
    pub c: *mut T,
    /// Elements from one row of `c` to the next.
    pub c_row: usize,
    /// Columns of `c` that exist; the tile's vectors reach at least as far.
    pub columns: usize,
    /// Go on from what `c` holds instead of from 0.
    pub accumulate: bool,
}

/// Computes one tile.
///
/// # Safety
/// The machine has the function's instructions; `a` holds `depth` steps of the function's rows, `b` of its vectors; `c`
/// holds its rows of `columns` elements and nobody else uses them.
pub type TileFn<T> = unsafe fn(&Tile<T>);

/// Writes four rows of `length` elements so that `panel[d * width + r] = rows[r][d]`.
///
/// # Safety
/// The machine has the function's instructions; the rows can be read and the panel written.
pub type QuadFn<T> = unsafe fn(rows: [*const T; 4], length: usize, panel: *mut T, width: usize);

/// The tiles of one instruction set.
pub struct Kernels<T: 'static> {
    /// Most rows of a tile.
    pub rows: usize,
    /// Elements from one step of the depth to the next in a packed panel of A; at least `rows`, a multiple of 4.
    pub step: usize,
    /// Elements of a vector.
    pub lanes: usize,
    /// Most vectors of a tile's row.
    pub vectors: usize,
    /// `tiles[(r - 1) * vectors + v - 1]` has r rows and v vectors.
    pub tiles: &'static [TileFn<T>],
    pub quad: QuadFn<T>,
}

impl<T> Kernels<T> {
    /// Most columns of a tile: the width of a packed panel of B. It divides 48.
    pub fn width(&self) -> usize {
        self.lanes * self.vectors
    }
}

/// A vector of `LANES` elements. Inlined into functions that enable its instructions.
trait Vector<T>: Copy {
    const LANES: usize;
    unsafe fn splat(value: T) -> Self;
    unsafe fn load(from: *const T) -> Self;
    unsafe fn store(self, to: *mut T);
    /// `self + a * b`, rounded once where the machine can.
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self;
}

/// Most elements of a tile's row on any machine.
const MOST_COLUMNS: usize = 48;

#[inline(always)]
unsafe fn tile<T: Float, V: Vector<T>, const R: usize, const N: usize, const STEP: usize>(tile: &Tile<T>) {
    // SAFETY: the caller's, see TileFn.
    unsafe {
        let whole = tile.columns == N * V::LANES;
        let zero = V::splat(T::default());
        let mut sums = [[zero; N]; R];
        let mut edge = [T::default(); MOST_COLUMNS];
        if tile.accumulate {
            for (r, row) in sums.iter_mut().enumerate() {
                let mut from = tile.c.add(r * tile.c_row).cast_const();
                if !whole {
                    std::ptr::copy_nonoverlapping(from, edge.as_mut_ptr(), tile.columns);
                    from = edge.as_ptr();
                }
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = V::load(from.add(v * V::LANES));
                }
            }
        }
        let (mut a, mut b) = (tile.a, tile.b);
        for _ in 0..tile.depth {
            let mut right = [zero; N];
            for (v, right) in right.iter_mut().enumerate() {
                *right = V::load(b.add(v * V::LANES));
            }
            for (r, row) in sums.iter_mut().enumerate() {
                let left = V::splat(*a.add(r));
                for (sum, right) in row.iter_mut().zip(right) {
                    *sum = sum.multiply_add(left, right);
                }
            }
            a = a.add(STEP);
            b = b.add(tile.b_step);
        }
        for (r, row) in sums.iter().enumerate() {
            let to = tile.c.add(r * tile.c_row);
            let target = if whole { to } else { edge.as_mut_ptr() };
            for (v, sum) in row.iter().enumerate() {
                sum.store(target.add(v * V::LANES));
            }
            if !whole {
                std::ptr::copy_nonoverlapping(edge.as_ptr(), to, tile.columns);
            }
        }
    }
}

/// The table of tiles of a function like [`tile`], for these numbers of rows and up to 2 or 3 vectors.
macro_rules! tiles {
    ($function:ident, $T:ty, $V:ty, $step:literal, 2: $($rows:literal)*) => {
        &[$($function::<$T, $V, $rows, 1, $step>, $function::<$T, $V, $rows, 2, $step>),*]
    };
    ($function:ident, $T:ty, $V:ty, $step:literal, 3: $($rows:literal)*) => {
        &[$(
            $function::<$T, $V, $rows, 1, $step>,
            $function::<$T, $V, $rows, 2, $step>,
            $function::<$T, $V, $rows, 3, $step>
        ),*]
    };
}

/// Vectors of what every machine of the target has: plain elements, which the compiler puts into them.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod vectors {
    use super::*;

    /// Fused only where every machine of the target can: elsewhere `mul_add` would be a call of libm.
    #[derive(Clone, Copy)]
    pub struct Lanes<T, const N: usize>([T; N]);

    pub type F32x4 = Lanes<f32, 4>;
    pub type F64x2 = Lanes<f64, 2>;

    macro_rules! lanes {
        ($T:ty, $N:literal) => {
            impl Vector<$T> for Lanes<$T, $N> {
                const LANES: usize = $N;

                #[inline(always)]
                unsafe fn splat(value: $T) -> Self {
                    Lanes([value; $N])
                }

                #[inline(always)]
                unsafe fn load(from: *const $T) -> Self {
                    // SAFETY: the caller's.
                    Lanes(unsafe { from.cast::<[$T; $N]>().read() })
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut $T) {
                    // SAFETY: the caller's.
                    unsafe { to.cast::<[$T; $N]>().write(self.0) }
                }

                #[inline(always)]
                unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
                    Lanes(std::array::from_fn(|i| {
                        if cfg!(target_arch = "aarch64") {
                            a.0[i].mul_add(b.0[i], self.0[i])
                        } else {
                            self.0[i] + a.0[i] * b.0[i]
                        }
                    }))
                }
            }
        };
    }

    lanes!(f32, 4);
    lanes!(f64, 2);
}

/// Vectors of WASM.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vectors {
    use super::*;
    use std::arch::wasm32::*;

    pub type F32x4 = v128;
    pub type F64x2 = v128;

    macro_rules! vector {
        ($T:ty, $N:literal, $splat:ident, $add:ident, $multiply:ident) => {
            impl Vector<$T> for v128 {
                const LANES: usize = $N;

                #[inline(always)]
                unsafe fn splat(value: $T) -> Self {
                    $splat(value)
                }

                #[inline(always)]
                unsafe fn load(from: *const $T) -> Self {
                    // SAFETY: the caller's.
                    unsafe { v128_load(from.cast()) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut $T) {
                    // SAFETY: the caller's.
                    unsafe { v128_store(to.cast(), self) }
                }

                #[inline(always)]
                unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
                    $add(self, $multiply(a, b))
                }
            }
        };
    }

    vector!(f32, 4, f32x4_splat, f32x4_add, f32x4_mul);
    vector!(f64, 2, f64x2_splat, f64x2_add, f64x2_mul);
}

mod base {
    use super::vectors::{F32x4, F64x2};
    use super::*;

    unsafe fn any<T: Float, V: Vector<T>, const R: usize, const N: usize, const STEP: usize>(tile: &Tile<T>) {
        // SAFETY: the caller's.
        unsafe { super::tile::<T, V, R, N, STEP>(tile) }
    }

    unsafe fn quad<T: Copy>(rows: [*const T; 4], length: usize, panel: *mut T, width: usize) {
        for d in 0..length {
            // SAFETY: the caller's.
            unsafe { panel.add(d * width).cast::<[T; 4]>().write(rows.map(|row| row.add(d).read())) }
        }
    }

    #[cfg(target_arch = "aarch64")]
    macro_rules! kernels {
        ($T:ty, $V:ty, $lanes:literal) => {
            Kernels {
                rows: 8,
                step: 8,
                lanes: $lanes,
                vectors: 3,
                tiles: tiles!(any, $T, $V, 8, 3: 1 2 3 4 5 6 7 8),
                quad: quad::<$T>,
            }
        };
    }

    // 16 registers, one of them for a product that is not fused; so has what runs WASM.
    #[cfg(not(target_arch = "aarch64"))]
    macro_rules! kernels {
        ($T:ty, $V:ty, $lanes:literal) => {
            Kernels {
                rows: 4,
                step: 4,
                lanes: $lanes,
                vectors: 2,
                tiles: tiles!(any, $T, $V, 4, 2: 1 2 3 4),
                quad: quad::<$T>,
            }
        };
    }

    pub static F32: Kernels<f32> = kernels!(f32, F32x4, 4);
    pub static F64: Kernels<f64> = kernels!(f64, F64x2, 2);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    macro_rules! vector {
        ($T:ty, $V:ty, $N:literal, $splat:ident, $load:ident, $store:ident, $fma:ident) => {
            impl Vector<$T> for $V {
                const LANES: usize = $N;

                #[inline(always)]
                unsafe fn splat(value: $T) -> Self {
                    // SAFETY: the caller's, here and below.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                unsafe fn load(from: *const $T) -> Self {
                    // SAFETY: as above.
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut $T) {
                    // SAFETY: as above.
                    unsafe { $store(to, self) }
                }

                #[inline(always)]
                unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $fma(a, b, self) }
                }
            }
        };
    }

    vector!(f32, __m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);
    vector!(f64, __m256d, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd);
    vector!(f32, __m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);
    vector!(f64, __m512d, 8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd);

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<T: Float, V: Vector<T>, const R: usize, const N: usize, const STEP: usize>(tile: &Tile<T>) {
        // SAFETY: the caller's.
        unsafe { super::tile::<T, V, R, N, STEP>(tile) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<T: Float, V: Vector<T>, const R: usize, const N: usize, const STEP: usize>(tile: &Tile<T>) {
        // SAFETY: the caller's.
        unsafe { super::tile::<T, V, R, N, STEP>(tile) }
    }

    /// Eight steps at once: a 4 x 4 transpose in each half of a register.
    #[target_feature(enable = "avx2")]
    unsafe fn quad_f32(rows: [*const f32; 4], length: usize, panel: *mut f32, width: usize) {
        let whole = length / 8 * 8;
        for d in (0..whole).step_by(8) {
            // SAFETY: the caller's.
            unsafe {
                let [a, b, c, e] = rows.map(|row| _mm256_loadu_ps(row.add(d)));
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, e));
                let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, e));
                let steps = [
                    _mm256_shuffle_ps::<0x44>(ab, cd),
                    _mm256_shuffle_ps::<0xee>(ab, cd),
                    _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                    _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
                ];
                for (i, step) in steps.into_iter().enumerate() {
                    _mm_storeu_ps(panel.add((d + i) * width), _mm256_castps256_ps128(step));
                    _mm_storeu_ps(panel.add((d + 4 + i) * width), _mm256_extractf128_ps::<1>(step));
                }
            }
        }
        for d in whole..length {
            // SAFETY: the caller's.
            unsafe { panel.add(d * width).cast::<[f32; 4]>().write(rows.map(|row| row.add(d).read())) }
        }
    }

    #[target_feature(enable = "avx2")]
    unsafe fn quad_f64(rows: [*const f64; 4], length: usize, panel: *mut f64, width: usize) {
        let whole = length / 4 * 4;
        for d in (0..whole).step_by(4) {
            // SAFETY: the caller's.
            unsafe {
                let [a, b, c, e] = rows.map(|row| _mm256_loadu_pd(row.add(d)));
                let (ab, cd) = (_mm256_unpacklo_pd(a, b), _mm256_unpacklo_pd(c, e));
                let (ab_odd, cd_odd) = (_mm256_unpackhi_pd(a, b), _mm256_unpackhi_pd(c, e));
                let steps = [
                    _mm256_permute2f128_pd::<0x20>(ab, cd),
                    _mm256_permute2f128_pd::<0x20>(ab_odd, cd_odd),
                    _mm256_permute2f128_pd::<0x31>(ab, cd),
                    _mm256_permute2f128_pd::<0x31>(ab_odd, cd_odd),
                ];
                for (i, step) in steps.into_iter().enumerate() {
                    _mm256_storeu_pd(panel.add((d + i) * width), step);
                }
            }
        }
        for d in whole..length {
            // SAFETY: the caller's.
            unsafe { panel.add(d * width).cast::<[f64; 4]>().write(rows.map(|row| row.add(d).read())) }
        }
    }

    /// 12 sums, 2 vectors of B and 2 of A fill the 16 registers.
    macro_rules! avx2 {
        ($T:ty, $V:ty, $lanes:literal, $quad:ident) => {
            Kernels {
                rows: 6,
                step: 8,
                lanes: $lanes,
                vectors: 2,
                tiles: tiles!(avx2, $T, $V, 8, 2: 1 2 3 4 5 6),
                quad: $quad,
            }
        };
    }

    macro_rules! avx512 {
        ($T:ty, $V:ty, $lanes:literal, $quad:ident) => {
            Kernels {
                rows: 8,
                step: 8,
                lanes: $lanes,
                vectors: 3,
                tiles: tiles!(avx512, $T, $V, 8, 3: 1 2 3 4 5 6 7 8),
                quad: $quad,
            }
        };
    }

    pub static F32_AVX2: Kernels<f32> = avx2!(f32, __m256, 8, quad_f32);
    pub static F64_AVX2: Kernels<f64> = avx2!(f64, __m256d, 4, quad_f64);
    pub static F32_AVX512: Kernels<f32> = avx512!(f32, __m512, 16, quad_f32);
    pub static F64_AVX512: Kernels<f64> = avx512!(f64, __m512d, 8, quad_f64);
}

macro_rules! float {
    ($T:ty, $base:ident, $avx2:ident, $avx512:ident) => {
        impl Float for $T {
            #[inline]
            fn kernels() -> &'static Kernels<$T> {
                #[cfg(target_arch = "x86_64")]
                match isa() {
                    Isa::Avx512 => return &x86::$avx512,
                    Isa::Avx2 => return &x86::$avx2,
                    Isa::Base => {}
                }
                &base::$base
            }
        }
    };
}

float!(f32, F32, F32_AVX2, F32_AVX512);
float!(f64, F64, F64_AVX2, F64_AVX512);
