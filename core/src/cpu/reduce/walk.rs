//! Where the elements lie that a reduction makes one result of.

use super::LANES;
use crate::cpu::call::{Layout, List};
use crate::shape::MAX_RANK;
use std::ops::Range;

/// An axis of the input.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    pub size: usize,
    pub stride: isize,
}

/// What is reduced to what: the axes that are kept and those that are reduced, in order, joined where they can be.
#[derive(Debug)]
pub struct Plan {
    pub offset: usize,
    pub kept: List<Axis>,
    pub reduced: List<Axis>,
    /// How many results.
    pub outputs: usize,
    /// How many elements each is made of.
    pub length: usize,
}

impl Plan {
    /// The reduction of `axes`, which are sorted.
    pub fn new(layout: &Layout, axes: &[usize]) -> Plan {
        let (mut kept, mut reduced) = (List::new(), List::new());
        for (index, (&size, &stride)) in layout.sizes.iter().zip(&layout.strides).enumerate() {
            let list: &mut List<Axis> = if axes.contains(&index) { &mut reduced } else { &mut kept };
            match list.last_mut() {
                _ if size == 1 => {}
                Some(last) if last.stride == stride.wrapping_mul(size as isize) => {
                    *last = Axis { size: last.size.saturating_mul(size), stride };
                }
                _ => list.push(Axis { size, stride }),
            }
        }
        let count = |axes: &[Axis]| axes.iter().map(|axis| axis.size).product::<usize>();
        Plan { offset: layout.offset, outputs: count(&kept), length: count(&reduced), kept, reduced }
    }

    /// Where the elements of a result start.
    pub fn start(&self, output: usize) -> isize {
        if let [axis] = self.kept[..] {
            return output as isize * axis.stride + self.offset as isize;
        }
        Walk::new(&self.kept, output).place + self.offset as isize
    }

    /// Evenly spaced runs that make up the elements `range` of the result that starts at `start`.
    #[inline(always)]
    pub fn runs(&self, start: isize, range: Range<usize>) -> Runs<'_> {
        let (last, outer) = self.reduced.split_last().unwrap_or((&Axis { size: 1, stride: 0 }, &[]));
        let (column, row) = (range.start % last.size.max(1), range.start / last.size.max(1));
        Runs { start, outer, last: *last, walk: Walk::new(outer, row), column, range }
    }

    /// Hands the elements `range` of the result that starts at `start` to `each` in order, in slices that are not empty,
    /// with the number of the first. `data` are the bytes of elements of `width` bytes.
    #[inline(always)]
    pub fn slices(
        &self,
        data: &[u8],
        width: usize,
        start: isize,
        range: Range<usize>,
        mut each: impl FnMut(usize, &[u8]),
    ) {
        // An empty tensor has no place where a result could start.
        if range.is_empty() {
            return;
        }
        let slice = |place: usize, count: usize| &data[place * width..][..count * width];
        if let [Axis { stride: 1, .. }] = self.reduced[..] {
            return each(range.start, slice((start + range.start as isize) as usize, range.len()));
        }
        if self.reduced.last().is_none_or(|last| last.stride == 1 && last.size >= LANES) {
            for run in self.runs(start, range) {
                each(run.number, slice(run.place, run.count));
            }
            return;
        }
        let mut gathered = Gathered([0; GATHERED]);
        let (mut first, mut filled) = (range.start, 0);
        for mut run in self.runs(start, range) {
            while run.count > 0 {
                if filled == GATHERED {
                    each(first, &gathered.bytes()[..filled * width]);
                    (first, filled) = (run.number, 0);
                }
                let part = run.count.min(GATHERED - filled);
                let to = &mut gathered.bytes()[filled * width..][..part * width];
                match width {
                    1 => gather::<1>(data, &run, to),
                    2 => gather::<2>(data, &run, to),
                    4 => gather::<4>(data, &run, to),
                    _ => gather::<8>(data, &run, to),
                }
                filled += part;
                run =
                    Run { number: run.number + part, place: run.at(part), stride: run.stride, count: run.count - part };
            }
        }
        each(first, &gathered.bytes()[..filled * width]);
    }

    /// Where an element of the result that starts at `start` is.
    pub fn place(&self, start: isize, number: usize) -> usize {
        (start + Walk::new(&self.reduced, number).place) as usize
    }
}

/// Elements that are brought together at once.
const GATHERED: usize = 256;

/// Room for elements of any dtype.
struct Gathered([u64; GATHERED]);

impl Gathered {
    fn bytes(&mut self) -> &mut [u8] {
        crate::cpu::memory::as_bytes_mut(&mut self.0)
    }
}

/// Copies the first elements of a run.
fn gather<const WIDTH: usize>(data: &[u8], run: &Run, to: &mut [u8]) {
    for (i, to) in to.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        to.copy_from_slice(&data[run.at(i) * WIDTH..][..WIDTH]);
    }
}

/// Elements that are evenly spaced.
pub struct Run {
    /// The number of the first among the elements of the result.
    pub number: usize,
    /// Where the first is.
    pub place: usize,
    pub stride: isize,
    pub count: usize,
}

impl Run {
    /// Where an element is.
    #[inline(always)]
    pub fn at(&self, index: usize) -> usize {
        self.place.wrapping_add_signed(index as isize * self.stride)
    }
}

/// See [`Plan::runs`].
pub struct Runs<'a> {
    start: isize,
    outer: &'a [Axis],
    last: Axis,
    walk: Walk,
    column: usize,
    range: Range<usize>,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline(always)]
    fn next(&mut self) -> Option<Run> {
        if self.range.is_empty() {
            return None;
        }
        let (number, stride) = (self.range.start, self.last.stride);
        let count = (self.last.size - self.column).min(self.range.len());
        let place = (self.start + self.walk.place + self.column as isize * stride) as usize;
        self.range.start += count;
        self.column = 0;
        self.walk.advance(self.outer);
        Some(Run { number, place, stride, count })
    }
}

/// A walk through the places of axes in row-major order.
struct Walk {
    index: [usize; MAX_RANK],
    place: isize,
}

impl Walk {
    fn new(axes: &[Axis], mut number: usize) -> Walk {
        let mut walk = Walk { index: [0; MAX_RANK], place: 0 };
        for (position, axis) in axes.iter().enumerate().rev() {
            let size = axis.size.max(1);
            walk.index[position] = number % size;
            walk.place += (number % size) as isize * axis.stride;
            number /= size;
        }
        walk
    }

    #[inline(always)]
    fn advance(&mut self, axes: &[Axis]) {
        for (position, axis) in axes.iter().enumerate().rev() {
            self.index[position] += 1;
            self.place += axis.stride;
            if self.index[position] < axis.size {
                return;
            }
            self.index[position] = 0;
            self.place -= axis.size as isize * axis.stride;
        }
    }
}
