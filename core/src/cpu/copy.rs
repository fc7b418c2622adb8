//! Moving elements between layouts. Every element goes to its own place, so the order of the work changes nothing.

use super::call::{Call, Layout, List, Shared, Target, View, dense_strides};
use super::memory::{as_bytes, cast_slice};
use super::work::{Stop, Work};
use crate::attrs::Attrs;
use crate::dispatch_width;
use crate::dtype::Element;
use crate::shape::MAX_RANK;
use std::ops::Range;

/// Elements that a task moves, about.
const TASK: usize = 32 << 10;
/// The side of the square blocks in which a transpose moves elements.
const BLOCK: usize = 16;

/// An axis that is walked on both sides, with the distance between neighbours on each.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    size: usize,
    from: isize,
    to: isize,
}

/// Elements at `data` going to places at `output`: the same sizes, other strides.
struct Move<'a, T> {
    data: &'a [T],
    from: usize,
    output: Shared<'a, T>,
    to: usize,
    /// Without axes of size 1; neighbours that make one axis are one.
    axes: List<Axis>,
}

/// The copying kernel: the elements of the first input in row-major order, as the first output.
pub fn run(call: &mut Call) -> Result<(), Stop> {
    let source = call.input(0);
    copy(source, &mut call.outputs[0], &mut call.work)
}

/// The copying kernel of an op that only moves: `view` says what it is a view of.
pub fn through(call: &mut Call, view: fn(&Attrs, &Layout, &[usize]) -> Layout) -> Result<(), Stop> {
    let source = call.input(0);
    let layout = view(call.attrs, source.layout(), call.outputs[0].sizes());
    dispatch_width!(source.dtype(), T => {
        move_words(&mut call.work, &layout, words::<T>(source), words_mut::<T>(&mut call.outputs[0]), None)
    })
}

/// Copies a view in row-major order to a dense target of as many elements.
pub fn copy(source: View, target: &mut Target, work: &mut Work) -> Result<(), Stop> {
    dispatch_width!(source.dtype(), T => {
        move_words(work, source.layout(), words::<T>(source), words_mut::<T>(target), None)
    })
}

/// Copies the elements that `layout` names in `data`, in row-major order, to the dense `output`.
pub fn strided<T: Element>(work: &mut Work, layout: &Layout, data: &[T], output: &mut [T]) -> Result<(), Stop> {
    place(work, layout, data, output, None)
}

/// Copies the elements that `layout` names in `data` to `output`, where those of the same index are as far apart as
/// the second layout (of the same sizes) says; `None` is dense.
pub fn place<T: Element>(
    work: &mut Work,
    layout: &Layout,
    data: &[T],
    output: &mut [T],
    to: Option<&Layout>,
) -> Result<(), Stop> {
    dispatch_width!(layout.dtype, W => {
        debug_assert_eq!(size_of::<T>(), size_of::<W>());
        let data = cast_slice::<W>(as_bytes(data));
        // SAFETY: both are plain data of one size, so every bit pattern is valid.
        let output = unsafe { std::slice::from_raw_parts_mut(output.as_mut_ptr().cast::<W>(), output.len()) };
        move_words(work, layout, data, output, to)
    })
}

/// Writes `value` to every element.
pub fn fill<T: Element>(work: &mut Work, output: &mut [T], value: T) -> Result<(), Stop> {
    generate(work, output, |_| value)
}

/// Writes to every element what `element` makes of its number.
pub fn generate<T: Element>(
    work: &mut Work,
    output: &mut [T],
    element: impl Fn(usize) -> T + Sync,
) -> Result<(), Stop> {
    let len = output.len();
    let output = Shared::new(output);
    work.parallel(len.div_ceil(TASK), |task| {
        let start = task * TASK;
        // SAFETY: every task has its own range.
        let output = unsafe { output.range(start, start + TASK) };
        output.iter_mut().enumerate().for_each(|(index, output)| *output = element(start + index));
    })
}

/// The elements of a view by their width alone.
fn words<'a, W: Element>(view: View<'a>) -> &'a [W] {
    view.elements::<W>()
}

fn words_mut<'t, W: Element>(target: &'t mut Target) -> &'t mut [W] {
    target.elements::<W>()
}

fn move_words<T: Element>(
    work: &mut Work,
    layout: &Layout,
    data: &[T],
    output: &mut [T],
    to: Option<&Layout>,
) -> Result<(), Stop> {
    let elements = layout.elements();
    let dense = to.is_none().then(|| dense_strides(&layout.sizes));
    let strides = dense.as_deref().or(to.map(|to| &to.strides[..])).unwrap_or(&[]);
    let axes = collapse(&layout.sizes, &layout.strides, strides);
    let offset = to.map_or(0, |to| to.offset);
    let moved = Move { data, from: layout.offset, output: Shared::new(output), to: offset, axes };
    if elements == 0 {
        return work.parallel(0, |_| ());
    }
    match moved.crossing() {
        Some(axis) => moved.transpose(work, axis),
        None => work.parallel(elements.div_ceil(TASK), |task| {
            moved.rows(task * TASK..elements.min((task + 1) * TASK));
        }),
    }
}

/// Joins axes that follow each other evenly on both sides.
fn collapse(sizes: &[usize], from: &[isize], to: &[isize]) -> List<Axis> {
    let mut axes = List::<Axis>::new();
    for ((&size, &from), &to) in sizes.iter().zip(from).zip(to).filter(|((size, _), _)| **size != 1) {
        let length = size as isize;
        match axes.last_mut() {
            Some(last) if last.from == from.wrapping_mul(length) && last.to == to.wrapping_mul(length) => {
                *last = Axis { size: last.size.saturating_mul(size), from, to };
            }
            _ => axes.push(Axis { size, from, to }),
        }
    }
    axes
}

/// A place in several axes: its index along each, and how far it is from the first place on both sides.
struct Place {
    index: [usize; MAX_RANK],
    from: isize,
    to: isize,
}

impl Place {
    /// The place of a row-major number.
    fn new(axes: &[Axis], mut number: usize) -> Place {
        let mut place = Place { index: [0; MAX_RANK], from: 0, to: 0 };
        for (position, axis) in axes.iter().enumerate().rev() {
            let index = number % axis.size;
            number /= axis.size;
            place.index[position] = index;
            place.from += index as isize * axis.from;
            place.to += index as isize * axis.to;
        }
        place
    }

    /// The next place in row-major order; after the last the first.
    fn advance(&mut self, axes: &[Axis]) {
        for (position, axis) in axes.iter().enumerate().rev() {
            self.index[position] += 1;
            self.from += axis.from;
            self.to += axis.to;
            if self.index[position] < axis.size {
                return;
            }
            self.index[position] = 0;
            self.from -= axis.size as isize * axis.from;
            self.to -= axis.size as isize * axis.to;
        }
    }
}

impl<T: Element> Move<'_, T> {
    /// The axis whose neighbours lie side by side in the source, if the last axis is dense in the output and not in
    /// the source: moving rows would read from another cache line each time.
    fn crossing(&self) -> Option<usize> {
        let (last, outer) = self.axes.split_last()?;
        let crosses = last.to == 1 && last.from != 1 && last.from != 0 && last.size >= 4;
        outer.iter().position(|axis| axis.from == 1 && axis.size >= 4).filter(|_| crosses)
    }

    /// Moves the elements whose row-major numbers are in `range`.
    fn rows(&self, range: Range<usize>) {
        let one = Axis { size: 1, from: 1, to: 1 };
        let (last, outer) = self.axes.split_last().unwrap_or((&one, &[]));
        let mut column = range.start % last.size;
        let mut place = Place::new(outer, range.start / last.size);
        let mut number = range.start;
        while number < range.end {
            let count = (last.size - column).min(range.end - number);
            let from = self.from as isize + place.from + column as isize * last.from;
            let to = self.to as isize + place.to + column as isize * last.to;
            self.row(last, from, to, count);
            number += count;
            column = 0;
            place.advance(outer);
        }
    }

    #[inline]
    fn row(&self, axis: &Axis, from: isize, to: isize, count: usize) {
        let (start, to) = (from as usize, to as usize);
        if axis.to != 1 {
            for i in 0..count {
                let to = to.wrapping_add_signed(i as isize * axis.to);
                // SAFETY: every number has its own place, and every task its own numbers.
                let output = unsafe { self.output.range(to, to + 1) };
                output[0] = self.data[start.wrapping_add_signed(i as isize * axis.from)];
            }
            return;
        }
        // SAFETY: as above.
        let output = unsafe { self.output.range(to, to + count) };
        match axis.from {
            1 => output.copy_from_slice(&self.data[start..start + count]),
            0 => output.fill(self.data[start]),
            stride => {
                for (i, output) in output.iter_mut().enumerate() {
                    *output = self.data[start.wrapping_add_signed(i as isize * stride)];
                }
            }
        }
    }

    /// Moves blocks of `axis` and the last axis, so that both sides are touched by whole cache lines.
    fn transpose(&self, work: &mut Work, axis: usize) -> Result<(), Stop> {
        let mut outer = self.axes.clone();
        let Some(columns) = outer.pop() else { return Ok(()) };
        let rows = outer.remove(axis);
        let slabs = outer.iter().map(|axis| axis.size).product::<usize>();
        let strips = rows.size.div_ceil(BLOCK);
        let wide = columns.size.div_ceil(BLOCK);
        let strips_per_task = (TASK / BLOCK / columns.size.min(TASK)).max(1);
        let per_strip = wide.div_ceil(TASK / BLOCK / BLOCK).max(1);
        let tasks = (slabs * strips).div_ceil(strips_per_task) * per_strip;
        work.parallel(tasks, |task| {
            let part = task % per_strip;
            let first = task / per_strip * strips_per_task;
            for strip in first..(first + strips_per_task).min(slabs * strips) {
                let place = Place::new(&outer, strip / strips);
                let row = strip % strips * BLOCK;
                let count = BLOCK.min(rows.size - row);
                for block in (part * wide / per_strip)..((part + 1) * wide / per_strip) {
                    let column = block * BLOCK;
                    let from = self.from as isize + place.from + row as isize + column as isize * columns.from;
                    let to = self.to as isize + place.to + row as isize * rows.to + column as isize;
                    let size = (count, BLOCK.min(columns.size - column));
                    self.block(from, columns.from, to, rows.to, size);
                }
            }
        })
    }

    /// Moves one block of (rows, columns): a row is read with steps of `stride` and written densely.
    #[inline]
    fn block(&self, from: isize, stride: isize, to: isize, pitch: isize, size: (usize, usize)) {
        // With the size known the compiler keeps a whole block in registers.
        match size {
            (BLOCK, BLOCK) => self.block_of(from, stride, to, pitch, (BLOCK, BLOCK)),
            size => self.block_of(from, stride, to, pitch, size),
        }
    }

    #[inline(always)]
    fn block_of(&self, from: isize, stride: isize, to: isize, pitch: isize, (rows, columns): (usize, usize)) {
        let mut block = [[T::default(); BLOCK]; BLOCK];
        for column in 0..columns {
            let start = (from + column as isize * stride) as usize;
            for (values, value) in block.iter_mut().zip(&self.data[start..start + rows]) {
                values[column] = *value;
            }
        }
        for (row, values) in block.iter().enumerate().take(rows) {
            let start = (to + row as isize * pitch) as usize;
            // SAFETY: every element has its own place, and every task its own elements.
            unsafe { self.output.range(start, start + columns) }.copy_from_slice(&values[..columns]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::threads::{set_num_threads, settings};
    use crate::cpu::work::{Cursor, Watch};
    use crate::dtype::DType;

    /// Element by element.
    fn naive(layout: &Layout, data: &[u32]) -> Vec<u32> {
        let mut places = vec![layout.offset as isize];
        for (&size, &stride) in layout.sizes.iter().zip(&layout.strides) {
            places = places.iter().flat_map(|&place| (0..size as isize).map(move |i| place + i * stride)).collect();
        }
        places.iter().map(|&place| data[place as usize]).collect()
    }

    fn layout(sizes: &[usize], strides: &[isize], offset: usize) -> Layout {
        Layout { dtype: DType::U32, sizes: sizes.into(), strides: strides.into(), offset }
    }

    #[test]
    fn every_layout_is_copied_in_row_major_order_by_any_number_of_threads() {
        let _settings = settings();
        let data: Vec<u32> = (0..400_000).collect();
        let cases = [
            layout(&[], &[], 7),
            layout(&[0, 3], &[3, 1], 0),
            layout(&[300, 1000], &[1000, 1], 5),
            layout(&[300, 1000], &[1, 300], 5),
            layout(&[7, 33, 1, 65], &[1, 455, 9, 7], 2),
            layout(&[5, 70, 41], &[2870, 1, 70], 0),
            layout(&[3, 5, 9, 11], &[1, 3, 15, 135], 0),
            layout(&[1000, 64], &[0, 1], 3),
            layout(&[64, 1000], &[1, 0], 3),
            layout(&[50_000], &[0], 9),
            layout(&[100, 200], &[-200, -1], 19_999),
            layout(&[40, 40], &[-1, 40], 39),
            layout(&[2, 70_000], &[1, 2], 0),
            layout(&[70_000, 5], &[5, 1], 1),
            layout(&[100, 2, 50], &[400, 100, 2], 0),
        ];
        for layout in &cases {
            let expected = naive(layout, &data);
            for threads in [1, 2, 7] {
                set_num_threads(threads);
                let mut output = vec![0; layout.elements()];
                let mut cursor = Cursor::default();
                strided(&mut Work::new(&Watch::default(), &mut cursor), layout, &data, &mut output).unwrap();
                assert_eq!(output, expected, "{layout:?} with {threads} threads");
            }
        }
        set_num_threads(0);
    }

    #[test]
    fn elements_go_to_their_places_in_a_strided_output() {
        let data: Vec<u32> = (0..6).collect();
        let mut output = vec![9; 20];
        let (watch, mut cursor) = (Watch::default(), Cursor::default());
        let mut work = Work::new(&watch, &mut cursor);
        let to = layout(&[2, 3], &[10, -2], 5);
        place(&mut work, &layout(&[2, 3], &[3, 1], 0), &data, &mut output, Some(&to)).unwrap();
        assert_eq!(output, [9, 2, 9, 1, 9, 0, 9, 9, 9, 9, 9, 5, 9, 4, 9, 3, 9, 9, 9, 9]);
    }

    #[test]
    fn paused_copy_goes_on() {
        let watch = Watch { pause: 0.0, ..Watch::default() };
        let data: Vec<u32> = (0..300_000).collect();
        let layout = layout(&[300, 1000], &[1, 300], 0);
        let (mut output, mut cursor, mut calls) = (vec![0; 300_000], Cursor::default(), 1);
        while strided(&mut Work::new(&watch, &mut cursor), &layout, &data, &mut output).is_err() {
            calls += 1;
        }
        assert!(calls > 1);
        assert_eq!(output, naive(&layout, &data));
    }
}
