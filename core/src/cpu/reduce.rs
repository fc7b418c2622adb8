//! Reductions: many elements to one, in an order that neither vectors nor threads change.
//!
//! The elements of one result, in row-major order of the reduced axes, are cut into chunks of [`CHUNK`]. In a chunk
//! element r joins partial result r % 16, and the 16 are joined by halving: (0 with 8), (1 with 9), ... down to one.
//! The results of the chunks, if there are several, are joined in the same way. `float16` and `bfloat16` are reduced
//! in `float32` and rounded once.

mod fold;
mod loops;
mod search;
mod walk;

pub use fold::{All, Any, Arithmetic, Fold, Max, Min, Number, Product, Sum};
pub use search::{ArgMax, ArgMin, Search, search};

use super::call::{Layout, List, Shared, Target, View};
use super::work::{Stop, Work};
use crate::dtype::DType;
pub use loops::Loops;
pub(super) use loops::{LANES, Rows};
use std::mem::MaybeUninit;
use std::ops::Range;
use walk::{Axis, Plan};

/// Elements that are reduced by 16 partial results.
pub const CHUNK: usize = 1024;

/// [`CHUNK`], whatever else.
pub(super) fn chunk_length() -> usize {
    planted!("kernel: chunks depend on the number of threads", CHUNK, CHUNK / super::threads::num_threads().clamp(1, 4))
}
/// Columns that are reduced side by side; their partial results stay in the L1 cache.
const COLUMNS: usize = 64;
/// Elements that a task reads, about.
const TASK: usize = 64 << 10;

/// Bytes of workspace that reducing `axes` takes, with partial results (for a search, indices) of `partial` bytes.
pub fn workspace(layout: &Layout, axes: &[usize], partial: usize) -> u64 {
    let plan = Plan::new(layout, axes);
    match plan.chunks() {
        1 => 0,
        chunks => (plan.outputs as u64).saturating_mul(chunks as u64).saturating_mul(partial as u64),
    }
}

/// The size of the partial results of a dtype's sums, products, maxima and minima.
pub fn partial_size(dtype: DType) -> usize {
    if dtype.is_float() { dtype.size().max(4) } else { dtype.size() }
}

impl Plan {
    /// How many chunks each result is made of; at least one.
    fn chunks(&self) -> usize {
        self.length.div_ceil(chunk_length()).max(1)
    }
}

/// The partial results of up to [`COLUMNS`] columns, of any dtype.
struct Partials(MaybeUninit<[u64; LANES * COLUMNS]>);

impl Partials {
    /// `LANES` rows of `width` partial results of no elements.
    fn start(&mut self, loops: &Loops, width: usize) -> *mut u8 {
        assert!(width <= COLUMNS, "a block has no more columns");
        let partials = self.0.as_mut_ptr().cast();
        // SAFETY: there is room for them, whatever their dtype.
        unsafe { (loops.start)(partials, LANES * width) };
        partials
    }

    /// Reduces the elements `range` of one result.
    fn chunk(&mut self, loops: &Loops, plan: &Plan, data: &[u8], start: isize, range: Range<usize>) -> *const u8 {
        let partials = self.start(loops, 1);
        let origin = range.start;
        plan.slices(data, loops.input, start, range, |number, elements| {
            let count = elements.len() / loops.input;
            // SAFETY: `start` made the partial results; the slice has so many elements.
            unsafe { (loops.accumulate)(partials, (number - origin) % LANES, elements.as_ptr(), count) };
        });
        // SAFETY: `start` made them.
        unsafe { (loops.tree)(partials, 1) };
        partials
    }

    /// Reduces the elements `range` of `width` neighbouring results, whose elements are neighbours.
    fn columns(
        &mut self,
        loops: &Loops,
        plan: &Plan,
        data: &[u8],
        start: isize,
        range: Range<usize>,
        width: usize,
    ) -> *const u8 {
        let partials = self.start(loops, width);
        let origin = range.start;
        let elements = data.len() / loops.input;
        for run in plan.runs(start, range) {
            let (first, last) = (run.place, run.at(run.count - 1));
            assert!(first.max(last) + width <= elements, "an input lies within its memory");
            let first = data[first * loops.input..].as_ptr();
            let rows = Rows { first, stride: run.stride, count: run.count, width };
            // SAFETY: `start` made the partial results; the rows lie within the data.
            unsafe { (loops.rows)(partials, (run.number - origin) % LANES, rows) };
        }
        // SAFETY: `start` made them.
        unsafe { (loops.tree)(partials, width) };
        partials
    }
}

/// Where the results of chunks go.
pub(super) struct Sink<'a> {
    pub(super) bytes: Shared<'a, u8>,
    /// Bytes of a result.
    pub(super) width: usize,
    /// How a result is made of a partial one; `None` where that is kept.
    pub(super) store: Option<unsafe fn(results: *mut u8, partials: *const u8, count: usize)>,
}

impl Sink<'_> {
    /// Writes the results `first .. first + count`.
    ///
    /// # Safety
    /// There are so many partial results of the sink's loops, and no other task writes these results.
    pub(super) unsafe fn write(&self, first: usize, partials: *const u8, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            let results = self.bytes.range(first * self.width, (first + count) * self.width);
            assert_eq!(results.len(), count * self.width, "there is room for the results");
            match self.store {
                Some(store) => store(results.as_mut_ptr(), partials, count),
                None => results.as_mut_ptr().copy_from_nonoverlapping(partials, results.len()),
            }
        }
    }
}

/// The loops of a fold.
pub fn loops<F: Fold>(_: F) -> &'static Loops {
    &const { Loops::of::<F>() }
}

/// Reduces `axes` of the input, which may be strided; the output is dense and holds one result for each place of the
/// other axes.
pub fn reduce<F: Fold>(
    fold: F,
    work: &mut Work,
    input: View,
    axes: &[usize],
    output: &mut Target,
    workspace: &mut [u8],
) -> Result<(), Stop> {
    let sizes = (input.dtype().size(), output.dtype().size());
    assert_eq!(sizes, (size_of::<F::Input>(), size_of::<F::Output>()), "the fold's types are as wide as the dtypes");
    reduce_with(loops(fold), work, input, axes, output, workspace)
}

fn reduce_with(
    loops: &Loops,
    work: &mut Work,
    input: View,
    axes: &[usize],
    output: &mut Target,
    workspace: &mut [u8],
) -> Result<(), Stop> {
    let plan = Plan::new(input.layout(), axes);
    let (data, chunks) = (input.memory(), plan.chunks());
    let output = Sink { bytes: Shared::new(output.bytes()), width: loops.output, store: Some(loops.store) };
    if chunks == 1 {
        return parts(loops, work, &plan, data, &output);
    }
    let partials = workspace.get_mut(..plan.outputs * chunks * loops.partial).ok_or(Stop::OutOfMemory)?;
    let kept = Sink { bytes: Shared::new(partials), width: loops.partial, store: None };
    parts(loops, work, &plan, data, &kept)?;
    rejoin(loops, work, partials, (plan.outputs, chunks), &output)
}

/// Joins the results of `chunks` chunks, which lie one row below the other.
pub(super) fn rejoin(
    loops: &Loops,
    work: &mut Work,
    partials: &[u8],
    (outputs, chunks): (usize, usize),
    output: &Sink,
) -> Result<(), Stop> {
    let loops = Loops { input: loops.partial, rows: loops.partial_rows, ..*loops };
    let axis = |size: usize, stride: usize| List::from_slice(&[Axis { size, stride: stride as isize }]);
    let plan = Plan { offset: 0, kept: axis(outputs, 1), reduced: axis(chunks, outputs), outputs, length: chunks };
    let blocks_per_task = (TASK / COLUMNS / chunks).max(1);
    let blocks = outputs.div_ceil(COLUMNS);
    work.parallel(blocks.div_ceil(blocks_per_task), |task| {
        let mut room = Partials(MaybeUninit::uninit());
        for block in task * blocks_per_task..blocks.min((task + 1) * blocks_per_task) {
            let (first, width) = (block * COLUMNS, COLUMNS.min(outputs - block * COLUMNS));
            let results = room.columns(&loops, &plan, partials, first as isize, 0..chunks, width);
            // SAFETY: every block has its own results.
            unsafe { output.write(first, results, width) };
        }
    })
}

/// Reduces every chunk of every result, in tasks; the results of each chunk are a row of the sink.
fn parts(loops: &Loops, work: &mut Work, plan: &Plan, data: &[u8], sink: &Sink) -> Result<(), Stop> {
    let chunks = plan.chunks();
    let across = plan.kept.last().map_or(0, |last| if last.stride == 1 { last.size } else { 0 });
    let (width, blocks) = if across >= 2 { (COLUMNS, across.div_ceil(COLUMNS)) } else { (1, 1) };
    let across = if width == 1 { 1 } else { across };
    let units = plan.outputs / across * blocks * chunks;
    let size = plan.length.clamp(1, CHUNK) * across.min(width);
    let per_task = (TASK / size).max(1);
    work.parallel(units.div_ceil(per_task), |task| {
        let mut room = Partials(MaybeUninit::uninit());
        for unit in task * per_task..units.min((task + 1) * per_task) {
            let (number, place) = (unit % chunks, unit / chunks);
            let length = chunk_length();
            let range = number * length..plan.length.min((number + 1) * length);
            let column = place % blocks * width;
            let first = place / blocks * across + column;
            let start = plan.start(first);
            let count = width.min(across - column);
            let results = match width {
                1 => room.chunk(loops, plan, data, start, range),
                _ => room.columns(loops, plan, data, start, range, count),
            };
            // SAFETY: every part has its own results.
            unsafe { sink.write(number * plan.outputs + first, results, count) };
        }
    })
}

#[cfg(test)]
mod tests;
