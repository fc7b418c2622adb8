//! How a tile of an input is found in memory: in place, everywhere the same, or gathered along strides; or made of a key.

use crate::cpu::call::View;
use crate::cpu::random;
use crate::cpu::simd::simd;
use crate::cpu::work::Stop;
use crate::shape::MAX_RANK;
use smallvec::{Array, SmallVec};
use std::mem::MaybeUninit;

/// Elements along an axis and how far apart they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Axis {
    pub size: usize,
    pub stride: isize,
}

/// Where the elements of an input lie, seen from the output's row-major order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// They follow each other.
    Dense,
    /// There is only one.
    Uniform,
    /// Along these collapsed axes, the innermost first: a range of the run's axes. After `period` elements the same ones
    /// follow again; 0: they do not.
    Strided { start: usize, end: usize, period: usize },
    /// Nowhere: this key makes each of its number.
    Random([u32; 2]),
}

/// An input of a run.
#[derive(Clone, Copy)]
pub struct Feed {
    /// The element that output index 0 reads.
    pub data: *const u8,
    pub pattern: Pattern,
    /// Whether the next tile's elements are asked for while one is computed: see [`Feed::fetched_ahead`].
    pub ahead: bool,
}

/// Inputs and outputs of fewer bytes are likely to be in the second cache before a pass goes through them.
pub const AHEAD: usize = 1 << 20;

/// A list that needs no heap up to N entries.
#[derive(Clone)]
pub struct List<T, const N: usize>(SmallVec<[T; N]>)
where
    [T; N]: Array<Item = T>;

impl<T, const N: usize> List<T, N>
where
    [T; N]: Array<Item = T>,
{
    pub fn new() -> List<T, N> {
        List(SmallVec::new())
    }

    pub fn push(&mut self, entry: T) -> Result<(), Stop> {
        self.0.try_reserve(1).map_err(|_| Stop::OutOfMemory)?;
        self.0.push(entry);
        Ok(())
    }

    pub fn entries(&self) -> &[T] {
        &self.0
    }

    pub fn entries_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl Feed {
    /// How `view` is read for an output of the sizes `output`, not all of them 0; axes go to the end of `axes`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    ///
    /// # Panics
    /// If the view does not broadcast to the sizes.
    pub fn new<const N: usize>(view: &View, output: &[usize], axes: &mut List<Axis, N>) -> Result<Feed, Stop>
    where
        [Axis; N]: Array<Item = Axis>,
    {
        let layout = view.layout();
        let width = layout.dtype.size();
        let data = view.pointer().wrapping_add(layout.offset * width);
        let missing = output.len().checked_sub(layout.sizes.len());
        let Some(missing) = missing else { unreachable!("an input has no more axes than the output") };
        let outer_first = output.iter().enumerate().map(|(axis, &size)| match axis.checked_sub(missing) {
            Some(own) if layout.sizes[own] == size => Axis { size, stride: layout.strides[own] },
            Some(own) => {
                assert_eq!(layout.sizes[own], 1, "an input broadcasts to the output");
                Axis { size, stride: 0 }
            }
            None => Axis { size, stride: 0 },
        });
        Feed::along(data, outer_first.rev(), axes)
    }

    /// The same for a pass that goes through `bytes` bytes of it in order, and is the first to do so: the processor's own
    /// foresight gets lost between the loops of a tile.
    pub fn fetched_ahead(self, bytes: usize) -> Feed {
        Feed { ahead: self.pattern == Pattern::Dense && bytes >= AHEAD, ..self }
    }

    /// The words that a key makes of the output's row-major numbers.
    ///
    /// # Panics
    /// If the view has not two elements.
    pub fn random(view: &View) -> Feed {
        let layout = view.layout();
        assert_eq!(layout.sizes[..], [2], "a key has two words");
        let data = view.pointer().cast::<u32>().wrapping_add(layout.offset);
        // SAFETY: the view says that its elements can be read.
        let word = |index: isize| unsafe { *data.wrapping_offset(index * layout.strides[0]) };
        Feed { data: data.cast(), pattern: Pattern::Random([word(0), word(1)]), ahead: false }
    }

    /// How the elements at `data` along these axes, the innermost first, are read.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn along<const N: usize>(
        data: *const u8,
        inner_first: impl Iterator<Item = Axis>,
        axes: &mut List<Axis, N>,
    ) -> Result<Feed, Stop>
    where
        [Axis; N]: Array<Item = Axis>,
    {
        let start = axes.entries().len();
        for Axis { size, stride } in inner_first.filter(|axis| axis.size != 1) {
            match axes.entries_mut()[start..].last_mut() {
                Some(inner) if inner.stride.wrapping_mul(inner.size as isize) == stride => inner.size *= size,
                _ => axes.push(Axis { size, stride })?,
            }
        }
        let end = axes.entries().len();
        assert!(end - start <= MAX_RANK, "an output has a shape's rank");
        let pattern = match &axes.entries()[start..] {
            [] | [Axis { stride: 0, .. }] => Pattern::Uniform,
            [Axis { stride: 1, .. }] => Pattern::Dense,
            [inner @ .., Axis { stride: 0, .. }] => {
                Pattern::Strided { start, end, period: inner.iter().map(|axis| axis.size).product() }
            }
            _ => Pattern::Strided { start, end, period: 0 },
        };
        Ok(Feed { data, pattern, ahead: false })
    }
}

/// Where the first element is that the output indices `start .. start + count` read, if they go along the innermost axis
/// alone.
pub fn along_innermost(axes: &[Axis], start: usize, count: usize) -> Option<isize> {
    let (inner, outer) = axes.split_first()?;
    let index = start % inner.size;
    if index + count > inner.size {
        return None;
    }
    let mut rest = start / inner.size;
    let place = outer.iter().fold(0, |place, axis| {
        let index = rest % axis.size;
        rest /= axis.size;
        place + index as isize * axis.stride
    });
    Some(place + index as isize * inner.stride)
}

/// Writes the words that a key makes of the output indices `start .. start + count` to `out`. `width` is a word's size in
/// bytes, 4 or 8.
///
/// # Safety
/// `count` words at `out` can be written.
pub unsafe fn words(key: [u32; 2], width: usize, start: usize, out: *mut u8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            4 => random::words(key, start as u64, slice::<u32>(out, count)),
            _ => random::words(key, start as u64, slice::<u64>(out, count)),
        }
    }
}

/// Writes an element of `width` bytes, 1, 2, 4 or 8, to `out` again and again.
///
/// # Safety
/// The element can be read, and `count` elements at `out` written; they do not overlap.
pub unsafe fn repeat(element: *const u8, width: usize, out: *mut u8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            1 => fill(slice::<u8>(out, count), *element),
            2 => fill(slice::<u16>(out, count), *element.cast()),
            4 => fill(slice::<u32>(out, count), *element.cast()),
            _ => fill(slice::<u64>(out, count), *element.cast()),
        }
    }
}

simd! {
    fn fill<T: Copy>(out: &mut [MaybeUninit<T>], value: T) {
        out.fill(MaybeUninit::new(value));
    }
}

/// # Safety
/// `count` elements at `out` can be written for as long as the slice is used.
unsafe fn slice<'a, T>(out: *mut u8, count: usize) -> &'a mut [MaybeUninit<T>] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(out.cast(), count) }
}

/// Copies the elements of the output indices `start .. start + count` to `out`; `axes` are two or more, or one with
/// a stride, the innermost first. `width` is an element's size in bytes.
///
/// # Safety
/// The elements can be read, and `count` elements at `out` written; they do not overlap.
pub unsafe fn gather(data: *const u8, axes: &[Axis], width: usize, start: usize, out: *mut u8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            1 => gather_elements::<u8>(data, axes, start, out, count),
            2 => gather_elements::<u16>(data.cast(), axes, start, out.cast(), count),
            4 => gather_elements::<u32>(data.cast(), axes, start, out.cast(), count),
            _ => gather_elements::<u64>(data.cast(), axes, start, out.cast(), count),
        }
    }
}

unsafe fn gather_elements<T: Copy>(data: *const T, axes: &[Axis], start: usize, out: *mut T, count: usize) {
    let (inner, outer) = (axes[0], axes[axes.len() - 1]);
    // Along an outermost axis of stride 0 the elements repeat with the period of the axes within.
    let fresh = match outer.stride {
        0 => axes[..axes.len() - 1].iter().map(|axis| axis.size).product::<usize>().min(count),
        _ => count,
    };
    let mut index = [0; MAX_RANK];
    let mut rest = start;
    let mut from = data;
    for (index, axis) in index.iter_mut().zip(axes) {
        *index = rest % axis.size;
        rest /= axis.size;
        from = from.wrapping_offset(*index as isize * axis.stride);
    }
    let mut filled = 0;
    while filled < fresh {
        let run = (inner.size - index[0]).min(fresh - filled);
        // SAFETY: `run` elements are left along the innermost axis, and in `out`.
        unsafe { copy_run(from, inner.stride, out.add(filled), run) };
        filled += run;
        index[0] += run;
        from = from.wrapping_offset(run as isize * inner.stride);
        for (i, axis) in axes.iter().enumerate() {
            if index[i] < axis.size {
                break;
            }
            index[i] = 0;
            from = from.wrapping_offset(-(axis.size as isize * axis.stride));
            if let Some(next) = axes.get(i + 1) {
                index[i + 1] += 1;
                from = from.wrapping_offset(next.stride);
            }
        }
    }
    while filled < count {
        let more = filled.min(count - filled);
        // SAFETY: the first `filled` elements are written, and `more` follow within `count`.
        unsafe { out.copy_to_nonoverlapping(out.add(filled), more) };
        filled += more;
    }
}

/// # Safety
/// `run` elements can be read from `from` on with that stride, and written to `out`.
#[inline(always)]
unsafe fn copy_run<T: Copy>(from: *const T, stride: isize, out: *mut T, run: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match stride {
            1 if run > 16 => from.copy_to_nonoverlapping(out, run),
            0 => {
                let value = *from;
                (0..run).for_each(|i| out.add(i).write(value));
            }
            _ => (0..run).for_each(|i| out.add(i).write(*from.offset(i as isize * stride))),
        }
    }
}
