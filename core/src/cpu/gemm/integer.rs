//! Products of integers: plain loops, wrapping.

use super::pack::batch_offset;
use super::{Matrix, Shared, Sizes};
use crate::cpu::simd::simd;
use crate::cpu::work::{Stop, Work};

/// Integers that wrap.
pub trait Integer: Copy + Default + Send + Sync {
    fn add(self, other: Self) -> Self;
    fn multiply(self, other: Self) -> Self;
}

macro_rules! integers {
    ($($T:ty),*) => {
        $(impl Integer for $T {
            #[inline(always)]
            fn add(self, other: $T) -> $T {
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn multiply(self, other: $T) -> $T {
                self.wrapping_mul(other)
            }
        })*
    };
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

/// Operations of a task.
const TASK: usize = 1 << 20;

/// C = A B; the operands are checked.
pub fn multiply<T: Integer>(
    work: &mut Work,
    sizes: &Sizes,
    a: Matrix<T>,
    b: Matrix<T>,
    c: &mut [T],
) -> Result<(), Stop> {
    let (m, n, k) = (sizes.m, sizes.n, sizes.k);
    if c.is_empty() {
        return Ok(());
    }
    let rows = c.len() / n;
    let each = (TASK / n.saturating_mul(k).max(1)).max(1);
    let c = Shared(c.as_mut_ptr());
    work.parallel(rows.div_ceil(each), |task| {
        for row in task * each..rows.min((task + 1) * each) {
            // SAFETY: each row of C belongs to one task.
            let to = unsafe { std::slice::from_raw_parts_mut(c.at(row * n), n) };
            let start = |matrix: &Matrix<T>| matrix.offset as isize + batch_offset(row / m, sizes.batch, matrix.batch);
            let a_start = start(&a) + (row % m) as isize * a.row;
            to.fill(T::default());
            for depth in 0..k as isize {
                let left = a.data[(a_start + depth * a.column) as usize];
                let from = start(&b) + depth * b.row;
                if b.column == 1 {
                    add_multiple(to, left, &b.data[from as usize..from as usize + n]);
                } else {
                    for (j, to) in to.iter_mut().enumerate() {
                        *to = to.add(left.multiply(b.data[(from + j as isize * b.column) as usize]));
                    }
                }
            }
        }
    })
}

simd! {
    fn add_multiple<T: Integer>(to: &mut [T], factor: T, row: &[T]) {
        for (to, value) in to.iter_mut().zip(row) {
            *to = to.add(factor.multiply(*value));
        }
    }
}
