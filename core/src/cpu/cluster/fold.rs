//! Rows that are folded piece by piece, as they are computed.

use super::places::Places;
use super::{Fold, Geometry};
use crate::cpu::reduce::{LANES, Loops, Rows, chunk_length};
use crate::cpu::tape::Operand;
use smallvec::SmallVec;

/// The partial results of a row: of the chunk that is being read, and of the chunks before it. Of any dtype.
#[derive(Clone, Copy)]
pub struct State {
    chunk: [u64; LANES],
    chunks: [u64; LANES],
}

impl State {
    pub fn new() -> State {
        State { chunk: [0; LANES], chunks: [0; LANES] }
    }

    /// Joins the elements `first .. first + count` of a chunk; the first begins it.
    ///
    /// # Safety
    /// `elements` has so many elements (or equal ones up to its limit) of the type of the loops, and the state was
    /// used with these loops alone.
    unsafe fn join(&mut self, loops: &Loops, elements: Operand, first: usize, count: usize) {
        let partials = self.chunk.as_mut_ptr().cast();
        // SAFETY: the caller's promise; there is room for the partial results of any dtype.
        unsafe {
            if first == 0 {
                (loops.start)(partials, LANES);
            }
            let mut done = 0;
            while done < count {
                // The limit is a multiple of the lanes.
                let part = elements.limit.min(count - done);
                let from = if elements.limit < count { elements.data } else { elements.data.add(done * loops.input) };
                (loops.accumulate)(partials, (first + done) % LANES, from, part);
                done += part;
            }
        }
    }

    /// Ends the chunk; its partial result.
    ///
    /// # Safety
    /// As [`State::join`]; the chunk has begun.
    unsafe fn end(&mut self, loops: &Loops) -> *const u8 {
        let partials = self.chunk.as_mut_ptr().cast();
        // SAFETY: the caller's promise.
        unsafe { (loops.tree)(partials, 1) };
        partials
    }

    /// The partial result of no elements.
    ///
    /// # Safety
    /// As [`State::join`].
    pub unsafe fn none(&mut self, loops: &Loops) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe {
            (loops.start)(self.chunk.as_mut_ptr().cast(), LANES);
            self.end(loops)
        }
    }

    /// Joins elements as [`State::join`]; the partial result of the chunk if they are its last.
    ///
    /// # Safety
    /// As [`State::join`].
    pub unsafe fn piece(
        &mut self,
        loops: &Loops,
        elements: Operand,
        first: usize,
        count: usize,
        last: bool,
    ) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe {
            self.join(loops, elements, first, count);
            if last { self.end(loops) } else { std::ptr::null() }
        }
    }
}

/// The folds of a phase over some rows, one row after the other.
pub struct Folder<'a> {
    folds: &'a [Fold],
    places: &'a Places<'a>,
    states: SmallVec<[State; 4]>,
    pub length: usize,
    chunks: usize,
}

impl<'a> Folder<'a> {
    pub fn new(folds: &'a [Fold], geometry: &Geometry, places: &'a Places) -> Folder<'a> {
        let states = folds.iter().map(|_| State::new()).collect();
        Folder { folds, places, states, length: geometry.length, chunks: geometry.chunks() }
    }

    /// Folds the elements of whole rows, the first of which is `first`.
    ///
    /// # Safety
    /// The elements are there, of the type of the fold; the slots have these rows, and no other thread uses them.
    pub unsafe fn rows(&mut self, number: usize, elements: Operand, first: usize, count: usize) {
        let width = self.folds[number].loops.input;
        for row in 0..count {
            let own = match elements.limit < count * self.length {
                // All are equal.
                true => elements,
                false => Operand::tile(elements.data.wrapping_add(row * self.length * width)),
            };
            // SAFETY: the caller's promise.
            unsafe {
                self.part(number, own, 0, self.length);
                self.finish_one(number, first + row);
            }
        }
    }

    /// Folds the next `count` elements of a row, from `column` on.
    ///
    /// # Safety
    /// As [`Folder::rows`].
    pub unsafe fn part(&mut self, number: usize, elements: Operand, column: usize, count: usize) {
        let (loops, state) = (self.folds[number].loops, &mut self.states[number]);
        let (mut done, chunk) = (0, chunk_length());
        while done < count {
            let first = (column + done) % chunk;
            let part = (chunk - first).min(count - done);
            let own = match elements.limit < count {
                true => elements,
                false => Operand::tile(elements.data.wrapping_add(done * loops.input)),
            };
            done += part;
            let ends = first + part == chunk || column + done == self.length;
            // SAFETY: the caller's promise.
            unsafe {
                let result = state.piece(loops, own, first, part, ends);
                if ends && self.chunks > 1 {
                    let lane = (column + done - 1) / chunk;
                    let partials = state.chunks.as_mut_ptr().cast();
                    if lane == 0 {
                        (loops.start)(partials, LANES);
                    }
                    let row = Rows { first: result, stride: 0, count: 1, width: 1 };
                    (loops.partial_rows)(partials, lane % LANES, row);
                }
            }
        }
    }

    /// Writes the results of a row whose elements are all folded.
    ///
    /// # Safety
    /// As [`Folder::rows`].
    pub unsafe fn finish(&mut self, row: usize) {
        for number in 0..self.folds.len() {
            // SAFETY: the caller's promise.
            unsafe { self.finish_one(number, row) };
        }
    }

    unsafe fn finish_one(&mut self, number: usize, row: usize) {
        let (fold, state) = (&self.folds[number], &mut self.states[number]);
        let loops = fold.loops;
        // SAFETY: the caller's promise.
        unsafe {
            if self.length == 0 {
                state.none(loops);
            }
            let partials = if self.chunks > 1 { &mut state.chunks } else { &mut state.chunk };
            let partials: *mut u8 = partials.as_mut_ptr().cast();
            if self.chunks > 1 {
                (loops.tree)(partials, 1);
            }
            (loops.store)(self.places.slot(fold.slot).add(row * loops.output), partials, 1);
        }
    }
}
