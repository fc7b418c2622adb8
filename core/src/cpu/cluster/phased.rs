//! Clusters whose phases go through all elements one after the other: columns, and few long rows.

use super::fold::State;
use super::places::{Places, partial_bytes};
use super::{Cluster, Fold, Geometry};
use crate::cpu::call::Shared;
use crate::cpu::reduce::{self, LANES, Rows, chunk_length};
use crate::cpu::tape::{Run, Worker};
use crate::cpu::work::{Stop, Work};
use smallvec::SmallVec;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Words of memory on the stack for the partial results of the columns that a task reduces side by side: many, as the
/// tape runs over so few elements at once where a row has more. They fit the L2 cache.
const PARTIALS: usize = if cfg!(target_family = "wasm") { 4 << 10 } else { 16 << 10 };

type Sinks<'a> = SmallVec<[reduce::Sink<'a>; 4]>;

impl Cluster {
    pub(super) fn run_phases(&self, geometry: &Geometry, places: &Places, work: &mut Work) -> Result<(), Stop> {
        spread(places.before(self), geometry.rows, work)?;
        for (number, phase) in self.phases.iter().enumerate() {
            let full = places.full(self, number);
            if phase.folds.is_empty() {
                spread(full, geometry.elements(), work)?;
            } else {
                fold(&full, &phase.folds, geometry, places, self.leads, work)?;
            }
            spread(places.rows(self, number), geometry.rows, work)?;
        }
        Ok(())
    }
}

/// Computes `count` elements in tasks.
fn spread(run: Run, count: usize, work: &mut Work) -> Result<(), Stop> {
    if run.sinks.is_empty() || count == 0 {
        return work.parallel(0, |_| ());
    }
    let task = run.tape.task;
    in_tasks(work, count.div_ceil(task), |number| run.task(number * task, count.min((number + 1) * task)))
}

/// Runs tasks, each of which says whether it had scratch memory.
fn in_tasks(work: &mut Work, tasks: usize, body: impl Fn(usize) -> bool + Sync) -> Result<(), Stop> {
    let is_short = AtomicBool::new(false);
    let done = work.parallel(tasks, |number| {
        if !body(number) {
            is_short.store(true, Ordering::Relaxed);
        }
    });
    if is_short.into_inner() { Err(Stop::OutOfMemory) } else { done }
}

/// Where the results of the chunks of each fold go, and the memory for each fold if there are several chunks.
fn sinks<'a>(folds: &[Fold], geometry: &Geometry, places: &'a Places) -> (Sinks<'a>, SmallVec<[&'a [u8]; 4]>) {
    let (mut sinks, mut memories, mut offset) = (Sinks::new(), SmallVec::new(), 0);
    for Fold { loops, slot } in folds {
        let is_whole = geometry.chunks() == 1;
        let width = if is_whole { loops.output } else { loops.partial };
        let memory = if is_whole { places.slot(*slot) } else { places.partials.wrapping_add(offset) };
        // SAFETY: the workspace and the slots have been made for so many results, which only this phase uses.
        let bytes = unsafe { std::slice::from_raw_parts_mut(memory, geometry.rows * geometry.chunks() * width) };
        // SAFETY: as above; it is read when the sinks have been written.
        memories.push(unsafe { std::slice::from_raw_parts(memory, bytes.len()) });
        sinks.push(reduce::Sink { bytes: Shared::new(bytes), width, store: is_whole.then_some(loops.store) });
        offset += partial_bytes(geometry, loops.partial);
    }
    (sinks, memories)
}

/// Computes what a phase folds, and folds it.
fn fold(
    run: &Run,
    folds: &[Fold],
    geometry: &Geometry,
    places: &Places,
    leads: bool,
    work: &mut Work,
) -> Result<(), Stop> {
    let (sinks, _) = sinks(folds, geometry, places);
    let chunks = geometry.chunks();
    let columns = if leads { width(folds, run.tape.tile, geometry.rows) } else { 1 };
    let blocks = geometry.rows.div_ceil(columns);
    let size = (geometry.length.clamp(1, chunk_length()) * columns).max(1);
    let (units, per_task) = (blocks * chunks, (run.tape.task / size).max(1));
    in_tasks(work, units.div_ceil(per_task), |task| {
        run.with_scratch(geometry.elements(), |worker| {
            for unit in task * per_task..units.min((task + 1) * per_task) {
                let (chunk, block) = (unit % chunks, unit / chunks);
                let range = chunk * chunk_length()..geometry.length.min((chunk + 1) * chunk_length());
                let first = block * columns;
                let to = chunk * geometry.rows + first;
                // SAFETY: every unit has its own elements and results.
                unsafe {
                    if leads {
                        let columns = first..geometry.rows.min(first + columns);
                        fold_columns(worker, run.tape.tile, folds, geometry.rows, range, columns, &sinks, to);
                    } else {
                        fold_chunk(worker, run.tape.tile, folds, first * geometry.length, range, &sinks, to);
                    }
                }
            }
        })
    })?;
    if chunks == 1 {
        return Ok(());
    }
    let (_, memories) = self::sinks(folds, geometry, places);
    for (Fold { loops, slot }, memory) in folds.iter().zip(memories) {
        // SAFETY: the slot has so many results, and no task uses it now.
        let results = unsafe { std::slice::from_raw_parts_mut(places.slot(*slot), geometry.rows * loops.output) };
        let output = reduce::Sink { bytes: Shared::new(results), width: loops.output, store: Some(loops.store) };
        reduce::rejoin(loops, work, memory, (geometry.rows, chunks), &output)?;
    }
    Ok(())
}

/// Reduces the elements `range` of a row, which are those of one chunk.
///
/// # Safety
/// As [`Worker::tile`]; no other task writes the results numbered `to`.
unsafe fn fold_chunk(
    worker: &mut Worker,
    tile: usize,
    folds: &[Fold],
    row: usize,
    range: Range<usize>,
    sinks: &Sinks,
    to: usize,
) {
    let mut states: SmallVec<[State; 4]> = folds.iter().map(|_| State::new()).collect();
    for start in range.clone().step_by(tile) {
        let count = tile.min(range.end - start);
        // SAFETY: the caller's promise.
        unsafe {
            worker.tile(row + start, count, &mut |number, operand| {
                let (loops, first) = (folds[number].loops, start - range.start);
                let result = states[number].piece(loops, operand, first, count, start + count == range.end);
                if start + count == range.end {
                    sinks[number].write(to, result, 1);
                }
            });
        }
    }
    for (state, (Fold { loops, .. }, sink)) in states.iter_mut().zip(folds.iter().zip(sinks)) {
        if range.is_empty() {
            // SAFETY: the caller's promise.
            unsafe { sink.write(to, state.none(loops), 1) };
        }
    }
}

/// How many columns are reduced side by side: their partial results fit, and a tile holds one element of each.
fn width(folds: &[Fold], tile: usize, rows: usize) -> usize {
    let column: usize = folds.iter().map(|fold| LANES * fold.loops.partial).sum();
    let most = (PARTIALS * size_of::<u64>() / column.max(1)).min(tile).max(1);
    if rows <= most { rows } else { most }
}

/// Reduces the elements `range` of neighbouring columns, which are those of one chunk.
///
/// # Safety
/// As [`Worker::tile`]; no other task writes the results from `to` on.
#[allow(clippy::too_many_arguments, reason = "each is one number of the block")]
unsafe fn fold_columns(
    worker: &mut Worker,
    tile: usize,
    folds: &[Fold],
    rows: usize,
    range: Range<usize>,
    columns: Range<usize>,
    sinks: &Sinks,
    to: usize,
) {
    let width = columns.len();
    let mut memory = [const { MaybeUninit::<u64>::uninit() }; PARTIALS];
    let memory: *mut u8 = memory.as_mut_ptr().cast();
    let mut partials: SmallVec<[*mut u8; 4]> = SmallVec::new();
    let mut offset = 0;
    for Fold { loops, .. } in folds {
        partials.push(memory.wrapping_add(offset));
        offset += LANES * width * loops.partial;
        // SAFETY: `width` leaves room for all of them.
        unsafe { (loops.start)(memory.add(offset - LANES * width * loops.partial), LANES * width) };
    }
    worker.in_order = width == rows;
    let together = if width == rows { (tile / width).max(1) } else { 1 };
    for start in range.clone().step_by(together) {
        let count = together.min(range.end - start);
        // SAFETY: the caller's promise; the tile holds `count` rows of `width` elements, all of them there.
        unsafe {
            worker.tile(start * rows + columns.start, count * width, &mut |number, operand| {
                let part = Rows { first: operand.data, stride: width as isize, count, width };
                (folds[number].loops.rows)(partials[number], (start - range.start) % LANES, part);
            });
        }
    }
    for (number, Fold { loops, .. }) in folds.iter().enumerate() {
        // SAFETY: as above.
        unsafe {
            (loops.tree)(partials[number], width);
            sinks[number].write(to, partials[number], width);
        }
    }
}
