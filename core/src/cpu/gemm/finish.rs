//! What follows a product in the same step, part by part, while the part is in the cache.

use crate::cpu::work::{Stop, Work};
use std::ops::Range;

/// Elements of the result that a task makes final before they are finished, about: they stay in the first cache.
pub const FINISHED: usize = 4096;

/// Rows and columns of a result, counted in elements from its first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The element where it begins.
    pub first: usize,
    /// How many rows.
    pub rows: usize,
    /// How far apart they are.
    pub row: usize,
    /// How many elements each has.
    pub columns: usize,
}

impl Part {
    /// The runs of elements that follow each other.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let (count, length) =
            if self.columns == self.row { (1, self.rows * self.columns) } else { (self.rows, self.columns) };
        let (first, row) = (self.first, self.row);
        (0..count).map(move |number| first + number * row..first + number * row + length)
    }

    /// How many elements.
    pub fn elements(&self) -> usize {
        self.rows * self.columns
    }
}

/// Sees each element of a product's result once, when it is final, and may change it. It gets where the first element of
/// the result is, and is called by several threads, for parts that do not overlap.
pub type Finish<'a> = &'a (dyn Fn(*mut u8, Part) + Sync);

/// Finishes a result that is complete.
///
/// # Errors
/// What stopped the work.
pub fn finish_all<T: Send>(work: &mut Work, finish: Option<Finish>, result: &mut [T]) -> Result<(), Stop> {
    const TASK: usize = 1 << 16;
    let Some(finish) = finish else { return Ok(()) };
    let (count, first) = (result.len(), super::Shared(result.as_mut_ptr()));
    work.parallel(count.div_ceil(TASK), |task| {
        let (start, end) = (task * TASK, count.min((task + 1) * TASK));
        finish(first.at(0).cast(), Part { first: start, rows: 1, row: end - start, columns: end - start });
    })
}
