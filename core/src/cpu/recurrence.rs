//! Linear recurrences along an axis: y[t] = a[t] * y[t-1] + b[t], in order, every operation rounded.

use super::call::Shared;
use super::reduce::{Arithmetic, Number};
use super::simd::simd;
use super::work::{Stop, Work};

/// Neighbouring sequences that are run side by side.
const COLUMNS: usize = 256;
/// Steps, times sequences, of a task.
const TASK: usize = 32 << 10;

/// Dense tensors seen as [outer, steps, inner].
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// The product of the sizes before the axis.
    pub outer: usize,
    /// The size of the axis.
    pub steps: usize,
    /// The product of the sizes after it.
    pub inner: usize,
}

impl Extent {
    /// Around `axis` of a tensor of these sizes.
    pub fn new(sizes: &[usize], axis: usize) -> Extent {
        // Beside an axis without elements the others may have any size.
        let product = |sizes: &[usize]| sizes.iter().fold(1, |product: usize, &size| product.saturating_mul(size));
        Extent { outer: product(&sizes[..axis]), steps: sizes[axis], inner: product(&sizes[axis + 1..]) }
    }
}

simd! {
    /// One step of neighbouring sequences; `before` is the step before it, empty for the first.
    fn step<T: Number>(y: &mut [T], before: &[T], a: &[T], b: &[T]) {
        if before.is_empty() {
            return y.copy_from_slice(b);
        }
        for (((y, before), a), b) in y.iter_mut().zip(before).zip(a).zip(b) {
            *y = T::narrow(a.widen().times(before.widen()).plus(b.widen()));
        }
    }
}

/// Writes y, where y[0] = b[0] and y[t] = a[t] * y[t-1] + b[t] along the middle axis; from its end if `reverse`.
pub fn recurrence<T: Number>(
    work: &mut Work,
    extent: Extent,
    reverse: bool,
    (a, b): (&[T], &[T]),
    output: &mut [T],
) -> Result<(), Stop> {
    let Extent { outer, steps, inner } = extent;
    let blocks = inner.div_ceil(COLUMNS);
    // Steps depend on each other, so a long axis is cut into phases; each goes on from the output of the one before.
    let segment = (TASK / inner.clamp(1, COLUMNS)).max(1);
    let per_task = (TASK / inner.clamp(1, COLUMNS) / steps.clamp(1, segment)).max(1);
    let units = outer.saturating_mul(blocks);
    if output.is_empty() {
        return Ok(());
    }
    let output = Shared::new(output);
    for first in (0..steps).step_by(segment) {
        work.parallel(units.div_ceil(per_task), |task| {
            for unit in task * per_task..units.min((task + 1) * per_task) {
                let column = unit % blocks * COLUMNS;
                let start = unit / blocks * steps * inner + column;
                let width = COLUMNS.min(inner - column);
                for number in first..steps.min(first + segment) {
                    let at = |number: usize| start + if reverse { steps - 1 - number } else { number } * inner;
                    let place = at(number);
                    let before = if number == 0 { place..place } else { at(number - 1)..at(number - 1) + width };
                    // SAFETY: every unit has its own sequences, and the two steps do not overlap.
                    let (y, before) =
                        unsafe { (output.range(place, place + width), output.range(before.start, before.end)) };
                    let (a, b) = (&a[place..place + width], &b[place..place + width]);
                    match (&mut *y, &*before) {
                        ([y], [before]) => *y = T::narrow(a[0].widen().times(before.widen()).plus(b[0].widen())),
                        _ => step(y, before, a, b),
                    }
                }
            }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::threads::{set_num_threads, settings};
    use crate::cpu::work::{Cursor, Watch};

    #[test]
    fn steps_follow_each_other_with_any_number_of_threads() {
        let _settings = settings();
        for (outer, steps, inner) in
            [(3, 5, 1), (2, 7, 300), (1, 70_000, 1), (1, 500, 130), (0, 3, 2), (2, 0, 2), (600, 100, 1)]
        {
            let extent = Extent { outer, steps, inner };
            let len = outer * steps * inner;
            let a: Vec<f32> = (0..len).map(|i| (i % 17) as f32 / 16.0).collect();
            let b: Vec<f32> = (0..len).map(|i| (i % 23) as f32 - 11.0).collect();
            for reverse in [false, true] {
                let mut expected = vec![0.0f32; len];
                for sequence in 0..outer * inner {
                    let mut y = 0.0;
                    for number in 0..steps {
                        let t = if reverse { steps - 1 - number } else { number };
                        let at = (sequence / inner * steps + t) * inner + sequence % inner;
                        y = if number == 0 { b[at] } else { a[at] * y + b[at] };
                        expected[at] = y;
                    }
                }
                for threads in [1, 2, 7] {
                    set_num_threads(threads);
                    let mut output = vec![0.0f32; len];
                    let (watch, mut cursor) = (Watch { pause: 0.0, ..Watch::default() }, Cursor::default());
                    while recurrence(&mut Work::new(&watch, &mut cursor), extent, reverse, (&a, &b), &mut output)
                        .is_err()
                    {}
                    assert_eq!(output, expected, "{extent:?}, reverse {reverse}, {threads} threads");
                }
            }
        }
        set_num_threads(0);
    }
}
