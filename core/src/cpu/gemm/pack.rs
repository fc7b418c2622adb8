//! Where a product's operands come from: panels of lanes (rows of A, columns of B), packed depth by depth.

use std::ops::Range;

use half::{bf16, f16};

use super::microkernel::Float;
use crate::cpu::simd::simd;

/// A type that tensors store and that products can be made of.
pub trait Storage: Copy + Send + Sync + 'static {
    /// What it is computed in.
    type Compute: Float;
    /// Whether `Compute` is this very type.
    const PLAIN: bool;
    /// The value, exactly.
    fn load(self) -> Self::Compute;
    /// The nearest value, ties to even.
    fn store(value: Self::Compute) -> Self;
}

macro_rules! plain {
    ($($T:ty),*) => {
        $(impl Storage for $T {
            type Compute = $T;
            const PLAIN: bool = true;

            #[inline(always)]
            fn load(self) -> $T {
                self
            }

            #[inline(always)]
            fn store(value: $T) -> $T {
                value
            }
        })*
    };
}

plain!(f32, f64);

impl Storage for bf16 {
    type Compute = f32;
    const PLAIN: bool = false;

    #[inline(always)]
    fn load(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn store(value: f32) -> bf16 {
        bf16::from_f32(value)
    }
}

impl Storage for f16 {
    type Compute = f32;
    const PLAIN: bool = false;

    /// Without branches, so that loops over it become vectors: the bits as an f32 are the value times 2^-112.
    #[inline(always)]
    fn load(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn store(value: f32) -> f16 {
        f16::from_f32(value)
    }
}

/// An operand of a product.
pub trait Source<T>: Sync {
    /// Writes `panel[d * width + l]` = the element of lane `lanes.start + l` and depth `depth.start + d` of matrix
    /// `batch`, for all of `lanes` and `depth`; lanes up to the next multiple of 4 may be overwritten.
    ///
    /// # Safety
    /// The ranges lie within the operand, `lanes.len() <= width`, a multiple of 4, and the panel can be written.
    unsafe fn pack(&self, batch: usize, lanes: Range<usize>, depth: Range<usize>, panel: *mut T, width: usize);

    /// Where the elements of that lane and depth lie, and the distance of the next depth, if the lanes that follow lie
    /// beside them in memory as they would in a panel.
    fn direct(&self, _batch: usize, _lane: usize, _depth: usize) -> Option<(*const T, usize)> {
        None
    }
}

/// A dense or strided operand.
pub struct Strided<'a, S> {
    /// The element at lane 0, depth 0 of the first matrix.
    pub first: *const S,
    /// Distance of the next lane.
    pub lane: isize,
    /// Distance of the next depth.
    pub depth: isize,
    /// The batch's axes.
    pub shape: &'a [usize],
    /// Distances along them.
    pub batch: &'a [isize],
}

// SAFETY: it only reads what its maker says can be read.
unsafe impl<S: Sync> Sync for Strided<'_, S> {}

/// The offset of the matrix with that number, row-major over `shape`.
pub fn batch_offset(mut number: usize, shape: &[usize], strides: &[isize]) -> isize {
    let mut offset = 0;
    for (size, stride) in shape.iter().zip(strides).rev() {
        offset += (number % size) as isize * stride;
        number /= size;
    }
    offset
}

impl<S> Strided<'_, S> {
    fn at(&self, batch: usize, lane: usize, depth: usize) -> *const S {
        let offset = batch_offset(batch, self.shape, self.batch);
        self.first.wrapping_offset(offset + lane as isize * self.lane + depth as isize * self.depth)
    }
}

impl<S: Storage> Source<S::Compute> for Strided<'_, S> {
    unsafe fn pack(
        &self,
        batch: usize,
        lanes: Range<usize>,
        depth: Range<usize>,
        panel: *mut S::Compute,
        width: usize,
    ) {
        let first = self.at(batch, lanes.start, depth.start);
        // SAFETY: the caller's.
        unsafe {
            if self.depth == 1 && lanes.len() > 1 {
                let mut rows = [first; 48];
                for (l, row) in rows[..lanes.len()].iter_mut().enumerate() {
                    *row = first.offset(l as isize * self.lane);
                }
                interleave(&rows[..lanes.len()], depth.len(), panel, width);
            } else if self.lane == 1 {
                copy_lanes(first, self.depth, lanes.len(), depth.len(), panel, width);
            } else {
                for d in 0..depth.len() {
                    for l in 0..lanes.len() {
                        let from = first.offset(d as isize * self.depth + l as isize * self.lane);
                        panel.add(d * width + l).write((*from).load());
                    }
                }
            }
        }
    }

    fn direct(&self, batch: usize, lane: usize, depth: usize) -> Option<(*const S::Compute, usize)> {
        let step = usize::try_from(self.depth).ok()?;
        (S::PLAIN && self.lane == 1).then(|| (self.at(batch, lane, depth).cast(), step))
    }
}

/// `panel[d * width + l] = rows[l][d]` for `length` depths: lanes that are contiguous along the depth. Lanes up to the next
/// multiple of 4 may be overwritten.
///
/// # Safety
/// Each row has `length` elements, and the panel as many steps of `width`, a multiple of 4 and not less than the rows.
pub unsafe fn interleave<S: Storage>(rows: &[*const S], length: usize, panel: *mut S::Compute, width: usize) {
    if S::PLAIN {
        let quad = S::Compute::kernels().quad;
        for (i, four) in rows.chunks(4).enumerate() {
            let four = std::array::from_fn(|i| four[i.min(four.len() - 1)].cast::<S::Compute>());
            // SAFETY: the caller's; kernels() has this machine's instructions.
            unsafe { quad(four, length, panel.add(4 * i), width) };
        }
        return;
    }
    for (l, row) in rows.iter().enumerate() {
        scatter_lane(*row, length, panel.wrapping_add(l), width);
    }
}

simd! {
    /// One lane of [`interleave`], whose safety it shares.
    fn scatter_lane<S: Storage>(row: *const S, length: usize, panel: *mut S::Compute, width: usize) {
        for d in 0..length {
            // SAFETY: the caller's.
            unsafe { panel.add(d * width).write((*row.add(d)).load()) }
        }
    }
}

/// `panel[d * width + l] = from[d * step + l]` for `depth` depths: lanes that lie beside each other.
///
/// # Safety
/// All these elements can be read, and the panel has `depth` steps of `width >= lanes`.
pub unsafe fn copy_lanes<S: Storage>(
    from: *const S,
    step: isize,
    lanes: usize,
    depth: usize,
    panel: *mut S::Compute,
    width: usize,
) {
    macro_rules! fixed {
        ($($lanes:literal)*) => {
            match lanes {
                // SAFETY: the caller's.
                $($lanes => return unsafe { copy_fixed::<_, $lanes>(from.cast(), step, depth, panel, width) },)*
                _ => {}
            }
        };
    }
    if S::PLAIN {
        fixed!(1 2 3 4 6 8 12 16 24 32 48);
    }
    copy_part(from, step, lanes, depth, panel, width);
}

/// [`copy_lanes`] for a number of lanes that the compiler knows.
unsafe fn copy_fixed<T: Copy, const LANES: usize>(
    from: *const T,
    step: isize,
    depth: usize,
    panel: *mut T,
    width: usize,
) {
    for d in 0..depth {
        // SAFETY: the caller's.
        unsafe {
            let lanes = from.offset(d as isize * step).cast::<[T; LANES]>().read();
            panel.add(d * width).cast::<[T; LANES]>().write(lanes);
        }
    }
}

simd! {
    /// [`copy_lanes`] for any width and storage, whose safety it shares.
    fn copy_part<S: Storage>(
        from: *const S, step: isize, lanes: usize, depth: usize, panel: *mut S::Compute, width: usize
    ) {
        for d in 0..depth {
            // SAFETY: the caller's.
            unsafe {
                let from = from.offset(d as isize * step);
                let to = panel.add(d * width);
                for l in 0..lanes {
                    to.add(l).write((*from.add(l)).load());
                }
            }
        }
    }
}
