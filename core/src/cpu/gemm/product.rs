//! One product, or a batch of them: how it is cut into blocks and tasks. Everything is decided by the sizes alone.
//!
//! Small products are done whole, several to a task. Narrow ones use each element of B once and pack it on the stack, if at
//! all. In large ones, for each block of columns and depth, one phase packs
//! B and the next computes tiles of C; a task packs the rows of A that it needs, eight at a time, on its stack.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::finish::{FINISHED, Finish, Part};
use super::microkernel::{Float, Kernels, MOST_ROWS, Tile};
use super::pack::Source;
use super::{Shared, take, take_workspace};
use crate::cpu::work::{Stop, Work};

/// Widths of panels divide it, so blocks are cut at its multiples.
const PANEL: usize = 48;
/// Most depth of A that is packed at once: eight rows stay in the first cache.
pub const DEPTH: usize = 256;
/// Most columns of a packed block of B.
const COLUMNS: usize = 1920;
/// Elements of a packed block of B, unless its depth is [`DEPTH`].
const BLOCK: usize = 1 << 19;
/// Most columns of a task: with [`DEPTH`] they stay in the second cache.
const TASK_COLUMNS: usize = 480;
/// Up to so many rows use B where it lies, if they can, since packing costs more.
const DIRECT_ROWS: usize = 32;
/// Depth that narrow products run through at once, where B is packed and where it is not: the few streams that a
/// processor follows.
const NARROW_PACKED: usize = 128;
const NARROW_DIRECT: usize = 64;
/// Operations of a task: enough to be worth a thread, few enough to stop soon.
const TASK_LEAST: usize = 1 << 22;
const TASK_MOST: usize = 1 << 25;
/// Most bytes and most slices for products that are done whole.
const SLICES_BYTES: usize = 1 << 24;
const SLICES: usize = 64;

/// Where a product goes: element (i, j) of matrix b lies at `first + b * batch + i * row + j`.
#[derive(Clone, Copy)]
pub struct Target<T> {
    pub first: *mut T,
    pub row: usize,
    pub batch: usize,
}

/// A batch of products of one size. With `chunks` > 1 each matrix's depth is cut into that many and every chunk's product
/// goes to a target of its own: matrix b's chunk c to target `b * chunks + c`.
pub struct Product<'a, T> {
    count: usize,
    chunks: usize,
    m: usize,
    n: usize,
    k: usize,
    chunk: usize,
    a: &'a dyn Source<T>,
    b: &'a dyn Source<T>,
    c: Target<T>,
    finish: Option<Finish<'a>>,
}

// SAFETY: sources are Sync, and tasks write disjoint parts of the target.
unsafe impl<T: Sync> Sync for Product<'_, T> {}

/// Operations of a product, saturating.
fn operations(m: usize, n: usize, k: usize) -> usize {
    m.saturating_mul(n).saturating_mul(k).saturating_mul(2)
}

/// The size of equal parts, none above `most`, in multiples of `unit`.
fn part(total: usize, most: usize, unit: usize) -> usize {
    let parts = total.div_ceil(most).max(1);
    total.div_ceil(parts).next_multiple_of(unit)
}

/// How one matrix of a product is cut.
struct Blocks {
    /// Columns of a packed block, a multiple of [`PANEL`].
    columns: usize,
    /// Depth of a packed block.
    depth: usize,
    /// Whether whole products are the tasks.
    whole: bool,
    /// Whether B is used as it comes.
    narrow: bool,
}

impl Blocks {
    fn new(count: usize, m: usize, n: usize, k: usize) -> Blocks {
        let narrow = m <= MOST_ROWS;
        let columns = if narrow { n.next_multiple_of(PANEL) } else { part(n, COLUMNS, PANEL) }.max(PANEL);
        let most = if narrow { BLOCK } else { (BLOCK / columns).max(DEPTH) / DEPTH * DEPTH };
        let one = operations(m, n, k);
        let whole = one <= TASK_LEAST || one <= TASK_MOST && count >= 8;
        Blocks { columns, depth: part(k, most, 8), whole, narrow }
    }

    fn packed(&self) -> usize {
        if self.narrow { 0 } else { self.columns * self.depth }
    }

    /// Products that one task does, and how many tasks have a slice of workspace at a time.
    fn groups<T>(&self, count: usize, one: usize) -> (usize, usize) {
        let each = (TASK_LEAST / one.max(1)).clamp(1, count.max(1));
        let slots = (SLICES_BYTES / (self.packed() * size_of::<T>()).max(1)).clamp(2, SLICES);
        (each, slots.min(count.div_ceil(each)))
    }
}

/// Bytes of workspace that a product of these sizes needs; `count` matrices, or chunks of depth `k`.
pub fn product_workspace<T: Float>(count: usize, m: usize, n: usize, k: usize) -> u64 {
    let blocks = Blocks::new(count, m, n, k);
    let slots = if blocks.whole { blocks.groups::<T>(count, operations(m, n, k)).1 } else { 1 };
    take_workspace::<T>((blocks.packed() as u64).saturating_mul(slots as u64))
}

/// Rows and columns of a task that works on a block of `m` x `columns` x `depth`.
fn task_shape(m: usize, columns: usize, depth: usize) -> (usize, usize) {
    let most = (operations(m, columns, depth) / 32).clamp(TASK_LEAST, TASK_MOST);
    let half = |size: usize, unit: usize| (size / 2).next_multiple_of(unit);
    let mut rows = m.next_multiple_of(MOST_ROWS);
    let mut wide = if m <= MOST_ROWS { columns.next_multiple_of(PANEL) } else { part(columns, TASK_COLUMNS, PANEL) };
    while operations(rows, wide, depth) > most && (rows > MOST_ROWS || wide > PANEL) {
        if wide > PANEL && (wide > 4 * rows || rows == MOST_ROWS) {
            wide = half(wide, PANEL);
        } else {
            rows = half(rows, MOST_ROWS);
        }
    }
    (rows, wide)
}

/// Rows of A, packed.
#[repr(align(64))]
struct Rows<T>(MaybeUninit<[T; MOST_ROWS * DEPTH]>);

/// Columns of B, packed.
#[repr(align(64))]
struct Columns<T>(MaybeUninit<[T; PANEL * NARROW_PACKED]>);

/// A block of one product: its columns and depth, and B packed.
struct Block<T> {
    /// Number of the matrix and of the target.
    batch: usize,
    target: usize,
    columns: Range<usize>,
    depth: Range<usize>,
    /// Depth at which the target's chain starts.
    origin: usize,
    packed: *mut T,
}

// SAFETY: `packed` is written by tasks in disjoint panels, then only read.
unsafe impl<T: Sync> Sync for Block<T> {}

impl<'a, T: Float> Product<'a, T> {
    /// `count` products of `m` x `k` by `k` x `n`.
    ///
    /// # Safety
    /// The sources hold `count` matrices of these sizes (lanes x depth); the target can be written and nobody else
    /// uses it until the product is done.
    pub unsafe fn new(
        count: usize,
        m: usize,
        n: usize,
        k: usize,
        a: &'a dyn Source<T>,
        b: &'a dyn Source<T>,
        c: Target<T>,
    ) -> Product<'a, T> {
        Product { count, chunks: 1, m, n, k, chunk: k, a, b, c, finish: None }
    }

    /// The same with the depth cut into chunks of `chunk` (>= 1), each with its own target.
    pub fn chunked(self, chunk: usize) -> Product<'a, T> {
        Product { chunks: self.k.div_ceil(chunk), chunk, ..self }
    }

    /// The same, followed by `finish`; what it gets is counted from the target's first element. Not of chunks.
    pub fn then(self, finish: Option<Finish<'a>>) -> Product<'a, T> {
        Product { finish, ..self }
    }

    /// Computes the product in `workspace`, whose size [`product_workspace`] says.
    ///
    /// # Errors
    /// What stopped the work; [`Stop::OutOfMemory`] if the workspace is too small.
    pub fn run(&self, work: &mut Work, workspace: &mut [u8]) -> Result<(), Stop> {
        let targets = self.count * self.chunks;
        if targets == 0 || self.m == 0 || self.n == 0 {
            return Ok(());
        }
        let blocks = Blocks::new(targets, self.m, self.n, self.chunk);
        if blocks.whole {
            return self.run_whole(work, &blocks, workspace);
        }
        let (packed, _) = take::<T>(workspace, blocks.packed())?;
        for target in 0..targets {
            for columns in ranges(0..self.n, blocks.columns) {
                for depth in ranges(self.depth(target), blocks.depth) {
                    let block = self.block(target, columns.clone(), depth, packed.as_mut_ptr());
                    self.run_block(work, blocks.narrow, &block)?;
                }
            }
        }
        Ok(())
    }

    fn depth(&self, target: usize) -> Range<usize> {
        let start = target % self.chunks * self.chunk;
        let depth = planted!("kernel: the last depth of an odd product", self.k, self.k - self.k / 2 % 2);
        start..depth.min(start + self.chunk)
    }

    fn block(&self, target: usize, columns: Range<usize>, depth: Range<usize>, packed: *mut T) -> Block<T> {
        let origin = self.depth(target).start;
        Block { batch: target / self.chunks, target, columns, depth, origin, packed }
    }

    /// Tasks of one or several whole products, as many at a time as have a slice of the workspace.
    fn run_whole(&self, work: &mut Work, blocks: &Blocks, workspace: &mut [u8]) -> Result<(), Stop> {
        let targets = self.count * self.chunks;
        let (each, slots) = blocks.groups::<T>(targets, operations(self.m, self.n, self.chunk));
        let (packed, _) = take::<T>(workspace, blocks.packed() * slots)?;
        let packed = Shared(packed.as_mut_ptr());
        for first in (0..targets).step_by(each * slots) {
            let tasks = (targets - first).div_ceil(each).min(slots);
            work.parallel(tasks, |task| {
                let start = first + task * each;
                for target in start..targets.min(start + each) {
                    for columns in ranges(0..self.n, blocks.columns) {
                        for depth in ranges(self.depth(target), blocks.depth) {
                            let slice = packed.at(task * blocks.packed());
                            let block = self.block(target, columns.clone(), depth, slice);
                            if !blocks.narrow {
                                self.pack(&block, columns.clone());
                            }
                            self.compute(&block, 0..self.m, columns.clone());
                        }
                    }
                }
            })?;
        }
        Ok(())
    }

    fn run_block(&self, work: &mut Work, narrow: bool, block: &Block<T>) -> Result<(), Stop> {
        let (columns, depth) = (block.columns.len(), block.depth.len());
        if !narrow {
            let wide = (1 << 16) / depth.max(1) / PANEL * PANEL;
            let strips = ranges(block.columns.clone(), wide.max(PANEL));
            work.parallel(strips.len(), |task| self.pack(block, strips.at(task)))?;
        }

        let (rows, wide) = task_shape(self.m, columns, depth);
        let (down, across) = (ranges(0..self.m, rows), ranges(block.columns.clone(), wide));
        work.parallel(down.len() * across.len(), |task| {
            self.compute(block, down.at(task / across.len()), across.at(task % across.len()));
        })
    }

    /// Where B's panel that starts at `column` may be read unpacked.
    fn direct(&self, block: &Block<T>, column: usize, width: usize, depth: usize) -> Option<(*const T, usize)> {
        let whole = column + width <= block.columns.end;
        if whole && self.m <= DIRECT_ROWS { self.b.direct(block.batch, column, depth) } else { None }
    }

    /// Packs these columns (from a multiple of [`PANEL`] on) of a block of B.
    fn pack(&self, block: &Block<T>, columns: Range<usize>) {
        let (width, depth) = (T::kernels().width(), block.depth.len());
        for lanes in ranges(columns, width) {
            if self.direct(block, lanes.start, width, block.depth.start).is_some() {
                continue;
            }
            // SAFETY: the panel lies in the packed block, and no other task writes it.
            unsafe {
                let panel = block.packed.add((lanes.start - block.columns.start) * depth);
                self.pack_panel(block.batch, lanes, block.depth.clone(), panel);
            }
        }
    }

    /// Packs one panel of B, with zeros beyond its last column.
    ///
    /// # Safety
    /// `panel` can be written, as far as the width of a panel and this depth need.
    unsafe fn pack_panel(&self, batch: usize, lanes: Range<usize>, depth: Range<usize>, panel: *mut T) {
        let width = T::kernels().width();
        // SAFETY: the caller's; the source is large enough.
        unsafe {
            if lanes.len() < width {
                panel.write_bytes(0, width * depth.len());
            }
            self.b.pack(batch, lanes, depth, panel, width);
        }
    }

    /// Computes a part of C from a packed block.
    fn compute(&self, block: &Block<T>, rows: Range<usize>, columns: Range<usize>) {
        if self.depth(block.target).is_empty() {
            self.clear(block, rows.clone(), columns.clone());
            return self.finish(block, block.depth.end, rows, &columns);
        }
        if self.m <= MOST_ROWS {
            return self.compute_narrow(block, rows, columns);
        }
        let kernels = T::kernels();
        let mut left = Rows::<T>(MaybeUninit::uninit());
        let left = left.0.as_mut_ptr().cast::<T>();
        let step = part(block.depth.len(), DEPTH, 8);
        for depth in ranges(block.depth.clone(), step) {
            let mut unfinished = rows.start;
            for lanes in ranges(rows.clone(), kernels.rows) {
                // SAFETY: the buffer holds MOST_ROWS x DEPTH; the sources are large enough.
                unsafe { self.a.pack(block.batch, lanes.clone(), depth.clone(), left, kernels.step) };
                for right in ranges(columns.clone(), kernels.width()) {
                    let b = self.direct(block, right.start, kernels.width(), depth.start);
                    let b = b.unwrap_or_else(|| {
                        let panel = (right.start - block.columns.start) * block.depth.len();
                        let skip = panel + (depth.start - block.depth.start) * kernels.width();
                        (block.packed.wrapping_add(skip).cast_const(), kernels.width())
                    });
                    self.tile(kernels, block, &lanes, &depth, &right, left, b);
                }
                if lanes.end == rows.end || (lanes.end - unfinished) * columns.len() >= FINISHED {
                    self.finish(block, depth.end, unfinished..lanes.end, &columns);
                    unfinished = lanes.end;
                }
            }
        }
    }

    /// Hands rows and columns on whose sums have come to this depth, if that is the last.
    fn finish(&self, block: &Block<T>, depth: usize, rows: Range<usize>, columns: &Range<usize>) {
        if let Some(finish) = self.finish.filter(|_| depth == self.depth(block.target).end) {
            let first = block.target * self.c.batch + rows.start * self.c.row + columns.start;
            let part = Part { first, rows: rows.len(), row: self.c.row, columns: columns.len() };
            finish(self.c.first.cast(), part);
        }
    }

    /// The same where C has so few rows that each element of B is used once.
    fn compute_narrow(&self, block: &Block<T>, rows: Range<usize>, columns: Range<usize>) {
        let kernels = T::kernels();
        let width = kernels.width();
        let mut left = Rows::<T>(MaybeUninit::uninit());
        let left = left.0.as_mut_ptr().cast::<T>();
        let mut right = Columns::<T>(MaybeUninit::uninit());
        let packed = right.0.as_mut_ptr().cast::<T>();
        let direct = self.direct(block, columns.start, width, block.depth.start).is_some();
        // Packed, B is read along the depth; where it lies, along its rows.
        let (step, wide) = if direct { (NARROW_DIRECT, columns.len()) } else { (NARROW_PACKED, width) };
        for columns in ranges(columns, wide) {
            for depth in ranges(block.depth.clone(), step) {
                for lanes in ranges(rows.clone(), kernels.rows) {
                    // SAFETY: the buffer holds MOST_ROWS x DEPTH; the sources are large enough.
                    unsafe { self.a.pack(block.batch, lanes.clone(), depth.clone(), left, kernels.step) };
                    for right in ranges(columns.clone(), width) {
                        let b = self.direct(block, right.start, width, depth.start).unwrap_or_else(|| {
                            // SAFETY: the buffer holds NARROW_PACKED x PANEL.
                            unsafe { self.pack_panel(block.batch, right.clone(), depth.clone(), packed) };
                            (packed.cast_const(), width)
                        });
                        self.tile(kernels, block, &lanes, &depth, &right, left, b);
                    }
                }
            }
            self.finish(block, block.depth.end, rows.clone(), &columns);
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn tile(
        &self,
        kernels: &Kernels<T>,
        block: &Block<T>,
        rows: &Range<usize>,
        depth: &Range<usize>,
        columns: &Range<usize>,
        a: *const T,
        (b, b_step): (*const T, usize),
    ) {
        let row = self.c.first.wrapping_add(block.target * self.c.batch + rows.start * self.c.row);
        let tile = Tile {
            depth: depth.len(),
            a,
            b,
            b_step,
            c: row.wrapping_add(columns.start),
            c_row: self.c.row,
            columns: columns.len(),
            accumulate: depth.start > block.origin,
        };
        let vectors = columns.len().div_ceil(kernels.lanes);
        // SAFETY: kernels() has this machine's instructions; both operands are packed that far, and this task alone
        // writes these rows and columns of the target.
        unsafe { kernels.tiles[(rows.len() - 1) * kernels.vectors + vectors - 1](&tile) }
    }

    /// The product over no depth.
    fn clear(&self, block: &Block<T>, rows: Range<usize>, columns: Range<usize>) {
        for row in rows {
            let first = block.target * self.c.batch + row * self.c.row + columns.start;
            // SAFETY: this task alone writes these rows and columns of the target.
            unsafe {
                std::slice::from_raw_parts_mut(self.c.first.add(first), columns.len()).fill(T::default());
            }
        }
    }
}

/// A range cut into parts of `size`, the last one smaller; an empty range is one empty part.
#[derive(Clone)]
struct Ranges {
    whole: Range<usize>,
    size: usize,
    next: usize,
}

fn ranges(whole: Range<usize>, size: usize) -> Ranges {
    Ranges { whole, size: size.max(1), next: 0 }
}

impl Ranges {
    fn len(&self) -> usize {
        self.whole.len().div_ceil(self.size).max(1)
    }

    fn at(&self, index: usize) -> Range<usize> {
        let start = self.whole.start + index * self.size;
        start..self.whole.end.min(start + self.size)
    }
}

impl Iterator for Ranges {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        if self.next == self.len() {
            return None;
        }
        self.next += 1;
        Some(self.at(self.next - 1))
    }
}
