//! The loops of reductions over memory: a record of small functions for each reduction of each dtype. What walks along
//! the axes is compiled once for all of them.

use super::fold::{Fold, Rejoin};
use crate::cpu::simd::simd;

/// Partial results of a chunk.
pub const LANES: usize = 16;

/// Rows of neighbouring elements, evenly spaced.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The first element of the first row.
    pub first: *const u8,
    /// From one row to the next, in elements.
    pub stride: isize,
    pub count: usize,
    pub width: usize,
}

/// The loops of a [`Fold`].
///
/// Safety of them all: pointers are aligned for their types; what is read is there and not written by others, and what
/// is written nobody else uses.
#[derive(Debug, Clone, Copy)]
pub struct Loops {
    /// Bytes of an element.
    pub input: usize,
    /// Bytes of a partial result.
    pub partial: usize,
    /// Bytes of a result.
    pub output: usize,
    /// Writes `count` partial results of no elements.
    pub start: unsafe fn(partials: *mut u8, count: usize),
    /// Joins `count` elements, the first of which belongs to `lane`, to [`LANES`] partial results.
    pub accumulate: unsafe fn(partials: *mut u8, lane: usize, elements: *const u8, count: usize),
    /// Joins rows of elements, the first of which belongs to `lane`, to [`LANES`] rows of partial results.
    pub rows: unsafe fn(partials: *mut u8, lane: usize, rows: Rows),
    /// The same with rows of partial results.
    pub partial_rows: unsafe fn(partials: *mut u8, lane: usize, rows: Rows),
    /// Joins [`LANES`] rows of `width` partial results by halving; what they give is in the first.
    pub tree: unsafe fn(partials: *mut u8, width: usize),
    /// Writes the results of `count` partial results.
    pub store: unsafe fn(results: *mut u8, partials: *const u8, count: usize),
}

impl Loops {
    /// Those of `F`.
    pub const fn of<F: Fold>() -> Loops {
        Loops {
            input: size_of::<F::Input>(),
            partial: size_of::<F::Partial>(),
            output: size_of::<F::Output>(),
            start: start::<F>,
            accumulate: accumulate::<F>,
            rows: rows::<F>,
            partial_rows: rows::<Rejoin<F>>,
            tree: tree::<F>,
            store: store::<F>,
        }
    }
}

#[inline(always)]
fn join_lanes<F: Fold>(partials: &mut [F::Partial], elements: &[F::Input]) {
    for (partial, element) in partials.iter_mut().zip(elements) {
        *partial = F::join(*partial, F::load(*element));
    }
}

simd! {
    fn join_elements<F: Fold>(_fold: F, partials: &mut [F::Partial; LANES], lane: usize, elements: &[F::Input]) {
        let (mut lane, mut rest) = (lane, elements);
        while !rest.is_empty() {
            if lane == 0 {
                let (mut blocks, tail) = rest.as_chunks::<LANES>();
                let mut lanes = *partials;
                // A page loads these loops for each dtype, and its vectors are short enough.
                if F::ASSOCIATIVE && !cfg!(target_family = "wasm") {
                    let (fours, few) = blocks.as_chunks::<4>();
                    for four in fours {
                        lanes = std::array::from_fn(|lane| {
                            let [a, b, c, d] = std::array::from_fn(|block| F::load(four[block][lane]));
                            F::join(lanes[lane], F::join(F::join(a, b), F::join(c, d)))
                        });
                    }
                    blocks = few;
                }
                for block in blocks {
                    lanes = std::array::from_fn(|lane| F::join(lanes[lane], F::load(block[lane])));
                }
                *partials = lanes;
                rest = tail;
            }
            let (part, after) = rest.split_at(rest.len().min(LANES - lane));
            join_lanes::<F>(&mut partials[lane..], part);
            (lane, rest) = (0, after);
        }
    }
}

simd! {
    /// The safety of [`Loops`].
    fn join_rows<F: Fold>(_fold: F, partials: &mut [F::Partial], lane: usize, rows: Rows) {
        for i in 0..rows.count {
            let first = rows.first.cast::<F::Input>().wrapping_offset(i as isize * rows.stride);
            // SAFETY: the caller's.
            let row = unsafe { std::slice::from_raw_parts(first, rows.width) };
            join_lanes::<F>(&mut partials[(lane + i) % LANES * rows.width..][..rows.width], row);
        }
    }
}

simd! {
    fn join_halves<F: Fold>(_fold: F, partials: &mut [F::Partial]) {
        let mut partials = partials;
        for _ in 0..LANES.ilog2() {
            let (lower, upper) = partials.split_at_mut(partials.len() / 2);
            for (lower, upper) in lower.iter_mut().zip(upper) {
                *lower = F::join(*lower, *upper);
            }
            partials = lower;
        }
    }
}

unsafe fn start<F: Fold>(partials: *mut u8, count: usize) {
    for i in 0..count {
        // SAFETY: the caller's.
        unsafe { partials.cast::<F::Partial>().add(i).write(F::START) };
    }
}

unsafe fn accumulate<F: Fold>(partials: *mut u8, lane: usize, elements: *const u8, count: usize) {
    // SAFETY: the caller's.
    let (partials, elements) =
        unsafe { (&mut *partials.cast(), std::slice::from_raw_parts(elements.cast::<F::Input>(), count)) };
    join_elements(F::default(), partials, lane, elements);
}

unsafe fn rows<F: Fold>(partials: *mut u8, lane: usize, rows: Rows) {
    // SAFETY: the caller's.
    let partials = unsafe { std::slice::from_raw_parts_mut(partials.cast(), LANES * rows.width) };
    join_rows(F::default(), partials, lane, rows);
}

unsafe fn tree<F: Fold>(partials: *mut u8, width: usize) {
    // SAFETY: the caller's.
    join_halves(F::default(), unsafe { std::slice::from_raw_parts_mut(partials.cast(), LANES * width) });
}

unsafe fn store<F: Fold>(results: *mut u8, partials: *const u8, count: usize) {
    for i in 0..count {
        // SAFETY: the caller's.
        unsafe { results.cast::<F::Output>().add(i).write(F::store(*partials.cast::<F::Partial>().add(i))) };
    }
}
