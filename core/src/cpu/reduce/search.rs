//! The search for the place of the greatest or least element.

use super::walk::Plan;
use super::{Arithmetic, CHUNK, Number, TASK, chunk_length};
use crate::cpu::call::{Shared, Target, View};
use crate::cpu::memory::{cast_slice, cast_slice_mut};
use crate::cpu::work::{Stop, Work};
use crate::dtype::Element;
use std::marker::PhantomData;
use std::ops::Range;

/// A search for the place of the greatest or least element.
pub trait Search: Copy + Send + Sync {
    /// What is read.
    type Input: Element;
    /// Whether `left` wins over `right`, which comes before it.
    fn wins(left: Self::Input, right: Self::Input) -> bool;
}

macro_rules! searches {
    ($($(#[$doc:meta])* $name:ident: $wins:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<T>(pub PhantomData<T>);

        impl<T: Number> Search for $name<T> {
            type Input = T;
            #[inline(always)]
            fn wins(left: T, right: T) -> bool {
                left.widen().$wins(right.widen())
            }
        }
    )* };
}

searches! {
    /// The first of the greatest; NaN wins.
    ArgMax: above;
    /// The first of the least; NaN wins.
    ArgMin: below;
}

/// The loops of a [`Search`]. They read whole, aligned elements of its dtype, or it is a mistake that panics.
struct Loops {
    /// Bytes of an element.
    width: usize,
    /// The index of the best of elements, the first of equals; 0 of none.
    first: fn(elements: &[u8]) -> usize,
    /// [`Search::wins`] of one element each.
    wins: fn(left: &[u8], right: &[u8]) -> bool,
}

impl Loops {
    const fn of<S: Search>() -> Loops {
        Loops { width: size_of::<S::Input>(), first: first::<S>, wins: wins::<S> }
    }

    /// The element at a place.
    fn at<'a>(&self, data: &'a [u8], place: usize) -> &'a [u8] {
        &data[place * self.width..][..self.width]
    }
}

fn first<S: Search>(elements: &[u8]) -> usize {
    let Some((&first, rest)) = cast_slice::<S::Input>(elements).split_first() else { return 0 };
    let (mut best, mut held) = (0, first);
    for (index, &element) in rest.iter().enumerate() {
        if S::wins(element, held) {
            (best, held) = (index + 1, element);
        }
    }
    best
}

fn wins<S: Search>(left: &[u8], right: &[u8]) -> bool {
    let cast = cast_slice::<S::Input>;
    S::wins(cast(left)[0], cast(right)[0])
}

/// The number of the best of a chunk's elements, the first of equals.
fn find(loops: &Loops, plan: &Plan, data: &[u8], start: isize, range: Range<usize>) -> usize {
    let mut best = range.start;
    let origin = range.start;
    plan.slices(data, loops.width, start, range, |number, elements| {
        let index = (loops.first)(elements);
        let held = || loops.at(data, plan.place(start, best));
        if number == origin || (loops.wins)(loops.at(elements, index), held()) {
            best = number + index;
        }
    });
    best
}

/// The row-major index, within `axes`, of the best element of each result; 0 where there are no elements.
pub fn search<S: Search>(
    _: S,
    work: &mut Work,
    input: View,
    axes: &[usize],
    output: &mut Target,
    workspace: &mut [u8],
) -> Result<(), Stop> {
    search_with(&const { Loops::of::<S>() }, work, input, axes, output.elements(), workspace)
}

fn search_with(
    loops: &Loops,
    work: &mut Work,
    input: View,
    axes: &[usize],
    output: &mut [i64],
    workspace: &mut [u8],
) -> Result<(), Stop> {
    let plan = Plan::new(input.layout(), axes);
    let data = input.memory();
    let (outputs, chunks) = (plan.outputs, plan.chunks());
    let per_task = (TASK / plan.length.clamp(1, CHUNK)).max(1);
    let chunk = |unit: usize| {
        let (output, number) = (unit / chunks, unit % chunks);
        let range = number * chunk_length()..plan.length.min((number + 1) * chunk_length());
        find(loops, &plan, data, plan.start(output), range) as i64
    };
    if chunks == 1 {
        return each(work, output, per_task, chunk);
    }
    let found = cast_slice_mut::<i64>(workspace).get_mut(..outputs * chunks).ok_or(Stop::OutOfMemory)?;
    each(work, found, per_task, chunk)?;
    let found: &[i64] = found;
    each(work, output, (TASK / 16 / chunks).max(1), |output| {
        let start = plan.start(output);
        let element = |index: i64| loops.at(data, plan.place(start, index as usize));
        let candidates = found[output * chunks..(output + 1) * chunks].iter().copied();
        let better = |best, next| if (loops.wins)(element(next), element(best)) { next } else { best };
        candidates.reduce(better).unwrap_or(0)
    })
}

/// Writes `value(i)` to every element, in tasks of `per_task`.
fn each(work: &mut Work, output: &mut [i64], per_task: usize, value: impl Fn(usize) -> i64 + Sync) -> Result<(), Stop> {
    let len = output.len();
    let output = Shared::new(output);
    work.parallel(len.div_ceil(per_task), |task| {
        let start = task * per_task;
        // SAFETY: every task has its own range.
        let output = unsafe { output.range(start, start + per_task) };
        output.iter_mut().enumerate().for_each(|(i, output)| *output = value(start + i));
    })
}
