//! Memory of tensors and runs: aligned, fallible, charged to a budget.

use crate::dtype::Element;
use crate::error::{Error, Result};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

/// Every buffer starts on a cache line, which is also the widest vector.
pub const ALIGNMENT: usize = 64;

/// What is kept of the memory of large tensors, in bytes: see [`Budget::recycle`].
pub const MOST_KEPT: u64 = 64 << 20;

/// Tensors of so many bytes are large: the system takes longer to find pages for them than an element-wise op takes to
/// write them.
pub const LARGE: usize = 1 << 20;

/// Bytes that may be held at once under one set of limits, and how many are.
///
/// It also keeps the memory of runs that have ended, and some of that of large tensors, for the next ones. That counts as
/// used, but makes room when an allocation would pass the limit.
#[derive(Default)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
    /// Buffers that nobody uses; their bytes are still charged here, and they hold no reference back.
    idle: Mutex<Vec<Buffer>>,
    /// Memory of large tensors that nobody holds any more; charged as well.
    kept: Mutex<Vec<Chunk>>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {} bytes)", self.used(), self.limit)
    }
}

impl Budget {
    /// A budget of `limit` bytes; 0 is no limit.
    pub fn new(limit: u64) -> Budget {
        Budget { limit, ..Budget::default() }
    }

    /// The limit in bytes; 0 is none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were held at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes `bytes` from the budget.
    ///
    /// # Errors
    /// `memory`: it would pass the limit; nothing is taken.
    pub fn charge(&self, bytes: u64) -> Result<()> {
        self.try_charge(bytes).or_else(|_| {
            self.drop_idle();
            self.drop_kept();
            self.try_charge(bytes)
        })
    }

    fn try_charge(&self, bytes: u64) -> Result<()> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if self.limit != 0 && used > self.limit {
            self.release(bytes);
            let before = used - bytes;
            let limit = self.limit;
            return Err(Error::memory(format!(
                "{bytes} bytes more than the {before} in use pass the limit of {limit} bytes"
            )));
        }
        self.peak.fetch_max(used, Ordering::Relaxed);
        Ok(())
    }

    /// Takes `bytes` that are held already, even past the limit.
    pub fn add(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.peak.fetch_max(used, Ordering::Relaxed);
    }

    /// Memory of at least `bytes` bytes for a run: that of an earlier one, or new. What it holds is not defined.
    ///
    /// # Errors
    /// As [`Buffer::zeroed`].
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Buffer> {
        if bytes == 0 {
            return Buffer::zeroed(0, None);
        }
        let mut idle = self.lock_idle();
        let fitting = idle.iter().enumerate().filter(|(_, buffer)| buffer.len() >= bytes);
        if let Some(index) = fitting.min_by_key(|(_, buffer)| buffer.len()).map(|(index, _)| index) {
            let mut buffer = idle.swap_remove(index);
            buffer.belong_to(Some(self.clone()));
            return Ok(buffer);
        }
        drop(idle);
        // Too small for this run, so for the next one like it too.
        self.drop_idle();
        Buffer::zeroed(bytes, Some(self))
    }

    /// Keeps memory that [`Budget::take`] gave for the next run.
    pub fn keep(&self, mut buffer: Buffer) {
        let mut idle = self.lock_idle();
        if buffer.len != 0 && idle.try_reserve(1).is_ok() {
            buffer.belong_to(None);
            idle.push(buffer);
        }
    }

    /// The budget, without a limit, of large tensors that have no other.
    pub fn of_nobody() -> &'static Arc<Budget> {
        static NOBODY: OnceLock<Arc<Budget>> = OnceLock::new();
        NOBODY.get_or_init(Arc::default)
    }

    /// Takes back the memory of a tensor: keeps it, if it is large and not too much is kept. Tensors end in any thread and
    /// at any time, so nothing here waits for a lock.
    pub fn recycle(&self, chunk: Chunk) {
        let bytes = chunk.charged;
        if bytes >= LARGE as u64
            && let Some(mut kept) = self.try_kept()
            && kept.iter().map(|chunk| chunk.charged).sum::<u64>() + bytes <= MOST_KEPT
            && kept.try_reserve(1).is_ok()
        {
            return kept.push(chunk);
        }
        drop(chunk);
        self.release(bytes);
    }

    /// Memory of that layout that was kept; for `bytes` of it this is still charged.
    pub fn kept(&self, layout: Layout, bytes: u64) -> Option<Chunk> {
        let mut kept = self.try_kept()?;
        let index = kept.iter().rposition(|chunk| chunk.layout == layout && chunk.charged == bytes)?;
        Some(kept.swap_remove(index))
    }

    fn try_kept(&self) -> Option<MutexGuard<'_, Vec<Chunk>>> {
        match self.kept.try_lock() {
            Ok(kept) => Some(kept),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn drop_idle(&self) {
        for buffer in self.lock_idle().drain(..) {
            self.release(buffer.len() as u64);
        }
    }

    fn drop_kept(&self) {
        let kept = self.try_kept().map(|mut kept| std::mem::take(&mut *kept));
        kept.into_iter().flatten().for_each(|chunk| self.release(chunk.charged));
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `bytes` back.
    pub fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Allocated memory, of any use.
pub struct Chunk {
    /// Where it begins.
    pub start: NonNull<u8>,
    /// What was asked for.
    pub layout: Layout,
    /// How many bytes of it a budget was charged for.
    pub charged: u64,
}

// SAFETY: plain memory that nobody else uses.
unsafe impl Send for Chunk {}

impl Chunk {
    /// Memory of a layout whose size is not 0, as the allocator leaves it or all zeros. `bytes` of it are charged to `budget`,
    /// and are the holder's to give back.
    ///
    /// # Errors
    /// `memory`: over the budget, the system has no more, or there is no such layout.
    pub fn new(layout: Option<Layout>, zeroed: bool, bytes: usize, budget: Option<&Arc<Budget>>) -> Result<Chunk> {
        if let Some(budget) = budget {
            budget.charge(bytes as u64)?;
        }
        let chunk = layout.and_then(|layout| {
            // SAFETY: the size is not 0.
            let start = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
            NonNull::new(start).map(|start| Chunk { start, layout, charged: bytes as u64 })
        });
        chunk.ok_or_else(|| {
            if let Some(budget) = budget {
                budget.release(bytes as u64);
            }
            Error::memory(format!("the system has no {bytes} bytes of memory"))
        })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Memory of someone else that may be lost under its holders, such as the pages of a file that others can shorten.
pub trait Watched: Send + Sync {
    /// Whether the memory is still what it was.
    ///
    /// # Errors
    /// `io`: it is not, and must not be read.
    fn check(&self) -> Result<()>;
}

enum Owner {
    /// Allocated here, unless it is empty; gives its bytes back to the budget.
    Heap(#[allow(dead_code, reason = "held for its drop")] Option<Chunk>, Option<Arc<Budget>>),
    /// Memory of someone else, who keeps it alive as long as this value lives.
    Foreign(#[allow(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>),
    /// As `Foreign`, but looked at before runs.
    Watched(Arc<dyn Watched>),
}

/// A block of bytes, aligned to [`ALIGNMENT`] unless foreign.
pub struct Buffer {
    data: NonNull<u8>,
    len: usize,
    owner: Owner,
}

// SAFETY: the bytes are plain data; shared access only reads them, writing needs `&mut`.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

/// What a dangling pointer to nothing is aligned to.
#[repr(align(64))]
struct Line;

/// The allocation for `len` aligned bytes. Its own alignment is what allocators give anyway: for more, they neither know
/// which memory is zero already nor are they fast.
fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len.checked_add(ALIGNMENT - 16)?, 16).ok()
}

impl Buffer {
    /// `len` zero bytes, charged to `budget`.
    ///
    /// # Errors
    /// `memory`: over the budget, or the system has no more.
    pub fn zeroed(len: usize, budget: Option<&Arc<Budget>>) -> Result<Buffer> {
        if len == 0 {
            let owner = Owner::Heap(None, budget.cloned());
            return Ok(Buffer { data: NonNull::<Line>::dangling().cast(), len, owner });
        }
        let chunk = Chunk::new(layout(len), true, len, budget)?;
        // SAFETY: `layout` has room for so many bytes before the data.
        let data = unsafe { chunk.start.add(chunk.start.align_offset(ALIGNMENT)) };
        Ok(Buffer { data, len, owner: Owner::Heap(Some(chunk), budget.cloned()) })
    }

    /// Sets the budget that memory allocated here gives its bytes back to.
    fn belong_to(&mut self, owner: Option<Arc<Budget>>) {
        if let Owner::Heap(_, budget) = &mut self.owner {
            *budget = owner;
        }
    }

    /// Memory that `owner` keeps alive and unchanged; it is never written.
    ///
    /// # Safety
    /// `data` must be readable for `len` bytes, unchanged, as long as `owner` lives.
    pub unsafe fn foreign(data: NonNull<u8>, len: usize, owner: Box<dyn Any + Send + Sync>) -> Buffer {
        Buffer { data, len, owner: Owner::Foreign(owner) }
    }

    /// Memory that `owner` keeps alive, and unchanged as long as its check succeeds; it is never written. Whoever reads
    /// it calls [`check_watched`](crate::tensor::check_watched) first.
    ///
    /// # Safety
    /// `data` must be readable for `len` bytes as long as `owner` lives and its check succeeds.
    pub unsafe fn watched(data: NonNull<u8>, len: usize, owner: Arc<dyn Watched>) -> Buffer {
        Buffer { data, len, owner: Owner::Watched(owner) }
    }

    /// A part of a buffer, which it keeps alive. It is never written, and neither is `whole` any more.
    ///
    /// # Errors
    /// `argument`: the range goes beyond the buffer.
    pub fn slice_of(whole: &Arc<Buffer>, range: Range<usize>) -> Result<Buffer> {
        let Some(part) = whole.bytes().get(range.clone()) else {
            let len = whole.len();
            return Err(Error::argument(format!("the bytes {range:?} are beyond a buffer of {len}")));
        };
        if part.is_empty() {
            return Buffer::zeroed(0, None);
        }
        let (data, len) = (NonNull::from(part).cast(), part.len());
        if let Owner::Watched(owner) = &whole.owner {
            // SAFETY: the whole is valid under the same owner.
            return Ok(unsafe { Buffer::watched(data, len, owner.clone()) });
        }
        // SAFETY: `whole` lives as long as the owner given here, and a buffer that is shared is never written.
        Ok(unsafe { Buffer::foreign(data, len, Box::new(whole.clone())) })
    }

    /// Whether it was allocated here, so that it may be written.
    pub fn is_own(&self) -> bool {
        matches!(self.owner, Owner::Heap(..))
    }

    /// The owner of memory that was made by [`Buffer::watched`] or is a part of it.
    pub fn watched_owner(&self) -> Option<&Arc<dyn Watched>> {
        match &self.owner {
            Owner::Watched(owner) => Some(owner),
            Owner::Heap(..) | Owner::Foreign(_) => None,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `data` is valid for `len` bytes as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    /// The bytes for writing; `None` if the memory is someone else's.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self.owner {
            // SAFETY: valid for `len` bytes, and `&mut self` is the only access.
            Owner::Heap(..) => Some(unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }),
            Owner::Foreign(_) | Owner::Watched(_) => None,
        }
    }

    /// Where the bytes are.
    pub fn pointer(&self) -> *const u8 {
        self.data.as_ptr()
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Owner::Heap(_, Some(budget)) = &self.owner {
            budget.release(self.len as u64);
        }
    }
}

/// Adds to a list whose memory may run out.
///
/// # Errors
/// `memory`: the system has no more.
pub fn push<T>(list: &mut Vec<T>, entry: T) -> Result<()> {
    if list.len() == list.capacity() {
        list.try_reserve(1).map_err(|_| Error::memory("the system has no more memory"))?;
    }
    list.push(entry);
    Ok(())
}

/// Bytes as elements; whole elements only.
pub fn cast_slice<T: Element>(bytes: &[u8]) -> &[T] {
    // SAFETY: every bit pattern is a valid `T`; the parts that do not align are cut off and checked below.
    let (before, elements, after) = unsafe { bytes.align_to::<T>() };
    debug_assert!(before.is_empty() && after.is_empty(), "bytes are not whole aligned elements");
    elements
}

/// Bytes as elements for writing.
pub fn cast_slice_mut<T: Element>(bytes: &mut [u8]) -> &mut [T] {
    // SAFETY: as in `cast_slice`.
    let (before, elements, after) = unsafe { bytes.align_to_mut::<T>() };
    debug_assert!(before.is_empty() && after.is_empty(), "bytes are not whole aligned elements");
    elements
}

/// Elements as bytes.
pub fn as_bytes<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: elements are plain data without padding.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

/// Elements as bytes for writing.
pub fn as_bytes_mut<T: Element>(elements: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `as_bytes`; every bit pattern is a valid `T`.
    unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), size_of_val(elements)) }
}
