//! What a kernel is called with: views of its inputs and outputs, workspace, and its way to the pool.

use super::gemm::Finish;
use super::memory::{cast_slice, cast_slice_mut};
use super::work::Work;
use crate::attrs::Attrs;
use crate::dtype::{DType, Element};
use smallvec::{SmallVec, smallvec};
use std::marker::PhantomData;

/// A short list, such as something for each axis: up to 8 entries take no heap, so that running a kernel allocates nothing.
pub type List<T> = SmallVec<[T; 8]>;

/// Where the elements of a value lie, counted in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The dtype of the elements.
    pub dtype: DType,
    /// How many elements along each axis.
    pub sizes: List<usize>,
    /// How far apart neighbours along each axis are.
    pub strides: List<isize>,
    /// Where the first element is.
    pub offset: usize,
}

impl Layout {
    /// Dense and row-major from offset 0.
    pub fn dense(dtype: DType, sizes: &[usize]) -> Layout {
        Layout { dtype, sizes: sizes.into(), strides: dense_strides(sizes), offset: 0 }
    }

    /// As [`Layout::dense`], of sizes that are a list already.
    pub fn of(dtype: DType, sizes: List<usize>) -> Layout {
        Layout { dtype, strides: dense_strides(&sizes), sizes, offset: 0 }
    }

    /// How many elements.
    pub fn elements(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Bytes a dense copy takes.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Whether the elements follow each other in row-major order.
    pub fn is_dense(&self) -> bool {
        let mut step = 1isize;
        let fits = |(&size, &stride): (&usize, &isize)| {
            let fits = size == 1 || stride == step;
            step = step.saturating_mul(size as isize);
            fits
        };
        self.sizes.contains(&0) || self.sizes.iter().zip(&self.strides).rev().all(fits)
    }
}

/// The strides of a dense row-major tensor.
pub fn dense_strides(sizes: &[usize]) -> List<isize> {
    let mut strides: List<isize> = smallvec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(sizes[axis].max(1) as isize);
    }
    strides
}

/// An input of a kernel.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: *const u8,
    bytes: usize,
    layout: &'a Layout,
    lifetime: PhantomData<&'a [u8]>,
}

// SAFETY: a view only reads memory that outlives it.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}

impl<'a> View<'a> {
    /// A view of `bytes` bytes at `data`, within which every element of `layout` lies.
    ///
    /// # Safety
    /// The bytes are readable and not written for `'a`, aligned for the dtype, and the layout stays within them. Only
    /// an element-wise kernel's output may be the very memory of a dense input; `elements` must not be called then.
    pub unsafe fn new(data: *const u8, bytes: usize, layout: &'a Layout) -> View<'a> {
        View { data, bytes, layout, lifetime: PhantomData }
    }

    /// Sizes, strides and offset.
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// Its dtype.
    pub fn dtype(&self) -> DType {
        self.layout.dtype
    }

    /// Its sizes.
    pub fn sizes(&self) -> &'a [usize] {
        &self.layout.sizes
    }

    /// Where its bytes begin; the layout's offset is not yet added.
    pub fn pointer(&self) -> *const u8 {
        self.data
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes of all elements of the buffer.
    pub fn memory(&self) -> &'a [u8] {
        // SAFETY: promised to `new`.
        unsafe { std::slice::from_raw_parts(self.data, self.bytes) }
    }

    /// The elements of the buffer that the layout addresses (for a dense input exactly its elements).
    pub fn elements<T: Element>(&self) -> &'a [T] {
        cast_slice(self.memory())
    }
}

/// An output of a kernel: dense, row-major.
pub struct Target<'a> {
    data: *mut u8,
    layout: &'a Layout,
    lifetime: PhantomData<&'a mut [u8]>,
}

impl<'a> Target<'a> {
    /// The memory of an output with a dense layout.
    ///
    /// # Safety
    /// `layout.bytes()` bytes at `data` are writable for `'a` and nobody else touches them, aligned for the dtype.
    pub unsafe fn new(data: *mut u8, layout: &'a Layout) -> Target<'a> {
        Target { data, layout, lifetime: PhantomData }
    }

    /// Its dtype.
    pub fn dtype(&self) -> DType {
        self.layout.dtype
    }

    /// Its sizes.
    pub fn sizes(&self) -> &'a [usize] {
        &self.layout.sizes
    }

    /// Its dense layout.
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// Where its elements begin.
    pub fn pointer(&mut self) -> *mut u8 {
        self.data
    }

    /// The bytes of its elements; what they hold before they are written is not defined.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: promised to `new`; `&mut self` makes it the only slice.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.layout.bytes()) }
    }

    /// Its elements; what they hold before they are written is not defined.
    pub fn elements<T: Element>(&mut self) -> &mut [T] {
        cast_slice_mut(self.bytes())
    }
}

/// One call of a kernel.
pub struct Call<'a> {
    /// The op's attrs; every dim is a number by now.
    pub attrs: &'a Attrs,
    /// The inputs; `None` where an optional one was left out. Dense unless the kernel takes strides.
    pub inputs: &'a [Option<View<'a>>],
    /// The outputs.
    pub outputs: &'a mut [Target<'a>],
    /// As many bytes as the kernel asked for, aligned to 64; kept while the kernel is paused.
    pub workspace: &'a mut [u8],
    /// The way to the pool.
    pub work: Work<'a>,
    /// What follows a product (see [`crate::ops::epilogue`]); no other kernel gets it.
    pub finish: Option<Finish<'a>>,
}

impl<'a> Call<'a> {
    /// A required input.
    pub fn input(&self, index: usize) -> View<'a> {
        match self.inputs.get(index) {
            Some(Some(view)) => *view,
            _ => unreachable!("infer has checked that required inputs are there"),
        }
    }

    /// An input, unless it was left out.
    pub fn optional(&self, index: usize) -> Option<View<'a>> {
        self.inputs.get(index).copied().flatten()
    }
}

/// A mutable slice that the tasks of one phase write in disjoint parts.
#[derive(Clone, Copy)]
pub struct Shared<'a, T> {
    data: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: tasks take disjoint ranges; see `range`.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Shares a slice among tasks.
    pub fn new(slice: &'a mut [T]) -> Shared<'a, T> {
        Shared { data: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// A part of the slice, cut to its length.
    ///
    /// # Safety
    /// No two tasks that run at once, and no two slices of one task that are alive at once, overlap.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub unsafe fn range(&self, start: usize, end: usize) -> &'a mut [T] {
        let (start, end) = (start.min(self.len), end.min(self.len));
        // SAFETY: within the slice; disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), end.saturating_sub(start)) }
    }
}
