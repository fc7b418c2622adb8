//! The element-wise engine: an expression compiled to a list of loops that run tile by tile.
//!
//! Every instruction rounds to its step's dtype and no two are contracted, so the results have the same bits on every
//! machine and for any number of threads, except for which NaN a NaN is. See [`crate::scalar`] for what instructions
//! mean and `tape/loops.rs` for what they do with equal zeros.

mod compile;
mod convert;
mod load;
mod loops;
mod pairs;
#[cfg(test)]
mod tests;

use super::call::{Target, View};
use super::simd::fetch;
use super::work::{Stop, Work};
use crate::dtype::DType;
use crate::scalar::{Expression, Register};
pub use compile::weight;
use load::{AHEAD, Pattern};
pub(super) use load::{Axis, Feed, List};
pub(super) use loops::Operand;
use loops::{BLOCK, Loop};
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

/// A loop and the places that it writes and reads.
#[derive(Debug, Clone)]
struct Code {
    run: Loop,
    out: u32,
    operands: [u32; 3],
}

/// A value of the tape: an input, a constant or a result.
#[derive(Debug, Clone)]
struct Place {
    /// Bytes of an element.
    width: usize,
    /// Where its tile begins in a thread's scratch memory, or a constant's block among the constants, in bytes.
    offset: usize,
    constant: bool,
}

#[derive(Debug, Clone)]
struct Input {
    index: usize,
    place: u32,
    /// Bytes of an element as it is stored.
    width: usize,
    /// For types that are stored but not computed in.
    widen: Option<Loop>,
    /// Whether it is a key, and an element the word that it makes of the element's number.
    random: bool,
}

#[derive(Debug, Clone)]
struct Output {
    place: u32,
    dtype: DType,
    /// For types that are stored but not computed in.
    narrow: Option<Loop>,
}

/// A compiled expression, for inputs of any layout and outputs of any shape. Making one allocates, running it does not
/// (up to 16 inputs and outputs each), except that a thread keeps scratch memory for tapes that need more than 32 KiB.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    dtypes: Vec<DType>,
    code: Vec<Code>,
    places: Vec<Place>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// How many of the outputs, the first ones, are only looked at.
    seen: usize,
    /// A block of equal elements for each constant.
    constants: Vec<u64>,
    /// Elements of a tile, a multiple of [`BLOCK`].
    pub(super) tile: usize,
    /// Elements of a task, a multiple of `tile`.
    pub(super) task: usize,
    /// Bytes of all tiles.
    scratch: usize,
}

/// Memory for tiles.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Lines for a table and tiles that a task has on its stack, enough for all but the longest tapes. Memory that each thread
/// keeps would be allocated when it first joins in, in the middle of a run.
const STACK_LINES: usize = 512;

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// An output of a run.
#[derive(Clone, Copy)]
pub(super) struct Sink {
    pub(super) data: *mut u8,
    /// Whether results are computed right there; else they are stored when the tile has read all of its inputs.
    pub(super) direct: bool,
    /// As for [`Feed`].
    pub(super) ahead: bool,
}

impl Sink {
    /// As [`Feed::fetched_ahead`].
    pub(super) fn fetched_ahead(self, bytes: usize) -> Sink {
        Sink { ahead: self.direct && bytes >= AHEAD, ..self }
    }
}

/// What the tasks of a run share: a tape, and where what it reads and writes lies.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) tape: &'a Tape,
    /// One for each input that the tape reads.
    pub(super) feeds: &'a [Feed],
    pub(super) axes: &'a [Axis],
    /// One for each output that is stored.
    pub(super) sinks: &'a [Sink],
}

/// A run in scratch memory.
pub(super) struct Worker<'a> {
    run: &'a Run<'a>,
    table: Table<'a>,
    tiles: *mut u8,
    /// Whether each tile follows the one before it, as [`Feed::fetched_ahead`] has it.
    pub(super) in_order: bool,
}

/// Where the elements of each place are. Data and limits lie apart: an entry that was just written in two parts and is read
/// in one, as an operand would be, makes the processor wait.
struct Table<'a> {
    data: &'a mut [*const u8],
    limits: &'a mut [usize],
    /// For each input with a period, where in it the elements begin that its place has, and how many there are.
    loaded: &'a mut [(usize, usize)],
}

impl Table<'_> {
    #[inline(always)]
    fn get(&self, place: u32) -> Operand {
        Operand { data: self.data[place as usize], limit: self.limits[place as usize] }
    }

    #[inline(always)]
    fn set(&mut self, place: u32, operand: Operand) {
        (self.data[place as usize], self.limits[place as usize]) = (operand.data, operand.limit);
    }
}

/// Sees the outputs of a tile that are only looked at, as they are stored: the number of the output, its elements.
pub(super) type See<'a> = dyn FnMut(usize, Operand) + 'a;

// SAFETY: tasks only read inputs, and write ranges of the outputs that no other task touches.
unsafe impl Sync for Run<'_> {}

impl Tape {
    /// A bound of the bytes that it takes.
    pub fn bytes(&self) -> usize {
        let lists = self.code.capacity() * size_of::<Code>() + self.places.capacity() * size_of::<Place>();
        let ends = self.inputs.capacity() * size_of::<Input>() + self.outputs.capacity() * size_of::<Output>();
        size_of::<Tape>() + lists + ends + self.constants.capacity() * size_of::<u64>() + self.dtypes.capacity()
    }

    /// Compiles what `outputs` need of an expression. `inputs` are the dtypes of all inputs that a run gets.
    ///
    /// # Panics
    /// If the expression reads an input that is not there or has another dtype, or has an instruction for dtypes that
    /// [`crate::scalar`] does not allow it.
    pub fn new(expression: &Expression, inputs: &[DType], outputs: &[Register]) -> Tape {
        compile::compile(expression, inputs, outputs)
    }

    /// As [`Tape::new`], for a part of a cluster: the first `seen` outputs are only looked at, tile by tile. `whole`:
    /// each element of theirs is there, also where all are equal.
    pub fn seen(expression: &Expression, inputs: &[DType], outputs: &[Register], seen: usize, whole: bool) -> Tape {
        compile::compile_seen(expression, inputs, outputs, seen, whole)
    }

    /// The numbers of the inputs that it reads, in the order of a run's feeds.
    pub(super) fn reads(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().map(|input| input.index)
    }

    /// The dtypes of the outputs that are stored, and whether these must be narrowed to be.
    pub(super) fn stored(&self) -> impl Iterator<Item = (DType, bool)> {
        self.outputs[self.seen..].iter().map(|output| (output.dtype, output.narrow.is_some()))
    }

    /// Computes the outputs, all of one shape, to which every input but keys broadcasts as in NumPy. An output may lie in the
    /// very memory of a dense input with elements as wide; else outputs overlap nothing.
    ///
    /// # Errors
    /// What stopped the work; `OutOfMemory` if a thread gets no scratch memory.
    ///
    /// # Panics
    /// If number, dtypes or shapes are not as promised.
    pub fn run(&self, inputs: &[View], outputs: &mut [Target], work: &mut Work) -> Result<(), Stop> {
        let total: usize = outputs.first().map_or(&[][..], Target::sizes).iter().product();
        if total == 0 || outputs.is_empty() {
            return work.parallel(0, |_| ());
        }
        let ends = Ends::new(self, inputs, outputs)?;
        let run = ends.run(self);
        let is_short = AtomicBool::new(false);
        let done = work.parallel(total.div_ceil(self.task), |task| {
            let start = task * self.task;
            if !run.task(start, (start + self.task).min(total)) {
                is_short.store(true, Ordering::Relaxed);
            }
        });
        if is_short.into_inner() { Err(Stop::OutOfMemory) } else { done }
    }
}

/// Where a run of a tape finds what it reads and writes.
#[derive(Clone)]
pub(super) struct Ends {
    feeds: List<Feed, 16>,
    axes: List<Axis, 32>,
    sinks: List<Sink, 16>,
}

// SAFETY: as for runs.
unsafe impl Sync for Ends {}

impl Ends {
    /// Those of views and targets; not all sizes of the outputs are 0.
    ///
    /// # Errors
    /// `OutOfMemory`.
    ///
    /// # Panics
    /// As [`Tape::run`].
    pub(super) fn new(tape: &Tape, inputs: &[View], outputs: &mut [Target]) -> Result<Ends, Stop> {
        assert!(inputs.iter().map(View::dtype).eq(tape.dtypes.iter().copied()), "inputs have the tape's dtypes");
        let dtypes = tape.outputs.iter().map(|output| output.dtype);
        assert!(outputs.iter().map(Target::dtype).eq(dtypes), "outputs have the tape's dtypes");
        let sizes = outputs.first().map_or(&[][..], Target::sizes);
        assert!(outputs.iter().all(|output| output.sizes() == sizes), "outputs have one shape");
        let mut ends = Ends { feeds: List::new(), axes: List::new(), sinks: List::new() };
        for input in &tape.inputs {
            let view = &inputs[input.index];
            ends.feeds.push(match input.random {
                true => Feed::random(view),
                false => Feed::new(view, sizes, &mut ends.axes)?.fetched_ahead(view.bytes()),
            })?;
        }
        for (output, target) in tape.outputs.iter().zip(outputs) {
            let (data, bytes) = (target.pointer(), target.layout().bytes());
            let is_apart = |view: &View| {
                let (from, to) = (view.pointer().addr(), data.addr());
                from.saturating_add(view.bytes()) <= to || to.saturating_add(bytes) <= from
            };
            let direct = output.narrow.is_none() && inputs.iter().all(is_apart);
            ends.sinks.push(Sink { data, direct, ahead: false }.fetched_ahead(bytes))?;
        }
        Ok(ends)
    }

    /// The same with another pointer to what begins at the address `from`.
    pub(super) fn moved(&self, from: usize, to: *mut u8) -> Ends {
        let mut ends = self.clone();
        ends.feeds.entries_mut().iter_mut().filter(|feed| feed.data.addr() == from).for_each(|feed| feed.data = to);
        ends.sinks.entries_mut().iter_mut().filter(|sink| sink.data.addr() == from).for_each(|sink| sink.data = to);
        ends
    }

    /// A run of the tape.
    pub(super) fn run<'a>(&'a self, tape: &'a Tape) -> Run<'a> {
        Run { tape, feeds: self.feeds.entries(), axes: self.axes.entries(), sinks: self.sinks.entries() }
    }
}

impl Run<'_> {
    /// Computes the elements `start..end`; false if there is no scratch memory.
    pub(super) fn task(&self, start: usize, end: usize) -> bool {
        // SAFETY: the views and targets say that the memory of these elements can be used.
        self.with_scratch(end - start, |worker| unsafe { worker.range(start, end, &mut |_, _| ()) })
    }

    /// Hands `work` scratch memory for tiles, of runs of at most `count` elements; false if there is none.
    pub(super) fn with_scratch(&self, count: usize, work: impl FnOnce(&mut Worker)) -> bool {
        let table =
            self.tape.places.len() * size_of::<Operand>() + self.tape.inputs.len() * size_of::<(usize, usize)>();
        let table_lines = table.div_ceil(size_of::<Line>());
        let lines = table_lines + self.tape.scratch.div_ceil(size_of::<Line>());
        if lines <= STACK_LINES {
            let mut memory = [const { MaybeUninit::<Line>::uninit() }; STACK_LINES];
            // SAFETY: `lines` lines.
            unsafe { self.within(count, memory.as_mut_ptr().cast(), table_lines, work) };
            return true;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < lines {
                if scratch.try_reserve_exact(lines - scratch.len()).is_err() {
                    return false;
                }
                scratch.resize(lines, Line([0; 64]));
            }
            // SAFETY: as above.
            unsafe { self.within(count, scratch.as_mut_ptr(), table_lines, work) };
            true
        })
    }

    /// Works in scratch memory, which begins with the table of places.
    ///
    /// # Safety
    /// `memory` has `table_lines` lines and as many as the tape's tiles take.
    unsafe fn within(&self, count: usize, memory: *mut Line, table_lines: usize, work: impl FnOnce(&mut Worker)) {
        // SAFETY: within the memory; the table lies before the tiles, and lines are aligned for its entries. The entries
        // are written before they become a slice, and tiles before they are read.
        unsafe {
            let places = self.tape.places.len();
            let data: *mut *const u8 = memory.cast();
            let limits: *mut usize = data.add(places).cast();
            let loaded: *mut (usize, usize) = limits.add(places).cast();
            let tiles: *mut u8 = memory.add(table_lines).cast();
            for (i, place) in self.tape.places.iter().enumerate() {
                let operand = match place.constant {
                    true => Operand::block(self.tape.constants.as_ptr().cast::<u8>().add(place.offset)),
                    false => Operand::tile(tiles.add(place.offset)),
                };
                data.add(i).write(operand.data);
                limits.add(i).write(operand.limit);
            }
            let inputs = self.tape.inputs.len();
            (0..inputs).for_each(|i| loaded.add(i).write((0, 0)));
            let mut table = Table {
                data: std::slice::from_raw_parts_mut(data, places),
                limits: std::slice::from_raw_parts_mut(limits, places),
                loaded: std::slice::from_raw_parts_mut(loaded, inputs),
            };
            for (input, feed) in self.tape.inputs.iter().zip(self.feeds) {
                if feed.pattern == Pattern::Uniform && count > 0 {
                    table.set(input.place, self.repeat(input, feed.data, tiles, count.min(BLOCK)));
                }
            }
            work(&mut Worker { run: self, table, tiles, in_order: true });
        }
    }

    /// Repeats an element of an input.
    ///
    /// # Safety
    /// The element can be read; `tiles` is the scratch memory.
    unsafe fn repeat(&self, input: &Input, element: *const u8, tiles: *mut u8, count: usize) -> Operand {
        let place = &self.tape.places[input.place as usize];
        // SAFETY: the caller's promise.
        unsafe {
            let out = tiles.add(place.offset);
            match input.widen {
                None => load::repeat(element, input.width, out, count),
                Some(widen) => {
                    load::repeat(element, input.width, tiles, count);
                    widen(out, [Operand::tile(tiles); 3], count);
                }
            }
            Operand::block(out)
        }
    }

    /// The elements of an input that a tile needs: where they lie if they can be used there, else in its own tile.
    ///
    /// # Safety
    /// As in [`Worker::tile`].
    unsafe fn load(&self, input: &Input, feed: &Feed, start: usize, count: usize, tiles: *mut u8) -> Operand {
        let place = &self.tape.places[input.place as usize];
        // SAFETY: the caller's promise.
        unsafe {
            let out = tiles.add(place.offset);
            let stored = match feed.pattern {
                Pattern::Strided { start: first, end, .. } => {
                    let axes = &self.axes[first..end];
                    let along = load::along_innermost(axes, start, count);
                    let at = |place: isize| feed.data.wrapping_offset(place * input.width as isize);
                    match (along, axes[0].stride) {
                        (Some(place), 0) => return self.repeat(input, at(place), tiles, count.min(BLOCK)),
                        (Some(place), 1) => at(place),
                        _ => {
                            let to = if input.widen.is_some() { tiles } else { out };
                            load::gather(feed.data, axes, input.width, start, to, count);
                            to.cast_const()
                        }
                    }
                }
                Pattern::Random(key) => {
                    load::words(key, input.width, start, out, count);
                    out.cast_const()
                }
                _ => feed.data.add(start * input.width),
            };
            match input.widen {
                None => Operand::tile(stored),
                Some(widen) => {
                    widen(out, [Operand::tile(stored); 3], count);
                    Operand::tile(out)
                }
            }
        }
    }
}

impl Worker<'_> {
    /// Computes the elements `start..end`, tile by tile.
    ///
    /// # Safety
    /// As [`Worker::tile`].
    pub(super) unsafe fn range(&mut self, start: usize, end: usize, see: &mut See) {
        let tile = self.run.tape.tile;
        for start in (start..end).step_by(tile) {
            // SAFETY: the caller's promise.
            unsafe { self.tile(start, (end - start).min(tile), see) };
        }
    }

    /// Has the table say where the elements of an input are that a tile needs.
    ///
    /// # Safety
    /// As [`Worker::tile`].
    unsafe fn load(&mut self, number: usize, start: usize, count: usize) {
        let (input, feed) = (&self.run.tape.inputs[number], &self.run.feeds[number]);
        match feed.pattern {
            Pattern::Uniform => return,
            Pattern::Strided { period: period @ 1.., .. } => {
                let first = start % period;
                let (known_first, known) = self.table.loaded[number];
                if first == known_first && count <= known {
                    return;
                }
                self.table.loaded[number] = (first, count);
            }
            _ => {}
        }
        // SAFETY: the caller's promise.
        self.table.set(input.place, unsafe { self.run.load(input, feed, start, count, self.tiles) });
        if feed.ahead && self.in_order {
            fetch(feed.data.wrapping_add((start + count) * input.width), count * input.width);
        }
    }

    /// Computes `count` elements, of which there are no more than the tape's tile has; `see` sees those that are only
    /// looked at before any are stored over an input.
    ///
    /// # Safety
    /// Inputs and outputs have the elements from `start` on, and no other thread uses these of the outputs.
    pub(super) unsafe fn tile(&mut self, start: usize, count: usize, see: &mut See) {
        let (run, tape) = (self.run, self.run.tape);
        let (seen, stored) = tape.outputs.split_at(tape.seen);
        let stored = || stored.iter().zip(run.sinks);
        // SAFETY: the caller's promise; a place's loop runs on its types; no place is both written and read by a loop.
        unsafe {
            for number in 0..tape.inputs.len() {
                self.load(number, start, count);
            }
            for (output, sink) in stored().filter(|(_, sink)| sink.direct) {
                let width = output.dtype.size();
                self.table.set(output.place, Operand::tile(sink.data.add(start * width)));
                if sink.ahead && self.in_order {
                    fetch(sink.data.wrapping_add((start + count) * width), count * width);
                }
            }
            for code in &tape.code {
                let [x, y, z] = code.operands;
                let operands = [self.table.get(x), self.table.get(y), self.table.get(z)];
                let count = planted!("kernel: the last element of a tail", count, count - usize::from(count % 16 == 3));
                (code.run)(self.table.get(code.out).data.cast_mut(), operands, count);
            }
            for (number, output) in seen.iter().enumerate() {
                let from = self.table.get(output.place);
                match output.narrow {
                    // Where narrow types are gathered; all inputs are widened by now.
                    Some(narrow) => {
                        narrow(self.tiles, [from; 3], count);
                        see(number, Operand::tile(self.tiles));
                    }
                    None => see(number, from),
                }
            }
            for (output, sink) in stored().filter(|(_, sink)| !sink.direct) {
                let (from, width) = (self.table.get(output.place), output.dtype.size());
                let to = sink.data.add(start * width);
                match output.narrow {
                    Some(narrow) => narrow(to, [from; 3], count),
                    None => from.data.copy_to_nonoverlapping(to, count * width),
                }
            }
        }
    }
}
