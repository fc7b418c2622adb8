//! Where the parts of a cluster find what they read and write in one run.

use super::{Cluster, Geometry, Part, Source};
use crate::cpu::call::{Target, View};
use crate::cpu::tape::{Axis, Feed, List, Run, Sink};
use crate::cpu::work::Stop;
use crate::ops::phases::Form;
use smallvec::SmallVec;
use std::marker::PhantomData;

/// The feeds and sinks of all parts, and the memory of all slots.
pub struct Places<'a> {
    feeds: List<Feed, 64>,
    axes: List<Axis, 64>,
    sinks: List<Sink, 32>,
    /// For each part, where its feeds and its sinks end: first that before all phases, then two for each phase.
    ends: SmallVec<[(usize, usize); 16]>,
    slots: SmallVec<[*mut u8; 32]>,
    /// Memory for the results of chunks.
    pub partials: *mut u8,
    memory: PhantomData<&'a mut [u8]>,
}

// SAFETY: tasks only read inputs, and write parts of outputs and slots that no other task touches meanwhile.
unsafe impl Sync for Places<'_> {}

fn aligned(bytes: u64) -> u64 {
    bytes.saturating_add(63) / 64 * 64
}

/// Bytes of a slot.
fn slot_bytes(cluster: &Cluster, geometry: &Geometry, slot: usize) -> u64 {
    let slot = &cluster.slots[slot];
    let elements = if slot.full { geometry.elements() } else { geometry.rows };
    aligned((elements as u64).saturating_mul(slot.width as u64))
}

/// Bytes of workspace: the slots that are no outputs, then the results of chunks.
pub fn bytes(cluster: &Cluster, geometry: &Geometry) -> u64 {
    let own = (0..cluster.slots.len()).filter(|&slot| cluster.slots[slot].output.is_none());
    let slots = own.map(|slot| slot_bytes(cluster, geometry, slot)).fold(0, u64::saturating_add);
    if cluster.by_rows(geometry) || geometry.chunks() == 1 {
        return slots;
    }
    let results = (geometry.rows as u64).saturating_mul(geometry.chunks() as u64);
    let phase = |phase: &super::Phase| {
        let folds = phase.folds.iter();
        folds.map(|fold| aligned(results.saturating_mul(fold.loops.partial as u64))).fold(0, u64::saturating_add)
    };
    slots.saturating_add(cluster.phases.iter().map(phase).max().unwrap_or(0))
}

/// The bytes that the results of chunks take, for partial results of that size.
pub fn partial_bytes(geometry: &Geometry, partial: usize) -> usize {
    aligned((geometry.rows * geometry.chunks() * partial) as u64) as usize
}

impl<'a> Places<'a> {
    /// Those of a run.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(
        cluster: &Cluster,
        geometry: &Geometry,
        inputs: &[View],
        outputs: &mut [Target],
        workspace: &'a mut [u8],
    ) -> Result<Places<'a>, Stop> {
        if (workspace.len() as u64) < bytes(cluster, geometry) {
            return Err(Stop::OutOfMemory);
        }
        let mut slots = SmallVec::new();
        slots.try_reserve(cluster.slots.len()).map_err(|_| Stop::OutOfMemory)?;
        let mut free = workspace.as_mut_ptr();
        for (index, slot) in cluster.slots.iter().enumerate() {
            let next = free.wrapping_add(slot_bytes(cluster, geometry, index) as usize);
            slots.push(match slot.output {
                Some(output) => outputs[output].pointer(),
                None => std::mem::replace(&mut free, next),
            });
        }
        let (feeds, axes, sinks) = (List::new(), List::new(), List::new());
        let (ends, memory) = (SmallVec::new(), PhantomData);
        let mut places = Places { feeds, axes, sinks, ends, slots, partials: free, memory };
        places.add(cluster, geometry, inputs, &cluster.before, false)?;
        for phase in &cluster.phases {
            places.add(cluster, geometry, inputs, &phase.full, true)?;
            places.add(cluster, geometry, inputs, &phase.rows, false)?;
        }
        Ok(places)
    }

    fn add(
        &mut self,
        cluster: &Cluster,
        geometry: &Geometry,
        inputs: &[View],
        part: &Part,
        full: bool,
    ) -> Result<(), Stop> {
        let first = self.feeds.entries().len();
        for read in part.tape.reads() {
            let feed = match part.sources[read] {
                Source::Input(index, form) => {
                    let sizes = match form {
                        Form::Full => &geometry.full,
                        Form::Kept => &geometry.kept,
                        Form::Dropped => &geometry.dropped,
                    };
                    Feed::new(&inputs[index], sizes, &mut self.axes)?
                }
                Source::Random(index) => Feed::random(&inputs[index]),
                Source::Slot(slot) => {
                    let is_row = !cluster.slots[slot].full;
                    let (rows, elements) = (geometry.rows, geometry.elements());
                    let axes = match (full && is_row, cluster.leads) {
                        (false, _) => [Axis { size: if full { elements } else { rows }, stride: 1 }, ONE],
                        (true, false) => [Axis { size: geometry.length, stride: 0 }, Axis { size: rows, stride: 1 }],
                        (true, true) => [Axis { size: rows, stride: 1 }, Axis { size: geometry.length, stride: 0 }],
                    };
                    Feed::along(self.slots[slot], axes.into_iter(), &mut self.axes)?
                }
            };
            self.feeds.push(feed)?;
        }
        let own = &self.feeds.entries()[first..];
        for (&slot, (dtype, narrowed)) in part.stores.iter().zip(part.tape.stored()) {
            let data = self.slots[slot];
            let bytes = dtype.size() * if full { geometry.elements() } else { geometry.rows };
            let is_apart = |view: &View| {
                let (from, to) = (view.pointer().addr(), data.addr());
                from.saturating_add(view.bytes()) <= to || to.saturating_add(bytes) <= from
            };
            let is_read = own.iter().any(|feed| feed.data == data);
            let direct = !narrowed && !is_read && inputs.iter().all(is_apart);
            // The inputs are left to the processor: where a phase does little more than read them, it keeps up by itself.
            self.sinks.push(Sink { data, direct, ahead: false }.fetched_ahead(bytes))?;
        }
        self.ends.try_reserve(1).map_err(|_| Stop::OutOfMemory)?;
        self.ends.push((self.feeds.entries().len(), self.sinks.entries().len()));
        Ok(())
    }

    fn run<'b>(&'b self, part: &'b Part, number: usize) -> Run<'b> {
        let (feeds, sinks) = number.checked_sub(1).map_or((0, 0), |before| self.ends[before]);
        let (feeds, sinks) = (feeds..self.ends[number].0, sinks..self.ends[number].1);
        Run {
            tape: &part.tape,
            feeds: &self.feeds.entries()[feeds],
            axes: self.axes.entries(),
            sinks: &self.sinks.entries()[sinks],
        }
    }

    /// What is computed for each row at the start.
    pub fn before<'b>(&'b self, cluster: &'b Cluster) -> Run<'b> {
        self.run(&cluster.before, 0)
    }

    /// What a phase computes over the full shape.
    pub fn full<'b>(&'b self, cluster: &'b Cluster, phase: usize) -> Run<'b> {
        self.run(&cluster.phases[phase].full, 1 + 2 * phase)
    }

    /// What follows a phase for each row.
    pub fn rows<'b>(&'b self, cluster: &'b Cluster, phase: usize) -> Run<'b> {
        self.run(&cluster.phases[phase].rows, 2 + 2 * phase)
    }

    /// The memory of a slot.
    pub fn slot(&self, slot: usize) -> *mut u8 {
        self.slots[slot]
    }
}

const ONE: Axis = Axis { size: 1, stride: 0 };
