//! Running folds along an axis: y[t] joins x[0] to x[t], in order. `float16` and `bfloat16` run in `float32`, and each
//! result is rounded once.

use super::call::Shared;
use super::memory::cast_slice_mut;
use super::recurrence::Extent;
use super::reduce::Fold;
use super::simd::simd;
use super::work::{Stop, Work};

/// Neighbouring sequences that are run side by side.
const COLUMNS: usize = 256;
/// Steps, times sequences, of a task.
const TASK: usize = 32 << 10;

simd! {
    /// One step of neighbouring sequences, of which `so_far` is all before it.
    fn step<F: Fold>(_fold: F, so_far: &mut [F::Partial], x: &[F::Input], y: &mut [F::Output]) {
        for ((so_far, x), y) in so_far.iter_mut().zip(x).zip(y) {
            *so_far = F::join(*so_far, F::load(*x));
            *y = F::store(*so_far);
        }
    }
}

/// Steps of a phase: they depend on each other, so a long axis is cut, and each part goes on from what the one before
/// left in the workspace.
fn segment(extent: Extent) -> usize {
    (TASK / extent.inner.clamp(1, COLUMNS)).max(1)
}

/// Bytes of workspace of a scan with partial results of `partial` bytes.
pub fn workspace(extent: Extent, partial: usize) -> u64 {
    if extent.steps <= segment(extent) {
        return 0;
    }
    (extent.outer as u64).saturating_mul(extent.inner as u64).saturating_mul(partial as u64)
}

/// Writes the running fold of the middle axis; from its end if `reverse`.
pub fn scan<F: Fold>(
    fold: F,
    work: &mut Work,
    extent: Extent,
    reverse: bool,
    (x, output): (&[F::Input], &mut [F::Output]),
    workspace: &mut [u8],
) -> Result<(), Stop> {
    let Extent { outer, steps, inner } = extent;
    let blocks = inner.div_ceil(COLUMNS);
    let segment = segment(extent);
    if output.is_empty() {
        return Ok(());
    }
    let kept = if steps <= segment { 0 } else { outer * inner };
    let kept = cast_slice_mut::<F::Partial>(workspace).get_mut(..kept).ok_or(Stop::OutOfMemory)?;
    let per_task = (TASK / inner.clamp(1, COLUMNS) / steps.clamp(1, segment)).max(1);
    let units = outer * blocks;
    let (kept, output) = (Shared::new(kept), Shared::new(output));
    for first in (0..steps).step_by(segment) {
        work.parallel(units.div_ceil(per_task), |task| {
            for unit in task * per_task..units.min((task + 1) * per_task) {
                let column = unit % blocks * COLUMNS;
                let width = COLUMNS.min(inner - column);
                let start = unit / blocks * steps * inner + column;
                let sequence = unit / blocks * inner + column;
                // SAFETY: every unit has its own sequences.
                let kept = unsafe { kept.range(sequence, sequence + width) };
                let mut so_far = [F::START; COLUMNS];
                let so_far = &mut so_far[..width];
                if first > 0 {
                    so_far.copy_from_slice(kept);
                }
                for number in first..steps.min(first + segment) {
                    let place = start + if reverse { steps - 1 - number } else { number } * inner;
                    // SAFETY: as above.
                    let y = unsafe { output.range(place, place + width) };
                    let x = &x[place..place + width];
                    match (&mut *so_far, x, &mut *y) {
                        // Nothing is joined to the first: 0 and -0 would be 0.
                        (so_far, x, y) if number == 0 => {
                            so_far.iter_mut().zip(x).for_each(|(so_far, x)| *so_far = F::load(*x));
                            y.iter_mut().zip(so_far).for_each(|(y, so_far)| *y = F::store(*so_far));
                        }
                        ([so_far], [x], [y]) => {
                            *so_far = F::join(*so_far, F::load(*x));
                            *y = F::store(*so_far);
                        }
                        (so_far, x, y) => step(fold, so_far, x, y),
                    }
                }
                if !kept.is_empty() {
                    kept.copy_from_slice(so_far);
                }
            }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::memory::Buffer;
    use crate::cpu::reduce::Sum;
    use crate::cpu::threads::{set_num_threads, settings};
    use crate::cpu::work::{Cursor, Watch};
    use crate::dtype::f16;
    use std::marker::PhantomData;

    #[test]
    fn running_sums_are_in_order_with_any_number_of_threads() {
        let _settings = settings();
        for (outer, steps, inner) in
            [(3, 5, 1), (2, 7, 300), (1, 70_000, 1), (1, 500, 130), (0, 3, 2), (2, 0, 2), (600, 100, 1)]
        {
            let extent = Extent { outer, steps, inner };
            let len = outer * steps * inner;
            let x: Vec<f16> = (0..len).map(|i| f16::from_f32((i % 23) as f32 - 10.75)).collect();
            for reverse in [false, true] {
                let mut expected = vec![f16::ZERO; len];
                for sequence in 0..outer * inner {
                    let mut sum = 0f32;
                    for number in 0..steps {
                        let t = if reverse { steps - 1 - number } else { number };
                        let at = (sequence / inner * steps + t) * inner + sequence % inner;
                        sum += x[at].to_f32();
                        expected[at] = f16::from_f32(sum);
                    }
                }
                for threads in [1, 2, 7] {
                    set_num_threads(threads);
                    let mut output = vec![f16::ZERO; len];
                    let mut kept = Buffer::zeroed(workspace(extent, 4) as usize, None).unwrap();
                    let kept = kept.bytes_mut().unwrap();
                    let (watch, mut cursor) = (Watch { pause: 0.0, ..Watch::default() }, Cursor::default());
                    let sum = Sum::<f16>(PhantomData);
                    while scan(sum, &mut Work::new(&watch, &mut cursor), extent, reverse, (&x, &mut output), kept)
                        .is_err()
                    {}
                    assert_eq!(output, expected, "{extent:?}, reverse {reverse}, {threads} threads");
                }
            }
        }
        set_num_threads(0);
    }
}
