//! Elements by index. An index in [-n, n) counts from the front or the end; what is outside takes a given value when
//! it is read and is dropped when it is written.

use super::call::{Shared, View};
use super::copy;
use super::recurrence::Extent;
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
    fn len(self) -> usize {
        match self {
            Indices::I32(indices) => indices.len(),
            Indices::I64(indices) => indices.len(),
        }
    }

    /// The position that the `at`-th index has among `size` elements, unless it is outside.
    #[inline(always)]
    fn get(self, at: usize, size: usize) -> Option<usize> {
        let index = match self {
            Indices::I32(indices) => i64::from(indices[at]),
            Indices::I64(indices) => indices[at],
        };
        let from = planted!("kernel: negative indices are off by one", size, size.max(1) - 1);
        let index = if index < 0 { index.wrapping_add(from as i64) } else { index };
        usize::try_from(index).ok().filter(|&index| index < size)
    }
}

/// Of x [outer, steps, inner]: [outer, indices, inner] with the elements at the indices, or `missing`.
pub fn take<T: Element>(
    work: &mut Work,
    extent: Extent,
    x: &[T],
    indices: Indices,
    missing: T,
    output: &mut [T],
) -> Result<(), Stop> {
    let Extent { outer, steps, inner } = extent;
    let rows = outer * indices.len();
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
            match indices.get(row % indices.len(), steps) {
                Some(index) => {
                    let from = (row / indices.len() * steps + index) * inner;
                    match (output, &x[from + start..from + end]) {
                        ([output], [x]) => *output = *x,
                        (output, x) => output.copy_from_slice(x),
                    }
                }
                None => output.fill(missing),
            }
        }
    })
}

simd! {
    /// y += x, rounded to the dtype.
    fn add<T: Number>(y: &mut [T], x: &[T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = T::narrow(y.widen().plus(x.widen()));
        }
    }
}

/// Adds updates [outer, indices, inner] to the output [outer, steps, inner] at the indices, in their order.
pub fn scatter_add<T: Number>(
    work: &mut Work,
    extent: Extent,
    indices: Indices,
    updates: &[T],
    output: &mut [T],
) -> Result<(), Stop> {
    let Extent { outer, steps, inner } = extent;
    let blocks = inner.div_ceil(COLUMNS);
    let count = indices.len();
    // Additions to one element keep the order of the indices, so a long list is cut into phases.
    let segment = (TASK / inner.clamp(1, COLUMNS)).max(1);
    let output = Shared::new(output);
    for first in (0..count).step_by(segment) {
        work.parallel(outer * blocks, |task| {
            let (slab, column) = (task / blocks, task % blocks * COLUMNS);
            let width = COLUMNS.min(inner - column);
            for at in first..count.min(first + segment) {
                let Some(index) = indices.get(at, steps) else { continue };
                let to = (slab * steps + index) * inner + column;
                let from = (slab * count + at) * inner + column;
                // SAFETY: every task has its own columns of its own slab.
                let output = unsafe { output.range(to, to + width) };
                match (output, &updates[from..from + width]) {
                    ([y], [x]) => *y = T::narrow(y.widen().plus(x.widen())),
                    (output, updates) => add(output, updates),
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
    fn take_reads_and_scatter_add_adds_where_indices_say() {
        let _settings = settings();
        for (outer, steps, inner, count) in EXTENTS {
            let extent = Extent { outer, steps, inner };
            let x: Vec<f32> = (0..outer * steps * inner).map(|i| i as f32 * 0.37).collect();
            let indices = indices(count, steps);
            let (mut taken, mut added) = (vec![-1.0; outer * count * inner], x.clone());
            let updates: Vec<f32> = (0..taken.len()).map(|i| (i % 101) as f32 * 0.11).collect();
            for (slab, at, column) in
                (0..outer * count * inner).map(|i| (i / inner / count, i / inner % count, i % inner))
            {
                if let Some(index) = position(indices[at], steps) {
                    let (there, here) = ((slab * steps + index) * inner + column, (slab * count + at) * inner + column);
                    taken[here] = x[there];
                    added[there] += updates[here];
                }
            }
            let of = Indices::I64(&indices);
            let result = run(&vec![0.0; taken.len()], |work, output| take(work, extent, &x, of, -1.0, output));
            assert_eq!(result, taken, "{extent:?}");
            let result = run(&x, |work, output| scatter_add(work, extent, of, &updates, output));
            assert_eq!(result, added, "{extent:?}");
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
