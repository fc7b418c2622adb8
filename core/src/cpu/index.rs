//! Elements by index. An index in [-n, n) counts from the front or the end; what is outside takes a given value when
//! it is read and is dropped when it is written.

use super::call::{Shared, View};
use super::copy;
use super::reduce::{Arithmetic, Number};
use super::simd::simd;
use super::work::{Stop, Work};
use crate::dtype::{DType, Element};

/// Elements that a task moves, about.
const TASK: usize = 32 << 10;
/// Neighbouring elements that one task adds to.
const COLUMNS: usize = 256;

/// Indices of either dtype.
#[derive(Debug, Clone, Copy)]
pub enum Indices<'a> {
    /// `int32`.
    I32(&'a [i32]),
    /// `int64`.
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    /// Those of a view that is dense.
    pub fn new(view: View<'a>) -> Indices<'a> {
        match view.dtype() {
            DType::I32 => Indices::I32(view.elements()),
            _ => Indices::I64(view.elements()),
        }
    }

    /// How many.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(self) -> usize {
        match self {
            Indices::I32(indices) => indices.len(),
            Indices::I64(indices) => indices.len(),
        }
    }

    /// The position that the `at`-th index has among `size` elements, unless it is outside.
    #[inline(always)]
    pub fn get(self, at: usize, size: usize) -> Option<usize> {
        let index = match self {
            Indices::I32(indices) => i64::from(indices[at]),
            Indices::I64(indices) => indices[at],
        };
        let from = planted!("kernel: negative indices are off by one", size, size.max(1) - 1);
        let index = if index < 0 { index.wrapping_add(from as i64) } else { index };
        usize::try_from(index).ok().filter(|&index| index < size)
    }
}

/// Tuples of indices, one along each of some axes.
#[derive(Debug, Clone, Copy)]
pub struct Tuples<'a> {
    indices: Indices<'a>,
    sizes: &'a [usize],
}

impl<'a> Tuples<'a> {
    /// Those of a view that is dense, for axes of these sizes: the tuples are its rows.
    pub fn new(view: View<'a>, sizes: &'a [usize]) -> Tuples<'a> {
        Tuples { indices: Indices::new(view), sizes }
    }

    /// The row-major position that the `at`-th tuple names, unless an index is outside.
    #[inline(always)]
    pub fn get(self, at: usize) -> Option<usize> {
        let mut place = 0;
        for (axis, &size) in self.sizes.iter().enumerate() {
            place = place * size + self.indices.get(at * self.sizes.len() + axis, size)?;
        }
        Some(place)
    }
}

/// Writes rows of `inner` elements: for each row that of x which `from` names, or `missing`.
pub fn gather<T: Element>(
    work: &mut Work,
    (rows, inner): (usize, usize),
    x: &[T],
    missing: T,
    output: &mut [T],
    from: impl Fn(usize) -> Option<usize> + Sync,
) -> Result<(), Stop> {
    if output.is_empty() {
        return Ok(());
    }
    // Short rows go together; long ones are cut.
    let per_task = (TASK / inner.max(1)).max(1);
    let cuts = inner.div_ceil(TASK);
    let output = Shared::new(output);
    work.parallel(rows.div_ceil(per_task) * cuts, |task| {
        let (start, end) = (task % cuts * TASK, inner.min((task % cuts + 1) * TASK));
        let first = task / cuts * per_task;
        for row in first..rows.min(first + per_task) {
            // SAFETY: every task has its own rows or its own part of one.
            let output = unsafe { output.range(row * inner + start, row * inner + end) };
            match from(row) {
                Some(from) => match (output, &x[from * inner + start..from * inner + end]) {
                    ([output], [x]) => *output = *x,
                    (output, x) => output.copy_from_slice(x),
                },
                None => output.fill(missing),
            }
        }
    })
}

/// What becomes of an element and its update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// The update.
    Set,
    /// Their sum, rounded to the dtype.
    Add,
    /// The greater; NaN wins.
    Max,
    /// The less; NaN wins.
    Min,
}

impl Join {
    #[inline(always)]
    fn join<T: Number>(self, y: T, x: T) -> T {
        match self {
            Join::Set => x,
            Join::Add => T::narrow(y.widen().plus(x.widen())),
            Join::Max if x.widen().above(y.widen()) => x,
            Join::Min if x.widen().below(y.widen()) => x,
            Join::Max | Join::Min => y,
        }
    }
}

simd! {
    /// Joins updates to elements.
    fn join<T: Number>(y: &mut [T], x: &[T], how: Join) {
        match how {
            Join::Set => y.copy_from_slice(x),
            Join::Add => y.iter_mut().zip(x).for_each(|(y, x)| *y = Join::Add.join(*y, *x)),
            Join::Max => y.iter_mut().zip(x).for_each(|(y, x)| *y = Join::Max.join(*y, *x)),
            Join::Min => y.iter_mut().zip(x).for_each(|(y, x)| *y = Join::Min.join(*y, *x)),
        }
    }
}

/// Where updates go: the output is [groups, places, inner], the updates are [groups, count, inner].
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the shapes say it")]
pub struct Targets {
    pub groups: usize,
    pub count: usize,
    pub places: usize,
    pub inner: usize,
}

/// Joins each update to the place of its group that `place` names, of a group and the number of the update, in order;
/// one without a place is dropped.
pub fn scatter<T: Number>(
    work: &mut Work,
    how: Join,
    Targets { groups, count, places, inner }: Targets,
    place: impl Fn(usize, usize) -> Option<usize> + Sync,
    updates: &[T],
    output: &mut [T],
) -> Result<(), Stop> {
    let blocks = inner.div_ceil(COLUMNS);
    // Updates of one element keep their order, so a long list is cut into phases.
    let segment = (TASK / inner.clamp(1, COLUMNS)).max(1);
    let per_task = (TASK / inner.clamp(1, COLUMNS) / count.clamp(1, segment)).max(1);
    if output.is_empty() || updates.is_empty() {
        return Ok(());
    }
    let units = groups * blocks;
    let output = Shared::new(output);
    for first in (0..count).step_by(segment) {
        work.parallel(units.div_ceil(per_task), |task| {
            for unit in task * per_task..units.min((task + 1) * per_task) {
                let (group, column) = (unit / blocks, unit % blocks * COLUMNS);
                let width = COLUMNS.min(inner - column);
                for number in first..count.min(first + segment) {
                    let Some(place) = place(group, number) else { continue };
                    let to = (group * places + place) * inner + column;
                    let from = (group * count + number) * inner + column;
                    // SAFETY: every unit has its own columns of its own group.
                    let output = unsafe { output.range(to, to + width) };
                    match (output, &updates[from..from + width]) {
                        ([y], [x]) => *y = how.join(*y, *x),
                        (output, updates) => join(output, updates, how),
                    }
                }
            }
        })?;
    }
    Ok(())
}

/// Of x [rows, depth]: one element of each row, or `missing`.
pub fn pick<T: Element>(
    work: &mut Work,
    depth: usize,
    x: &[T],
    indices: Indices,
    missing: T,
    output: &mut [T],
) -> Result<(), Stop> {
    copy::generate(work, output, |row| indices.get(row, depth).map_or(missing, |index| x[row * depth + index]))
}

/// The adjoint of [`pick`]: [rows, depth] with one element of x in each row, and zeros.
pub fn unpick<T: Element>(
    work: &mut Work,
    depth: usize,
    x: &[T],
    indices: Indices,
    output: &mut [T],
) -> Result<(), Stop> {
    let rows = x.len();
    let per_task = (TASK / depth.max(1)).max(1);
    let cuts = depth.div_ceil(TASK);
    let output = Shared::new(output);
    work.parallel(rows.div_ceil(per_task) * cuts, |task| {
        let (start, end) = (task % cuts * TASK, depth.min((task % cuts + 1) * TASK));
        let first = task / cuts * per_task;
        for (row, &value) in x.iter().enumerate().skip(first).take(per_task) {
            // SAFETY: every task has its own rows or its own part of one.
            let output = unsafe { output.range(row * depth + start, row * depth + end) };
            output.fill(T::default());
            if let Some(index) = indices.get(row, depth).filter(|index| (start..end).contains(index)) {
                output[index - start] = value;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::threads::{set_num_threads, settings};
    use crate::cpu::work::{Cursor, Watch};

    /// Runs a kernel to its end, pausing wherever it can, with 1, 2 and 7 threads; the outputs are equal.
    fn run<T: Element + std::fmt::Debug>(
        output: &[T],
        kernel: impl Fn(&mut Work, &mut [T]) -> Result<(), Stop>,
    ) -> Vec<T> {
        let outputs = [1, 2, 7].map(|threads| {
            set_num_threads(threads);
            let mut output = output.to_vec();
            let (watch, mut cursor) = (Watch { pause: 0.0, ..Watch::default() }, Cursor::default());
            while kernel(&mut Work::new(&watch, &mut cursor), &mut output).is_err() {}
            output
        });
        set_num_threads(0);
        assert_eq!(outputs[0], outputs[1]);
        assert_eq!(outputs[0], outputs[2]);
        outputs[0].clone()
    }

    /// Indices, some of which are negative or outside [-size, size).
    fn indices(count: usize, size: usize) -> Vec<i64> {
        (0..count as i64).map(|i| i * 7919 % (2 * size as i64 + 3) - size as i64 - 1).collect()
    }

    fn position(index: i64, size: usize) -> Option<usize> {
        let index = if index < 0 { index + size as i64 } else { index };
        (0..size as i64).contains(&index).then_some(index as usize)
    }

    const EXTENTS: [(usize, usize, usize, usize); 6] =
        [(1, 10, 1, 50_000), (3, 7, 5, 20), (1, 5, 70_000, 4), (2, 9, 300, 11), (2, 0, 3, 4), (2, 4, 3, 0)];

    #[test]
    fn gather_reads_and_scatter_joins_where_indices_say() {
        let _settings = settings();
        for (groups, places, inner, count) in EXTENTS {
            let x: Vec<f32> = (0..groups * places * inner).map(|i| (i * 31 % 97) as f32 * 0.37).collect();
            let indices = indices(groups * count, places);
            let of = Indices::I64(&indices);
            let updates: Vec<f32> = (0..groups * count * inner).map(|i| (i % 101) as f32 * 0.11 * 3.0).collect();
            let found = |row: usize| position(indices[row], places).map(|place| row / count * places + place);
            let mut taken = vec![-1.0; updates.len()];
            for (row, taken) in taken.chunks_mut(inner.max(1)).enumerate() {
                found(row).into_iter().for_each(|from| taken.copy_from_slice(&x[from * inner..][..inner]));
            }
            let from = |row: usize| of.get(row, places).map(|place| row / count * places + place);
            let rows = (groups * count, inner);
            let result = run(&vec![0.0; taken.len()], |work, output| gather(work, rows, &x, -1.0, output, from));
            assert_eq!(result, taken, "{groups} {places} {inner} {count}");
            type Function = fn(f32, f32) -> f32;
            let joins: [(Join, Function); 4] =
                [(Join::Set, |_, x| x), (Join::Add, |y, x| y + x), (Join::Max, f32::max), (Join::Min, f32::min)];
            for (how, join) in joins {
                let mut expected = x.clone();
                for (row, updates) in updates.chunks(inner.max(1)).enumerate() {
                    for (column, update) in updates.iter().enumerate() {
                        let place = found(row).map(|place| place * inner + column);
                        place.into_iter().for_each(|place| expected[place] = join(expected[place], *update));
                    }
                }
                let (targets, place) = (Targets { groups, count, places, inner }, |group: usize, number: usize| {
                    of.get(group * count + number, places)
                });
                let result = run(&x, |work, output| scatter(work, how, targets, place, &updates, output));
                assert_eq!(result, expected, "{how:?} {groups} {places} {inner} {count}");
            }
        }
    }

    #[test]
    fn pick_and_unpick_touch_one_element_of_each_row() {
        let _settings = settings();
        for (rows, depth) in [(100, 10), (3, 70_000), (40_000, 1), (0, 3), (3, 0)] {
            let x: Vec<u32> = (1..=(rows * depth) as u32).collect();
            let indices: Vec<i32> = indices(rows, depth).into_iter().map(|index| index as i32).collect();
            let at = |row: usize| position(indices[row].into(), depth).map(|index| row * depth + index);
            let picked: Vec<u32> = (0..rows).map(|row| at(row).map_or(9, |at| x[at])).collect();
            let of = Indices::I32(&indices);
            assert_eq!(run(&vec![0; rows], |work, output| pick(work, depth, &x, of, 9, output)), picked);
            let mut placed = vec![0; rows * depth];
            (0..rows).for_each(|row| at(row).into_iter().for_each(|at| placed[at] = picked[row]));
            assert_eq!(run(&vec![7; rows * depth], |work, output| unpick(work, depth, &picked, of, output)), placed);
        }
    }

    #[test]
    fn extreme_indices_are_outside() {
        let indices = [i64::MIN, i64::MAX, -4, 3, -3, 2];
        let found: Vec<_> = (0..6).map(|at| Indices::I64(&indices).get(at, 3)).collect();
        assert_eq!(found, [None, None, None, None, Some(0), Some(2)]);
    }
}
