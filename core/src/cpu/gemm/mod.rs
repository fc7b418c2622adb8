//! Matrix products: C = A B, alone or in batches, for every numeric dtype.
//!
//! Floating point: each element of C is one chain of multiply-adds over the depth in increasing order, starting from 0,
//! fused where the machine can (x86-64 with FMA, AArch64), so it has the same bits whatever the tile, the instruction
//! set and the number of threads; machines without fused multiply-add (WASM, x86-64 before AVX2) round twice.
//! Integers wrap.

mod finish;
mod integer;
mod microkernel;
mod pack;
mod product;

pub use finish::{Finish, Part, finish_all};
pub use microkernel::Float;
pub use pack::{Source, Storage, Strided, copy_lanes, interleave};
pub use product::{DEPTH, Product, Target, product_workspace};

use super::simd::simd;
use super::work::{Stop, Work};
use half::{bf16, f16};

/// A batch of matrices in memory: element (i, j) of matrix b lies at
/// `offset + i * row + j * column + sum(b[axis] * batch[axis])`. A stride may be 0 or negative.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    pub data: &'a [T],
    pub offset: usize,
    pub row: isize,
    pub column: isize,
    /// A stride for each axis of the batch.
    pub batch: &'a [isize],
}

/// Sizes of a batch of products: A is [batch.., m, k], B is [batch.., k, n], C is [batch.., m, n]. Any may be 0.
#[derive(Debug, Clone, Copy)]
pub struct Sizes<'a> {
    pub batch: &'a [usize],
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Sizes<'_> {
    fn count(&self) -> usize {
        self.batch.iter().product()
    }
}

impl<T> Matrix<'_, T> {
    /// Panics if an element of the batch of `rows` x `columns` matrices lies outside the data.
    fn check(&self, batch: &[usize], rows: usize, columns: usize) {
        assert_eq!(self.batch.len(), batch.len(), "a stride for each axis of the batch");
        let (mut low, mut high) = (self.offset as i128, self.offset as i128);
        let axes = batch.iter().copied().zip(self.batch.iter().copied());
        for (size, stride) in axes.chain([(rows, self.row), (columns, self.column)]) {
            if size == 0 {
                return;
            }
            let reach = (size as i128 - 1) * stride as i128;
            if reach < 0 { low += reach } else { high += reach }
        }
        assert!(low >= 0 && high < self.data.len() as i128, "a matrix lies within its data");
    }

    fn first(&self) -> *const T {
        self.data.as_ptr().wrapping_add(self.offset)
    }
}

/// A type that matrices are made of.
pub trait Operand: Copy + Send + Sync + 'static {
    /// See [`gemm`].
    fn multiply(
        work: &mut Work,
        sizes: &Sizes,
        a: Matrix<Self>,
        b: Matrix<Self>,
        c: &mut [Self],
        workspace: &mut [u8],
        finish: Option<Finish>,
    ) -> Result<(), Stop>;

    /// See [`gemm_workspace`].
    fn multiply_workspace(sizes: &Sizes) -> u64;
}

/// C = A B for each matrix of the batch; C is dense and row-major. `workspace` has at least the size that
/// [`gemm_workspace`] says; what it holds does not matter. `finish` sees each element of C when it is final.
///
/// # Errors
/// What stopped the work; [`Stop::OutOfMemory`] if the workspace is too small.
///
/// # Panics
/// If A, B or C is smaller than the sizes say.
pub fn gemm<T: Operand>(
    work: &mut Work,
    sizes: &Sizes,
    a: Matrix<T>,
    b: Matrix<T>,
    c: &mut [T],
    workspace: &mut [u8],
    finish: Option<Finish>,
) -> Result<(), Stop> {
    a.check(sizes.batch, sizes.m, sizes.k);
    b.check(sizes.batch, sizes.k, sizes.n);
    assert_eq!(c.len(), sizes.count() * sizes.m * sizes.n, "C has the product's size");
    T::multiply(work, sizes, a, b, c, workspace, finish)
}

/// Bytes of workspace that [`gemm`] needs for these sizes and this dtype; the same on every machine.
pub fn gemm_workspace<T: Operand>(sizes: &Sizes) -> u64 {
    T::multiply_workspace(sizes)
}

macro_rules! float_operands {
    ($($T:ty),*) => {
        $(impl Operand for $T {
            fn multiply(
                work: &mut Work, sizes: &Sizes, a: Matrix<$T>, b: Matrix<$T>, c: &mut [$T], workspace: &mut [u8],
                finish: Option<Finish>,
            ) -> Result<(), Stop> {
                multiply_floats(work, sizes, a, b, c, workspace, finish)
            }

            fn multiply_workspace(sizes: &Sizes) -> u64 {
                let (m, n) = if sizes.n == 1 { (1, sizes.m) } else { (sizes.m, sizes.n) };
                let outputs = sizes.batch.iter().fold(m as u64, |total, size| total.saturating_mul(*size as u64));
                let packed = product_workspace::<<$T as Storage>::Compute>(sizes.count(), m, n, sizes.k);
                packed.saturating_add(accumulator_workspace::<$T>(outputs.saturating_mul(n as u64)))
            }
        })*
    };
}

float_operands!(f16, bf16, f32, f64);

macro_rules! integer_operands {
    ($($T:ty),*) => {
        $(impl Operand for $T {
            fn multiply(
                work: &mut Work, sizes: &Sizes, a: Matrix<$T>, b: Matrix<$T>, c: &mut [$T], _: &mut [u8],
                finish: Option<Finish>,
            ) -> Result<(), Stop> {
                integer::multiply(work, sizes, a, b, c)?;
                finish_all(work, finish, c)
            }

            fn multiply_workspace(_: &Sizes) -> u64 {
                0
            }
        })*
    };
}

integer_operands!(i8, i16, i32, i64, u8, u16, u32, u64);

fn multiply_floats<S: Storage>(
    work: &mut Work,
    sizes: &Sizes,
    a: Matrix<S>,
    b: Matrix<S>,
    c: &mut [S],
    workspace: &mut [u8],
    finish: Option<Finish>,
) -> Result<(), Stop> {
    let shape = sizes.batch;
    let mut a = Strided { first: a.first(), lane: a.row, depth: a.column, shape, batch: a.batch };
    let mut b = Strided { first: b.first(), lane: b.column, depth: b.row, shape, batch: b.batch };
    let (mut m, mut n) = (sizes.m, sizes.n);
    if n == 1 {
        // The transposed product has whole vectors of C.
        std::mem::swap(&mut a, &mut b);
        (m, n) = (1, m);
    }
    // Where sums lie apart, they are final when all are rounded.
    let (early, late) = if S::PLAIN { (finish, None) } else { (None, finish) };
    with_accumulator(work, c, workspace, |work, c, workspace| {
        let target = Target { first: c.as_mut_ptr(), row: n, batch: m * n };
        // SAFETY: `gemm` checked that the operands and C have these sizes.
        let product = unsafe { Product::new(sizes.count(), m, n, sizes.k, &a, &b, target) };
        product.then(early).run(work, workspace)
    })?;
    finish_all(work, late, c)
}

/// Takes `count` elements from the front of a workspace.
///
/// # Errors
/// [`Stop::OutOfMemory`] if it is too small.
pub fn take<T: Float>(workspace: &mut [u8], count: usize) -> Result<(&mut [T], &mut [u8]), Stop> {
    let skip = workspace.as_ptr().align_offset(64);
    let bytes = count.checked_mul(size_of::<T>()).ok_or(Stop::OutOfMemory)?;
    let rest = workspace.get_mut(skip..).ok_or(Stop::OutOfMemory)?;
    let (part, rest) = rest.split_at_mut_checked(bytes).ok_or(Stop::OutOfMemory)?;
    debug_assert!(align_of::<T>() <= 64);
    // SAFETY: the part is aligned and long enough, and every bit pattern is a Float (f32 or f64).
    Ok((unsafe { std::slice::from_raw_parts_mut(part.as_mut_ptr().cast(), count) }, rest))
}

/// Bytes that [`take`] needs for `count` elements at most.
pub fn take_workspace<T: Float>(count: u64) -> u64 {
    count.saturating_mul(size_of::<T>() as u64).saturating_add(64)
}

/// Bytes that [`with_accumulator`] needs for an output of `count` elements, beside what its body needs.
pub fn accumulator_workspace<S: Storage>(count: u64) -> u64 {
    if S::PLAIN { 0 } else { take_workspace::<S::Compute>(count) }
}

/// Runs `body` on the output as the type it is computed in: the output itself, or a part of the workspace that is
/// rounded into it at the end.
///
/// # Errors
/// What stopped the work; [`Stop::OutOfMemory`] if the workspace is too small.
pub fn with_accumulator<S: Storage>(
    work: &mut Work,
    output: &mut [S],
    workspace: &mut [u8],
    body: impl FnOnce(&mut Work, &mut [S::Compute], &mut [u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    if S::PLAIN {
        let pointer = output.as_mut_ptr().cast();
        // SAFETY: PLAIN says that the two types are one.
        return body(work, unsafe { std::slice::from_raw_parts_mut(pointer, output.len()) }, workspace);
    }
    let (sums, rest) = take::<S::Compute>(workspace, output.len())?;
    body(work, sums, rest)?;
    const PART: usize = 1 << 16;
    let (count, target) = (output.len(), Shared(output.as_mut_ptr()));
    let sums: &[S::Compute] = sums;
    work.parallel(count.div_ceil(PART), |task| {
        let range = task * PART..count.min((task + 1) * PART);
        // SAFETY: tasks write disjoint ranges of the output, which this function holds.
        let part = unsafe { std::slice::from_raw_parts_mut(target.at(range.start), range.len()) };
        round_into(part, &sums[range]);
    })
}

simd! {
    fn round_into<S: Storage>(to: &mut [S], from: &[S::Compute]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = S::store(*from);
        }
    }
}

/// A pointer that tasks share; each uses elements of its own.
#[derive(Clone, Copy)]
pub struct Shared<T>(pub *mut T);

// SAFETY: whoever dereferences it says why no two tasks meet.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn at(&self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}

#[cfg(test)]
mod tests;
