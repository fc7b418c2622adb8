//! Clusters with reductions: tapes whose results are folded tile by tile, phase by phase (see [`crate::ops::phases`]).
//!
//! Rows that lie one after the other go through all phases in groups that stay in the cache. Where there are few long
//! rows, or rows are columns, each phase goes through all elements in tasks, and the results of chunks are joined after
//! it. Either way each row is reduced in the order that [`super::reduce`] states, so that a cluster gives the bits that
//! its ops give one by one.

mod fold;
mod phased;
mod places;

use super::call::{List, Target, View};
use super::reduce::{Loops, chunk_length};
use super::tape::{Run, Tape, Worker};
use super::work::{Stop, Work};
use crate::ops::phases::Form;
use crate::shape::Dim;
use fold::Folder;
use places::Places;
use std::sync::atomic::{AtomicBool, Ordering};

/// Elements of the full shape that go through all phases together, about: they stay in the second cache.
const GROUP: usize = 16384;
/// Rows longer than that are cut among tasks where they are few.
const LONG: usize = 16 << 10;
/// So many are not few.
const MANY: usize = 32;

/// What a part of a cluster reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The cluster's input of that index, broadcast to a shape.
    Input(usize, Form),
    /// The words that the cluster's input of that index, a key, makes of the places of the full shape.
    Random(usize),
    /// What an earlier part has stored in the slot of that index.
    Slot(usize),
}

/// Memory for a value that a part stores and later parts may read.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Whether it has an element for each place of the full shape, not for each row.
    pub full: bool,
    /// Bytes of an element.
    pub width: usize,
    /// The output whose memory it is; else it lies in the workspace.
    pub output: Option<usize>,
}

/// A tape, what its inputs are, and the slots of what it stores.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// The tape.
    pub tape: Tape,
    /// Its inputs.
    pub sources: Vec<Source>,
    /// Its stored outputs.
    pub stores: Vec<usize>,
}

/// How an output of a tape that is only looked at becomes a slot with an element for each row.
#[derive(Debug, Clone)]
pub struct Fold {
    /// The loops.
    pub loops: &'static Loops,
    /// The slot.
    pub slot: usize,
}

/// A pass over the full shape, and what follows for each row.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Over the full shape; its first outputs are folded.
    pub full: Part,
    /// How.
    pub folds: Vec<Fold>,
    /// For each row, afterwards.
    pub rows: Part,
}

/// A compiled cluster. Running it allocates nothing (up to 64 inputs and slots of all parts), except as a [`Tape`] does.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Whether the reduced axes are the first ones; else they are the last ones.
    pub leads: bool,
    /// How many axes are reduced.
    pub axes: usize,
    /// For each row, at the start.
    pub before: Part,
    /// The phases.
    pub phases: Vec<Phase>,
    /// The memory of values.
    pub slots: Vec<Slot>,
}

/// Known sizes.
struct Geometry {
    full: List<usize>,
    kept: List<usize>,
    dropped: List<usize>,
    /// How many rows there are.
    rows: usize,
    /// How many elements each has.
    length: usize,
}

impl Geometry {
    /// How many chunks each row is reduced in.
    fn chunks(&self) -> usize {
        self.length.div_ceil(chunk_length()).max(1)
    }

    fn elements(&self) -> usize {
        self.rows * self.length
    }
}

impl Cluster {
    /// A bound of the bytes that it takes.
    pub fn bytes(&self) -> usize {
        let part = |part: &Part| part.tape.bytes() + part.sources.capacity() * 32 + part.stores.capacity() * 8;
        let phase = |phase: &Phase| part(&phase.full) + part(&phase.rows) + phase.folds.capacity() * 16;
        let phases: usize = self.phases.iter().map(phase).sum();
        size_of::<Cluster>()
            + part(&self.before)
            + phases
            + self.phases.capacity() * size_of::<Phase>()
            + self.slots.capacity() * size_of::<Slot>()
    }

    /// Whether an output may lie in the memory of a dense input of the full shape: nothing reads that input after the
    /// phase that writes the output's memory first.
    pub fn may_share(&self, input: usize, output: usize) -> bool {
        let writes = |part: &Part| {
            part.stores.iter().any(|&slot| self.slots[slot].full && self.slots[slot].output == Some(output))
        };
        let is_input =
            |source: Source| matches!(source, Source::Input(other, _) | Source::Random(other) if other == input);
        let reads = |part: &Part| part.tape.reads().any(|index| is_input(part.sources[index]));
        match self.phases.iter().position(|phase| writes(&phase.full)) {
            Some(first) => !self.phases[first + 1..].iter().any(|phase| reads(&phase.full)),
            None => false,
        }
    }

    /// Bytes of workspace for the full shape.
    pub fn workspace(&self, shape: &[Dim]) -> u64 {
        let geometry = self.geometry(shape);
        places::bytes(self, &geometry)
    }

    /// Computes the outputs. `shape` is the full shape, its dims known. An output may lie in the memory of an input if
    /// [`Cluster::may_share`] says so.
    ///
    /// # Errors
    /// What stopped the work; `OutOfMemory` if a thread gets no scratch memory.
    ///
    /// # Panics
    /// If number, dtypes or shapes are not those of the region.
    pub fn run(
        &self,
        shape: &[Dim],
        inputs: &[View],
        outputs: &mut [Target],
        workspace: &mut [u8],
        work: &mut Work,
    ) -> Result<(), Stop> {
        let geometry = self.geometry(shape);
        if geometry.rows == 0 {
            return work.parallel(0, |_| ());
        }
        let places = Places::new(self, &geometry, inputs, outputs, workspace)?;
        if self.by_rows(&geometry) {
            self.run_rows(&geometry, &places, work)
        } else {
            self.run_phases(&geometry, &places, work)
        }
    }

    fn geometry(&self, shape: &[Dim]) -> Geometry {
        let size = |dim: &Dim| match dim.as_constant() {
            Some(size) => size as usize,
            None => unreachable!("dims are known when a step runs"),
        };
        let full: List<usize> = shape.iter().map(size).collect();
        let reduced = if self.leads { 0..self.axes } else { full.len() - self.axes..full.len() };
        let is_reduced = |(axis, &size): (usize, &usize)| (size, reduced.contains(&axis));
        let kept = full.iter().enumerate().map(is_reduced).map(|(size, reduced)| if reduced { 1 } else { size });
        let dropped = full.iter().enumerate().map(is_reduced).filter(|(_, reduced)| !reduced).map(|(size, _)| size);
        let (kept, dropped): (List<_>, List<_>) = (kept.collect(), dropped.collect());
        let length = full[reduced.clone()].iter().product();
        Geometry { rows: dropped.iter().product(), length, full, kept, dropped }
    }

    /// Whether rows go through all phases in groups.
    fn by_rows(&self, geometry: &Geometry) -> bool {
        !self.leads && (geometry.length <= LONG || geometry.rows >= MANY)
    }

    fn run_rows(&self, geometry: &Geometry, places: &Places, work: &mut Work) -> Result<(), Stop> {
        let length = geometry.length.max(1);
        let group = (GROUP / length).max(1);
        // A task of a tape is so many elements; the phases of a cluster share it.
        let inverse: f64 = self.phases.iter().map(|phase| 1.0 / phase.full.tape.task.max(1) as f64).sum();
        let task = ((1.0 / inverse) as usize / length).div_ceil(group).max(1) * group;
        let is_short = AtomicBool::new(false);
        let done = work.parallel(geometry.rows.div_ceil(task), |number| {
            let end = geometry.rows.min((number + 1) * task);
            for start in (number * task..end).step_by(group) {
                if !self.group(geometry, places, start, end.min(start + group)) {
                    is_short.store(true, Ordering::Relaxed);
                }
            }
        });
        if is_short.into_inner() { Err(Stop::OutOfMemory) } else { done }
    }

    /// Takes the rows `start..end` through all phases; false if there is no scratch memory.
    fn group(&self, geometry: &Geometry, places: &Places, start: usize, end: usize) -> bool {
        let rows = |part: Run| part.sinks.is_empty() || part.task(start, end);
        let mut enough = rows(places.before(self));
        for (number, phase) in self.phases.iter().enumerate() {
            let mut folder = Folder::new(&phase.folds, geometry, places);
            let full = places.full(self, number);
            enough &= full.with_scratch((end - start) * geometry.length, |worker| {
                // SAFETY: these rows are this task's, and the places say that their memory can be used.
                unsafe { fold_rows(worker, phase.full.tape.tile, &mut folder, start, end) };
            });
            enough &= rows(places.rows(self, number));
        }
        enough
    }
}

/// Computes and folds the rows `start..end`: several short ones in a tile, or one in several tiles.
///
/// # Safety
/// The rows can be used as [`Worker::tile`] and [`Folder`] ask.
unsafe fn fold_rows(worker: &mut Worker, tile: usize, folder: &mut Folder, start: usize, end: usize) {
    let length = folder.length;
    let together = (tile / length.max(1)).max(1);
    for first in (start..end).step_by(together) {
        let count = together.min(end - first);
        // SAFETY: the caller's promise.
        unsafe {
            if length <= tile && length > 0 {
                worker.tile(first * length, count * length, &mut |number, operand| {
                    folder.rows(number, operand, first, count);
                });
                continue;
            }
            for row in first..first + count {
                for column in (0..length).step_by(tile) {
                    let count = tile.min(length - column);
                    worker.tile(row * length + column, count, &mut |number, operand| {
                        folder.part(number, operand, column, count);
                    });
                }
                folder.finish(row);
            }
        }
    }
}
