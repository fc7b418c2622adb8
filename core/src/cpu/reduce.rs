//! Reductions: many elements to one, in an order that neither vectors nor threads change.
//!
//! The elements of one result, in row-major order of the reduced axes, are cut into chunks of [`CHUNK`]. In a chunk
//! element r joins partial result r % 16, and the 16 are joined by halving: (0 with 8), (1 with 9), ... down to one.
//! The results of the chunks, if there are several, are joined in the same way. `float16` and `bfloat16` are reduced
//! in `float32` and rounded once.

mod fold;

pub use fold::{All, Any, Arithmetic, Fold, Max, Min, Number, Product, Sum};

use super::call::{Layout, List, Shared, Target, View};
use super::memory::cast_slice_mut;
use super::simd::simd;
use super::work::{Stop, Work};
use crate::dtype::{DType, Element};
use crate::shape::MAX_RANK;
use std::marker::PhantomData;
use std::ops::Range;

/// Elements that are reduced by 16 partial results.
pub const CHUNK: usize = 1024;

/// [`CHUNK`], whatever else.
fn chunk_length() -> usize {
    planted!("kernel: chunks depend on the number of threads", CHUNK, CHUNK / super::threads::num_threads().clamp(1, 4))
}
/// Partial results.
const LANES: usize = 16;
/// Columns that are reduced side by side; their partial results stay in the L1 cache.
const COLUMNS: usize = 64;
/// Elements that a task reads, about.
const TASK: usize = 64 << 10;

/// Joins the results of chunks.
#[derive(Debug, Clone, Copy)]
struct Rejoin<F>(PhantomData<F>);

impl<F: Fold> Fold for Rejoin<F> {
    type Input = F::Partial;
    type Partial = F::Partial;
    type Output = F::Output;
    const START: F::Partial = F::START;
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

/// An axis of the input.
#[derive(Debug, Clone, Copy)]
struct Axis {
    size: usize,
    stride: isize,
}

/// What is reduced to what: the axes that are kept and those that are reduced, in order, joined where they can be.
#[derive(Debug)]
struct Plan {
    offset: usize,
    kept: List<Axis>,
    reduced: List<Axis>,
    /// How many results.
    outputs: usize,
    /// How many elements each is made of.
    length: usize,
}

impl Plan {
    /// The reduction of `axes`, which are sorted.
    fn new(layout: &Layout, axes: &[usize]) -> Plan {
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

    /// How many chunks each result is made of; at least one.
    fn chunks(&self) -> usize {
        self.length.div_ceil(chunk_length()).max(1)
    }

    /// Where the elements of a result start.
    fn start(&self, output: usize) -> isize {
        if let [axis] = self.kept[..] {
            return output as isize * axis.stride + self.offset as isize;
        }
        Walk::new(&self.kept, output).place + self.offset as isize
    }

    /// Evenly spaced runs that make up the elements `range` of the result that starts at `start`.
    #[inline(always)]
    fn runs(&self, start: isize, range: Range<usize>) -> Runs<'_> {
        let (last, outer) = self.reduced.split_last().unwrap_or((&Axis { size: 1, stride: 0 }, &[]));
        let (column, row) = (range.start % last.size.max(1), range.start / last.size.max(1));
        Runs { start, outer, last: *last, walk: Walk::new(outer, row), column, range }
    }

    /// Hands the elements `range` of the result that starts at `start` to `each` in order, in slices, with the
    /// number of the first.
    #[inline(always)]
    fn slices<T: Element>(&self, data: &[T], start: isize, range: Range<usize>, mut each: impl FnMut(usize, &[T])) {
        // An empty tensor has no place where a result could start.
        if range.is_empty() {
            return each(range.start, &[]);
        }
        if let [Axis { stride: 1, .. }] = self.reduced[..] {
            let place = |number: usize| (start + number as isize) as usize;
            return each(range.start, &data[place(range.start)..place(range.end)]);
        }
        if self.reduced.last().is_none_or(|last| last.stride == 1 && last.size >= LANES) {
            for run in self.runs(start, range) {
                each(run.number, &data[run.place..run.place + run.count]);
            }
            return;
        }
        let mut gathered = [T::default(); 256];
        let (mut first, mut filled) = (range.start, 0);
        for run in self.runs(start, range) {
            for i in 0..run.count {
                if filled == gathered.len() {
                    each(first, &gathered);
                    (first, filled) = (run.number + i, 0);
                }
                gathered[filled] = data[run.at(i)];
                filled += 1;
            }
        }
        each(first, &gathered[..filled]);
    }

    /// One element of the result that starts at `start`.
    fn element<T: Element>(&self, data: &[T], start: isize, number: usize) -> T {
        data[(start + Walk::new(&self.reduced, number).place) as usize]
    }
}

/// Elements that are evenly spaced.
struct Run {
    /// The number of the first among the elements of the result.
    number: usize,
    /// Where the first is.
    place: usize,
    stride: isize,
    count: usize,
}

impl Run {
    #[inline(always)]
    fn at(&self, index: usize) -> usize {
        self.place.wrapping_add_signed(index as isize * self.stride)
    }
}

struct Runs<'a> {
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

/// Joins by halving.
#[inline(always)]
fn tree<F: Fold>(mut partials: [F::Partial; LANES]) -> F::Partial {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            partials[lane] = F::join(partials[lane], partials[lane + half]);
        }
        half /= 2;
    }
    partials[0]
}

#[inline(always)]
fn join_lanes<F: Fold>(partials: &mut [F::Partial], elements: &[F::Input]) {
    for (partial, element) in partials.iter_mut().zip(elements) {
        *partial = F::join(*partial, F::load(*element));
    }
}

simd! {
    /// Joins elements, the first of which belongs to `lane`, to the partial results.
    fn accumulate<F: Fold>(_fold: F, partials: &mut [F::Partial; LANES], lane: usize, elements: &[F::Input]) {
        let (head, rest) = elements.split_at(elements.len().min((LANES - lane) % LANES));
        join_lanes::<F>(&mut partials[lane..], head);
        let (blocks, tail) = rest.as_chunks::<LANES>();
        let mut lanes = *partials;
        for block in blocks {
            for lane in 0..LANES {
                lanes[lane] = F::join(lanes[lane], F::load(block[lane]));
            }
        }
        join_lanes::<F>(&mut lanes, tail);
        *partials = lanes;
    }
}

/// The elements `range` of one result, as one partial result.
fn chunk<F: Fold>(fold: F, plan: &Plan, data: &[F::Input], start: isize, range: Range<usize>) -> F::Partial {
    let mut partials = [F::START; LANES];
    let origin = range.start;
    plan.slices(data, start, range, |number, elements| {
        accumulate(fold, &mut partials, (number - origin) % LANES, elements);
    });
    tree::<F>(partials)
}

simd! {
    /// The elements `range` of neighbouring results, whose elements are neighbours, as one partial result each.
    fn columns<F: Fold>(
        _fold: F,
        plan: &Plan,
        data: &[F::Input],
        start: isize,
        range: Range<usize>,
        results: &mut [F::Partial],
    ) {
        let width = results.len();
        let mut partials = [[F::START; COLUMNS]; LANES];
        let origin = range.start;
        for run in plan.runs(start, range) {
            for i in 0..run.count {
                let lane = &mut partials[(run.number - origin + i) % LANES];
                join_lanes::<F>(&mut lane[..width], &data[run.at(i)..run.at(i) + width]);
            }
        }
        let mut half = LANES / 2;
        while half > 0 {
            let (lower, upper) = partials.split_at_mut(half);
            for (lower, upper) in lower.iter_mut().zip(upper) {
                for column in 0..width {
                    lower[column] = F::join(lower[column], upper[column]);
                }
            }
            half /= 2;
        }
        results.copy_from_slice(&partials[0][..width]);
    }
}

/// Bytes of workspace that reducing `axes` takes, with partial results (for a search, indices) of `partial` bytes.
pub fn workspace(layout: &Layout, axes: &[usize], partial: usize) -> u64 {
    let plan = Plan::new(layout, axes);
    match plan.chunks() {
        1 => 0,
        chunks => (plan.outputs as u64).saturating_mul(chunks as u64).saturating_mul(partial as u64),
    }
}

/// The size of the partial results of a dtype's sums, products, maxima and minima.
pub fn partial_size(dtype: DType) -> usize {
    if dtype.is_float() { dtype.size().max(4) } else { dtype.size() }
}

/// Reduces `axes` of the input, which may be strided; the output is dense and holds one result for each place of the
/// other axes.
pub fn reduce<F: Fold>(
    fold: F,
    work: &mut Work,
    input: View,
    axes: &[usize],
    output: &mut Target,
    workspace: &mut [u8],
) -> Result<(), Stop> {
    let plan = Plan::new(input.layout(), axes);
    let (data, output) = (input.elements::<F::Input>(), output.elements::<F::Output>());
    let (outputs, chunks) = (plan.outputs, plan.chunks());
    if chunks == 1 {
        let output = Shared::new(output);
        return parts(fold, work, &plan, data, |_, first, results| {
            // SAFETY: every part has its own results.
            let output = unsafe { output.range(first, first + results.len()) };
            output.iter_mut().zip(results).for_each(|(output, result)| *output = F::store(*result));
        });
    }
    let partials = cast_slice_mut::<F::Partial>(workspace).get_mut(..outputs * chunks).ok_or(Stop::OutOfMemory)?;
    let shared = Shared::new(partials);
    parts(fold, work, &plan, data, |chunk, first, results| {
        let start = chunk * outputs + first;
        // SAFETY: every part has its own results.
        unsafe { shared.range(start, start + results.len()) }.copy_from_slice(results);
    })?;
    // SAFETY: the tasks that wrote are done.
    let partials = unsafe { shared.range(0, outputs * chunks) };
    rejoin(fold, work, partials, chunks, output)
}

/// Joins the results of `chunks` chunks, which lie one row below the other.
fn rejoin<F: Fold>(
    _: F,
    work: &mut Work,
    partials: &[F::Partial],
    chunks: usize,
    output: &mut [F::Output],
) -> Result<(), Stop> {
    let outputs = output.len();
    let axis = |size: usize, stride: usize| List::from_slice(&[Axis { size, stride: stride as isize }]);
    let plan = Plan { offset: 0, kept: axis(outputs, 1), reduced: axis(chunks, outputs), outputs, length: chunks };
    let output = Shared::new(output);
    let blocks_per_task = (TASK / COLUMNS / chunks).max(1);
    let blocks = outputs.div_ceil(COLUMNS);
    work.parallel(blocks.div_ceil(blocks_per_task), |task| {
        for block in task * blocks_per_task..blocks.min((task + 1) * blocks_per_task) {
            let (first, last) = (block * COLUMNS, outputs.min((block + 1) * COLUMNS));
            let mut results = [F::START; COLUMNS];
            let results = &mut results[..last - first];
            columns(Rejoin::<F>(PhantomData), &plan, partials, first as isize, 0..chunks, results);
            // SAFETY: every block has its own results.
            let output = unsafe { output.range(first, last) };
            output.iter_mut().zip(results).for_each(|(output, result)| *output = F::store(*result));
        }
    })
}

/// Reduces every chunk of every result, in tasks; `write` gets a chunk's number, the first of the results that it
/// belongs to, and the partial results.
fn parts<F: Fold>(
    fold: F,
    work: &mut Work,
    plan: &Plan,
    data: &[F::Input],
    write: impl Fn(usize, usize, &[F::Partial]) + Sync,
) -> Result<(), Stop> {
    let chunks = plan.chunks();
    let across = plan.kept.last().map_or(0, |last| if last.stride == 1 { last.size } else { 0 });
    let (width, blocks) = if across >= 2 { (COLUMNS, across.div_ceil(COLUMNS)) } else { (1, 1) };
    let across = if width == 1 { 1 } else { across };
    let units = plan.outputs / across * blocks * chunks;
    let size = plan.length.clamp(1, CHUNK) * across.min(width);
    let per_task = (TASK / size).max(1);
    work.parallel(units.div_ceil(per_task), |task| {
        for unit in task * per_task..units.min((task + 1) * per_task) {
            let (chunk_number, place) = (unit % chunks, unit / chunks);
            let length = chunk_length();
            let range = chunk_number * length..plan.length.min((chunk_number + 1) * length);
            let column = place % blocks * width;
            let first = place / blocks * across + column;
            let start = plan.start(first);
            if width == 1 {
                write(chunk_number, first, &[chunk(fold, plan, data, start, range)]);
            } else {
                let mut results = [F::START; COLUMNS];
                let results = &mut results[..COLUMNS.min(across - column)];
                columns(fold, plan, data, start, range, results);
                write(chunk_number, first, results);
            }
        }
    })
}

/// A search for the place of the greatest or least element.
pub trait Search: Copy + Send + Sync {
    /// What is read.
    type Input: Element;
    /// Whether `left` wins over `right`, which comes before it.
    fn wins(left: Self::Input, right: Self::Input) -> bool;
}

macro_rules! searches {
    ($($(#[$doc:meta])* $name:ident: $wins:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<T>(pub PhantomData<T>);

        impl<T: Number> Search for $name<T> {
            type Input = T;
            #[inline(always)]
            fn wins(left: T, right: T) -> bool {
                left.widen().$wins(right.widen())
            }
        }
    )* };
}

searches! {
    /// The first of the greatest; NaN wins.
    ArgMax: above;
    /// The first of the least; NaN wins.
    ArgMin: below;
}

/// The number of the best of a chunk's elements, the first of equals.
fn find<S: Search>(plan: &Plan, data: &[S::Input], start: isize, range: Range<usize>) -> usize {
    let mut best: Option<(usize, S::Input)> = None;
    let first = range.start;
    plan.slices(data, start, range, |number, elements| {
        for (i, &element) in elements.iter().enumerate() {
            if best.is_none_or(|(_, best)| S::wins(element, best)) {
                best = Some((number + i, element));
            }
        }
    });
    best.map_or(first, |(index, _)| index)
}

/// The row-major index, within `axes`, of the best element of each result; 0 where there are no elements.
pub fn search<S: Search>(
    _: S,
    work: &mut Work,
    input: View,
    axes: &[usize],
    output: &mut Target,
    workspace: &mut [u8],
) -> Result<(), Stop> {
    let plan = Plan::new(input.layout(), axes);
    let (data, output) = (input.elements::<S::Input>(), output.elements::<i64>());
    let (outputs, chunks) = (plan.outputs, plan.chunks());
    let per_task = (TASK / plan.length.clamp(1, CHUNK)).max(1);
    let chunk = |unit: usize| {
        let (output, number) = (unit / chunks, unit % chunks);
        let range = number * chunk_length()..plan.length.min((number + 1) * chunk_length());
        find::<S>(&plan, data, plan.start(output), range) as i64
    };
    if chunks == 1 {
        return each(work, output, per_task, chunk);
    }
    let found = cast_slice_mut::<i64>(workspace).get_mut(..outputs * chunks).ok_or(Stop::OutOfMemory)?;
    each(work, found, per_task, chunk)?;
    let found: &[i64] = found;
    each(work, output, (TASK / 16 / chunks).max(1), |output| {
        let start = plan.start(output);
        let value = |index: i64| plan.element(data, start, index as usize);
        let candidates = found[output * chunks..(output + 1) * chunks].iter().copied();
        candidates.reduce(|best, next| if S::wins(value(next), value(best)) { next } else { best }).unwrap_or(0)
    })
}

/// Writes `value(i)` to every element, in tasks of `per_task`.
fn each(work: &mut Work, output: &mut [i64], per_task: usize, value: impl Fn(usize) -> i64 + Sync) -> Result<(), Stop> {
    let len = output.len();
    let output = Shared::new(output);
    work.parallel(len.div_ceil(per_task), |task| {
        let start = task * per_task;
        // SAFETY: every task has its own range.
        let output = unsafe { output.range(start, start + per_task) };
        output.iter_mut().enumerate().for_each(|(i, output)| *output = value(start + i));
    })
}

#[cfg(test)]
mod tests;
